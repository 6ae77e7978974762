"""The objects of one image: labels, history and propagation through a stack."""

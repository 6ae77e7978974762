"""Training: data, generator and loop."""

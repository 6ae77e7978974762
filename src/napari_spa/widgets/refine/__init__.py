"""The dock for one image."""

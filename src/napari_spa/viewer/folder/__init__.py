"""Annotating a folder image by image."""

"""Readers of image files, one module for each family of formats; see io/image_files.py."""

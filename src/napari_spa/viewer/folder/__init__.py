"""Annotating a folder image by image.

Front: `controller` (which image is on show), `items` (the list), `jobs` (batch and export).
"""

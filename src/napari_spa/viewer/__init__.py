"""The only package that touches napari's viewer and layers."""

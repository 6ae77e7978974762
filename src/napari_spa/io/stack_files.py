"""The former place of :func:`napari_spa.io.images.open_stack` and ``read_label_stack``."""

from napari_spa.io.images import open_stack, read_label_stack

__all__ = ["open_stack", "read_label_stack"]

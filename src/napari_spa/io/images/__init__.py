"""Images of every readable format, opened plane by plane, and labels read and written."""

from napari_spa.io.images.arrays import PICTURE_SUFFIXES
from napari_spa.io.images.labels import label_dtype, read_label_stack, write_labels, write_picture
from napari_spa.io.images.layout import ImageFile, ImageInfo
from napari_spa.io.images.open import (
    ImageEntry,
    axes_in_file,
    image_parts,
    list_images,
    natural_key,
    open_image,
    open_stack,
    read_image,
)

__all__ = [
    "PICTURE_SUFFIXES",
    "ImageEntry",
    "ImageFile",
    "ImageInfo",
    "axes_in_file",
    "image_parts",
    "label_dtype",
    "list_images",
    "natural_key",
    "open_image",
    "open_stack",
    "read_image",
    "read_label_stack",
    "write_labels",
    "write_picture",
]

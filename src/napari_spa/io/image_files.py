"""The former place of :func:`napari_spa.io.images.open_image` and ``list_images``."""

from napari_spa.io.images import ImageEntry, image_parts, list_images, natural_key, open_image

__all__ = ["ImageEntry", "image_parts", "list_images", "natural_key", "open_image"]

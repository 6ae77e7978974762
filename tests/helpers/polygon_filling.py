"""Rasterise polygons as a reference does, apart from napari."""

import numpy as np
from skimage.draw import polygon2mask


def fill_polygons(polygons, shape):
    """Return the pixels whose centres lie in any of some polygons, (H, W) bool."""
    masks = [polygon2mask(shape, polygon) for polygon in polygons]
    return np.logical_or.reduce([np.zeros(shape, dtype=bool), *masks])

"""Unit tests of outlines: they must rasterise back to the masks they came from."""

import numpy as np
import pytest
from napari.layers import Shapes
from scipy import ndimage

from napari_spa.core.metrics import dice
from napari_spa.viewer.polygons import mask_outline


def blob(seed, size=120, holes=True):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(size, size)), 7)
    mask = field > (0.0 if holes else field.std())
    mask[:4] = mask[-4:] = False
    return mask


def rasterise(outline, shape):
    layer = Shapes([outline], shape_type="polygon")
    return layer.to_masks(mask_shape=shape)[0]


@pytest.mark.parametrize("seed", range(6))
def test_islands_and_holes_come_back(seed):
    mask = blob(seed)
    outline = mask_outline(mask)
    assert dice(rasterise(outline, mask.shape), mask) >= 0.99


@pytest.mark.parametrize("seed", range(3))
def test_a_bounded_number_of_vertices_stays_close(seed):
    mask = ndimage.zoom(blob(seed).astype(np.uint8), 4, order=1) > 0
    outline = mask_outline(mask, most_vertices=400)
    assert len(outline) <= 500
    assert dice(rasterise(outline, mask.shape), mask) >= 0.97


def test_a_ring_keeps_its_hole():
    r = np.hypot(*(np.indices((60, 60)) - 30))
    ring = (r < 20) & (r > 12)
    back = rasterise(mask_outline(ring), ring.shape)
    assert not back[30, 30]
    assert dice(back, ring) >= 0.99


def test_nothing_and_a_single_pixel():
    assert mask_outline(np.zeros((5, 5), bool)) is None
    one = np.zeros((5, 5), bool)
    one[2, 3] = True
    assert rasterise(mask_outline(one), one.shape)[2, 3]


def test_origin_shifts():
    mask = blob(0)
    shift = np.array([10, 20])
    np.testing.assert_allclose(mask_outline(mask, (10, 20)), mask_outline(mask) + shift)

"""Unit tests of outlines: they must rasterise back to the masks they came from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from napari.layers import Shapes
from scipy import ndimage
from skimage.draw import polygon2mask

from napari_spa.core.metrics import dice
from napari_spa.viewer.layers.polygons import LEAST_DICE, fill_polygons, mask_polygons

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9))


def blob(seed, size=120):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(size, size)), 7)
    return field > 0


def rasterise(polygons, shape):
    """Rasterise as napari does, and see that no two polygons share a pixel."""
    masks = Shapes(polygons, shape_type="polygon").to_masks(mask_shape=shape)
    assert masks.sum(axis=0).max() <= 1
    return masks.any(axis=0)


@settings(max_examples=150)
@given(MASKS, st.sampled_from([(0, 0), (3, 5), (1999, 3001)]), st.booleans())
def test_exact_outlines_have_just_the_pixels_inside(mask, origin, convex):
    polygons = mask_polygons(mask, origin, convex=convex)
    back = fill_polygons([p.astype(np.float32) - np.array(origin) for p in polygons], mask.shape)
    np.testing.assert_array_equal(back, mask)


@settings(max_examples=25)
@given(arrays(float, (5, 2), elements=st.floats(-4, 30)))
def test_filling_agrees_with_skimage(polygon):
    both = fill_polygons([polygon], (24, 25)), polygon2mask((24, 25), polygon)
    near = np.zeros((24, 25), bool)  # a centre on an edge may be called either way
    for start, end in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        for share in np.linspace(0, 1, 300):
            r, c = start + share * (end - start)
            spot = np.round([r, c]).astype(int)
            if np.abs([r, c] - spot).max() < 0.1 and (spot >= 0).all() and (spot < 24).all():
                near[tuple(spot)] = True
    np.testing.assert_array_equal(both[0] & ~near, both[1] & ~near)


@pytest.mark.parametrize("seed", range(3))
def test_islands_and_holes_come_back_from_napari(seed):
    mask = blob(seed)
    np.testing.assert_array_equal(rasterise(mask_polygons(mask), mask.shape), mask)


@pytest.mark.parametrize("seed", range(3))
def test_fewer_vertices_stay_close(seed):
    mask = ndimage.zoom(blob(seed).astype(np.uint8), 4, order=1) > 0
    exact, thin = mask_polygons(mask), mask_polygons(mask, enough=200)
    assert sum(map(len, thin)) < 0.6 * sum(map(len, exact))
    assert LEAST_DICE <= dice(rasterise(thin, mask.shape), mask) < 1


def test_specks_are_not_worth_a_polygon_each():
    mask = np.zeros((200, 200), bool)
    mask[50:150, 50:150] = True
    mask[5:45:4, 5:195:10] = True
    exact, thin = mask_polygons(mask), mask_polygons(mask, enough=100)
    assert len(exact) == 191
    assert len(thin) == 191  # together they are more than a hundredth of the mask
    mask[5:45:4, 55:195] = False
    assert len(mask_polygons(mask, enough=100)) == 1


def test_noise_is_merged_until_there_is_little_of_it():
    noise = np.random.default_rng(0).random((150, 150)) < 0.5
    polygons = mask_polygons(noise, enough=100, most=1000)
    assert 0 < len(polygons) < 200
    assert sum(map(len, polygons)) < 1500
    assert fill_polygons(polygons, noise.shape).any()


def test_a_ring_keeps_its_hole():
    r = np.hypot(*(np.indices((60, 60)) - 30))
    ring = (r < 20) & (r > 12)
    assert not rasterise(mask_polygons(ring), ring.shape)[30, 30]


def test_thin_parts_look_as_wide_as_they_are():
    line = np.zeros((9, 40), bool)
    line[4, 2:38] = True
    fine = fill_polygons([8 * p + 3.5 for p in mask_polygons(line)], (72, 320))
    assert fine.sum() / 64 == pytest.approx(line.sum(), rel=0.15)


def test_nothing_and_a_single_pixel():
    assert mask_polygons(np.zeros((5, 5), bool)) == []
    assert not fill_polygons([], (3, 4)).any()
    one = np.zeros((5, 5), bool)
    one[2, 3] = True
    np.testing.assert_array_equal(rasterise(mask_polygons(one), one.shape), one)


def test_origin_shifts():
    mask = blob(0)
    for here, there in zip(mask_polygons(mask), mask_polygons(mask, (10, 20)), strict=True):
        np.testing.assert_allclose(there, here + np.array([10, 20]), atol=1e-4)

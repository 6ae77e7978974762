"""Polygons must rasterise back to the masks they came from, and be filled rightly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from napari.layers import Shapes
from napari.utils.triangulation_backend import (
    TriangulationBackend,
    get_backend,
    set_backend,
)
from polygon_filling import fill_polygons
from scipy import ndimage

from napari_spa.viewer.layers.candidates import border_lines, mask_polygons

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9))
MODULES = {
    TriangulationBackend.bermuda: "bermuda",
    TriangulationBackend.partsegcore: "PartSegCore_compiled_backend",
    TriangulationBackend.pure_python: "napari",
}


def blob(seed, size=120):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(size, size)), 7)
    return field > 0


def rasterise(polygons, shape):
    """Rasterise as napari does, and see that no two polygons share a pixel."""
    masks = Shapes(polygons, shape_type="polygon").to_masks(mask_shape=shape)
    assert masks.sum(axis=0).max() <= 1
    return masks.any(axis=0)


def area(ring):
    after = np.roll(ring, -1, axis=0)
    return abs(np.sum(ring[:, 0] * after[:, 1] - ring[:, 1] * after[:, 0])) / 2


@settings(max_examples=150)
@given(MASKS, st.sampled_from([(0, 0), (3, 5), (1999, 3001)]), st.sampled_from([0, 1]))
def test_polygons_have_just_the_pixels_inside(mask, origin, axis):
    polygons = mask_polygons(mask, origin, axis=axis)
    back = [p.astype(np.float32) - np.array(origin) for p in polygons]
    np.testing.assert_array_equal(fill_polygons(back, mask.shape), mask)
    filled = [fill_polygons([p], mask.shape) for p in back]
    assert sum(np.count_nonzero(one) for one in filled) == np.count_nonzero(mask)


@pytest.mark.parametrize("axis", [0, 1])
def test_each_column_or_row_meets_a_polygon_in_one_stretch(axis):
    for polygon in mask_polygons(blob(0), axis=axis):
        steps = np.sign(np.diff(np.append(polygon[:, axis], polygon[0, axis])))
        steps = steps[steps != 0]
        assert np.count_nonzero(steps != np.roll(steps, 1)) == 2


@pytest.mark.parametrize("seed", range(3))
def test_islands_and_holes_come_back_from_napari(seed):
    mask = blob(seed)
    np.testing.assert_array_equal(rasterise(mask_polygons(mask), mask.shape), mask)


@pytest.mark.parametrize("backend", MODULES, ids=str)
def test_napari_fills_them_exactly(backend):
    pytest.importorskip(MODULES[backend])
    before = set_backend(backend)
    try:
        assert get_backend() is backend
        for seed in range(6):
            polygons = mask_polygons(blob(seed, 90))
            mesh = Shapes(polygons, shape_type="polygon", edge_width=0)._data_view._mesh
            a, b, c = np.moveaxis(mesh.vertices[mesh.triangles].astype(float), 1, 0)
            (u, v), (w, z) = (b - a).T, (c - a).T
            filled = np.abs(u * z - v * w).sum() / 2
            assert filled == pytest.approx(sum(map(area, polygons)), rel=1e-3)
    finally:
        set_backend(before)


def test_straight_lines_save_vertices():
    r = np.hypot(*(np.indices((400, 400)) - 200))
    disc = r < 150
    vertices = sum(map(len, mask_polygons(disc)))
    assert vertices < 0.35 * 2 * 300  # two of each column would be exact as well


def test_noise_is_merged_until_there_is_little_of_it():
    noise = np.random.default_rng(0).random((150, 150)) < 0.5
    polygons = mask_polygons(noise, most=1000)
    assert 0 < len(polygons) < 20
    assert sum(map(len, polygons)) < 1000
    assert fill_polygons(polygons, noise.shape).any()


def test_a_ring_keeps_its_hole():
    r = np.hypot(*(np.indices((60, 60)) - 30))
    ring = (r < 20) & (r > 12)
    assert not rasterise(mask_polygons(ring), ring.shape)[30, 30]


@pytest.mark.parametrize("axis", [0, 1])
def test_thin_parts_look_as_wide_as_they_are(axis):
    line = np.zeros((40, 40), bool)
    line[4, 2:38] = line[8:38, 20] = True
    fine = fill_polygons([8 * p + 3.5 for p in mask_polygons(line, axis=axis)], (320, 320))
    assert fine.sum() / 64 == pytest.approx(line.sum(), rel=0.15)


def test_nothing_and_a_single_pixel():
    assert mask_polygons(np.zeros((5, 5), bool)) == []
    one = np.zeros((5, 5), bool)
    one[2, 3] = True
    np.testing.assert_array_equal(rasterise(mask_polygons(one), one.shape), one)


def test_origin_shifts():
    mask = blob(0)
    for here, there in zip(mask_polygons(mask), mask_polygons(mask, (10, 20)), strict=True):
        np.testing.assert_allclose(there, here + np.array([10, 20]), atol=1e-4)


def test_borders_are_lines_where_they_are_not_shared():
    mask, other = np.zeros((12, 20), bool), np.zeros((12, 20), bool)
    mask[2:10, 2:10] = True
    other[2:10, 5:16] = True
    lines, inside = border_lines(mask, other, (100, 200))
    # Its left part lies outside of the other, its right side inside; above and below both end.
    assert sorted(inside) == [False, True]
    left, right = sorted(lines, key=lambda line: line[:, 1].mean())
    assert left[:, 1].min() == 201.5
    assert right[:, 1].max() == 209.5
    assert not (np.floor(left) == left).all(axis=1).any()
    assert border_lines(mask, mask) == ([], [])
    (whole,), (alone,) = border_lines(mask, np.zeros_like(mask))
    assert not alone
    np.testing.assert_array_equal(whole[0], whole[-1])
    assert len(whole) <= 9  # corners only

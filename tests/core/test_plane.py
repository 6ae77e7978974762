"""Tests of planes: which pixels of a stack one is, and what lies where on it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_spa.core.plane import Plane
from napari_spa.core.types import LocalMask, Region

SHAPE = (2, 3, 4, 5, 6)
STACK = np.arange(np.prod(SHAPE)).reshape(SHAPE)

axes = st.sampled_from([(i, j) for i in range(5) for j in range(i + 1, 5)])
indices = st.tuples(*(st.integers(0, n - 1) for n in SHAPE))


@given(axes=axes, index=indices)
def test_a_plane_is_the_pixels_that_share_its_position(axes, index):
    plane = Plane(axes, index)
    expected = np.moveaxis(STACK, axes, (-2, -1))[plane.position]
    np.testing.assert_array_equal(STACK[plane.slices], expected)
    assert expected.shape == (SHAPE[axes[0]], SHAPE[axes[1]])
    assert plane.stack_axes == tuple(a for a in range(5) if a not in axes)


@given(axes=axes, index=indices, moved=indices)
def test_two_planes_are_equal_when_they_are_the_same_pixels(axes, index, moved):
    plane = Plane(axes, index)
    elsewhere = tuple(
        m if a in axes else i for a, (i, m) in enumerate(zip(index, moved, strict=True))
    )
    same = Plane(axes, elsewhere)
    assert plane == same
    assert hash(plane) == hash(same)
    other = Plane(axes, moved)
    assert (plane == other) == np.array_equal(STACK[plane.slices], STACK[other.slices])


@given(axes=axes, index=indices, data=st.data())
def test_a_region_of_a_plane(axes, index, data):
    plane = Plane(axes, index)
    height, width = (SHAPE[a] for a in axes)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    region = Region(top, left, height - top, width - left)
    np.testing.assert_array_equal(STACK[plane.region(region)], STACK[plane.slices][top:, left:])


@given(axes=axes, index=indices)
def test_points_of_a_plane_lie_at_its_pixels(axes, index):
    plane = Plane(axes, index)
    rows, columns = np.indices((SHAPE[axes[0]], SHAPE[axes[1]])).reshape(2, -1)
    points = plane.points(np.stack([rows, columns], axis=1).astype(float))
    assert points.shape == (len(rows), 5)
    assert points.dtype == np.float64
    np.testing.assert_array_equal(STACK[tuple(points.astype(int).T)], STACK[plane.slices].ravel())


def test_points_keep_their_fractions():
    assert Plane((1, 2), (7, 0, 0)).points(np.array([[0.25, 9.5]])).tolist() == [[7, 0.25, 9.5]]
    assert Plane((0, 1), (0, 0)).points(np.empty((0, 2))).shape == (0, 2)


def test_one_goes_from_plane_to_plane():
    plane = Plane((1, 2), (3, 0, 0))
    assert plane.at(0, 5) == Plane((1, 2), (5, 8, 8))
    assert plane.at(1, 5) == plane  # along its own axis one stays on it


def test_a_position_may_come_from_numpy():
    plane = Plane((1, 2), tuple(np.array([3, 4, 5], dtype=np.int64)))
    assert plane.index == (3, 0, 0)
    assert all(type(p) is int for p in plane.index)


@pytest.mark.parametrize(
    ("rows", "columns", "region"),
    [
        ([], [], Region(0, 0, 0, 0)),
        ([3], [4], Region(3, 4, 1, 1)),
        ([1, 5], [6, 2], Region(1, 2, 5, 5)),
    ],
)
def test_the_bounding_region_of_a_mask(rows, columns, region):
    mask = np.zeros((7, 8), dtype=bool)
    mask[rows, columns] = True
    assert Region.bounding(mask) == region
    cropped = LocalMask.crop(mask, Region(10, 20, 7, 8))
    assert cropped.area == len(rows)
    assert cropped.region == Region(
        region.row + 10, region.column + 20, region.height, region.width
    )
    np.testing.assert_array_equal(cropped.within(Region(10, 20, 7, 8)), mask)


def test_a_part_of_a_mask_in_any_other_rectangle():
    mask = LocalMask(Region(2, 3, 4, 5), np.random.default_rng(0).random((4, 5)) < 0.5)
    full = mask.region.paste(mask.pixels, (12, 14))
    for top in range(9):
        for left in range(11):
            region = Region(top, left, 3, 3)
            np.testing.assert_array_equal(mask.within(region), full[region.slices])


def test_planes_of_other_axes_that_a_part_crosses():
    seen = Plane((0, 2), (0, 7, 0))  # rows are slices, across the rows
    crossed = dict(seen.across(Region(2, 5, 3, 4), (1, 2)))
    assert crossed == {Plane((1, 2), (z, 0, 0)): Region(7, 5, 1, 4) for z in (2, 3, 4)}

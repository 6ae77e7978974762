"""Unit tests of rings around masks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from napari_spa.viewer.layers.polygons import entangled, move_apart, straighten, trace

SQUARE = np.array([[0.0, 0], [0, 10], [10, 10], [10, 0]])


@settings(max_examples=60)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12)), st.booleans())
def test_rings_never_cross(mask, neat):
    walks = trace(mask)
    if walks:
        rings = straighten(walks, neat=neat)
        assert len(rings) == len(walks)
        assert not entangled(move_apart(rings))


@pytest.mark.parametrize(("neat", "share"), [(True, 0.6), (False, 0.25)])
def test_straight_lines_save_vertices(neat, share):
    field = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(200, 200)), 12)
    walks = trace(field > 0)
    assert sum(map(len, straighten(walks, neat=neat))) < share * sum(map(len, walks))


def test_there_is_a_ring_for_each_island_and_hole():
    mask = np.ones((9, 9), bool)
    mask[2:7, 2:7] = False
    mask[4, 4] = True
    mask[0, 0] = False
    assert len(trace(mask)) == 3
    corner = np.eye(2, dtype=bool)
    assert len(trace(corner)) == 1  # pixels that touch at a corner belong together


def test_apart_means_that_no_two_vertices_share_a_row_or_column():
    rings = move_apart([SQUARE, SQUARE[::-1] * 0.5])
    places = np.concatenate(rings)
    assert len(np.unique(places[:, 0])) == len(np.unique(places[:, 1])) == 8
    assert np.abs(places - np.concatenate([SQUARE, SQUARE[::-1] * 0.5])).max() < 0.05
    assert (places % 1 != 0).all()


@pytest.mark.parametrize(
    ("rings", "expected"),
    [
        ([SQUARE], False),
        ([SQUARE, SQUARE[::-1] * 0.5 + 2], False),  # a hole
        ([SQUARE, SQUARE * 0.5 + 2], True),  # an island in an island
        ([SQUARE, SQUARE[::-1] * 0.5 + 20], True),  # a hole in nothing
        ([SQUARE, SQUARE * 0.5 + 20], False),
        ([SQUARE, SQUARE + 5.5], True),
        ([SQUARE[[0, 2, 1, 3]]], True),
    ],
)
def test_entangled(rings, expected):
    assert entangled(rings) is expected

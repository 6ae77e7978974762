"""Tests of the tile array: it agrees with NumPy, and keeps no more than it must."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_spa.errors import InputError
from napari_spa.viewer.layers import tiled_array
from napari_spa.viewer.layers.tiled_array import TileArray


@st.composite
def _cases(draw):
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=12))
    tile = draw(st.tuples(*[st.integers(1, 5)] * len(shape)))
    key = draw(hnp.basic_indices(shape, allow_ellipsis=True))
    again = draw(hnp.basic_indices(shape, allow_ellipsis=True))
    return shape, tile, key, again, draw(st.integers(0, 2**32 - 1))


def _filled(shape, tile, seed):
    """Return the same labels as a tile array and as an array, mostly 0."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(1, 9, shape).astype(np.uint16) * (rng.random(shape) < 0.2)
    tiles = TileArray.zeros(shape, tile)
    tiles[...] = truth
    return tiles, truth.astype(np.uint16)


@given(_cases())
def test_it_reads_and_writes_as_numpy_does(case):
    shape, tile, key, again, seed = case
    tiles, truth = _filled(shape, tile, seed)
    part = truth[key]
    assert np.shape(tiles[key]) == part.shape
    assert np.array_equal(np.asarray(tiles[key]), part)
    new = np.random.default_rng(seed).integers(0, 3, part.shape)
    tiles[key], truth[key] = new, new
    tiles[again], truth[again] = 0, 0
    assert np.array_equal(np.asarray(tiles), truth)


@given(_cases())
def test_points_are_read_and_written_as_numpy_does(case):
    shape, tile, _, _, seed = case
    tiles, truth = _filled(shape, tile, seed)
    rng = np.random.default_rng(seed)
    points = tuple(rng.integers(-n, n, (3, 2)) for n in shape)
    assert np.array_equal(tiles[points], truth[points])
    tiles[points], truth[points] = 5, 5
    assert np.array_equal(np.asarray(tiles), truth)


def test_a_window_of_a_window_looks_into_the_same_tiles():
    tiles = TileArray.zeros((6, 20, 20), (1, 8, 8))
    part = tiles[:, 2:18, 2:18]
    assert isinstance(part, TileArray)
    assert part.shape == (6, 16, 16)
    tiles[3, 10, 10] = 4
    part[3, 0, 0] = 2
    assert np.asarray(part[3])[8, 8] == 4
    assert tiles[3, 2, 2] == 2
    points = (np.array([3]), np.array([0]), np.array([0]))
    assert part[:, :, :][points] == 2


def test_only_tiles_that_hold_anything_are_kept():
    tiles = TileArray.zeros((20_000, 20_000), (64, 64))
    assert tiles.nbytes == 0
    tiles[100:164, 100:164] = 3
    assert tiles.occupied == {(1, 1), (1, 2), (2, 1), (2, 2)}
    assert tiles.nbytes == 4 * 64 * 64 * 2
    tiles[0:5000, 0:5000] = 0
    assert tiles.nbytes == 0
    tiles[np.array([7]), np.array([7])] = 1
    tiles[np.array([7]), np.array([7])] = 0
    assert not tiles.occupied


def test_vacant_where_no_tile_holds_anything():
    tiles = TileArray.zeros((3, 100, 100), (1, 64, 64))
    tiles[1, 10, 10] = 1
    assert not tiles.vacant
    assert tiles[0].vacant
    assert tiles[1, 64:].vacant
    assert not tiles[:, :20, :20].vacant


def test_the_peak_is_the_highest_value():
    tiles = TileArray.zeros((100, 100), (64, 64))
    assert tiles.peak == 0
    tiles[3, 3], tiles[90, 90] = 8, 5
    assert tiles.peak == 8


def test_a_copy_is_independent():
    tiles = TileArray.zeros((10, 10), (4, 4))
    tiles[2, 2] = 1
    other = copy.deepcopy(tiles)
    tiles[2, 2] = 9
    assert other[2, 2] == 1


def test_iteration_ends():
    assert [row.shape for row in TileArray.zeros((3, 5), (2, 2))] == [(5,)] * 3


def test_numpy_is_given_its_type_and_told_that_there_is_no_view():
    tiles = TileArray.zeros((4, 4), (2, 2))
    assert np.asarray(tiles, dtype=np.uint32).dtype == np.uint32
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(tiles, copy=False)


@pytest.mark.parametrize(
    "key",
    [
        (4, 0),
        (0, 0, 0),
        (Ellipsis, Ellipsis),
        np.array([1]),
        (np.array([1]), slice(None)),
        (np.array([4]), np.array([0])),
        (np.array([True, False, False, False]), np.array([0])),
    ],
)
def test_what_cannot_be_an_index_is_refused(key):
    tiles = TileArray.zeros((4, 4), (2, 2))
    with pytest.raises(IndexError):
        tiles[key]


def test_too_much_at_once_is_refused_before_memory_is_taken(monkeypatch):
    monkeypatch.setattr(tiled_array, "_MOST_PIXELS", 100)
    tiles = TileArray.zeros((11, 10), (4, 4))
    with pytest.raises(InputError, match="11 x 10 pixels"):
        np.asarray(tiles)
    assert np.asarray(tiles[:10]).shape == (10, 10)

"""Tests of what holds prompts at their pixels, on arrays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_spa.core.obedience import (
    TOUCH,
    Evidence,
    box_pixels,
    box_strips,
    enforce,
    fill_box,
    log_likelihood,
    spread,
    values_at,
    without_specks,
)
from napari_spa.core.types import Box

SHAPE = (31, 43)
PLACES = st.lists(
    st.tuples(st.integers(0, SHAPE[0] - 1), st.integers(0, SHAPE[1] - 1), st.booleans()),
    max_size=25,
    unique_by=lambda place: place[:2],
)
BOXES = st.tuples(st.floats(0, 20), st.floats(0, 30), st.floats(1, 11), st.floats(1, 13)).map(
    lambda b: Box(b[0], b[1], b[0] + b[2], b[1] + b[3])
)


def touches(mask, box, allowed):
    """Whether a mask touches a box on each side where it may."""
    for rows, columns in box_strips(box, mask.shape, TOUCH):
        if allowed[rows, columns].any() and not mask[rows, columns].any():
            return False
    return True


@settings(max_examples=200, deadline=None)
@given(
    places=PLACES,
    box=st.none() | BOXES,
    seed=st.integers(0, 99),
    radius=st.floats(1, 8),
    threshold=st.sampled_from([0.5, 0.62]),
)
def test_all_that_is_shown_agrees_with_all_that_was_said(places, box, seed, radius, threshold):
    rng = np.random.default_rng(seed)
    maps = rng.random((2, *SHAPE), np.float32) ** rng.choice([0.1, 1, 30])
    if box is not None:
        rows, columns = box_pixels(box, SHAPE)
        inside = np.zeros(SHAPE, bool)
        inside[rows, columns] = True
        places = [p for p in places if inside[p[:2]] or not p[2]]
    where = np.array([p[:2] for p in places], dtype=np.int64).reshape(-1, 2)
    labels = np.array([p[2] for p in places], dtype=bool)
    thresholds = [threshold, 0.5]
    out = enforce(maps, thresholds, Evidence(where, labels, box), radius=radius)
    assert out.min() >= 0
    assert out.max() <= 1
    for one, limit in zip(out, thresholds, strict=True):
        mask = one > limit
        np.testing.assert_array_equal(mask[where[:, 0], where[:, 1]], labels)
        if box is not None:
            assert not (mask & ~inside).any()
            allowed = np.ones(SHAPE, bool)
            allowed[where[~labels, 0], where[~labels, 1]] = False
            assert touches(mask, box, allowed)


def test_what_agrees_already_is_left_alone():
    maps = np.random.default_rng(1).random((2, *SHAPE), np.float32)
    places = np.array([[3, 4], [20, 30]])
    labels = maps[0, places[:, 0], places[:, 1]] > 0.5
    before = maps[:1].copy()
    guide = np.zeros((*SHAPE, 1), np.float32)
    same = spread(maps[:1], [0.5], places.astype(float), labels, guide, reach=3.0)
    np.testing.assert_array_equal(same, before)
    settled = enforce(maps[:1].copy(), [0.5], Evidence(places, labels), radius=2.0)
    np.testing.assert_array_equal(settled, before)


def test_a_label_flows_smoothly_and_stops_at_an_edge_of_the_image():
    maps = np.full((1, 40, 40), 0.2, np.float32)
    guide = np.zeros((40, 40, 1), np.float32)
    guide[:, 24:] = 1.0
    out = spread(maps, [0.5], np.array([[20.0, 20.0]]), np.array([True]), guide, reach=5.0)[0]
    assert out[20, 20] > 0.9
    assert (out > 0.5).sum() > 40  # not a dot
    assert out[20, 12] > out[20, 28] + 0.05  # as far from the click, beyond the edge
    steps = np.abs(np.diff(out[20, :22]))
    assert steps.max() < 0.25


def test_a_label_yields_to_the_other_label():
    maps = np.full((1, 40, 40), 0.2, np.float32)
    guide = np.zeros((40, 40, 1), np.float32)
    places, labels = np.array([[20.0, 20.0], [20.0, 23.0]]), np.array([True, False])
    out = spread(maps, [0.5], places, labels, guide, reach=8.0)[0]
    assert out[20, 20] > 0.9
    assert out[20, 23] == pytest.approx(0.2, abs=1e-6)


def test_a_box_is_filled_by_what_is_likely():
    y, x = np.mgrid[:60, :60]
    inner = np.exp(-(((y - 30) ** 2 + (x - 30) ** 2) / 200.0)).astype(np.float32)
    maps = (0.9 * inner)[None]
    box = Box(10, 10, 50, 50)
    mask = fill_box(maps, [0.5], box)[0] > 0.5
    assert touches(mask, box, np.ones((60, 60), bool))
    assert not mask[12, 12]  # the corners stay out
    assert mask[30, 30]


def test_an_object_in_a_box_drawn_loosely_stays_as_it_is():
    maps = np.full((2, 60, 60), 0.1, np.float32)
    maps[0, 18:42, 18:42] = 0.9  # the object
    maps[1, 10:50, 10:50] = 0.9  # all of the box
    box = Box(10, 10, 50, 50)
    none, yes = np.empty((0, 2)), np.empty(0, bool)
    likely = log_likelihood(maps, none, yes, box)
    assert np.exp(likely[0] - likely[1]) > 0.5
    mask = fill_box(maps[:1], [0.5], box)[0] > 0.5
    np.testing.assert_array_equal(mask, maps[0] > 0.5)


def test_nothing_at_all_becomes_something_in_a_box():
    maps = np.full((1, 60, 60), 0.01, np.float32)
    box = Box(10, 15, 40, 50)
    mask = fill_box(maps, [0.5], box)[0] > 0.5
    assert touches(mask, box, np.ones((60, 60), bool))
    assert mask[10:40, 15:50].mean() > 0.3


def test_the_likelier_sample_is_the_one_that_agrees():
    maps = np.zeros((3, 20, 20), np.float32)
    maps[0, 5:15, 5:15] = 0.9
    maps[1, 5:10, 5:10] = 0.9
    maps[2] = 0.9
    places, labels = np.array([[12.0, 12.0], [1.0, 1.0]]), np.array([True, False])
    assert log_likelihood(maps, places, labels).argmax() == 0
    none, yes = np.empty((0, 2)), np.empty(0, bool)
    assert log_likelihood(maps, none, yes, Box(5, 5, 15, 15)).argmax() == 0
    assert not log_likelihood(maps, none, yes).any()


def test_values_between_pixels():
    maps = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    places = np.array([[0, 0], [1.5, 2.5], [-3, 9], [2, 3]], dtype=float)
    np.testing.assert_allclose(values_at(maps, places), [[0, 8.5, 3, 11]])


def test_a_strip_is_a_tenth_of_the_box_and_at_least_a_pixel():
    top, low, left, right = box_strips(Box(10, 20, 50, 26), (80, 80), 0.1)
    assert top == (slice(10, 15), slice(20, 26))
    assert low == (slice(45, 50), slice(20, 26))
    assert left == (slice(10, 50), slice(20, 21))
    assert right == (slice(10, 50), slice(25, 26))


def grown(*parts):
    """A map of 0.9 where any of some (row, column, side) squares is, else 0.1."""
    level = np.full((64, 64), 0.1, dtype=np.float32)
    for row, column, side in parts:
        level[row : row + side, column : column + side] = 0.9
    return level


def test_crumbs_and_pinholes_go_and_real_parts_and_holes_stay():
    level = grown((5, 5, 20), (30, 30, 6), (2, 35, 2))
    level[8, 8] = 0.1  # a pinhole
    level[12:18, 12:18] = 0.1  # a hole
    nowhere = np.empty((0, 2)), np.empty(0, dtype=bool)
    cleaned = without_specks(level, 0.5, *nowhere) > 0.5
    expected = grown((5, 5, 20), (30, 30, 6)) > 0.5
    expected[12:18, 12:18] = False
    np.testing.assert_array_equal(cleaned, expected)
    for whole in (grown(), grown((0, 0, 64)), grown((20, 20, 2))):
        np.testing.assert_array_equal(without_specks(whole, 0.5, *nowhere), whole)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.2, 0.8))
def test_of_two_masks_the_larger_still_holds_the_smaller(seed, threshold):
    level = np.random.default_rng(seed).random((64, 64), dtype=np.float32)
    level = (level + np.roll(level, 1, 0) + np.roll(level, 1, 1)) / 3
    level[8:14, 8:14] = 1  # an object that is none itself
    nowhere = np.empty((0, 2)), np.empty(0, dtype=bool)
    smaller, larger = (
        without_specks(level + by, threshold, *nowhere) > threshold for by in np.float32([0, 0.1])
    )
    assert not (smaller & ~larger).any()


def test_a_crumb_or_pinhole_that_was_clicked_stays():
    level = grown((5, 5, 20), (2, 35, 2))
    level[8, 8] = 0.1
    places, labels = np.array([[2.4, 35.2], [8.0, 8.0]]), np.array([True, False])
    np.testing.assert_array_equal(without_specks(level, 0.5, places, labels), level)
    other = without_specks(level, 0.5, places, ~labels) > 0.5  # what was said speaks against them
    np.testing.assert_array_equal(other, grown((5, 5, 20)) > 0.5)

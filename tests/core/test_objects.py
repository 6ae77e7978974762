"""Unit tests of napari_spa.core.objects."""

from __future__ import annotations

import numpy as np

from napari_spa.core.objects import split_objects


def disc(row: int, column: int, radius: int, size: int = 120) -> np.ndarray:
    rows, columns = np.ogrid[:size, :size]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def test_each_agreed_object_comes_with_each_raters_own_outline() -> None:
    tight = disc(30, 30, 6) | disc(80, 80, 6)
    loose = disc(30, 30, 9) | disc(80, 80, 9)
    found = split_objects(np.stack([tight, loose, tight]))
    assert len(found) == 2
    np.testing.assert_array_equal(found[0], [disc(30, 30, 6), disc(30, 30, 9), disc(30, 30, 6)])
    np.testing.assert_array_equal(found[1], [disc(80, 80, 6), disc(80, 80, 9), disc(80, 80, 6)])


def test_a_rater_who_missed_it_has_an_empty_mask() -> None:
    both = disc(30, 30, 6)
    found = split_objects(np.stack([both, both, np.zeros_like(both)]))
    assert [masks.any(axis=(1, 2)).tolist() for masks in found] == [[True, True, False]]


def test_what_few_marked_or_is_small_is_no_object() -> None:
    one, small = disc(30, 30, 6), disc(80, 80, 2)
    assert split_objects(np.stack([one | small, small, small])) == []


def test_a_rater_who_joined_objects_is_left_out() -> None:
    apart = disc(30, 30, 5) | disc(30, 50, 5)
    joined = np.zeros_like(apart)
    joined[20:41, 20:61] = True
    found = split_objects(np.stack([apart, apart, joined]))
    assert len(found) == 2
    assert all(not masks[2].any() for masks in found)

"""Unit tests of napari_spa.core.objects."""

from __future__ import annotations

import numpy as np

from napari_spa.core.objects import cut_object, split_objects
from napari_spa.core.types import LocalMask


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


def test_a_line_across_an_object_takes_the_smaller_side_off() -> None:
    mask = LocalMask.crop(disc(60, 60, 20))
    (piece,) = cut_object(mask, [(30, 66), (90, 66)])
    assert piece.region.column == 67
    assert 0 < piece.area < mask.area / 2
    across = cut_object(mask, [(30.4, 33.0), (88.0, 92.7)])  # a diagonal has no way round
    assert len(across) == 1
    cross = cut_object(mask, [(60, 30), (60, 90), (90, 60), (30, 60)])
    assert len(cross) >= 3


def test_a_crumb_at_a_neck_is_no_piece() -> None:
    both = disc(60, 40, 20) | disc(60, 75, 20)
    both[36:41, 57:60] = both[40:46, 56] = True  # a bump beside the neck
    mask = LocalMask.crop(both)
    (piece,) = cut_object(mask, [(30, 58), (90, 58)])
    assert piece.area > 1000
    whole = both.copy()
    whole[piece.region.slices] &= ~piece.pixels
    assert whole.sum() + piece.area == both.sum()
    (small,) = cut_object(mask, [(40, 91), (80, 91)])  # meant: it is alone
    assert small.area < 0.05 * mask.area


def test_pixels_under_the_line_are_kept_and_parts_beside_it_stay() -> None:
    both = disc(30, 30, 10) | disc(80, 80, 12)
    mask = LocalMask.crop(both)
    (piece,) = cut_object(mask, [(80, 60), (80, 100)])
    assert piece.region.row >= 80
    whole = np.zeros_like(both)
    whole[piece.region.slices] = piece.pixels
    assert (whole <= both).all()
    assert piece.area in range(disc(80, 80, 12).sum() // 2 - 30, disc(80, 80, 12).sum() // 2 + 30)


def test_a_line_that_divides_nothing_gives_no_piece() -> None:
    mask = LocalMask.crop(disc(60, 60, 20))
    assert cut_object(mask, [(10, 10), (20, 20)]) == []
    assert cut_object(mask, [(60, 60), (60, 90)]) == []  # ends in the middle
    assert cut_object(mask, [(60, 60)]) == []

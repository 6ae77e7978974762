"""Tests of which few masks are offered."""

import numpy as np
import pytest

from napari_spa.core.candidates import (
    Offer,
    choose,
    dice_matrix,
    far_apart,
    levels_of_area,
    log_choice,
)

APART = np.zeros((4, 4), dtype=bool)


def test_each_place_adds_what_the_places_before_lack():
    agreement = np.array([[1.0, 0.9, 0.1], [0.9, 1.0, 0.1], [0.1, 0.1, 1.0]])
    offer = Offer(agreement, np.zeros(3), np.array([0.4, 0.35, 0.25]), ["shape"] * 3, APART)
    assert choose(offer, 2) == [0, 2]


def test_at_most_two_are_the_recommendation_grown_or_shrunk_while_there_are_others():
    agreement = np.eye(4)
    likely, kinds = np.array([0.4, 0.3, 0.2, 0.1]), ["size"] * 3 + ["shape"]
    offer = Offer(agreement, np.zeros(4), likely, kinds, APART)
    assert choose(offer, 3) == [0, 1, 3]
    assert choose(offer, 4) == [0, 1, 3, 2]


def test_a_pick_speaks_for_what_is_most_like_it():
    agreement = np.array([[1.0, 0.2, 0.2], [0.5, 0.5, 0.5], [0.2, 0.9, 0.8]])
    found = log_choice(agreement, 0, strength=8.0)
    first = 1 / (1 + 2 * np.exp(8.0 * (0.2 - 1.0)))
    assert np.exp(found) == pytest.approx(
        [first, 1 / 3, 1 / (1 + np.exp(8 * 0.7) + np.exp(8 * 0.6))]
    )
    every = np.exp([log_choice(agreement, k) for k in range(3)])
    assert every.sum(axis=0) == pytest.approx(1.0)


def test_what_is_as_good_as_the_recommendation_comes_last():
    agreement = np.array([[0.9, 0.2], [0.0, 0.6]])
    central, likely = np.array([0.9, 0.0]), np.array([0.7, 0.3])
    offer = Offer(agreement, central, likely, ["shape", "object"], APART)
    assert choose(offer, 1) == [1]


@pytest.mark.parametrize(
    ("kinds", "worth", "chosen"),
    [
        (["size", "shape", "object", "shape"], 0.79, [0, 3, 2]),  # the one that tells least goes
        (["size", "object", "object", "shape"], 0.79, [3, 1, 2]),  # a part or a whole stays
        (["size", "shape", "object", "shape"], 0.2, [0, 1, 2]),  # it would cost too much
    ],
)
def test_one_row_of_nested_masks_is_broken_up_where_it_costs_little(kinds, worth, chosen):
    agreement = np.eye(4)
    agreement[1, 3] = agreement[0, 3] = worth
    nested = np.ones((4, 4), dtype=bool)
    nested[3, :3] = nested[:3, 3] = False
    likely = np.array([0.36, 0.05, 0.58, 0.01]) if worth > 0.5 else np.array([0.4, 0.2, 0.4, 0])
    if kinds[1] == "object":
        likely = np.array([0.05, 0.4, 0.54, 0.01])
    assert sorted(choose(Offer(agreement, np.zeros(4), likely, kinds, nested), 3)) == sorted(chosen)


def test_dice_of_all_pairs():
    masks = np.random.default_rng(0).random((5, 9, 9)) > 0.5
    masks[4] = False
    found = dice_matrix(masks, masks)
    for i, a in enumerate(masks):
        for j, b in enumerate(masks):
            total = a.sum() + b.sum()
            expected = 2 * (a & b).sum() / total if total else 1.0
            assert found[i, j] == pytest.approx(expected)


def test_a_level_leaves_so_many_pixels_above_it():
    maps = np.random.default_rng(0).normal(size=(3, 20, 20)).astype(np.float32)
    for area in (1, 57, 399):
        levels = levels_of_area(maps, area)
        assert [(one > level).sum() for one, level in zip(maps, levels, strict=True)] == [area] * 3


def test_the_far_ones_are_taken_and_copies_are_not():
    places = np.array([0.0, 0.0, 1.0, 5.0])
    distance = np.abs(places[:, None] - places)
    assert far_apart(distance, np.array([1.0, 0.9, 0.9, 0.9]), 4).tolist() == [0, 3, 2]

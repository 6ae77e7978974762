"""Tests of what is measured in a game, against direct computations."""

from __future__ import annotations

import math

import numpy as np
import pytest

from napari_spa.core.metrics import dice
from napari_spa.evaluate.measures import Game, RatedMasks, Target, boundary_distance, measure_game
from napari_spa.evaluate.users import Observation, Pick

from .conftest import disc

TIGHT, LOOSE, FAR = disc(18, 14, 5), disc(18, 14, 8), disc(30, 45, 4)
RATED = RatedMasks(0, ("tight", "loose"), np.stack([TIGHT, LOOSE]))
GAME = Game("a", "p1", 0, "loose", "rival", "picks", "central")


def play():
    turns = [
        (Observation(TIGHT, (FAR, TIGHT, LOOSE), 0.25, 0.5), Pick(1)),
        (Observation(LOOSE, (), 0.1, 0.2), None),
    ]
    return measure_game(GAME, turns, Target(0, ("loose",), LOOSE), RATED, 4)


def test_one_row_a_round_and_the_last_mask_is_kept() -> None:
    rows, _ = play()
    assert [row.round for row in rows] == [1, 2, 3, 4]
    assert [row.dice for row in rows] == [pytest.approx(dice(TIGHT, LOOSE)), 1, 1, 1]
    assert [row.iou for row in rows] == [pytest.approx(r.dice / (2 - r.dice)) for r in rows]
    assert [(row.seconds, row.act) for row in rows] == [
        (0.5, "pick"),
        (0.2, "none"),
        (0, "none"),
        (0, "none"),
    ]
    assert {(r.image, r.group, r.target, r.method, r.user, r.clicks) for r in rows} == {
        ("a", "p1", "loose", "rival", "picks", "central")
    }
    first, second = rows[:2]
    assert first.best_dice == second.best_dice == 1
    assert first.similarity == pytest.approx(
        np.median([dice(FAR, TIGHT), dice(FAR, LOOSE), dice(TIGHT, LOOSE)])
    )
    assert math.isnan(second.similarity)
    assert first.plausible == pytest.approx(2 / 3)
    assert (first.candidates, second.candidates) == (3, 0)


def test_each_rater_is_compared_and_said_to_be_included_or_not() -> None:
    _, agreement = play()
    assert [(r.round, r.rater, r.included) for r in agreement[:4]] == [
        (1, "tight", False),
        (1, "loose", True),
        (2, "tight", False),
        (2, "loose", True),
    ]
    assert [r.dice for r in agreement[:4]] == [1, dice(TIGHT, LOOSE), dice(TIGHT, LOOSE), 1]
    assert len(agreement) == 4 * 2


def test_boundary_distance_of_concentric_squares() -> None:
    inner, outer = np.zeros((2, 30, 30), bool)
    inner[10:20, 10:20] = True
    outer[8:22, 8:22] = True
    # Every pixel of the inner outline is 2 from the outer one; of the 52 outer ones 4 x 10
    # are 2 away, and the corners' neighbours further.
    edges = [math.hypot(2, 2), math.hypot(2, 1)]
    back = 40 * 2 + 4 * edges[0] + 8 * edges[1]
    assert boundary_distance(inner, outer) == pytest.approx((36 * 2 + back) / (36 + 52))
    assert boundary_distance(outer, inner) == boundary_distance(inner, outer)
    assert boundary_distance(inner, inner) == 0
    assert math.isnan(boundary_distance(inner, inner & False))

"""What is measured of a round, and how rows are summed up, against direct computations."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from napari_spa.core.measures import dice
from napari_spa.errors import InputError
from napari_spa.evaluate.measures import (
    EvaluateConfig,
    Game,
    RatedMasks,
    Row,
    Target,
    bootstrap,
    boundary_distance,
    differences,
    measure_game,
    summarise,
)
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
    return measure_game(GAME, turns, Target(("loose",), LOOSE), RATED, 4)


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


@pytest.mark.parametrize("name", ["combinations", "rounds", "limit", "targets"])
def test_nothing_is_played_less_than_once(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} must be at least 1, but is 0"):
        EvaluateConfig(**{name: 0})


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


def row(image: str, target: str, method: str, number: int, value: float, **changes) -> Row:
    row = Row(
        image=image,
        group=image,
        object=0,
        target=target,
        method=method,
        user="picks",
        clicks="central",
        round=number,
        dice=value,
        iou=value / 2,
        boundary=2.0,
        best_dice=value,
        similarity=float("nan"),
        plausible=1.0,
        candidates=4,
        uncertainty=0.1,
        seconds=0.2,
        act="none",
    )
    return replace(row, **changes)


def test_with_one_row_an_image_it_is_the_usual_bootstrap() -> None:
    values = np.random.default_rng(1).normal(0.8, 0.1, 60)
    ours = bootstrap(values, [str(k) for k in range(60)])
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=9999, method="percentile", random_state=0
    ).confidence_interval
    assert ours.mean == pytest.approx(values.mean())
    assert ours.median == pytest.approx(np.median(values))
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_images_are_drawn_not_rows() -> None:
    centres = np.random.default_rng(0).normal(0, 1, 12)
    values = np.repeat(centres, 25)
    images = np.repeat([str(k) for k in range(12)], 25)
    clustered = bootstrap(values, images)
    wrong = bootstrap(values, [str(k) for k in range(300)])
    assert clustered.mean == pytest.approx(wrong.mean)
    assert clustered.high - clustered.low > 3 * (wrong.high - wrong.low)
    assert (clustered.rows, clustered.images) == (300, 12)


def test_an_image_with_more_rows_counts_more() -> None:
    interval = bootstrap([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"])
    assert interval.mean == 0.75
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_edges() -> None:
    single = bootstrap([0.2, 0.4], ["a", "a"])
    assert single.mean == pytest.approx(0.3)
    assert math.isnan(single.low)
    nothing = bootstrap([float("nan")], ["a"])
    assert math.isnan(nothing.mean)
    assert nothing.rows == 0
    assert bootstrap([float("nan"), 1.0, 1.0], ["a", "b", "c"]).rows == 2
    assert bootstrap([0.1, 0.9, 0.4], list("abc")) == bootstrap([0.1, 0.9, 0.4], list("abc"))


def rows() -> list[Row]:
    found = []
    for k, image in enumerate("abcdef"):
        for target in ("x", "y"):
            base = 0.5 + 0.05 * k
            for number in (1, 2, 3):
                found.append(row(image, target, "spa", number, base + 0.02 * number))
                found.append(row(image, target, "frozen", number, base + 0.02))
    return found


def test_summary() -> None:
    found = {(s.seat.method, s.round, s.metric): s.value for s in summarise(rows())}
    assert found["spa", 3, "dice"].mean == pytest.approx(0.5 + 0.125 + 0.06)
    assert found["spa", 3, "iou"].mean == pytest.approx((0.5 + 0.125 + 0.06) / 2)
    assert found["spa", 1, "dice"].mean == found["frozen", 1, "dice"].mean
    assert math.isnan(found["spa", 1, "similarity"].mean)
    assert {s.metric for s in summarise(rows(), metrics=("dice",))} == {"dice"}


def test_patients_are_drawn_where_they_are_known() -> None:
    joined = [replace(r, group="p" if r.image in "abc" else r.image) for r in rows()]
    images, patients = (
        next(s.value for s in summarise(each) if s.metric == "dice") for each in (rows(), joined)
    )
    assert (images.images, patients.images) == (6, 4)
    assert images.mean == pytest.approx(patients.mean)
    assert images.low != patients.low


def test_differences_are_paired() -> None:
    found = {(d.name, d.round): d.value for d in differences(rows())}
    # Images differ by far more than methods: only pairing gives so narrow an interval.
    assert found["spa - frozen", 3].mean == pytest.approx(0.04)
    assert found["spa - frozen", 3].high - found["spa - frozen", 3].low < 1e-9
    assert found["spa: round - first", 3].mean == pytest.approx(0.04)
    assert found["spa: round - before", 3].mean == pytest.approx(0.02)
    assert ("spa: round - before", 1) not in found
    assert ("spa: round - first", 1) not in found


def test_differences_leave_out_what_has_no_partner() -> None:
    some = [r for r in rows() if not (r.method == "frozen" and r.image in "abc")]
    found = {(d.name, d.round): d.value for d in differences(some)}
    assert found["spa - frozen", 2].images == 3
    assert differences([]) == []


def test_users_and_clicks_are_compared_with_their_own_kind() -> None:
    more = [replace(r, user="clicks", dice=r.dice - 0.1) for r in rows() if r.method == "spa"]
    other = [replace(r, clicks="realistic") for r in rows()]
    found = {(d.name, d.clicks, d.round): d.value for d in differences([*rows(), *more, *other])}
    assert found["spa (picks) - spa (clicks)", "central", 2].mean == pytest.approx(0.1)
    assert found["spa - frozen", "realistic", 3].mean == pytest.approx(0.04)
    assert ("spa (picks) - spa (clicks)", "realistic", 2) not in found

"""Unit tests of napari_spa.evaluate.measures, against direct computations."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from napari_spa.evaluate.measures import Row, bootstrap, differences, summarise


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

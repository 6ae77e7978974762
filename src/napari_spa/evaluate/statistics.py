"""Means with intervals, and paired differences, of the rows of an evaluation.

Rows of one image are not independent (several users, several objects), nor are images of
one patient, so patients are what is drawn again in the bootstrap where the data set knows
them, and images where it does not.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_spa.evaluate.measures import Key, Row, Seat

METRICS = (
    "dice",
    "iou",
    "boundary",
    "best_dice",
    "similarity",
    "plausible",
    "uncertainty",
    "seconds",
)
DRAWS = 2000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its bootstrap interval."""

    mean: float  # the mean over rows and its 95 % interval; the latter NaN for a single image
    low: float
    high: float
    median: float  # over rows
    rows: int  # how many went in
    images: int


@dataclass(frozen=True, slots=True)
class Summary:
    """One metric of one seat in one round."""

    seat: Seat
    round: int
    metric: str
    value: Interval


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference of Dice: the same image, object, target, clicks and round."""

    name: str  # what is compared, as ``"spa - spa-frozen"``
    clicks: str  # how users clicked
    round: int  # of the first of both
    value: Interval  # of the difference


def bootstrap(values: Sequence[float], images: Sequence[str], *, seed: int = 0) -> Interval:
    """Mean over rows with an interval from drawing images again."""
    array = np.asarray(values, dtype=np.float64)
    known = np.isfinite(array)
    array = array[known]
    if not array.size:
        return Interval(*(float("nan"),) * 4, rows=0, images=0)
    names, index = np.unique(np.asarray(images)[known], return_inverse=True)
    counts = np.bincount(index)
    totals = np.bincount(index, weights=array)
    mean, median, n = float(array.mean()), float(np.median(array)), len(names)
    if n == 1:
        return Interval(mean, float("nan"), float("nan"), median, array.size, n)
    means = drawn_means(counts, totals, seed)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(mean, float(low), float(high), median, array.size, n)


def drawn_means(
    counts: NDArray[np.intp], totals: NDArray[np.integer | np.floating], seed: int | Sequence[int]
) -> NDArray[np.float64]:
    """Return the mean over rows in each draw of images, (DRAWS,)."""
    n = len(counts)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=DRAWS)  # (DRAWS, n), times each is drawn
    means: NDArray[np.float64] = (drawn @ totals) / (drawn @ counts)
    return means


def by_seat(rows: Iterable[Row]) -> dict[Seat, list[Row]]:
    """Return each seat's rows, in the order in which seats first appear."""
    seats: dict[Seat, list[Row]] = defaultdict(list)
    for row in rows:
        seats[row.seat].append(row)
    return dict(seats)


def summarise(
    rows: Iterable[Row], *, seed: int = 0, metrics: Sequence[str] = METRICS
) -> list[Summary]:
    """Summarise metrics per seat and round."""
    found = []
    for seat, played in by_seat(rows).items():
        rounds: dict[int, list[Row]] = defaultdict(list)
        for row in played:
            rounds[row.round].append(row)
        for number, group in rounds.items():
            for metric in metrics:
                values = [float(getattr(row, metric)) for row in group]
                interval = bootstrap(values, [row.group for row in group], seed=seed)
                found.append(Summary(seat, number, metric, interval))
    return found


def differences(rows: Sequence[Row], *, seed: int = 0) -> list[Difference]:
    """Compare methods and rounds, paired over image, object and target."""
    seats = by_seat(rows)
    found: list[Difference] = []
    for clicks in dict.fromkeys(seat.clicks for seat in seats):
        first, *others = (seat for seat in seats if seat.clicks == clicks)
        pair = _Pairs(seats, first, seed)
        names = _short_names([first, *others])
        for other in others:
            found += pair(f"{names[first]} - {names[other]}", other)
        found += pair(f"{names[first]}: round - first", first, at=lambda number: 1)
        found += pair(f"{names[first]}: round - before", first, at=lambda number: number - 1)
    return found


def _short_names(seats: Sequence[Seat]) -> dict[Seat, str]:
    """Name seats by their method, and by their user where a method has several."""
    methods = [seat.method for seat in seats]
    return {
        seat: seat.method if methods.count(seat.method) == 1 else f"{seat.method} ({seat.user})"
        for seat in seats
    }


class _Pairs:
    """Pairs the rows of one seat with those of others."""

    def __init__(self, seats: Mapping[Seat, list[Row]], first: Seat, seed: int) -> None:
        self._seed, self._first = seed, first
        self._groups = {row.image: row.group for row in seats[first]}
        self._dice: dict[tuple[Seat, int], dict[Key, float]] = defaultdict(dict)
        for seat, rows in seats.items():
            for row in rows:
                self._dice[seat, row.round][row.key] = row.dice

    def __call__(
        self, name: str, baseline: Seat, at: Callable[[int], int] = lambda number: number
    ) -> list[Difference]:
        found = []
        for number in sorted(number for seat, number in self._dice if seat == self._first):
            other = baseline, at(number)
            if other == (self._first, number) or other not in self._dice:
                continue
            mine, theirs = self._dice[self._first, number], self._dice[other]
            shared = [key for key in mine if key in theirs]
            values = [mine[key] - theirs[key] for key in shared]
            groups = [self._groups[image] for image, _, _ in shared]
            interval = bootstrap(values, groups, seed=self._seed)
            found.append(Difference(name, self._first.clicks, number, interval))
        return found

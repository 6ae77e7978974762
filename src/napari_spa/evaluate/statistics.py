"""Means with intervals, and paired differences, of the rows of an evaluation.

Rows of one image are not independent (several users, several objects), so images are
what is drawn again in the bootstrap.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from napari_spa.evaluate.measure import Row

METRICS = ("dice", "iou", "best_dice", "pairwise_dice", "plausible", "uncertainty", "seconds")
DRAWS = 2000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its bootstrap interval.

    Attributes
    ----------
    mean, low, high : float
        The mean over rows and its 95 % interval; the latter NaN for a single image.
    median : float
        Over rows.
    rows, images : int
        How many went in.
    """

    mean: float
    low: float
    high: float
    median: float
    rows: int
    images: int


@dataclass(frozen=True, slots=True)
class Summary:
    """One metric of one method in one round."""

    method: str
    head: str
    round: int
    metric: str
    value: Interval


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference of Dice: the same image, target, user and round.

    Attributes
    ----------
    name : str
        What is compared, as ``"spa - frozen"``.
    head : str
        Preference head.
    round : int
        Of the first of both.
    value : Interval
        Of the difference.
    """

    name: str
    head: str
    round: int
    value: Interval


def bootstrap(values: Sequence[float], images: Sequence[str], *, seed: int = 0) -> Interval:
    """Mean over rows with an interval from drawing images again.

    Parameters
    ----------
    values : sequence of float
        One per row; NaN is left out.
    images : sequence of str
        The image of each row.
    seed : int
        Of the draws.

    Returns
    -------
    Interval
    """
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
    means = _drawn_means(counts, totals, seed)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(mean, float(low), float(high), median, array.size, n)


def _drawn_means(
    counts: NDArray[np.intp], totals: NDArray[np.integer | np.floating], seed: int | Sequence[int]
) -> NDArray[np.float64]:
    """Return the mean over rows in each draw of images, (DRAWS,)."""
    n = len(counts)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=DRAWS)  # (DRAWS, n), times each is drawn
    means: NDArray[np.float64] = (drawn @ totals) / (drawn @ counts)
    return means


def average_over_sets(
    sets: Sequence[tuple[Sequence[float], Sequence[str]]], *, seed: int = 0
) -> Interval:
    """Average the means of several data sets, each counting the same.

    Parameters
    ----------
    sets : sequence of (values, images)
        One value per row, and the image of each row; two images or more in each set.
    seed : int
        Of the draws, which are independent between sets.

    Returns
    -------
    Interval
        ``median`` is that of the sets' means.
    """
    means, draws = [], []
    for number, (values, images) in enumerate(sets):
        array = np.asarray(values, dtype=np.float64)
        _, index = np.unique(np.asarray(images), return_inverse=True)
        counts, totals = np.bincount(index), np.bincount(index, weights=array)
        means.append(float(array.mean()))
        draws.append(_drawn_means(counts, totals, (seed, number)))
    low, high = np.quantile(np.mean(draws, axis=0), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(
        float(np.mean(means)),
        float(low),
        float(high),
        float(np.median(means)),
        rows=sum(len(values) for values, _ in sets),
        images=sum(len(set(images)) for _, images in sets),
    )


def summarise(rows: Iterable[Row], *, seed: int = 0) -> list[Summary]:
    """Summarise each metric per method, head and round.

    Parameters
    ----------
    rows : iterable of Row
        From :func:`napari_spa.evaluate.protocol.evaluate`.
    seed : int
        Of the bootstrap.

    Returns
    -------
    list of Summary
        In the order in which methods and heads first appear, then by round.
    """
    groups: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.method, row.head, row.round].append(row)
    return [
        Summary(method, head, number, metric, _interval(group, metric, seed))
        for (method, head, number), group in groups.items()
        for metric in METRICS
    ]


def _interval(rows: Sequence[Row], metric: str, seed: int) -> Interval:
    values = [float(getattr(row, metric)) for row in rows]
    return bootstrap(values, [row.image for row in rows], seed=seed)


def differences(rows: Sequence[Row], *, seed: int = 0) -> list[Difference]:
    """Compare methods, rounds and heads, paired over image, target and user.

    Parameters
    ----------
    rows : sequence of Row
        From :func:`napari_spa.evaluate.protocol.evaluate`.
    seed : int
        Of the bootstrap.

    Returns
    -------
    list of Difference
        The first method minus each other one; the first method's later rounds minus its
        first, and minus the round before; its further heads minus its first head.
    """
    methods = list(dict.fromkeys(row.method for row in rows))
    heads = list(dict.fromkeys(row.head for row in rows))
    if not methods:
        return []
    pair = _Pairs(rows, seed)
    first = methods[0]
    found: list[Difference] = []
    for head in heads:
        mine = first, head
        for other in methods[1:]:
            found += pair(f"{first} - {other}", mine, (other, head))
        found += pair(f"{first}: round - first", mine, mine, at=lambda number: 1)
        found += pair(f"{first}: round - before", mine, mine, at=lambda number: number - 1)
    for head in heads[1:]:
        found += pair(f"{first}: head - {heads[0]}", (first, head), (first, heads[0]))
    return found


_Game = tuple[str, str]  # method, head


def _same(number: int) -> int:
    return number


class _Pairs:
    """Pairs the rows of two games."""

    def __init__(self, rows: Iterable[Row], seed: int) -> None:
        self._seed = seed
        self._dice: dict[tuple[_Game, int], dict[tuple[str, int, str], float]] = defaultdict(dict)
        for row in rows:
            game = row.method, row.head
            self._dice[game, row.round][row.image, row.target, row.user] = row.dice

    def __call__(
        self, name: str, game: _Game, rival: _Game, at: Callable[[int], int] = _same
    ) -> list[Difference]:
        found = []
        for number in sorted(number for played, number in self._dice if played == game):
            other = rival, at(number)
            if other == (game, number) or other not in self._dice:
                continue
            mine, theirs = self._dice[game, number], self._dice[other]
            shared = [key for key in mine if key in theirs]
            values = [mine[key] - theirs[key] for key in shared]
            interval = bootstrap(values, [image for image, _, _ in shared], seed=self._seed)
            found.append(Difference(name, game[1], number, interval))
        return found

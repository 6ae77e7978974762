"""The tables of the paper, from the rows of an evaluation.

Each function returns a :class:`Table`, or None where the rows have nothing for it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_spa.evaluate.measures import (
    Interval,
    Key,
    RaterRow,
    Row,
    Seat,
    bootstrap,
    by_seat,
    differences,
    summarise,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from napari_spa.core.types import DoubleArray

THRESHOLDS = (0.70, 0.75, 0.80, 0.85, 0.90)  # Dice at which rounds are counted
NEVER = 10  # rounds that a game counts for which never reaches the Dice (paper, section 9)


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a report."""

    name: str  # of its file
    title: str  # above and below it
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Results:
    """What a report is made of."""

    rows: Sequence[Row]
    agreement: Sequence[RaterRow]
    costs: Mapping[str, Mapping[str, object]]  # of each trained method: parameters, steps, seconds
    seed: int = 0  # of the bootstrap
    tables: Sequence[Table] = ()  # further ones, before the others


def all_tables(results: Results) -> list[Table]:
    """Return every table for which there are rows, in the paper's order."""
    makers: tuple[Callable[[Results], Table | None], ...] = (
        dice_after_rounds,
        paired_differences,
        alignment,
        ablation,
        own_models,
        failures,
        rounds_by_rater,
        gains,
        rounds_to_reach,
        left_out,
        similarity_by_round,
        seconds_by_round,
        costs,
    )
    return [table for table in (make(results) for make in makers) if table is not None]


def dice_after_rounds(results: Results) -> Table | None:
    """Table 1: Dice after one round, after three, and after the last."""
    means = _means(results, "dice")
    rounds = _some_rounds(results.rows)
    rows = [
        (*astuple(seat), *(spread(values.get(number)) for number in rounds))
        for seat, values in means.items()
        if "@" not in seat.method and "~" not in seat.method
    ]
    header = (*_SEAT_HEADER, *(_after(number) for number in rounds))
    note = (
        "Dice of the recommended mask with the fused mask of some raters, mean over images, "
        "objects and combinations of raters. A method that gives one mask keeps it in all rounds."
    )
    return _table("table-1", "Table 1: Dice after one and three rounds", note, header, rows)


def paired_differences(results: Results) -> Table | None:
    """Return how far the first method is ahead of each other one, on the same targets."""
    found = differences(results.rows, seed=results.seed)
    rounds = sorted({difference.round for difference in found})
    names = dict.fromkeys((difference.name, difference.clicks) for difference in found)
    values = {(each.name, each.clicks, each.round): each.value for each in found}
    rows = [
        (*name, *(spread(values.get((*name, number)), points=True) for number in rounds))
        for name in names
    ]
    header = ("difference", "clicks", *map(str, rounds))
    note = (
        "In hundredths of Dice, by round; the same image, object, target and click on both sides."
    )
    return _table("differences", "Paired differences of Dice", note, header, rows)


def alignment(results: Results) -> Table | None:
    """Table 2: Dice with the raters of a target and with those who are not among them."""
    first = {seat.clicks: seat for seat in reversed(by_seat(results.rows))}
    groups: dict[tuple[Seat, str, bool], dict[int, list[RaterRow]]] = {}
    mixed = {row.key for row in results.agreement if not row.included}
    for row in results.agreement:
        if first.get(row.clicks) == row.seat and row.key in mixed:
            rounds = groups.setdefault((row.seat, row.rater, row.included), defaultdict(list))
            rounds[row.round].append(row)
    rows = []
    for (seat, rater, included), rounds in sorted(groups.items()):
        part = "included" if included else "excluded"
        cells = [spread(_mean_dice(rounds[number], results.seed)) for number in sorted(rounds)]
        start = {r.key: r.dice for r in rounds[1]}
        last = rounds[max(rounds)]
        change = bootstrap(
            [100 * (r.dice - start[r.key]) for r in last],
            [r.group for r in last],
            seed=results.seed,
        )
        rows.append((seat.method, seat.clicks, rater, part, *cells, spread(change, digits=2)))
    count = max((row.round for row in results.agreement), default=0)
    header = ("method", "clicks", "rater", "mask", *map(str, range(1, count + 1)), "change, points")
    note = (
        "Dice of the recommended mask with each rater's own, by round, over the targets that fuse "
        "some raters and leave out others. Alignment: rising where included, falling where not."
    )
    return _table("table-2", "Table 2: alignment with raters", note, header, rows)


def ablation(results: Results) -> Table | None:
    """Table 3: what each part of the method gives, after three rounds."""
    marks = {
        "spa-random-gaussian": ("x", "", "", ""),
        "spa-gaussian": ("x", "x", "", ""),
        "spa-weights": ("x", "", "x", ""),
        "spa": ("x", "x", "x", ""),
        "spa-n24": ("x", "x", "x", "24"),
        "spa-n36": ("x", "x", "x", "36"),
        "spa-n48": ("x", "x", "x", "48"),
    }
    if not (marks.keys() - {"spa"}) & {row.method for row in results.rows}:
        return None
    number = min(3, max(row.round for row in results.rows))
    rows = [
        (seat.method, seat.clicks, *marks[seat.method], spread(values.get(number)))
        for seat, values in _means(results, "dice").items()
        if seat.method in marks
    ]
    header = ("method", "clicks", "samples", "means, variances", "weights", "N", _after(number))
    note = (
        "One trained model; parts are switched off while it is used (the paper trains each). "
        "Samples come from one standard Gaussian where nothing else is marked."
    )
    return _table("table-3", "Table 3: parts of the method", note, header, rows)


def own_models(results: Results) -> Table | None:
    """Table 4: models that were trained on one rater, compared with every rater."""
    last = max((row.round for row in results.agreement), default=0)
    groups: dict[tuple[str, str], list[RaterRow]] = defaultdict(list)
    for row in results.agreement:
        # One target with all raters is enough: the mask does not depend on the target.
        if "@" in row.method and row.round == last and row.target == row.rater:
            groups[row.method, row.rater].append(row)
    methods = sorted({method for method, _ in groups})
    raters = sorted({rater for _, rater in groups})
    rows = [
        (method, *(spread(_mean_dice(groups[method, rater], results.seed)) for rater in raters))
        for method in methods
    ]
    note = "Each row is a network that was trained on one rater's masks alone (METHOD@RATER)."
    title = "Table 4: each rater's own model on all raters"
    return _table("table-4", title, note, ("model", *raters), rows)


def failures(results: Results) -> Table | None:
    """Table 5: the share of games that never reach a Dice."""
    rows = _by_threshold(results, lambda rounds: rounds == NEVER, digits=3)
    note = "Share of targets for which the Dice was not reached in any round."
    return _table("table-5", "Table 5: failure rate", note, _THRESHOLD_HEADER, rows)


def rounds_by_rater(results: Results) -> Table | None:
    """Table 6: rounds to reach a Dice, for each single rater."""
    levels = (0.75, 0.85)
    rows = []
    for seat, played in by_seat(results.rows).items():
        for rater in sorted({row.target for row in played if "+" not in row.target}):
            games = games_of([row for row in played if row.target == rater])[seat]
            means = [games.mean(games.rounds_to(level), results.seed) for level in levels]
            rows.append((*astuple(seat), rater, *(spread(mean, digits=2) for mean in means)))
    header = (*_SEAT_HEADER, "rater", *(f"Dice {level:.2f}" for level in levels))
    title = "Table 6: rounds to reach a Dice, by rater"
    return _table("table-6", title, _ROUNDS_NOTE, header, rows)


def gains(results: Results) -> Table | None:
    """Table 7: what each round gives."""
    count = max((row.round for row in results.rows), default=0) - 1
    if count < 1:
        return None
    rows = []
    for seat, games in games_of(results.rows).items():
        steps = [games.mean(100 * step, results.seed) for step in np.diff(games.dice, axis=1).T]
        whole = games.mean(100 * (games.dice[:, -1] - games.dice[:, 0]), results.seed)
        rows.append((*astuple(seat), *(spread(mean, digits=2) for mean in [*steps, whole])))
    header = (*_SEAT_HEADER, *(f"{n} to {n + 1}" for n in range(1, count + 1)), "first to last")
    return _table("table-7", "Table 7: gain between rounds", "In points of Dice.", header, rows)


def rounds_to_reach(results: Results) -> Table | None:
    """Figure 4 as a table: rounds to reach a Dice."""
    rows = _by_threshold(results, lambda rounds: rounds, digits=2)
    title = "Figure 4: rounds to reach a Dice"
    return _table("figure-4", title, _ROUNDS_NOTE, _THRESHOLD_HEADER, rows)


def left_out(results: Results) -> Table | None:
    """Leave one rater out: trained without a rater (METHOD~RATER), played for that rater."""
    rows = []
    last = max((row.round for row in results.rows), default=0)
    dice: dict[tuple[Seat, str, int], dict[tuple[str, int], Row]] = defaultdict(dict)
    for row in results.rows:
        dice[row.seat, row.target, row.round][row.image, row.object] = row
    for seat in by_seat(results.rows):
        base, _, rater = seat.method.partition("~")
        if not rater:
            continue
        cells = []
        for number in (1, last):
            without = dice.get((seat, rater, number), {})
            interval = _mean_dice(list(without.values()), results.seed)
            all_raters = dice.get((Seat(base, seat.user, seat.clicks), rater, number), {})
            shared = [key for key in without if key in all_raters]
            change = bootstrap(
                [100 * (without[key].dice - all_raters[key].dice) for key in shared],
                [without[key].group for key in shared],
                seed=results.seed,
            )
            cells += [spread(interval), spread(change, digits=2)]
        rows.append((base, seat.clicks, rater, *cells))
    header = ("method", "clicks", "left out", "round 1", "change", f"round {last}", "change")
    note = (
        "Dice with a rater whose masks the method never saw, and in points what it changes to "
        "have been trained without that rater, where the method trained on all was played too."
    )
    return _table("left-out", "Leave one rater out", note, header, rows)


def similarity_by_round(results: Results) -> Table | None:
    """Figure 5 as a table: how alike the candidates are."""
    return _by_round(
        results,
        "similarity",
        "figure-5",
        "Figure 5: similarity of candidates by round",
        "Median Dice between the candidates of a round, mean over targets.",
    )


def seconds_by_round(results: Results) -> Table | None:
    """Return what a round costs."""
    note = "To compute a round, on the machine of this run; the first includes encoding the image."
    return _by_round(results, "seconds", "seconds", "Seconds a round", note)


def costs(results: Results) -> Table | None:
    """Return what each trained method cost."""
    names = ("parameters", "trained", "steps", "best step", "seconds", "score")
    rows = [
        (method, *(str(facts.get(name, "")) for name in names))
        for method, facts in results.costs.items()
        if facts
    ]
    note = (
        "Parameters in all and those that training moved; the step whose weights were kept is "
        "the best on images held aside from the training split, by the Dice in the last column."
    )
    return _table("costs", "What training cost", note, ("method", *names), rows)


_SEAT_HEADER = ("method", "user", "clicks")
_THRESHOLD_HEADER = (*_SEAT_HEADER, *(f"Dice {level:.2f}" for level in THRESHOLDS))
_ROUNDS_NOTE = f"Mean number of rounds; a game that does not reach it counts {NEVER}."


def _after(number: int) -> str:
    return "after 1 round" if number == 1 else f"after {number} rounds"


def _some_rounds(rows: Sequence[Row]) -> list[int]:
    known = {row.round for row in rows}
    return sorted(known & {1, 3, max(known, default=0)})


def _table(
    name: str, title: str, note: str, header: Sequence[str], rows: Sequence[Sequence[str]]
) -> Table | None:
    if not rows:
        return None
    return Table(name, title, note, tuple(header), tuple(tuple(row) for row in rows))


def _means(results: Results, metric: str) -> dict[Seat, dict[int, Interval]]:
    means: dict[Seat, dict[int, Interval]] = defaultdict(dict)
    for summary in summarise(results.rows, seed=results.seed, metrics=(metric,)):
        means[summary.seat][summary.round] = summary.value
    return means


def _by_threshold(
    results: Results, measure: Callable[[DoubleArray], Iterable[float]], *, digits: int
) -> list[tuple[str, ...]]:
    """Return a row a seat: of the rounds that its games take to each Dice, the mean measure."""
    return [
        (
            *astuple(seat),
            *(
                spread(games.mean(measure(games.rounds_to(level)), results.seed), digits=digits)
                for level in THRESHOLDS
            ),
        )
        for seat, games in games_of(results.rows).items()
    ]


def _by_round(results: Results, metric: str, name: str, title: str, note: str) -> Table | None:
    rounds = sorted({row.round for row in results.rows})
    rows = []
    for seat, values in _means(results, metric).items():
        cells = tuple(spread(values.get(number)) for number in rounds)
        if any(cells):
            rows.append((*astuple(seat), *cells))
    return _table(name, title, note, (*_SEAT_HEADER, *map(str, rounds)), rows)


def _mean_dice(rows: Sequence[Row] | Sequence[RaterRow], seed: int) -> Interval:
    return bootstrap([row.dice for row in rows], [row.group for row in rows], seed=seed)


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """The Dice of one seat's games, round after round."""

    groups: list[str]
    dice: DoubleArray  # (games, rounds)

    def rounds_to(self, level: float) -> DoubleArray:
        """Return the first round of each game that reaches a Dice, ``NEVER`` where none does."""
        reached = self.dice >= level
        return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1.0, float(NEVER))

    def mean(self, values: Iterable[float], seed: int) -> Interval:
        """Return the mean over games with its interval."""
        return bootstrap([float(value) for value in values], self.groups, seed=seed)


def games_of(rows: Sequence[Row]) -> dict[Seat, Series]:
    """Return the games of each seat."""
    found = {}
    for seat, played in by_seat(rows).items():
        games: dict[Key, list[Row]] = defaultdict(list)
        for row in played:
            games[row.key].append(row)
        dice = [
            [row.dice for row in sorted(game, key=lambda row: row.round)] for game in games.values()
        ]
        groups = [game[0].group for game in games.values()]
        found[seat] = Series(groups, np.array(dice))
    return found


def spread(value: Interval | None, *, points: bool = False, digits: int = 3) -> str:
    """Write a mean with its interval; ``points`` are hundredths, with their sign."""
    if value is None or math.isnan(value.mean):
        return ""
    scale, form = (100.0, "+.2f") if points else (1.0, f".{digits}f")
    mean = format(value.mean * scale, form)
    if math.isnan(value.low):
        return mean
    return f"{mean} ({format(value.low * scale, form)}, {format(value.high * scale, form)})"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]

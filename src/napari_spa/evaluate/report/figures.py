"""The plots of an evaluation, in colours that colour-blind people tell apart, and in dashes."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.evaluate.report.tables import NEVER, THRESHOLDS
from napari_spa.evaluate.statistics import by_seat, summarise
from napari_spa.io.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from napari_spa.evaluate.measures import Row
    from napari_spa.evaluate.statistics import Seat

# Okabe and Ito's colours; with the dashes and marks they are told apart in black and white too.
_COLOURS = ("#0072b2", "#e69f00", "#999999", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
_DASHES = ("-", "--", ":", "-.")
_MARKS = "osD^vP*X"


def write_figures(rows: Sequence[Row], folder: Path, *, seed: int = 0) -> list[tuple[str, str]]:
    """Draw Dice by round, rounds to reach a Dice, and the candidates' similarity."""
    found = []
    for clicks in dict.fromkeys(row.clicks for row in rows):
        chosen = [row for row in rows if row.clicks == clicks]
        for name, title, draw in (
            ("dice", "Dice by round", _draw_dice),
            ("figure-4", "Figure 4: rounds to reach a Dice", _draw_rounds),
            ("figure-5", "Figure 5: similarity of candidates by round", _draw_similarity),
        ):
            if name == "figure-5" and all(np.isnan(row.similarity) for row in chosen):
                continue
            _write(folder, f"{name}-{clicks}", partial(draw, chosen, seed))
            found.append((f"{name}-{clicks}", f"{title} ({clicks} clicks)"))
    return found


def _write(folder: Path, name: str, draw: Callable[[Axes], None]) -> None:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # A fixed salt and no date: the same rows give the same file.
    with rc_context({"svg.hashsalt": "napari-spa", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7.2, 4.4), layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure.add_subplot())
        with atomic_path(folder / f"{name}.png") as path:
            figure.savefig(path, dpi=150, metadata={"Software": None})
        with atomic_path(folder / f"{name}.svg") as path:
            figure.savefig(path, metadata={"Date": None})


def _draw_dice(rows: Sequence[Row], seed: int, axes: Axes) -> None:
    means: dict[Seat, list[tuple[int, float, float, float]]] = defaultdict(list)
    for summary in summarise(rows, seed=seed, metrics=("dice",)):
        value = summary.value
        means[summary.seat].append((summary.round, value.mean, value.low, value.high))
    for (seat, points), style in zip(means.items(), _styles(len(means)), strict=True):
        rounds, mean, low, high = zip(*points, strict=True)
        axes.plot(rounds, mean, label=_label(seat, list(means)), **style)
        if not np.isnan(low).any():
            axes.fill_between(rounds, low, high, color=style["color"], alpha=0.1, linewidth=0)
    _finish(axes, "round", "Dice with the mask in mind")


def _draw_rounds(rows: Sequence[Row], seed: int, axes: Axes) -> None:
    seats = by_seat(rows)
    for (seat, played), style in zip(seats.items(), _styles(len(seats)), strict=True):
        games: dict[tuple[str, int, str], list[float]] = defaultdict(list)
        for row in sorted(played, key=lambda row: row.round):
            games[row.image, row.object, row.target].append(row.dice)
        dice = np.array(list(games.values()))
        needed = [
            np.where((dice >= level).any(axis=1), (dice >= level).argmax(axis=1) + 1, NEVER).mean()
            for level in THRESHOLDS
        ]
        axes.plot(THRESHOLDS, needed, label=_label(seat, list(seats)), **style)
    _finish(axes, "Dice to reach", f"rounds ({NEVER} where never)")
    axes.set_xticks(THRESHOLDS)


def _draw_similarity(rows: Sequence[Row], seed: int, axes: Axes) -> None:
    seats = {
        seat: played
        for seat, played in by_seat(rows).items()
        if not all(np.isnan(row.similarity) for row in played)
    }
    width = 0.8 / len(seats)
    for index, ((seat, played), style) in enumerate(
        zip(seats.items(), _styles(len(seats)), strict=True)
    ):
        rounds = sorted({row.round for row in played})
        boxes = [
            [row.similarity for row in played if row.round == number and row.similarity >= 0]
            for number in rounds
        ]
        places = [number + (index - (len(seats) - 1) / 2) * width for number in rounds]
        shape = {"color": style["color"], "linestyle": style["linestyle"]}
        drawn = axes.boxplot(
            boxes,
            positions=places,
            widths=0.8 * width,
            showfliers=False,
            manage_ticks=False,
            boxprops=shape,
            whiskerprops=shape,
            capprops=shape,
            medianprops=shape | {"linewidth": 2},
        )
        drawn["boxes"][0].set_label(_label(seat, list(seats)))
    _finish(axes, "round", "median Dice between candidates")


def _finish(axes: Axes, across: str, up: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel(across)
    axes.set_ylabel(up)
    if across == "round":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _label(seat: Seat, seats: Sequence[Seat]) -> str:
    methods = [each.method for each in seats]
    return seat.method if methods.count(seat.method) == 1 else f"{seat.method}, {seat.user}"


def _styles(count: int) -> list[dict[str, Any]]:
    """Return distinct line styles: the colour changes first, then dashes, then marks."""
    styles = []
    for index, mark in zip(range(count), cycle(_MARKS), strict=False):
        colour = _COLOURS[index % len(_COLOURS)]
        dash = _DASHES[index // len(_COLOURS) % len(_DASHES)]
        styles.append(
            {"color": colour, "linestyle": dash, "marker": mark, "markersize": 4, "linewidth": 1.4}
        )
    return styles

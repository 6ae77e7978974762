"""The plot of an evaluation: Dice by round."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_spa.evaluate.statistics import Summary

# Okabe and Ito's colours, told apart by colour-blind people too.
_COLOURS = ("#0072b2", "#e69f00", "#999999", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
_DASHES = ("-", "--", ":", "-.")


def plot_rounds(summaries: Sequence[Summary], path: Path, *, metric: str = "dice") -> None:
    """Draw a metric by round: a line per method (colour) and head (dashes), with bands.

    Parameters
    ----------
    summaries : sequence of Summary
        Of the metric, among others.
    path : Path
        A ``.png`` file to write.
    metric : str
        Which metric.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    chosen = [s for s in summaries if s.metric == metric]
    methods = list(dict.fromkeys(s.method for s in chosen))
    heads = list(dict.fromkeys(s.head for s in chosen))
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for m, method in enumerate(methods):
        for h, head in enumerate(heads):
            line = [s for s in chosen if (s.method, s.head) == (method, head)]
            rounds = [s.round for s in line]
            colour = _COLOURS[m % len(_COLOURS)]
            axes.plot(
                rounds,
                [s.value.mean for s in line],
                color=colour,
                linestyle=_DASHES[h % len(_DASHES)],
                marker="o",
                markersize=4,
                label=method if len(heads) == 1 else f"{method}, {head} head",
            )
            axes.fill_between(
                rounds,
                [s.value.low for s in line],
                [s.value.high for s in line],
                color=colour,
                alpha=0.12,
                linewidth=0,
            )
    axes.set_xlabel("round")
    axes.set_ylabel(f"{metric.capitalize()} with the user's own mask")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150, metadata={"Software": None})

"""Rows of an evaluation to CSV, Markdown and a plot."""

from __future__ import annotations

import csv
import math
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

from napari_spa.evaluate.measure import Row
from napari_spa.evaluate.plot import plot_rounds
from napari_spa.evaluate.statistics import Difference, Interval, Summary, differences, summarise
from napari_spa.io.files import atomic_path, neutral

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


def write_report(
    rows: Sequence[Row], folder: Path, *, facts: Mapping[str, object] | None = None, seed: int = 0
) -> tuple[list[Summary], list[Difference]]:
    """Write ``rows.csv``, ``summary.csv``, ``differences.csv``, ``report.md``, ``dice.png``.

    Parameters
    ----------
    rows : sequence of Row
        From :func:`napari_spa.evaluate.protocol.evaluate`.
    folder : Path
        Made if needed.
    facts : mapping or None
        What was evaluated on what, for the head of the report.
    seed : int
        Of the bootstrap.

    Returns
    -------
    summaries : list of Summary
    found : list of Difference

    Raises
    ------
    DataError
        When the folder cannot be written.
    """
    summaries, found = summarise(rows, seed=seed), differences(rows, seed=seed)
    names = [field.name for field in fields(Row)]
    write_csv(folder / "rows.csv", names, (cells(asdict(row)) for row in rows))
    values = [field.name for field in fields(Interval)]
    write_csv(
        folder / "summary.csv",
        ["method", "head", "round", "metric", *values],
        ([s.method, s.head, s.round, s.metric, *cells(asdict(s.value))] for s in summaries),
    )
    write_csv(
        folder / "differences.csv",
        ["difference", "head", "round", *values],
        ([d.name, d.head, d.round, *cells(asdict(d.value))] for d in found),
    )
    with atomic_path(folder / "report.md") as path:
        path.write_text(to_markdown(summaries, found, facts or {}), encoding="utf-8")
    with atomic_path(folder / "dice.png") as path:
        plot_rounds(summaries, path)
    return summaries, found


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows as CSV, whole or not at all."""
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows([neutral(c) if isinstance(c, str) else c for c in row] for row in rows)


def cells(values: Mapping[str, object]) -> list[object]:
    """Return the cells of a row: floats rounded, and empty where there is no value."""
    return [_cell(value) for value in values.values()]


def _cell(value: object) -> object:
    """Round a float for a table; leave a cell empty where there is no value."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return round(value, 6) if isinstance(value, float) else value


def to_markdown(
    summaries: Sequence[Summary], found: Sequence[Difference], facts: Mapping[str, object]
) -> str:
    """Write the report as Markdown.

    Parameters
    ----------
    summaries : sequence of Summary
        Of every metric.
    found : sequence of Difference
        Paired differences of Dice.
    facts : mapping
        What was evaluated on what.

    Returns
    -------
    str
    """
    lines = ["# Evaluation", ""]
    lines += [f"* {name}: {value}" for name, value in facts.items()]
    lines += [
        "",
        "In parentheses: bootstrap 95 % intervals, drawn over images.",
        "",
        "## Dice with the user's own mask, by round",
        "",
        *_rounds_table(summaries, "dice"),
        "",
        "## Paired differences of Dice, in points",
        "",
        *_difference_table(found),
    ]
    titles = {
        "best_dice": "Dice of the best candidate",
        "pairwise_dice": "Median Dice between candidates",
        "plausible": "Share of plausible candidates (Dice above 0.5 with some rater)",
        "seconds": "Seconds to compute a round",
    }
    for metric, title in titles.items():
        lines += ["", f"## {title}, by round", "", *_rounds_table(summaries, metric)]
    return "\n".join(lines) + "\n"


def _rounds_table(summaries: Sequence[Summary], metric: str) -> list[str]:
    chosen = [s for s in summaries if s.metric == metric]
    rounds = sorted({s.round for s in chosen})
    by_game: dict[tuple[str, str], dict[int, Interval]] = {}
    for s in chosen:
        by_game.setdefault((s.method, s.head), {})[s.round] = s.value
    rows = [
        [method, head, *(spread(values.get(number)) for number in rounds)]
        for (method, head), values in by_game.items()
    ]
    return markdown_table(["method", "head", *map(str, rounds)], rows)


def _difference_table(found: Sequence[Difference]) -> list[str]:
    rounds = sorted({d.round for d in found})
    by_name: dict[tuple[str, str], dict[int, Interval]] = {}
    for d in found:
        by_name.setdefault((d.name, d.head), {})[d.round] = d.value
    rows = [
        [name, head, *(spread(values.get(number), points=True) for number in rounds)]
        for (name, head), values in by_name.items()
    ]
    return markdown_table(["difference", "head", *map(str, rounds)], rows)


def spread(value: Interval | None, *, points: bool = False) -> str:
    """Write a mean with its interval; ``points`` are hundredths, with their sign."""
    if value is None or math.isnan(value.mean):
        return ""
    scale, form = (100.0, "+.2f") if points else (1.0, ".3f")
    mean = format(value.mean * scale, form)
    if math.isnan(value.low):
        return mean
    return f"{mean} ({format(value.low * scale, form)}, {format(value.high * scale, form)})"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]

"""Write a report: its tables as CSV and Markdown, its figures, and one page."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import asdict, dataclass, fields
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.evaluate.measures import (
    Difference,
    Interval,
    RaterRow,
    Row,
    Seat,
    Summary,
    by_seat,
    differences,
    short_names,
    summarise,
)
from napari_spa.evaluate.tables import (
    NEVER,
    THRESHOLDS,
    Results,
    Table,
    all_tables,
    games_of,
    markdown_table,
)
from napari_spa.io.files import atomic_path, write_csv, write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes


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
    from matplotlib.figure import Figure

    # A fixed salt and no date: the same rows give the same file.
    with rc_context({"svg.hashsalt": "napari-spa", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7.2, 4.4), layout="constrained")
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
    for seat, style in _styles(means).items():
        rounds, mean, low, high = zip(*means[seat], strict=True)
        axes.plot(rounds, mean, **style)
        if not np.isnan(low).any():
            axes.fill_between(rounds, low, high, color=style["color"], alpha=0.1, linewidth=0)
    _finish(axes, "round", "Dice with the mask in mind")


def _draw_rounds(rows: Sequence[Row], seed: int, axes: Axes) -> None:
    seats = games_of(rows)
    for seat, style in _styles(seats).items():
        needed = [seats[seat].rounds_to(level).mean() for level in THRESHOLDS]
        axes.plot(THRESHOLDS, needed, **style)
    _finish(axes, "Dice to reach", f"rounds ({NEVER} where never)")
    axes.set_xticks(THRESHOLDS)


def _draw_similarity(rows: Sequence[Row], seed: int, axes: Axes) -> None:
    seats = {
        seat: played
        for seat, played in by_seat(rows).items()
        if not all(np.isnan(row.similarity) for row in played)
    }
    width = 0.8 / len(seats)
    for index, (seat, style) in enumerate(_styles(seats).items()):
        rounds = sorted({row.round for row in seats[seat]})
        boxes = [
            [row.similarity for row in seats[seat] if row.round == number and row.similarity >= 0]
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
        drawn["boxes"][0].set_label(style["label"])
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


def _styles(seats: Collection[Seat]) -> dict[Seat, dict[str, Any]]:
    """Return a label and line of each seat: the colour changes first, then dashes, then marks."""
    return {
        seat: {
            "label": label,
            "color": _COLOURS[index % len(_COLOURS)],
            "linestyle": _DASHES[index // len(_COLOURS) % len(_DASHES)],
            "marker": _MARKS[index % len(_MARKS)],
            "markersize": 4,
            "linewidth": 1.4,
        }
        for index, (seat, label) in enumerate(short_names(list(seats)).items())
    }


_INTERVALS = (
    "In parentheses: bootstrap 95 % intervals, drawn over patients where the set knows them, "
    "else over images."
)

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.6rem; border-bottom: 1px solid #8886; text-align: left; }
th { position: sticky; top: 0; background: Canvas; }
.wide { overflow-x: auto; }
figure { margin: 1rem 0; }
img { max-width: 100%; background: white; }
nav li { display: inline-block; margin-right: 1rem; }
nav ul { padding: 0; }
@media print { body { max-width: none; } nav { display: none; } }
"""


@dataclass(frozen=True, slots=True)
class Report:
    """What was written."""

    text: str  # the content of ``report.md``
    summaries: list[Summary]
    differences: list[Difference]
    remark: str | None  # what could not be written, in one sentence


def write_report(results: Results, folder: Path, *, facts: Mapping[str, object]) -> Report:
    """Write everything that an evaluation found."""
    remark = _write_rows(folder / "rows", Row, results.rows)
    _write_rows(folder / "raters", RaterRow, results.agreement)
    summaries = summarise(results.rows, seed=results.seed)
    found = differences(results.rows, seed=results.seed)
    _write_numbers(folder, summaries, found)
    tables = [*results.tables, *all_tables(results)]
    for table in tables:
        write_csv(folder / "tables" / f"{table.name}.csv", table.header, table.rows)
    figures = write_figures(results.rows, folder / "figures", seed=results.seed)
    text = to_markdown(tables, figures, facts)
    write_text(folder / "report.md", text)
    write_text(folder / "index.html", to_html(tables, figures, facts))
    return Report(text, summaries, found, remark)


def _write_rows(
    path: Path, kind: type[Row] | type[RaterRow], rows: Sequence[Row] | Sequence[RaterRow]
) -> str | None:
    """Write rows as CSV and as Parquet; return why not where the latter cannot be."""
    names = [field.name for field in fields(kind)]
    write_csv(path.with_suffix(".csv"), names, (cells(asdict(row)) for row in rows))
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return "install pyarrow (pip install napari-spa[evaluate]) to have the tables as Parquet"
    columns = {name: [_known(getattr(row, name)) for row in rows] for name in names}
    with atomic_path(path.with_suffix(".parquet")) as temporary:
        parquet.write_table(pyarrow.table(columns), temporary)
    return None


def _write_numbers(folder: Path, summaries: Sequence[Summary], found: Sequence[Difference]) -> None:
    values = [field.name for field in fields(Interval)]
    write_csv(
        folder / "summary.csv",
        ["method", "user", "clicks", "round", "metric", *values],
        ([*asdict(s.seat).values(), s.round, s.metric, *cells(asdict(s.value))] for s in summaries),
    )
    write_csv(
        folder / "differences.csv",
        ["difference", "clicks", "round", *values],
        ([d.name, d.clicks, d.round, *cells(asdict(d.value))] for d in found),
    )


def to_markdown(
    tables: Sequence[Table], figures: Sequence[tuple[str, str]], facts: Mapping[str, object]
) -> str:
    """Write the report as Markdown."""
    lines = ["# Evaluation", "", *(f"* {name}: {value}" for name, value in facts.items())]
    lines += ["", _INTERVALS]
    for table in tables:
        lines += ["", f"## {table.title}", "", *markdown_table(table.header, table.rows)]
        lines += ["", table.note]
    for name, title in figures:
        lines += ["", f"![{title}](figures/{name}.png)"]
    return "\n".join(lines) + "\n"


def to_html(
    tables: Sequence[Table], figures: Sequence[tuple[str, str]], facts: Mapping[str, object]
) -> str:
    """Write the report as one page; the pictures lie in ``figures`` beside it."""
    links = [(table.name, table.title) for table in tables]
    contents = "".join(f'<li><a href="#{name}">{escape(title)}</a></li>' for name, title in links)
    about = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items())
    body = [
        f"<h1>Evaluation</h1><dl>{about}</dl><p>{escape(_INTERVALS)}</p>",
        f"<nav><ul>{contents}</ul></nav>",
        *(
            f'<figure id="{name}"><a href="figures/{name}.svg"><img src="figures/{name}.png" '
            f'alt="{escape(title)}"></a><figcaption>{escape(title)}</figcaption></figure>'
            for name, title in figures
        ),
        *(_html_table(table) for table in tables),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Evaluation</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _html_table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    return (
        f'<section id="{table.name}"><h2>{escape(table.title)}</h2><div class="wide"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        f"<p>{escape(table.note)}</p></section>"
    )


def cells(values: Mapping[str, object]) -> list[object]:
    """Return the cells of a row: floats rounded, and empty where there is no value."""
    known = (_known(value) for value in values.values())
    return [
        "" if value is None else round(value, 6) if isinstance(value, float) else value
        for value in known
    ]


def _known(value: object) -> object:
    return None if isinstance(value, float) and math.isnan(value) else value

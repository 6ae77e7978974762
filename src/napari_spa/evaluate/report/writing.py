"""Cells, tables and files: what the parts of a report are made of."""

from __future__ import annotations

import csv
import math
from typing import TYPE_CHECKING

from napari_spa.io.files import atomic_path, neutral

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from napari_spa.evaluate.statistics import Interval


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows as CSV, whole or not at all."""
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows([neutral(c) if isinstance(c, str) else c for c in row] for row in rows)


def write_parquet(
    path: Path, header: Sequence[str], rows: Iterable[Mapping[str, object]]
) -> str | None:
    """Write rows as Parquet, whole or not at all; return why not where it cannot be."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return "install pyarrow (pip install napari-spa[evaluate]) to have the tables as Parquet"
    columns: dict[str, list[object]] = {name: [] for name in header}
    for row in rows:
        for name in header:
            columns[name].append(_cell(row[name], digits=None))
    with atomic_path(path) as temporary:
        parquet.write_table(pyarrow.table(columns), temporary)
    return None


def cells(values: Mapping[str, object]) -> list[object]:
    """Return the cells of a row: floats rounded, and empty where there is no value."""
    return ["" if (cell := _cell(value)) is None else cell for value in values.values()]


def _cell(value: object, digits: int | None = 6) -> object:
    """Round a float for a table; None where there is no value."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return round(value, digits) if isinstance(value, float) and digits is not None else value


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

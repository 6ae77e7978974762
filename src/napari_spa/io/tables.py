"""Write rows as CSV that a spreadsheet can open without computing anything."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from napari_spa.errors import InputError
from napari_spa.io.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def write_table(
    path: Path | str,
    rows: Iterable[Mapping[str, object]],
    *,
    columns: Sequence[str] = (),
) -> None:
    """Write rows as a CSV file, whole or not at all.

    UTF-8, commas, one header line, Unix line ends; the same rows give the same bytes.  A
    float is written with the digits that bring the same float back; None and what a row
    lacks are an empty cell.  Text that a spreadsheet would compute, as ``=HYPERLINK(...)``,
    gets an apostrophe before it: see :func:`neutral`.

    Parameters
    ----------
    path : Path or str
        File to write; its folder is made if needed.
    rows : iterable of mapping
        Column to value: text, numbers (Python's or NumPy's), bool or None.
    columns : sequence of str
        The first columns, whether or not a row has them; further ones follow in the order
        in which the rows bring them.  Without rows they are the header.

    Raises
    ------
    InputError
        When a column is named twice.
    DataError
        When the file cannot be written.
    """
    kept = [dict(row) for row in rows]
    if len(set(columns)) != len(columns):
        raise InputError(f"each column needs a name of its own, not {', '.join(columns)}.")
    header = list(dict.fromkeys([*columns, *(name for row in kept for name in row)]))
    with (
        atomic_path(Path(path)) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([neutral(name) for name in header])
        writer.writerows([_plain(row.get(name)) for name in header] for row in kept)


def neutral(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet would take for a formula.

    Parameters
    ----------
    text : str
        Such as the name of an image, which a stranger chose.

    Returns
    -------
    str
        As it was, unless it begins with ``= + - @``, a tab or an end of line, blanks aside.
    """
    start = text.lstrip(" ")[:1]
    return f"'{text}" if start and start in "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20" else text


def _plain(value: object) -> object:
    """Return a NumPy scalar as Python's own, whose text has all its digits."""
    if isinstance(value, str):
        return neutral(value)
    item = getattr(value, "item", None)
    return value if item is None else item()

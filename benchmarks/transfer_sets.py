"""The effect of profiles on average over several data sets, each counting the same.

    python benchmarks/profile_transfer.py SET --split all -o REPORT     # for each set
    python benchmarks/transfer_sets.py REPORT...

Sets on which the raters do not differ are left out.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from profile_transfer import (
    DIFFERENT,
    PAIRED,
    Agreement,
    TransferRow,
    TransferTable,
    agreement_between,
)

from napari_spa.evaluate.measures import LEVEL, Interval, drawn_means
from napari_spa.evaluate.tables import markdown_table, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a table of a report."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def read_transfer(folder: Path) -> tuple[list[TransferRow], list[Agreement]]:
    """Read the rows of a report again."""
    kinds: dict[str, Callable[[str], Any]]
    kinds = {"target": int, "order": int, "images": int, "dice": float}

    def typed(row: dict[str, str]) -> dict[str, Any]:
        return {name: kinds.get(name, str)(value) for name, value in row.items()}

    return (
        [TransferRow(**typed(row)) for row in read_rows(folder / "transfer-rows.csv")],
        [Agreement(**typed(row)) for row in read_rows(folder / "agreement.csv")],
    )


def average(sets: Sequence[tuple[Sequence[float], Sequence[str]]]) -> Interval:
    """Average the means of several data sets, each counting the same."""
    means, draws = [], []
    for number, (values, images) in enumerate(sets):
        array = np.asarray(values, dtype=np.float64)
        _, index = np.unique(np.asarray(images), return_inverse=True)
        counts, totals = np.bincount(index), np.bincount(index, weights=array)
        means.append(float(array.mean()))
        draws.append(drawn_means(counts, totals, (0, number)))
    low, high = np.quantile(np.mean(draws, axis=0), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    rows = sum(len(values) for values, _ in sets)
    found = sum(len(set(images)) for _, images in sets)
    mean = float(np.mean(means))
    return Interval(mean, float(low), float(high), float(np.median(means)), rows, found)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reports", type=Path, nargs="+")
    tables: list[TransferTable] = []
    numbers: set[int] = set()
    for folder in parser.parse_args().reports:
        rows, agreements = read_transfer(folder)
        agreed = float(np.mean(list(agreement_between(agreements).values())))
        print(f"{folder.name}: mean Dice between two raters {agreed:.3f}")
        if agreed < DIFFERENT:
            tables.append(TransferTable(rows, agreements))
            numbers |= {row.images for row in rows} - {0}
    lines = []
    for images in sorted(numbers):
        averages = [average([table.values(what, images) for table in tables]) for what in PAIRED]
        lines.append([str(images), *(spread(value, points=True) for value in averages)])
    print("\n".join(markdown_table(["images", *PAIRED], lines)))


if __name__ == "__main__":
    main()

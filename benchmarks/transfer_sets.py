"""The effect of profiles on average over several data sets, each counting the same.

    napari-spa evaluate SET --split all --transfer 1,2,5,10 -o REPORT     # for each set
    python benchmarks/transfer_sets.py REPORT...

Sets on which the raters do not differ are left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from napari_spa.evaluate.report.writing import markdown_table, spread
from napari_spa.evaluate.statistics import average_over_sets
from napari_spa.evaluate.transfer.report import (
    DIFFERENT,
    PAIRED,
    TransferTable,
    agreement_between,
    read_transfer,
)


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
        averages = [
            average_over_sets([table.values(what, images) for table in tables]) for what in PAIRED
        ]
        lines.append([str(images), *(spread(value, points=True) for value in averages)])
    print("\n".join(markdown_table(["images", *PAIRED], lines)))


if __name__ == "__main__":
    main()

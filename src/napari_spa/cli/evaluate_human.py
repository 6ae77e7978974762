"""``napari-spa evaluate --from-log``: what people did, from the logs of the docks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_spa.cli.output import CallError, checking_the_call, say, show, show_json, show_text
from napari_spa.errors import DataError

if TYPE_CHECKING:
    import argparse


def run_from_log(options: argparse.Namespace) -> int:
    """Write the report of a study with people, and return the exit status."""
    from napari_spa.datasets import open_folder
    from napari_spa.evaluate.human import human_rows, human_table, read_outlines
    from napari_spa.evaluate.report import Results, write_report

    if options.output is None:
        raise CallError("--from-log takes -o DIR, the folder for the report.")
    missing = [str(path) for path in options.from_log if not path.exists()]
    if missing:
        raise CallError(f"{missing[0]} does not exist.")
    with checking_the_call():
        folder = None if options.data is None else open_folder(options.data)
        outlines = read_outlines(options.from_log)
    if not outlines:
        raise DataError("no one accepted an object in these logs.")
    rows = human_rows(outlines, folder)
    facts = {
        "people": len({outline.participant for outline in outlines}),
        "objects": len(outlines),
        "data": "none: no Dice" if options.data is None else options.data.name,
    }
    table = human_table(rows, seed=options.seed)
    report = write_report(
        Results(rows, [], {}, options.seed, (table,)), options.output, facts=facts
    )
    if report.remark is not None:
        say(f"napari-spa: {report.remark}.")
    if options.json:
        lines = [dict(zip(table.header, row, strict=True)) for row in table.rows]
        show_json({"report": str(options.output), "rows": len(rows), **facts, "summary": lines})
    else:
        show_text(report.text)
        show(f"Written to {options.output}")
    return 0

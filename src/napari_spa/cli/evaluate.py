"""``napari-spa evaluate``: play the interactive protocol over a data set."""

from __future__ import annotations

from dataclasses import asdict
from itertools import chain
from typing import TYPE_CHECKING

from napari_spa.cli.console import (
    CallError,
    answer,
    checking_the_call,
    echo_err,
    model_facts,
)
from napari_spa.datasets import CaseFolder, open_folder
from napari_spa.errors import DataError, SpaError
from napari_spa.evaluate.human import human_rows, human_table, read_outlines
from napari_spa.evaluate.measures import EvaluateConfig, choose_names
from napari_spa.evaluate.methods import METHODS, MethodContext, training_costs
from napari_spa.evaluate.protocol import Played, evaluate
from napari_spa.evaluate.report import Report, write_report
from napari_spa.evaluate.tables import Results
from napari_spa.evaluate.users import HABITS
from napari_spa.io.models.load import load_model

if TYPE_CHECKING:
    import argparse


def run_from_log(options: argparse.Namespace) -> int:
    """Write the report of a study with people, and return the exit status."""
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
        "objects": len({(row.user, row.image, row.object) for row in rows}),
        "data": "none: no Dice" if options.data is None else options.data.name,
    }
    table = human_table(rows, seed=options.seed)
    report = write_report(
        Results(rows, [], {}, options.seed, (table,)), options.output, facts=facts
    )
    lines = [dict(zip(table.header, row, strict=True)) for row in table.rows]
    _tell(options, report, rows=len(rows), **facts, summary=lines)
    return 0


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    if options.list_methods:
        _list_methods(options)
        return 0
    if options.from_log is not None:
        return run_from_log(options)
    if options.data is None or options.output is None:
        raise CallError("evaluate takes DATA and -o DIR; see napari-spa evaluate --help.")
    config = _config(options)
    with checking_the_call():
        folder = open_folder(options.data)
        count = len(choose_names(folder, config))
        model = load_model(options.model, device=options.device)
    context = MethodContext(
        model,
        config.engine,
        seed=config.seed,
        runs=options.runs,
        sam=options.sam,
        medsam=options.medsam,
        single=config.objects,
    )
    played, failed = _play(options, context, folder, config, count)
    for name, reason in failed:
        echo_err(f"napari-spa: {name} was left out: {reason}")
    if not played.rows:
        raise DataError(f"no image of {options.data} could be played.")
    _report(options, context, config, played, failed)
    return 1 if failed else 0


def _config(options: argparse.Namespace) -> EvaluateConfig:
    methods = EvaluateConfig().methods
    if options.methods is not None:
        methods = tuple(dict.fromkeys(chain(*options.methods)))
    if methods == ("all",):
        methods = tuple(METHODS)
    return EvaluateConfig(
        split=None if options.split == "all" else options.split,
        objects=options.objects,
        combinations=options.combinations,
        rounds=options.rounds,
        methods=methods,
        users=None if options.users is None else tuple(dict.fromkeys(chain(*options.users))),
        clicks=tuple(dict.fromkeys(chain(*options.clicks))),
        limit=options.limit,
        targets=options.targets,
        seed=options.seed,
    )


def _list_methods(options: argparse.Namespace) -> None:
    answer(
        options,
        list(METHODS),
        methods=[{"name": m.name, "about": m.about, "trains": m.trains} for m in METHODS.values()],
        users=[{"name": name, "about": h.about} for name, h in HABITS.items()],
    )


def _play(
    options: argparse.Namespace,
    context: MethodContext,
    folder: CaseFolder,
    config: EvaluateConfig,
    count: int,
) -> tuple[Played, list[tuple[str, str]]]:
    """Return all rows, and which images could not be played and why."""
    from tqdm import tqdm

    parts: list[Played] = []
    failed: list[tuple[str, str]] = []

    def leave_out(name: str, error: SpaError) -> None:
        failed.append((name, str(error)))
        bar.update()

    with checking_the_call():
        images = evaluate(context, folder, config, work=options.output, failed=leave_out)
    with tqdm(total=count, unit="image", desc="evaluate", disable=None) as bar:
        for played in images:
            bar.update()
            parts.append(played)
    return Played.joined(parts), failed


def _report(
    options: argparse.Namespace,
    context: MethodContext,
    config: EvaluateConfig,
    played: Played,
    failed: list[tuple[str, str]],
) -> None:
    rows, model = played.rows, context.model
    facts: dict[str, object] = {
        "data": options.data.name,
        "images": len({row.image for row in rows}),
        "patients or images drawn again": len({row.group for row in rows}),
        "targets": len({row.key for row in rows}),
        "model": f"{model.identity.name} ({model.identity.sha256[:12]}), {model.device}",
        "settings": (
            f"split {config.split}, seed {config.seed}, limit {config.limit}, "
            f"combinations {config.combinations}"
        ),
    }
    results = Results(rows, played.agreement, training_costs(context, config.methods), config.seed)
    report = write_report(results, options.output, facts=facts)
    _tell(
        options,
        report,
        rows=len(rows),
        **facts | {"model": model_facts(model)},
        failed=[{"image": name, "why": reason} for name, reason in failed],
        summary=[asdict(summary) for summary in report.summaries],
        differences=[asdict(difference) for difference in report.differences],
    )


def _tell(options: argparse.Namespace, report: Report, **facts: object) -> None:
    if report.remark is not None:
        echo_err(f"napari-spa: {report.remark}.")
    lines = [*report.text.splitlines(), f"Written to {options.output}"]
    answer(options, lines, report=str(options.output), **facts)

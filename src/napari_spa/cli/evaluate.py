"""``napari-spa evaluate``: play the interactive protocol over a data set."""

from __future__ import annotations

from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from napari_spa.cli.arguments import (
    add_command,
    add_json_option,
    add_model_options,
    counts,
    existing_folder,
    positive,
    words,
)
from napari_spa.cli.evaluate_transfer import run_transfer
from napari_spa.cli.output import checking_the_call, model_facts, model_words, say, show, show_json
from napari_spa.errors import DataError, SpaError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from napari_spa.cli.arguments import Commands
    from napari_spa.datasets import CaseFolder
    from napari_spa.evaluate.measure import Row
    from napari_spa.evaluate.protocol import EvaluateConfig
    from napari_spa.io.models.load import LoadedModel


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    parser = add_command(
        commands,
        "evaluate",
        about="Let simulated users click once and pick, on a folder with several raters' masks.",
        example="napari-spa evaluate lidc --limit 50 --heads latent,logit,both -o report",
    )
    parser.add_argument(
        "data",
        type=existing_folder,
        metavar="DATA",
        help="images/NAME and raters/RATER/NAME; or REFUGE2, LIDC crops, QUBIQ",
    )
    add_model_options(parser)
    parser.add_argument(
        "--methods",
        type=words,
        nargs="+",
        default=[["spa", "frozen", "random"]],
        help="spa, frozen (the mixture stays), random (picks blindly); default: all",
    )
    parser.add_argument(
        "--heads",
        type=words,
        nargs="+",
        help="latent, logit, both, side by side (default: the model's own)",
    )
    parser.add_argument("--split", default="val", help="which cases; 'all' for all (default: val)")
    parser.add_argument(
        "--objects", action="store_true", help="each connected object of the masks is a target"
    )
    parser.add_argument("--rounds", type=positive, default=6, help="rounds per user (default: 6)")
    parser.add_argument("--limit", type=positive, metavar="N", help="only N images, by the seed")
    parser.add_argument(
        "--targets", type=positive, metavar="N", help="only N objects of each image, by the seed"
    )
    parser.add_argument(
        "--transfer",
        type=counts,
        metavar="N,...",
        help="instead of methods: what profiles of each rater's first N images give on others",
    )
    parser.add_argument(
        "--orders",
        type=positive,
        default=2,
        metavar="N",
        help="with --transfer: N random orders of the images (default: 2)",
    )
    parser.add_argument(
        "--boxes",
        action="store_true",
        help="with --transfer: objects are started with a click and a loose box",
    )
    parser.add_argument("--seed", type=int, default=0, help="of clicks and subsets (default: 0)")
    parser.add_argument("--workers", type=positive, default=1, help="images at a time (default: 1)")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the report"
    )
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from napari_spa.datasets import open_folder
    from napari_spa.evaluate.protocol import EvaluateConfig, choose_names
    from napari_spa.io.models.load import load_model

    config = EvaluateConfig(
        split=None if options.split == "all" else options.split,
        objects=options.objects,
        rounds=options.rounds,
        methods=tuple(chain(*options.methods)),
        heads=None if options.heads is None else tuple(chain(*options.heads)),
        limit=options.limit,
        targets=options.targets,
        seed=options.seed,
        workers=options.workers,
    )
    with checking_the_call():
        folder = open_folder(options.data)
        count = len(choose_names(folder, config))
        model = load_model(options.model, device=options.device)
    if options.transfer is not None:
        return run_transfer(options, model, folder, config)
    rows, failed = _play(model, folder, config, count)
    for name, reason in failed:
        say(f"napari-spa: {name} was left out: {reason}")
    if not rows:
        raise DataError(f"no image of {options.data} could be played.")
    _report(options, model, config, rows, failed)
    return 1 if failed else 0


def _play(
    model: LoadedModel, folder: CaseFolder, config: EvaluateConfig, count: int
) -> tuple[list[Row], list[tuple[str, str]]]:
    """Return all rows, and which images could not be played and why."""
    from tqdm import tqdm

    from napari_spa.evaluate.protocol import evaluate

    rows: list[Row] = []
    failed: list[tuple[str, str]] = []

    def leave_out(name: str, error: SpaError) -> None:
        failed.append((name, str(error)))
        bar.update()

    with tqdm(total=count, unit="image", desc="evaluate", disable=None) as bar:
        for row in evaluate(model, folder, config, failed=leave_out):
            if not rows or row.image != rows[-1].image:
                bar.update()
            rows.append(row)
    return rows, failed


def _report(
    options: argparse.Namespace,
    model: LoadedModel,
    config: EvaluateConfig,
    rows: Sequence[Row],
    failed: Sequence[tuple[str, str]],
) -> None:
    from napari_spa.evaluate.report import to_markdown, write_report

    facts = {
        "data": options.data.name,
        "images": len({row.image for row in rows}),
        "targets": len({(row.image, row.target) for row in rows}),
        "users": len({row.user for row in rows}),
        "model": model_words(model),
        "settings": f"split {config.split}, seed {config.seed}, limit {config.limit}",
    }
    summaries, found = write_report(rows, options.output, facts=facts, seed=config.seed)
    if not options.json:
        show(to_markdown(summaries, found, facts))
        show(f"Written to {options.output}")
        return
    show_json(
        {
            "report": str(options.output),
            "rows": len(rows),
            **facts,
            "model": model_facts(model),
            "failed": [{"image": name, "why": reason} for name, reason in failed],
            "summary": [asdict(summary) for summary in summaries],
            "differences": [asdict(difference) for difference in found],
        }
    )

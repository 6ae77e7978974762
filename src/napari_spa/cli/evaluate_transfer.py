"""``napari-spa evaluate --transfer``: what profiles of some images give on others."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from napari_spa.cli.output import (
    checking_the_call,
    model_facts,
    model_words,
    say,
    show,
    show_json,
    show_text,
)
from napari_spa.errors import DataError, SpaError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from napari_spa.datasets import CaseFolder
    from napari_spa.evaluate.protocol import EvaluateConfig
    from napari_spa.evaluate.transfer.files import Tested
    from napari_spa.io.models.load import LoadedModel


def run_transfer(
    options: argparse.Namespace, model: LoadedModel, folder: CaseFolder, config: EvaluateConfig
) -> int:
    """Run the experiment and return the exit status; what is done already is not done again."""
    tested, failed = _play(options, model, folder, config)
    for name, reason in failed:
        say(f"napari-spa: {name} was left out: {reason}")
    if not tested:
        raise DataError(f"no image of {options.data} could be tested.")
    _report(options, model, config, tested, failed)
    return 1 if failed else 0


def _play(
    options: argparse.Namespace, model: LoadedModel, folder: CaseFolder, config: EvaluateConfig
) -> tuple[list[Tested], list[tuple[str, str]]]:
    """Return all first rounds, and which images could not be used and why."""
    from tqdm import tqdm

    from napari_spa.evaluate.transfer.study import TransferConfig, transfer

    plan = TransferConfig(options.transfer, options.orders, options.boxes, config)
    failed: list[tuple[str, str]] = []

    def leave_out(name: str, error: SpaError) -> None:
        failed.append((name, str(error)))

    with checking_the_call():
        experiment = transfer(
            model, folder, plan, work=options.output / "transfer", failed=leave_out
        )
    return list(tqdm(experiment, unit="image", desc="transfer", disable=None)), failed


def _report(
    options: argparse.Namespace,
    model: LoadedModel,
    config: EvaluateConfig,
    tested: Sequence[Tested],
    failed: Sequence[tuple[str, str]],
) -> None:
    from napari_spa.evaluate.transfer.report import transfer_markdown, write_transfer

    rows = [row for one in tested for row in one.rows]
    agreements = [pair for one in tested for pair in one.agreements]
    facts = {
        "data": options.data.name,
        "images": len({row.image for row in rows}),
        "orders": options.orders,
        "model": model_words(model),
        "settings": (
            f"split {config.split}, seed {config.seed}, limit {config.limit}, "
            f"started with {'a click and a loose box' if options.boxes else 'a click'}"
        ),
    }
    effects = write_transfer(rows, agreements, options.output, facts=facts, seed=config.seed)
    if not options.json:
        show_text(transfer_markdown(effects, agreements, facts))
        show(f"Written to {options.output}")
        return
    show_json(
        {
            "report": str(options.output),
            "rows": len(rows),
            **facts,
            "model": model_facts(model),
            "failed": [{"image": name, "why": reason} for name, reason in failed],
            "effects": [asdict(effect) for effect in effects],
        }
    )

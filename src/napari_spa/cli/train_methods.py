"""``napari-spa train --methods``: train what is compared with ours, all in the same way."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from napari_spa.cli.arguments import positive, words
from napari_spa.cli.output import CallError, checking_the_call, say, show, show_json

if TYPE_CHECKING:
    import argparse

    from napari_spa.train.rivals import RivalConfig


def add_method_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of training methods to ``train``."""
    group = parser.add_argument_group(
        "methods to compare (with --methods; -o is the folder that evaluate --runs takes)"
    )
    group.add_argument(
        "--methods",
        type=words,
        nargs="+",
        help="train these instead, one after another: spa, unet, probunet, ...; 'all' for all; "
        "NAME@RATER learns from one rater, NAME~RATER from all but one",
    )
    group.add_argument(
        "--model",
        default="spa-tiny",
        metavar="NAME|PATH",
        help="what promptable methods start from (default: spa-tiny)",
    )
    group.add_argument("--split", default="train", help="which cases; 'all' for all")
    group.add_argument("--batch", type=positive, metavar="N", help="images a step (default: 16)")
    group.add_argument(
        "--check-every",
        type=positive,
        metavar="N",
        help="steps between scores on images held aside (default: 100)",
    )
    group.add_argument(
        "--patience",
        type=positive,
        metavar="N",
        help="stop after N scores without a new best (default: 5)",
    )
    group.add_argument(
        "--objects", action="store_true", help="each connected object of the masks is one"
    )
    group.add_argument("--seed", type=int, default=0, help="of everything random (default: 0)")
    group.add_argument(
        "--workers", type=int, default=0, metavar="N", help="processes that draw (default: 0)"
    )


def run_methods(options: argparse.Namespace) -> int:
    """Train the methods and return the exit status; what is done is not done again."""
    from napari_spa.datasets import open_folder
    from napari_spa.io.models.load import resolve_device
    from napari_spa.train.rivals import RIVALS, split_name, train_method

    names = list(dict.fromkeys(chain(*options.methods)))
    names = list(RIVALS) if names == ["all"] else names
    if len(options.data) != 1:
        raise CallError("--methods takes one DATA folder.")
    with checking_the_call():
        folder = open_folder(Path(options.data[0]))
        for name in names:
            split_name(name)
        config = _config(options)
        config.check()
    device = resolve_device(options.device)
    results = []
    for name in names:
        say(f"{name}: training")

        def progress(step: int, figures: dict[str, float], name: str = name) -> None:
            shown = ", ".join(f"{key} {value:.4f}" for key, value in figures.items())
            say(f"{name}: step {step}, {shown}")

        facts = train_method(
            name,
            folder,
            options.output / name,
            config,
            backbone=options.model,
            device=device,
            workers=options.workers,
            progress=progress,
        )
        results.append({"method": name, **facts})
        if not options.json:
            show(
                f"{name}: {facts['steps']} steps, {facts['seconds']} s, "
                f"{facts['parameters']} parameters, Dice {facts['score']} on images held aside"
            )
    if options.json:
        show_json(json.loads(json.dumps({"runs": str(options.output), "methods": results})))
    return 0


def _config(options: argparse.Namespace) -> RivalConfig:
    from dataclasses import replace

    from napari_spa.train.rivals import RivalConfig

    config = RivalConfig(
        split=None if options.split == "all" else options.split,
        single=options.objects,
        seed=options.seed,
    )
    for name in ("steps", "batch", "check_every", "patience"):
        value = getattr(options, name)
        if value is not None:
            config = replace(config, **{name: value})
    return config

"""``napari-spa train``: train a model on folders with several raters' masks."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_spa import __version__
from napari_spa.cli.console import CallError, answer, checking_the_call, echo_err, progress_bar
from napari_spa.datasets import open_folder
from napari_spa.io.models.formats import export_checkpoint
from napari_spa.io.models.load import load_model, resolve_device
from napari_spa.io.projects.project import Project
from napari_spa.refine.log.replay import changed_images, say_changed
from napari_spa.train.data import write_pack

if TYPE_CHECKING:
    import argparse

    from torch import Tensor
    from torch.utils.tensorboard import SummaryWriter

    from napari_spa.train.baselines.loop import BaselineConfig
    from napari_spa.train.loop import TrainConfig
    from napari_spa.train.recipe import Recipe


def run_methods(options: argparse.Namespace) -> int:
    """Train the methods and return the exit status; what is done is not done again."""
    from napari_spa.train.baselines import BASELINES, split_name, train_method
    from napari_spa.train.baselines.loop import Compute
    from napari_spa.train.recipe import GENERATOR

    names = list(dict.fromkeys(chain(*options.methods)))
    names = list(BASELINES) if names == ["all"] else names
    if len(options.data) != 1 or options.data[0] == GENERATOR:
        raise CallError("--methods takes one DATA folder, and nothing synthetic.")
    with checking_the_call():
        for name in names:
            split_name(name)
        folder = open_folder(Path(options.data[0]))
        config = _baseline_config(options)
        config.check()
    device = resolve_device(options.device)
    results, lines = [], []
    for name in names:
        echo_err(f"{name}: training")

        def progress(step: int, figures: dict[str, float], name: str = name) -> None:
            shown = ", ".join(f"{key} {value:.4f}" for key, value in figures.items())
            echo_err(f"{name}: step {step}, {shown}")

        facts = train_method(
            name,
            folder,
            options.output / name,
            config,
            backbone=options.model,
            compute=Compute(device, options.workers, progress),
        )
        results.append({"method": name, **facts})
        lines.append(
            f"{name}: {facts['steps']} steps, {facts['seconds']} s, "
            f"{facts['parameters']} parameters, Dice {facts['score']} on images held aside"
        )
    answer(options, lines, runs=str(options.output), methods=results)
    return 0


def _baseline_config(options: argparse.Namespace) -> BaselineConfig:
    from napari_spa.train.baselines.loop import BaselineConfig

    split = None if options.split == "all" else options.split
    asked = _asked(options, "steps", "batch", "check_every", "patience", "precision")
    return BaselineConfig(split=split, single=options.objects, seed=options.seed, **asked)


def _asked(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    given = {name: getattr(options, name) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    # Threads that spin while they wait slow the processes that draw windows ten times.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if options.pack is not None:
        return _pack(options)
    if options.output is None:
        raise CallError("name a folder for the run with -o DIR.")
    if options.methods is not None:
        return run_methods(options)
    if options.project is not None:
        return _tune(options)
    return _train(options)


def _train(options: argparse.Namespace) -> int:
    from napari_spa.train.loop import train
    from napari_spa.train.recipe import open_sources

    if not options.data:
        raise CallError("name the data to train on, or --from a project folder.")
    if options.minutes is not None and not options.minutes > 0:
        raise CallError(f"--minutes is a time above 0, not {options.minutes:g}.")

    checkpoint = options.output / "last.pt"
    if checkpoint.exists() and not options.resume:
        raise CallError(f"{options.output} holds a run; add --resume, or choose another folder.")
    if options.resume and not checkpoint.exists():
        raise CallError(f"{options.output} holds no run to go on with; leave --resume out.")
    device = resolve_device(options.device)
    recipe = _recipe(options)
    config = replace(recipe.on(device.type), **_asked(options, "steps", "minutes"))
    with checking_the_call():
        sources = open_sources(options.data, recipe.sources)
    start = _start(options, config)
    for source, share in sources:
        echo_err(f"{type(source).__name__}: {len(source)} objects, share {share:g}")
    with ExitStack() as stack:
        trainer = train(
            sources,
            options.output,
            config,
            device=device,
            resume=options.resume,
            start=start,
            logs=_logs(options.output, stack),
        )
    weights = options.output / "spa.safetensors"
    export_checkpoint(checkpoint, weights, _card(options, recipe))
    answer(
        options,
        [f"{weights}: trained for {trainer.step} steps"],
        model=str(weights),
        checkpoint=str(checkpoint),
        metrics=str(options.output / "metrics.csv"),
        steps=trainer.step,
        device=str(trainer.device),
    )
    return 0


def _tune(options: argparse.Namespace) -> int:
    """Tune a model on a project's objects; keep it if it is better."""
    from napari_spa.train.personal import PersonalConfig, accepted_objects, save_personal, tune

    if options.data or options.config is not None or options.resume:
        raise CallError("--from takes no DATA, --config or --resume.")
    model = load_model(options.init or "spa-tiny", device=options.device)
    settings = PersonalConfig(**_asked(options, "steps"))
    changed = changed_images(Project.open(options.project))
    if changed:
        echo_err(f"napari-spa: {say_changed(changed, 'nothing is learnt from them')}")
    objects = accepted_objects(options.project, without=changed)
    with progress_bar("tune") as progress:
        made = tune(model, objects, settings, progress=progress)
    weights = options.output / "spa.safetensors"
    if made.better:
        options.output.mkdir(parents=True, exist_ok=True)
        save_personal(made, model, weights)
    answer(
        options,
        [str(weights), made.figures] if made.better else [],
        model=str(weights) if made.better else None,
        learnt_from=made.learnt_from,
        tested_on=made.tested_on,
        before=made.before,
        after=made.after,
        changed=changed,
    )
    if not made.better:
        echo_err(f"{made.figures}; not better, so nothing was saved.")
    return 0 if made.better else 1


def _recipe(options: argparse.Namespace) -> Recipe:
    from napari_spa.train.loop import TrainConfig
    from napari_spa.train.recipe import Recipe, read_recipe

    if options.config is None:
        return Recipe(TrainConfig(), {})
    if options.config != "spa-tiny":
        return read_recipe(Path(options.config))
    packaged = resources.files("napari_spa.train").joinpath("recipes", "spa-tiny.toml")
    with resources.as_file(packaged) as path:
        return read_recipe(path)


def _pack(options: argparse.Namespace) -> int:
    """Write the data to one file."""
    from napari_spa.train.recipe import open_sources

    if not options.data or options.project is not None:
        raise CallError("name the data to pack.")
    with checking_the_call():
        sources = open_sources(options.data, _recipe(options).sources)
    report = write_pack(options.pack, sources)
    for (source, share), packed in zip(sources, report, strict=True):
        echo_err(
            f"{type(source).__name__}, share {share:g}: {packed.kept} of {packed.found} images, "
            f"{packed.size / 1e6:.1f} MB"
        )
    size = options.pack.stat().st_size
    answer(options, [f"{options.pack}: {size / 1e6:.1f} MB"], pack=str(options.pack), bytes=size)
    return 0


def _start(options: argparse.Namespace, config: TrainConfig) -> dict[str, Tensor]:
    """Return the weights that a new run starts from."""
    from napari_spa.train.recipe import imagenet_weights

    efficient = config.model.encoder == "efficientnet"
    start: dict[str, Tensor] = imagenet_weights(config.model) if efficient else {}
    if options.init is not None:
        start |= load_model(options.init, device="cpu").spa.state_dict()
    return start


def _logs(folder: Path, stack: ExitStack) -> list[SummaryWriter]:
    """Log to TensorBoard when it is installed; the CSV file is always written."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return []
    return [stack.enter_context(SummaryWriter(str(folder)))]


def _card(options: argparse.Namespace, recipe: Recipe) -> dict[str, object]:
    names = list(recipe.sources) or [Path(name).name for name in options.data]
    return {"made_with": f"napari-spa {__version__}", "data": names, "seed": recipe.train.seed}

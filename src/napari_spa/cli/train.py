"""``napari-spa train``: train a model on folders with several raters' masks."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from importlib import resources
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from napari_spa import __version__
from napari_spa.cli.console import CallError, answer, checking_the_call, echo_err, progress_bar
from napari_spa.datasets import open_folder
from napari_spa.io.files import explained
from napari_spa.io.models.formats import export_checkpoint
from napari_spa.io.models.load import load_model, resolve_device
from napari_spa.io.projects.project import Project
from napari_spa.refine.log.replay import changed_images, say_changed
from napari_spa.train.data import write_pack

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

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
            backbone=options.model or "spa-tiny",
            compute=Compute(device, options.workers or 0, progress),
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

    names = ("steps", "batch", "check_every", "patience", "precision", "seed", "split")
    asked = _asked(options, *names)
    if options.split == "all":
        asked["split"] = None
    return BaselineConfig(single=options.objects, **asked)


def _asked(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    given = {name: getattr(options, name) for name in names}
    return {name: value for name, value in given.items() if value is not None}


# What is done, and the options that are for it; those of no line are for all.
_ALONE = "training on DATA alone"
_TAKES = {
    "--pack": "data config",
    "--methods": "data output device steps model split batch check_every patience objects "
    "precision seed workers",
    "--from": "output device steps init",
    _ALONE: "data output device steps init config resume minutes",
}


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    # Threads that spin while they wait slow the processes that draw windows ten times.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if options.pack is not None:
        kind, act = "--pack", _pack
    elif options.methods is not None:
        kind, act = "--methods", run_methods
    elif options.project is not None:
        kind, act = "--from", _tune
    else:
        kind, act = _ALONE, _train
    _refuse_others(options, kind)
    if options.output is None and kind != "--pack":
        raise CallError("name a folder for the run with -o DIR.")
    return act(options)


def _refuse_others(options: argparse.Namespace, kind: str) -> None:
    """Refuse options that what is done would ignore."""
    takes = {name: taken.split() for name, taken in _TAKES.items()}
    for name in dict.fromkeys(chain(*takes.values())):
        given = getattr(options, name) != options.command.get_default(name)
        if given and name not in takes[kind]:
            said = "DATA" if name == "data" else f"--{name.replace('_', '-')}"
            fitting = " or ".join(other for other in takes if name in takes[other])
            raise CallError(f"{said} is for {fitting}; leave it out.")


def _refuse_weights(folder: Path, remedy: str) -> None:
    """Refuse a folder whose weights a run would replace."""
    for name in ("last.pt", "spa.safetensors"):
        if (folder / name).exists():
            raise CallError(f"{folder} holds {name} of another run; {remedy}.")


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Find out before the work whether a folder can be written to; empty, a new one goes again."""
    there = folder.exists()
    with explained("write", folder):
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    try:
        yield
    finally:
        if not there:
            with suppress(OSError):  # it holds something
                folder.rmdir()


def _train(options: argparse.Namespace) -> int:
    from napari_spa.train.loop import train
    from napari_spa.train.recipe import check_network, open_sources

    if not options.data:
        raise CallError("name the data to train on, or --from a project folder.")
    if options.minutes is not None and not options.minutes > 0:
        raise CallError(f"--minutes is a time above 0, not {options.minutes:g}.")

    checkpoint = options.output / "last.pt"
    if not options.resume:
        again = "add --resume, or " if checkpoint.exists() else ""
        _refuse_weights(options.output, f"{again}choose another folder")
    elif not checkpoint.exists():
        raise CallError(f"{options.output} holds no run to go on with; leave --resume out.")
    device = resolve_device(options.device)
    recipe = _recipe(options)
    config = replace(recipe.on(device.type), **_asked(options, "steps", "minutes"))
    with checking_the_call():
        sources = open_sources(options.data, recipe.sources)
    check_network(config)
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

    _refuse_weights(options.output, "choose another folder")
    model = load_model(options.init or "spa-tiny", device=options.device)
    settings = PersonalConfig(**_asked(options, "steps"))
    changed = changed_images(Project.open(options.project))
    if changed:
        echo_err(f"napari-spa: {say_changed(changed, 'nothing is learnt from them')}")
    objects = accepted_objects(options.project, without=changed)
    weights = options.output / "spa.safetensors"
    with _writable(options.output):
        with progress_bar("tune") as progress:
            made = tune(model, objects, settings, progress=progress)
        if made.better:
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

    if not options.data:
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

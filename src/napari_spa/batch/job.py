"""A run of a batch as it goes to the workers, and what they send back; picklable."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_spa.batch.manifest import Facts
    from napari_spa.batch.task import BatchRecipe, BatchTask, ImageResult
    from napari_spa.io.models.identity import ModelIdentity


class Engine(Protocol):
    """What computes; see :class:`~napari_spa.batch.engine.BatchEngine`."""

    @property
    def identity(self) -> ModelIdentity:
        """Which weights it computes with."""

    @property
    def device(self) -> object:
        """Where it computes, as ``"cuda:0"``."""


def _make_engine(recipe: BatchRecipe) -> Engine:
    from napari_spa.batch.engine import BatchEngine
    from napari_spa.io.models.identity import device_in_turn

    device = device_in_turn(recipe.device, number_of_process())
    return BatchEngine(replace(recipe, device=str(device)))


def number_of_process() -> int:
    """Return which of the local workers runs this task; 0 in any other process."""
    if "distributed" not in sys.modules:
        return 0
    from distributed import get_worker

    try:
        name = get_worker().name
    except ValueError:  # dask is here, and this is no worker
        return 0
    return name if isinstance(name, int) else 0


def _segment(task: BatchTask, recipe: BatchRecipe, engine: Any, out: Path) -> ImageResult:  # noqa: ANN401  a BatchEngine
    from napari_spa.batch.segment import segment_image

    return segment_image(task, recipe, engine, out)


def _digest(task: BatchTask) -> str:
    from napari_spa.batch.task import input_digest

    return input_digest(task)


@dataclass(frozen=True, slots=True)
class Tools:
    """The functions of a batch; module-level ones, for they go to other processes by name."""

    # ``(task, recipe, engine, out) -> ImageResult``; writes labels and log into ``out``.
    segment: Callable[[BatchTask, BatchRecipe, Any, Path], ImageResult] = _segment
    # ``recipe -> Engine``; called once in a process.
    make_engine: Callable[[BatchRecipe], Engine] = _make_engine
    # ``task -> str``, the digest of all that is put in; light.
    digest: Callable[[BatchTask], str] = _digest


@dataclass(frozen=True, slots=True)
class Job:
    """A run of a batch, as its workers know it."""

    out: Path  # the output folder; absolute, and the same on all machines
    run: str  # the run's own folder in it, POSIX
    source: Path  # where the images are
    recipe: BatchRecipe  # its profile is a copy in the run's folder
    facts: Facts  # from :func:`~napari_spa.batch.manifest.recipe_facts`
    tools: Tools = field(default_factory=Tools)  # what is called

    @property
    def folder(self) -> Path:
        """The run's own folder."""
        return self.out / self.run


@dataclass(frozen=True, slots=True)
class Assignment:
    """An image to do, and what may be replaced."""

    task: BatchTask  # the image
    # Digests of earlier outputs that may be replaced; any other file is a user's.
    ours: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Finished:
    """What a worker sends back."""

    result: ImageResult  # what came of the image
    environment: Facts = field(default_factory=dict)  # what it was made with
    kept: bool = False  # whether a user changed the labels meanwhile, so that theirs were left

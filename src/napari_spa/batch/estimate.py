"""What a batch would cost, before it is run: images, objects, time and disk."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_spa.batch.job import Assignment, Job, Tools
from napari_spa.batch.manifest import recipe_facts
from napari_spa.batch.resume import survey
from napari_spa.batch.worker import load_engine, process

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_spa.batch.plan import BatchPlan
    from napari_spa.batch.task import BatchTask, ImageResult

_LONG_SECONDS = 5.0
"""An image that takes so long is done once: what is slow only the first time matters little."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a batch would do."""

    images: int  # images of the plan
    to_do: int  # those that would be done
    kept: int  # those that would be left to the user who made or changed them
    objects: int  # objects in those to do; measured on one image unless they come from a table
    # Of work, with the workers asked for; not a number when no image could be measured.
    seconds: float
    disk: int  # bytes that the results will take
    measured: str  # the image that was done for the estimate; empty without one
    problem: str = ""  # why it could not be done, in a sentence


def estimate(
    plan: BatchPlan, *, workers: int = 1, overwrite: bool = False, tools: Tools | None = None
) -> Estimate:
    """Say what a batch would cost: one image of middle size is done, in a folder that goes."""
    tools = tools or Tools()
    facts = recipe_facts(plan.recipe)
    found = survey(plan, facts, tools.digest, overwrite=overwrite)
    to_do = [task for task in plan.tasks if task.name in found.to_do]
    kept = len(found.named("kept"))
    if not to_do:
        return Estimate(len(plan.tasks), 0, kept, 0, 0.0, 0, "")
    task = _of_middle_size(to_do)
    with tempfile.TemporaryDirectory(prefix="napari-spa-") as name:
        (Path(name) / "run" / "marks").mkdir(parents=True)
        job = Job(Path(name), "run", plan.source, plan.recipe, facts, tools)
        load_engine(job)
        begun = time.perf_counter()
        result = process(job, Assignment(replace(task, prompts=task.prompts[:1]))).result
        seconds = time.perf_counter() - begun
        if seconds < _LONG_SECONDS or len(task.prompts) > 1:
            # The second time, everything has been called once.
            ours = frozenset(digest for _, digest in result.outputs)
            begun = time.perf_counter()
            result = process(job, Assignment(task, ours)).result
            seconds = time.perf_counter() - begun
        disk = sum((Path(name) / path).stat().st_size for path, _ in result.outputs)
    return _scaled(plan, to_do, kept, result, seconds, disk, workers)


def _scaled(
    plan: BatchPlan,
    to_do: Sequence[BatchTask],
    kept: int,
    result: ImageResult,
    seconds: float,
    disk: int,
    workers: int,
) -> Estimate:
    asked = sum(len(task.prompts) for task in to_do)
    objects = asked or len(to_do) * len(result.objects)
    failed = result.outcome == "failed"
    whole = float("nan") if failed else seconds * len(to_do) / min(workers, len(to_do))
    return Estimate(
        images=len(plan.tasks),
        to_do=len(to_do),
        kept=kept,
        objects=objects,
        seconds=whole,
        disk=disk * len(to_do),
        measured=result.name,
        problem=result.problem,
    )


def _of_middle_size(tasks: Sequence[BatchTask]) -> BatchTask:
    """Return the image with the median size on disk, prompts and all."""

    def size(task: BatchTask) -> tuple[int, int]:
        try:
            return len(task.prompts), task.path.stat().st_size
        except OSError:
            return len(task.prompts), 0

    return sorted(tasks, key=size)[len(tasks) // 2]

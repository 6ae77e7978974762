"""Long jobs on a folder, in a process of their own: batch and export."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from napari_spa.core.presentation import counted
from napari_spa.io.projects.paths import labels_path
from napari_spa.io.projects.project import Project, in_brief
from napari_spa.viewer.export import colour_of
from napari_spa.viewer.subprocess_job import run_in_subprocess

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_spa.batch.plan import BatchPlan
    from napari_spa.batch.runner import BatchReport, Estimate
    from napari_spa.batch.task import ImageResult
    from napari_spa.io.export import ExportRequest
    from napari_spa.io.profiles.profile import PreferenceProfile
    from napari_spa.refine.engine.config import Progress
    from napari_spa.viewer.background import JobHandle


def do_export(project: Project, request: ExportRequest, progress: Progress) -> str:
    """Export a project, and say what came of it."""
    from napari_spa.io.export import export_project
    from napari_spa.refine.log.replay import changed_images, say_changed

    report = export_project(project, request, progress, colour=colour_of())
    failed = Counter(name for name, _ in report.problems)
    partly = sum(forms < len(request.formats) for forms in failed.values())
    images = counted(report.images + partly, "image")
    files = counted(report.files, "file")
    words = f"Exported {images} into {request.folder}: {files}."
    if report.problems:
        name, why = report.problems[0]
        more = len(report.problems) - 1
        also = f" (and {more} more)" if more else ""
        brief = in_brief(why, labels_path(project.out, name))
        words += f" Not written: {brief if name in brief else f'{name}: {brief}'}{also}"
    changed = changed_images(project)
    if changed:
        words += f" But {say_changed(changed, 'they are exported as they were')}"
    return words


APPLIED_NAME = "applied-profile.json"


@dataclass(frozen=True, slots=True, eq=False)
class BatchRequest:
    """What a batch shall do; everything it needs of the dock."""

    source: Path  # the images, and the project's output folder
    out: Path
    names: tuple[str, ...]  # which images
    way: Literal["auto", "prompts", "masks"]  # where objects come from
    path: Path | None  # the table of prompts, or the folder of masks
    model: str  # from the settings
    device: str
    # As it is now; what is learnt while the batch runs does not change it.
    profile: PreferenceProfile | None
    doubtful: float  # objects of at least this uncertainty are put on the review list
    workers: int  # processes at once
    again: tuple[str, ...] = ()  # images that a batch did already, to be done as well


def plan_batch(order: BatchRequest) -> BatchPlan:
    """Look what a batch would take; slow on large folders."""
    from napari_spa.batch.plan import make_plan
    from napari_spa.batch.task import BatchRecipe

    applied = None
    if order.profile is not None:
        applied = order.out / APPLIED_NAME
        order.profile.save(applied)
    recipe = BatchRecipe(
        model=order.model,
        device=order.device,
        profile=applied,
        source=order.way,
        doubtful=order.doubtful,
    )
    names = {*order.names, *order.again}
    plan = make_plan(order.source, order.out, recipe, order.path, names=names)
    return replace(plan, again=frozenset(order.again))


def effort_words(order: BatchRequest, progress: Progress) -> str:
    """Say what a batch would take: how many images and objects, how long, how much disk.

    One image, or two planes of a stack, is done to find out, in a folder that goes again.
    """
    words: str = run_in_subprocess(
        _effort, order, on_value=lambda value: None, progress=progress, patience=0.0
    )
    return words


def _effort(order: BatchRequest, on_value: object, progress: Progress) -> str:
    from napari_spa.batch.runner import estimate

    plan = plan_batch(order)
    found = estimate(plan, workers=order.workers)
    return " ".join([_in_words(found, order.source), *plan.notes])


def _in_words(found: Estimate, source: Path) -> str:
    images = counted(found.to_do, "image")
    if found.problem:
        why = in_brief(found.problem, source / found.measured)
        return f"{images}; {found.measured} was tried and failed: {why}"
    minutes = found.seconds / 60
    if not found.to_do:
        return "There is nothing to do."
    if minutes < 1:
        time = "less than a minute"
    elif minutes < 90:
        time = f"about {minutes:.0f} minutes"
    else:
        time = f"about {minutes / 60:.1f} hours"
    objects = counted(found.objects, "object")
    size = max(found.disk / 1e6, 0.1)
    return f"{images}, about {objects}, {time}, {size:.1f} MB (measured on {found.measured_on})."


def do_batch(order: BatchRequest, handle: JobHandle) -> BatchReport:
    """Run a batch in a process of its own, whatever its workers: no window waits long for it."""
    report: BatchReport = run_in_subprocess(
        _run,
        order,
        on_value=handle.report,
        progress=handle,
        dropped=lambda: handle.dropped,
    )
    return report


def _run(
    order: BatchRequest, on_value: Callable[[ImageResult], None], progress: Progress
) -> BatchReport:
    from napari_spa.batch.runner import run_batch

    progress(0.0, "looking at the images")
    plan = plan_batch(order)
    report = run_batch(plan, workers=order.workers, on_result=on_value, progress=progress)
    return replace(report, notes=(*plan.notes, *report.notes))

"""Run a plan, or say what it would cost: tasks to the executor, results to the report."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_spa.batch.engine import OpenedImage
from napari_spa.batch.executors import (
    connected,
    local_cluster,
    need_dask,
    run_here,
    run_on,
    share_of_memory,
)
from napari_spa.batch.resume import ResumePlan, RunFolder, lock_output, output_names, plan_resume
from napari_spa.batch.task import BatchTask, Facts, ImageResult, Manifest, recipe_facts
from napari_spa.batch.worker import Assignment, Finished, Job, Tools, load_engine, process
from napari_spa.core.presentation import counted
from napari_spa.errors import DataError, InputError, SpaError
from napari_spa.io.files import explained, file_sha256
from napari_spa.io.images import PICTURE_SUFFIXES
from napari_spa.io.projects.paths import log_path, manifest_path
from napari_spa.refine.engine.config import Progress, silent
from napari_spa.refine.log.replay import has_changed, say_changed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from napari_spa.batch.plan import BatchPlan

_LONG_SECONDS = 5.0
"""An image that takes so long is done once: what is slow only the first time matters little."""
_FEW_PLANES = 4  # a stack of more is measured on planes of its middle


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
    planes: int = 1  # of that image, if two of them stood for all

    @property
    def measured_on(self) -> str:
        """What was done for the estimate, in words."""
        part = f"2 of the {self.planes} planes of " if self.planes > 1 else ""
        return f"{part}{self.measured}"


def estimate(
    plan: BatchPlan, *, workers: int = 1, overwrite: bool = False, tools: Tools | None = None
) -> Estimate:
    """Say what a batch would cost: one image of middle size is done, in a folder that goes.

    Of a stack in which each plane is done by itself, two planes are.
    """
    tools = tools or Tools()
    facts = recipe_facts(plan.recipe)
    found = plan_resume(plan, facts, overwrite=overwrite)
    to_do = [task for task in plan.tasks if task.name in found.to_do]
    kept = len(found.named("kept"))
    if not to_do:
        return Estimate(len(plan.tasks), 0, kept, 0, 0.0, 0, "")
    work = work_of(to_do)
    task = _of_middle_size(to_do, work)
    with tempfile.TemporaryDirectory(prefix="napari-spa-") as name:
        (Path(name) / "run" / "marks").mkdir(parents=True)
        job = Job(Path(name), "run", plan.source, plan.recipe, facts, tools)
        load_engine(job)
        planes = 1 if plan.recipe.source == "prompts" else work[task.name]
        if planes > _FEW_PLANES:
            measured = _measure_stack(job, task, planes)
        else:
            measured = _measure(job, replace(task, prompts=task.prompts[:1]))
            if measured.seconds < _LONG_SECONDS or len(task.prompts) > 1:
                # The second time, everything has been called once.
                measured = _measure(job, task)
    times = sum(work.values()) / work[task.name]  # how many such images it is like
    asked = sum(len(each.prompts) for each in to_do)
    failed = measured.result.outcome == "failed"
    return Estimate(
        images=len(plan.tasks),
        to_do=len(to_do),
        kept=kept,
        objects=asked or round(times * measured.objects),
        seconds=math.nan if failed else measured.seconds * times / min(workers, len(to_do)),
        disk=round(measured.disk * times),
        measured=task.name,
        problem=measured.result.problem if failed else "",
        planes=measured.planes,
    )


@dataclass(frozen=True, slots=True)
class _Measured:
    """What one image took."""

    result: ImageResult
    seconds: float
    disk: float  # bytes
    objects: float  # on all of its planes
    planes: int = 1  # of which two were done; 1 if the whole image was


def _measure(job: Job, task: BatchTask) -> _Measured:
    begun = time.perf_counter()
    result = process(job, Assignment(task)).result
    seconds = time.perf_counter() - begun
    disk = 0
    for path, _ in result.outputs:
        disk += (job.out / path).stat().st_size
        (job.out / path).unlink()  # it may be done again
    return _Measured(result, seconds, disk, len(result.objects))


def _measure_stack(job: Job, task: BatchTask, planes: int) -> _Measured:
    """Do one plane and then two: what the second adds, every further one does."""
    first = _measure(job, replace(task, middle=1))
    if first.result.outcome == "failed":
        return first
    one, two = (_measure(job, replace(task, middle=count)) for count in (1, 2))
    more = planes - 1
    return _Measured(
        two.result,
        one.seconds + more * max(0.0, two.seconds - one.seconds),
        one.disk + more * max(0.0, two.disk - one.disk),
        two.objects * planes / 2,
        planes,
    )


def _count_planes(task: BatchTask) -> int:
    if task.path.suffix.lower() in PICTURE_SUFFIXES:  # of one plane, and slow to open
        return 1
    try:
        return math.prod(OpenedImage.open(task).shape[:-2])
    except SpaError:
        return 1  # what is wrong is said when it is done


def _of_middle_size(tasks: Sequence[BatchTask], work: Mapping[str, int]) -> BatchTask:
    """Return the image of median work, and of those alike the one of median size on disk."""

    def size(task: BatchTask) -> tuple[int, int]:
        with suppress(OSError):  # it went since the folder was listed
            return work[task.name], task.path.stat().st_size
        return work[task.name], 0

    return sorted(tasks, key=size)[len(tasks) // 2]


def work_of(tasks: Sequence[BatchTask]) -> dict[str, int]:
    """Return how much work each image is: its clicked objects, or else its planes."""
    return {task.name: len(task.prompts) or _count_planes(task) for task in tasks}


_WRITE_SECONDS = 3.0
"""The manifest is written so often at most, and takes a twentieth of the time at most."""


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What came of a batch."""

    done: tuple[str, ...] = ()  # images that were done now
    unchanged: tuple[str, ...] = ()  # images that were done before
    kept: tuple[str, ...] = ()  # images whose labels a user made or changed; they were left alone
    # Images that could not be done, and why, in a sentence.
    failed: tuple[tuple[str, str], ...] = ()
    # Objects of the folder that were asked for and could not be had: image, number, and why, in a
    # sentence.
    missing: tuple[tuple[str, int, str], ...] = ()
    review: tuple[str, ...] = ()  # doubtful images of the folder, the most uncertain first
    notes: tuple[str, ...] = ()  # what else a user should know, a sentence each
    objects: int = 0  # objects with a mask in the images done now
    seconds: float = 0.0  # how long it took


class BatchProgress:
    """Results as they come in, the manifest in step with them, and how long it will take."""

    def __init__(
        self,
        folder: RunFolder,
        found: ResumePlan,
        plan: BatchPlan,
        on_result: Callable[[ImageResult], None] | None,
        progress: Progress,
    ) -> None:
        self._folder, self._manifest, self._found = folder, found.manifest, found
        self._plan, self._on_result, self._progress = plan, on_result, progress
        self._work = work_of([task for task in plan.tasks if task.name in found.to_do])
        self._whole, self._worked = sum(self._work.values()), 0
        self._done: dict[str, int] = {}
        self._failed: dict[str, str] = {}
        self._partly: list[str] = []  # images of which not all was opened, a sentence each
        self._kept = list(found.named("kept"))
        # Images whose labels are a user's, of other pixels than the image has now.
        self._outdated = tuple(
            task.name
            for task in plan.tasks
            if found.states[task.name] == "kept"
            and has_changed(task.path, log_path(plan.out, task.name))
        )
        self._count = 0
        self._begun = self._written = time.monotonic()
        self._pause = _WRITE_SECONDS
        self.notes: tuple[str, ...] = ()

    def enter(self, finished: Finished | None) -> None:
        """Take in a result, or a moment without one."""
        if finished is not None:
            self._take(finished)
            if time.monotonic() - self._written > self._pause:
                begun = time.monotonic()
                self._folder.write(self._manifest)
                self._written = time.monotonic()
                self._pause = max(_WRITE_SECONDS, 20 * (self._written - begun))
            if self._on_result is not None:
                self._on_result(finished.result)
        self._progress(*self._share())

    def _take(self, finished: Finished) -> None:
        result = finished.result
        self._count += 1
        self._worked += self._work.get(result.name, 0)
        if finished.kept:
            self._kept.append(result.name)
            return
        if result.outcome == "failed":
            self._failed[result.name] = result.problem
            self._remove_stale(result.name)
        else:
            self._done[result.name] = sum(not one.problem for one in result.objects)
            if result.problem:
                self._partly.append(f"{result.name}: {result.problem}")
        self._manifest.add(result, finished.environment)

    def _remove_stale(self, name: str) -> None:
        """Take away outputs of an earlier input: they do not belong to what is there now."""
        out = self._folder.out
        ours = self._found.ours(out, name)
        for path in output_names(out, name):
            if os.path.exists(out / path) and file_sha256(out / path) in ours:
                (out / path).unlink()

    def _share(self) -> tuple[float, str]:
        now, to_do, total = self._count, len(self._found.to_do), len(self._plan.tasks)
        before = total - to_do
        message = f"{before + now} of {total} images"
        if now >= to_do:
            return 1.0, message
        if not now:
            return before / total, f"{message}, time not known yet"
        left = (time.monotonic() - self._begun) * (self._whole / self._worked - 1)
        done = self._worked / self._whole
        return (before + to_do * done) / total, f"{message}, about {in_words(left)} left"

    def report(self, seconds: float = 0.0) -> BatchReport:
        """Say what came of it."""
        notes = [*self.notes, *sorted(self._partly)]
        if changed := len(self._found.named("changed")):
            were = "was" if changed == 1 else "were"
            notes.append(f"{counted(changed, 'image')} had changed since and {were} done again.")
        if self._outdated:
            notes.append(say_changed(self._outdated, "the labels are kept as they were"))
        return BatchReport(
            done=tuple(sorted(self._done)),
            unchanged=self._found.named("unchanged"),
            kept=tuple(sorted(self._kept)),
            failed=tuple(sorted(self._failed.items())),
            missing=self._manifest.missing(),
            review=tuple(dict.fromkeys((*self._outdated, *self._manifest.review()))),
            notes=tuple(notes),
            objects=sum(self._done.values()),
            seconds=seconds,
        )


def in_words(seconds: float) -> str:
    """Say a time so that one can plan by it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def run_batch(
    plan: BatchPlan,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    overwrite: bool = False,
    on_result: Callable[[ImageResult], None] | None = None,
    progress: Progress = silent,
    tools: Tools | None = None,
) -> BatchReport:
    """Do all images of a plan that are not done yet.

    What is on disk is the state: killed at any moment and called again, it does the rest, and
    the output folder ends with the same bytes, whatever the number of workers.
    """
    if workers < 1:
        raise InputError(f"workers must be at least 1, but is {workers}.")
    if workers > 1 or scheduler is not None:
        need_dask()
    begun = time.monotonic()
    tools = tools or Tools()
    facts = recipe_facts(plan.recipe)
    # Before OUT is made.
    plan_resume(replace(plan, tasks=()), facts, overwrite=overwrite)
    with lock_output(plan.out) as folder:
        progress(0.0, "looking at what is done")
        found = plan_resume(plan, facts, overwrite=overwrite)
        results = BatchProgress(folder, found, plan, on_result, progress)
        if not found.to_do and not found.earlier.unfinished:
            return results.report()
        job = _begin(plan, folder, facts, found, tools, overwrite=overwrite)
        assignments = [
            Assignment(task, found.ours(plan.out, task.name))
            for task in plan.tasks
            if task.name in found.to_do
        ]
        fresh = found.earlier.manifest is None
        with (
            _closing(folder, found.manifest, fresh=fresh),
            _finishing(job, assignments, workers, scheduler) as (each, notes),
        ):
            results.notes = notes
            for finished in each:
                results.enter(finished)
        folder.finish()
    return results.report(time.monotonic() - begun)


def _begin(
    plan: BatchPlan,
    folder: RunFolder,
    facts: Facts,
    found: ResumePlan,
    tools: Tools,
    *,
    overwrite: bool,
) -> Job:
    """Say on disk what begins, and take away what killed runs left."""
    folder.begin(facts, found.earlier.ours, overwrite=overwrite)
    folder.write(found.manifest)
    folder.clear_earlier()
    recipe = plan.recipe
    if recipe.profile is not None:
        # A dock may go on teaching the original; all images start from what it was.
        copy = folder.path / "profile.json"
        with explained("write", copy):
            shutil.copyfile(recipe.profile, copy)
        if file_sha256(copy) != facts["profile"]["sha256"]:
            raise DataError(f"{recipe.profile} changed just now; start again.")
        recipe = replace(recipe, profile=copy)
    return Job(plan.out, folder.name, plan.source, recipe, facts, tools)


@contextmanager
def _finishing(
    job: Job, assignments: Sequence[Assignment], workers: int, scheduler: str | None
) -> Iterator[tuple[Iterator[Finished | None], tuple[str, ...]]]:
    """Give the results as they come, from here or from workers, and notes on how they are made."""
    if scheduler is not None:
        with connected(scheduler) as client:
            yield run_on(client, job, assignments), ()
        return
    workers = min(workers, len(assignments))
    if workers <= 1:
        yield run_here(job, assignments), ()
        return
    fitting, memory = share_of_memory(job, workers)
    notes: tuple[str, ...] = ()
    if fitting < workers:
        notes = (f"the free memory is enough for {fitting} of {workers} workers.",)
    with local_cluster(fitting, memory) as cluster, connected(cluster) as client:
        yield run_on(client, job, assignments), notes


@contextmanager
def _closing(folder: RunFolder, manifest: Manifest, *, fresh: bool) -> Iterator[None]:
    """Write the manifest in the end, however it comes; nothing at all where nothing began."""
    try:
        yield
    except BaseException:
        with suppress(DataError):
            folder.end(manifest)
            if fresh and not manifest.entries:
                manifest_path(folder.out).unlink(missing_ok=True)
                folder.finish()
        raise
    folder.end(manifest)

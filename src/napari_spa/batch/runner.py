"""Run a batch: do what is missing or changed, and keep the manifest in step."""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_spa.batch.cluster import connected, run_on
from napari_spa.batch.job import Assignment, Job, Tools
from napari_spa.batch.local import local_cluster, need_dask, run_here, share_of_memory
from napari_spa.batch.manifest import Manifest, recipe_facts, sha256_of
from napari_spa.batch.progress import BatchReport, Book
from napari_spa.batch.resume import holding
from napari_spa.batch.survey import survey
from napari_spa.errors import DataError, InputError
from napari_spa.refine.engine.config import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari_spa.batch.job import Finished
    from napari_spa.batch.manifest import Facts
    from napari_spa.batch.plan import BatchPlan
    from napari_spa.batch.resume import RunFolder
    from napari_spa.batch.survey import Survey
    from napari_spa.batch.task import ImageResult

__all__ = ["BatchReport", "run_batch"]


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

    Parameters
    ----------
    plan : BatchPlan
        From :func:`~napari_spa.batch.plan.make_plan`.
    workers : int
        Processes on this machine; one works in this process and needs no dask.
    scheduler : str or None
        Address of a dask scheduler, whose workers see the folders under the same paths.
    overwrite : bool
        Do everything anew, also what was made otherwise or by a person.
    on_result : callable or None
        Called with each result, in the calling thread.
    progress : callable
        Called with the share done and a message; may raise ``Cancelled`` to stop.
    tools : Tools or None
        Other functions than the engine's, for tests.

    Returns
    -------
    BatchReport

    Raises
    ------
    InputError
        When the number of workers cannot be used.
    ModelError, DeviceError, ProfileError
        When the model or the profile cannot be used.
    DataError
        When the output folder cannot be written, holds results of another recipe or is in
        use, or the scheduler is lost.  What is finished is kept.
    Cancelled
        When ``progress`` raised it.  What is finished is kept.
    """
    if workers < 1:
        raise InputError(f"a batch needs one worker or more, not {workers}.")
    if workers > 1 or scheduler is not None:
        need_dask()
    begun = time.monotonic()
    tools = tools or Tools()
    facts = recipe_facts(plan.recipe)
    survey(replace(plan, tasks=()), facts, tools.digest, overwrite=overwrite)  # before OUT is made
    with holding(plan.out) as folder:
        progress(0.0, "looking at what is done")
        found = survey(plan, facts, tools.digest, overwrite=overwrite)
        if not found.to_do and not found.earlier.unfinished:
            return _nothing_to_do(found)
        manifest = Manifest(facts)
        if found.carry_on and found.earlier.manifest is not None:
            manifest = found.earlier.manifest
            manifest.recipe = facts
        book = Book(folder, manifest, found, len(plan.tasks), on_result, progress)
        job = _begin(plan, folder, facts, found, manifest, tools, overwrite=overwrite)
        assignments = [
            Assignment(task, found.ours(plan.out, task.name))
            for task in plan.tasks
            if task.name in found.to_do
        ]
        fresh = found.earlier.manifest is None
        with (
            _closing(folder, manifest, fresh=fresh),
            _finishing(job, assignments, workers, scheduler) as each,
        ):
            book.notes = each.notes
            for finished in each.results:
                book.enter(finished)
        folder.finish()
    return book.report(time.monotonic() - begun)


def _begin(
    plan: BatchPlan,
    folder: RunFolder,
    facts: Facts,
    found: Survey,
    manifest: Manifest,
    tools: Tools,
    *,
    overwrite: bool,
) -> Job:
    """Say on disk what begins, and take away what killed runs left."""
    folder.begin(facts, found.earlier.ours, overwrite=overwrite)
    folder.write(manifest)
    folder.clear_earlier()
    recipe = plan.recipe
    if recipe.profile is not None:
        # A dock may go on teaching the original; all images start from what it was.
        copy = folder.path / "profile.json"
        try:
            shutil.copyfile(recipe.profile, copy)
        except OSError as error:
            raise DataError(f"cannot write {copy}: {error.strerror or error}.") from error
        if sha256_of(copy) != facts["profile"]["sha256"]:
            raise DataError(f"{recipe.profile} changed just now; start again.")
        recipe = replace(recipe, profile=copy)
    return Job(plan.out, folder.name, plan.source, recipe, facts, tools)


@dataclass(frozen=True, slots=True)
class _Each:
    """Results as they come."""

    results: Iterator[Finished | None]
    notes: tuple[str, ...] = ()


@contextmanager
def _finishing(
    job: Job, assignments: Sequence[Assignment], workers: int, scheduler: str | None
) -> Iterator[_Each]:
    """Give the results, from this process, from several or from a cluster."""
    if scheduler is not None:
        with connected(scheduler) as client:
            yield _Each(run_on(client, job, assignments))
        return
    workers = min(workers, len(assignments))
    if workers <= 1:
        yield _Each(run_here(job, assignments))
        return
    fitting, memory = share_of_memory(job, workers)
    notes: tuple[str, ...] = ()
    if fitting < workers:
        notes = (f"the free memory is enough for {fitting} of {workers} workers.",)
    with local_cluster(fitting, memory) as cluster, connected(cluster) as client:
        yield _Each(run_on(client, job, assignments), notes)


@contextmanager
def _closing(folder: RunFolder, manifest: Manifest, *, fresh: bool) -> Iterator[None]:
    """Write the manifest in the end, however it comes; nothing at all where nothing began."""
    try:
        yield
    except BaseException:
        with suppress(DataError):
            folder.end(manifest)
            if fresh and not manifest.entries:
                folder.abandon()
        raise
    folder.end(manifest)


def _nothing_to_do(found: Survey) -> BatchReport:
    manifest = found.earlier.manifest
    report = BatchReport(unchanged=found.named("unchanged"), kept=found.named("kept"))
    if manifest is None:
        return report
    return replace(report, missing=manifest.missing(), review=manifest.review())

"""What a process does for one image of a batch; the same here, in a child and far away.

Each attempt works in a folder of its own inside the run's folder and moves its files out
when they are whole.  A run that ended takes its folder with it, so an attempt that outlived
its run (a worker that was cut off, say) has nothing left to move and harms no later run.
"""

from __future__ import annotations

import ctypes
import errno
import json
import logging
import os
import platform
import shutil
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING

from napari_spa import __version__
from napari_spa.batch.engine import BatchEngine
from napari_spa.batch.segment import segment_image
from napari_spa.batch.task import (
    BatchRecipe,
    BatchTask,
    Facts,
    ImageResult,
    digest_of,
    input_digest,
    result_to_record,
)
from napari_spa.errors import DataError, InputError, ModelError, SpaError, was_interrupted
from napari_spa.io.files import explained, file_sha256, make_folder, write_text
from napari_spa.io.models.load import device_in_turn

if TYPE_CHECKING:
    from collections.abc import Callable


def _make_engine(recipe: BatchRecipe) -> BatchEngine:
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


@dataclass(frozen=True, slots=True)
class Tools:
    """The functions of a batch; module-level ones, for they go to other processes by name."""

    # ``(task, recipe, engine, out) -> ImageResult``; writes labels and log into ``out``.
    segment: Callable[[BatchTask, BatchRecipe, BatchEngine, Path], ImageResult] = segment_image
    # ``recipe -> BatchEngine``; called once in a process.
    make_engine: Callable[[BatchRecipe], BatchEngine] = _make_engine


@dataclass(frozen=True, slots=True)
class Job:
    """A run of a batch, as its workers know it."""

    out: Path  # the output folder; absolute, and the same on all machines
    run: str  # the run's own folder in it, POSIX
    source: Path  # where the images are
    recipe: BatchRecipe  # its profile is a copy in the run's folder
    facts: Facts  # from :func:`~napari_spa.batch.task.recipe_facts`
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


_logger = logging.getLogger(__name__)

_SEEN_SECONDS = 60  # so long a shared file system may take to show a new folder on another machine

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS} if os.name == "posix" else set()
_MATTER = ("imagecodecs", "numpy", "scikit-image", "scikit-learn", "scipy", "tifffile", "torch")


class _Engines:
    """The latest engine of this process."""

    def __init__(self) -> None:
        self.guard = threading.RLock()
        self._key: tuple[object, ...] | None = None
        self._engine: BatchEngine | None = None
        self._runs: set[Path] = set()

    def get(self, job: Job) -> BatchEngine:
        """Return the engine of a job, made now if the last job was another."""
        if job.folder not in self._runs:
            _check_shared(job)
            self._runs = {job.folder}
        recipe = replace(job.recipe, profile=None)
        key = (recipe, digest_of(job.facts), job.tools.make_engine)
        if self._engine is None or key != self._key:
            self._engine, self._key = None, None  # let the last one's memory go first
            engine = job.tools.make_engine(job.recipe)
            wanted = job.facts["model"]
            if engine.identity.sha256 != wanted["sha256"]:
                raise ModelError(
                    f"the weights of {wanted['name']} on {gethostname()} are others than here; "
                    "copy the same file to all machines."
                )
            self._engine, self._key = engine, key
        return self._engine


_ENGINES = _Engines()


def load_engine(job: Job) -> None:
    """Load the model of a run into this process, unless it is there."""
    with _ENGINES.guard:
        _ENGINES.get(job)


def process(job: Job, assignment: Assignment) -> Finished:
    """Do one image, from opening it to its files in the output folder."""
    task = assignment.task
    with _ENGINES.guard:  # one image at a time in a process, whatever threads a worker has
        engine = _ENGINES.get(job)
        environment = {"device": str(engine.device).split(":")[0], **_versions()}
        staging = _stage(job)
        try:
            result = _without_paths(_attempt(job, task, engine, staging), task)
            kept = False
            if result.outcome == "done":
                kept = not _publish(job, assignment, Finished(result, environment), staging)
            return Finished(result, environment, kept)
        finally:
            _clear(job, staging)
            _give_memory_back()


def _attempt(job: Job, task: BatchTask, engine: BatchEngine, staging: Path) -> ImageResult:
    try:
        return job.tools.segment(task, job.recipe, engine, staging)
    except DataError as error:
        if _is_the_disk(error) or not _can_write(staging):
            raise
        problem = str(error)
    except SpaError as error:
        problem = str(error)
    except Exception as error:  # a fault of ours in one image must not end the others
        if was_interrupted(error):
            raise KeyboardInterrupt from error
        _logger.exception("%s failed", task.name)
        problem = f"unexpected {type(error).__name__}: {error}"
    digest = ""
    with suppress(InputError):
        digest = input_digest(task)
    return ImageResult(task.name, "failed", input_sha256=digest, problem=problem)


def _without_paths(result: ImageResult, task: BatchTask) -> ImageResult:
    """Name files in a sentence as the batch does: it goes into the manifest."""
    problem = result.problem.replace(str(task.path), task.name)
    if task.mask is not None:
        problem = problem.replace(str(task.mask), f"the mask {task.mask.name}")
    return replace(result, problem=problem)


def _give_memory_back() -> None:
    """Return what an image took: glibc keeps some 40 MiB of it in each process otherwise."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)


def _stage(job: Job) -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="image-", dir=job.folder))
    except OSError as error:
        if not job.folder.is_dir():
            raise DataError(f"{job.out} was taken away while the batch ran.") from error
        raise DataError(f"cannot write {job.out}: {error.strerror or error}.") from error


def _clear(job: Job, staging: Path) -> None:
    """Take an attempt's folder away, and its run's if that ended meanwhile."""
    shutil.rmtree(staging, ignore_errors=True)
    with suppress(OSError):  # a run that goes on has marks in it
        job.folder.rmdir()
        job.folder.parent.rmdir()


def _publish(job: Job, assignment: Assignment, finished: Finished, staging: Path) -> bool:
    """Move the outputs out; False, and nothing is moved, where a user's would be lost.

    The mark comes first: whatever is found in the output folder after a crash is ours if a
    mark or the manifest knows its digest.
    """
    outputs = finished.result.outputs
    for name, digest in outputs:
        target = job.out / name
        if os.path.exists(target) and file_sha256(target) not in {digest, *assignment.ours}:
            return False
    record = {
        "name": finished.result.name,
        "result": result_to_record(finished.result),
        "environment": finished.environment,
    }
    write_text(staging / "mark.json", json.dumps(record, sort_keys=True), within=staging)
    mark = job.folder / "marks" / f"{digest_of({'name': finished.result.name})}.json"
    with explained("write", mark):
        os.replace(staging / "mark.json", mark)
    for name, _ in reversed(outputs):  # labels last: where they are, the rest is
        target = job.out / name
        with explained("write", target):
            make_folder(target.parent, job.out)
            os.replace(staging / name, target)
    return True


@cache
def _versions() -> Facts:
    """Return the versions of what computes."""
    found: Facts = {"napari-spa": __version__, "python": platform.python_version()}
    for name in _MATTER:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _check_shared(job: Job) -> None:
    """Refuse to work where the folders of the batch are not in sight."""
    until = time.monotonic() + _SEEN_SECONDS
    while not job.folder.is_dir():
        if not job.out.parent.is_dir() or time.monotonic() > until:
            raise DataError(
                f"the worker on {gethostname()} does not see {job.out}; scheduler and workers must "
                "share the file system, under the same path."
            )
        time.sleep(0.5)
    if not job.source.is_dir():
        raise DataError(f"the worker on {gethostname()} does not see {job.source}.")


def _is_the_disk(error: DataError) -> bool:
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in _DISK


def _can_write(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"napari-spa" * 1000)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        return False
    return True

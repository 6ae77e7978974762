"""Long jobs on a folder: batch and export, and the process of its own that a batch runs in.

Python code in a thread makes the window stutter.

.. code-block:: text

    run_in_subprocess (a thread of the dock)            serve (the new process)
      job, arguments ─────────────── stdin ────► runs the job
      on_value, progress, result ◄── stdout ──── what it reports
      Cancelled: closes stdin ──────────────────► the job is interrupted, as by Ctrl+C, and
                                                  killed with its children if that takes long

The process ends with the dock's: its stdin is closed then, too.  It is not started as
:mod:`multiprocessing` does, which would run a user's script again.
"""

from __future__ import annotations

import _thread
import logging
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any, Literal

from napari_spa.core.presentation import counted
from napari_spa.errors import Cancelled, DataError
from napari_spa.io.files import check_there
from napari_spa.io.projects.paths import labels_path
from napari_spa.io.projects.project import Project, in_brief

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_spa.batch.plan import BatchPlan
    from napari_spa.batch.runner import BatchReport, Estimate
    from napari_spa.batch.task import ImageResult
    from napari_spa.io.export import ExportRequest
    from napari_spa.io.profiles import PreferenceProfile
    from napari_spa.refine.engine.config import Progress
    from napari_spa.viewer.background import JobHandle


def do_export(project: Project, request: ExportRequest, progress: Progress) -> str:
    """Export a project, and say what came of it."""
    from napari_spa.io.export import export_project
    from napari_spa.refine.log.replay import changed_images, say_changed
    from napari_spa.viewer.export import colour_of

    report = export_project(project, request, progress, colour=colour_of())
    failed = Counter(name for name, _ in report.problems)
    partly = sum(forms < len(request.formats) for forms in failed.values())
    images = counted(report.images + partly, "image")
    files = counted(report.files, "file")
    words = f"Exported {images} into {request.folder}: {files}. {report.left_out}".rstrip()
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


Way = Literal["auto", "prompts", "masks"]


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What a user wants done with the rest of a folder."""

    way: Way  # where objects come from
    path: Path | None  # the table of prompts, or the folder of masks
    doubtful: float  # objects of at least this uncertainty are put on the review list
    workers: int  # processes at once
    again: bool = False  # whether what is to review is done as well


@dataclass(frozen=True, slots=True, eq=False)
class BatchRequest:
    """What a batch shall do; everything it needs of the dock."""

    source: Path  # the images, and the project's output folder
    out: Path
    options: BatchOptions
    names: tuple[str, ...]  # which images
    again: tuple[str, ...]  # images that a batch did already, to be done as well
    model: str  # from the settings
    device: str
    # As it is now; what is learnt while the batch runs does not change it.
    profile: PreferenceProfile | None


def plan_batch(order: BatchRequest) -> BatchPlan:
    """Look what a batch would take; slow on large folders."""
    from napari_spa.batch.plan import make_plan
    from napari_spa.batch.task import BatchRecipe

    applied = None
    if order.profile is not None:
        applied = order.out / APPLIED_NAME
        order.profile.save(applied, within=order.out)
    recipe = BatchRecipe(
        model=order.model,
        device=order.device,
        profile=applied,
        source=order.options.way,
        doubtful=order.options.doubtful,
    )
    names = {*order.names, *order.again}
    plan = make_plan(order.source, order.out, recipe, order.options.path, names=names)
    check_there(order.out)  # a batch would make it
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
    found = estimate(plan, workers=order.options.workers)
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
        _run, order, on_value=handle.report, progress=handle, dropped=lambda: handle.dropped
    )
    return report


def _run(
    order: BatchRequest, on_value: Callable[[ImageResult], None], progress: Progress
) -> BatchReport:
    from napari_spa.batch.runner import run_batch

    progress(0.0, "looking at the images")
    plan = plan_batch(order)
    report = run_batch(plan, workers=order.options.workers, on_result=on_value, progress=progress)
    return replace(report, notes=(*plan.notes, *report.notes))


_logger = logging.getLogger(__name__)
_LOOK_SECONDS, _GRACE_SECONDS = 0.1, 2.0
_CLOSING_SECONDS = 3.0  # for a job to end when the window goes
_SERVE = "from napari_spa.viewer.folder.jobs import serve; serve()"


def run_in_subprocess(
    job: Callable[..., Any],
    *arguments: object,
    on_value: Callable[[Any], None],
    progress: Progress,
    patience: float = 60.0,
    dropped: Callable[[], bool] = lambda: False,
) -> Any:
    """Run a job in a new process and wait for its result; for a background thread.

    Once it is not wanted it has so many seconds of patience to end, and fewer when it is dropped.
    """
    with tempfile.TemporaryDirectory(prefix="napari-spa-") as scratch:
        # -P: the current folder may hold a stranger's numpy.py, and is none of our modules.
        # What a process leaves that is ended goes with the folder.
        places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), scratch)
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **places, "OMP_WAIT_POLICY": "PASSIVE"},
            start_new_session=True,  # its own children end with it
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # on Windows
        )
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None
        answers: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        begun = threading.Event()
        listener = threading.Thread(
            target=_listen, args=(stdout, answers, begun), name="napari-spa-apart", daemon=True
        )
        listener.start()
        try:
            _send(stdin, (job, arguments))
            return _answer(answers, on_value, progress, process)
        finally:
            with suppress(OSError):  # it died with the order half read
                stdin.close()
            if not begun.wait(_LOOK_SECONDS):
                process.kill()  # it still imports, for seconds, and cannot be interrupted
            if not _ends(process, patience, dropped):
                _kill(process)
                process.wait()
            listener.join(_GRACE_SECONDS)
            if listener.is_alive():  # a child of its holds the other end
                _kill(process)
                listener.join(_GRACE_SECONDS)
            if not listener.is_alive():
                stdout.close()


def _ends(process: subprocess.Popen[bytes], patience: float, dropped: Callable[[], bool]) -> bool:
    """Wait for a process that was asked to end, and tell whether it did."""
    begun = time.monotonic()
    while process.poll() is None:
        waited = time.monotonic() - begun
        if waited > (min(patience, _CLOSING_SECONDS) if dropped() else patience):
            return False
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK_SECONDS)
    return True


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and, where the system knows them, its children."""
    with suppress(OSError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def _answer(
    answers: queue.SimpleQueue[tuple[str, Any]],
    on_value: Callable[[Any], None],
    progress: Progress,
    process: subprocess.Popen[bytes],
) -> Any:
    """Pass on what the job reports, until it ends."""
    share, message = 0.0, ""
    ended = None
    while True:
        try:
            kind, value = answers.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            progress(share, message)
            if process.poll() is None:
                continue
            # What it said last is on its way; that no more comes is not said where a child
            # of the process holds the other end.
            ended = time.monotonic() if ended is None else ended
            if time.monotonic() - ended < _GRACE_SECONDS:
                continue
            kind, value = "end", None
        if kind == "progress":
            share, message = value
            progress(share, message)
        elif kind == "value":
            on_value(value)
        elif kind == "error":
            raise value
        elif kind == "result":
            return value
        else:
            raise DataError("the process that did the work ended; start again, and it goes on.")


def _listen(
    stdout: IO[bytes], answers: queue.SimpleQueue[tuple[str, Any]], begun: threading.Event
) -> None:
    """Take answers until there are no more."""
    try:
        while True:
            answers.put(pickle.load(stdout))
            begun.set()
    except Exception as error:  # unpickling runs code of any class
        if not isinstance(error, EOFError):
            _logger.exception("an answer of a job in a process of its own cannot be read")
        answers.put(("end", None))


def _send(stream: IO[bytes], value: object) -> None:
    try:
        pickle.dump(value, stream)
        stream.flush()
    except OSError as error:
        raise DataError("the process that does the work could not be started.") from error
    except Exception as error:
        raise DataError(f"the work cannot be given to another process ({error}).") from error


# ---------------------------------------------------------------------- in the new process


def serve() -> None:
    """Do the job that comes on stdin, and answer on stdout."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what libraries print is no answer
    guard, unwanted, over = threading.Lock(), threading.Event(), threading.Event()

    def tell(kind: str, value: object) -> None:
        content = pickle.dumps((kind, value))
        with guard:
            answers.write(content)
            answers.flush()

    def progress(share: float, message: str) -> None:
        if unwanted.is_set():
            raise Cancelled("the work was stopped.")
        tell("progress", (share, message))

    def wait() -> None:
        # Until it is closed; a buffered reader would hold its lock when the process ends.
        while os.read(0, 1):
            pass
        unwanted.set()
        if not over.is_set():  # at once: what a job does before it next reports may take minutes
            _thread.interrupt_main()

    job, arguments = pickle.load(sys.stdin.buffer)
    # A napari that a script started in the background ignores it, and so would we.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        tell("progress", (0.0, ""))  # from here on it can be interrupted
        threading.Thread(target=wait, daemon=True).start()
        result = job(*arguments, on_value=lambda value: tell("value", value), progress=progress)
        over.set()
        tell("result", result)
    except BrokenPipeError:
        pass  # no one listens any more
    except (KeyboardInterrupt, Cancelled):
        with suppress(BrokenPipeError):
            tell("error", Cancelled("the work was stopped."))
    except Exception as error:
        _logger.exception("a job in a process of its own failed")
        tell("error", _as_told(error))


def _as_told(error: Exception) -> Exception:
    """Return an exception as it arrives on the other side, or one that says the same."""
    try:
        same = pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  pickling runs code of any class
        same = None
    if type(same) is type(error):
        return error
    return DataError(f"{type(error).__name__}: {error}.")

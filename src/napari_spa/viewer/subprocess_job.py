"""Run a job in a process of its own: Python code in a thread makes the window stutter.

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
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

from napari_spa.errors import Cancelled, DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_spa.refine.engine.config import Progress

_logger = logging.getLogger(__name__)
_LOOK_SECONDS, _GRACE_SECONDS = 0.1, 2.0
_CLOSING_SECONDS = 3.0  # for a job to end when the window goes
_SERVE = "from napari_spa.viewer.subprocess_job import serve; serve()"


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
        return _talk(process, (job, arguments), on_value, progress, patience, dropped)


def _talk(
    process: subprocess.Popen[bytes],
    order: object,
    on_value: Callable[[Any], None],
    progress: Progress,
    patience: float,
    dropped: Callable[[], bool],
) -> Any:
    """Give a process its job, and hear it until it ends."""
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
        _send(stdin, order)
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

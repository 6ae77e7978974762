"""Background work, and the way back to the main thread: for slow jobs, and for small files."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

from napari_spa.errors import Cancelled, SpaError, sentence_of

if TYPE_CHECKING:
    from collections.abc import Callable

    Job = Callable[["JobHandle"], Any]

_logger = logging.getLogger(__name__)
_REPORT_MS = 50  # between two reports that are shown; a bar drawn more often stalls the window


def later(owner: QObject | None, action: Callable[[], object], pause: int = 0) -> QTimer:
    """Return what does something once, so many milliseconds after it is started."""
    timer = QTimer(owner)
    timer.setSingleShot(True)
    timer.setInterval(pause)
    timer.timeout.connect(action)
    return timer


def nothing(_: object) -> None:
    """Go on with nothing."""


@dataclass(eq=False, slots=True)
class JobHandle:
    """One job: how it says how far it is, and who hears what it gives.

    The job is called with it.  It is the job's progress callback: called with the share
    done and a message, it raises ``Cancelled`` once no one waits for the job any more.
    """

    worker: Worker
    then: Callable[[Any], None]  # hears the result
    on_value: Callable[[Any], None]  # hears what is given on the way
    surely: bool = False  # whether it is done whatever comes after it
    stopping: bool = False  # whether it was asked to end

    def __call__(self, share: float, message: str) -> None:
        """Say how far the job is; raise ``Cancelled`` when it is not wanted any more."""
        self.check()
        self.worker.advance(self, share, message)

    def report(self, value: object) -> None:
        """Give something on the way; heard in the main thread while the job is wanted."""
        self.worker.gave.emit(self, value)

    @property
    def dropped(self) -> bool:
        """Whether no one waits for the job: another came, or the window goes."""
        return not self.worker.waits_for(self)

    def check(self) -> None:
        """Raise ``Cancelled`` when the job is not wanted any more."""
        if self.stopping or self.dropped:
            raise Cancelled("the work was stopped.")


class Worker(QObject):
    """Run jobs one after another; only the latest one's answer counts.

    .. code-block:: text

        IDLE --submit--> BUSY --the job ends--> IDLE
                          |--stop--> STOPPING --the job ends--> IDLE
                          |--drop--> IDLE  (the job ends when it can, unheard)

    Whatever a job says carries the job's own handle, and only what the latest job says is
    heard: nothing that an older one reports or answers late is taken for its.  A stopped
    job is still heard: it may be done already, and then what it did is what counts.
    """

    finished = Signal(object)  # result or exception of the latest job; emitted in the main thread
    failed = Signal(object)  # result or exception of the latest job; emitted in the main thread
    stopped = Signal()  # the latest job ended because it was asked to
    progressed = Signal(float, str)  # share done and message of the latest job; in the main thread
    busy_changed = Signal(bool)  # whether a job that counts is under way
    _ended = Signal(object, object, object)
    _found = Signal(object, object)  # by work ahead
    gave = Signal(object, object)  # from a job's handle, in its thread
    _advanced = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="napari-spa")
        self._idle = ThreadPoolExecutor(1, thread_name_prefix="napari-spa-idle")
        self._job: JobHandle | None = None  # the one that counts
        self._ahead: set[JobHandle] = set()  # those that no one waits for
        self._advance: tuple[JobHandle, float, str] | None = None  # the latest that is not heard
        self._guard, self._hearing = threading.Lock(), False
        self._rest = later(self, self._hear, _REPORT_MS)
        self._closed = threading.Event()
        # Emitted in the worker thread, so Qt queues them into this object's thread.
        self._ended.connect(self._on_ended)
        self._found.connect(self._on_found)
        self.gave.connect(self._on_gave)
        self._advanced.connect(self._hear)

    @property
    def busy(self) -> bool:
        """Whether a job that counts is under way."""
        return self._job is not None

    def waits_for(self, job: JobHandle) -> bool:
        """Tell whether a job counts: the latest one, or idle work that no job came after."""
        return job is self._job or job in self._ahead

    def advance(self, job: JobHandle, share: float, message: str) -> None:
        """Say from a job's thread how far it is; of reports that come fast the latest is heard."""
        if job is not self._job:
            return
        with self._guard:
            waits, self._advance = self._advance is not None, (job, share, message)
        if not waits:
            self._advanced.emit()

    def submit(
        self,
        job: Job,
        then: Callable[[Any], None] = nothing,
        *,
        on_value: Callable[[Any], None] = nothing,
    ) -> None:
        """Run a job in the background; an earlier one that still runs is dropped."""
        before, self._ahead = self._job, {ahead for ahead in self._ahead if ahead.surely}
        self._job = handle = JobHandle(self, then, on_value)
        if before is None:
            self._say_busy()
        self._executor.submit(self._run, handle, job)

    def submit_idle(
        self,
        job: Job,
        then: Callable[[Any], None] = nothing,
        *,
        queued: bool = False,
        surely: bool = False,
    ) -> None:
        """Run a job no one waits for, unless there is one that someone does, or ``surely``.

        What it gives is heard unless someone waits for another job by then, or ``surely``.  It has
        a thread of its own, so that no one waits behind it, unless it is to be ``queued`` because
        it must not run beside other jobs: then it has to be short, or to check often whether it is
        wanted.
        """
        if self._closed.is_set() or (self.busy and not surely):
            return
        handle = JobHandle(self, then, nothing, surely=surely)
        self._ahead.add(handle)

        def run() -> None:
            result: object = None
            try:
                if not surely:
                    handle.check()
                result = job(handle)
            except Cancelled:
                pass
            except Exception:
                _logger.debug("work ahead failed", exc_info=True)
            if self._closed.is_set() or result is None:
                self._ahead.discard(handle)
            else:
                self._found.emit(handle, result)

        (self._executor if queued else self._idle).submit(run)

    def stop(self) -> None:
        """Ask the running job to end at its next progress report."""
        if self._job is not None:
            self._job.stopping = True

    def drop(self) -> None:
        """Do not wait for the running job, nor hear it."""
        before, self._job = self._job, None
        self._ahead = {ahead for ahead in self._ahead if ahead.surely}
        if before is not None:
            self._say_busy()

    def close(self) -> None:
        """Stop: drop what runs and wait for the thread to end."""
        self._closed.set()
        self.drop()
        self._ahead.clear()  # not even for what was to be done surely: it ends when it can
        for executor in (self._executor, self._idle):
            executor.shutdown(wait=True, cancel_futures=True)

    def _run(self, handle: JobHandle, job: Job) -> None:
        result: object = None
        error: BaseException | None = None
        try:
            if handle is self._job:
                result = job(handle)
        except BaseException as caught:  # noqa: BLE001  reported in the main thread, never lost
            error = caught
        if not self._closed.is_set():
            self._ended.emit(handle, result, error)

    def _on_ended(self, handle: JobHandle, result: object, error: BaseException | None) -> None:
        if handle is self._job:
            self._hear(last=True)
        if handle is not self._job:  # which may have been dropped while that was shown
            return
        self._job = None
        self._say_busy()
        if error is None:
            try:
                handle.then(result)
            except SpaError as caught:
                error = caught
        if error is None:
            self.finished.emit(result)
        elif isinstance(error, Cancelled):
            self.stopped.emit()
        else:
            self.failed.emit(error)

    def _on_found(self, handle: JobHandle, result: object) -> None:
        if handle in self._ahead:
            self._ahead.discard(handle)
            handle.then(result)

    def _on_gave(self, handle: JobHandle, value: object) -> None:
        if handle is self._job:
            handle.on_value(value)

    def _hear(self, *, last: bool = False) -> None:
        # What is shown may let the window live, and us come here.
        if self._hearing or (self._rest.isActive() and not last):
            return  # heard after that
        with self._guard:
            advance, self._advance = self._advance, None
        if advance is None or advance[0] is not self._job:
            return
        self._hearing = True
        try:
            self.progressed.emit(*advance[1:])
        finally:
            self._hearing = False
            self._rest.start()

    def _say_busy(self) -> None:
        if not self._closed.is_set():
            self.busy_changed.emit(self.busy)


Result = TypeVar("Result")


class FileThread(QObject):
    """Do one thing after another; what fails is said in one sentence."""

    failed = Signal(str)  # what went wrong; in the main thread
    _answered = Signal(object, object, object)  # from the thread

    def __init__(self, name: str, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._closed, self._guard = False, threading.Lock()
        self._answered.connect(self._on_answered)

    def ask(self, job: Callable[[], Any], then: Callable[[Any], None] = nothing) -> None:
        """Do something, and go on with its result in the main thread."""

        def answer() -> None:
            result: object = None
            error: Exception | None = None
            try:
                result = job()
            except Exception as caught:  # noqa: BLE001  told in the main thread
                error = caught
            self.emit(self._answered, then, result, error)

        try:
            self._executor.submit(answer)
        except RuntimeError:  # closed
            _logger.debug("a job for files came after the end")

    def emit(self, signal: Any, *values: object) -> None:
        """Emit a signal from the thread, unless this is closed: Qt may have taken it away."""
        with self._guard:
            if not self._closed:
                signal.emit(*values)

    def wait_for(self, job: Callable[[], Result]) -> Result:
        """Do something after all before it, and wait for it; for another thread than the main."""
        return self._executor.submit(job).result()

    def close(self, *, wait: bool = True) -> None:
        """Do what is left, unheard, and end the thread; may be called twice."""
        with self._guard:
            self._closed = True
        self._executor.shutdown(wait=wait)

    def _on_answered(
        self, then: Callable[[Any], None], result: object, error: Exception | None
    ) -> None:
        if self._closed:
            return
        if error is None:
            then(result)
        else:
            if not isinstance(error, SpaError):
                _logger.error("a job for files failed", exc_info=error)
            self.failed.emit(sentence_of(error))

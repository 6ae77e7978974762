"""One background thread for everything slow, and the way back to the main thread."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_spa.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_spa.refine.engine.config import Progress

    Job = Callable[[Progress], Any]


_logger = logging.getLogger(__name__)


class Worker(QObject):
    """Run jobs one after another; only the latest one's answer counts.

    .. code-block:: text

        IDLE --submit--> BUSY --the job ends--> IDLE
                          |--stop--> STOPPING --the job ends--> IDLE
                          |--drop--> IDLE  (the job ends when it can, unheard)

    Each job has a generation number.  Submitting or dropping raises the number, so the
    answer of an older job is dropped when it arrives.  A stopped job is still heard: it
    may be done already, and then what it did is what counts.

    Attributes
    ----------
    finished, failed : Signal(object)
        Result or exception of the latest job; emitted in the main thread.
    stopped : Signal()
        The latest job ended because it was asked to.
    yielded : Signal(object)
        What the latest job gave on the way, by ``report``; in the main thread.
    progressed : Signal(float, str)
        Share done and message of the latest job; in the main thread.
    busy_changed : Signal(bool)
        Whether a job that counts is under way.
    """

    finished = Signal(object)
    failed = Signal(object)
    stopped = Signal()
    yielded = Signal(object)
    progressed = Signal(float, str)
    busy_changed = Signal(bool)
    _ended = Signal(int, object, object)
    _gave = Signal(int, object)
    _advanced = Signal(int, float, str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="napari-spa")
        self._idle = ThreadPoolExecutor(1, thread_name_prefix="napari-spa-idle")
        self._generation = 0
        self._unwanted = -1  # the generation that was asked to stop
        self._busy = False
        self._closed = threading.Event()
        # Emitted in the worker thread, so Qt queues them into this object's thread.
        self._ended.connect(self._on_ended)
        self._gave.connect(self._on_gave)
        self._advanced.connect(self._on_advanced)

    @property
    def busy(self) -> bool:
        """Whether a job that counts is under way."""
        return self._busy

    def submit(self, job: Job) -> None:
        """Run a job in the background; an earlier one that still runs is dropped.

        Parameters
        ----------
        job : callable
            Takes a progress callback, which raises ``Cancelled`` once the job is not
            wanted any more, and returns the result.
        """
        self._generation += 1
        self._set_busy(True)
        self._executor.submit(self._run, self._generation, job)

    def submit_idle(self, job: Job) -> None:
        """Run a job nobody waits for, unless there is one that somebody does.

        Parameters
        ----------
        job : callable
            As for :meth:`submit`; its result and its errors are dropped.
        """
        if self._busy or self._closed.is_set():
            return
        generation = self._generation

        def unheard() -> None:
            try:
                self._check(generation)
                job(lambda share, message: self._check(generation))
            except Cancelled:
                pass
            except Exception:
                _logger.debug("work ahead failed", exc_info=True)

        # A thread of its own: what somebody waits for must not queue behind it.
        self._idle.submit(unheard)

    def report(self, value: object) -> None:
        """Give something on the way; called by the running job, heard in the main thread."""
        self._gave.emit(self._generation, value)

    def stop(self) -> None:
        """Ask the running job to end at its next progress report."""
        self._unwanted = self._generation

    def drop(self) -> None:
        """Do not wait for the running job, nor hear it."""
        self._generation += 1
        self._set_busy(False)

    def close(self) -> None:
        """Stop: drop what runs and wait for the thread to end."""
        self._closed.set()
        self.drop()
        for executor in (self._executor, self._idle):
            executor.shutdown(wait=True, cancel_futures=True)

    def _check(self, generation: int) -> None:
        if generation != self._generation or generation == self._unwanted:
            raise Cancelled("the work was stopped.")

    def _run(self, generation: int, job: Job) -> None:
        def progress(share: float, message: str) -> None:
            self._check(generation)
            self._advanced.emit(generation, share, message)

        result: object = None
        error: Exception | None = None
        try:
            if generation == self._generation:
                result = job(progress)
        except Exception as caught:  # noqa: BLE001  reported in the main thread, never lost
            error = caught
        if not self._closed.is_set():
            self._ended.emit(generation, result, error)

    def _on_ended(self, generation: int, result: object, error: Exception | None) -> None:
        if generation != self._generation:
            return
        self._set_busy(False)
        if error is None:
            self.finished.emit(result)
        elif isinstance(error, Cancelled):
            self.stopped.emit()
        else:
            self.failed.emit(error)

    def _on_gave(self, generation: int, value: object) -> None:
        if generation == self._generation:
            self.yielded.emit(value)

    def _on_advanced(self, generation: int, share: float, message: str) -> None:
        if generation == self._generation:
            self.progressed.emit(share, message)

    def _set_busy(self, busy: bool) -> None:
        if busy != self._busy:
            self._busy = busy
            if not self._closed.is_set():
                self.busy_changed.emit(busy)

"""One background thread for one dock, and the way back to the main thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_spa.errors import Cancelled

Progress = Callable[[float, str], None]
Job = Callable[[Progress], Any]
Answer = Callable[[Any], None]
Failure = Callable[[BaseException], None]


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    """A job under way, and who waits for it."""

    generation: int
    answer: Answer
    failure: Failure
    cancelled: threading.Event = field(default_factory=threading.Event)


class Worker(QObject):
    """Run one job after another in a thread of its own.

    .. code-block:: text

        submit -> [thread: job(progress)] -> Qt signal -> [main thread: answer or failure]

    Each request carries a generation number.  ``drop`` moves the number on, so the answer
    to what was asked before is thrown away when it comes; ``cancel`` asks the running job
    to stop, which it does at its next call of ``progress``.

    Parameters
    ----------
    inline : bool
        Wait for each job in ``submit``: for tests.
    parent : QObject or None
        Owner.
    """

    busy_changed = Signal(bool)
    progressed = Signal(float, str)
    _finished = Signal(object, object)
    _reported = Signal(object, float, str)

    def __init__(self, *, inline: bool = False, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._inline = inline
        self._generation = 0
        self._current: _Request | None = None
        self._closed = False
        self._executor: ThreadPoolExecutor | None = None
        # Emitted in the worker's thread, these arrive in this object's thread.
        self._finished.connect(self._on_finished)
        self._reported.connect(self._on_reported)

    @property
    def busy(self) -> bool:
        """Whether an answer is awaited."""
        return self._current is not None

    def submit(self, job: Job, answer: Answer, failure: Failure) -> None:
        """Run a job; what was asked before is cancelled and its answer dropped.

        Parameters
        ----------
        job : callable
            Called in the thread with a progress callback, which raises ``Cancelled`` when
            the job should stop; must not touch Qt or napari.
        answer : callable
            Called in the main thread with what the job returned.
        failure : callable
            Called in the main thread with what the job raised.
        """
        if self._closed:
            return
        self.drop()
        request = _Request(self._generation, answer, failure)
        self._current = request
        self.busy_changed.emit(True)
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="napari-spa-worker")
        future = self._executor.submit(job, self._reporter(request))
        if self._inline:
            wait([future])
            self._on_finished(request, future)
        else:
            future.add_done_callback(lambda done: self._hand_over(request, done))

    def cancel(self) -> None:
        """Ask the running job to stop; it answers with ``Cancelled`` or, if late, its result."""
        if self._current is not None:
            self._current.cancelled.set()

    def drop(self) -> None:
        """Stop waiting: cancel what runs and throw its answer away."""
        self._generation += 1
        if self._current is not None:
            self._current.cancelled.set()
            self._current = None
            self.busy_changed.emit(False)

    def close(self) -> None:
        """Drop everything and end the thread once the running job has stopped."""
        self._closed = True
        self._generation += 1
        current, self._current = self._current, None
        if current is not None:
            current.cancelled.set()
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None

    def _reporter(self, request: _Request) -> Progress:
        def report(share: float, message: str) -> None:
            if request.cancelled.is_set():
                raise Cancelled("the work was cancelled.")
            if not self._closed:
                self._reported.emit(request, share, message)

        return report

    def _hand_over(self, request: _Request, future: Future[Any]) -> None:
        # Called in the thread: when the dock is gone, so may be this object's Qt half.
        if not self._closed and not future.cancelled():
            self._finished.emit(request, future)

    def _on_reported(self, request: _Request, share: float, message: str) -> None:
        if request is self._current:
            self.progressed.emit(share, message)

    def _on_finished(self, request: _Request, future: Future[Any]) -> None:
        if request is not self._current or request.generation != self._generation:
            return
        self._current = None
        self.busy_changed.emit(False)
        error = future.exception()
        if error is None:
            request.answer(future.result())
        else:
            request.failure(error)


"""One background thread for everything slow, and the way back to the main thread."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_spa.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_spa.refine.config import Progress


class Worker(QObject):
    """Run jobs one after another; only the latest one's answer counts.

    Each job has a generation number.  Submitting or cancelling raises the number, so the
    answer of an older job is dropped when it arrives.

    Attributes
    ----------
    finished, failed : Signal(object)
        Result or exception of the latest job; emitted in the main thread.
    progressed : Signal(float, str)
        Share done and message of the latest job; in the main thread.
    busy_changed : Signal(bool)
        Whether a job that counts is under way.
    """

    finished = Signal(object)
    failed = Signal(object)
    progressed = Signal(float, str)
    busy_changed = Signal(bool)
    _ended = Signal(int, object, object)
    _advanced = Signal(int, float, str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="napari-spa")
        self._generation = 0
        self._busy = False
        self._closed = threading.Event()
        # Emitted in the worker thread, so Qt queues them into this object's thread.
        self._ended.connect(self._on_ended)
        self._advanced.connect(self._on_advanced)

    @property
    def busy(self) -> bool:
        """Whether a job that counts is under way."""
        return self._busy

    def submit(self, job: Callable[[Progress], Any]) -> None:
        """Run a job in the background; an earlier one that still runs is cancelled.

        Parameters
        ----------
        job : callable
            Takes a progress callback, which raises ``Cancelled`` once the job does not
            count any more, and returns the result.
        """
        self._generation += 1
        self._set_busy(True)
        self._executor.submit(self._run, self._generation, job)

    def cancel(self) -> None:
        """Drop the running job: it stops at its next progress report."""
        self._generation += 1
        self._set_busy(False)

    def close(self) -> None:
        """Stop: cancel what runs and wait for the thread to end."""
        self._closed.set()
        self.cancel()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _run(self, generation: int, job: Callable[[Progress], Any]) -> None:
        def progress(share: float, message: str) -> None:
            if generation != self._generation:
                raise Cancelled("the work was stopped.")
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
        elif not isinstance(error, Cancelled):
            self.failed.emit(error)

    def _on_advanced(self, generation: int, share: float, message: str) -> None:
        if generation == self._generation:
            self.progressed.emit(share, message)

    def _set_busy(self, busy: bool) -> None:
        if busy != self._busy:
            self._busy = busy
            if not self._closed.is_set():
                self.busy_changed.emit(busy)

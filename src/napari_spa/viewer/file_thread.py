"""A thread for small files, and the way back to the main thread."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_spa.errors import SpaError

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")
_logger = logging.getLogger(__name__)


def nothing(_: object) -> None:
    """Go on with nothing."""


class FileThread(QObject):
    """Do one thing after another; what fails is said in one sentence."""

    failed = Signal(str)  # what went wrong; in the main thread
    _answered = Signal(object, object, object)  # from the thread

    def __init__(self, name: str, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._closed = False
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
            self._answered.emit(then, result, error)

        try:
            self._executor.submit(answer)
        except RuntimeError:  # closed
            _logger.debug("a job for files came after the end")

    def wait_for(self, job: Callable[[], Result]) -> Result:
        """Do something after all before it, and wait for it; for another thread than the main."""
        return self._executor.submit(job).result()

    def close(self) -> None:
        """Do what is left, unheard, and end the thread; may be called twice."""
        self._closed = True
        self._executor.shutdown(wait=True)

    def _on_answered(
        self, then: Callable[[Any], None], result: object, error: Exception | None
    ) -> None:
        if self._closed:
            return
        if error is None:
            then(result)
        elif isinstance(error, SpaError):
            self.failed.emit(str(error))
        else:
            _logger.error("a job for files failed", exc_info=error)
            self.failed.emit(f"something unexpected went wrong ({type(error).__name__}: {error}).")

"""Where a folder keeps the decisions of an image: its log, and the log's location."""

from __future__ import annotations

import json
import logging
import os
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from napari_spa.errors import DataError, SpaError
from napari_spa.io.event_log import Record, RecordLog, read_records
from napari_spa.io.projects.paths import log_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from napari_spa.io.images import ImageInfo
    from napari_spa.viewer.annotation.image import AnnotatedImage


_logger = logging.getLogger(__name__)
_IDLE_KINDS = ("session", "closed")


class FolderLog(RecordLog):
    """Append records; those that cannot be written wait in memory, in order.

    Looking at an image writes nothing: records that only say who looks wait for one that
    says what was done, so that finished work stays byte for byte as it was.
    """

    def __init__(
        self,
        path: Path,
        failed: Callable[[str], None] | None = None,
        before: Iterable[Record] = (),
    ) -> None:
        super().__init__(path, failed)
        self.touched = False
        self._waiting: list[Mapping[str, Any]] = list(before)
        self._unsaved: deque[Mapping[str, Any] | Callable[[], Mapping[str, Any]]] = deque()
        self._told = False

    def append(self, record: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> Future[None]:
        """Write one record after all before it; see :meth:`RecordLog.append`."""
        if not self.touched:
            known = {} if callable(record) else record
            if known.get("kind") in _IDLE_KINDS:
                if known["kind"] == "session":
                    self._waiting.append(known)
                done: Future[None] = Future()
                done.set_result(None)
                return done
            self.touched = True
            for earlier in self._waiting:
                super().append(earlier)
        return super().append(record)

    @property
    def saved(self) -> bool:
        """Whether everything so far is on disk; asked after :meth:`flush`."""
        return not self._unsaved

    def try_again(self) -> None:
        """Write what could not be written before, and wait for it."""
        self._submit(self._write_unsaved).result()

    def records(self) -> list[Record]:
        """Return all records, those in memory too; waits for what is being written."""
        found: list[Record] = []

        def read() -> None:
            if self.path.exists():
                found.extend(read_records(self.path))
            for record in self._unsaved:
                try:
                    found.append(json.loads(_line(record)))
                except (OSError, DataError) as error:  # one that writes a profile on the way
                    _logger.info("a record is not there yet: %s", error)

        future = self._writer.submit(read)
        future.result()
        return found

    def _write(self, record: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        self._unsaved.append(record)
        self._write_unsaved()

    def _write_unsaved(self) -> None:
        while self._unsaved:
            try:
                self._append_line(_line(self._unsaved[0]))
            except (OSError, DataError) as error:
                self._tell(getattr(error, "strerror", None) or error)
                return
            except (TypeError, ValueError, SpaError) as error:
                _logger.exception("a record could not be written down")
                self._tell(error)
            self._unsaved.popleft()
            self._told = self._told and bool(self._unsaved)

    def _append_line(self, line: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as stream:
            size = stream.tell()
            try:
                stream.write((b"" if _whole(stream, size) else b"\n") + line.encode() + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
            except OSError:
                os.truncate(self.path, size)  # half a line would be passed over; none is cleaner
                raise

    def _tell(self, reason: object) -> None:
        if self._told:
            return
        self._told = True
        sentence = f"{self.path.name} cannot be written ({reason}); your work stays in memory."
        _logger.warning(sentence)
        if self._failed is not None:
            self._failed(sentence)


def _whole(stream: Any, size: int) -> bool:
    """Tell whether a file ends with a whole line."""
    if size == 0:
        return True
    stream.seek(size - 1)
    return bool(stream.read(1) == b"\n")


def _line(record: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> str:
    content = record() if callable(record) else record
    return json.dumps(content, ensure_ascii=False, allow_nan=False, default=_plain)


def _plain(value: Any) -> object:
    import numpy as np

    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no JSON value")


PROFILE_NAME = "profile.json"


class FolderPlace:
    """A place for `WorkKeeper`, held by the whole project."""

    def __init__(
        self,
        out: Path,
        name: str,
        left: Callable[[FolderPlace], None],
        known: FolderLog | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.name, self.out = name, out
        self.log = log_path(out, name)
        self.profile = out / PROFILE_NAME
        self.open_log = known
        self.before: tuple[Record, ...] = ()
        self.work: AnnotatedImage | None = None
        self.info: ImageInfo | None = None
        self._left, self._tell = left, tell

    def open(self, failed: Callable[[str], None]) -> RecordLog:
        """Return the log to append to."""
        if self.open_log is None:
            self.open_log = FolderLog(self.log, self._tell or failed, self.before)
        return self.open_log

    def close(self, log: RecordLog) -> None:
        """Say that the work ended; whoever saves it closes the log in the background."""
        self._left(self)

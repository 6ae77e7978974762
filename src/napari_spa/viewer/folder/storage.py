"""Where a folder keeps the decisions of an image: its log, and the log's location."""

from __future__ import annotations

import json
import logging
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from napari_spa.errors import DataError
from napari_spa.io.event_log import Entry, Record, RecordLog, line_of, read_records
from napari_spa.io.projects.paths import log_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from napari_spa.io.images import ImageInfo
    from napari_spa.viewer.annotation.image import AnnotatedImage


_logger = logging.getLogger(__name__)
_IDLE_KINDS = ("session", "closed")


class FolderLog(RecordLog):
    """Append records, once something is done to the image.

    Looking at an image writes nothing: records that only say who looks wait for one that
    says what was done, so that finished work stays byte for byte as it was.
    """

    def __init__(
        self,
        path: Path,
        failed: Callable[[str], None] | None = None,
        mended: Callable[[str], None] | None = None,
        *,
        before: Iterable[Record] = (),
    ) -> None:
        super().__init__(path, failed, mended)
        self.touched = False
        self._waiting: list[Mapping[str, Any]] = list(before)

    def append(self, record: Entry) -> Future[None]:
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

    def records(self) -> list[Record]:
        """Return all records, those in memory too; waits for what is being written."""
        found: list[Record] = []

        def read() -> None:
            if self.path.exists():
                found.extend(read_records(self.path))
            for record in self._unsaved:
                try:
                    found.append(json.loads(line_of(record)))
                except (OSError, DataError) as error:  # one that writes a profile on the way
                    _logger.info("a record is not there yet: %s", error)

        future = self._writer.submit(read)
        future.result()
        return found


PROFILE_NAME = "profile.json"


class FolderLogLocation:
    """A place for `AutosaveManager`, held by the whole project."""

    def __init__(
        self,
        out: Path,
        name: str,
        left: Callable[[FolderLogLocation], None],
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

    def open(
        self, failed: Callable[[str], None], mended: Callable[[str], None] | None = None
    ) -> RecordLog:
        """Return the log to append to."""
        if self.open_log is None:
            self.open_log = FolderLog(self.log, self._tell or failed, mended, before=self.before)
        return self.open_log

    def close(self, log: RecordLog) -> None:
        """Say that the work ended; whoever saves it closes the log in the background."""
        self._left(self)

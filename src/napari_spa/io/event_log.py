"""Append-only logs of records, one JSON object a line, and the locked folders they lie in."""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.errors import DataError, SpaError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


_logger = logging.getLogger(__name__)

Record = dict[str, Any]


class RecordLog:
    """Append records to a file in a thread of its own, synced to disk.

    Writing never makes the caller wait and never raises: a log that cannot be written
    says so once, through ``failed``, and work goes on.
    """

    def __init__(self, path: Path, failed: Callable[[str], None] | None = None) -> None:
        self.path = path
        self._failed = failed
        self._broken = False
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="napari-spa-log")

    def append(self, record: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> Future[None]:
        """Write one record after all before it."""
        return self._submit(lambda: self._write(record))

    def flush(self) -> None:
        """Wait until everything so far is on disk."""
        self._submit(lambda: None).result()

    def close(self) -> None:
        """Write what is left and end the thread."""
        self._writer.shutdown(wait=True)

    def _submit(self, job: Callable[[], None]) -> Future[None]:
        try:
            return self._writer.submit(job)
        except RuntimeError:  # closed: no one writes any more, and no one need wait
            done: Future[None] = Future()
            done.set_result(None)
            return done

    def _write(self, record: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        if self._broken:
            return
        try:
            content = record() if callable(record) else record
            line = json.dumps(content, ensure_ascii=False, allow_nan=False, default=_plain)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as stream:
                torn = stream.tell() > 0 and not _ends_a_line(stream)
                stream.write((b"\n" if torn else b"") + line.encode() + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
        except (OSError, TypeError, ValueError, SpaError) as error:
            self._broken = True
            reason = getattr(error, "strerror", None) or error
            sentence = f"your work cannot be saved as you go ({self.path.name}: {reason})."
            _logger.warning(sentence)
            if self._failed is not None:
                self._failed(sentence)


def _plain(value: Any) -> object:  # noqa: ANN401  whatever is no JSON value
    """Return a NumPy number as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _ends_a_line(stream: Any) -> bool:  # noqa: ANN401  a binary file
    stream.seek(-1, os.SEEK_END)
    return bool(stream.read(1) == b"\n")


def read_records(path: Path) -> list[Record]:
    """Read a log; lines that a crash left half-written are passed over."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}.") from error
    records = []
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            records.append(record)
    if not records:
        raise DataError(f"{path} is no decision log: it holds no record.")
    return records


LOG_NAME, PROFILE_NAME, _LOCK_NAME = "work.spa.jsonl", "profile.json", "lock"
KEPT_DAYS, KEPT_TIMES = 60, 10
_YOUNG_SECONDS = 60
"""So long after it was made, a folder without a log may be about to get one."""


def work_root() -> Path:
    """Return the folder of all work in progress, under the user's state folder."""
    from platformdirs import user_state_path

    return user_state_path("napari-spa") / "work"


class WorkFolder:
    """A folder that this process holds."""

    def __init__(self, path: Path) -> None:
        from filelock import FileLock, Timeout

        self.path = path
        # Recovered work is locked by the worker's thread and let go by the main one.
        self._lock = FileLock(path / _LOCK_NAME, timeout=0, thread_local=False)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise DataError(f"{path} is in use by another window.") from error
        except OSError as error:
            raise DataError(f"cannot write {path}: {error.strerror or error}.") from error

    @classmethod
    def create(cls, root: Path) -> WorkFolder:
        """Make a new folder and hold it."""
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{secrets.token_hex(3)}"
        path = root / name
        try:
            root.mkdir(parents=True, exist_ok=True)
            path.mkdir(mode=0o700)  # what is in it says what somebody works on
        except OSError as error:
            raise DataError(f"cannot write {path}: {error.strerror or error}.") from error
        return cls(path)

    @property
    def log(self) -> Path:
        """The log of what was done."""
        return self.path / LOG_NAME

    @property
    def profile(self) -> Path:
        """The preference profile as it was learnt."""
        return self.path / PROFILE_NAME

    def open(self, failed: Callable[[str], None] | None = None) -> RecordLog:
        """Return its log to append to; ``failed`` is told once when it cannot be written."""
        return RecordLog(self.log, failed)

    def close(self, log: RecordLog) -> None:
        """Write what is left of the log and let go of the folder."""
        log.close()
        self.release()

    def release(self) -> None:
        """Let go of the folder; it stays."""
        self._lock.release()

    def delete(self) -> None:
        """Let go of the folder and remove it."""
        self.release()
        shutil.rmtree(self.path, ignore_errors=True)


def left_behind(root: Path) -> list[Path]:
    """Find folders with a log that no process holds, the latest first.

    Folders that nobody wrote to for 60 days are removed on the way, once they were found on
    ten days since: a clock that is wrong takes nobody's work.  So are empty ones.
    """
    found = []
    for path in sorted(root.glob("*/"), reverse=True):
        if not (path / LOG_NAME).exists() and _age(path) < _YOUNG_SECONDS:
            continue  # made by a process that is about to lock it
        try:
            folder = WorkFolder(path)
        except DataError:
            continue  # in use, or not ours to read
        log = folder.log
        old = _age(log) > KEPT_DAYS * 86_400
        if not log.exists() or (old and _days_found(path) >= KEPT_TIMES):
            folder.delete()
            continue
        folder.release()
        found.append(path)
    return found


def _days_found(path: Path) -> int:
    """Count the days on which old work was found, today included."""
    note = path / "found-on"
    try:
        before = note.read_text("ascii").split() if note.exists() else []
        days = sorted({*before, time.strftime("%Y-%m-%d")})
        if days != before:
            note.write_text("\n".join(days), "ascii")
    except (OSError, ValueError):
        return 0
    return len(days)


def _age(path: Path) -> float:
    """Return the seconds since a file or folder was written to; endless for one that is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")

"""Append-only logs of records, one JSON object a line, and the locked folders they lie in."""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari_spa.errors import DataError
from napari_spa.io.files import (
    JsonError,
    atomic_path,
    explained,
    make_folder,
    open_file,
    parse_json,
    put_aside,
    take_lock,
)

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path


_logger = logging.getLogger(__name__)

Record = dict[str, Any]


_TAIL_BYTES = 4096  # by which a file is known: records have times

Entry = Mapping[str, Any] | Callable[[], Mapping[str, Any]]
"""A record, or what gives it in the log's thread."""


class RecordLog:
    """Append records to a file in a thread of its own, synced to disk.

    Writing never makes the caller wait and never raises.  Records that the disk refuses wait
    in memory, in order, and are written with the next one, when the log is flushed or at its
    end.  That they cannot be written is said once, through ``failed``, and that they are
    written after all through ``mended``; both are called in the log's thread.  A record that
    is no JSON costs itself.  The folder ``within`` has to be there: it is never made again.

    What the file holds is kept in memory too, from ``written`` on (by default what is there with
    the first record): should the file be gone, as with its folder, it is written again, whole.
    Another file in its place is put aside.
    """

    def __init__(
        self,
        path: Path,
        failed: Callable[[str], None] | None = None,
        mended: Callable[[str], None] | None = None,
        *,
        within: Path | None = None,
        written: bytes | None = None,
    ) -> None:
        self.path, self._within = path, within
        self.problem = ""  # why the disk refuses; empty while it does not
        self._written = None if written is None else bytearray(written)
        self._failed, self._mended = failed, mended
        self._unsaved: deque[Entry] = deque()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="napari-spa-log")

    def append(self, record: Entry) -> Future[None]:
        """Write one record after all before it."""
        return self._submit(lambda: self._write(record))

    @property
    def saved(self) -> bool:
        """Whether everything so far is on disk; asked after :meth:`flush`."""
        return not self._unsaved

    def flush(self) -> None:
        """Write what is left, and wait for it."""
        self._submit(self._write_unsaved).result()

    def close(self) -> None:
        """Write what is left and end the thread."""
        self._submit(self._write_unsaved)
        self._writer.shutdown(wait=True)

    def _submit(self, job: Callable[[], None]) -> Future[None]:
        try:
            return self._writer.submit(job)
        except RuntimeError:  # closed: no one writes any more, and no one need wait
            done: Future[None] = Future()
            done.set_result(None)
            return done

    def _write(self, record: Entry) -> None:
        self._unsaved.append(record)
        self._write_unsaved()

    def _write_unsaved(self) -> None:
        while self._unsaved:
            try:
                make_folder(self.path.parent, self._within)  # a record may write a file beside
                self._append_line(line_of(self._unsaved[0]))
            except (OSError, DataError) as error:
                self._tell(getattr(error, "strerror", None) or error)
                return
            except Exception as error:
                _logger.exception("a record could not be written down")
                self._say(
                    self._failed, f"a record could not be written to {self.path.name} ({error})."
                )
            self._unsaved.popleft()
        if self.problem:
            self.problem = ""
            self._say(self._mended, f"your work is saved again ({self.path.name}).")

    def _append_line(self, line: bytes) -> None:
        ours = True
        with (
            suppress(FileNotFoundError),  # a new log, or a folder that lacks it
            open(self.path, "rb+", buffering=0, opener=_here_only) as stream,
        ):
            if self._written is None:
                self._written = bytearray(stream.read())
            more = self._joined(line)
            if _holds(stream, self._written):
                self._write_end(stream, more)
                self._written += more
                return
            stream.seek(0)
            ours = (self._written + more).startswith(stream.read())
        if not ours:
            put_aside(self.path, "is the log of other work")
        whole = (self._written or bytearray()) + self._joined(line)
        with atomic_path(self.path, within=self._within) as temporary:
            temporary.write_bytes(whole)
        self._written = whole

    def _joined(self, line: bytes) -> bytes:
        """Return a line as it follows what there is, whose end a crash may have cut."""
        cut = self._written and not self._written.endswith(b"\n")
        return (b"\n" if cut else b"") + line + b"\n"

    @staticmethod
    def _write_end(stream: FileIO, more: bytes) -> None:
        size, left = stream.tell(), memoryview(more)
        try:
            while left:
                left = left[stream.write(left) :]
            os.fsync(stream.fileno())
        except OSError:
            stream.truncate(size)  # half a line would be passed over; none is cleaner
            raise

    def _tell(self, reason: object) -> None:
        told, self.problem = self.problem, str(reason).rstrip(".")
        if not told:
            self._say(
                self._failed,
                f"your work cannot be saved as you go ({self.path.name}: {self.problem}); "
                "it stays in memory, and is written when that works again.",
            )

    @staticmethod
    def _say(tell: Callable[[str], None] | None, sentence: str) -> None:
        _logger.warning(sentence)
        if tell is not None:
            tell(sentence)


def line_of(record: Entry) -> bytes:
    """Return a record as a line of a log, without its end."""
    content = record() if callable(record) else record
    # NumPy's numbers as Python's.
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, default=lambda v: v.item())
    # Half a character, as in a name that is not UTF-8, becomes the escape JSON has for it.
    return text.encode("utf-8", "backslashreplace")


def _here_only(path: str, flags: int) -> int:
    """Open a file, but not what a link in its place leads to: a project may be a stranger's."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _holds(stream: FileIO, content: bytearray) -> bool:
    """Tell whether a file is what was written, by its size and its end; stay at the end."""
    tail = content[-_TAIL_BYTES:]
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - len(tail)))
    return size == len(content) and stream.read() == tail


def read_log(path: Path) -> bytes:
    """Read a log as it is."""
    with explained("read", path), open_file(path) as stream:
        return stream.read()


def read_records(path: Path) -> list[Record]:
    """Read a log; lines that a crash left half-written are passed over."""
    return records_in(read_log(path), path)


def records_in(content: bytes, path: Path) -> list[Record]:
    """Return the records of a log that was read from a file."""
    records = list(each_record(content))
    if not records:
        raise DataError(f"{path} is no decision log: it holds no record.")
    return records


def each_record(content: bytes) -> Iterator[Record]:
    """Parse a log's records one by one, as they are wanted."""
    return filter(None, map(_record, _lines(content)))


def unread_lines(content: bytes, records: Sequence[Record]) -> int:
    """Count the lines of a log that hold none of its records: a crash or a damage was there."""
    return len(_lines(content)) - len(records)


def _lines(content: bytes) -> list[bytes]:
    """Split a log, without the mark that some editors put before it."""
    return [line for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()]


def _record(line: bytes) -> Record | None:
    try:
        record = parse_json(line)
    except JsonError:
        return None
    return record if isinstance(record, dict) else None


LOG_NAME, PROFILE_NAME, _LOCK_NAME = "work.spa.jsonl", "profile.json", "lock"
KEPT_DAYS, KEPT_TIMES = 60, 10
_YOUNG_SECONDS = 60  # so long after it was made, a folder without a log may be about to get one


def work_root() -> Path:
    """Return the folder of all work in progress, under the user's state folder."""
    from platformdirs import user_state_path

    return user_state_path("napari-spa") / "work"


class WorkFolder:
    """A folder that this process holds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / LOG_NAME  # of what was done
        self.profile = path / PROFILE_NAME  # the preference as it was learnt
        # Recovered work is locked by the worker's thread and let go by the main one.
        self._lock = take_lock(path / _LOCK_NAME, path, f"{path} is in use by another window.")

    @classmethod
    def create(cls, root: Path) -> WorkFolder:
        """Make a new folder and hold it."""
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{secrets.token_hex(3)}"
        path = root / name
        with explained("write", path):
            root.mkdir(parents=True, exist_ok=True)
            path.mkdir(mode=0o700)  # what is in it says what someone works on
        return cls(path)

    def open(
        self,
        failed: Callable[[str], None] | None = None,
        mended: Callable[[str], None] | None = None,
    ) -> RecordLog:
        """Return its log to append to; see :class:`RecordLog`."""
        return RecordLog(self.log, failed, mended)

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

    Folders that no one wrote to for 60 days are removed on the way, once they were found on
    ten days since: a clock that is wrong takes no one's work.  So are empty ones.
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

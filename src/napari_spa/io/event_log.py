"""A log of records, one JSON object a line, that survives a crash at any moment."""

from __future__ import annotations

import json
import logging
import os
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

    Parameters
    ----------
    path : Path
        File to append to; made with its folder when the first record comes.
    failed : callable or None
        Called once, in the log's thread, with one sentence.
    """

    def __init__(self, path: Path, failed: Callable[[str], None] | None = None) -> None:
        self.path = path
        self._failed = failed
        self._broken = False
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="napari-spa-log")

    def append(self, record: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> Future[None]:
        """Write one record after all before it.

        Parameters
        ----------
        record : mapping or callable
            JSON values; a callable is asked for them in the log's thread.

        Returns
        -------
        Future
            Done when the record is on disk, or cannot be.
        """
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
        except RuntimeError:  # closed: nobody writes any more, and nobody need wait
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
    """Read a log; lines that a crash left half-written are passed over.

    Parameters
    ----------
    path : Path
        Of a :class:`RecordLog`.

    Returns
    -------
    list of dict

    Raises
    ------
    DataError
        When the file cannot be read or holds no record.
    """
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

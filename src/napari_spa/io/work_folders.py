"""Folders in which work in progress is kept, one for each annotated image and process.

A folder belongs to the process that holds its lock.  The operating system lets go of the
lock when the process ends, however it ends, so a folder that can be locked was left behind.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from typing import TYPE_CHECKING

from napari_spa.errors import DataError
from napari_spa.io.event_log import RecordLog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOG_NAME, PROFILE_NAME, _LOCK_NAME = "work.spa.jsonl", "profile.json", "lock"
KEPT_DAYS = 60
_YOUNG_SECONDS = 60
"""So long after it was made, a folder without a log may be about to get one."""


def work_root() -> Path:
    """Return the folder of all work in progress, under the person's state folder."""
    from platformdirs import user_state_path

    return user_state_path("napari-spa") / "work"


class WorkFolder:
    """A folder that this process holds.

    Parameters
    ----------
    path : Path
        An existing folder, not held by another process.

    Attributes
    ----------
    path : Path
        The folder.

    Raises
    ------
    DataError
        When another process holds it, or it cannot be written.
    """

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
        """Make a new folder and hold it.

        Parameters
        ----------
        root : Path
            Its parent; made if needed.

        Returns
        -------
        WorkFolder

        Raises
        ------
        DataError
            When it cannot be made.
        """
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{secrets.token_hex(3)}"
        path = root / name
        try:
            path.mkdir(parents=True)
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

    Folders not written to for 60 days are removed on the way, and so are empty ones.

    Parameters
    ----------
    root : Path
        Parent of all folders.

    Returns
    -------
    list of Path
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
        if not log.exists() or _age(log) > KEPT_DAYS * 86_400:
            folder.delete()
            continue
        folder.release()
        found.append(path)
    return found


def _age(path: Path) -> float:
    """Return the seconds since a file or folder was written to; endless for one that is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")

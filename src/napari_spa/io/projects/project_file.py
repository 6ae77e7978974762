"""The file ``project.json`` itself: read, written by one process at a time, put aside."""

from __future__ import annotations

import json
import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from napari_spa.errors import DataError
from napari_spa.io.files import atomic_path
from napari_spa.io.projects.paths import LOCK_NAME
from napari_spa.io.strict_json import JsonError, read_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from filelock import BaseFileLock

_logger = logging.getLogger(__name__)
KIND, VERSION = "napari-spa project", 1
_WAIT_SECONDS = 10


class ProjectMissingError(DataError):
    """There is no such file."""


class ProjectDamagedError(DataError):
    """There is a file that nobody can read."""


def read_project(path: Path) -> dict[str, Any]:
    """Read a project's file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    dict
        JSON values, of this kind and version.

    Raises
    ------
    ProjectMissingError, ProjectDamagedError
        When there is none; when nobody can read it.
    DataError
        When it cannot be read now, or was made by a newer version.
    """
    try:
        # What another program put in is kept, so it must be something that can be written.
        record = read_json(path, unknown_as_null=True)
    except (FileNotFoundError, NotADirectoryError):
        raise ProjectMissingError(f"{path.parent} holds no project.") from None
    except JsonError:
        record = None
    if not isinstance(record, dict) or record.get("kind") != KIND:
        raise ProjectDamagedError(
            f"{path} is damaged; rename it to begin anew, labels and logs stay as they are."
        )
    version = record.get("version")
    if version != VERSION:
        raise DataError(f"{path} was made by another version of napari-spa ({version}); update it.")
    return record


def write_project(path: Path, record: dict[str, Any]) -> None:
    """Write a project's file over what is there; in :func:`writing_alone`.

    Parameters
    ----------
    path : Path
        The file.
    record : dict
        JSON values.

    Raises
    ------
    DataError
        When it cannot be written; what was there stays.
    """
    # Pure ASCII: names that are no Unicode text come back as they were.
    content = json.dumps(record, indent=1, allow_nan=False)
    with atomic_path(path) as temporary:
        temporary.write_text(content + "\n", encoding="ascii")


def put_aside(path: Path) -> None:
    """Move a file that nobody can read out of the way, and keep it.

    Parameters
    ----------
    path : Path
        The file; it is ``.bak`` then, with a number where that is taken.

    Raises
    ------
    DataError
        When the folder cannot be written.
    """
    number, kept = 1, path.with_name(path.name + ".bak")
    while kept.exists():
        number += 1
        kept = path.with_name(f"{path.name}.bak{number}")
    try:
        os.replace(path, kept)
    except OSError as error:
        raise _refused(path, error) from error
    _logger.warning("%s could not be read; it is kept as %s.", path, kept.name)


@contextmanager
def writing_alone(out: Path) -> Iterator[None]:
    """Keep other processes from writing into a project for a moment.

    Parameters
    ----------
    out : Path
        The project folder; made where it is not there.

    Raises
    ------
    DataError
        When another keeps on writing, or the folder cannot be written.
    """
    busy = f"{out} is being written by another window."
    lock = _lock(out, LOCK_NAME, busy, wait=_WAIT_SECONDS)
    try:
        yield
    finally:
        lock.release()


def hold_window(out: Path) -> BaseFileLock:
    """Keep other windows out of a project, until the lock is released or this process ends.

    Parameters
    ----------
    out : Path
        The project folder; made where it is not there.

    Returns
    -------
    BaseFileLock
        Released in any thread.

    Raises
    ------
    DataError
        When another window has it, or the folder cannot be written.
    """
    busy = f"{out} is open in another window; close it there."
    return _lock(out, f"{LOCK_NAME}-window", busy, wait=0)


def _lock(out: Path, name: str, busy: str, *, wait: float) -> BaseFileLock:
    from filelock import FileLock, Timeout

    # A window's is taken in the worker's thread and let go in the main one.
    lock = FileLock(out / name, timeout=wait, thread_local=False)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise DataError(busy) from error
    except OSError as error:
        raise _refused(out, error) from error
    return lock


def _refused(path: Path, error: OSError) -> DataError:
    return DataError(f"cannot write {path}: {error.strerror or error}.")

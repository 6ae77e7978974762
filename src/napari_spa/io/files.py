"""Write a file or a folder whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from napari_spa.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator


_UMASK_LOCK = threading.Lock()


@contextmanager
def atomic_path(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success sync it and rename it there.

    Parameters
    ----------
    path : Path
        Where the file shall be; its folder is made if needed.
    sync : bool
        Wait until it is on the disk; not needed where a torn file is recognised.

    Yields
    ------
    Path
        A file of the same suffix to write to.  It is removed when the block fails.

    Raises
    ------
    DataError
        When the folder cannot be written or the disk is full.
    """
    path = Path(path)
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent
        )
        os.close(handle)
    temporary = Path(name)
    try:
        with _writing(path):
            yield temporary
            if sync:
                _sync(temporary)
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``path``; on success sync it and rename it there.

    Parameters
    ----------
    path : Path
        Where the folder shall be; one that is there is replaced.

    Yields
    ------
    Path
        An empty folder to write into.  It is removed when the block fails.

    Raises
    ------
    DataError
        When the folder cannot be written or the disk is full.
    """
    path = Path(path)
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=f".{path.stem}-", dir=path.parent))
    try:
        with _writing(path):
            temporary = place / path.name
            temporary.mkdir()
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    _sync(file)
            _replace_folder(temporary, path, place / "before")
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say in one sentence what cannot be written."""
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}.") from error


def _sync(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _replace_folder(new: Path, path: Path, before: Path) -> None:
    """Move a folder to its place; the one that was there is put back should that fail."""
    there = path.exists()  # no system replaces a folder that holds something in one go
    if there:
        os.rename(path, before)
    try:
        os.rename(new, path)
    except OSError:
        if there:
            os.rename(before, path)
        raise


def _umask() -> int:
    with _UMASK_LOCK:  # it can only be read by changing it
        current = os.umask(0o077)
        os.umask(current)
    return current

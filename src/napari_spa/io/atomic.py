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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent
        )
        os.close(handle)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}.") from error
    temporary = Path(name)
    try:
        yield temporary
        if sync:
            with temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}.") from error
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=f".{path.stem}-", dir=path.parent))
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}.") from error
    try:
        temporary = place / path.name
        temporary.mkdir()
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                with file.open("rb+") as stream:
                    os.fsync(stream.fileno())
        if path.exists():  # no system replaces a folder that holds something in one go
            os.rename(path, place / "before")
        os.rename(temporary, path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _umask() -> int:
    with _UMASK_LOCK:  # it can only be read by changing it
        current = os.umask(0o077)
        os.umask(current)
    return current

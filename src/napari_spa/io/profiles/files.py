"""Files of profiles: changed under a lock, and named so that any system can hold them."""

from __future__ import annotations

import unicodedata
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_spa.errors import DataError, ProfileError
from napari_spa.io.profiles.profile import PreferenceProfile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_FORBIDDEN = '<>:"/\\|?*'
_RESERVED = {"con", "prn", "aux", "nul", "conin$", "conout$"} | {
    f"{port}{digit}" for port in ("com", "lpt") for digit in "123456789¹²³"
}
"""Windows takes these for devices, whatever follows a dot."""
_LONGEST = 96
"""Bytes of a file's stem: temporary and lock names around it fit the strictest file systems."""
_PATIENCE = 10.0
"""Seconds to wait for another window, which needs a few milliseconds."""


def update_profile(
    path: Path, change: Callable[[PreferenceProfile], PreferenceProfile]
) -> PreferenceProfile:
    """Change what a profile's file holds now; nobody else's change is lost.

    Parameters
    ----------
    path : Path
        An existing profile, on the shelf or elsewhere.
    change : callable
        From what the file holds to what it shall hold.

    Returns
    -------
    PreferenceProfile
        What it holds now.

    Raises
    ------
    ProfileError
        When the file is gone, damaged or of a newer version, or ``change`` refuses it.
    DataError
        When it cannot be written, or another window does not let go of it.
    """
    if not path.exists():
        raise ProfileError(f"the profile {path} is gone.")
    with locked(path):
        changed = change(PreferenceProfile.load(path))
        changed.save(path)
    return changed


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other windows and programs of ours from changing a file.

    Parameters
    ----------
    path : Path
        The file; the lock lies beside it and ends with the process.

    Raises
    ------
    DataError
        When the folder cannot be written, or another window does not let go.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=_PATIENCE)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise DataError(f"{path} is in use by another window; try again.") from error
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}.") from error
    try:
        yield
    finally:
        lock.release()


def file_stem(name: str) -> str:
    """Make a file's name of a profile's.

    Parameters
    ----------
    name : str
        In any script, of any length.

    Returns
    -------
    str
        Without suffix; letters of any script stay, what some system refuses does not.
    """
    text = unicodedata.normalize("NFC", name)
    kept = (c if c.isprintable() and c not in _FORBIDDEN else " " for c in text)
    stem = " ".join("".join(kept).split()).lstrip(".")
    stem = stem.encode("utf-8", "ignore")[:_LONGEST].decode("utf-8", "ignore").rstrip(". ")
    if stem.split(".")[0].rstrip().casefold() in _RESERVED:
        stem = f"_{stem}"
    return stem or "profile"


def folded(stem: str) -> str:
    """Return a name such that equal ones may be the same file somewhere."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", stem).casefold())

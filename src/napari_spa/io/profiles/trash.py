"""Profiles that were deleted or reset, kept until they are brought back."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from napari_spa.errors import DataError, ProfileError
from napari_spa.io.files import atomic_path
from napari_spa.io.profiles.entries import ShelfEntry, read_entry
from napari_spa.io.profiles.files import folded, locked

if TYPE_CHECKING:
    from pathlib import Path


class ProfileBin:
    """A folder of profiles that are not in use any more.

    Parameters
    ----------
    root : Path
        The folder, made when the first profile comes.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def list(self, most: int | None = None) -> tuple[ShelfEntry, ...]:
        """List what can be brought back, the latest first.

        Parameters
        ----------
        most : int or None
            Only so many files are read; all by default.

        Returns
        -------
        tuple of ShelfEntry

        Raises
        ------
        DataError
            When the folder itself cannot be read.
        """
        try:
            paths = tuple(self.root.glob("*.json"))
        except OSError as error:
            raise DataError(f"cannot read {self.root}: {error.strerror or error}.") from error
        found = []
        for path in paths:
            with suppress(OSError):  # another window brings it back just now
                found.append((-path.stat().st_mtime_ns, path))
        entries = [read_entry(path) for _, path in sorted(found)[:most]]
        return tuple(entry for entry in entries if entry is not None and not entry.problem)

    def find(self, name: str) -> Path:
        """Find what was removed last under a name.

        Parameters
        ----------
        name : str
            Case does not count.

        Returns
        -------
        Path

        Raises
        ------
        ProfileError
            When there is none.
        """
        entries = self.list()
        for entry in entries:
            if folded(entry.name) == folded(name.strip()):
                return entry.path
        there = ", ".join(repr(entry.name) for entry in entries[:8]) or "none"
        raise ProfileError(f"no profile {name!r:.80} was reset or deleted; there are: {there}.")

    def keep(self, path: Path) -> None:
        """Keep a copy of a profile's file, as it is now.

        Raises
        ------
        DataError
            When it cannot be copied.
        """
        with locked(self.root), atomic_path(self._free(path)) as temporary:
            shutil.copyfile(path, temporary)

    def take(self, path: Path) -> None:
        """Move a profile's file here.

        Raises
        ------
        DataError
            When it cannot be moved.
        """
        if path.is_dir():
            raise DataError(f"cannot delete {path}: it is a folder.")
        try:
            with locked(self.root):
                self.root.mkdir(parents=True, exist_ok=True)
                target = self._free(path)
                shutil.move(path, target)
            os.utime(target)  # the latest is what went last
        except OSError as error:
            raise DataError(f"cannot delete {path}: {error.strerror or error}.") from error

    def _free(self, path: Path) -> Path:
        target, number = self.root / path.name, 1
        while target.exists():
            number += 1
            target = self.root / f"{path.stem} ({number}).json"
        return target

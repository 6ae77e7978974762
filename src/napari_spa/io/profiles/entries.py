"""What a list of profiles says of each file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_spa.errors import ProfileError
from napari_spa.io.profiles.profile import PreferenceProfile

if TYPE_CHECKING:
    from pathlib import Path

    from napari_spa.io.models.identity import ModelIdentity


@dataclass(frozen=True, slots=True)
class ShelfEntry:
    """One profile on the shelf, or a file that is none.

    Attributes
    ----------
    path : Path
        Its file.
    name : str
        As the person called it; of a nameless or unreadable one, the file's name.
    task : str
        What is outlined.
    picks, images : int
        The evidence behind it.
    model : ModelIdentity or None
        The model it was made with; None for a file that cannot be read.
    problem : str
        Why it cannot be used, in a sentence; empty when it can.
    """

    path: Path
    name: str
    task: str = ""
    picks: int = 0
    images: int = 0
    model: ModelIdentity | None = None
    problem: str = ""

    def fits(self, model: ModelIdentity) -> bool:
        """Tell whether it can be used with a model."""
        return self.model is not None and self.model.interchangeable(model)


def read_entry(path: Path) -> ShelfEntry | None:
    """Read a file as an entry, with its problem if need be; None when it is gone by now."""
    try:
        return described(path, PreferenceProfile.load(path))
    except ProfileError as error:
        # Another window may have deleted it just now; a dangling link stays a problem.
        gone = not path.exists() and not path.is_symlink()
        return None if gone else ShelfEntry(path, path.stem, problem=str(error))


def described(path: Path, profile: PreferenceProfile) -> ShelfEntry:
    """Return the entry of a profile that was read from, or written to, a file."""
    name = profile.name or path.stem
    return ShelfEntry(path, name, profile.task, profile.picks, profile.images, profile.model)

"""The folder of profiles: list, save under a lock, rename, set aside."""

from __future__ import annotations

import shutil
import unicodedata
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_spa.errors import DataError, ProfileError
from napari_spa.io.files import atomic_path, explained, take_lock
from napari_spa.io.profiles.profile import PreferenceProfile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_spa.io.models.identity import ModelIdentity

_FORBIDDEN = '<>:"/\\|?*'
_RESERVED = {"con", "prn", "aux", "nul", "conin$", "conout$"} | {
    f"{port}{digit}" for port in ("com", "lpt") for digit in "123456789¹²³"
}
"""Windows takes these for devices, whatever follows a dot."""
_LONGEST = 96
"""Bytes of a file's stem: temporary and lock names around it fit the strictest file systems."""
_PATIENCE = 10.0  # seconds to wait for another window, which needs a few milliseconds


def update_profile(
    path: Path, change: Callable[[PreferenceProfile], PreferenceProfile]
) -> PreferenceProfile:
    """Change what a profile's file holds now; no one else's change is lost."""
    if not path.exists():
        raise ProfileError(f"the profile {path} is gone.")
    with locked(path):
        changed = change(PreferenceProfile.load(path))
        changed.save(path)
    return changed


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other windows and programs of ours from changing a file."""
    with explained("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
    busy = f"{path} is in use by another window; try again."
    lock = take_lock(path.with_name(f".{path.name}.lock"), path, busy, wait=_PATIENCE)
    try:
        yield
    finally:
        lock.release()


def file_stem(name: str) -> str:
    """Make a file's name of a profile's."""
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


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """One profile in the store, or a file that is none."""

    path: Path  # its file
    name: str  # as the user called it; of a nameless or unreadable one, the file's name
    task: str = ""  # what is outlined
    picks: int = 0  # the evidence behind it
    images: int = 0
    # The model it was made with; None for a file that cannot be read.
    model: ModelIdentity | None = None
    problem: str = ""  # why it cannot be used, in a sentence; empty when it can
    corrected: int = 0  # objects that taught it without a pick

    def fits(self, model: ModelIdentity) -> bool:
        """Tell whether it can be used with a model."""
        return self.model is not None and self.model.interchangeable(model)


def read_entry(path: Path) -> StoreEntry | None:
    """Read a file as an entry, with its problem if need be; None when it is gone by now."""
    try:
        return described(path, PreferenceProfile.load(path))
    except ProfileError as error:
        # Another window may have deleted it just now; a dangling link stays a problem.
        gone = not path.exists() and not path.is_symlink()
        return None if gone else StoreEntry(path, path.stem, problem=str(error))


def described(path: Path, profile: PreferenceProfile) -> StoreEntry:
    """Return the entry of a profile that was read from, or written to, a file."""
    name = profile.name or path.stem
    counts = profile.picks, profile.images
    return StoreEntry(path, name, profile.task, *counts, profile.model, corrected=profile.corrected)


_SUFFIX = ".json"


def profiles_root() -> Path:
    """Return the folder of the user's profiles; it need not exist."""
    from platformdirs import user_data_path

    return user_data_path("napari-spa") / "profiles"


class ProfileStore:
    """The profiles in a folder."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = profiles_root() if root is None else Path(root)
        self.removed = self.root / "removed"

    def list(self) -> tuple[StoreEntry, ...]:
        """List all profiles by name; files that are none are listed with their problem."""
        entries = [entry for path in self._files() if (entry := read_entry(path)) is not None]
        entries.sort(key=lambda e: (e.name.casefold(), e.task.casefold(), e.path.stem))
        return tuple(entries)

    def find(self, name: str) -> Path:
        """Find a profile by its name, or by the name of its file without ``.json``."""
        entries = self.list()
        for same in (_exactly, _roughly):
            for names in ([e.path.stem for e in entries], [e.name for e in entries]):
                pairs = zip(entries, names, strict=True)
                found = [entry.path for entry, called in pairs if same(called, name)]
                if len(found) == 1:
                    return found[0]
                if found:
                    files = " or ".join(repr(path.stem) for path in found)
                    raise ProfileError(f"{len(found)} profiles are called {name!r}; say {files}.")
        there = ", ".join(repr(entry.name) for entry in entries[:8]) or "none yet"
        raise ProfileError(f"there is no profile {name!r:.80} in {self.root}; there are: {there}.")

    def new(self, name: str, *, model: ModelIdentity, task: str = "") -> StoreEntry:
        """Put an empty profile in the store; one of the same name, task and model is refused."""
        profile = PreferenceProfile.empty(model, name=_checked(name), task=task.strip())
        for entry in self.list():
            same = (entry.name, entry.task) == (profile.name, profile.task)
            if same and entry.fits(model):
                raise ProfileError(
                    f"there is a profile {entry.path.stem!r} already; choose another name or task."
                )
        return described(self.add(profile), profile)

    def add(self, profile: PreferenceProfile) -> Path:
        """Put a profile in the store under a free file name."""
        with locked(self.root / "shelf"):
            path = self._free(profile.name, profile.task)
            profile.save(path)
        return path

    def save(self, profile: PreferenceProfile, path: Path | None = None) -> Path:
        """Write a profile over a file, or under a free name."""
        if path is None:
            return self.add(profile)
        with locked(path):
            profile.save(path)
        return path

    def update(
        self, path: Path, change: Callable[[PreferenceProfile], PreferenceProfile]
    ) -> PreferenceProfile:
        """Change what a file holds now; see :func:`update_profile`."""
        return update_profile(path, change)

    def rename(self, path: Path, name: str, task: str | None = None) -> PreferenceProfile:
        """Give a profile another name; its file stays where it is."""
        name = _checked(name)
        return update_profile(
            path, lambda p: replace(p, name=name, task=p.task if task is None else task.strip())
        )

    def reset(self, path: Path) -> PreferenceProfile:
        """Forget what a profile has learnt; name, task and model stay.

        A copy of what it held is kept in the folder ``removed``.
        """
        held: list[PreferenceProfile] = []

        def forget(profile: PreferenceProfile) -> PreferenceProfile:
            held.append(profile)
            if profile.evidence:
                with locked(self.removed), atomic_path(self._aside(path)) as temporary:
                    shutil.copyfile(path, temporary)
            return profile.emptied()

        update_profile(path, forget)
        return held[0]

    def delete(self, path: Path) -> None:
        """Move a profile's file, also a damaged one, into the folder ``removed``."""
        if not path.exists():
            raise ProfileError(f"the profile {path} is gone.")
        if path.is_dir():
            raise DataError(f"cannot delete {path}: it is a folder.")
        with locked(path), explained("delete", path), locked(self.removed):
            self.removed.mkdir(parents=True, exist_ok=True)
            shutil.move(path, self._aside(path))

    def _aside(self, path: Path) -> Path:
        """Return a free name in the folder of what was removed."""
        target, number = self.removed / path.name, 1
        while target.exists():
            number += 1
            target = self.removed / f"{path.stem} ({number}){_SUFFIX}"
        return target

    def _files(self) -> tuple[Path, ...]:
        with explained("read", self.root):
            paths = tuple(self.root.iterdir()) if self.root.exists() else ()
        return tuple(p for p in paths if p.suffix.lower() == _SUFFIX and not p.name.startswith("."))

    def _free(self, name: str, task: str) -> Path:
        """Return a file that is not there: on some file systems case and accents do not count."""
        taken = {folded(path.stem) for path in self._files()}
        stem = wanted = file_stem(f"{name} - {task}" if task.strip() else name)
        number = 1
        while folded(stem) in taken:
            number += 1
            stem = f"{wanted} ({number})"
        return self.root / f"{stem}{_SUFFIX}"


def _checked(name: str) -> str:
    name = name.strip()
    if not name:
        raise ProfileError("a profile needs a name.")
    return name


def _exactly(called: str, wanted: str) -> bool:
    called, wanted = (unicodedata.normalize("NFC", text.strip()) for text in (called, wanted))
    return called == wanted


def _roughly(called: str, wanted: str) -> bool:
    return folded(called.strip()) == folded(wanted.strip())

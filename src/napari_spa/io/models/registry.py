"""Which models there are, where their files lie, and what identifies their weights."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import platformdirs

from napari_spa.errors import CheckpointError, DataError, InputError, ModelError
from napari_spa.io.files import atomic_path, explained

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What tells one model from another."""

    name: str  # the name it was loaded by
    sha256: str  # hexadecimal digest of the weights file
    head: str  # ``"latent"``, ``"logit"`` or ``"both"``
    sampler: str  # ``"mixture"`` or ``"weighted-sum"``
    latent_dim: int  # number of latent channels; 0 without a latent head

    def interchangeable(self, other: ModelIdentity) -> bool:
        """Tell whether what was learnt with one holds for the other."""
        mine = (self.sha256, self.head, self.sampler, self.latent_dim)
        return mine == (other.sha256, other.head, other.sampler, other.latent_dim)


def file_digest(path: Path, kind: str = "sha256") -> str:
    """Digest a file by ``sha256``, ``md5`` or ``xxh128``, once per process unless it changes."""
    with explained("read", path, CheckpointError):
        status = path.stat()
        return _digest(path, kind, (status.st_mtime_ns, status.st_size, status.st_ino))


@lru_cache(maxsize=64)
def _digest(path: Path, kind: str, version: tuple[int, int, int]) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, partial(_hasher, kind)).hexdigest()


def _hasher(kind: str) -> Any:  # noqa: ANN401  the two libraries share no type
    if kind == "xxh128":
        import xxhash

        return xxhash.xxh128()
    return hashlib.new(kind, usedforsecurity=False)


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A published model that can be used by name."""

    name: str  # our name for it
    files: tuple[str, ...]  # the names its file goes by; the first is what a download is called
    about: str  # what it is, in a few words
    megabytes: int  # size of the file, in millions of bytes
    licence: str  # of the weights
    address: str  # where its publishers keep the file
    digest: str | None = None  # KIND:HEX of the published file; None: the publisher gives none
    # How its inputs are meant (see :mod:`napari_spa.model.spa`).
    convention: Literal["sam", "sam2", "medsam"] = "sam"

    @property
    def sha256(self) -> str | None:
        """The digest, where the publisher gives this kind."""
        kind, _, value = (self.digest or "").partition(":")
        return value if kind == "sha256" else None


def _read_known(path: Path) -> tuple[KnownModel, ...]:
    with path.open(newline="", encoding="utf-8") as stream:
        return tuple(
            KnownModel(
                files=tuple(row.pop("files").split()),
                megabytes=int(row.pop("megabytes")),
                digest=row.pop("digest") or None,
                **row,
            )
            for row in cast("Iterator[dict[str, Any]]", csv.DictReader(stream))
        )


KNOWN = _read_known(Path(__file__).with_name("known.csv"))
"""Published models; micro-sam's are its generalists, whole SAM state dicts."""


PACKAGED = "spa-tiny"
ENVIRONMENT = "NAPARI_SPA_MODELS"
OFFLINE = "NAPARI_SPA_OFFLINE"
SUFFIXES = (".safetensors", ".pth", ".pt")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One line of ``napari-spa models list``."""

    name: str  # what to ask for
    kind: Literal["packaged", "known", "imported"]  # where it comes from
    path: Path | None  # its file; None when it is not on this machine
    about: str  # what it is, or where its file would be looked for
    known: KnownModel | None = None  # the published model behind it


def packaged_folder() -> Path:
    """Return the folder of the weights that come with the package."""
    return Path(__file__).resolve().parents[2] / "weights"


def models_folder() -> Path:
    """Return the folder of the user's models; it need not exist."""
    chosen = os.environ.get(ENVIRONMENT)
    if chosen:
        return Path(chosen).expanduser()
    return platformdirs.user_data_path("napari-spa", appauthor=False) / "models"


def offline_folder() -> Path | None:
    """Return the folder of files that someone else put there, such as a lab's, if one is set."""
    chosen = os.environ.get(OFFLINE)
    return Path(chosen).expanduser() if chosen else None


def list_models() -> tuple[ModelEntry, ...]:
    """List every model that can be asked for by name."""
    packaged = packaged_folder() / f"{PACKAGED}.safetensors"
    there = packaged if packaged.is_file() else None
    entries = [ModelEntry(PACKAGED, "packaged", there, "small and quick, comes with napari-spa")]
    entries += [
        ModelEntry(known.name, "known", known_file(known), known.about, known) for known in KNOWN
    ]
    taken = {entry.name for entry in entries}
    published = {entry.path for entry in entries}
    for path in _files():
        if path.stem not in taken and path not in published and _NAME.fullmatch(path.stem):
            taken.add(path.stem)
            entries.append(ModelEntry(path.stem, "imported", path, "imported"))
    return tuple(entries)


def find_model(name_or_path: str | Path) -> ModelEntry:
    """Find the file behind a name or a path."""
    text = os.fspath(name_or_path)
    entries = {entry.name: entry for entry in list_models()}
    if isinstance(name_or_path, str) and text in entries:
        entry = entries[text]
        if entry.path is None:
            raise ModelError(_where_to_put(entry))
        return entry
    if not text:
        raise ModelError("no model was named; 'spa-tiny' comes with napari-spa.")
    path = Path(text).expanduser()
    looks_like_path = not isinstance(name_or_path, str) or bool(os.path.dirname(text))
    if looks_like_path or path.suffix in SUFFIXES or os.path.lexists(path):
        known = next((known for known in KNOWN if path.name in known.files), None)
        return ModelEntry(path.stem, "imported", path, "by path", known)
    raise ModelError(
        f"there is no model {text!r}; choose one of {', '.join(entries)}, or give the path of a "
        "weights file."
    )


def check_published(entry: ModelEntry, sha256: str) -> None:
    """Refuse a file that is asked for by a published model's name but is another."""
    if entry.kind == "known" and entry.known and entry.known.sha256 not in (None, sha256):
        raise CheckpointError(
            f"{entry.path} is not the published file of {entry.name} (its SHA-256 differs); "
            "download it again, or import it under another name."
        )


def copy_into_models(path: Path, name: str) -> Path:
    """Copy a checked weights file into the models folder, whole or not at all."""
    if not _NAME.fullmatch(name) or name.endswith(SUFFIXES):
        raise InputError(f"{name!r} is no model name; use letters, digits, '-', '_' and '.'.")
    entry = next((e for e in list_models() if e.name == name), None)
    digest = file_digest(path)
    if name == PACKAGED:
        raise InputError(f"{PACKAGED!r} is the packaged model; choose another name.")
    if entry is not None:
        check_published(ModelEntry(name, entry.kind, path, "", entry.known), digest)
        if entry.path is not None and file_digest(entry.path) == digest:
            return entry.path
        if entry.path is not None:
            raise InputError(
                f"the name {name!r} is taken by {entry.path}; choose another or remove that file."
            )
    suffix = path.suffix if path.suffix in SUFFIXES else ".pth"
    target = models_folder() / f"{name}{suffix}"
    with atomic_path(target) as temporary:
        shutil.copyfile(path, temporary)
        if file_digest(temporary) != digest:
            raise DataError(f"{path} changed while it was copied; import it again.")
    return target


def free_model_name(name: str) -> str:
    """Return a name that no model has: this one, or with a number behind it."""
    taken = {entry.name for entry in list_models()}
    numbered = (f"{name}-{number}" for number in count(2))
    return next(free for free in chain([name], numbered) if free not in taken)


def _folders() -> tuple[Path, ...]:
    offline = offline_folder()
    return (models_folder(),) if offline is None else (models_folder(), offline)


def _files() -> list[Path]:
    found: list[Path] = []
    for folder in _folders():
        try:
            paths = sorted(folder.iterdir())
        except OSError:
            continue
        found += [p for p in paths if p.suffix in SUFFIXES and p.name[0] != "." and p.is_file()]
    return found


def known_file(known: KnownModel) -> Path | None:
    """Return a published model's file if it is on this machine, under its name or ours."""
    names = (*(f"{known.name}{suffix}" for suffix in SUFFIXES), *known.files)
    paths = (folder / name for folder in _folders() for name in names)
    return next((path for path in paths if path.is_file()), None)


def _where_to_put(entry: ModelEntry) -> str:
    if entry.known is None:
        return (
            f"the weights of {entry.name} are missing from this installation of napari-spa; "
            "reinstall it, or give the path of a weights file."
        )
    return (
        f"{entry.name} ({entry.about}, {entry.known.megabytes} MB) is not on this machine; run: "
        f"napari-spa models download {entry.name}, or put its file {entry.known.files[0]} into "
        f"{offline_folder() or models_folder()}."
    )

"""A preference profile and its file, and the folder of the profiles of a user."""

from __future__ import annotations

import json
import math
import shutil
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.core.types import MixtureParameters
from napari_spa.errors import DataError, ProfileError
from napari_spa.io.files import (
    JsonError,
    atomic_path,
    explained,
    parse_json,
    read_small,
    take_lock,
    write_text,
)
from napari_spa.io.models.registry import ModelIdentity

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = "napari-spa profile"

_SINCE: dict[int, dict[str, object]] = {
    2: {"objects": 0, "log_growth": 0.0},  # nothing is known of how large objects were drawn
    3: {"taught": {}},  # each image counts again when it is opened
    4: {"sizes": []},  # any size is as likely
    5: {"kinds": []},  # no kind of image is unusual
    6: {"corrected": 0},  # only picks taught
}
"""What each version brought, and what it is taken to be in files of the versions before."""
VERSION = max(_SINCE)


_Kind = Any
"""A type, a list of one kind, a mapping with just these names, or one (in brackets) with any."""

_KINDS: dict[str, _Kind] = {
    "name": str,
    "task": str,
    "picks": int,
    "corrected": int,
    "images": int,
    "objects": int,
    "log_growth": float,
    "taught": (int,),
    "sizes": [{"object": str, "image": str, "area": float, "pixel_size": float}],
    "kinds": [str],
    "model": {"name": str, "sha256": str, "head": str, "sampler": str, "latent_dim": int},
    "mixture": {"weights": [float], "means": [[float]], "variances": [[float]]},
}
"""What a file of the present version holds besides schema and version."""

_LONGEST_LIST = 1000
"""A profile remembers far less; a file that says more is no profile."""


def read_content(text: str) -> dict[str, Any]:
    """Read a profile's text of any version as one of the present version."""
    try:
        content = parse_json(text)
    except JsonError as error:
        raise ProfileError(f"it is not a napari-spa profile, or damaged: {error}.") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise ProfileError("it is not a napari-spa profile.")
    version = content.get("version")
    if type(version) is not int or version < 1:
        raise ProfileError(f"it has the impossible version {version!r:.40}.")
    if version > VERSION:
        raise ProfileError(
            f"it has version {version}, written by a newer napari-spa; update napari-spa to use it."
        )
    later = {since: brought for since, brought in _SINCE.items() if since > version}
    known = {"schema", "version", *_KINDS}.difference(*later.values())
    for verb, names in (("lacks", known - content.keys()), ("has unknown", content.keys() - known)):
        if names:
            raise ProfileError(f"it {verb} {min(names)!r:.80}.")
    for brought in later.values():
        content |= brought
    return {**content, "version": VERSION}


def _fits(value: Any, kind: _Kind) -> bool:  # noqa: ANN401  any JSON value
    """Tell whether a value is of a kind of :data:`_KINDS`."""
    if isinstance(kind, list):
        listed = isinstance(value, list) and len(value) <= _LONGEST_LIST
        return listed and all(_fits(item, kind[0]) for item in value)
    if isinstance(kind, tuple):
        return isinstance(value, dict) and all(_fits(item, kind[0]) for item in value.values())
    if isinstance(kind, dict):
        named = isinstance(value, dict) and value.keys() == kind.keys()
        return named and all(_fits(value[name], inner) for name, inner in kind.items())
    if kind is int:
        return type(value) is int and 0 <= value < 2**53
    return type(value) in (int, float) if kind is float else isinstance(value, kind)


def _as_json(value: Any) -> object:  # noqa: ANN401  what a profile is made of
    if isinstance(value, np.ndarray):
        return value.tolist()
    return dict(value) if isinstance(value, Mapping) else asdict(value)


_LARGEST_FILE = 32 * 2**20
_TOLERANCE = 1e-6
_LARGEST_AREA = 1e15
_MOST = 10**12
"""Nobody picks so often; what is added up and written has to be read again."""
_FARTHEST = 1e4
"""Of a mean and of a spread; latent spaces are a few units wide, and float32 is what computes."""
_TOKENS = 4  # hypotheses of a decoder, which the logit head's mixture tells apart
CORRECTED_COUNTS = 2
"""An object that was corrected without a pick teaches as much as so many (docs/experiments.md)."""


@dataclass(frozen=True, slots=True)
class AcceptedSize:
    """How large one accepted object was."""

    object: str  # names the object: accepted again, it counts once
    image: str  # names its image, as ``PreferenceProfile.taught`` does
    area: float  # in pixels of the image, above 0
    pixel_size: float = 0.0  # side of a pixel in micrometres; 0 where it is not known

    def __post_init__(self) -> None:
        if not (0 < self.area <= _LARGEST_AREA and 0 <= self.pixel_size <= _LARGEST_AREA):
            raise ProfileError("the profile remembers an object of an impossible size.")

    def in_pixels(self, pixel_size: float) -> float:
        """Return its area in pixels of another image; its own where a pixel's size is unknown."""
        if self.pixel_size > 0 and pixel_size > 0:
            scale = self.pixel_size / pixel_size
            return min(max(self.area * scale * scale, 1 / _LARGEST_AREA), _LARGEST_AREA)
        return self.area


@dataclass(frozen=True, slots=True, eq=False)
class PreferenceProfile:
    """A preference distribution, the evidence behind it and the model it belongs to.

    ``ProfileError`` when the mixture is none, a count is negative or a number not finite.
    """

    model: ModelIdentity  # whose latent space the mixture lives in
    # M components in D channels; without evidence it says nothing and is not looked at.
    mixture: MixtureParameters
    picks: int = 0  # picks that taught it
    images: int = 0  # images that taught it, each once: a stack is one image
    task: str = ""  # what is being outlined, in the user's words
    name: str = ""  # the profile's name
    objects: int = 0  # accepted objects behind ``log_growth``
    # Sum over them of ``ln(accepted area / first recommended area)``.
    log_growth: float = 0.0
    # Evidence by image, in picks; images are named by a digest of their pixels, and those that
    # taught a profile of an earlier version are not in it.
    taught: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    sizes: tuple[AcceptedSize, ...] = ()  # of the objects accepted last, the latest at the end
    # Objects that taught it without a pick of an outline: by clicks, strokes, the slider, or picks
    # of another object.
    corrected: int = 0
    # Of what kinds the images were that taught it, such as "grey, 16 bit", in their order.
    kinds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_mixture(self.mixture)
        for name in ("picks", "corrected", "images", "objects"):
            if not 0 <= getattr(self, name) <= _MOST:
                raise ProfileError(f"a profile cannot rest on {getattr(self, name)} {name}.")
        counted = all(0 <= picks <= _MOST for picks in self.taught.values())
        if len(self.taught) > self.images or not counted:
            raise ProfileError("the profile's images do not agree with what they taught.")
        _check_text(self.name, self.task)
        if not math.isfinite(self.log_growth):
            raise ProfileError("the profile's growth is not finite.")

    def __eq__(self, other: object) -> bool:
        """Whether another one has the same content, to the last bit."""
        return isinstance(other, PreferenceProfile) and self.to_json() == other.to_json()

    @property
    def evidence(self) -> int:
        """How much is behind its mixture, in picks."""
        return self.picks + CORRECTED_COUNTS * self.corrected

    @classmethod
    def empty(cls, model: ModelIdentity, *, name: str = "", task: str = "") -> PreferenceProfile:
        """Return one that has learnt nothing: one component around 0, of the model's channels."""
        channels = {"logit": 1 + _TOKENS, "both": model.latent_dim + 1}
        width = max(1, channels.get(model.head, model.latent_dim))
        return cls(model, _says_nothing(width), task=task, name=name)

    def emptied(self) -> PreferenceProfile:
        """Return a profile of the same name, task and model that has learnt nothing."""
        width = self.mixture.dimension
        return PreferenceProfile(self.model, _says_nothing(width), task=self.task, name=self.name)

    def check(self, identity: ModelIdentity) -> None:
        """Refuse to be used with another model: other weights, head, sampler or latent size."""
        if self.model.interchangeable(identity):
            return
        raise ProfileError(
            f"the profile {self.name!r} was made with {_label(self.model)} and cannot be used "
            f"with {_label(identity)}; load that model, or choose or start another profile."
        )

    def to_json(self) -> str:
        """Write it as JSON of the present schema version; every number is kept exactly."""
        said = {name: getattr(self, name) for name in _KINDS}
        content = {"schema": SCHEMA, "version": VERSION, **said}
        return (
            json.dumps(content, default=_as_json, indent=1, ensure_ascii=False, allow_nan=False)
            + "\n"
        )

    @classmethod
    def from_json(cls, text: str) -> PreferenceProfile:
        """Read it strictly from the text of :meth:`to_json`, of this or an earlier version.

        ``ProfileError`` when it is no profile, damaged, or of a newer version.
        """
        content = read_content(text)
        for name, kind in _KINDS.items():
            if not _fits(content[name], kind):
                raise ProfileError(f"its {name} is damaged.")
        try:
            mixture = {name: np.array(rows, float) for name, rows in content["mixture"].items()}
        except ValueError as error:
            raise ProfileError("its mixture has rows of several lengths.") from error
        return cls(
            model=ModelIdentity(**content["model"]),
            mixture=MixtureParameters(**mixture),
            taught=MappingProxyType(content["taught"]),
            sizes=tuple(AcceptedSize(**size) for size in content["sizes"]),
            kinds=tuple(content["kinds"]),
            **{name: content[name] for name, kind in _KINDS.items() if kind in (str, int, float)},
        )

    def save(self, path: str | Path, *, within: Path | None = None) -> None:
        """Write it to a file, whole or not at all; ``DataError`` where that cannot be.

        The folder ``within`` has to be there: it is never made.
        """
        write_text(Path(path), self.to_json(), within=within)

    @classmethod
    def load(cls, path: str | Path) -> PreferenceProfile:
        """Read it from a file of :meth:`save`.

        ``ProfileError`` when the file is missing, no profile, damaged, or of a newer version.
        """
        try:
            return cls.from_json(read_small(Path(path), _LARGEST_FILE).decode("utf-8"))
        except OSError as error:
            raise ProfileError(
                f"cannot read the profile {path}: {error.strerror or error}."
            ) from error
        except DataError as error:
            raise ProfileError(str(error)) from error
        except UnicodeDecodeError as error:
            raise ProfileError(f"cannot use the profile {path}: it is not text.") from error
        except ProfileError as error:
            raise ProfileError(f"cannot use the profile {path}: {error}") from error


def _says_nothing(channels: int) -> MixtureParameters:
    return MixtureParameters(np.ones(1), np.zeros((1, channels)), np.ones((1, channels)))


def _label(model: ModelIdentity) -> str:
    return f"{model.name} ({model.head} head, weights {model.sha256[:8]})"


def _check_mixture(mixture: MixtureParameters) -> None:
    weights, means, variances = mixture.weights, mixture.means, mixture.variances
    if (
        weights.ndim != 1
        or means.ndim != 2
        or means.shape != variances.shape
        or len(weights) != len(means)
        or not means.size
    ):
        raise ProfileError("the mixture's weights, means and variances do not fit each other.")
    if not all(np.isfinite(values).all() for values in (weights, means, variances)):
        raise ProfileError("the mixture has numbers that are not finite.")
    if max(np.abs(means).max(), np.sqrt(np.abs(variances).max())) > _FARTHEST:
        raise ProfileError("the mixture has numbers that no pick can have led to.")
    if (weights < 0).any() or abs(float(weights.sum()) - 1) > _TOLERANCE:
        raise ProfileError("the mixture's weights are negative or do not sum to 1.")
    if (variances <= 0).any():
        raise ProfileError("the mixture's variances are not all above 0.")


def _check_text(*texts: str) -> None:
    try:
        "".join(texts).encode("utf-8")
    except UnicodeEncodeError as error:  # half a character, which no file can hold
        raise ProfileError("the profile's name or task is not text.") from error


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
    kept = (c if c.isprintable() and c not in _FORBIDDEN else " " for c in _normal(name))
    stem = " ".join("".join(kept).split()).lstrip(".")
    stem = stem.encode("utf-8", "ignore")[:_LONGEST].decode("utf-8", "ignore").rstrip(". ")
    if stem.split(".")[0].rstrip().casefold() in _RESERVED:
        stem = f"_{stem}"
    return stem or "profile"


def folded(stem: str) -> str:
    """Return a name such that equal ones may be the same file somewhere."""
    return _normal(_normal(stem).casefold())


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text)


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
        for same in (_normal, folded):  # exactly, then roughly
            for names in ([e.path.stem for e in entries], [e.name for e in entries]):
                pairs = zip(entries, names, strict=True)
                found = [e.path for e, known in pairs if same(known.strip()) == same(name.strip())]
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
        self._refuse_twin(profile)
        return described(self.add(profile), profile)

    def _refuse_twin(self, profile: PreferenceProfile, own: Path | None = None) -> None:
        """Refuse a name and task that another of the same model's profiles has."""
        for entry in self.list():
            same = (entry.name, entry.task) == (profile.name, profile.task)
            other = own is None or entry.path.resolve() != own.resolve()
            if same and other and entry.fits(profile.model):
                raise ProfileError(
                    f"there is a profile {entry.path.stem!r} already; choose another name or task."
                )

    def add(self, profile: PreferenceProfile) -> Path:
        """Put a profile in the store under a free file name."""
        with locked(self.root / "shelf"):
            path = self._free(profile.name, profile.task)
            profile.save(path)
        return path

    def rename(self, path: Path, name: str, task: str | None = None) -> PreferenceProfile:
        """Give a profile another name, which no other has; its file stays where it is."""
        name = _checked(name)

        def renamed(profile: PreferenceProfile) -> PreferenceProfile:
            task_now = profile.task if task is None else task.strip()
            changed = replace(profile, name=name, task=task_now)
            self._refuse_twin(changed, path)
            return changed

        return update_profile(path, renamed)

    def reset(self, path: Path) -> PreferenceProfile:
        """Forget what a profile has learnt; a copy of what it held is kept in ``removed``."""
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

"""What was learnt about a person, kept between images as a small JSON file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_spa.core.types import DoubleArray, MixtureParameters
from napari_spa.errors import ProfileError
from napari_spa.io.atomic import atomic_path
from napari_spa.io.identity import ModelIdentity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["ModelIdentity", "PreferenceProfile"]

SCHEMA = "napari-spa profile"
VERSION = 1
_LARGEST_FILE = 32 * 2**20
_TOLERANCE = 1e-6
_ENTRIES = {"schema", "version", "name", "task", "model", "picks", "images", "mixture"}


@dataclass(frozen=True, slots=True, eq=False)
class PreferenceProfile:
    """A preference distribution, the evidence behind it and the model it belongs to.

    Attributes
    ----------
    model : ModelIdentity
        The model whose latent space the mixture lives in.
    mixture : MixtureParameters
        M components in D channels.
    picks : int
        Picks that taught it.
    images : int
        Images on which they were made.
    task : str
        What is being outlined, in the person's words.
    name : str
        The profile's name.

    Raises
    ------
    ProfileError
        When the mixture is none or a count is negative.
    """

    model: ModelIdentity
    mixture: MixtureParameters
    picks: int = 0
    images: int = 0
    task: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        _check_mixture(self.mixture)
        for name in ("picks", "images"):
            if getattr(self, name) < 0:
                raise ProfileError(f"a profile cannot rest on {getattr(self, name)} {name}.")

    def check(self, identity: ModelIdentity) -> None:
        """Refuse to be used with another model than the one it was made with.

        Parameters
        ----------
        identity : ModelIdentity
            The model in use.

        Raises
        ------
        ProfileError
            When weights, head, sampler or latent size differ.
        """
        if self.model.interchangeable(identity):
            return
        raise ProfileError(
            f"the profile {self.name!r} was made with {_label(self.model)} and cannot be used "
            f"with {_label(identity)}; load that model, or choose or start another profile."
        )

    def to_json(self) -> str:
        """Write it as text.

        Returns
        -------
        str
            JSON of the present schema version; every number is kept exactly.
        """
        mixture = {
            "weights": self.mixture.weights.tolist(),
            "means": self.mixture.means.tolist(),
            "variances": self.mixture.variances.tolist(),
        }
        content = {
            "schema": SCHEMA,
            "version": VERSION,
            "name": self.name,
            "task": self.task,
            "picks": self.picks,
            "images": self.images,
            "model": asdict(self.model),
            "mixture": mixture,
        }
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> PreferenceProfile:
        """Read it from text, strictly.

        Parameters
        ----------
        text : str
            What :meth:`to_json` gave.

        Returns
        -------
        PreferenceProfile

        Raises
        ------
        ProfileError
            When it is no profile, damaged, or of a newer version.
        """
        content = _parse(text)
        mixture = _mapping(content, "mixture", {"weights", "means", "variances"})
        model = _mapping(content, "model", {field.name for field in fields(ModelIdentity)})
        return cls(
            model=ModelIdentity(
                name=_text(model, "name"),
                sha256=_text(model, "sha256"),
                head=_text(model, "head"),
                sampler=_text(model, "sampler"),
                latent_dim=_count(model, "latent_dim"),
            ),
            mixture=MixtureParameters(
                _numbers(mixture, "weights", 1),
                _numbers(mixture, "means", 2),
                _numbers(mixture, "variances", 2),
            ),
            picks=_count(content, "picks"),
            images=_count(content, "images"),
            task=_text(content, "task"),
            name=_text(content, "name"),
        )

    def save(self, path: str | Path) -> None:
        """Write it to a file, whole or not at all.

        Parameters
        ----------
        path : str or Path
            File to write.

        Raises
        ------
        DataError
            When the file cannot be written.
        """
        with atomic_path(Path(path)) as temporary:
            temporary.write_text(self.to_json(), encoding="utf-8", newline="\n")

    @classmethod
    def load(cls, path: str | Path) -> PreferenceProfile:
        """Read it from a file.

        Parameters
        ----------
        path : str or Path
            File of :meth:`save`.

        Returns
        -------
        PreferenceProfile

        Raises
        ------
        ProfileError
            When the file is missing, no profile, damaged, or of a newer version.
        """
        try:
            with Path(path).open("rb") as stream:
                raw = stream.read(_LARGEST_FILE + 1)
            if len(raw) > _LARGEST_FILE:
                raise ProfileError("it is too large for a profile.")
            return cls.from_json(raw.decode("utf-8"))
        except OSError as error:
            raise ProfileError(
                f"cannot read the profile {path}: {error.strerror or error}."
            ) from error
        except UnicodeDecodeError as error:
            raise ProfileError(f"cannot use the profile {path}: it is not text.") from error
        except ProfileError as error:
            raise ProfileError(f"cannot use the profile {path}: {error}") from error


def _label(model: ModelIdentity) -> str:
    return f"{model.name} ({model.head} head, weights {model.sha256[:8]})"


def _parse(text: str) -> Mapping[str, object]:
    try:
        content = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ProfileError("it is not a napari-spa profile, or damaged (no valid JSON).") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise ProfileError("it is not a napari-spa profile.")
    version = content.get("version")
    if type(version) is int and version > VERSION:
        raise ProfileError(
            f"it has version {version}, written by a newer napari-spa; update napari-spa to use it."
        )
    if version != VERSION or type(version) is not int:
        raise ProfileError(f"it has the impossible version {version!r:.40}.")
    _check_names(content, _ENTRIES, "it")
    return content


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a number")


def _check_names(content: Mapping[str, object], expected: set[str], what: str) -> None:
    for verb, names in (
        ("lacks", expected - content.keys()),
        ("has unknown", content.keys() - expected),
    ):
        if names:
            raise ProfileError(f"{what} {verb} {min(names)!r:.80}.")


def _mapping(content: Mapping[str, object], name: str, expected: set[str]) -> Mapping[str, object]:
    value = content[name]
    if not isinstance(value, dict):
        raise ProfileError(f"its {name} is damaged.")
    _check_names(value, expected, f"its {name}")
    return value


def _text(content: Mapping[str, object], name: str) -> str:
    value = content[name]
    if not isinstance(value, str):
        raise ProfileError(f"its {name} is not text.")
    return value


def _count(content: Mapping[str, object], name: str) -> int:
    value = content[name]
    if type(value) is not int or not 0 <= value < 2**53:
        raise ProfileError(f"its {name} is not a count.")
    return value


def _numbers(content: Mapping[str, object], name: str, ndim: int) -> DoubleArray:
    value = content[name]
    if not _all_numbers(value, ndim):
        raise ProfileError(f"the mixture's {name} are not numbers.")
    try:
        array = np.array(value, dtype=np.float64)
    except (ValueError, OverflowError) as error:  # ragged rows, or an integer without end
        raise ProfileError(f"the mixture's {name} have no shape.") from error
    return array.reshape(array.shape if array.ndim == ndim else (0,) * ndim)


def _all_numbers(value: object, ndim: int) -> bool:
    if not isinstance(value, list):
        return False
    fits: Callable[[object], bool] = (
        (lambda item: type(item) in (int, float))
        if ndim == 1
        else (lambda item: _all_numbers(item, ndim - 1))
    )
    return all(map(fits, value))


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
    if (weights < 0).any() or abs(float(weights.sum()) - 1) > _TOLERANCE:
        raise ProfileError("the mixture's weights are negative or do not sum to 1.")
    if (variances <= 0).any():
        raise ProfileError("the mixture's variances are not all above 0.")

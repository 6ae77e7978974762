"""Training recipes: a TOML file to everything that decides a run.

Keys at the top are those of :class:`~napari_spa.train.loop.TrainConfig`; the tables
``[model]``, ``[step]`` and ``[window]`` hold its parts; each ``[sources.NAME]`` says how
much of the data set NAME is shown, and how it is read.  ``[cuda]`` holds keys of the top
that are different on a GPU.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from napari_spa.errors import DataError, InputError
from napari_spa.io.strict_json import read_small
from napari_spa.train.loop import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

T = TypeVar("T")
_LARGEST_FILE = 2**20


@dataclass(frozen=True, slots=True)
class SourceRecipe:
    """How one data set takes part."""

    share: float = 1.0  # its share of the windows, relative to the others
    split: str | None = "train"  # only this split of a multi-rater folder
    objects: bool = False  # each connected object of the masks is an object of its own
    images: str | None = None  # file or folder of single-rater instance labels, inside the data set
    labels: str | None = None  # file or folder of single-rater instance labels, inside the data set
    # The folder holds several data sets of instance labels; these take part alike.
    sets: tuple[str, ...] = ()
    # Share of its windows whose target is a made-up superpixel of its images.
    superpixels: float = 0.0
    count: int = 6000  # number of different objects of the generator
    seed: int = 1  # of the generator
    kind: str | None = None  # only this kind of generated object


@dataclass(frozen=True, slots=True)
class Recipe:
    """A training run."""

    train: TrainConfig  # network, losses, windows, optimiser
    # By the name of the data set's folder; ``synthetic``, or ``synthetic-ANYTHING``, is the
    # generator.
    sources: Mapping[str, SourceRecipe]
    # The same run on a GPU.
    train_cuda: TrainConfig | None = None

    def on(self, kind: str) -> TrainConfig:
        """Return the run for a kind of device."""
        return self.train_cuda if kind == "cuda" and self.train_cuda is not None else self.train


def read_recipe(path: Path) -> Recipe:
    """Read a recipe."""
    try:
        content = tomllib.loads(read_small(path, _LARGEST_FILE).decode("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', error)}.") from error
    except DataError as error:
        raise InputError(str(error)) from error
    except RecursionError as error:
        raise InputError(f"{path} is not valid TOML: it is nested too deeply.") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not valid TOML: {error}.") from error
    try:
        return parse_recipe(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def parse_recipe(content: Mapping[str, Any]) -> Recipe:
    """Check the content of a recipe."""
    rest = dict(content)
    tables = rest.pop("sources", {})
    if not isinstance(tables, dict) or not all(isinstance(t, dict) for t in tables.values()):
        raise InputError("[sources] holds one table per data set, as [sources.lidc].")
    sources = {
        name: _build(SourceRecipe, table, f"[sources.{name}]") for name, table in tables.items()
    }
    on_cuda = rest.pop("cuda", {})
    if not isinstance(on_cuda, dict):
        raise InputError("'cuda' is a table: write [cuda].")
    train = _build(TrainConfig, rest, "the top")
    return Recipe(train, sources, _build(TrainConfig, rest | on_cuda, "the top or [cuda]"))


def _build(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """Build a dataclass of numbers, texts and further dataclasses from a table."""
    hints = get_type_hints(kind)
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    unknown = [key for key in table if key not in known]
    if unknown:
        raise InputError(
            f"unknown {unknown[0]!r} in {where}; known there are {', '.join(sorted(known))}."
        )
    values: dict[str, object] = {}
    for key, value in table.items():
        hint = hints[key]
        if isinstance(hint, type) and hasattr(hint, "__dataclass_fields__"):
            if not isinstance(value, dict):
                raise InputError(f"{key!r} is a table: write [{key}].")
            values[key] = _build(hint, value, f"[{key}]")
        else:
            values[key] = _checked(key, value, hint)
    return kind(**values)


def _checked(key: str, value: object, hint: Any) -> object:  # noqa: ANN401  a type form
    """Return a value if it is of the type that a field declares."""
    if get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
        raise InputError(f"{key} is one of {', '.join(map(repr, get_args(hint)))}, not {value!r}.")
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        if isinstance(value, list) and (Ellipsis in kinds or len(kinds) == len(value)):
            return tuple(_checked(key, item, kinds[0]) for item in value)
        raise InputError(f"{key} is a list of {len(kinds)} numbers, not {value!r}.")
    kinds = get_args(hint) or (hint,)  # a union, or a plain type
    plain = tuple(kind for kind in kinds if isinstance(kind, type))
    if isinstance(value, int) and not isinstance(value, bool) and float in plain:
        return float(value)
    fits = isinstance(value, plain) and (bool in plain or not isinstance(value, bool))
    if not fits:
        names = " or ".join(kind.__name__ for kind in plain if kind is not type(None))
        raise InputError(f"{key} is a value of type {names}, not {value!r}.")
    if isinstance(value, int) and value < 0:
        raise InputError(f"{key} must not be negative, but is {value}.")
    return value

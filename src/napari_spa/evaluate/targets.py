"""What is to be segmented: each combination of raters is a user with a mask in mind."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_spa.core.objects import split_objects
from napari_spa.errors import DataError
from napari_spa.refine.engine.config import EngineConfig

if TYPE_CHECKING:
    from napari_spa.core.types import BoolArray
    from napari_spa.datasets import Case, CaseFolder
    from napari_spa.evaluate.users import ClickStyle

Combinations = int | Literal["all", "raters"]


@dataclass(frozen=True, slots=True)
class EvaluateConfig:
    """What is played."""

    split: str | None = "val"  # which cases; None for all
    objects: bool = False  # each connected object of the masks is a target of its own
    # Users of an object: every combination of its raters, at most so many of them, drawn by the
    # seed, or single raters only.
    combinations: Combinations = 15
    rounds: int = 6  # J, masks that a user sees
    # Names of :data:`napari_spa.evaluate.methods.METHODS`.
    methods: tuple[str, ...] = ("spa", "spa-both", "spa-frozen", "spa-random-pick")
    # Names of :data:`napari_spa.evaluate.users.HABITS`, each played with the methods that take
    # what it does; by default each method has its own user, in its own currency.
    users: tuple[str, ...] | None = None
    clicks: tuple[ClickStyle, ...] = ("central", "realistic")  # how users click
    limit: int | None = None  # play only so many cases, drawn by the seed
    targets: int | None = None  # at most so many objects of one image, drawn by the seed
    seed: int = 0  # decides clicks, subsets, and what users do at random
    workers: int = 1  # images played at a time, in threads
    # Numbers of samples and candidates, and what a pick carries on.
    engine: EngineConfig = field(default_factory=EngineConfig)


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """One object of an image as some of its raters see it."""

    object: int  # number of the object in its image
    # Whose masks are fused: what each of them marked is averaged, and what at least half of them
    # marked is the target (paper, section 8).
    raters: tuple[str, ...]
    mask: BoolArray  # (H, W), not empty

    @property
    def name(self) -> str:
        """The raters' names with plus signs between them."""
        return "+".join(self.raters)


@dataclass(frozen=True, slots=True, eq=False)
class RatedMasks:
    """One object of an image as each of its raters marked it."""

    object: int  # number of the object in its image
    raters: tuple[str, ...]  # R names of those who marked it
    masks: BoolArray  # (R, H, W), none empty


def choose_names(folder: CaseFolder, config: EvaluateConfig) -> list[str]:
    """Return the names of the cases that are played."""
    names = folder.names(config.split)
    if not names:
        raise DataError(f"there is no image of the split {config.split!r}; check split.csv.")
    if config.limit is not None and config.limit < len(names):
        chosen = np.random.default_rng(config.seed).permutation(len(names))[: config.limit]
        names = [names[index] for index in sorted(chosen)]
    return names


def choose_objects(case: Case, config: EvaluateConfig) -> list[RatedMasks]:
    """Return the objects of an image that someone marked."""
    stacks = split_objects(case.masks) if config.objects else [case.masks]
    numbered = [(number, masks) for number, masks in enumerate(stacks) if masks.any()]
    if config.targets is not None and config.targets < len(numbered):
        chosen = seeded(config, case.name).permutation(len(numbered))[: config.targets]
        numbered = [numbered[index] for index in sorted(chosen)]
    found = []
    for number, masks in numbered:
        marked = np.flatnonzero(masks.any(axis=(1, 2)))
        raters = tuple(case.raters[index] for index in marked)
        found.append(RatedMasks(number, raters, masks[marked]))
    return found


def combine_raters(name: str, rated: RatedMasks, config: EvaluateConfig) -> list[Target]:
    """Return a target for every combination of raters, or for as many as are asked for."""
    indices = range(len(rated.raters))
    sizes = [1] if config.combinations == "raters" else range(1, len(indices) + 1)
    chosen = [group for size in sizes for group in combinations(indices, size)]
    most = config.combinations
    if isinstance(most, int) and most < len(chosen):
        rng = seeded(config, name, rated.object, "combinations")
        chosen = [chosen[index] for index in sorted(rng.permutation(len(chosen))[:most])]
    targets = []
    for group in chosen:
        mask = rated.masks[list(group)].mean(axis=0) >= 0.5
        if mask.any():
            raters = tuple(rated.raters[index] for index in group)
            targets.append(Target(rated.object, raters, np.asarray(mask)))
    return targets


def seeded(config: EvaluateConfig, *parts: str | int) -> np.random.Generator:
    """Return the generator of one image, target or user, whatever else is played."""
    key = [zlib.crc32(str(part).encode()) for part in parts]
    return np.random.default_rng([config.seed, *key])

"""What baselines are trained on: whole images at the network's size, with every rater's mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_spa.core.objects import split_objects
from napari_spa.core.transforms import standardise, to_unit_rgb
from napari_spa.datasets import CaseFolder, case_groups
from napari_spa.errors import DataError
from napari_spa.train.data import RatedObject, cut_object

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_spa.train.baselines.loop import BaselineConfig

_ASIDE = 0.15


class RatedBatch(NamedTuple):
    """Images with the masks of the same R raters."""

    pixels: Tensor  # ``(B, 3, S, S)`` float, standardised
    masks: Tensor  # ``(B, R, S, S)`` float, 0 or 1
    known: Tensor  # ``(B, R)`` float, 1 where the rater marked the image

    def majority(self) -> Tensor:
        """Return what at least half of the raters marked, ``(B, 1, S, S)`` float."""
        return (self.fused(self.known) >= 0.5).float()

    def fused(self, weights: Tensor) -> Tensor:
        """Return the weighted mean of the masks, ``(B, 1, S, S)``; weights ``(B, R)``."""
        share = weights / weights.sum(dim=1, keepdim=True)
        return (share[..., None, None] * self.masks).sum(dim=1, keepdim=True)


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One image of the training split."""

    name: str
    pixels: NDArray[np.uint8]  # (S, S, 3)
    masks: NDArray[np.bool_]  # (R, S, S)
    known: NDArray[np.bool_]  # (R,), which raters marked it
    # the same at full resolution, for methods that work in a field of view
    objects: list[RatedObject]


@dataclass(frozen=True, slots=True)
class RatedExamples:
    """The images that a baseline learns from, and those held aside to decide when it stops."""

    raters: tuple[str, ...]
    learnt: tuple[Example, ...]  # no patient (or image) is in both
    aside: tuple[Example, ...]


def read_examples(folder: CaseFolder, config: BaselineConfig) -> RatedExamples:
    """Read a split into memory."""
    only, without = config.only, config.without
    cases = [folder.read(name) for name in folder.names(config.split)]
    raters = sorted({rater for case in cases for rater in case.raters})
    for wanted in (only, without):
        if wanted is not None and wanted not in raters:
            raise DataError(f"no rater {wanted} marked anything; they are {', '.join(raters)}.")
    kept = [rater for rater in raters if rater != without and only in (None, rater)]
    examples = []
    for case in cases:
        masks = np.zeros((len(kept), *case.masks.shape[1:]), bool)
        for index, rater in enumerate(kept):
            if rater in case.raters:
                masks[index] = case.masks[case.raters.index(rater)]
        known = np.asarray(masks.any(axis=(1, 2)))
        if not known.any():
            continue
        rgb = (to_unit_rgb(case.image) * 255).astype(np.uint8)
        stacks = split_objects(masks) if config.single else [masks]
        marked = [stack[stack.any(axis=(1, 2))] for stack in stacks]
        objects = [cut_object(rgb, stack) for stack in marked if len(stack)]
        examples.append(Example(case.name, *_resized(rgb, masks, config.size), known, objects))
    patients = case_groups(folder, [example.name for example in examples])
    return _divided(tuple(kept), examples, patients, config.seed)


def _divided(
    raters: tuple[str, ...], examples: list[Example], patients: dict[str, str], seed: int
) -> RatedExamples:
    groups = sorted(set(patients.values()))
    if len(groups) < 2:
        raise DataError(
            f"{len(groups)} images are too few to train on: some are held aside to stop in time."
        )
    order = np.random.default_rng([seed, 7]).permutation(len(groups))
    aside = {groups[index] for index in order[: max(1, round(_ASIDE * len(groups)))]}
    return RatedExamples(
        raters,
        tuple(e for e in examples if patients[e.name] not in aside),
        tuple(e for e in examples if patients[e.name] in aside),
    )


def _resized(
    rgb: NDArray[np.uint8], masks: NDArray[np.bool_], size: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    image = resize(torch.from_numpy(np.moveaxis(rgb, -1, 0)).float(), size)
    shares = resize(torch.from_numpy(masks).float(), size)
    pixels = image.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    return pixels, (shares >= 0.5).numpy()


def resize(stack: Tensor, size: int) -> Tensor:
    """Squash ``(K, H, W)`` float into ``(K, S, S)``, averaging what is reduced."""
    return functional.interpolate(
        stack[None], size=(size, size), mode="bilinear", antialias=True, align_corners=False
    )[0]


def draw_example(example: Example, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw an augmented example: mirrored, turned by quarters, brighter or darker."""
    turns, mirrored = int(rng.integers(4)), bool(rng.random() < 0.5)

    def moved(array: NDArray[np.generic], axes: tuple[int, int]) -> NDArray[np.generic]:
        turned = np.rot90(array, turns, axes)
        return np.flip(turned, axes[1]) if mirrored else turned

    pixels = np.ascontiguousarray(moved(example.pixels, (0, 1))).astype(np.float32) / 255
    pixels = pixels ** np.exp(rng.normal(0, 0.25))
    pixels = pixels + rng.normal(0, rng.uniform(0, 0.04), pixels.shape)
    masks = np.ascontiguousarray(moved(example.masks, (1, 2))).astype(np.float32)
    known = torch.from_numpy(example.known.astype(np.float32))
    return normalised(pixels), torch.from_numpy(masks), known


def plain_batch(examples: Sequence[Example]) -> RatedBatch:
    """Return examples as they are."""
    return RatedBatch(
        torch.stack([normalised(e.pixels.astype(np.float32) / 255) for e in examples]),
        torch.from_numpy(np.stack([e.masks for e in examples])).float(),
        torch.from_numpy(np.stack([e.known for e in examples])).float(),
    )


def normalised(pixels: NDArray[np.floating]) -> Tensor:
    """Standardise ``(S, S, 3)`` in [0, 1] as the predictor does, to ``(3, S, S)``."""
    return torch.from_numpy(standardise(pixels.astype(np.float32))).permute(2, 0, 1).contiguous()

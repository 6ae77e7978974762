"""What the network sees in windows of an image, and how likely each object is meant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage

from napari_spa.refine.engine.alternatives import dice_across
from napari_spa.refine.engine.embedder import Windows
from napari_spa.refine.engine.view import FieldOfView, ImageSampler

if TYPE_CHECKING:
    from torch import Tensor

    from napari_spa.core.mixture import SizePrior
    from napari_spa.core.types import BoolArray, Click, DoubleArray, FloatArray, LocalMask, Prompts
    from napari_spa.model.spa import Spa
    from napari_spa.refine.engine.config import FramingConfig

EncodeWindows = Callable[[Sequence[FieldOfView]], Windows]
"""Encodes windows of the image."""

FILLS = 0.45
"""Share of a window from which on its object is too large for it."""
_ALIKE = 0.8
"""IoU above which a second look at what two windows show is spared."""
_DENIED = 0.2
"""What an object counts for that a click speaks against."""
_WITNESSES = 3
"""So many windows say whether an object is there."""
_EDGE_SIZE, _STEEP, _APART, _RIM = 128, 1.2, 0.6, 0.12
"""A window is read at this size to look for a mask's edge.  There is none if the picture is less
steep there than so many times the window's mean, and of pairs of a pixel inside and one outside
(no farther from it than this share of the mask's size) fewer than this share differ one way."""
_CUT = 0.1
"""A mask is cut where it touches more of its window's edge than this share of a side."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowPrediction:
    """What the network sees in one window of the pyramid."""

    view: FieldOfView  # the window
    mask: BoolArray  # (h, w), the connected part of its mask at the point
    quality: float  # predicted IoU
    probability: FloatArray | None = None  # (h, w), of which the mask is a part

    @property
    def share(self) -> float:
        """The mask's share of the window."""
        return float(self.mask.mean())

    @property
    def area(self) -> float:
        """The mask's area in pixels of the image."""
        return self.share * self.view.height * self.view.width

    @property
    def border(self) -> float:
        """Share of the window's outline that the mask touches."""
        m = self.mask
        edge = np.concatenate([m[0], m[-1], m[:, 0], m[:, -1]])
        return float(edge.mean())

    def cut(self, shape: tuple[int, int]) -> float:
        """Return how much of a side the mask touches where an image of a shape goes on beyond."""
        edges = (self.mask[0], self.mask[-1], self.mask[:, 0], self.mask[:, -1])
        sides = zip(self.view.inner_sides(shape), edges, strict=True)
        return max((float(edge.mean()) for inner, edge in sides if inner), default=0.0)

    def is_cut(self, shape: tuple[int, int]) -> bool:
        """Whether the window's edge cuts the mask."""
        return self.cut(shape) > _CUT

    def agrees(self, click: Click) -> bool:
        """Whether the mask says what a click does; beyond the window is background."""
        x, y = self.view.to_model(click.row, click.column, self.mask.shape[0])
        row, column = round(y), round(x)
        beside = 1 if click.label == 1 else 0  # to touch its pixel is enough
        near = self.mask[
            max(row - beside, 0) : max(row + beside + 1, 0),
            max(column - beside, 0) : max(column + beside + 1, 0),
        ]
        return bool(near.any()) == (click.label == 1)

    def iou(self, other: WindowPrediction) -> float:
        """IoU with another window's mask; 0 where one is empty."""
        return float(_overlaps([self], [other])[0, 0])

    def object_view(self, context: float) -> FieldOfView | None:
        """Return a square view of the object with its surroundings, or None if empty."""
        if not self.mask.any():
            return None
        size = self.mask.shape[0]
        rows, columns = np.flatnonzero(self.mask.any(1)), np.flatnonzero(self.mask.any(0))
        top, left = self.view.to_image(float(columns[0]) - 0.5, float(rows[0]) - 0.5, size)
        bottom, right = self.view.to_image(float(columns[-1]) + 0.5, float(rows[-1]) + 0.5, size)
        extent = 0.65 * max(bottom - top, right - left) + 0.35 * min(bottom - top, right - left)
        extent = max(extent, 0.75 * max(bottom - top, right - left))
        return FieldOfView.around(
            (top + bottom) / 2 + 0.5, (left + right) / 2 + 0.5, context * extent
        )


@torch.inference_mode()
def ask(
    spa: Spa, windows: Windows, clicks: Sequence[Sequence[Click]], tokens: Sequence[int] = (0,)
) -> list[WindowPrediction]:
    """Ask encoded windows what lies at clicks: one prediction for each token, window by window.

    For each window there are as many clicks; those outside of it are left out.  Of the output
    tokens 0 is the answer, the others a part, the thing, the whole.
    """
    size, views, image = spa.config.image_size, windows.views, windows.image
    pairs = list(zip(views, clicks, strict=True))
    points = torch.tensor(
        [[view.to_model(c.row, c.column, size) for c in row] for view, row in pairs]
    ).float()
    labels = torch.tensor([[float(c.label) for c in row] for row in clicks])
    outside = ((points < -0.5) | (points > size - 0.5)).any(dim=2)
    labels = torch.where(outside, -1.0, labels)
    prompt = spa.embed_prompts(points.to(spa.device), labels.to(spa.device))
    logits, quality = spa.decode(image, prompt, None, tokens=tokens)
    scale = logits.shape[-1] / size
    probability = logits.sigmoid().float().cpu().numpy()
    return [
        WindowPrediction(
            view,
            _at_points(logits[i, t], points[i], labels[i], scale),
            float(quality[i, t]),
            probability[i, t],
        )
        for i, view in enumerate(views)
        for t in range(len(tokens))
    ]


def _at_points(logits: Tensor, points: Tensor, labels: Tensor, scale: float) -> BoolArray:
    """Return the connected parts of a mask that hold a positive point, or touch its pixel."""
    mask: BoolArray = (logits > 0).cpu().numpy()
    parts, _ = ndimage.label(mask)
    size = mask.shape[0]
    wanted = set()
    for (x, y), label in zip(points.tolist(), labels.tolist(), strict=True):
        if label == 1:
            row = int(np.clip((y + 0.5) * scale, 0, size - 1))
            column = int(np.clip((x + 0.5) * scale, 0, size - 1))
            near = parts[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            here = parts[row, column]
            wanted |= {here} if here else set(np.unique(near)) - {0}
    return np.isin(parts, list(wanted))


def predictions_in(
    spa: Spa, see: EncodeWindows, views: Sequence[FieldOfView], prompts: Prompts
) -> list[WindowPrediction]:
    """Return what each output token takes the clicks for, view by view, token 0 first."""
    tokens = range(1 + spa.config.multimask_outputs)
    return ask(spa, see(views), [prompts.clicks] * len(views), tokens)


def standing(
    predictions: Sequence[WindowPrediction], prompts: Prompts, shape: tuple[int, int]
) -> float:
    """Return how well a view serves prompts: the best of what it shows, in [0, 1].

    It counts how many clicks a mask agrees with, whether it is whole, and the network's trust.
    """
    clicks = prompts.clicks
    return max(
        sum(prediction.agrees(click) for click in clicks)
        / len(clicks)
        * float(np.clip(prediction.quality, 0.0, 1.0))
        * (1.0 - min(1.0, prediction.cut(shape)))
        for prediction in predictions
    )


def has_edge(sampler: ImageSampler, seen: WindowPrediction) -> bool:
    """Whether the picture itself shows an edge along a mask, or other values inside than outside.

    True of an empty mask, and of one that leaves nothing of its window around it.
    """
    size = seen.mask.shape[0]
    places = np.arange(_EDGE_SIZE) * size // _EDGE_SIZE
    mask = seen.mask[np.ix_(places, places)]
    grey = sampler.read(seen.view, _EDGE_SIZE).mean(axis=2)
    slope = ndimage.gaussian_gradient_magnitude(grey, 1.0)
    edge = ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask)
    if not edge.any() or slope[edge].mean() >= _STEEP * slope.mean():
        return True
    depth = max(3.0, _RIM * mask.sum() ** 0.5)
    inside, outside = (
        np.sort(grey[part & (ndimage.distance_transform_edt(part) <= depth)])
        for part in (mask, ~mask)
    )
    brighter = np.searchsorted(outside, inside).mean() / len(outside)
    return bool(max(brighter, 1 - brighter) >= _APART)


def cuts(view: FieldOfView, mask: LocalMask, shape: tuple[int, int]) -> bool:
    """Whether a view's edge cuts a mask where the image goes on beyond."""
    seen = view.region(shape)
    pixels = mask.within(seen)
    prediction = WindowPrediction(
        FieldOfView(seen.row, seen.column, seen.height, seen.width), pixels, quality=1.0
    )
    return bool(pixels.any()) and prediction.is_cut(shape)


@dataclass(frozen=True, slots=True, eq=False)
class RankedPrediction:
    """An object that a window of the pyramid shows."""

    prediction: WindowPrediction  # what the window shows
    # How likely it is meant, by its extent and place in the window and by its neighbours in the
    # pyramid, before the quality head is believed.
    likely: float

    @property
    def merit(self) -> float:
        """What it counts for before it was looked at alone."""
        return self.likely * float(np.clip(self.prediction.quality, 0.0, 1.0))

    @property
    def at_best(self) -> float:
        """The most that it can count for when it is looked at alone."""
        return self.likely * float(np.clip(self.prediction.quality, 0.0, 1.0) ** 0.5)

    def found_again(self, alone: WindowPrediction, clicks: Sequence[Click]) -> float:
        """Return what it counts for when it was looked at alone, asked for by its own middle.

        A thing is an object if it is found again from there, and meant if it holds the clicks.
        """
        trust = np.clip(alone.quality, 0.0, 1.0)
        whole = 1.0 - min(1.0, 2.0 * alone.border)
        denied = sum(not alone.agrees(click) for click in clicks)
        return self.at_best * float(trust) * whole * float(_DENIED**denied)


def rank_predictions(
    levels: Sequence[Sequence[WindowPrediction]],
    config: FramingConfig,
    expected: SizePrior | None = None,
) -> list[RankedPrediction]:
    """Choose what deserves a second look, at least one, the best first; ``levels`` grow."""
    largest = max(level[0].view.height for level in levels)
    pairs = [_overlaps(level, wider) for level, wider in pairwise(levels)]
    found = []
    for index, level in enumerate(levels):
        near = [pair.max(axis=0) for pair in pairs[max(index - 1, 0) : index]]
        near += [pair.max(axis=1) for pair in pairs[index : index + 1]]
        sizes = likelihoods(level, expected, config)
        for k, (prediction, size) in enumerate(zip(level, sizes, strict=True)):
            agree = sum(float(side[k]) for side in near)
            # Texture looks like small objects; a user zooms in on what is really small.
            extent = np.sqrt(max(prediction.share, 1e-6)) * prediction.view.height / largest
            likely = (config.alone + agree / max(len(near), 1)) * size_preference(prediction.share)
            whole = 1.0 - min(1.0, 2.0 * prediction.border)
            likely *= whole * float(extent**config.size_prior)
            ranked = RankedPrediction(prediction, likely)
            found.append((ranked.merit * float(size), ranked))
    found.sort(key=lambda pair: -pair[0])
    kept: list[RankedPrediction] = []
    for merit, ranked in found:
        if len(kept) == config.looks or (kept and not merit):
            break
        if all(ranked.prediction.iou(other.prediction) < _ALIKE for other in kept):
            kept.append(ranked)
    return kept


def support(predictions: Sequence[WindowPrediction]) -> DoubleArray:
    """Return how far other windows show each object too, (n,).

    It is the mean Dice with what the three that agree best show; ones where there is no other.
    """
    views: dict[FieldOfView, list[int]] = {}
    for index, prediction in enumerate(predictions):
        views.setdefault(prediction.view, []).append(index)
    masks = {v: np.stack([predictions[k].mask for k in mine]) for v, mine in views.items()}
    found = np.zeros((len(predictions), len(views)))
    order = list(views)
    for first, second in combinations(range(len(order)), 2):
        ours, theirs = order[first], order[second]
        dice = dice_across(masks[ours], ours, masks[theirs], theirs)
        found[views[ours], second] = dice.max(axis=1)
        found[views[theirs], first] = dice.max(axis=0)
    others = min(_WITNESSES, len(views) - 1)
    if not others:
        return np.ones(len(predictions))
    return np.asarray(np.sort(found, axis=1)[:, -others:].mean(axis=1))


def likelihoods(
    predictions: Sequence[WindowPrediction], expected: SizePrior | None, config: FramingConfig
) -> DoubleArray:
    """Return how likely each predicted object is of its size, (n,); ones where nothing is known."""
    if expected is None:
        return np.ones(len(predictions))
    return np.array([expected.likelihood(g.area, doubt=config.size_doubt) for g in predictions])


def size_preference(share: float) -> float:
    """Prefer masks that fill 2 % to 45 % of the window; nothing counts at the extremes."""
    if share <= 0.0:
        return 0.0
    low = min(1.0, share / 0.02)
    high = float(np.clip((FILLS + 0.4 - share) / 0.4, 0.0, 1.0))
    return low * high


def _overlaps(first: Sequence[WindowPrediction], second: Sequence[WindowPrediction]) -> DoubleArray:
    """IoU of what one window shows with what another does, (n, m); 0 where a mask is empty."""
    ours, theirs = (np.stack([g.mask for g in level]) for level in (first, second))
    dice = dice_across(ours, first[0].view, theirs, second[0].view)
    seen = np.outer(ours.any(axis=(1, 2)), theirs.any(axis=(1, 2)))
    return np.where(seen, dice / (2 - dice), 0.0)

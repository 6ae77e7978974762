"""What else a user may mean: objects of other views, alternatives of this one, and picks.

A click on a nucleus may mean the nucleus, its cell or the tissue.  The search for a field of
view sees them all; what it does not choose is kept and offered beside the alternatives of the
view it chose.  Picking one moves the view there.

A user who picks one of the masks on show says that what they mean is more like it than like
the others.  How likely that is (:meth:`Choice.log_likelihood`) weighs every mask of the rounds
that follow, samples and objects of other views alike, and all picks on an object count: the
choices narrow down what is meant as clicks do.  The mask that was picked is also shown to the
network, as SAM's mask prompt, so that the next samples are refinements of it.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.special import expit, logit

from napari_spa.core.candidates import (
    Kind,
    Offer,
    choose,
    cluster_samples,
    dice_matrix,
    far_apart,
    levels_of_area,
    log_choice,
)
from napari_spa.core.obedience import NO_EVIDENCE, Evidence
from napari_spa.core.types import BoolArray, Click, DoubleArray, FloatArray
from napari_spa.refine.engine.samples import Samples, prompt_likelihood
from napari_spa.refine.engine.view import FieldOfView

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_spa.refine.engine.config import EngineConfig


@dataclass(frozen=True, slots=True, eq=False)
class Hypothesis:
    """An object that the prompts may mean, as one window saw it."""

    view: FieldOfView  # the window
    # (h, w), uint8, 255 times the probability over the window; zero on other objects.
    levels: NDArray[np.uint8] = field(repr=False)
    quality: float  # how well the network says it sees it, in [0, 1]

    @property
    def probability(self) -> FloatArray:
        """Over the window, (h, w) float32 in [0, 1]."""
        return self.levels.astype(np.float32) / np.float32(255)

    @property
    def mask(self) -> BoolArray:
        """Over the window, (h, w) bool."""
        return self.levels > _HALF

    @property
    def area(self) -> float:
        """Of the mask, in image pixels."""
        return float(self.mask.sum()) * self.view.height * self.view.width / self.levels.size

    def sees(self, evidence: Evidence) -> bool:
        """Whether the window holds the box and the places that are on the object."""
        places = evidence.places[evidence.labels].astype(np.float64)
        if evidence.box is not None:
            places = np.concatenate([places, evidence.box.corners])
        if not len(places):
            return True
        ends = (places.min(axis=0), places.max(axis=0))
        return all(self.view.contains(float(row), float(column)) for row, column in ends)


@dataclass(frozen=True, slots=True, eq=False)
class Framed:
    """Where prompts are looked at, and what else they may mean."""

    view: FieldOfView  # the field of view
    # The middle of the object, where the clicks in that view would mean another one.
    anchor: Click | None = None
    # Objects that windows of other sizes saw, the best first.
    hypotheses: tuple[Hypothesis, ...] = ()


_HALF = 127  # the level from which on a pixel is in the mask: probabilities above one half


def hypothesis(
    view: FieldOfView, probability: FloatArray, mask: BoolArray, quality: float
) -> Hypothesis:
    """Keep what a window saw of one object.

    ``probability`` is ``(h, w)`` float32 over the window, ``mask`` the object's part of what is
    above one half, ``quality`` the predicted IoU.
    """
    levels = np.where(mask, np.maximum(np.round(255 * probability), _HALF + 1), 0)
    beside = ~mask & (probability <= 0.5)  # what is above and not of it is another object
    levels = np.where(beside, np.minimum(np.round(255 * probability), _HALF), levels)
    return Hypothesis(view, levels.astype(np.uint8), float(np.clip(quality, 0.0, 1.0)))


def distinct(
    found: Sequence[Hypothesis],
    count: int,
    overlap: float,
    merit: Callable[[Hypothesis], float] = lambda other: other.quality,
) -> tuple[Hypothesis, ...]:
    """Keep at most ``count`` of what shows different objects, the best first by ``merit``.

    Two of an IoU above ``overlap`` show the same object.
    """
    kept: list[Hypothesis] = []
    for one in sorted(found, key=lambda other: -merit(other)):
        if len(kept) == count:
            break
        if one.mask.any() and all(
            iou(one.mask, one.view, other.mask, other.view) <= overlap for other in kept
        ):
            kept.append(one)
    return tuple(kept)


def thickest(mask: BoolArray, view: FieldOfView, shape: tuple[int, int]) -> Click:
    """Return a click where a mask ``(s, s)`` over a view is thickest; the view's middle if empty.

    It lies in the image, whose rows and columns are ``shape``.
    """
    size = mask.shape[0]
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    if not mask.any():
        y = x = np.intp(size // 2)
    row, column = view.to_image(float(x), float(y), size)
    return Click(float(np.clip(row, 0, shape[0] - 1)), float(np.clip(column, 0, shape[1] - 1)))


def dice_across(
    masks: BoolArray, view: FieldOfView, others: BoolArray, other_view: FieldOfView
) -> DoubleArray:
    """Dice of masks ``(N, h, w)`` over a view with ``(M, h, w)`` over another, ``(N, M)``."""
    if other_view.height * other_view.width < view.height * view.width:
        return dice_across(others, other_view, masks, view).T
    seen, inside = _sampled(others, other_view, view, masks.shape[-1])
    cell = view.height * view.width / masks[0].size
    flat = (masks & inside).reshape(len(masks), -1).astype(np.float32)
    both = flat @ seen.reshape(len(others), -1).astype(np.float32).T * cell
    first = masks.sum(axis=(1, 2)) * cell
    second = others.sum(axis=(1, 2)) * (other_view.height * other_view.width / others[0].size)
    total = first[:, None] + second
    return np.where(total > 0, np.minimum(2 * both / np.maximum(total, 1e-9), 1.0), 1.0)


def iou(mask: BoolArray, view: FieldOfView, other: BoolArray, other_view: FieldOfView) -> float:
    """IoU of two masks over two views, each of shape (h, w), bool."""
    dice = float(dice_across(mask[None], view, other[None], other_view)[0, 0])
    return dice / (2 - dice)


def _sampled(
    masks: BoolArray, view: FieldOfView, onto: FieldOfView, size: int
) -> tuple[BoolArray, BoolArray]:
    """Sample masks over a view at the pixels of another; where they lie in it."""
    steps = (np.arange(size) + 0.5) / size
    h, w = masks.shape[1:]
    y = np.floor((onto.row + steps * onto.height - view.row) / view.height * h).astype(int)
    x = np.floor((onto.column + steps * onto.width - view.column) / view.width * w).astype(int)
    inside: BoolArray = np.outer((y >= 0) & (y < h), (x >= 0) & (x < w))
    rows, columns = np.clip(y, 0, h - 1), np.clip(x, 0, w - 1)
    seen: BoolArray = masks.take(rows, axis=1).take(columns, axis=2) & inside
    return seen, inside


def framed_to_arrays(framed: Framed) -> dict[str, NDArray[np.generic]]:
    """Bring a choice into arrays, for a cache."""
    anchor, others = framed.anchor, framed.hypotheses
    place = [] if anchor is None else [(anchor.row, anchor.column)]
    windows = [(*astuple(other.view), other.quality) for other in others]
    return {
        "view": np.array(astuple(framed.view)),
        "anchor": np.array(place, dtype=np.float64).reshape(-1, 2),
        "windows": np.array(windows, dtype=np.float64).reshape(-1, 5),
        "levels": np.array([other.levels for other in others], dtype=np.uint8),
    }


def framed_from_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> Framed:
    """Read a choice from a cache."""
    place, seen = arrays["anchor"].tolist(), zip(arrays["windows"], arrays["levels"], strict=True)
    others = tuple(
        Hypothesis(FieldOfView(*window[:4].tolist()), np.array(levels, np.uint8), float(window[4]))
        for window, levels in seen
    )
    view = FieldOfView(*arrays["view"].tolist())
    return Framed(view, Click(*place[0]) if place else None, others)


_SUREST = 8.0  # logits of a mask prompt are clipped to this, as far as the network's own ones reach


@dataclass(frozen=True, slots=True, eq=False)
class Option:
    """One mask that may be offered."""

    view: FieldOfView  # where it lies
    probability: FloatArray  # (h, w), over the view
    resized: bool = False  # whether the sample was brought to the size of the recommendation
    hypothesis: Hypothesis | None = None  # the object of another view that it is

    @property
    def mask(self) -> BoolArray:
        """Over the view, (h, w) bool."""
        return self.probability > 0.5

    def logits_over(self, view: FieldOfView, size: int) -> FloatArray:
        """Return its logits over a view, (size, size) float32; beyond its own is background."""
        from scipy.ndimage import map_coordinates

        level = self.probability
        if view != self.view or level.shape != (size, size):
            steps = (np.arange(size) + 0.5) / size
            h, w = level.shape
            rows = (view.row + steps * view.height - self.view.row) / self.view.height * h - 0.5
            left = view.column - self.view.column
            columns = (left + steps * view.width) / self.view.width * w - 0.5
            places = np.meshgrid(rows, columns, indexing="ij")
            level = map_coordinates(level, places, order=1, mode="constant")
        logits = logit(np.clip(level.astype(np.float64), 1e-6, 1 - 1e-6))
        return np.clip(logits, -_SUREST, _SUREST).astype(np.float32)


def agreement(options: Sequence[Option], masks: BoolArray, view: FieldOfView) -> DoubleArray:
    """Return the Dice of masks (N, h, w) over a view with each of K options, (N, K)."""
    together: dict[tuple[FieldOfView, tuple[int, ...]], list[int]] = {}
    for k, option in enumerate(options):
        together.setdefault((option.view, option.probability.shape), []).append(k)
    found = np.empty((len(masks), len(options)))
    for (where, shape), places in together.items():
        theirs = np.stack([options[k].mask for k in places])
        if where == view and shape == masks.shape[1:]:
            found[:, places] = dice_matrix(masks, theirs)
        else:
            found[:, places] = dice_across(masks, view, theirs, where)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """A pick among what was on show."""

    shown: tuple[Option, ...]  # all that could be picked
    index: int  # which of them was

    @property
    def picked(self) -> Option:
        """The mask that was picked."""
        return self.shown[self.index]

    def log_likelihood(self, masks: BoolArray, view: FieldOfView) -> DoubleArray:
        """Return the log probability of this pick if each mask over a view were meant, (N,)."""
        return log_choice(agreement(self.shown, masks, view), self.index)


@dataclass(frozen=True, slots=True, eq=False)
class UserInput:
    """All that a user said about an object so far."""

    clicks: tuple[Click, ...]  # their own, in image pixels
    evidence: Evidence  # what they said pixel by pixel, in image pixels
    choices: tuple[Choice, ...] = ()  # their picks

    def log_likelihood(self, probabilities: FloatArray, view: FieldOfView) -> DoubleArray:
        """Return how likely it is if each map (N, h, w) over a view were meant, (N,)."""
        total = prompt_likelihood(probabilities, view, self.clicks, self.evidence.box)
        for choice in self.choices:
            total = total + choice.log_likelihood(probabilities > 0.5, view)
        return total

    def log_likelihood_of(self, other: Hypothesis) -> float:
        """Return how likely it is if an object of another view were meant."""
        maps, box = other.probability[None], self.evidence.box
        total = float(prompt_likelihood(maps, other.view, self.clicks, box)[0])
        return sum((_chosen(choice, other) for choice in self.choices), total)


@lru_cache(maxsize=512)
def _chosen(choice: Choice, other: Hypothesis) -> float:
    """Return the log probability of a pick if an object were meant; both live for many rounds."""
    return float(choice.log_likelihood(other.mask[None], other.view)[0])


@lru_cache(maxsize=2048)
def dice_between(one: Hypothesis, other: Hypothesis) -> float:
    """Return the Dice of two objects of other views, which live for many rounds."""
    option = Option(other.view, other.probability, hypothesis=other)
    return float(agreement([option], one.mask[None], one.view)[0, 0])


NO_INPUT = UserInput((), NO_EVIDENCE)


_SHAPES = 3  # so many shapes of the recommendation's size are considered
_NESTED, _SIMILAR = 0.95, 0.5
"""A mask that holds so much of another, or lies in it so far, and is so alike in extent, is
the other grown or shrunk."""


@dataclass(frozen=True, slots=True, eq=False)
class Alternatives:
    """What was chosen to be offered."""

    options: tuple[Option, ...]  # at most as many as there are places
    weights: tuple[float, ...]  # how likely each is what is meant rather than the others, sum 1
    # For each the samples that it stands for, the nearest first; none for other objects.
    members: tuple[NDArray[np.int64], ...]
    labels: NDArray[np.int64]  # (N,), the option that each sample is nearest to


def grouped(samples: Samples, config: EngineConfig) -> Alternatives:
    """Offer one member of each of K groups of the samples, as the paper does."""
    maps = samples.probabilities
    groups = cluster_samples(maps, config.candidates, shares=samples.shares)
    options = tuple(Option(samples.view, maps[k]) for k in groups.representatives)
    members = tuple(
        _nearest(maps, np.flatnonzero(groups.labels == group), maps[k], config.focus)
        for group, k in enumerate(groups.representatives)
    )
    return Alternatives(options, groups.weights, members, groups.labels)


def covering(
    samples: Samples,
    recommended: BoolArray,
    hypotheses: Sequence[tuple[Hypothesis, float]],
    config: EngineConfig,
) -> Alternatives:
    """Offer the few masks of which the best is most likely to be what is meant.

    ``recommended`` is ``(h, w)`` bool over the samples' view; hypotheses are objects of other
    views, with how likely each is rather than the view's own.
    """
    maps, view = samples.probabilities, samples.view
    options = [*grouped(samples, config).options, *_shapes(samples, recommended)]
    own = len(options)
    options += [Option(h.view, h.probability, hypothesis=h) for h, _ in hypotheses]
    hard = maps > 0.5
    alike = [agreement(options, hard, view)]
    central = dice_matrix(hard, recommended[None])[:, 0]
    shares = samples.shares * (1 - sum(share for _, share in hypotheses))
    for other, share in hypotheses:
        mask = other.mask[None]
        among = [[dice_between(other, one) for one, _ in hypotheses]]
        alike.append(np.hstack([agreement(options[:own], mask, other.view), among]))
        near = dice_across(mask, other.view, recommended[None], view)[0, 0]
        central, shares = np.append(central, near), np.append(shares, share)
    meant = np.concatenate(alike)
    with_recommended = agreement(options, recommended[None], view)[0]
    kinds = [
        _kind(option, recommended, view, dice)
        for option, dice in zip(options, with_recommended.tolist(), strict=True)
    ]
    nested = _nested(options, meant[len(maps) :])
    chosen = choose(Offer(meant, central, shares, kinds, nested), config.candidates)
    nearest = meant[:, chosen].argmax(axis=1)  # of each mask that may be meant
    weights = np.bincount(nearest, shares, minlength=len(chosen))
    near = [k for k, index in enumerate(chosen) if options[index].hypothesis is None]
    labels = np.full(len(maps), -1, dtype=np.int64)
    if near:
        labels = np.array(near)[meant[: len(maps)][:, [chosen[k] for k in near]].argmax(axis=1)]
    members = [np.empty(0, dtype=np.int64)] * len(chosen)
    for k in near:
        mine, most = np.flatnonzero(labels == k), config.focus
        if not len(mine):
            mine, most = np.arange(len(maps)), 3
        members[k] = _nearest(maps, mine, options[chosen[k]].probability, most)
    total = float(weights.sum())
    return Alternatives(
        tuple(options[index] for index in chosen),
        tuple(float(w) / total for w in weights),
        tuple(members),
        labels,
    )


def weighed(
    hypotheses: Sequence[Hypothesis], mine: DoubleArray, said: UserInput, config: EngineConfig
) -> list[tuple[Hypothesis, float]]:
    """Weigh objects of other views against the present view by all that was said.

    ``mine``, (N,), is how likely what was said is for each sample of the present view, as a
    logarithm.  Returned are those that the prompts do not rule out, with how likely each is.
    """
    here = float(np.exp(mine).mean())
    found = []
    for other in hypotheses:
        if other.sees(said.evidence):
            likely = float(np.exp(said.log_likelihood_of(other)))
            found.append((other, config.elsewhere * other.quality * likely))
    total = here + sum(weight for _, weight in found)
    return [(other, weight / total) for other, weight in found]


def _shapes(samples: Samples, recommended: BoolArray) -> list[Option]:
    """Bring samples to the recommendation's size; return those that differ most in shape."""
    area = int(recommended.sum())
    if not 0 < area < recommended.size:
        return []
    levels = levels_of_area(samples.logits, area)
    level = samples.logits - levels[:, None, None].astype(np.float32)
    distance = 1.0 - dice_matrix(level > 0, level > 0)
    mine = 1.0 - dice_matrix(level > 0, recommended[None])[:, 0]
    chosen = far_apart(distance, samples.shares * (1e-3 + mine), _SHAPES)
    return [Option(samples.view, expit(level[k]), resized=True) for k in chosen]


def _kind(option: Option, recommended: BoolArray, view: FieldOfView, dice: float) -> Kind:
    """Tell the recommendation grown or shrunk from another shape and another object, by Dice."""
    mask = option.mask
    here = float(recommended.sum()) / recommended.size * view.height * view.width
    there = float(mask.sum()) / mask.size * option.view.height * option.view.width
    within = dice * (here + there) / 2 / max(min(here, there), 1e-9)
    if dice / (2 - dice) >= _SIMILAR:
        return "size" if within > _NESTED else "shape"
    return "object"


def _nested(options: Sequence[Option], across: DoubleArray) -> BoolArray:
    """Tell of which two options one lies in the other, (P, P).

    ``across`` of shape (H, P) is the Dice of the last H of them, other objects, with all.
    """
    here = np.stack([option.mask for option in options[: len(options) - len(across)]])
    dice = np.hstack([np.vstack([dice_matrix(here, here), across[:, : len(here)]]), across.T])
    cells = [o.view.height * o.view.width / o.probability.size for o in options]
    areas = np.array([o.mask.sum() * cell for o, cell in zip(options, cells, strict=True)])
    smaller = np.maximum(np.minimum.outer(areas, areas), 1e-9)
    return np.asarray(dice * np.add.outer(areas, areas) / 2 > _NESTED * smaller)


def _nearest(
    maps: FloatArray, members: NDArray[np.int64], to: FloatArray, most: int
) -> NDArray[np.int64]:
    """Return the samples nearest to a map, the nearest first."""
    distance = ((maps[members] - to) ** 2).sum(axis=(1, 2))
    return members[np.argsort(distance, kind="stable")][:most]

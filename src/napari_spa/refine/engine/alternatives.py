"""What is offered beside the recommendation: alternatives in size, in shape, other objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from napari_spa.core.alternatives import (
    Kind,
    Offer,
    choose,
    dice_matrix,
    far_apart,
    levels_of_area,
)
from napari_spa.core.candidates import cluster_samples
from napari_spa.refine.engine.choices import Option, agreement, dice_between
from napari_spa.refine.engine.hypotheses import dice_across

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_spa.core.types import BoolArray, DoubleArray, FloatArray
    from napari_spa.refine.engine.choices import UserInput
    from napari_spa.refine.engine.config import EngineConfig
    from napari_spa.refine.engine.hypotheses import Hypothesis
    from napari_spa.refine.engine.samples import Samples
    from napari_spa.refine.engine.view import FieldOfView

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
    groups = cluster_samples(maps, config.candidates, shares=samples.shares, seed=0)
    options = tuple(Option(samples.view, maps[k], k) for k in groups.representatives)
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
    labels = (
        np.array(near)[meant[: len(maps)][:, [chosen[k] for k in near]].argmax(axis=1)]
        if near
        else np.full(len(maps), -1)
    )
    members = []
    for k, index in enumerate(chosen):
        mine = np.flatnonzero(labels == k)
        if options[index].hypothesis is None:
            mine = mine if len(mine) else np.arange(len(maps))
            few = config.focus if (labels == k).any() else 3
            members.append(_nearest(maps, mine, options[index].probability, few))
        else:
            members.append(np.empty(0, dtype=np.int64))
    total = float(weights.sum())
    return Alternatives(
        tuple(options[index] for index in chosen),
        tuple(float(w) / total for w in weights),
        tuple(members),
        labels.astype(np.int64),
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
    return [Option(samples.view, expit(level[k]), int(k), resized=True) for k in chosen]


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
    nearest: NDArray[np.int64] = members[np.argsort(distance, kind="stable")][:most]
    return nearest

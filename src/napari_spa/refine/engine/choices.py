"""What picks say about what is meant: more than which latents they came from.

A user who picks one of the masks on show says that what they mean is more like it than like
the others.  How likely that is (:meth:`Choice.log_likelihood`) weighs every mask of the rounds
that follow, samples and objects of other views alike, and all picks on an object count: the
choices narrow down what is meant as clicks do.  The mask that was picked is also shown to the
network, as SAM's mask prompt, so that the next samples are refinements of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import logit

from napari_spa.core.alternatives import dice_matrix, log_choice
from napari_spa.core.obedience import NO_EVIDENCE
from napari_spa.refine.engine.hypotheses import dice_across
from napari_spa.refine.engine.samples import prompt_likelihood

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_spa.core.obedience import Evidence
    from napari_spa.core.types import BoolArray, Click, DoubleArray, FloatArray
    from napari_spa.refine.engine.hypotheses import Hypothesis
    from napari_spa.refine.engine.view import FieldOfView

_SUREST = 8.0  # logits of a mask prompt are clipped to this, as far as the network's own ones reach


@dataclass(frozen=True, slots=True, eq=False)
class Option:
    """One mask that may be offered."""

    view: FieldOfView  # where it lies
    probability: FloatArray  # (h, w), over the view
    sample: int | None = None  # the sample that it is, or was made of
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

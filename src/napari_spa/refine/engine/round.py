"""One round: all that decides it, what it shows, and what each pick would mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import logit

from napari_spa.core.candidates import representative_point
from napari_spa.core.types import (
    Click,
    FloatArray,
    LocalMask,
    MixtureParameters,
    Prompts,
    Proposal,
)
from napari_spa.refine.engine.alternatives import (
    NO_INPUT,
    Alternatives,
    Choice,
    Hypothesis,
    UserInput,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_spa.model.heads import Draws
    from napari_spa.refine.engine.samples import Reach, Samples
    from napari_spa.refine.engine.view import FieldOfView


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """All that decides a round, beside the image."""

    view: FieldOfView  # field of view
    prompts: Prompts  # all prompts so far, in image pixels
    mixture: MixtureParameters  # the preference distribution
    number: int  # number of the round, from 1
    seed: int  # seed of everything random in this round
    said: UserInput = NO_INPUT  # by the user: clicks, what is shown obeys pixel by pixel, and picks
    picks: int = 0  # how often a candidate was picked
    # Where on the size axis the recommendation is to stand; None where the mixture says it.
    size: float | None = None
    hypotheses: tuple[Hypothesis, ...] = ()  # what else the prompts may mean
    given: LocalMask | None = None  # what is recommended, pixel by pixel, whatever the samples say

    def samples_as(self, other: Asked) -> bool:
        """Whether another round draws and decodes the same."""
        return (
            (self.view, self.seed) == (other.view, other.seed)
            and self.prompts is other.prompts
            and self.mixture is other.mixture
            and self.said.choices is other.said.choices
        )


@dataclass(frozen=True, slots=True, eq=False)
class Feedback:
    """What a pick of one candidate would carry to the next round."""

    latents: NDArray[np.float64]  # (n, D), latents of its group
    logits: FloatArray  # (4h, 4w), its mask logits
    point: Click | None  # its representative point
    choice: Choice  # the pick, among what is on show

    @property
    def hypothesis(self) -> Hypothesis | None:
        """The object of another view that it is."""
        return self.choice.picked.hypothesis


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """One round: what is shown, and what each pick would mean."""

    proposal: Proposal  # what is shown
    feedback: tuple[Feedback, ...]  # one for each candidate
    reach: Reach  # what the samples can say at all
    # How far the samples' boundaries were moved out to bring the recommendation to its size, in
    # units of a boundary offset.
    shift: float = 0.0
    samples: Samples | None = None  # of round 1, which say how far out the user wants it

    @property
    def nbytes(self) -> int:
        """Bytes it occupies."""
        shown = self.proposal
        maps = shown.local_probability.nbytes + sum(c.local_mask.nbytes for c in shown.candidates)
        maps += self.reach.on.nbytes + self.reach.off.nbytes
        if self.samples is not None:
            maps += self.samples.logits.nbytes + self.samples.probabilities.nbytes
        return maps + sum(f.latents.nbytes + f.logits.nbytes for f in self.feedback)


def feedback_of(
    samples: Samples,
    draws: Draws,
    alternatives: Alternatives,
    order: Sequence[int],
    *,
    size_channel: int | None,
    shape: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[Feedback, ...]:
    """Say what a pick of each alternative would carry to the next round, in the order shown.

    ``draws`` are the latents that the samples were decoded from, ``size_channel`` the one of their
    channels that holds the size, where one does; ``rng`` draws the representative points.
    """
    shown = tuple(alternatives.options[k] for k in order)
    found = []
    for index, (k, option) in enumerate(zip(order, shown, strict=True)):
        latents = draws.latents[alternatives.members[k]].copy()
        if option.resized and size_channel is not None:  # it says nothing about size
            latents[:, size_channel] = samples.shares @ draws.latents[:, size_channel]
        point = None
        if option.hypothesis is None:
            place = representative_point(
                samples.probabilities, alternatives.labels == k, option.probability, rng
            )
            point = None if place is None else _click(samples, place, shape)
        picked = logit(np.clip(option.probability, 1e-6, 1 - 1e-6)).astype(np.float32)
        found.append(Feedback(latents, picked, point, Choice(shown, index)))
    return tuple(found)


def _click(samples: Samples, place: tuple[int, int, int], shape: tuple[int, int]) -> Click:
    """Bring a row, column and label on the samples' grid into the image."""
    row, column = samples.view.to_image(place[1], place[0], samples.probabilities.shape[-1])
    return Click(
        float(np.clip(row, 0, shape[0] - 1)), float(np.clip(column, 0, shape[1] - 1)), place[2]
    )

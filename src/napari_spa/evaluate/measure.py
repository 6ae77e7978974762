"""What is measured in each round."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_spa.core.metrics import dice, iou, pairwise_dice

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_spa.core.types import BoolArray, Proposal
    from napari_spa.evaluate.methods import Turn

PLAUSIBLE = 0.5
"""A candidate is plausible when its Dice with some rater is above this."""


@dataclass(frozen=True, slots=True)
class Row:
    """One round of one game.

    Attributes
    ----------
    image, user, method, head : str
        Who played what with which head.
    target : int
        Number of the object in its image.
    round : int
        1, 2, ...
    dice, iou : float
        Of the recommended mask with the user's own.
    best_dice : float
        Of the candidate nearest to the user's own mask.
    pairwise_dice : float
        Median over pairs of candidates; NaN with fewer than two.
    plausible : float
        Share of candidates whose Dice with some rater is above 0.5; NaN without any.
    candidates : int
        Number on offer.
    uncertainty : float
        As the model says.
    seconds : float
        To compute the round.
    picked : int or None
        What the user picked then.
    """

    image: str
    target: int
    user: str
    method: str
    head: str
    round: int
    dice: float
    iou: float
    best_dice: float
    pairwise_dice: float
    plausible: float
    candidates: int
    uncertainty: float
    seconds: float
    picked: int | None


def measure_turns(
    turns: Sequence[Turn],
    truth: BoolArray,
    raters: BoolArray,
    rounds: int,
    label: Callable[..., Row],
) -> list[Row]:
    """Measure a game; one that ended early keeps its last mask.

    Parameters
    ----------
    turns : sequence of Turn
        At least one.
    truth : ndarray of shape (H, W)
        bool, the user's own mask.
    raters : ndarray of shape (R, H, W)
        bool, all raters' masks.
    rounds : int
        Number of rows.
    label : callable
        Makes a row of the measured values.

    Returns
    -------
    list of Row
    """
    rows = [
        label(
            round=number,
            seconds=turn.seconds,
            picked=turn.picked,
            **_measure(turn.proposal, truth, raters),
        )
        for number, turn in enumerate(turns, start=1)
    ]
    while len(rows) < rounds:
        rows.append(replace(rows[-1], round=len(rows) + 1, seconds=0.0, picked=None))
    return rows


def _measure(proposal: Proposal, truth: BoolArray, raters: BoolArray) -> dict[str, float | int]:
    mask = proposal.mask
    offered = [candidate.mask for candidate in proposal.candidates]
    agreement = np.array([[dice(each, rater) for rater in raters] for each in offered])
    between = pairwise_dice(offered)
    return {
        "dice": dice(mask, truth),
        "iou": iou(mask, truth),
        "best_dice": max((dice(each, truth) for each in offered), default=dice(mask, truth)),
        "pairwise_dice": float(np.median(between)) if between else float("nan"),
        "plausible": float((agreement.max(axis=1) > PLAUSIBLE).mean()) if offered else float("nan"),
        "candidates": len(offered),
        "uncertainty": proposal.uncertainty,
    }

"""How good a round's recommendation probably is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_spa.core.obedience import box_pixels, values_at
from napari_spa.core.quality import read_signs
from napari_spa.core.types import Region
from napari_spa.refine.engine.hypotheses import dice_across
from napari_spa.refine.engine.samples import SampleGrid, Samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_spa.core.obedience import Evidence
    from napari_spa.core.quality import Calibration, Signs
    from napari_spa.core.types import BoolArray, Box, Proposal
    from napari_spa.model.spa import SpaConfig
    from napari_spa.refine.engine.hypotheses import Hypothesis

_TINY = 4.0  # binary logarithm of an extent in pixels below which outlines are coarse


def signs_of(
    samples: Samples,
    others: Sequence[tuple[Hypothesis, float]],
    evidence: Evidence,
    config: SpaConfig,
    shape: tuple[int, int],
) -> dict[str, float]:
    """Read what a round shows about its own quality.

    ``others`` are objects of other views, with how likely each is meant rather than the view's
    own.  Returned are all of :data:`napari_spa.core.quality.DIRECTIONS` but the numbers of acts.
    """
    view = samples.view
    mean, threshold = samples.mean(config)
    mask = mean > threshold
    inner = np.array(
        [
            view.row > 0,
            view.row + view.height < shape[0],
            view.column > 0,
            view.column + view.width < shape[1],
        ]
    )
    signs = read_signs(samples.probabilities, samples.shares, mean, threshold, inner)
    iou = float(np.clip(samples.shares @ samples.quality, 0.0, 1.0))
    leading = 1.0 - sum(share for _, share in others)
    agreeing = leading
    for other, share in others:
        found = dice_across(other.mask[None], other.view, mask[None], view)
        agreeing += share * float(found[0, 0])
    extent = np.sqrt(mask.mean() * view.height * view.width)
    grid = SampleGrid(view, mean.shape[-1])
    signs |= {
        "network": 2 * iou / (1 + iou),
        "leading": leading,
        "rivals": agreeing,
        "kept": _kept(mean, threshold, grid, evidence),
        "tiny": max(0.0, _TINY - float(np.log2(max(extent, 1.0)))),
        "box": float(evidence.box is not None),
    }
    return signs


def appraised(proposal: Proposal, signs: Signs, calibration: Calibration | None) -> Proposal:
    """Return a proposal with its quality: calibrated, or how far the samples agree."""
    expected = signs["agreement"] if calibration is None else calibration.expect(signs)
    return replace(
        proposal,
        uncertainty=float(np.clip(1.0 - expected, 0.0, 1.0)),
        calibrated=calibration is not None,
        signs=signs,
    )


def _kept(mean: np.ndarray, threshold: float, grid: SampleGrid, evidence: Evidence) -> float:
    """Return how much of what was said the mean agrees with before it is corrected."""
    kept = 1.0
    if len(evidence.places):
        there = values_at(mean[None], grid.places(evidence.places))[0] > threshold
        kept = float((there == evidence.labels).mean())
    if evidence.box is not None:
        kept *= _overlap(mean > threshold, grid.box(evidence.box))
    return kept


def _overlap(mask: BoolArray, box: Box) -> float:
    """IoU of a mask's bounding box with a box on the same grid."""
    inside = np.zeros(mask.shape, dtype=bool)
    inside[box_pixels(box, (mask.shape[0], mask.shape[1]))] = True
    bounds = np.zeros(mask.shape, dtype=bool)
    bounds[Region.bounding(mask).slices] = True
    return float((inside & bounds).sum() / max((inside | bounds).sum(), 1))

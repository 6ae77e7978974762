"""From sampled logits of a view to what is shown: full-resolution masks and differences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.special import expit
from torch.nn import functional

from napari_spa.core.metrics import disagreement
from napari_spa.core.types import Candidate, FloatArray, Proposal

if TYPE_CHECKING:
    from napari_spa.core.candidates import Clusters
    from napari_spa.model.spa import SpaConfig
    from napari_spa.refine.engine.view import FieldOfView


def build_proposal(
    logits: FloatArray,
    probabilities: FloatArray,
    clusters: Clusters,
    *,
    config: SpaConfig,
    view: FieldOfView,
    shape: tuple[int, int],
    number: int,
) -> tuple[Proposal, list[int]]:
    """Bring the mean and the representatives to full resolution and compare them.

    Parameters
    ----------
    logits, probabilities : ndarray of shape (N, 4h, 4w)
        float32, the samples over the view.
    clusters : Clusters
        Their groups.
    config : SpaConfig
        Says what is averaged, and its threshold.
    view : FieldOfView
        Where the samples lie.
    shape : (int, int)
        Rows and columns of the image.
    number : int
        Of the round.

    Returns
    -------
    proposal : Proposal
    order : list of int
        The group of each candidate.
    """
    region = view.region(shape)
    if config.rules.mean_of == "logit":
        # A threshold on the mean logit is one on its sigmoid: the map stays in [0, 1].
        mean, threshold = expit(logits.mean(axis=0)), float(expit(config.rules.threshold))
    else:
        mean, threshold = probabilities.mean(axis=0), config.rules.threshold
    maps = np.concatenate([mean[None], probabilities[list(clusters.representatives)]])
    full = resize_to_region(maps.astype(np.float32), view, shape)
    recommended = full[0] > threshold
    offered = [
        Candidate(full[1 + k] > 0.5, recommended, region, shape, weight)
        for k, weight in enumerate(clusters.weights)
    ]
    order = _distinct_by_area(offered)
    proposal = Proposal(
        local_probability=full[0].copy(),  # alone: a view would keep every map alive
        region=region,
        shape=shape,
        threshold=threshold,
        uncertainty=disagreement(probabilities, mean > threshold),
        round=number,
        candidates=tuple(offered[k] for k in order),
    )
    return proposal, order


def _distinct_by_area(candidates: list[Candidate]) -> list[int]:
    """Order candidates by signed area difference; leave out equal masks."""
    order: list[int] = []
    for k in sorted(range(len(candidates)), key=lambda k: int(candidates[k].local_mask.sum())):
        mask = candidates[k].local_mask
        if not any(np.array_equal(mask, candidates[other].local_mask) for other in order):
            order.append(k)
    return order


def resize_to_region(maps: FloatArray, view: FieldOfView, shape: tuple[int, int]) -> FloatArray:
    """Resize probability maps of a view to the image pixels under it (bilinear).

    Parameters
    ----------
    maps : ndarray of shape (K, h, w)
        float32 over the view.
    view : FieldOfView
        Where they lie.
    shape : (int, int)
        Rows and columns of the image.

    Returns
    -------
    ndarray of shape (K, region.height, region.width)
        float32.
    """
    region = view.region(shape)
    rows = (torch.arange(region.height) + region.row + 0.5 - view.row) / view.height * 2 - 1
    columns = (torch.arange(region.width) + region.column + 0.5 - view.column) / view.width * 2 - 1
    y, x = torch.meshgrid(rows.float(), columns.float(), indexing="ij")
    grid = torch.stack([x, y], dim=-1)[None]
    out = functional.grid_sample(
        torch.from_numpy(maps)[None], grid, padding_mode="border", align_corners=False
    )
    result: FloatArray = out[0].numpy()
    return result

"""Packed neurites for the EM stack: who owns each voxel, and how deep it lies inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sample_stacks.fields import Field, smooth_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHAPE = (30, 256, 256)
_NEURITES, _SEEDS = 30, 72
_REACH = 85.0  # pixels beyond which a seed does not matter
_ROUND = 190.0  # softness of corners, in square pixels
_OUTSIDE = 45.0  # seeds lie up to so many pixels outside the picture


@dataclass(frozen=True, slots=True, eq=False)
class Neurites:
    """A block of packed neurites.

    Attributes
    ----------
    y, x : ndarray of shape (Z, Y, X)
        float32, where each voxel lies in the tissue, in pixels: bent, and shifted from
        slice to slice as sections are.
    owner : ndarray of shape (Z, Y, X)
        uint8, which neurite.
    depth : ndarray of shape (Z, Y, X)
        float32, pixels to the middle of the nearest membrane.
    drift : ndarray of shape (Z, 2)
        float32, how far the tissue has moved along y and x since the first slice.
    """

    y: Field
    x: Field
    owner: NDArray[np.uint8]
    depth: Field
    drift: Field


def grow_neurites(rng: np.random.Generator) -> Neurites:
    """Fill the block with neurites that run obliquely through it.

    Each is the union of the Voronoi cells of a few seeds that wander from slice to slice.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    Neurites
    """
    slices, rows, columns = SHAPE
    jitter = rng.normal(0, 0.9, (2, slices)).astype(np.float32)
    grid = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    y, x = (
        axis.astype(np.float32)
        + shift[:, None, None]
        + np.float32(9) * smooth_noise(rng, SHAPE, (4, 6, 6))
        + np.float32(2.2) * smooth_noise(rng, SHAPE, (6, 17, 17))
        for axis, shift in zip(grid, jitter, strict=True)
    )
    seeds, groups, drift = _seeds(rng)
    owner = np.empty(SHAPE, np.uint8)
    depth = np.empty(SHAPE, np.float32)
    for z in range(slices):
        owner[z], depth[z] = _cells(y[z], x[z], seeds[z], groups)
    return Neurites(y, x, owner, depth, drift)


def _seeds(rng: np.random.Generator) -> tuple[Field, NDArray[np.intp], Field]:
    """Seeds (Z, S, 2), the neurite of each (S,), ascending, and their common drift (Z, 2)."""
    slices, rows, columns = SHAPE
    low, high = np.full(2, -_OUTSIDE), np.array([rows, columns]) + _OUTSIDE
    start = rng.uniform(low, high, (_SEEDS, 2))
    for _ in range(3):  # apart from each other, as cells of like size are
        gap = start[:, None] - start[None]
        distance = np.hypot(gap[..., 0], gap[..., 1]) + np.eye(_SEEDS) * 1e3
        push = np.clip(30 - distance, 0, None)[..., None] * gap / distance[..., None]
        start = np.clip(start + 0.35 * push.sum(axis=1), low, high)
    middles = start[rng.choice(_SEEDS, _NEURITES, replace=False)]
    gap = start[:, None] - middles[None]
    group = np.hypot(gap[..., 0], gap[..., 1]).argmin(axis=1)
    order = np.argsort(group, kind="stable")
    z = np.arange(slices)[:, None]
    drift = z * rng.uniform(-0.7, 0.7, (1, 2))
    wander = rng.normal(0, 0.5, (1, _SEEDS, 2)) * z[..., None]
    wander = wander + rng.normal(0, 0.35, (1, _NEURITES, 2))[:, group] * z[..., None]
    seeds = start[None] + drift[:, None] + wander - wander[slices // 2]
    return seeds[:, order].astype(np.float32), group[order], drift.astype(np.float32)


def _cells(
    y: Field, x: Field, seeds: Field, groups: NDArray[np.intp]
) -> tuple[NDArray[np.uint8], Field]:
    """Owner of each pixel of a slice, and its distance to the nearest other's cell.

    Distances to seeds are joined by a soft minimum, ``-t log sum exp(-d^2 / t)``, which
    rounds the corners; its gradient points to the seeds' weighted mean.
    """
    mine, others = np.zeros((2, 3, *y.shape), np.float32)  # weights; weights times y, x
    owner = np.zeros(y.shape, np.uint8)
    for group in np.unique(groups):
        members = seeds[groups == group]
        low = np.maximum(members.min(axis=0) - _REACH, 0).astype(int)
        high = np.maximum(members.max(axis=0) + _REACH, 0).astype(int)
        box = (slice(low[0], high[0]), slice(low[1], high[1]))
        owned = np.zeros((3, *y[box].shape), np.float32)
        for row, column in members:
            weight = np.square(y[box] - row)
            weight += np.square(x[box] - column)
            weight *= np.float32(-1 / _ROUND)
            np.exp(weight, out=weight)
            owned[0] += weight
            owned[1] += weight * row
            owned[2] += weight * column
        wins = owned[0] > mine[0][box]
        owner[box][wins] = group
        others[:, *box] += np.where(wins, mine[:, *box], owned)
        np.copyto(mine[:, *box], owned, where=wins)
    mine[0] = np.maximum(mine[0], np.float32(1e-30))
    others[0] = np.maximum(others[0], np.float32(1e-30))
    gap = mine[1:] / mine[0] - others[1:] / others[0]
    depth = np.float32(0.5 * _ROUND) * np.log(mine[0] / others[0])
    depth /= np.hypot(gap[0], gap[1]) + np.float32(1)
    return owner, np.maximum(depth, 0)

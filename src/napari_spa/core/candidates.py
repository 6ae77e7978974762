"""Groups of samples: the candidates on offer, and a point that tells one from the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_spa.core.types import BoolArray, FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Groups of samples."""

    labels: NDArray[np.int64]  # (N,), the group of each sample, ordered by mean area
    representatives: tuple[int, ...]  # of each group the sample nearest to its centre
    weights: tuple[float, ...]  # of each group its share of the samples


def gram_coordinates(probabilities: FloatArray) -> NDArray[np.float64]:
    """Coordinates of N maps ``(N, h, w)`` in the at most N - 1 dimensions in which they differ.

    Rows of ``U S`` of the centred Gram matrix, ``(N, N)``; distances, and so K-means labels, are
    the same as between the maps themselves.
    """
    flat = probabilities.reshape(len(probabilities), -1)
    flat = flat - flat.mean(axis=0)
    values, vectors = np.linalg.eigh((flat @ flat.T).astype(np.float64))
    coordinates: NDArray[np.float64] = vectors * np.sqrt(np.maximum(values, 0.0))
    return coordinates


def cluster_samples(
    probabilities: FloatArray,
    count: int,
    *,
    shares: NDArray[np.float64] | None = None,
    seed: int = 0,
) -> Clusters:
    """Group sampled maps by K-means and choose a representative of each group.

    Groups are ordered by the area of their representative, smallest first, so that a
    place on the screen keeps its meaning from round to round.  Fewer distinct masks than
    ``count`` give fewer groups; two groups never have the same representative mask.

    Parameters
    ----------
    probabilities : ndarray of shape (N, h, w)
        float32 in [0, 1].
    count : int
        Number K of groups at most.
    shares : ndarray of shape (N,) or None
        float64, what each sample counts for, sum 1; all the same by default.
    seed : int
        Of K-means.
    """
    from sklearn.cluster import KMeans  # heavy to import

    hard = (probabilities > 0.5).reshape(len(probabilities), -1)
    distinct = len(np.unique(np.packbits(hard, axis=1), axis=0))
    count = min(count, distinct)
    coordinates = gram_coordinates(probabilities)
    if shares is None:
        shares = np.full(len(probabilities), 1 / len(probabilities))
    weighted = None if np.ptp(shares) == 0 else shares * len(shares)
    means = KMeans(count, n_init=3, random_state=seed).fit(coordinates, sample_weight=weighted)
    distance = ((coordinates[:, None] - means.cluster_centers_) ** 2).sum(axis=2)  # (N, K)
    chosen: list[int] = []
    kept: list[int] = []
    for group in range(count):
        members = np.flatnonzero(means.labels_ == group)
        if not len(members):
            continue
        best = int(members[distance[members, group].argmin()])
        if not any(np.array_equal(hard[best], hard[other]) for other in chosen):
            chosen.append(best)
            kept.append(group)
    order = sorted(range(len(chosen)), key=lambda k: (int(hard[chosen[k]].sum()), chosen[k]))
    # Samples of a group that was dropped as a duplicate join the nearest kept group.
    labels = distance[:, [kept[k] for k in order]].argmin(axis=1).astype(np.int64)
    weights = tuple(float(shares[labels == k].sum()) for k in range(len(order)))
    return Clusters(labels, tuple(chosen[k] for k in order), weights)


TOP = 20  # the paper draws the representative point among this many pixels


def representative_point(
    probabilities: FloatArray, mine: BoolArray, picked: FloatArray, rng: np.random.Generator
) -> tuple[int, int, int] | None:
    """Choose a pixel that tells the picked group from the others.

    Parameters
    ----------
    probabilities : ndarray of shape (N, h, w)
        float32 in [0, 1].
    mine : ndarray of shape (N,)
        bool, the samples of the picked group.
    picked : ndarray of shape (h, w)
        float32 in [0, 1], the mask that was picked.
    rng : numpy Generator
        Draws one of the 20 most telling pixels.

    Returns
    -------
    (row, column, label) or None
        On the grid, and the picked mask's own value there; None when there is only one group.
    """
    if mine.all() or not mine.any():
        return None
    difference = np.abs(probabilities[mine].mean(axis=0) - probabilities[~mine].mean(axis=0))
    count = min(TOP, difference.size)
    top = np.argpartition(difference.ravel(), -count)[-count:]
    row, column = np.unravel_index(int(rng.choice(np.sort(top))), difference.shape)
    return int(row), int(column), int(picked[row, column] > 0.5)

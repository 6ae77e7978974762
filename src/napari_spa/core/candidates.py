"""The candidates on offer: groups of samples, and a choice of masks that differ in shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import scipy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_spa.core.types import BoolArray, DoubleArray, FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Groups of samples."""

    labels: NDArray[np.int64]  # (N,), the group of each sample, ordered by mean area
    representatives: tuple[int, ...]  # of each group the sample nearest to its centre
    weights: tuple[float, ...]  # of each group its share of the samples


def gram_coordinates(probabilities: FloatArray) -> DoubleArray:
    """Coordinates of N maps ``(N, h, w)`` in the at most N - 1 dimensions in which they differ.

    Rows of ``U S`` of the centred Gram matrix, ``(N, N)``; distances, and so K-means labels, are
    the same as between the maps themselves.
    """
    flat = probabilities.reshape(len(probabilities), -1)
    flat = flat - flat.mean(axis=0)
    values, vectors = np.linalg.eigh((flat @ flat.T).astype(np.float64))
    coordinates: DoubleArray = vectors * np.sqrt(np.maximum(values, 0.0))
    return coordinates


def cluster_samples(
    probabilities: FloatArray, count: int, *, shares: DoubleArray | None = None
) -> Clusters:
    """Group sampled maps by K-means and choose a representative of each group.

    Groups are ordered by the area of their representative, smallest first, so that a
    place on the screen keeps its meaning from round to round.  Fewer distinct masks than
    ``count`` give fewer groups; two groups never have the same representative mask.
    The maps are ``(N, h, w)`` in [0, 1]; ``shares``, (N,), what each counts for, sum 1, all the
    same by default.
    """
    from sklearn.cluster import KMeans  # heavy to import

    hard = (probabilities > 0.5).reshape(len(probabilities), -1)
    distinct = len({one.tobytes() for one in np.packbits(hard, axis=1)})
    count = min(count, distinct)
    coordinates = gram_coordinates(probabilities)
    if shares is None:
        shares = np.full(len(probabilities), 1 / len(probabilities))
    weighted = None if np.ptp(shares) == 0 else shares * len(shares)
    means = KMeans(count, n_init=3, random_state=0).fit(coordinates, sample_weight=weighted)
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
    """Choose a pixel, one of the 20 most telling, that tells the picked group from the others.

    Of maps ``(N, h, w)`` in [0, 1], those that are ``mine``, (N,) bool, are the picked group, and
    ``picked``, (h, w), is its mask.  Row and column on the grid, and the label that this mask has
    there; None when there is only one group.
    """
    if mine.all() or not mine.any():
        return None
    difference = np.abs(probabilities[mine].mean(axis=0) - probabilities[~mine].mean(axis=0))
    count = min(TOP, difference.size)
    top = np.argpartition(difference.ravel(), -count)[-count:]
    row, column = np.unravel_index(int(rng.choice(np.sort(top))), difference.shape)
    return int(row), int(column), int(picked[row, column] > 0.5)


Kind = Literal["size", "shape", "object"]
"""How an alternative differs from the recommendation: grown or shrunk; elsewhere; another."""

_MOST_OF_SIZE = 2
_WORTH = 0.02
"""So much of the expected Dice is given for a choice that is not one row of nested masks."""
CHOICE_STRENGTH = 8.0
"""How much likelier a mask is picked for each unit of Dice with what is meant, as a logarithm:
of two that differ by 0.1 the better one 69 times of 100."""


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """What is chosen from: P masks that may be shown, T that may be meant."""

    agreement: DoubleArray  # (T, P), Dice of each with each
    recommended: DoubleArray  # (T,), their Dice with the recommendation, which is shown anyway
    likely: DoubleArray  # (T,), how likely each is meant, sum 1
    kinds: Sequence[Kind]  # of each mask that may be shown
    nested: BoolArray  # (P, P), of which two that may be shown one lies in the other


def choose(offer: Offer, count: int) -> list[int]:
    """Choose which masks to show beside the recommendation.

    Where each of them lies in the next, the one that tells least makes room for one that does
    not; a part or a whole stays.
    """
    chosen: list[int] = []
    best = offer.recommended.copy()
    for _ in range(min(count, len(offer.kinds))):
        gains = offer.likely @ np.maximum(offer.agreement - best[:, None], 0.0)  # (P,)
        gains[chosen] = -1.0
        sizes = sum(offer.kinds[k] == "size" for k in chosen)
        others = [k for k, kind in enumerate(offer.kinds) if kind != "size" and k not in chosen]
        if sizes >= _MOST_OF_SIZE and others:
            gains[[kind == "size" for kind in offer.kinds]] = -1.0
        index = int(gains.argmax())
        chosen.append(index)
        best = np.maximum(best, offer.agreement[:, index])
    return _broken_up(offer, chosen)


def _broken_up(offer: Offer, chosen: list[int]) -> list[int]:
    """Return a choice that is not one row of nested masks, where another mask allows it."""
    if not offer.nested[np.ix_(chosen, chosen)].all():
        return chosen
    shown = np.maximum(offer.recommended, offer.agreement[:, chosen].max(axis=1))
    best, value = chosen, float(offer.likely @ shown) - _WORTH
    for place, index in enumerate(chosen):
        rest = chosen[:place] + chosen[place + 1 :]
        if offer.kinds[index] == "object" or not rest:
            continue
        for other in np.flatnonzero(~offer.nested[:, rest].all(axis=1)).tolist():
            changed = [*rest[:place], other, *rest[place:]]
            shown = np.maximum(offer.recommended, offer.agreement[:, changed].max(axis=1))
            worth = float(offer.likely @ shown)
            if worth > value:
                best, value = changed, worth
    return best


def log_choice(
    agreement: DoubleArray, index: int, strength: float = CHOICE_STRENGTH
) -> DoubleArray:
    """How likely a pick among several masks is, if each of some others is meant (Bradley-Terry).

    ``P(k | t) = exp(b d_tk) / sum_j exp(b d_tj)`` (Plackett and Luce's first choice), of Dice
    ``d``, (T, K), of each mask that may be meant with each on show; as a logarithm, (T,).
    """
    worth = strength * agreement
    return np.asarray(worth[:, index] - scipy.special.logsumexp(worth, axis=1))


def dice_matrix(first: BoolArray, second: BoolArray) -> DoubleArray:
    """Dice of masks ``(N, h, w)`` with others, ``(N, M)``; 1 where both are empty."""
    one = first.reshape(len(first), -1).astype(np.float32)
    other = second.reshape(len(second), -1).astype(np.float32)
    both = (one @ other.T).astype(np.float64)
    total = one.sum(axis=1, dtype=np.float64)[:, None] + other.sum(axis=1, dtype=np.float64)
    return np.where(total > 0, 2 * both / np.maximum(total, 1), 1.0)


def levels_of_area(logits: FloatArray, area: int) -> DoubleArray:
    """Return for each map ``(N, h, w)`` the level above which lie so many of its pixels.

    It is halfway between the last pixel inside and the first outside, (N,) float64.
    """
    flat = logits.reshape(len(logits), -1)
    area = int(np.clip(area, 1, flat.shape[1] - 1))
    cut = flat.shape[1] - area
    parted = np.partition(flat, (cut - 1, cut), axis=1)
    return np.asarray((parted[:, cut - 1].astype(np.float64) + parted[:, cut]) / 2)


def far_apart(distance: DoubleArray, weights: DoubleArray, count: int) -> NDArray[np.int64]:
    """Pick at most ``count`` members of a set that lie far from each other, the weightier first.

    By their distances ``(N, N)`` and weights ``(N,)``.
    """
    chosen = [int(weights.argmax())]
    while len(chosen) < min(count, len(weights)):
        gap = distance[:, chosen].min(axis=1) * weights
        index = int(gap.argmax())
        if gap[index] <= 0:
            break
        chosen.append(index)
    return np.array(chosen, dtype=np.int64)

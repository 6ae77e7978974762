"""Of masks that show the same thing, keep the best."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_spa.core.types import LocalMask


def distinct(
    masks: Sequence[LocalMask], scores: Sequence[float], overlap: float, inside: float
) -> list[int]:
    """Choose masks greedily, the best first, and leave out what shows the same.

    Parameters
    ----------
    masks : sequence of LocalMask
        Not empty ones.
    scores : sequence of float
        One for each; of equals, the earlier one is better.
    overlap : float
        Two masks of a higher intersection over union are the same thing.
    inside : float
        A mask is a part of another when they share more than this of the smaller one.

    Returns
    -------
    list of int
        The indices of those that stay, the best first.
    """
    boxes = np.array(
        [(m.region.row, m.region.column, m.region.height, m.region.width) for m in masks],
        dtype=np.int64,
    ).reshape(-1, 4)
    first, last = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    areas = [mask.area for mask in masks]
    kept: list[int] = []
    for index in np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable").tolist():
        near = np.array(kept, dtype=np.int64)
        touching = ((first[near] < last[index]) & (first[index] < last[near])).all(axis=1)
        for other in near[touching].tolist():
            shared = shared_pixels(masks[index], masks[other])
            union = areas[index] + areas[other] - shared
            if shared > overlap * union or shared > inside * min(areas[index], areas[other]):
                break
        else:
            kept.append(index)
    return kept


def shared_pixels(one: LocalMask, other: LocalMask) -> int:
    """Return the number of pixels that two masks have in common."""
    return int(np.count_nonzero(one.pixels & other.within(one.region)))


def covers(masks: Sequence[LocalMask], row: float, column: float) -> bool:
    """Tell whether a point lies in any of some masks.

    Parameters
    ----------
    masks : sequence of LocalMask
        Of one image.
    row, column : float
        Image pixels.

    Returns
    -------
    bool
    """
    y, x = round(row), round(column)
    for mask in masks:
        down, across = y - mask.region.row, x - mask.region.column
        inside = 0 <= down < mask.region.height and 0 <= across < mask.region.width
        if inside and mask.pixels[down, across]:
            return True
    return False

"""The objects found in an image: duplicates removed, numbered; rough ones refined."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_spa.core.types import LocalMask, Region
from napari_spa.errors import InputError
from napari_spa.refine.annotation.propagation import deep_points

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_spa.batch.engine import BatchEngine, OpenedImage
    from napari_spa.core.plane import Plane
    from napari_spa.refine.session.session import RefinementSession
    from napari_spa.refine.session.state import Decision


def mask_nms(
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
    """Tell whether a point, in image pixels, lies in any of some masks."""
    y, x = round(row), round(column)
    for mask in masks:
        down, across = y - mask.region.row, x - mask.region.column
        inside = 0 <= down < mask.region.height and 0 <= across < mask.region.width
        if inside and mask.pixels[down, across]:
            return True
    return False


_NOTHING = LocalMask(Region(0, 0, 0, 0), np.zeros((0, 0), dtype=bool))


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """An object on a plane, before it is written among the others."""

    number: int  # its label
    plane: Plane  # where
    mask: LocalMask  # its pixels; none with a problem
    uncertainty: float  # in [0, 1]
    # from which the mask can be computed again; without the time, which is no result
    decisions: tuple[Decision, ...] = ()
    # how the plane was looked at, for the log
    source: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""  # why there is no mask, in a sentence


def not_found(number: int, plane: Plane, problem: str) -> Found:
    """Return an object without a mask."""
    return Found(number, plane, _NOTHING, 1.0, problem=problem)


def found_active(
    session: RefinementSession, number: int, plane: Plane, source: Mapping[str, Any]
) -> Found:
    """Return the object that a session shows."""
    proposal, timeline = session.proposal, session.timeline
    if proposal is None or timeline is None:
        return not_found(number, plane, "nothing was found.")
    mask = LocalMask.crop(proposal.local_mask, proposal.region)
    decisions = tuple(replace(decision, time=0.0) for decision in timeline.state.decisions)
    return Found(number, plane, mask, float(proposal.uncertainty), decisions, source)


SAME = 0.5
"""IoU with the rough mask, below which it is another thing."""
SURE = 0.25
"""A result of more uncertainty is no better than the rough mask."""

_LARGEST = 0xFFFFFFFF
_WHITE = 255


def refine_masks(path: Path | None, engine: BatchEngine, image: OpenedImage) -> Iterator[Found]:
    """Refine the objects of a label image, each on each of its planes."""
    labels = _read(path, image)
    for plane in image.planes():
        here = objects_on(labels[plane.position])
        if not here:
            continue
        source = engine.show(image.levels, plane, image.info.pixel_side)
        for number, mask in here:
            yield refine_mask(number, mask, engine, plane, source)


def refine_mask(
    number: int, mask: LocalMask, engine: BatchEngine, plane: Plane, source: Mapping[str, Any]
) -> Found:
    """Refine one object, not empty, on the plane that an engine shows.

    ``source`` is from :meth:`BatchEngine.show`.  The result has no decisions where the mask stays
    as it was drawn.
    """
    session = engine.session
    session.start(deep_points(mask), mask=mask, view=session.view_of(mask))
    found = found_active(session, number, plane, source)
    shared = shared_pixels(found.mask, mask)
    agreement = shared / (found.mask.area + mask.area - shared)
    if agreement >= SAME and found.uncertainty <= SURE:
        return found
    return Found(number, plane, mask, max(found.uncertainty, 1 - agreement))


def objects_on(labels: NDArray[np.integer]) -> list[tuple[int, LocalMask]]:
    """Return the number and pixels of each object of a plane of labels, ``(H, W)``; 0 is none."""
    numbers, dense = np.unique(labels, return_inverse=True)
    boxes = ndimage.find_objects(dense.reshape(labels.shape) + 1)
    objects = []
    for number, box in zip(numbers.tolist(), boxes, strict=True):
        if number and box is not None:
            rows, columns = box
            region = Region(
                rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start
            )
            objects.append((int(number), LocalMask(region, labels[box] == number)))
    return objects


def _read(path: Path | None, image: OpenedImage) -> NDArray[np.integer]:
    """Read the labels and check their numbers."""
    from napari_spa.io.images import read_label_stack

    if path is None:
        raise InputError(f"there is no mask for {image.name}; put one of the same name there.")
    labels = read_label_stack(path, image.shape)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > _LARGEST:
        raise InputError(f"{path} holds the labels {low} to {high}; they must be 0 or more.")
    if not high:
        raise InputError(f"{path} is empty; draw where the objects are, roughly.")
    alone = high == _WHITE or (high == 1 and labels.ndim == 2)
    if alone and not ((labels > 0) & (labels < high)).any():
        return _parts(labels)
    return labels


def _parts(labels: NDArray[np.integer]) -> NDArray[np.integer]:
    """Give each connected part a number; those of a stack reach over its planes."""
    parts = np.empty(labels.shape, dtype=np.int32)
    ndimage.label(labels, output=parts)
    return parts

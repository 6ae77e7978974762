"""What a click may mean: the objects that windows of other sizes saw (design 2.9).

A click on a nucleus may mean the nucleus, its cell or the tissue.  The search for a field of
view sees them all; what it does not choose is kept and offered beside the alternatives of the
view it chose.  Picking one moves the view there.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_spa.core.types import Click
from napari_spa.refine.engine.view import FieldOfView

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_spa.core.obedience import Evidence
    from napari_spa.core.types import BoolArray, DoubleArray, FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Hypothesis:
    """An object that the prompts may mean, as one window saw it."""

    view: FieldOfView  # the window
    # (h, w), uint8, 255 times the probability over the window; zero on other objects.
    levels: NDArray[np.uint8]
    quality: float  # how well the network says it sees it, in [0, 1]

    @property
    def probability(self) -> FloatArray:
        """Over the window, (h, w) float32 in [0, 1]."""
        return self.levels.astype(np.float32) / np.float32(255)

    @property
    def mask(self) -> BoolArray:
        """Over the window, (h, w) bool."""
        return self.levels > _HALF

    @property
    def area(self) -> float:
        """Of the mask, in image pixels."""
        return float(self.mask.sum()) * self.view.height * self.view.width / self.levels.size

    def sees(self, evidence: Evidence) -> bool:
        """Whether the window holds the box and the places that are on the object."""
        places = evidence.places[evidence.labels].astype(np.float64)
        if evidence.box is not None:
            places = np.concatenate([places, evidence.box.corners])
        if not len(places):
            return True
        ends = (places.min(axis=0), places.max(axis=0))
        return all(self.view.contains(float(row), float(column)) for row, column in ends)

    def middle(self, shape: tuple[int, int]) -> Click:
        """Return a click where the mask is thickest."""
        return thickest(self.mask, self.view, shape)


@dataclass(frozen=True, slots=True, eq=False)
class Framed:
    """Where prompts are looked at, and what else they may mean."""

    view: FieldOfView  # the field of view
    # The middle of the object, where the clicks in that view would mean another one.
    anchor: Click | None = None
    # Objects that windows of other sizes saw, the best first.
    hypotheses: tuple[Hypothesis, ...] = ()


_HALF = 127  # the level from which on a pixel is in the mask: probabilities above one half


def hypothesis(
    view: FieldOfView, probability: FloatArray, mask: BoolArray, quality: float
) -> Hypothesis:
    """Keep what a window saw of one object.

    ``probability`` is ``(h, w)`` float32 over the window, ``mask`` the object's part of what is
    above one half, ``quality`` the predicted IoU.
    """
    levels = np.where(mask, np.maximum(np.round(255 * probability), _HALF + 1), 0)
    beside = ~mask & (probability <= 0.5)  # what is above and not of it is another object
    levels = np.where(beside, np.minimum(np.round(255 * probability), _HALF), levels)
    return Hypothesis(view, levels.astype(np.uint8), float(np.clip(quality, 0.0, 1.0)))


def distinct(
    found: Sequence[Hypothesis],
    count: int,
    overlap: float,
    merit: Callable[[Hypothesis], float] = lambda other: other.quality,
) -> tuple[Hypothesis, ...]:
    """Keep at most ``count`` of what shows different objects, the best first by ``merit``.

    Two of an IoU above ``overlap`` show the same object.
    """
    kept: list[Hypothesis] = []
    for one in sorted(found, key=lambda other: -merit(other)):
        if len(kept) == count:
            break
        if one.mask.any() and all(
            iou(one.mask, one.view, other.mask, other.view) <= overlap for other in kept
        ):
            kept.append(one)
    return tuple(kept)


def thickest(mask: BoolArray, view: FieldOfView, shape: tuple[int, int]) -> Click:
    """Return a click where a mask ``(s, s)`` over a view is thickest; the view's middle if empty.

    It lies in the image, whose rows and columns are ``shape``.
    """
    size = mask.shape[0]
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    if not mask.any():
        y = x = np.intp(size // 2)
    row, column = view.to_image(float(x), float(y), size)
    return Click(float(np.clip(row, 0, shape[0] - 1)), float(np.clip(column, 0, shape[1] - 1)))


def dice_across(
    masks: BoolArray, view: FieldOfView, others: BoolArray, other_view: FieldOfView
) -> DoubleArray:
    """Dice of masks ``(N, h, w)`` over a view with ``(M, h, w)`` over another, ``(N, M)``."""
    if other_view.height * other_view.width < view.height * view.width:
        return dice_across(others, other_view, masks, view).T
    seen, inside = _sampled(others, other_view, view, masks.shape[-1])
    cell = view.height * view.width / masks[0].size
    flat = (masks & inside).reshape(len(masks), -1).astype(np.float32)
    both = flat @ seen.reshape(len(others), -1).astype(np.float32).T * cell
    first = masks.sum(axis=(1, 2)) * cell
    second = others.sum(axis=(1, 2)) * (other_view.height * other_view.width / others[0].size)
    total = first[:, None] + second
    return np.where(total > 0, np.minimum(2 * both / np.maximum(total, 1e-9), 1.0), 1.0)


def iou(mask: BoolArray, view: FieldOfView, other: BoolArray, other_view: FieldOfView) -> float:
    """IoU of two masks over two views, each of shape (h, w), bool."""
    dice = float(dice_across(mask[None], view, other[None], other_view)[0, 0])
    return dice / (2 - dice)


def _sampled(
    masks: BoolArray, view: FieldOfView, onto: FieldOfView, size: int
) -> tuple[BoolArray, BoolArray]:
    """Sample masks over a view at the pixels of another; where they lie in it."""
    steps = (np.arange(size) + 0.5) / size
    h, w = masks.shape[1:]
    y = np.floor((onto.row + steps * onto.height - view.row) / view.height * h).astype(int)
    x = np.floor((onto.column + steps * onto.width - view.column) / view.width * w).astype(int)
    inside: BoolArray = np.outer((y >= 0) & (y < h), (x >= 0) & (x < w))
    rows, columns = np.clip(y, 0, h - 1), np.clip(x, 0, w - 1)
    seen: BoolArray = masks.take(rows, axis=1).take(columns, axis=2) & inside
    return seen, inside


def framed_to_arrays(framed: Framed) -> dict[str, NDArray[np.generic]]:
    """Bring a choice into arrays, for a cache."""
    view, anchor, others = framed.view, framed.anchor, framed.hypotheses
    place = [] if anchor is None else [(anchor.row, anchor.column)]
    found: dict[str, NDArray[np.generic]] = {
        "view": np.array(astuple(view)),
        "anchor": np.array(place, dtype=np.float64).reshape(-1, 2),
    }
    for number, other in enumerate(others):
        found[f"levels{number:02}"] = other.levels
        found[f"window{number:02}"] = np.array([*astuple(other.view), other.quality])
    return found


def framed_from_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> Framed:
    """Read a choice from a cache."""
    place = arrays["anchor"].tolist()
    names = sorted(name.removeprefix("levels") for name in arrays if name.startswith("levels"))
    others = []
    for name in names:
        *view, quality = (float(v) for v in arrays[f"window{name}"])
        levels = np.array(arrays[f"levels{name}"], dtype=np.uint8)
        others.append(Hypothesis(FieldOfView(*view), levels, quality))
    return Framed(
        FieldOfView(*arrays["view"].tolist()), Click(*place[0]) if place else None, tuple(others)
    )

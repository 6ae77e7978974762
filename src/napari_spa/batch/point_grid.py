"""Look at many points of an image at once: each window is encoded once, its points in batches.

One decoder pass for each point, without samples: a first idea of what lies there and the
quality that the network predicts for it, which is a good guide to the true one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_spa.core.types import LocalMask, Region

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_spa.core.types import BoolArray, FloatArray
    from napari_spa.model.spa import Spa
    from napari_spa.refine.engine.embedder import Embedder
    from napari_spa.refine.engine.view import Canvas, FieldOfView

_FIRM = 1.0
"""Logits on both sides of the edge between which a mask that is sure of it hardly changes."""


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What the network sees at a point.

    Attributes
    ----------
    mask : LocalMask
        The connected part of its mask that holds the point; not empty.
    quality : float
        Predicted IoU.
    firmness : float
        In [0, 1]: how little the mask changes with its threshold.
    border : float
        Share of the window's outline that it touches; edges of the image do not count.
    share : float
        Of the window that it fills.
    """

    mask: LocalMask
    quality: float
    firmness: float
    border: float
    share: float


def look_at_points(
    spa: Spa,
    embedder: Embedder,
    canvas: Canvas,
    view: FieldOfView,
    points: Sequence[tuple[float, float]],
    *,
    least_quality: float = 0.0,
) -> list[Sight | None]:
    """See what lies at each point of a window.

    Parameters
    ----------
    spa : Spa
        The network.
    embedder : Embedder
        Encodes the window.
    canvas : Canvas
        The image.
    view : FieldOfView
        The window.
    points : sequence of (row, column)
        Image pixels, in the window.
    least_quality : float
        What the network trusts less is not looked at any further.

    Returns
    -------
    list of Sight or None
        One for each point; None where nothing is seen.
    """
    import torch

    from napari_spa.model.heads import chunk_size

    size, swap = spa.config.image_size, spa.config.rules.point_order == "rc"
    if not points:
        return []
    places = [view.to_model(row, column, size) for row, column in points]
    step = chunk_size(spa)
    found: list[Sight | None] = []
    with torch.inference_mode():
        image = embedder.encode(canvas, view)
        for start in range(0, len(places), step):
            some = places[start : start + step]
            xy = torch.tensor([[(y, x) if swap else (x, y)] for x, y in some]).float()
            labels = torch.ones(len(some), 1, device=spa.device)
            prompt = spa.embed_prompts(xy.to(spa.device), labels)
            logits, quality = spa.decode(image, prompt, None, tokens=(0,))
            maps: FloatArray = logits[:, 0].float().cpu().numpy()
            for place, one, trust in zip(some, maps, quality[:, 0].tolist(), strict=True):
                seen = trust >= least_quality
                found.append(_sight(canvas, view, one, place, trust, size) if seen else None)
    return found


def _sight(
    canvas: Canvas,
    view: FieldOfView,
    logits: FloatArray,
    place: tuple[float, float],
    quality: float,
    size: int,
) -> Sight | None:
    """Cut the part of a map that holds a point, in image pixels."""
    scale = logits.shape[-1] / size
    column, row = (int(np.clip((at + 0.5) * scale, 0, logits.shape[-1] - 1)) for at in place)
    part = _part_at(logits > 0, row, column)
    if part is None:
        return None
    around = _part_at(logits > -_FIRM, *np.argwhere(part)[0])
    wide = part.sum() if around is None else around.sum()
    mask = _in_image(view, part, canvas.shape)
    if not mask.area:
        return None
    firmness = float((part & (logits > _FIRM)).sum() / wide)
    border = _border(view, part, canvas.shape)
    return Sight(mask, float(quality), firmness, border, float(part.mean()))


def _part_at(mask: BoolArray, row: int, column: int) -> BoolArray | None:
    """Return the connected part of a mask at a pixel or touching it."""
    parts, _ = ndimage.label(mask)
    here = parts[row, column]
    if not here:
        near = parts[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        here = int(near.max())
    if not here:
        return None
    part: BoolArray = parts == here
    return part


def _border(view: FieldOfView, part: BoolArray, shape: tuple[int, int]) -> float:
    """Share of the window's outline, as far as it lies in the image, that a mask touches."""
    sides = [
        (view.row > 0, part[0]),
        (view.row + view.height < shape[0], part[-1]),
        (view.column > 0, part[:, 0]),
        (view.column + view.width < shape[1], part[:, -1]),
    ]
    inside = [edge for inner, edge in sides if inner]
    return float(np.concatenate(inside).mean()) if inside else 0.0


def _in_image(view: FieldOfView, part: BoolArray, shape: tuple[int, int]) -> LocalMask:
    """Bring a mask of a window to image pixels, nearest ones; only where it is."""
    grid, box = part.shape[0], Region.bounding(part)
    heights, widths = view.height / grid, view.width / grid
    top = max(0, int(np.floor(view.row + box.row * heights)))
    left = max(0, int(np.floor(view.column + box.column * widths)))
    bottom = min(shape[0], int(np.ceil(view.row + (box.row + box.height) * heights)))
    right = min(shape[1], int(np.ceil(view.column + (box.column + box.width) * widths)))
    region = Region(top, left, max(0, bottom - top), max(0, right - left))
    rows = np.floor((np.arange(region.height) + top + 0.5 - view.row) / heights).astype(int)
    columns = np.floor((np.arange(region.width) + left + 0.5 - view.column) / widths).astype(int)
    seen = part[np.ix_(rows.clip(0, grid - 1), columns.clip(0, grid - 1))]
    return LocalMask.crop(seen, region)

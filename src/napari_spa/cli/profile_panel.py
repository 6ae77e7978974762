"""A picture of two people's disagreement: what each would draw alone, in the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_spa.core.transforms import to_unit_rgb
from napari_spa.core.types import Region
from napari_spa.io.files import atomic_path
from napari_spa.refine.preference.comparison import FIRST_COLOUR, SECOND_COLOUR

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from napari_spa.core.types import BoolArray
    from napari_spa.refine.preference.comparison import ProfileDisagreement

_MARGIN, _SMALLEST = 0.25, 64
_INCHES, _DPI = 7.0, 110


def draw_overlay(
    image: NDArray[np.generic],
    found: ProfileDisagreement,
    path: Path,
    *,
    names: tuple[str, str],
) -> None:
    """Draw the object with what only the first and only the second would draw.

    Parameters
    ----------
    image : ndarray of shape (H, W) or (H, W, C)
        Any real type.
    found : ProfileDisagreement
        On that image.
    path : Path
        A ``.png`` file to write.
    names : (str, str)
        Of the two people.

    Raises
    ------
    DataError
        When the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Drawing

    region = _surroundings(found.first_mask | found.second_mask)
    # In grey and a little lighter, so that the two colours are the only ones.
    grey = to_unit_rgb(image)[region.slices].mean(axis=2, keepdims=True)
    low, high = np.percentile(grey, [0.5, 99.5])
    grey = np.clip((grey - low) / max(float(high - low), 1e-6), 0, 1)
    crop = np.repeat(grey * 0.8 + 0.2, 3, axis=2)
    parts = (found.only_first, FIRST_COLOUR), (found.only_second, SECOND_COLOUR)
    for part, colour in parts:
        inside = part[region.slices]
        crop[inside] = 0.3 * crop[inside] + 0.7 * np.array(colour) / 255
    scale = _INCHES / max(region.height, region.width)
    figure = Drawing(figsize=(max(region.width * scale, 4.0), region.height * scale + 0.75))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.97 - 0.6 / figure.get_size_inches()[1]))
    axes.imshow(crop, interpolation="nearest", vmin=0, vmax=1)
    for mask, colour in ((found.first_mask, FIRST_COLOUR), (found.second_mask, SECOND_COLOUR)):
        _outline(axes, mask[region.slices], tuple(channel / 255 for channel in colour))
    axes.set(xticks=[], yticks=[])
    axes.set(xlim=(-0.5, region.width - 0.5), ylim=(region.height - 0.5, -0.5))
    for name, other, (part, colour), height in zip(
        names, ("first", "second"), parts, (0.22, 0.44), strict=True
    ):
        _legend(figure, _drawable(name, other), int(part.sum()), colour, height)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=_DPI, metadata={"Software": None})


def _surroundings(mask: BoolArray) -> Region:
    """Return the object with some surroundings; of none, the whole image."""
    box, (rows, columns) = Region.bounding(mask), mask.shape
    if not box.height:
        return Region(0, 0, rows, columns)
    side = max(_SMALLEST, int(max(box.height, box.width) * (1 + 2 * _MARGIN)))
    height, width = min(side, rows), min(side, columns)
    top, left = box.row + box.height // 2 - height // 2, box.column + box.width // 2 - width // 2
    return Region(
        int(np.clip(top, 0, rows - height)), int(np.clip(left, 0, columns - width)), height, width
    )


def _outline(axes: Axes, mask: BoolArray, colour: tuple[float, ...]) -> None:
    padded = np.pad(mask, 1).astype(np.float32)
    if padded.any():
        rows, columns = (np.arange(side) - 1 for side in padded.shape)
        for line, width in (("black", 2.4), (colour, 1.4)):
            axes.contour(columns, rows, padded, levels=[0.5], colors=[line], linewidths=width)


def _legend(
    figure: Figure, name: str, area: int, colour: tuple[int, int, int], height: float
) -> None:
    """Write a line of the legend, so many inches from the top, behind a patch of its colour."""
    from matplotlib.patches import Rectangle

    wide, high = figure.get_size_inches()
    shade, y = tuple(channel / 255 for channel in colour), 1 - height / high
    patch = Rectangle(
        (0.02, y - 0.06 / high), 0.15 / wide, 0.15 / high, transform=figure.transFigure
    )
    patch.set(facecolor=shade, edgecolor="black", linewidth=0.5)
    figure.add_artist(patch)
    words = f"only {name}: {area:,} px".replace(",", "\u2009")
    figure.text(0.02 + 0.25 / wide, y, words, fontsize=11, va="center", parse_math=False)


def _drawable(name: str, fallback: str) -> str:
    """Return a name that the font has all letters of, shortened to fit."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties()))
    known = all(font.get_char_index(ord(letter)) for letter in name)
    short = name if len(name) <= 40 else f"{name[:39]}\u2026"
    return short if known else fallback

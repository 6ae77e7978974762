"""Pictures of a session, round by round, and of what two profiles do not agree on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_spa.core.presentation import ADDED_COLOUR, REMOVED_COLOUR, difference_picture
from napari_spa.core.transforms import to_unit_rgb
from napari_spa.core.types import BoolArray, Candidate, FloatArray, Proposal, Region
from napari_spa.io.files import atomic_path
from napari_spa.refine.preference import FIRST_COLOUR, SECOND_COLOUR, ProfileDisagreement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


ADDED, REMOVED, FIRST, SECOND = (
    "#{:02x}{:02x}{:02x}".format(*colour)
    for colour in (ADDED_COLOUR, REMOVED_COLOUR, FIRST_COLOUR, SECOND_COLOUR)
)
_COLUMNS = 5


@dataclass(frozen=True, slots=True, eq=False)
class PanelRound:
    """One round of the picture."""

    proposal: Proposal  # what was offered
    picked: int | None  # what was picked of it


def draw_panel(
    image: NDArray[np.generic],
    rounds: Sequence[PanelRound],
    path: Path,
    *,
    title: str,
    point: tuple[float, float],
) -> None:
    """Draw a row for each round: the recommendation, then what each candidate changes.

    The click is marked in the first of the rounds, of which there is one at least; it is a PNG.
    """
    from matplotlib.figure import Figure

    offered = [shown.proposal for shown in rounds]
    shapes = [m for p in offered for m in (p.mask, *(c.mask for c in p.candidates))]
    region = _surroundings(np.logical_or.reduce(shapes), 0.2, 48)
    crop = to_unit_rgb(image)[region.slices]
    ratio = region.height / region.width
    width = 2.3
    size = (0.55 + width * _COLUMNS, 0.75 + len(rounds) * (width * ratio + 0.55))
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    axes = figure.subplots(len(rounds), _COLUMNS, squeeze=False)
    for row, shown in zip(axes, rounds, strict=True):
        _draw_recommendation(row[0], crop, region, shown.proposal)
        for axis in row[1:]:
            axis.set_axis_off()
        for number, candidate in enumerate(shown.proposal.candidates[: _COLUMNS - 1]):
            axis = row[number + 1]
            axis.set_axis_on()
            masks = candidate.mask[region.slices], shown.proposal.mask[region.slices]
            axis.imshow(difference_picture(crop, *masks), interpolation="nearest")
            _plain(axis)
            _label_difference(axis, number, candidate, picked=number == shown.picked)
    row, column = point[0] - region.row, point[1] - region.column
    axes[0, 0].plot(column, row, "o", color="white", markeredgecolor="black", markersize=6)
    figure.text(0.99, 0.995, "adds", color=ADDED, ha="right", va="top", fontweight="bold")
    figure.text(0.945, 0.995, "removes", color=REMOVED, ha="right", va="top", fontweight="bold")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, metadata={"Software": None})


def _surroundings(mask: BoolArray, margin: float, smallest: int) -> Region:
    """Return the object with some surroundings; of none, the whole image."""
    box, (rows, columns) = Region.bounding(mask), mask.shape
    if not box.height:
        return Region(0, 0, rows, columns)
    side = max(smallest, int(max(box.height, box.width) * (1 + 2 * margin)))
    height, width = min(side, rows), min(side, columns)
    top, left = box.row + box.height // 2 - height // 2, box.column + box.width // 2 - width // 2
    return Region(
        int(np.clip(top, 0, rows - height)), int(np.clip(left, 0, columns - width)), height, width
    )


def _draw_recommendation(axes: Axes, crop: FloatArray, region: Region, proposal: Proposal) -> None:
    axes.imshow(crop, interpolation="nearest")
    mask = proposal.mask[region.slices]
    _outline(axes, mask, "black", 3.0)
    _outline(axes, mask, "white", 1.4)
    _plain(axes)
    axes.set_ylabel(f"round {proposal.round}", fontsize=11)
    axes.set_title("recommended", fontsize=9)
    axes.set_xlabel(f"{_pixels(proposal.area)}, uncertainty {proposal.uncertainty:.2f}", fontsize=9)


def _pixels(area: int) -> str:
    return f"{area:,} px".replace(",", "\u2009")  # thin spaces between thousands


def _label_difference(axes: Axes, number: int, candidate: Candidate, *, picked: bool) -> None:
    axes.set_title(
        f"candidate {number}, picked" if picked else f"candidate {number}",
        fontsize=9,
        fontweight="bold" if picked else "normal",
    )
    adds, removes = _pixels(candidate.added_area), _pixels(candidate.removed_area)
    axes.set_xlabel(f"+{adds}, \u2212{removes}, {candidate.weight:.0%}", fontsize=9)
    for spine in axes.spines.values():
        spine.set_linewidth(3.0 if picked else 0.5)


def _outline(axes: Axes, mask: BoolArray, colour: str, width: float) -> None:
    padded = np.pad(mask, 1).astype(np.float32)
    if padded.any():
        rows, columns = (np.arange(side) - 1 for side in padded.shape)
        axes.contour(columns, rows, padded, levels=[0.5], colors=[colour], linewidths=width)


def _plain(axes: Axes) -> None:
    height, width = axes.images[0].get_size()
    axes.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def draw_overlay(
    image: NDArray[np.generic], found: ProfileDisagreement, path: Path, *, names: tuple[str, str]
) -> None:
    """Draw, as a PNG, the object with what only the first and only the second user would draw."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    region = _surroundings(found.first_mask | found.second_mask, 0.25, 64)
    parts = (found.only_first, FIRST_COLOUR), (found.only_second, SECOND_COLOUR)
    crop = to_unit_rgb(image)[region.slices]
    # In grey and a little lighter, so that the two colours are the only ones.
    grey = np.repeat(crop.mean(axis=2, keepdims=True) * 0.8 + 0.2, 3, axis=2)
    for part, rgb in parts:
        inside = part[region.slices]
        grey[inside] = 0.35 * grey[inside] + 0.65 * np.array(rgb) / 255
    scale = 7.0 / max(region.height, region.width)
    size = max(region.width * scale, 4.0), region.height * scale + 0.75
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.imshow(grey, interpolation="nearest", vmin=0, vmax=1)
    for mask, colour in ((found.first_mask, FIRST), (found.second_mask, SECOND)):
        _outline(axes, mask[region.slices], "black", 2.4)
        _outline(axes, mask[region.slices], colour, 1.4)
    _plain(axes)
    patches = []
    for name, other, colour, (part, _) in zip(
        names, ("first", "second"), (FIRST, SECOND), parts, strict=True
    ):
        words = f"only {_drawable(name, other)}: {_pixels(int(part.sum()))}"
        patches.append(Patch(facecolor=colour, edgecolor="black", label=words))
    legend = figure.legend(handles=patches, loc="outside upper left", frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    _save(figure, path)


def _drawable(name: str, fallback: str) -> str:
    """Return a name that the font has all letters of, shortened to fit."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties()))
    known = all(font.get_char_index(ord(letter)) for letter in name)
    short = name if len(name) <= 40 else f"{name[:39]}\u2026"
    return short if known else fallback

"""A picture of a session: the recommendation and the differences, round by round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_spa.core.pictures import ADDED_COLOUR, REMOVED_COLOUR
from napari_spa.core.transforms import to_unit_rgb
from napari_spa.core.types import BoolArray, Candidate, FloatArray, Proposal, Region
from napari_spa.io.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

ADDED, REMOVED = ("#{:02x}{:02x}{:02x}".format(*c) for c in (ADDED_COLOUR, REMOVED_COLOUR))
_COLUMNS = 5
_MARGIN = 0.2
_SMALLEST = 48


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One round of the picture."""

    proposal: Proposal  # what was offered
    picked: int | None  # what was picked of it


def draw_panel(
    image: NDArray[np.generic],
    rounds: Sequence[Shown],
    path: Path,
    *,
    title: str,
    point: tuple[float, float],
) -> None:
    """Draw a row for each round: the recommendation, then what each candidate changes.

    Parameters
    ----------
    image : ndarray of shape (H, W) or (H, W, C)
        Any real type.
    rounds : sequence of Shown
        At least one.
    path : Path
        A ``.png`` file to write.
    title : str
        Over the picture.
    point : (row, column)
        The click, marked in the first round.

    Raises
    ------
    DataError
        When the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    region = _region_of_interest([shown.proposal for shown in rounds])
    crop = to_unit_rgb(image)[region.slices]
    ratio = region.height / region.width
    width = 2.3
    size = (0.55 + width * _COLUMNS, 0.75 + len(rounds) * (width * ratio + 0.55))
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    axes = figure.subplots(len(rounds), _COLUMNS, squeeze=False)
    for row, shown in zip(axes, rounds, strict=True):
        _draw_recommendation(row[0], crop, region, shown.proposal)
        for axis in row[1:]:
            axis.set_axis_off()
        for number, candidate in enumerate(shown.proposal.candidates[: _COLUMNS - 1]):
            axis = row[number + 1]
            axis.set_axis_on()
            _draw_difference(axis, crop, region, candidate)
            _label_difference(axis, number, candidate, picked=number == shown.picked)
    row, column = point[0] - region.row, point[1] - region.column
    axes[0, 0].plot(column, row, "o", color="white", markeredgecolor="black", markersize=6)
    figure.text(0.99, 0.995, "adds", color=ADDED, ha="right", va="top", fontweight="bold")
    figure.text(0.945, 0.995, "removes", color=REMOVED, ha="right", va="top", fontweight="bold")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, metadata={"Software": None})


def _region_of_interest(proposals: Sequence[Proposal]) -> Region:
    """Return the object with some surroundings, over all rounds and candidates."""
    masks = [m for p in proposals for m in (p.mask, *(c.mask for c in p.candidates))]
    union = np.logical_or.reduce(masks)
    height, width = union.shape
    if not union.any():
        return Region(0, 0, height, width)
    rows, columns = np.flatnonzero(union.any(axis=1)), np.flatnonzero(union.any(axis=0))
    extent = max(int(np.ptp(rows)), int(np.ptp(columns))) + 1
    side = max(_SMALLEST, int(extent * (1 + 2 * _MARGIN)))
    row, column = int(rows.mean()) - side // 2, int(columns.mean()) - side // 2
    side_rows, side_columns = min(side, height), min(side, width)
    return Region(
        int(np.clip(row, 0, height - side_rows)),
        int(np.clip(column, 0, width - side_columns)),
        side_rows,
        side_columns,
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


def _draw_difference(axes: Axes, crop: FloatArray, region: Region, candidate: Candidate) -> None:
    # In grey and a little lighter, so that the two colours are the only ones.
    grey = np.repeat(crop.mean(axis=2, keepdims=True) * 0.8 + 0.2, 3, axis=2)
    for part, colour in ((candidate.added, ADDED_COLOUR), (candidate.removed, REMOVED_COLOUR)):
        inside = part[region.slices]
        grey[inside] = 0.35 * grey[inside] + 0.65 * np.array(colour) / 255
    axes.imshow(grey, interpolation="nearest", vmin=0, vmax=1)
    recommended = candidate.region.paste(candidate.local_recommended, candidate.shape)
    _outline(axes, recommended[region.slices].astype(bool), "white", 1.0)
    _plain(axes)


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
        axes.contour(columns, rows, padded, levels=[0.5], colors=colour, linewidths=width)


def _plain(axes: Axes) -> None:
    height, width = axes.images[0].get_size()
    axes.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))

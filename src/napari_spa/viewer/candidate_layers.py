"""The four shapes layers that show what each candidate would add and remove."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING

from napari_spa.viewer.polygons import mask_outline, shaken

if TYPE_CHECKING:
    from napari.layers import Shapes

    from napari_spa.core.types import BoolArray, Candidate, DoubleArray
    from napari_spa.viewer.slices import Plane

ADDED, REMOVED = "#3b9dff", "#ffb000"
"""Blue and amber: told apart with every kind of colour vision."""

_FILL = "73"  # opacity of the faces, hexadecimal
_COARSE = 250
# Without one of these, napari triangulates in Python, at a millisecond a vertex.
_FAST_TRIANGULATION = ("bermuda", "PartSegCore_compiled_backend")

_logger = logging.getLogger(__name__)

Outlines = tuple["DoubleArray | None", "DoubleArray | None"]
"""Of what a candidate adds, and of what it removes."""


def candidate_outlines(candidate: Candidate, most_vertices: int | None = None) -> Outlines:
    """Outline what a candidate adds and what it removes.

    Parameters
    ----------
    candidate : Candidate
        With its region in the image.
    most_vertices : int or None
        See :func:`napari_spa.viewer.polygons.mask_outline`.

    Returns
    -------
    (added, removed)
        Each ndarray of shape (N, 2), float64 (row, column), or None.
    """
    corner = (candidate.region.row, candidate.region.column)

    def outline(mask: BoolArray) -> DoubleArray | None:
        return mask_outline(mask, corner, most_vertices=most_vertices)

    return outline(candidate.local_added), outline(candidate.local_removed)


def affordable_vertices() -> int | None:
    """Return the most vertices per polygon that napari draws at once here; None for any."""
    fast = any(find_spec(name) is not None for name in _FAST_TRIANGULATION)
    return None if fast else _COARSE


def draw_difference(layer: Shapes, plane: Plane, outlines: Outlines, *, width: float) -> None:
    """Replace what a layer shows by a candidate's difference.

    Parameters
    ----------
    layer : napari.layers.Shapes
        One of the four.
    plane : Plane
        Where the difference lies in the image.
    outlines : (added, removed)
        From :func:`candidate_outlines`.
    width : float
        Of the lines, in image pixels.
    """
    clear_shapes(layer)
    drawn = [
        (plane.lift(outline), colour)
        for outline, colour in zip(outlines, (ADDED, REMOVED), strict=True)
        if outline is not None
    ]
    for polygon, colour in drawn:
        try:
            _add(layer, polygon, colour, width)
        except RuntimeError:  # napari's word for a triangulation that failed
            _logger.info("a difference is drawn with its vertices shaken.")
            _add_shaken(layer, polygon, colour, width)


def clear_shapes(layer: Shapes) -> None:
    """Remove all shapes of a layer."""
    if layer.nshapes:
        # Not ``layer.data = []``: napari 0.9.1 crashes on it.
        layer.selected_data = set(range(layer.nshapes))
        layer.remove_selected()


def _add(layer: Shapes, polygon: DoubleArray, colour: str, width: float) -> None:
    layer.add(
        polygon,
        shape_type="polygon",
        edge_width=width,
        edge_color=colour,
        face_color=colour + _FILL,
    )


def _add_shaken(layer: Shapes, polygon: DoubleArray, colour: str, width: float) -> None:
    try:
        _add(layer, shaken(polygon), colour, width)
    except RuntimeError:
        _logger.warning("a difference cannot be drawn in the viewer; its thumbnail shows it.")

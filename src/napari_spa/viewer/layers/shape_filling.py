"""Give a Shapes layer other polygons, with as little work for the GUI thread as may be."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from napari.layers import Shapes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_spa.core.types import DoubleArray

_logger = logging.getLogger(__name__)


def fill_layer(layer: Shapes, polygons: Sequence[DoubleArray], colours: DoubleArray) -> None:
    """Replace all that a layer holds by polygons, in one go.

    napari draws a visible layer anew at each step of this, so it is not visible meanwhile.
    And it tells the viewer, which then works out for some milliseconds what its sliders
    span: polygons inside the image change nothing about that, so nobody is told.

    Parameters
    ----------
    layer : Shapes
        Which layer.
    polygons : sequence of ndarray of shape (N, layer.ndim)
        float64, in the data's space; none empties the layer.
    colours : ndarray of shape (len(polygons), 4)
        float64 RGBA in [0, 1], of the faces; edges are not drawn.

    Notes
    -----
    A polygon for which napari's triangulation raises is left out, and logged.
    """
    if not len(polygons) and not layer.data:
        return
    visible = layer.visible
    with ExitStack() as quiet:
        for event in (layer.events.data, layer.events.features, layer.events.visible):
            quiet.enter_context(event.blocker())
        layer.visible = False
        layer.data = []
        if len(polygons):
            _add(layer, list(polygons), colours)
        layer.visible = visible  # draws it, once


def _add(layer: Shapes, polygons: list[DoubleArray], colours: DoubleArray) -> None:
    style: dict[str, Any] = {"shape_type": "polygon", "edge_width": 0}
    try:
        layer.add(polygons, face_color=colours, **style)
    except RuntimeError:
        layer.data = []
        good = [number for number, polygon in enumerate(polygons) if _can_be_filled(polygon)]
        _logger.warning(
            "napari cannot fill %d of %d polygons of %r",
            len(polygons) - len(good),
            len(polygons),
            layer.name,
        )
        if good:
            layer.add([polygons[k] for k in good], face_color=colours[good], **style)


def _can_be_filled(polygon: DoubleArray) -> bool:
    try:
        Shapes([polygon], shape_type="polygon")
    except RuntimeError:
        return False
    return True

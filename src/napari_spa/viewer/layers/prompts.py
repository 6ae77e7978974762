"""What a user said about the active object, drawn: points, box, stroke, field of view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Points, Shapes
from psygnal import Signal

from napari_spa.core.types import Box, Click
from napari_spa.viewer.layers.mask import (
    add_quietly,
    add_slowly,
    place_layer,
    space_on_show,
)
from napari_spa.viewer.layers.planes import spatial_shape, to_world, zoom_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_spa.core.plane import Plane
    from napari_spa.refine.engine.view import FieldOfView

PROMPTS_NAME, VIEW_NAME = "{}: prompts", "{}: view"
POSITIVE, NEGATIVE = "#0072b2", "#d55e00"
_FRAME, _BOX, _PREVIEW = "#f0e442", "#56b4e9", "white"
_LINE = 1.5  # of lines, in pixels of the screen
_FILL = {"yes": POSITIVE, "no": NEGATIVE, "try": "transparent"}
_RIM = {"yes": "white", "no": "white", "try": _FRAME}


class PromptLayers:
    """The prompts of one image (Points), and its field of view, box and strokes (Shapes)."""

    # A user moved or deleted clicks: by their number, where they are now (row, column) or None.
    edited = Signal(dict)
    added = Signal(tuple)  # A user added a point with napari's own tool: its world position
    reframed = Signal(object)  # A user moved or resized the frame of the field of view; a ``Box``

    def __init__(self, viewer: ViewerModel, image: Image) -> None:
        self._viewer, self._image = viewer, image
        self._points: Points | None = None
        self._shapes: Shapes | None = None
        self._plane: Plane | None = None
        self._framed = False
        self._frame: FieldOfView | None = None
        self._box: Box | None = None
        self._path: list[tuple[float, float]] = []
        self._lines: list[NDArray[np.float64]] = []  # what the pointer would give
        self._areas: list[tuple[NDArray[np.float64], str]] = []  # that are filled, with colours
        self._drawn: tuple[object, ...] = ()
        self._ours = False

    def owns(self, layer: object) -> bool:
        """Tell whether a layer is one of these."""
        return layer is not None and (layer is self._points or layer is self._shapes)

    def take_over(self, others: PromptLayers) -> None:
        """Use the layers of an image that was left; what a user did to them holds."""
        self._points, shapes = others.let_go()
        if self._points is not None:
            self._points.events.data.connect(self._on_points)
        if shapes is not None:
            self._listen(shapes)
        self.place()

    def place(self) -> None:
        """Put the layers where the image is, in the channel on show."""
        for layer in (self._points, self._shapes):
            if layer is not None:
                place_layer(layer, space_on_show(self._viewer, self._image))

    def let_go(self) -> tuple[Points | None, Shapes | None]:
        """Listen to the layers no more, and return those that are in the viewer."""
        points, shapes, there = self._points, self._shapes, self._viewer.layers
        if points is not None:
            points.events.data.disconnect(self._on_points)
        if shapes is not None:
            shapes.events.data.disconnect(self._on_shapes)
        self._points = self._shapes = None
        return points if points in there else None, shapes if shapes in there else None

    def make(self) -> None:
        """Add the layers, where they are not there yet."""
        for _ in self.steps():
            pass

    def steps(self) -> Iterator[None]:
        """Add the layers in steps: napari takes its time for each."""
        if self._points is None or self._points not in self._viewer.layers:
            self._points = Points(
                ndim=self._image.ndim,
                name=PROMPTS_NAME.format(self._image.name),
                **space_on_show(self._viewer, self._image),
            )
            self._drawn = ()
            self._points.events.data.connect(self._on_points)
            yield from add_slowly(self._viewer, self._points)
            yield
        if self._shapes is None or self._shapes not in self._viewer.layers:
            shapes = Shapes(
                ndim=self._image.ndim,
                name=VIEW_NAME.format(self._image.name),
                opacity=0.9,
                visible=False,  # until there is something to see: napari draws empty ones too
                **space_on_show(self._viewer, self._image),
            )
            self._listen(shapes)
            add_quietly(self._viewer, shapes)
            yield

    def show(
        self, plane: Plane, clicks: Sequence[Click], box: Box | None, view: FieldOfView
    ) -> None:
        """Draw the prompts and the field of view of a round."""
        self.make()
        self._plane, self._frame, self._box, self._path = plane, view, box, []
        self._lines = []
        places = plane.points(np.array([(c.row, c.column) for c in clicks]).reshape(-1, 2))
        self._draw_points(places, ["yes" if c.label else "no" for c in clicks], plane.axes)
        self._draw_shapes()

    def suggest(self, position: Sequence[float]) -> None:
        """Ring the place of a suggested first click, in data coordinates."""
        self.make()
        place = np.asarray(position, dtype=np.float64)[None]
        axes = tuple(range(self._image.ndim))[-2:]
        self._draw_points(place, ["try"], axes, scale=2.5)

    def draw_gesture(
        self, plane: Plane, *, box: Box | None = None, path: Sequence[tuple[float, float]] = ()
    ) -> None:
        """Draw a box or stroke that is being made; neither takes it away."""
        self.make()
        self._plane, self._path = plane, list(path)
        self._box = box
        self._draw_shapes()

    def show_outline(
        self, lines: Sequence[NDArray[np.float64]], plane: Plane | None = None
    ) -> None:
        """Draw thin lines, (row, column), for a moment; none ends it."""
        if lines:
            self.make()
        self._lines, self._plane = list(lines), plane or self._plane
        self._draw_shapes()

    def show_areas(
        self, areas: Sequence[tuple[NDArray[np.float64], str]], plane: Plane | None = None
    ) -> None:
        """Fill polygons, (row, column), with colours for a while; none ends it."""
        if areas:
            self.make()
        self._areas, self._plane = list(areas), plane or self._plane
        self._draw_shapes()

    def set_framed(self, framed: bool) -> None:
        """Show or hide the frame of the field of view."""
        if framed != self._framed:
            self._framed = framed
            if self._shapes is not None and self._shapes in self._viewer.layers:
                self._draw_shapes()

    def clear(self) -> None:
        """Take away what is drawn; the layers stay."""
        self._frame, self._box, self._path, self._lines, self._areas = None, None, [], [], []
        if self._points is not None and self._points in self._viewer.layers:
            self._draw_points(np.empty((0, self._image.ndim)), [], (0, 0))
        self._draw_shapes()

    def remove(self) -> None:
        """Take the layers out of the viewer."""
        for layer in self.let_go():
            if layer is not None:
                self._viewer.layers.remove(layer)

    def _listen(self, layer: Shapes) -> None:
        layer.events.data.connect(self._on_shapes)
        self._shapes = layer

    def _draw_points(
        self,
        places: NDArray[np.float64],
        labels: list[str],
        axes: tuple[int, ...],
        *,
        scale: float = 1.0,
    ) -> None:
        layer, wanted = self._points, (places.tobytes(), *labels)
        if layer is None or wanted == self._drawn:
            return
        self._drawn = wanted
        self._ours = True
        try:
            layer.selected_data = set()
            layer.data = places
            if labels:
                layer.face_color = [_FILL[label] for label in labels]
                layer.border_color = [_RIM[label] for label in labels]
                layer.border_width = 0.15 if labels == ["try"] else 0.08
                layer.size = scale * self._point_size(axes)
        finally:
            self._ours = False

    def _point_size(self, axes: tuple[int, ...]) -> float:
        shape = spatial_shape(self._image)
        extent = max(shape[a] for a in axes)
        if self._frame is not None:
            extent = int(min(extent, 3 * self._frame.height))
        return float(np.clip(extent / 100, 1.5, 20))

    def _draw_shapes(self) -> None:
        layer, plane = self._shapes, self._plane
        if layer is None or plane is None or layer not in self._viewer.layers:
            return
        shapes: list[tuple[NDArray[np.float64], str]] = []
        colours = []
        if self._framed and self._frame is not None:
            f = self._frame
            corners = _corners(plane, f.row, f.column, f.row + f.height, f.column + f.width)
            shapes.append((corners, "rectangle"))
            colours.append(_FRAME)
        if self._box is not None:
            b = self._box
            shapes.append((_corners(plane, b.row0, b.column0, b.row1, b.column1), "rectangle"))
            colours.append(_BOX)
        if len(self._path) > 1:
            shapes.append((plane.points(np.asarray(self._path, dtype=float)), "path"))
            colours.append(_BOX)
        shapes += [(plane.points(line), "path") for line in self._lines]
        colours += [_PREVIEW] * len(self._lines)
        shapes += [(plane.points(polygon), "polygon") for polygon, _ in self._areas]
        colours += [colour for _, colour in self._areas]
        if shapes or len(layer.data):
            self._set_shapes(layer, shapes, colours)

    def _set_shapes(
        self, layer: Shapes, shapes: list[tuple[NDArray[np.float64], str]], colours: list[str]
    ) -> None:
        self._ours = True
        try:
            layer.selected_data = set()
            layer.data = []
            if shapes and self._plane is not None:
                scale = float(np.abs(layer.scale[list(self._plane.axes)]).min())
                line = _LINE / (zoom_of(self._viewer, layer.units) * scale)
                faces = [
                    colour if kind == "polygon" else "transparent"
                    for colour, (_, kind) in zip(colours, shapes, strict=True)
                ]
                layer.add(
                    [data for data, _ in shapes],
                    shape_type=[kind for _, kind in shapes],
                    edge_color=colours,
                    edge_width=[0.0 if kind == "polygon" else line for _, kind in shapes],
                    face_color=faces,
                )
            layer.visible = bool(shapes)
        finally:
            self._ours = False

    def _on_points(self, event: Any) -> None:
        """Tell what a user did to the clicks with napari's own tools."""
        layer, action = self._points, _action(event)
        if self._ours or layer is None or action not in ("changed", "removed", "added"):
            return
        self._drawn = ()  # what is drawn is not what was shown
        if action == "added":
            self.added.emit(tuple(to_world(self._viewer, layer, layer.data[-1])))
        elif self._plane is not None:
            places = layer.data[:, list(self._plane.axes)]
            self.edited.emit(
                {
                    int(index): None if action == "removed" else tuple(map(float, places[index]))
                    for index in event.data_indices
                }
            )

    def _on_shapes(self, event: Any) -> None:
        """Tell when a user changed the frame, which is the first rectangle."""
        layer = self._shapes
        if self._ours or not self._framed or self._frame is None or layer is None:
            return
        if _action(event) != "changed":
            return
        if self._plane is None or not len(layer.data):
            return
        corners = np.asarray(layer.data[0])[:, list(self._plane.axes)]
        # Shapes count from pixel centres, views from the image's corner.
        (row0, column0), (row1, column1) = corners.min(axis=0) + 0.5, corners.max(axis=0) + 0.5
        self.reframed.emit(Box(float(row0), float(column0), float(row1), float(column1)))


def _action(event: Any) -> str:
    """Return what was done to a layer's data, in lower case."""
    return str(getattr(event, "action", "")).rpartition(".")[2].lower()


def _corners(
    plane: Plane, row0: float, column0: float, row1: float, column1: float
) -> NDArray[np.float64]:
    """Return a rectangle's corners in the layer's space: corners of pixels lie half before."""
    corners = [(row0, column0), (row0, column1), (row1, column1), (row1, column0)]
    return plane.points(np.array(corners, dtype=float) - 0.5)

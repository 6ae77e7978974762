"""From the mouse to prompts: gestures on the layers, and the prompts that they become."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_spa.core.types import Box
from napari_spa.errors import InputError, SpaError
from napari_spa.viewer.annotation.click_target import Aim, accepted_at, is_elsewhere
from napari_spa.viewer.annotation.controller import BUSY
from napari_spa.viewer.annotation.image import ActiveObject
from napari_spa.viewer.layers.planes import camera_of, click_in_plane, shown_plane, spatial_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_spa.core.plane import Plane
    from napari_spa.viewer.annotation.controller import AnnotationController, SessionCall


Tool = Literal["add", "remove", "box", "brush", "refine", "merge", "split"]
Position = tuple[float, ...]
_DRAG_PIXELS = 4.0


class PromptHandler(Protocol):
    """Who is told; positions are world coordinates."""

    def click(self, position: Position, label: int = 1, *, aim: Aim = "auto") -> None:
        """Take a click."""
        ...

    def box(self, first: Position, second: Position, *, aim: Aim = "auto") -> None:
        """Take a box between two corners."""
        ...

    def stroke(self, path: list[Position], label: int = 1, *, aim: Aim = "auto") -> None:
        """Take a brush stroke."""
        ...

    def refine(self, position: Position) -> None:
        """Take the place of a label to refine."""
        ...

    def merge(self, position: Position) -> None:
        """Take the place of an object to merge with the selected one."""
        ...

    def split(self, path: list[Position]) -> None:
        """Take a line to split an object along."""
        ...

    def draw_gesture(self, tool: Tool, path: list[Position]) -> None:
        """Show a box or stroke that is being made."""
        ...


class CanvasGestures:
    """Listen to the mouse on a viewer.

    A click is a prompt while the active layer would only move the view; a drag moves the
    view as ever, unless the box or the brush is the tool.  Shift turns *add* into *remove*;
    Ctrl accepts the current object and starts the next one; Alt stays with the current one.
    """

    def __init__(self, viewer: ViewerModel, taker: PromptHandler) -> None:
        self._viewer, self._taker = viewer, taker
        self.tool: Tool = "add"
        viewer.mouse_drag_callbacks.append(self._on_mouse)

    def release(self) -> None:
        """Listen no more."""
        if self._on_mouse in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._on_mouse)

    def _on_mouse(self, viewer: ViewerModel, event: Any) -> Generator[None, None, None]:
        active = viewer.layers.selection.active
        if event.button != 1 or (active is not None and str(active.mode) != "pan_zoom"):
            return
        remove = ("Shift" in event.modifiers) != (self.tool == "remove")
        aim: Aim = _aim(event.modifiers)
        if self.tool in ("box", "brush", "split"):
            yield from self._draw(viewer, event, 0 if remove else 1, aim)
            return
        start = np.asarray(event.pos, dtype=float)
        position = _world(event)
        yield
        while event.type == "mouse_move":
            if np.abs(np.asarray(event.pos) - start).max() > _DRAG_PIXELS:
                return
            yield
        if self.tool == "refine":
            self._taker.refine(position)
        elif self.tool == "merge":
            self._taker.merge(position)
        else:
            self._taker.click(position, 0 if remove else 1, aim=aim)

    def _draw(
        self, viewer: ViewerModel, event: Any, label: int, aim: Aim
    ) -> Generator[None, None, None]:
        """Follow a drag that draws; the view must not move under it."""
        camera = camera_of(viewer)
        panned = camera.mouse_pan
        camera.mouse_pan = False
        path = [_world(event)]
        try:
            yield
            while event.type == "mouse_move":
                path.append(_world(event))
                shown = [path[0], path[-1]] if self.tool == "box" else path
                self._taker.draw_gesture(self.tool, shown)
                yield
        finally:
            camera.mouse_pan = panned
        if self.tool == "split":
            self._taker.split(path)
        elif self.tool == "box" and len(path) > 1:
            self._taker.box(path[0], path[-1], aim=aim)
        elif len(path) > 1:
            self._taker.stroke(path, label, aim=aim)
        else:
            self._taker.click(path[0], label, aim=aim)


def _aim(modifiers: Any) -> Aim:
    if "Control" in modifiers:
        return "next"
    return "current" if "Alt" in modifiers else "auto"


def _world(event: Any) -> Position:
    return tuple(float(p) for p in event.position)


class PromptController(QObject):
    """Turn what a user points at into prompts."""

    # What a labels layer has at this world position shall be refined.
    refine_requested = Signal(object)
    merge_requested = Signal(object)  # the selected object with the one at this world position
    split_requested = Signal(object)  # an object along a line, a list of world positions

    def __init__(self, controller: AnnotationController) -> None:
        super().__init__(controller)
        self._controller = controller
        self.gestures = CanvasGestures(controller.viewer, self)

    def close(self) -> None:
        """Listen to the mouse no more."""
        self.gestures.release()

    def refine(self, position: Position) -> None:
        """Ask for what a labels layer has at a world position to be refined."""
        self.refine_requested.emit(position)

    def merge(self, position: Position) -> None:
        """Ask for the selected object to be merged with the one at a world position."""
        self.merge_requested.emit(position)

    def split(self, path: list[Position]) -> None:
        """Ask for an object to be split along a line."""
        self.split_requested.emit(path)

    def click(self, position: Position, label: int = 1, *, aim: Aim = "auto") -> None:
        """Start an object at a world position, or say more about the current one.

        A click far from the current object accepts it and starts the next one; a click on
        an accepted object selects that one.
        """

        def actions(p: list[tuple[float, float]]) -> tuple[SessionCall, SessionCall]:
            return (
                lambda session, progress: session.start([p[0]], progress=progress),
                lambda session, progress: session.click(p[0], label, progress=progress),
            )

        if label == 1 and aim == "auto" and self._select(position):
            return
        self._prompt([position], label, actions, aim)

    def box(self, first: Position, second: Position, *, aim: Aim = "auto") -> None:
        """Start an object in a box between two world positions, or box the current one."""

        def actions(p: list[tuple[float, float]]) -> tuple[SessionCall, SessionCall]:
            image = self._controller.image()
            drawn = box_between(self._controller.viewer, image, first, second)
            corners = (drawn.row0, drawn.column0, drawn.row1, drawn.column1)
            return (
                lambda session, progress: session.start(box=corners, progress=progress),
                lambda session, progress: session.box(corners, progress=progress),
            )

        self._prompt([first, second], 1, actions, aim)

    def stroke(self, path: list[Position], label: int = 1, *, aim: Aim = "auto") -> None:
        """Start an object under a brush stroke in world positions, or add to the current one."""

        def actions(p: list[tuple[float, float]]) -> tuple[SessionCall, SessionCall]:
            few = p[:: max(1, len(p) // 4)][:5]
            return (
                lambda session, progress: session.start(few, progress=progress),
                lambda session, progress: session.stroke(p, label, progress=progress),
            )

        self._prompt(path, label, actions, aim)

    def point(self, row: float, column: float, label: int = 1) -> None:
        """Take a point of the plane on show, in pixels: a click without a mouse."""
        try:
            image = self._controller.image()
            plane = shown_plane(self._controller.viewer, image)
        except SpaError as error:
            self._controller.failed.emit(str(error))
            return
        place = list(plane.index)
        place[plane.axes[0]], place[plane.axes[1]] = row, column  # type: ignore[call-overload]
        self.click(tuple(float(v) for v in image.data_to_world(place)), label)

    def draw_gesture(self, tool: Tool, path: list[Position]) -> None:
        """Show a box or stroke that is being made."""
        image = self._controller.target()
        if image is None or self._controller.busy:
            return
        try:
            annotated = self._controller.images.annotate(image)
            plane = shown_plane(self._controller.viewer, image)
        except SpaError:
            return
        if tool == "box":
            box = box_between(self._controller.viewer, image, path[0], path[-1])
            annotated.prompts.draw_gesture(plane, box=box)
        else:
            places = [click_in_plane(image, plane, p) for p in path]
            annotated.prompts.draw_gesture(plane, path=places)

    def _select(self, position: Position) -> bool:
        """Select the accepted object at a world position; False where there is none."""
        controller = self._controller
        image = controller.target()
        if controller.busy or image is None:
            return False
        try:
            plane = shown_plane(controller.viewer, image)
            annotated = controller.images.annotate(image)
            number = accepted_at(annotated, plane, *_inside(image, plane, position))
        except SpaError:
            return False  # said when the prompt is made
        if number is None:
            return False
        controller.selected = number
        controller.objects_changed.emit()
        controller.status_message.emit(
            f"Object {number} is selected. Reopen changes it; "
            "Ctrl+click starts another object here."
        )
        return True

    def _prompt(
        self,
        positions: list[Position],
        label: int,
        actions: Callable[[list[tuple[float, float]]], tuple[SessionCall, SessionCall]],
        aim: Aim,
    ) -> None:
        """Start with a prompt, or say more with it."""
        controller = self._controller
        if controller.busy:
            controller.status_message.emit(BUSY)
            return
        try:
            image = controller.image()
            plane = shown_plane(controller.viewer, image)
            annotated = controller.images.annotate(image)
            active = annotated.active
            points = [_inside(image, plane, p) for p in positions]
            onward = active is not None and label == 1 and _goes_on(active, plane, points, aim)
            if active is not None and active.plane != plane and not onward:
                raise InputError(
                    "the current object is on another slice; accept or discard it, "
                    "or Ctrl+click to accept it and start the next one."
                )
            if active is None and label == 0:
                raise InputError("click on the object first; Shift+click takes a part away later.")
            start, more = actions(points)
        except SpaError as error:
            controller.failed.emit(str(error))
            return
        if active is not None and not onward:
            controller.run(more)
        elif active is None or controller.accept():
            number = annotated.annotation.next_number
            annotated.followed.pop(number, None)
            if onward and annotated.annotation.last_change is not None:
                annotated.followed[number] = annotated.annotation.last_change
            controller.begin(annotated, ActiveObject(number, plane), start)


def _goes_on(
    active: ActiveObject, plane: Plane, points: list[tuple[float, float]], aim: Aim
) -> bool:
    """Tell whether a prompt is for the next object."""
    if aim != "auto" or active.shown is None or active.plane != plane:
        return aim == "next"
    return is_elsewhere(active.shown, points)


def box_between(viewer: ViewerModel, image: Image, first: Position, second: Position) -> Box:
    """Return the box, along an image's own axes, that holds one drawn along the screen's.

    An image that is turned or sheared needs all four corners of what was drawn.
    """
    plane, row = shown_plane(viewer, image), viewer.dims.displayed[0]
    others = [(*a[:row], b[row], *a[row + 1 :]) for a, b in ((first, second), (second, first))]
    places = [click_in_plane(image, plane, p) for p in (first, second, *others)]
    rows, columns = zip(*places, strict=True)
    return Box(min(rows) + 0.5, min(columns) + 0.5, max(rows) + 0.5, max(columns) + 0.5)


def _inside(image: Image, plane: Plane, position: Position) -> tuple[float, float]:
    """Bring a world position to (row, column); ``InputError`` outside of the image."""
    row, column = click_in_plane(image, plane, position)
    shape = spatial_shape(image)
    height, width = (shape[axis] for axis in plane.axes)
    if not (-0.5 <= row <= height - 0.5 and -0.5 <= column <= width - 0.5):
        raise InputError(f"that is outside {image.name}; click inside the image.")
    return row, column

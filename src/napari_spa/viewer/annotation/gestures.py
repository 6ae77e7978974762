"""The mouse on a viewer: clicks, boxes, strokes and lassos, told to who makes prompts of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from napari_spa.viewer.layers.planes import camera_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_spa.viewer.annotation.click_target import Aim


Tool = Literal["click", "box", "brush", "lasso", "refine", "merge", "split"]
Position = tuple[float, ...]
_DRAG_PIXELS = 4.0
_FEWEST_CORNERS = 3


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

    def lasso(self, path: list[Position], label: int = 1, *, aim: Aim = "auto") -> None:
        """Take what lies in a closed path."""
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
        """Show a box, stroke or lasso that is being made."""
        ...


class CanvasGestures:
    """Listen to the mouse on a viewer.

    A click is a prompt while the active layer would only move the view; a drag moves the
    view as ever, unless the tool draws.  Shift turns *add* into *remove* and back; Ctrl
    accepts the current object and starts the next one; Alt stays with the current one.
    A lasso is dragged, or clicked corner by corner and closed by a double click or a click
    on its first corner.
    """

    def __init__(self, viewer: ViewerModel, taker: PromptHandler) -> None:
        self._viewer, self._taker = viewer, taker
        self.negative = False  # whether prompts take away
        self._tool: Tool = "click"
        self._corners: list[Position] = []  # of a lasso that is clicked
        self._first = np.zeros(2)  # where the first of them is on the screen
        self._sense: tuple[int, Aim] = (1, "auto")  # label and aim of the latest corner
        self._resting: list[Any] = []  # what a double click does while no lasso is the tool
        viewer.mouse_drag_callbacks.append(self._on_mouse)
        viewer.mouse_move_callbacks.append(self._on_move)

    @property
    def tool(self) -> Tool:
        """What the mouse does; another tool drops a lasso that is not closed."""
        return self._tool

    @tool.setter
    def tool(self, tool: Tool) -> None:
        before, self._tool = self._tool, tool
        if (tool == "lasso") != (before == "lasso"):  # else napari would zoom in as well
            doubles = self._viewer.mouse_double_click_callbacks
            ours = [self._on_double_click] if tool == "lasso" else self._resting
            self._resting, doubles[:] = list(doubles), ours
        if self._corners:
            self._corners = []
            self._taker.draw_gesture("lasso", [])

    def release(self) -> None:
        """Listen no more."""
        self.tool = "click"
        for callbacks, ours in (
            (self._viewer.mouse_drag_callbacks, self._on_mouse),
            (self._viewer.mouse_move_callbacks, self._on_move),
        ):
            if ours in callbacks:
                callbacks.remove(ours)

    def _on_mouse(self, viewer: ViewerModel, event: Any) -> Generator[None, None, None]:
        active = viewer.layers.selection.active
        if event.button != 1 or (active is not None and str(active.mode) != "pan_zoom"):
            return
        label = 0 if ("Shift" in event.modifiers) != self.negative else 1
        aim: Aim = _aim(event.modifiers)
        start = np.array(event.pos, dtype=float)
        if self.tool in ("box", "brush", "split", "lasso"):
            yield from self._draw(viewer, event, label, aim)
            return
        position = _world(event)
        yield
        while event.type == "mouse_move":
            if _far(start, event):
                return
            yield
        if self.tool == "refine":
            self._taker.refine(position)
        elif self.tool == "merge":
            self._taker.merge(position)
        else:
            self._taker.click(position, label, aim=aim)

    def _draw(
        self, viewer: ViewerModel, event: Any, label: int, aim: Aim
    ) -> Generator[None, None, None]:
        """Follow a drag that draws; the view must not move under it."""
        camera = camera_of(viewer)
        panned = camera.mouse_pan
        camera.mouse_pan = False
        start, dragged = np.array(event.pos, dtype=float), False
        path = [_world(event)]
        try:
            yield
            while event.type == "mouse_move":
                path.append(_world(event))
                dragged = dragged or _far(start, event)
                shown = [path[0], path[-1]] if self.tool == "box" else [*self._corners, *path]
                self._taker.draw_gesture(self.tool, shown)
                yield
        finally:
            camera.mouse_pan = panned
        if self.tool == "split":
            self._taker.split(path)
        elif self.tool == "lasso":
            self._add_corners(path if dragged else path[:1], start, (label, aim))
            if dragged and len(self._corners) == len(path):
                self._close_lasso()
        elif self.tool == "box" and len(path) > 1:
            self._taker.box(path[0], path[-1], aim=aim)
        elif len(path) > 1:
            self._taker.stroke(path, label, aim=aim)
        else:
            self._taker.click(path[0], label, aim=aim)

    def _add_corners(
        self, path: list[Position], place: NDArray[np.float64], sense: tuple[int, Aim]
    ) -> None:
        """Go on with a lasso; a click on its first corner closes it."""
        if not self._corners:
            self._first = place
        elif len(self._corners) >= _FEWEST_CORNERS and not _apart(self._first, place):
            self._close_lasso()
            return
        self._corners += path
        self._sense = sense
        self._taker.draw_gesture("lasso", self._corners)

    def _close_lasso(self) -> None:
        path, (label, aim) = self._corners, self._sense
        self._corners = []
        if len(path) >= _FEWEST_CORNERS:
            self._taker.lasso(path, label, aim=aim)
        else:
            self._taker.draw_gesture("lasso", [])

    def _on_move(self, viewer: ViewerModel, event: Any) -> None:
        if self._corners:
            self._taker.draw_gesture("lasso", [*self._corners, _world(event)])

    def _on_double_click(self, viewer: ViewerModel, event: Any) -> None:
        if self._corners:
            self._close_lasso()


def _far(start: NDArray[np.float64], event: Any) -> bool:
    return _apart(start, np.asarray(event.pos, dtype=float))


def _apart(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Tell whether two places on the screen are further apart than a hand trembles."""
    return bool(np.abs(one - other).max() > _DRAG_PIXELS)


def _aim(modifiers: Any) -> Aim:
    if "Control" in modifiers:
        return "next"
    return "current" if "Alt" in modifiers else "auto"


def _world(event: Any) -> Position:
    return tuple(float(p) for p in event.position)

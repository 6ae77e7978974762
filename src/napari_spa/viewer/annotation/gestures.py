"""What the mouse does in the canvas: a click, a box or a stroke, told from moving the view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from napari_spa.viewer.layers.camera import camera_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari.components import ViewerModel

Tool = Literal["add", "remove", "box", "brush", "refine"]
Position = tuple[float, ...]
_DRAG_PIXELS = 4.0


class PromptTaker(Protocol):
    """Who is told; positions are world coordinates."""

    def click(self, position: Position, label: int = 1) -> None:
        """Take a click."""
        ...

    def box(self, first: Position, second: Position) -> None:
        """Take a box between two corners."""
        ...

    def stroke(self, path: list[Position], label: int = 1) -> None:
        """Take a brush stroke."""
        ...

    def refine(self, position: Position) -> None:
        """Take the place of a label to refine."""
        ...

    def draw_gesture(self, tool: Tool, path: list[Position]) -> None:
        """Show a box or stroke that is being made."""
        ...


class Gestures:
    """Listen to the mouse on a viewer.

    A click is a prompt while the active layer would only move the view; a drag moves the
    view as ever, unless the box or the brush is the tool.  Shift turns *add* into *remove*.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    taker : PromptTaker
        Who is told.
    """

    def __init__(self, viewer: ViewerModel, taker: PromptTaker) -> None:
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
        if self.tool in ("box", "brush"):
            yield from self._draw(viewer, event, 0 if remove else 1)
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
        else:
            self._taker.click(position, 0 if remove else 1)

    def _draw(self, viewer: ViewerModel, event: Any, label: int) -> Generator[None, None, None]:
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
        if self.tool == "box" and len(path) > 1:
            self._taker.box(path[0], path[-1])
        elif len(path) > 1:
            self._taker.stroke(path, label)
        else:
            self._taker.click(path[0], label)


def _world(event: Any) -> Position:
    return tuple(float(p) for p in event.position)

"""The prompts that gestures of the mouse on the layers become."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from qtpy.QtCore import QObject, Qt, Signal  # type: ignore[attr-defined]

from napari_spa.core.obedience import box_pixels
from napari_spa.core.types import Box, LocalMask, Region, Stroke
from napari_spa.errors import InputError, SpaError
from napari_spa.refine.session.prompt_validation import start_of_stroke
from napari_spa.viewer.annotation.click_target import Aim, accepted_at, check_in_sight, is_elsewhere
from napari_spa.viewer.annotation.controller import BUSY, AnnotationController
from napari_spa.viewer.annotation.round import ActiveObject, on_another_slice, says_why_not
from napari_spa.viewer.layers.planes import (
    click_in_plane,
    shown_plane,
    spatial_shape,
    to_world,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from napari.components import ViewerModel
    from napari.layers import Image
    from numpy.typing import NDArray

    from napari_spa.core.plane import Plane
    from napari_spa.core.types import Proposal
    from napari_spa.refine.engine.config import Progress
    from napari_spa.refine.session.session import RefinementSession
    from napari_spa.viewer.annotation.controller import SessionCall
    from napari_spa.viewer.annotation.image import AnnotatedImage


Tool = Literal["click", "box", "brush", "lasso", "refine", "merge", "split"]
Position = tuple[float, ...]
_DRAG_PIXELS = 4.0
_FEWEST_CORNERS = 3


class CanvasGestures:
    """Listen to the mouse on a viewer.

    A click is a prompt while the active layer would only move the view; a drag moves the
    view as ever, unless the tool draws.  Shift turns *add* into *remove* and back; Ctrl
    accepts the current object and starts the next one; Alt stays with the current one.
    A lasso is dragged, or clicked corner by corner and closed by a double click or a click
    on its first corner.
    """

    def __init__(self, viewer: ViewerModel, taker: PromptController) -> None:
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
            self._taker.refine_requested.emit(position)
        elif self.tool == "merge":
            self._taker.merge_requested.emit(position)
        else:
            self._taker.click(position, label, aim=aim)

    def _draw(
        self, viewer: ViewerModel, event: Any, label: int, aim: Aim
    ) -> Generator[None, None, None]:
        """Follow a drag that draws; the view must not move under it."""
        camera = viewer.scene.camera
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
            self._taker.split_requested.emit(path)
        elif self.tool == "lasso":
            self._add_corners(path if dragged else path[:1], start, (label, aim))
            if dragged and len(self._corners) == len(path):
                self._close_lasso()
        elif self.tool == "box" and dragged:
            self._taker.box(path[0], path[-1], aim=aim)
        elif dragged:
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


class _Drawn(NamedTuple):
    """Where something was drawn on a plane."""

    points: list[tuple[float, float]]  # (row, column) each
    area: Callable[[], LocalMask] | None = None  # gives that of a box or a lasso


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
        # After napari is done with what the user does to its layer.
        later = Qt.ConnectionType.QueuedConnection
        controller.images.clicks_edited.connect(self._on_clicks_edited, later)  # type: ignore[call-arg]
        controller.images.click_added.connect(self._on_click_added, later)  # type: ignore[call-arg]
        controller.worker.failed.connect(self._redraw)
        controller.worker.stopped.connect(self._redraw)

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

        self._prompt([position], label, actions, aim, selects=label == 1 and aim == "auto")

    @says_why_not
    def box(self, first: Position, second: Position, *, aim: Aim = "auto") -> None:
        """Start an object in a box between two world positions, or box the current one."""
        viewer, image = self._controller.viewer, self._controller.image()
        box = box_between(viewer, image, first, second)
        rows, columns = box_pixels(box, shown_plane(viewer, image).extent(spatial_shape(image)))

        def actions(p: list[tuple[float, float]]) -> tuple[SessionCall, SessionCall]:
            return (
                lambda session, progress: session.start(box=box.edges, progress=progress),
                lambda session, progress: session.box(box.edges, progress=progress),
            )

        def area(_: object) -> LocalMask:
            height, width = rows.stop - rows.start, columns.stop - columns.start
            region = Region(rows.start, columns.start, height, width)
            return LocalMask(region, np.broadcast_to(np.True_, (height, width)))

        self._prompt([first, second], 1, actions, aim, area=area)

    def stroke(self, path: list[Position], label: int = 1, *, aim: Aim = "auto") -> None:
        """Start an object under a brush stroke in world positions, or add to the current one."""

        def actions(p: list[tuple[float, float]]) -> tuple[SessionCall, SessionCall]:
            def start(session: RefinementSession, progress: Progress) -> Proposal:
                prompts = start_of_stroke(p, session.sampler.shape)
                return session.start_with(prompts, progress=progress)

            return (
                start,
                lambda session, progress: session.stroke(p, label, progress=progress),
            )

        self._prompt(path, label, actions, aim)

    def lasso(self, path: list[Position], label: int = 1, *, aim: Aim = "auto") -> None:
        """Start an object from its rough outline in world positions, or add to the current one."""

        def actions(p: list[tuple[float, float]]) -> tuple[SessionCall, SessionCall]:
            return (
                lambda session, progress: session.start(mask=_filled(p), progress=progress),
                lambda session, progress: session.stroke(p, label, filled=True, progress=progress),
            )

        self._prompt(path, label, actions, aim, area=_filled)

    @says_why_not
    def point(self, row: float, column: float, label: int = 1) -> None:
        """Take a point of the plane on show, in pixels: a click without a mouse."""
        image = self._controller.image()
        plane = shown_plane(self._controller.viewer, image)
        place = list(plane.index)
        place[plane.axes[0]], place[plane.axes[1]] = row, column  # type: ignore[call-overload]
        self.click(tuple(map(float, to_world(self._controller.viewer, image, place))), label)

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
            places = [click_in_plane(self._controller.viewer, image, plane, p) for p in path]
            annotated.prompts.draw_gesture(plane, path=places)

    def _on_clicks_edited(
        self, annotated: AnnotatedImage, changes: Mapping[int, tuple[float, float] | None]
    ) -> None:
        """Move clicks of the current object, or take them back."""
        controller = self._controller
        if controller.busy or annotated is not controller.current or not controller.choosing:
            self._redraw()
            if controller.busy:
                controller.status_message.emit(BUSY)
            return
        controller.run(lambda session, progress: session.edit(changes, progress=progress))

    def _on_click_added(self, position: Position) -> None:
        """Take a point that was added with napari's own tool for a click."""
        self._redraw()
        aim: Aim = "current" if self._controller.choosing else "auto"
        self.click(position, 0 if self.gestures.negative else 1, aim=aim)

    def _redraw(self, _: object = None) -> None:
        """Show the clicks as they are, whatever was done to their layer."""
        if self._controller.current is not None:
            self._controller.current.show_prompts()

    @says_why_not
    def _prompt(
        self,
        positions: list[Position],
        label: int,
        actions: Callable[[list[tuple[float, float]]], tuple[SessionCall, SessionCall]],
        aim: Aim,
        *,
        area: Callable[[list[tuple[float, float]]], LocalMask] | None = None,
        selects: bool = False,
    ) -> None:
        """Start with a prompt, or say more with it, where it was made, when its turn comes."""
        controller = self._controller
        image = controller.image()
        check_in_sight(controller.viewer, controller.current, positions[0])
        plane = shown_plane(controller.viewer, image)
        points = [
            _inside(self._controller.viewer, image, plane, p, clip=len(positions) > 1)
            for p in positions
        ]
        calls, drawn = actions(points), _Drawn(points, area and partial(area, points))
        current = controller.current
        if controller.busy and (current is None or image is not current.image):
            controller.status_message.emit(BUSY)
            return
        act = partial(self._act, image, plane, drawn, label, calls, aim, selects=selects)
        if not controller.waits(act):
            act()

    @says_why_not
    def _act(
        self,
        image: Image,
        plane: Plane,
        drawn: _Drawn,
        label: int,
        calls: tuple[SessionCall, SessionCall],
        aim: Aim,
        *,
        selects: bool,
    ) -> None:
        controller = self._controller
        annotated = controller.images.annotate(image)
        number = accepted_at(annotated, plane, *drawn.points[0]) if selects else None
        if number is not None:
            self._select(number)
            return
        active = annotated.active
        onward = active is not None and label == 1 and _goes_on(active, plane, drawn, aim)
        if active is not None and active.plane != plane and not onward:
            raise InputError(on_another_slice(image, active))
        if active is None and label == 0:
            raise InputError("click on the object first; Shift+click takes a part away later.")
        start, more = calls
        if active is not None and not onward:
            controller.run(more)
        elif active is None or controller.accept():
            number = annotated.annotation.next_number
            annotated.acts.followed.pop(number, None)
            if onward and annotated.annotation.last_change is not None:
                annotated.acts.followed[number] = annotated.annotation.last_change
            controller.begin(annotated, ActiveObject(number, plane), start)

    def _select(self, number: int) -> None:
        """Select an accepted object."""
        controller = self._controller
        controller.selected = number
        controller.objects_changed.emit()
        controller.status_message.emit(
            f"Object {number} is selected. Reopen changes it; "
            "Ctrl+click starts another object here."
        )


def _goes_on(active: ActiveObject, plane: Plane, drawn: _Drawn, aim: Aim) -> bool:
    """Tell whether a prompt is for the next object."""
    if aim != "auto" or active.shown is None or active.plane != plane:
        return aim == "next"
    return is_elsewhere(active.shown, drawn.points, drawn.area and drawn.area())


def box_between(viewer: ViewerModel, image: Image, first: Position, second: Position) -> Box:
    """Return the box, along an image's own axes, that holds one drawn along the screen's.

    An image that is turned or sheared needs all four corners of what was drawn.
    """
    plane, row = shown_plane(viewer, image), viewer.dims.displayed[0]
    others = [(*a[:row], b[row], *a[row + 1 :]) for a, b in ((first, second), (second, first))]
    places = [click_in_plane(viewer, image, plane, p) for p in (first, second, *others)]
    rows, columns = zip(*places, strict=True)
    return Box(min(rows) + 0.5, min(columns) + 0.5, max(rows) + 0.5, max(columns) + 0.5)


def _filled(path: list[tuple[float, float]]) -> LocalMask:
    """Return the pixels in a closed path."""
    from napari_spa.refine.session.acts import stroke_pixels

    corners = [(int(row), int(column)) for row, column in np.floor(np.array(path) + 0.5)]
    pixels = stroke_pixels(Stroke(tuple(corners), filled=True))
    mask = np.zeros(np.ptp(pixels, axis=0) + 1, dtype=bool)
    low = pixels.min(axis=0)
    mask[tuple((pixels - low).T)] = True
    return LocalMask(Region(int(low[0]), int(low[1]), *mask.shape), mask)


def _inside(
    viewer: ViewerModel, image: Image, plane: Plane, position: Position, *, clip: bool = False
) -> tuple[float, float]:
    """Bring a world position to (row, column); ``InputError`` outside of the image."""
    row, column = click_in_plane(viewer, image, plane, position)
    height, width = plane.extent(spatial_shape(image))
    if clip:
        row, column = float(np.clip(row, 0, height - 1)), float(np.clip(column, 0, width - 1))
    if not (-0.5 <= row <= height - 0.5 and -0.5 <= column <= width - 0.5):
        raise InputError(f"that is outside {image.name}; click inside the image.")
    return row, column

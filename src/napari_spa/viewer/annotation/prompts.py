"""Prompts in the canvas and by numbers: start an object with one, or say more with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_spa.core.types import Box
from napari_spa.errors import InputError, SpaError
from napari_spa.viewer.annotation.controller import BUSY
from napari_spa.viewer.annotation.gestures import Gestures, Position, Tool
from napari_spa.viewer.annotation.image import AtHand
from napari_spa.viewer.layers.planes import click_in_plane, shown_plane, spatial_shape

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Image

    from napari_spa.core.plane import Plane
    from napari_spa.viewer.annotation.controller import Act, Refiner


class Prompter(QObject):
    """Turn what a person points at into prompts.

    Parameters
    ----------
    refiner : Refiner
        Whose objects they are about.

    Attributes
    ----------
    refine_requested : Signal(object)
        What a labels layer has at this world position shall be refined.
    gestures : Gestures
        The mouse, and which tool it is.
    """

    refine_requested = Signal(object)

    def __init__(self, refiner: Refiner) -> None:
        super().__init__(refiner)
        self._refiner = refiner
        self.gestures = Gestures(refiner.viewer, self)

    def close(self) -> None:
        """Listen to the mouse no more."""
        self.gestures.release()

    def refine(self, position: Position) -> None:
        """Ask for what a labels layer has at a world position to be refined."""
        self.refine_requested.emit(position)

    def click(self, position: Position, label: int = 1) -> None:
        """Start an object at a world position, or say more about the one at hand.

        Parameters
        ----------
        position : tuple of float
            World coordinates.
        label : int
            1 on the object, 0 on the background.
        """

        def acts(p: list[tuple[float, float]]) -> tuple[Act, Act]:
            return (
                lambda session, progress: session.start([p[0]], progress=progress),
                lambda session, progress: session.click(p[0], label, progress=progress),
            )

        self._prompt([position], label, acts)

    def box(self, first: Position, second: Position) -> None:
        """Start an object in a box between two world positions, or box the one at hand."""

        def acts(p: list[tuple[float, float]]) -> tuple[Act, Act]:
            corners = (p[0][0] + 0.5, p[0][1] + 0.5, p[1][0] + 0.5, p[1][1] + 0.5)
            return (
                lambda session, progress: session.start(box=corners, progress=progress),
                lambda session, progress: session.box(corners, progress=progress),
            )

        self._prompt([first, second], 1, acts)

    def stroke(self, path: list[Position], label: int = 1) -> None:
        """Start an object under a brush stroke in world positions, or add to the one at hand."""

        def acts(p: list[tuple[float, float]]) -> tuple[Act, Act]:
            few = p[:: max(1, len(p) // 4)][:5]
            return (
                lambda session, progress: session.start(few, progress=progress),
                lambda session, progress: session.stroke(p, label, progress=progress),
            )

        self._prompt(path, label, acts)

    def point(self, row: float, column: float, label: int = 1) -> None:
        """Take a point of the plane on show, in pixels: a click without a mouse."""
        image = self._refiner.target()
        if image is None:
            self._refiner.failed.emit("there is no image; open one first.")
            return
        try:
            plane = shown_plane(self._refiner.viewer, image)
        except SpaError as error:
            self._refiner.failed.emit(str(error))
            return
        place = list(plane.index)
        place[plane.axes[0]], place[plane.axes[1]] = row, column  # type: ignore[call-overload]
        self.click(tuple(float(v) for v in image.data_to_world(place)), label)

    def draw_gesture(self, tool: Tool, path: list[Position]) -> None:
        """Show a box or stroke that is being made."""
        image = self._refiner.target()
        if image is None or self._refiner.busy:
            return
        try:
            work = self._refiner.works.annotate(image)
            plane = shown_plane(self._refiner.viewer, image)
        except SpaError:
            return
        places = [click_in_plane(image, plane, p) for p in path]
        if tool == "box":
            (r0, c0), (r1, c1) = places[0], places[-1]
            work.prompts.draw_gesture(plane, box=Box(r0 + 0.5, c0 + 0.5, r1 + 0.5, c1 + 0.5))
        else:
            work.prompts.draw_gesture(plane, path=places)

    def _prompt(
        self,
        positions: list[Position],
        label: int,
        acts: Callable[[list[tuple[float, float]]], tuple[Act, Act]],
    ) -> None:
        """Start with a prompt, or say more with it."""
        if self._refiner.busy:
            self._refiner.said.emit(BUSY)
            return
        try:
            image = self._refiner.image()
            plane = shown_plane(self._refiner.viewer, image)
            work = self._refiner.works.annotate(image)
            held = work.at_hand
            if held is not None and held.plane != plane:
                raise InputError("the object at hand is on another slice; accept or discard it.")
            if held is None and label == 0:
                raise InputError("click on the object first; Shift+click takes a part away later.")
            start, more = acts([_inside(image, plane, p) for p in positions])
        except SpaError as error:
            self._refiner.failed.emit(str(error))
            return
        if held is None:
            self._refiner.begin(work, AtHand(work.annotation.next_number, plane), start)
        else:
            self._refiner.run(more)


def _inside(image: Image, plane: Plane, position: Position) -> tuple[float, float]:
    """Bring a world position to (row, column); ``InputError`` outside of the image."""
    row, column = click_in_plane(image, plane, position)
    shape = spatial_shape(image)
    height, width = (shape[axis] for axis in plane.axes)
    if not (-0.5 <= row <= height - 0.5 and -0.5 <= column <= width - 0.5):
        raise InputError(f"that is outside {image.name}; click inside the image.")
    return row, column

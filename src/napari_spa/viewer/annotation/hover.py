"""The outline that a click would give, drawn while the pointer rests."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer

from napari_spa.errors import SpaError
from napari_spa.viewer.annotation.click_target import accepted_at, is_elsewhere
from napari_spa.viewer.layers.planes import click_in_plane, shown_plane

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_spa.core.plane import Plane
    from napari_spa.core.types import DoubleArray
    from napari_spa.viewer.annotation.controller import AnnotationController
    from napari_spa.viewer.annotation.image import AnnotatedImage
    from napari_spa.viewer.annotation.prompts import CanvasGestures
    from napari_spa.viewer.background import JobHandle

    Place = tuple[AnnotatedImage, Plane, tuple[float, float]]

_REST_MS = 120


class HoverPreview(QObject):
    """Draw what a click at the pointer would start, from what is encoded already.

    Only where a click would start an object, never while something runs, and never in blind
    mode: the outline would tell what is recommended.
    """

    def __init__(self, controller: AnnotationController, gestures: CanvasGestures) -> None:
        super().__init__(controller)
        self._controller, self._gestures = controller, gestures
        self._on = True
        self._latest = 0  # the number of the latest rest of the pointer
        self._drawn: AnnotatedImage | None = None
        self._position: tuple[float, ...] = ()
        self._rested = QTimer(self)
        self._rested.setSingleShot(True)
        self._rested.setInterval(_REST_MS)
        self._rested.timeout.connect(self._on_rested)
        controller.viewer.mouse_move_callbacks.append(self._on_move)
        controller.worker.busy_changed.connect(self._hide)

    @property
    def on(self) -> bool:
        """Whether previews are drawn."""
        return self._on

    @on.setter
    def on(self, on: bool) -> None:
        self._on = on
        self._hide()

    def release(self) -> None:
        """Follow the pointer no more."""
        self._hide()
        callbacks = self._controller.viewer.mouse_move_callbacks
        if self._on_move in callbacks:
            callbacks.remove(self._on_move)

    def _on_move(self, viewer: ViewerModel, event: Any) -> None:
        self._hide()
        if self._on and not event.is_dragging:
            self._position = tuple(float(p) for p in event.position)
            self._rested.start()

    def _hide(self, _: object = None) -> None:
        self._rested.stop()
        self._latest += 1
        drawn, self._drawn = self._drawn, None
        if drawn is not None:
            drawn.prompts.show_outline(())

    def _on_rested(self) -> None:
        place, session = self._place(), self._controller.session
        if place is None or session is None:
            return
        number, (annotated, plane, point) = self._latest, place

        def job(_: JobHandle) -> tuple[DoubleArray, ...]:
            return session.outline_at(point) if number == self._latest else ()

        self._controller.worker.submit_idle(
            job, partial(self._show, number, annotated, plane), queued=True
        )

    def _show(
        self, number: int, annotated: AnnotatedImage, plane: Plane, lines: tuple[DoubleArray, ...]
    ) -> None:
        if number == self._latest and lines:
            self._drawn = annotated
            annotated.prompts.show_outline(lines, plane)

    def _place(self) -> Place | None:
        """Return where a click would start an object in what the session sees; None elsewhere."""
        controller, annotated = self._controller, self._controller.current
        layer = controller.viewer.layers.selection.active
        moves = layer is None or str(layer.mode) == "pan_zoom"
        clicks = self._gestures.tool == "click" and not self._gestures.negative
        if controller.busy or controller.blind or annotated is None or not (moves and clicks):
            return None
        if controller.target() is not annotated.image:
            return None
        try:
            plane = shown_plane(controller.viewer, annotated.image)
            point = click_in_plane(annotated.image, plane, self._position)
            height, width = (annotated.mask.store.shape[axis] for axis in plane.axes)
            if not (0 <= point[0] <= height - 1 and 0 <= point[1] <= width - 1):
                return None
            if not controller.sees(annotated, plane) or accepted_at(annotated, plane, *point):
                return None
        except SpaError:
            return None  # a volume, say
        active = annotated.active
        if active is None:
            return annotated, plane, point
        if active.shown is None or active.blind or active.plane != plane:
            return None
        return (annotated, plane, point) if is_elsewhere(active.shown, [point]) else None

"""What a user painted by hand, and where, until it is counted and in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_spa.core.plane import Plane
    from napari_spa.viewer.annotation.image import AnnotatedImage

_SETTLED_MS = 400


class PaintRecorder(QObject):
    """Painted planes that are due to be counted.

    A stroke belongs to the image and the plane it was painted on, whichever are on show when
    it is counted.  That happens once nothing was painted for a moment, so that many strokes
    are one record, and before anything that depends on it: :meth:`flush`.
    """

    counted = Signal()  # objects changed

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._painted: dict[AnnotatedImage, dict[Plane, None]] = {}
        self._touched: dict[AnnotatedImage, dict[Plane, None]] = {}
        self._on_show: dict[AnnotatedImage, Plane] = {}  # when labels were last seen to change
        self._settled = QTimer(self)
        self._settled.setSingleShot(True)
        self._settled.setInterval(_SETTLED_MS)
        self._settled.timeout.connect(self._on_settled)

    @property
    def due(self) -> bool:
        """Whether something was painted that is not in the log yet."""
        return any(self._painted.values())

    def paint(self, annotated: AnnotatedImage, planes: Iterable[Plane]) -> None:
        """Remember planes that were painted on."""
        self._painted.setdefault(annotated, {}).update(dict.fromkeys(planes))
        self._settled.start()

    def touch(self, annotated: AnnotatedImage, plane: Plane) -> None:
        """Remember that labels on show may have changed, by napari's undo for one.

        Where another plane came on show, that is all that happened: of planes that one only
        scrolls through the last is looked at.
        """
        if self._on_show.get(annotated) == plane:
            self._touched.setdefault(annotated, {})[plane] = None
        self._on_show[annotated] = plane
        self._settled.start()

    def flush(self, annotated: AnnotatedImage | None = None) -> None:
        """Count and log what was painted, on one image or on all."""
        changed = False
        for one in [annotated] if annotated is not None else list(self._painted):
            for plane in self._painted.pop(one, {}):
                changed |= _count(one, plane, painted=True)
        if changed:
            self.counted.emit()

    def forget(self, annotated: AnnotatedImage) -> None:
        """Count and log what was painted on an image that is let go of."""
        self.flush(annotated)
        self._touched.pop(annotated, None)
        self._on_show.pop(annotated, None)

    def stop(self) -> None:
        """Wait for nothing any more."""
        self._settled.stop()

    def _on_settled(self) -> None:
        self.flush()
        changed = False
        for annotated, plane in list(self._on_show.items()):
            if annotated.active is None:  # else its preview is there; looked at when it is gone
                for touched in {**self._touched.pop(annotated, {}), plane: None}:
                    changed |= _count(annotated, touched, painted=False)
        if changed:
            self.counted.emit()


def _count(annotated: AnnotatedImage, plane: Plane, *, painted: bool) -> bool:
    """Count the objects of a plane and log it; tell whether any object changed."""
    if not annotated.mask.paintable:
        return False
    with annotated.bare():
        labels = annotated.mask.read_plane(plane)
        changed = annotated.annotation.recount(plane, labels)
    if (changed or painted) and annotated.journal is not None:
        annotated.journal.edit(plane, labels)
    return changed

"""What users and scripts painted on the labels: counted, and written into the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_spa.refine.annotation.objects import recounted
from napari_spa.viewer.background import later

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from napari_spa.core.plane import Plane
    from napari_spa.core.types import Region
    from napari_spa.viewer.annotation.image import AnnotatedImage
    from napari_spa.viewer.background import Worker

_SETTLED_MS = 400
_LARGE = 2**22
"""Of a plane of more pixels, what was painted on is counted, and the whole in the background."""


class PaintRecorder(QObject):
    """Painted planes that are due to be counted.

    A stroke belongs to the image and the plane it was painted on, whichever are on show when
    it is counted.  That happens once nothing was painted for a moment, so that many strokes
    are one record, and before anything that depends on it: :meth:`flush`.
    """

    counted = Signal()  # objects changed

    def __init__(self, worker: Worker, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._worker = worker
        self._counting: set[tuple[AnnotatedImage, Plane]] = set()  # in the background
        self._painted: dict[AnnotatedImage, dict[Plane, Region]] = {}
        self._touched: dict[AnnotatedImage, dict[Plane, None]] = {}
        self._on_show: dict[AnnotatedImage, Plane] = {}  # when labels were last seen to change
        self._settled = later(self, self._on_settled, _SETTLED_MS)

    @property
    def due(self) -> bool:
        """Whether something was painted that is not in the log yet."""
        return any(self._painted.values())

    def paint(self, annotated: AnnotatedImage, planes: Mapping[Plane, Region]) -> None:
        """Remember planes that were painted on, and where."""
        due = self._painted.setdefault(annotated, {})
        for painted, where in planes.items():
            for plane, region in _counted_on(annotated, painted, where):
                due[plane] = region.with_all_of(due.get(plane, region))
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
            for plane, region in self._painted.pop(one, {}).items():
                changed |= _count(one, plane, region)
        if changed:
            self.counted.emit()

    def forget(self, annotated: AnnotatedImage) -> None:
        """Count and log what was painted on an image that is let go of."""
        self.flush(annotated)
        self._touched.pop(annotated, None)
        self._on_show.pop(annotated, None)

    def _on_settled(self) -> None:
        self.flush()
        changed = False
        for annotated, plane in list(self._on_show.items()):
            if annotated.active is None:  # else its preview is there; looked at when it is gone
                for touched in {**self._touched.pop(annotated, {}), plane: None}:
                    if _large(annotated, touched):
                        self._count_later(annotated, touched)
                    else:
                        changed |= _count(annotated, touched)
        if changed:
            self.counted.emit()

    def _count_later(self, annotated: AnnotatedImage, plane: Plane) -> None:
        """Count the objects of a plane in the background, again if anything is done meanwhile."""
        if not annotated.mask.paintable:
            return
        if (annotated, plane) in self._counting:
            self._touched.setdefault(annotated, {})[plane] = None
            return
        self._counting.add((annotated, plane))
        mask, store = annotated.mask, annotated.mask.store
        changes, objects = mask.changes, annotated.annotation.objects

        def count(_: object) -> tuple[Any, Any]:
            try:
                labels = store.read(plane.slices)
                return labels, recounted(objects, plane, labels)
            finally:
                self._counting.discard((annotated, plane))

        def take(found: tuple[Any, Any]) -> None:
            if annotated not in self._on_show:
                return
            now = mask.changes, annotated.annotation.objects
            if now[0] != changes or now[1] is not objects or annotated.active is not None:
                self._touched.setdefault(annotated, {})[plane] = None
            elif annotated.annotation.take(found[1]):
                annotated.journal.edit(plane, found[0])
                self.counted.emit()
            if self._touched.get(annotated):
                self._settled.start()

        self._worker.submit_idle(count, take, surely=True)


def _counted_on(
    annotated: AnnotatedImage, plane: Plane, region: Region
) -> Iterator[tuple[Plane, Region]]:
    """Yield where what was painted is counted: on planes as those on which objects were seen."""
    objects = annotated.annotation.objects.values()
    axes = {one.parts[0].plane.axes for one in objects}
    for other in axes - {plane.axes}:
        yield from plane.across(region, other)
    if not axes or plane.axes in axes:
        yield plane, region


def _large(annotated: AnnotatedImage, plane: Plane) -> bool:
    height, width = plane.extent(annotated.mask.store.shape)
    return height * width > _LARGE


def _count(annotated: AnnotatedImage, plane: Plane, painted: Region | None = None) -> bool:
    """Count the objects of a plane and log it; tell whether any object changed."""
    mask = annotated.mask
    if not mask.paintable:
        return False
    region = painted if _large(annotated, plane) and painted != mask.whole(plane) else None
    with annotated.bare():
        labels = mask.read_plane(plane) if region is None else mask.read(plane, region)
        changed = annotated.annotation.recount(plane, labels, region)
    if changed or painted is not None:
        annotated.journal.edit(plane, labels, region)
    return changed

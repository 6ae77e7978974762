"""Show one image of a folder in the viewer, and take it away again with its layers."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from napari.layers import Image
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

from napari_spa.errors import SpaError
from napari_spa.io.projects.classes import FILE_NAME
from napari_spa.viewer.folder.reader import PROFILE_NAME
from napari_spa.viewer.folder.saver import PendingSave
from napari_spa.viewer.layers.planes import show_plane, shown_plane

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari.components import ViewerModel

    from napari_spa.core.plane import Plane
    from napari_spa.io.profiles.profile import PreferenceProfile
    from napari_spa.viewer.annotation.controller import AnnotationController
    from napari_spa.viewer.annotation.image import AnnotatedImage
    from napari_spa.viewer.autosave.recovery import Recovery
    from napari_spa.viewer.folder.reader import FolderLogLocation, ReadImage, ReadItem
    from napari_spa.viewer.folder.saver import FolderSaver


class RefineDockProtocol(Protocol):
    """Where objects are refined: the dock *SPA Refine*."""

    @property
    def refiner(self) -> AnnotationController:
        """What connects clicks to a session and layers."""
        ...

    @property
    def recovery(self) -> Recovery:
        """What brings work back."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class OpenItem:
    """The image of the folder that is on show."""

    image: ReadImage  # its pixels and name
    layer: Image  # its layer
    work: AnnotatedImage  # its objects
    place: FolderLogLocation  # where its work is kept
    desk: RefineDockProtocol  # where it is refined

    @property
    def name(self) -> str:
        """Of the image, in the folder."""
        return self.image.name


class FolderImageView(QObject):
    """The image of the folder that is in the viewer; the user's own layers stay."""

    proposed = Signal()  # A round of an object of this image is shown; its objects changed
    objects_changed = Signal()  # A round of an object of this image is shown; its objects changed
    gone = Signal(str)  # someone else took the image with this name away
    failed = Signal(str)  # what went wrong, in one sentence

    def __init__(
        self,
        viewer: ViewerModel,
        open_desk: Callable[[], RefineDockProtocol],
        saver: FolderSaver,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._open_desk, self._saver = viewer, open_desk, saver
        self.current: OpenItem | None = None
        self._desk: RefineDockProtocol | None = None
        self._taught: Path | None = None
        self._place: int | None = None
        self._gone: OpenItem | None = None
        self._gone_due = QTimer(self)  # goes with this object, as a single shot would not
        self._gone_due.setSingleShot(True)
        self._gone_due.timeout.connect(self._on_gone)

    def show(self, item: ReadItem, plane: Plane) -> None:
        """Show an image and what was done to it, at a slice; the one before is left."""
        self.leave(onward=True)
        image, viewer, desk = item.image, self._viewer, self._take_desk()
        refiner = desk.refiner
        viewer.dims.ndisplay = 2
        layer = Image(**image.layer())
        try:
            # First: napari draws an image at once when it comes, with what lies above it.
            work = refiner.works.annotate(layer, image.axes)
        except SpaError:
            refiner.works.clear()
            raise
        self._insert(layer)
        viewer.dims.order = tuple(range(viewer.dims.ndim))
        show_plane(viewer, layer, plane)
        work.facts, work.classes_file = image.facts, item.place.out / FILE_NAME
        item.place.work, item.place.info = work, image.file.info
        refiner.keeper.keep_at(work, item.place)
        self.current = OpenItem(image, layer, work, item.place, desk)
        viewer.reset_view()
        refiner.classes.refresh()
        profile = self._profile(item.place, refiner)
        if item.recovered is not None:
            desk.recovery.resume(work, replace(item.recovered, profile=profile))
        elif profile is not None:
            refiner.profiles.adopt(profile)

    def leave(self, *, onward: bool = False) -> OpenItem | None:
        """Take the image and its layers away; its work is saved in the background."""
        if self._gone is not None:
            self._gone_due.stop()
            self._on_gone()
        current, self.current = self.current, None
        if current is None:
            return None
        layers = self._viewer.layers
        # napari collects garbage after each layer; of several at once, after all of them.
        with getattr(layers, "batched_update", nullcontext)():
            current.desk.refiner.leave(current.work, onward=onward)
            if current.layer in layers:
                self._place = layers.index(current.layer)
                layers.remove(current.layer)
        return current

    def _insert(self, layer: Image) -> None:
        """Add an image where the one before was, so that what lay above it lies above."""
        layers = self._viewer.layers
        place, self._place = self._place, None
        layers.insert(len(layers) if place is None else min(place, len(layers)), layer)
        layers.selection.active = layer

    def left(self, place: FolderLogLocation) -> None:
        """Save the work on an image that is let go of, whoever lets go."""
        if self.current is not None and self.current.place is place:
            # The user removed its layer; what else that starts comes first.
            self._gone = self.current
            self._gone_due.start()
        log, work, info = place.open_log, place.work, place.info
        if log is not None and work is not None and info is not None:
            notes = work.annotation.notes
            self._saver.save(PendingSave(place, work.mask.store, info, log.touched, notes))

    def plane(self) -> Plane | None:
        """Return the slice on show."""
        if self.current is None:
            return None
        try:
            return shown_plane(self._viewer, self.current.layer)
        except SpaError:
            return None

    def _on_gone(self) -> None:
        item, self._gone = self._gone, None
        if item is None or self.current is not item:
            return
        self.current = None
        mask = item.work.mask
        if mask.shown:
            self._viewer.layers.remove(mask.layer)
        self.gone.emit(item.name)

    def _take_desk(self) -> RefineDockProtocol:
        desk = self._open_desk()
        if desk is not self._desk:
            self._desk = desk
            desk.refiner.proposed.connect(self._on_proposed)
            desk.refiner.objects_changed.connect(self._on_objects)
        return desk

    def _on_proposed(self, *_: object) -> None:
        if self._ours():
            self.proposed.emit()

    def _on_objects(self) -> None:
        if self._ours():
            self.objects_changed.emit()

    def _ours(self) -> bool:
        """Tell whether the image that is annotated is the folder's."""
        current = self.current
        return current is not None and current.desk.refiner.current is current.work

    def _profile(
        self, place: FolderLogLocation, refiner: AnnotationController
    ) -> PreferenceProfile | None:
        """Return what was learnt in this project, once, when nothing else was chosen."""
        from napari_spa.io.profiles.profile import PreferenceProfile

        path = place.out / PROFILE_NAME
        if self._taught == path or not path.exists():
            return None
        if refiner.profiles.chosen is not None or refiner.profiles.profile is not None:
            return None
        self._taught = path
        try:
            return PreferenceProfile.load(path)
        except SpaError as error:
            self.failed.emit(str(error))
            return None

"""Show one image of a folder in the viewer, and take it away again with its layers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari.layers import Image
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_spa.errors import SpaError
from napari_spa.io.projects.classes import FILE_NAME
from napari_spa.viewer.background import later
from napari_spa.viewer.compat import old_objects
from napari_spa.viewer.folder.reader import PROFILE_NAME, FolderLogLocation, ReadImage, ReadItem
from napari_spa.viewer.folder.saver import FolderSaver, PendingSave
from napari_spa.viewer.layers.planes import plane_on_slider, show_plane

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari.components import ViewerModel

    from napari_spa.core.plane import Plane
    from napari_spa.io.profiles import PreferenceProfile
    from napari_spa.viewer.annotation.controller import AnnotationController
    from napari_spa.viewer.annotation.image import AnnotatedImage


@dataclass(frozen=True, slots=True, eq=False)
class OpenItem:
    """The image of the folder that is on show."""

    image: ReadImage  # its pixels and name
    layer: Image  # its layer
    annotated: AnnotatedImage  # its objects
    location: FolderLogLocation  # where its work is kept
    controller: AnnotationController  # by which it is refined

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
    refused = Signal(str)  # what cannot be done on this image, said by its dock already

    def __init__(
        self,
        viewer: ViewerModel,
        open_refine_dock: Callable[[], AnnotationController],
        saver: FolderSaver,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._open_refine_dock, self._saver = viewer, open_refine_dock, saver
        self.current: OpenItem | None = None
        self._controller: AnnotationController | None = None  # of the dock that is open
        self._taught: Path | None = None
        self._place: int | None = None
        self._gone: OpenItem | None = None
        self._gone_due = later(self, self._on_gone)

    def show(self, item: ReadItem, plane: Plane) -> None:
        """Show an image and what was done to it, at a slice; the one before is left."""
        self.leave(onward=True)
        image, viewer, controller = item.image, self._viewer, self._connect_dock()
        viewer.dims.ndisplay = 2
        layer = Image(**image.layer())
        try:
            # First: napari draws an image at once when it comes, with what lies above it.
            annotated = controller.images.annotate(layer, image.axes)
        except SpaError:
            controller.images.clear()
            raise
        self._insert(layer)
        viewer.dims.order = tuple(range(viewer.dims.ndim))
        show_plane(viewer, layer, plane)
        annotated.facts, annotated.classes_file = image.facts, item.location.out / FILE_NAME
        item.location.annotated, item.location.info = annotated, image.file.info
        annotated.location = item.location
        self.current = OpenItem(image, layer, annotated, item.location, controller)
        viewer.reset_view()
        controller.classes.refresh()
        profile = self._profile(item.location, controller)
        if item.recovered is not None:
            # Of the user or of a batch.
            recovered = replace(item.recovered, profile=profile)
            controller.recovery.resume(annotated, recovered, words="Opened")
        elif profile is not None:
            controller.profiles.adopt(profile)

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
        with layers.batched_update():
            current.controller.leave(current.annotated, onward=onward)
            if current.layer in layers:
                self._place = layers.index(current.layer)
                layers.remove(current.layer)
        old_objects.spare(again=False)  # before the next image's layers come, which go as soon
        return current

    def _insert(self, layer: Image) -> None:
        """Add an image where the one before was, so that what lay above it lies above."""
        layers = self._viewer.layers
        location, self._place = self._place, None
        layers.insert(len(layers) if location is None else min(location, len(layers)), layer)
        layers.selection.active = layer

    def left(self, location: FolderLogLocation) -> None:
        """Save the work on an image that is left, for whatever reason."""
        if self.current is not None and self.current.location is location:
            # The user removed its layer; what else that starts comes first.
            self._gone = self.current
            self._gone_due.start()
        log, annotated, info = location.open_log, location.annotated, location.info
        if log is not None and annotated is not None and info is not None:
            notes, due = annotated.annotation.notes, log.touched or location.behind
            self._saver.save(PendingSave(location, annotated.mask.store, info, due, notes))

    def plane(self) -> Plane | None:
        """Return the slice on show."""
        return plane_on_slider(self._viewer, None if self.current is None else self.current.layer)

    def _on_gone(self) -> None:
        item, self._gone = self._gone, None
        if item is None or self.current is not item:
            return
        self.current = None
        mask = item.annotated.mask
        if mask.shown:
            self._viewer.layers.remove(mask.layer)
        self.gone.emit(item.name)

    def _connect_dock(self) -> AnnotationController:
        controller = self._open_refine_dock()
        if controller is not self._controller:
            self._controller = controller
            controller.proposed.connect(self._on_proposed)
            controller.images.painting.counted.connect(self._on_proposed)
            controller.objects_changed.connect(self._on_objects)
            controller.failed.connect(self._on_refused)
        return controller

    def _on_proposed(self, *_: object) -> None:
        if self._ours():
            self.proposed.emit()

    def _on_objects(self) -> None:
        if self._ours():
            self.objects_changed.emit()

    def _on_refused(self, sentence: str) -> None:
        if self._ours():
            self.refused.emit(sentence)

    def _ours(self) -> bool:
        """Tell whether the image that is annotated is the folder's."""
        current = self.current
        return current is not None and current.controller.current is current.annotated

    def _profile(
        self, location: FolderLogLocation, controller: AnnotationController
    ) -> PreferenceProfile | None:
        """Return what was learnt in this project, once, when nothing else was chosen."""
        from napari_spa.io.profiles import PreferenceProfile

        path = location.out / PROFILE_NAME
        if self._taught == path or not path.exists():
            return None
        if controller.profiles.chosen is not None or controller.profiles.profile is not None:
            return None
        self._taught = path
        try:
            return PreferenceProfile.load(path)
        except SpaError as error:
            self.failed.emit(str(error))
            return None

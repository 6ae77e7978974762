"""Write labels, logs and index of a folder's project in the background; no one waits for it."""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_spa.core.presentation import first_of
from napari_spa.errors import InputError, SpaError
from napari_spa.io.files import put_aside
from napari_spa.io.projects.classes import ObjectNote, write_notes
from napari_spa.io.projects.paths import labels_path, log_path, notes_path
from napari_spa.viewer.folder.reader import FolderLogLocation, ReadImage, recover

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from napari_spa.io.images import ImageInfo
    from napari_spa.io.projects.project import Project
    from napari_spa.viewer.layers.label_storage import LabelStore

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, eq=False)
class PendingSave:
    """The work on an image that is left."""

    location: FolderLogLocation  # where it is kept
    store: LabelStore  # its labels; no one changes them any more
    info: ImageInfo  # axes and pixel size
    labels: bool  # whether the labels have to be written
    notes: Mapping[int, ObjectNote] = field(default_factory=dict)  # said of its objects


class FolderSaver(QObject):
    """One thread that writes, in order; what fails is kept and tried again."""

    # What could not be written, in one sentence; once until writing works again.
    failed = Signal(str)
    unsaved_changed = Signal(object)  # names of the images whose work is in memory only, as a tuple

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="napari-spa-folder-save")
        self._project: Project | None = None
        # By its log: images of several folders may have one name.
        self._leaving: dict[Path, PendingSave] = {}
        self._lent: dict[Path, PendingSave] = {}
        self._changes: dict[Project, dict[str, dict[str, Any]]] = {}
        self._told, self._why = False, ""

    @property
    def unsaved(self) -> tuple[str, ...]:
        """Names of the images whose work is in memory only."""
        return tuple(sorted(leaving.location.name for leaving in self._leaving.values()))

    def begin(self, project: Project) -> None:
        """Write for this project from now on; what there is of another is written first."""
        self.flush()

        def take() -> None:
            self._project, self._told = project, False

        self.run(take).result()

    def index(self, name: str, **changes: object) -> None:
        """Write what changed about an image into the index."""
        self.run(lambda: self._index(name, changes))

    def save(self, leaving: PendingSave) -> None:
        """Write the work on an image that is left, and close its log."""
        self.run(lambda: self._save(leaving))

    def keep(self, location: FolderLogLocation, image: ReadImage) -> Future[None]:
        """Write the labels of what is accepted on an image that is still on show."""
        return self.run(lambda: self._keep(location, image))

    def location(
        self, out: Path, name: str, left: Callable[[FolderLogLocation], None]
    ) -> FolderLogLocation:
        """Return where an image's work is kept, once all so far is written; in any thread.

        What could not be written goes with it, until it is left or given back.
        """

        def make() -> FolderLogLocation:
            log = log_path(out, name)
            kept = self._leaving.pop(log, None)
            known = None if kept is None else kept.location.open_log
            location = FolderLogLocation(out, name, left, known, self._tell)
            if kept is not None:
                self._lent[log] = kept
            return location

        return self.run(make).result()

    def return_pending(self, log: Path) -> None:
        """Keep what :meth:`location` gave away, because the image was not opened after all."""

        def keep() -> None:
            kept = self._lent.pop(log, None)
            if kept is not None:
                self._save(kept)

        self.run(keep)

    def run(self, action: Callable[[], _T]) -> Future[_T]:
        """Do something after all that is to be written so far.

        Here and now when the thread has ended, so that nothing is lost.
        """
        try:
            return self._writer.submit(action)
        except RuntimeError:  # an image was being read when the dock was closed
            done: Future[_T] = Future()
            done.set_result(action())
            return done

    def try_again(self) -> None:
        """Write what could not be written before; what still cannot be is said."""

        def again() -> None:
            self._told, self._why = True, ""  # in one sentence for all
            self._try_again()
            if self._why:
                what = first_of(self.unsaved) or "the list of images"
                self.failed.emit(
                    f"Still not saved: {what} ({self._why.rstrip('.')}). Once that is mended, "
                    "press Save again; until then it stays in memory."
                )

        self.run(again)

    def flush(self) -> None:
        """Wait until everything that can be written is."""
        self.run(self._try_again).result()

    def close(self) -> tuple[str, ...]:
        """Write what is left and end the thread."""
        self.flush()
        self._writer.shutdown(wait=True)
        for leaving in self._leaving.values():
            if leaving.location.open_log is not None:
                leaving.location.open_log.close()
        return self.unsaved

    # ------------------------------------------------------------------ in the thread

    def _try_again(self) -> None:
        for leaving in list(self._leaving.values()):
            self._save(leaving)
        self._write_index()

    def _index(self, name: str, changes: dict[str, object]) -> None:
        if self._project is not None:
            mine = self._changes.setdefault(self._project, {})
            mine.setdefault(name, {}).update(changes)
        self._write_index()

    def _write_index(self) -> None:
        refusing: set[Project] = set()
        for project, name in [(p, name) for p, names in self._changes.items() for name in names]:
            if project in refusing:
                continue
            try:
                project.update(name, **self._changes[project][name])
            except InputError as error:  # an image that is not listed any more
                _logger.info("%s", error)
            except SpaError as error:
                self._tell(str(error))
                refusing.add(project)
                continue
            except Exception as error:  # a thread that dies would lose what comes after
                _logger.exception("the index could not be written")
                self._tell(f"the state of {name} could not be written ({error}).")
            del self._changes[project][name]
        if not refusing:
            self._changes.clear()
        if not (refusing or self._leaving):
            self._told = False

    def _save(self, leaving: PendingSave) -> None:
        name, log = leaving.location.name, leaving.location.open_log
        kept = True
        if log is not None:
            log.flush()
            kept = log.saved
            if not kept:  # it has said so itself
                self._told, self._why = True, log.problem
        if leaving.labels:
            try:
                _write_labels(leaving)
            except SpaError as error:
                kept = False
                self._tell(f"{str(error).rstrip('.')}; your work on it stays in memory.")
                self._why = str(error)
            except Exception as error:  # a thread that dies would lose what comes after
                _logger.exception("labels could not be written")
                kept = False
                self._tell(f"the labels of {name} could not be written ({error}).")
        if kept:
            self._leaving.pop(leaving.location.log, None)
            if log is not None:
                log.close()
        else:
            self._leaving[leaving.location.log] = leaving
        self.unsaved_changed.emit(self.unsaved)

    def _keep(self, location: FolderLogLocation, image: ReadImage) -> None:
        if location.open_log is None or not location.open_log.touched:
            return
        try:
            # From the log: the layer's labels hold the active object as well.
            found = recover(image, location)
            if found is not None:
                notes = found.session.annotation.notes
                _write_labels(PendingSave(location, found.store, image.file.info, True, notes))
        except SpaError as error:
            self._tell(str(error))

    def _tell(self, sentence: str) -> None:
        self._why = sentence
        if not self._told:
            self._told = True
            self.failed.emit(sentence)


def _write_labels(leaving: PendingSave) -> None:
    from napari_spa.io.images import write_labels

    store, location = leaving.store, leaving.location
    finest = store.first()
    labels = np.asarray(finest) if store.ndim == 2 else finest
    out, name = location.out, location.name
    if location.before and labels_path(out, name).exists():  # they came without a log
        put_aside(labels_path(out, name), "came from elsewhere")
    location.before = ()
    write_notes(notes_path(out, name), leaving.notes, within=out)
    write_labels(labels_path(out, name), labels, leaving.info, highest=store.highest(), within=out)

"""The classes that objects of the image on show can be of, and the one new objects get."""

from __future__ import annotations

from typing import TYPE_CHECKING

import platformdirs
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_spa.errors import SpaError
from napari_spa.io.projects.classes import (
    FILE_NAME,
    ObjectClass,
    ObjectNote,
    make_class,
    read_classes,
    with_unknown,
    write_classes,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_spa.viewer.annotation.images import AnnotatedImages


class ClassList(QObject):
    """The list of the project, or, for images of none, of the user; saved when it changes.

    Classes of objects that the list does not know, as those of a colleague's log, are shown
    with it, and saved with its next change.
    """

    changed = Signal()  # the list, or which class new objects get
    failed = Signal(str)  # the list could not be read or written, in one sentence

    def __init__(self, images: AnnotatedImages, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._images = images
        self._path: Path | None = None
        self._in_project = False  # whose folder is not made again
        self.entries: tuple[ObjectClass, ...] = ()
        self.current = ""
        self.by_class = False
        images.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Take the list of the image on show, and the classes that its objects are of."""
        annotated, entries = self._images.current, self.entries
        path = None if annotated is None else annotated.classes_file
        self._in_project = path is not None
        path = path or platformdirs.user_config_path("napari-spa", appauthor=False) / FILE_NAME
        if path != self._path:
            self._path, entries = path, self._read(path)
        if annotated is not None:
            active = annotated.annotation.objects.values()
            entries = with_unknown(entries, [one.class_name for one in active])
        if entries != self.entries:
            self._take(entries)

    def set_by_class(self, on: bool) -> None:
        """Draw objects in the colours of their classes, or each in one of its own."""
        if on != self.by_class:
            self.by_class = on
            self.changed.emit()

    def colours(self, notes: Mapping[int, ObjectNote]) -> dict[int, str] | None:
        """Return the colours that objects are drawn in; None for one of its own for each."""
        known = {one.name: one.colour for one in self.entries}
        said = ((number, known.get(note.class_name)) for number, note in notes.items())
        return {number: colour for number, colour in said if colour} if self.by_class else None

    def choose(self, name: str) -> None:
        """Give new objects this class; an empty name for none."""
        if name != self.current and (not name or any(one.name == name for one in self.entries)):
            self.current = name
            self.changed.emit()

    def step(self) -> str:
        """Give new objects the next class of the list, after the last none; return its name."""
        names = ["", *(one.name for one in self.entries)]
        self.choose(names[(names.index(self.current) + 1) % len(names)])
        return self.current

    def add(self, name: str, colour: str | None = None) -> None:
        """Add a class, and give it to new objects; ``InputError`` when it cannot be."""
        new = make_class(name, colour, among=self.entries)
        self.replace((*self.entries, new))
        self.choose(new.name)

    def recolour(self, name: str, colour: str) -> None:
        """Give a class another colour."""
        entries = [
            make_class(one.name, colour if one.name == name else one.colour) for one in self.entries
        ]
        self.replace(entries)

    def remove(self, name: str) -> None:
        """Take a class out of the list, and leave objects of it as they are."""
        self.replace([one for one in self.entries if one.name != name])

    def load(self, path: Path) -> None:
        """Take the classes of a file in place of these; ``DataError`` when it holds none."""
        self.replace(read_classes(path))

    def replace(self, entries: Sequence[ObjectClass]) -> None:
        """Take other classes and save them."""
        self._take(tuple(entries))
        try:
            if self._path is not None:
                within = self._path.parent if self._in_project else None
                write_classes(self._path, self.entries, within=within)
        except SpaError as error:
            self.failed.emit(f"the classes could not be saved: {error}")
        self.refresh()  # those that objects are of stay

    def _take(self, entries: tuple[ObjectClass, ...]) -> None:
        self.entries = entries
        if all(one.name != self.current for one in entries):
            self.current = ""
        self.changed.emit()

    def _read(self, path: Path) -> tuple[ObjectClass, ...]:
        if not path.exists():
            return ()
        try:
            return read_classes(path)
        except SpaError as error:
            self.failed.emit(str(error))
            return ()

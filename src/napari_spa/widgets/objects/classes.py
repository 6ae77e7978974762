"""The class that new objects get, and the list of classes; only shows and asks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QColorDialog,
    QComboBox,
    QFileDialog,
    QInputDialog,
    QLabel,
    QMenu,
    QSizePolicy,
    QWidget,
)

from napari_spa.widgets.common.buttons import FittingButton, open_menu, tip_with_key
from napari_spa.widgets.common.layouts import column_of, row_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_spa.io.projects.classes import ObjectClass

NO_CLASS = "No class"
_FILES = "Classes (*.json);;All files (*)"


class ClassBar(QWidget):
    """One line: which class new objects get, and a menu to change the list."""

    chosen = Signal(str)  # new objects shall be of this class; empty for none
    add_requested = Signal(str)  # a class of this name shall be added
    colour_requested = Signal(str, str)  # this class shall have this colour, "#rrggbb"
    remove_requested = Signal(str)  # this class shall leave the list
    import_requested = Signal(str)  # the classes of this file shall be taken
    export_requested = Signal(str)  # the classes shall be written to this file

    by_class_requested = Signal(bool)  # objects shall be drawn in the colours of their classes

    def __init__(self) -> None:
        super().__init__()
        self.entries: tuple[ObjectClass, ...] = ()
        self.by_class = False
        self.combo = QComboBox()
        self.combo.setAccessibleName("Class of new objects")
        self.combo.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.combo.activated.connect(self._on_activated)
        self.more = FittingButton("Classes ▾")
        self.more.setToolTip(
            "Add, colour, remove, import and export classes; colour objects by them."
        )
        self.more.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
        self.more.clicked.connect(self._on_more)
        column_of(row_of(QLabel("Class"), self.combo, self.more, grows=self.combo), holder=self)
        self.set_key("")
        self.set_classes((), "")

    def set_classes(self, classes: Sequence[ObjectClass], current: str) -> None:
        """Show other classes, and which one new objects get; emits nothing."""
        self.entries = tuple(classes)
        self.combo.clear()
        self.combo.addItem(NO_CLASS, "")
        for one in self.entries:
            self.combo.addItem(_square(one.colour), one.name, one.name)
        self.combo.setCurrentIndex(max(0, self.combo.findData(current)))

    def set_key(self, key: str) -> None:
        """Show another key for the next class."""
        tip = "The class of new objects; those there are keep theirs."
        self.combo.setToolTip(tip_with_key(tip, key))

    def menu(self) -> QMenu:
        """Make the menu of the list; what is about one class is about the chosen one."""
        menu, name = QMenu(self), self.combo.currentData()
        menu.addAction("Add a class…", self._ask_new)
        if name:
            shown = name.replace("&", "&&")
            menu.addAction(f"Colour of {shown}…", partial(self._ask_colour, name))
            menu.addAction(f"Remove {shown}", partial(self.remove_requested.emit, name))
        menu.addSeparator()
        wanted = partial(self.by_class_requested.emit, not self.by_class)
        action = menu.addAction("Colour objects by class", wanted)
        if action is not None:
            action.setCheckable(True)
            action.setChecked(self.by_class)
        menu.addSeparator()
        menu.addAction("Import…", self._ask_import)
        if self.entries:
            menu.addAction("Export…", self._ask_export)
        return menu

    def _on_activated(self, place: int) -> None:
        self.chosen.emit(self.combo.itemData(place))

    def _on_more(self) -> None:
        open_menu(self.menu(), self.more)

    def _ask_new(self) -> None:
        name, chosen = QInputDialog.getText(self, "Add a class", "Name of the class:")
        if chosen:
            self.add_requested.emit(name)

    def _ask_colour(self, name: str) -> None:
        now = next(one.colour for one in self.entries if one.name == name)
        colour = QColorDialog.getColor(QColor(now), self, f"Colour of {name}")
        if colour.isValid():
            self.colour_requested.emit(name, colour.name())

    def _ask_import(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Import classes", "", _FILES)
        if path:
            self.import_requested.emit(path)

    def _ask_export(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Export classes", "classes.json", _FILES)
        if path:
            self.export_requested.emit(path)


def _square(colour: str) -> QIcon:
    picture = QPixmap(QSize(12, 12))
    picture.fill(QColor(colour))
    return QIcon(picture)

"""The tab Objects: the table, the class of new objects, and the controls around both."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, QPoint, QSize, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QColorDialog,
    QFileDialog,
    QInputDialog,
    QLabel,
    QMenu,
    QSizePolicy,
    QStackedWidget,
    QWidget,
)

from napari_spa.widgets.common.buttons import (
    FittingButton,
    NoWheelComboBox,
    add_entry,
    open_menu,
    sure,
    tip_with_key,
)
from napari_spa.widgets.common.layouts import column_of, even_row, row_of, tip_button, wrapped
from napari_spa.widgets.objects.rows import HEADINGS, ObjectModel, ObjectRow, ObjectView, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_spa.io.projects.classes import ObjectClass


NO_CLASS = "No class"
_FILES = "Classes (*.json);;All files (*)"
_READ = "Classes (*.json *.txt);;All files (*)"


class ClassBar(QWidget):
    """One line: which class new objects get, and a menu to change the list."""

    chosen = Signal(str)  # new objects shall be of this class; empty for none
    add_requested = Signal(str)  # a class of this name shall be added
    colour_requested = Signal(str, str)  # this class shall have this colour, "#rrggbb"
    rename_requested = Signal(str, str)  # this class shall be called so
    remove_requested = Signal(str)  # this class shall leave the list
    import_requested = Signal(object)  # the classes of this file (a path) shall be taken
    export_requested = Signal(object)  # the classes shall be written to this file (a path)
    by_class_requested = Signal(bool)  # objects shall be drawn in the colours of their classes

    def __init__(self) -> None:
        super().__init__()
        self.entries: tuple[ObjectClass, ...] = ()
        self.by_class = False
        self.combo = NoWheelComboBox("Class of new objects")
        self.combo.currentTextChanged.disconnect()  # its tooltip has the key
        self.combo.activated.connect(lambda at: self.chosen.emit(self.combo.itemData(at)))
        tip = "Add, rename, colour, remove, import and export classes; colour objects by them."
        self.more = tip_button("Classes ▾", tip=tip, narrow=True)
        self.more.on_click(lambda: open_menu(self.menu(), self.more))
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
            menu.addAction(f"Rename {shown}…", partial(self._ask_name, name))
            menu.addAction(f"Colour of {shown}…", partial(self._ask_colour, name))
            menu.addAction(f"Remove {shown}", partial(self.remove_requested.emit, name))
        menu.addSeparator()
        wanted = partial(self.by_class_requested.emit, not self.by_class)
        add_entry(menu, "Colour objects by class", wanted, checked=self.by_class)
        menu.addSeparator()
        menu.addAction("Import…", self._ask_import)
        if self.entries:
            menu.addAction("Export…", self._ask_export)
        return menu

    def _ask_new(self) -> None:
        name, chosen = QInputDialog.getText(self, "Add a class", "Name of the class:")
        if chosen:
            self.add_requested.emit(name)

    def _ask_name(self, name: str) -> None:
        words = f"Name of {name}, and of the class of its objects:"
        new, chosen = QInputDialog.getText(self, "Rename a class", words, text=name)
        if chosen:
            self.rename_requested.emit(name, new)

    def _ask_colour(self, name: str) -> None:
        now = next(one.colour for one in self.entries if one.name == name)
        colour = QColorDialog.getColor(QColor(now), self, f"Colour of {name}")
        if colour.isValid():
            self.colour_requested.emit(name, colour.name())

    def _ask_import(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Import classes", "", _READ)
        if path:
            self.import_requested.emit(Path(path))

    def _ask_export(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Export classes", "classes.json", _FILES)
        if path:
            self.export_requested.emit(Path(path))


def _square(colour: str) -> QIcon:
    picture = QPixmap(QSize(12, 12))
    picture.fill(QColor(colour))
    return QIcon(picture)


EMPTY = "Accepted objects appear here.\nClick an object in the image, pick, accept."
_ACTIONS = {
    "reopen": ("Reopen", "Refine the selected object further, with its history."),
    "delete": ("Delete", "Delete the selected objects."),
    "edit": ("Edit by hand", "Paint on the selected object with napari's brush, or end that."),
    "merge": ("Merge…", "Click on the object that shall become a part of the selected one."),
    "split": ("Split…", "Draw a line across an object; each side becomes an object."),
    "segment": ("Segment all", "Find all objects on this slice; keep or drop them."),
    "refine": ("Refine a label…", "Start from an object of another labels layer."),
    "take": ("Take over…", "Make all labels of another layer objects, or write objects back."),
    "export": ("Export…", "Save the labels, the measures of all objects and more."),
}
_KEYED = {
    "delete": "delete_object",
    "edit": "edit_by_hand",
    "merge": "merge_objects",
    "split": "split_object",
}
"""What an act is called in the settings, where its key is, if not as here."""
_OF_ONE = ("reopen", "edit", "merge")
_TOOLS = ("edit", "merge", "split")  # that stay in use until the act is done
_IN_TABLE = {
    "reopen": "Or double click its row.",
    "delete": "Or press Delete in the table; Shift or Ctrl and click selects several.",
}


class ObjectTable(QWidget):
    """All objects of an image; only shows and asks."""

    go_to_requested = Signal(int)  # the object with this number shall be shown
    reopen_requested = Signal(int)  # the object shall be refined further
    delete_requested = Signal(int)  # the object shall be deleted
    delete_all_requested = Signal(object)  # these objects shall be deleted, as one act
    delete_here_requested = Signal(int)  # on the slice that is on show alone
    rename_requested = Signal(int, str)  # the object shall be called so
    class_requested = Signal(object, str)  # these objects shall be of this class; empty for none
    edit_requested = Signal()  # the selected object shall be edited by hand, or no more
    merge_requested = Signal()  # the selected object shall take another one
    split_requested = Signal()  # an object shall be split along a line
    segment_requested = Signal()  # all objects shall be found
    take_requested = Signal()  # all labels of a layer shall become objects
    keep_requested = Signal(object)  # these objects, which wait for a look, are right
    drop_requested = Signal(object)  # of these objects, what waits for a look is not
    refine_requested = Signal()  # an object of another labels layer shall be refined
    export_requested = Signal()  # the measures shall be saved

    def __init__(self, colour_of: Callable[[int], Sequence[float] | None]) -> None:
        super().__init__()
        self._model = ObjectModel(colour_of)
        self.view = ObjectView(self._model)
        self.view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.summary = wrapped()
        self.summary.installEventFilter(self)
        self.empty = wrapped(EMPTY)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.pages = QStackedWidget()
        self.pages.addWidget(self.empty)
        self.pages.addWidget(self.view)
        self.pages.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.buttons = {action: FittingButton() for action in _ACTIONS}
        for action in _TOOLS:
            self.buttons[action].setCheckable(True)
        self.classes = ClassBar()
        self.keep_all = tip_button(tip="Accept all objects that need review.")
        tip = "Delete all that needs review, and nothing that was accepted; Undo brings it back."
        self.drop_all = tip_button(tip=tip)
        self.review = even_row((2, 1), self.keep_all, self.drop_all)
        acts = even_row((3, 2, 1), *self.buttons.values())
        column_of(
            *(self.classes, self.summary, self.pages, self.review, acts),
            grows=self.pages,
            holder=self,
        )
        self._connect()
        self.set_keys({})
        self.set_rows(())

    def _connect(self) -> None:
        self.view.went.connect(self.go_to_requested)
        self.view.reopened.connect(self.reopen_requested)
        self.view.deleted.connect(self._delete)
        self.view.renamed.connect(self.ask_name)
        self.view.customContextMenuRequested.connect(self._on_menu)
        sure(self.view.selectionModel()).selectionChanged.connect(self._refresh)
        for action, button in self.buttons.items():
            if action not in ("reopen", "delete"):
                button.on_click(getattr(self, f"{action}_requested").emit)
        reopen = partial(self._with_selected, self.reopen_requested)
        self.buttons["reopen"].on_click(reopen)
        self.buttons["delete"].on_click(lambda: self._delete(self.view.chosen()))
        self.keep_all.on_click(lambda: self.keep_requested.emit(self._waiting()))
        self.drop_all.on_click(lambda: self.drop_requested.emit(self._waiting()))

    def set_rows(self, rows: Sequence[ObjectRow]) -> None:
        """Show other rows, sorted by the column that was chosen in the heading.

        The selection and the place scrolled to stay; nothing is emitted.
        """
        if tuple(rows) != self._model.rows:
            self.view.set_rows(rows)
        self.summary.setText(summary(rows) if rows else "No objects yet")
        self.pages.setCurrentWidget(self.view if rows else self.empty)
        self._refresh()

    def select(self, number: int | None) -> None:
        """Select an object and bring it into view, or select nothing; emits nothing."""
        self.view.select(number)

    def set_keys(self, keys: Mapping[str, str]) -> None:
        """Show other keys."""
        self.classes.set_key(keys.get("next_class", ""))
        for action, (text, tip) in _ACTIONS.items():
            button, key = self.buttons[action], keys.get(_KEYED.get(action, action), "")
            button.set_texts(text)  # there is room for the keys of some of them only
            about = "\n".join(filter(None, [tip, _IN_TABLE.get(action, "")]))
            button.setToolTip(tip_with_key(about, key))
            button.setAccessibleName(f"{text}: {tip}")

    def refresh_colours(self) -> None:
        """Ask for the objects' colours again, after the labels' colours changed."""
        self._model.refresh_colours()

    def _refresh(self, *_: object) -> None:
        one = self.view.selected() is not None
        for action in _OF_ONE:
            self.buttons[action].setEnabled(one)
        self.buttons["delete"].setEnabled(bool(self.view.chosen()))
        self.buttons["edit"].setEnabled(one or self.buttons["edit"].isChecked())
        self.buttons["split"].setEnabled(bool(self._model.rows))
        self.buttons["export"].setEnabled(bool(self._model.rows))
        waiting = len(self._waiting())
        self.keep_all.set_texts(f"Keep all ({waiting})", "Keep all")
        self.drop_all.set_texts(f"Drop all ({waiting})", "Drop all")
        self.review.setVisible(waiting > 0)

    def set_tool(self, action: str | None) -> None:
        """Show which of edit, merge and split is in use; emits nothing."""
        for tool in _TOOLS:
            self.buttons[tool].setChecked(tool == action)
        self._refresh()

    def set_classes(self, classes: Sequence[ObjectClass], current: str) -> None:
        """Show other classes, and which one new objects get; emits nothing."""
        self.classes.set_classes(classes, current)
        self._model.class_colours = {one.name: one.rgb for one in classes}
        self.refresh_colours()

    def ask_name(self, number: int) -> None:
        """Ask what an object shall be called."""
        row = next((row for row in self._model.rows if row.number == number), None)
        if row is None:
            return
        name, chosen = QInputDialog.getText(
            self, "Name", f"Name of object {number}:", text=row.name
        )
        if chosen:
            self.rename_requested.emit(number, name)

    def _waiting(self) -> list[int]:
        return [row.number for row in self._model.rows if row.status == "review"]

    def _with_selected(self, wanted: Any) -> None:
        number = self.view.selected()
        if number is not None:
            wanted.emit(number)

    def _delete(self, numbers: Sequence[int]) -> None:
        if len(numbers) == 1:
            self.delete_requested.emit(numbers[0])
        elif numbers:
            self.delete_all_requested.emit(numbers)

    def menu(self) -> QMenu:
        """Make the menu of the selected objects."""
        menu, chosen, number = QMenu(self), self.view.chosen(), self.view.selected()
        if len(chosen) > 1:
            menu.addAction(f"Delete {len(chosen)} objects\tDel", partial(self._delete, chosen))
            self._add_naming(menu, chosen)
            menu.addSeparator()
        if number is not None:
            for text, action in (
                (f"Go to object {number}\tEnter", self.go_to_requested),
                ("Reopen\tDouble click", self.reopen_requested),
                ("Delete\tDel", self.delete_requested),
            ):
                menu.addAction(text, partial(action.emit, number))
            row = next(row for row in self._model.rows if row.number == number)
            if len(row.places) > 1:
                here = partial(self.delete_here_requested.emit, number)
                menu.addAction(f"Delete on this {row.unit}", here)
            menu.addAction("Name…\tF2", partial(self.ask_name, number))
            self._add_naming(menu, chosen)
            menu.addSeparator()
        order = sure(menu.addMenu("Sort by"))
        for column, heading in enumerate(HEADINGS):
            order.addAction(heading, partial(self.view.sort_by, column))
        return menu

    def _add_naming(self, menu: QMenu, numbers: Sequence[int]) -> None:
        """Add of which class objects are, and whether they are right."""
        rows = [row for row in self._model.rows if row.number in numbers]
        classes, now = sure(menu.addMenu("Class")), {row.class_name for row in rows}
        for name in ("", *(one.name for one in self.classes.entries)):
            wanted = partial(self.class_requested.emit, numbers, name)
            add_entry(classes, name or NO_CLASS, wanted, checked=now == {name})
        waiting = [row.number for row in rows if row.status == "review"]
        if waiting:
            menu.addAction("Keep", partial(self.keep_requested.emit, waiting))

    def _on_menu(self, place: QPoint) -> None:
        open_menu(self.menu(), sure(self.view.viewport()), place)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Write the table in the font that napari gives to labels."""
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.Polish):
            self.view.set_font(self.summary.font())
        return super().eventFilter(watched, event)

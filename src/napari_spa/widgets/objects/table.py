"""The table of objects: its view and the controls around it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QItemSelectionModel, QModelIndex, QObject, QPoint, QSize, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QInputDialog,
    QMenu,
    QSizePolicy,
    QStackedWidget,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from napari_spa.widgets.common.buttons import FittingButton, draw_ring_of, tip_with_key
from napari_spa.widgets.common.layouts import column_of, even_row, wrapped
from napari_spa.widgets.objects.classes import ClassBar
from napari_spa.widgets.objects.model import (
    AREA,
    CLASS,
    HEADINGS,
    NAME,
    NUMBER,
    QUALITY,
    ROUNDS,
    SLICES,
    STATUS,
    ObjectModel,
    ObjectRow,
    summary,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qtpy.QtGui import QFont, QKeyEvent, QResizeEvent

    from napari_spa.io.projects.classes import ObjectClass

__all__ = ["ObjectRow", "ObjectTable"]


_SHOWN_ROWS, _FEWEST_ROWS = 6, 3
_LETTERS = 12  # an object on many a slice is elided; its tooltip has them all
_LEAST_WANTED = (ROUNDS, QUALITY, AREA, NAME)  # hidden in this order where there is no room
_MOVES = {
    Qt.Key.Key_Up,
    Qt.Key.Key_Down,
    Qt.Key.Key_Home,
    Qt.Key.Key_End,
    Qt.Key.Key_PageUp,
    Qt.Key.Key_PageDown,
}
_PADDING = 3
_LOOK = f"""
QTableView {{ border: 2px solid transparent; padding: 0px; }}
QHeaderView::section {{ border: 0px; padding: 2px {_PADDING}px; }}
"""


class ObjectView(QTableView):
    """The rows; a key that means nothing here goes on to the viewer."""

    went = Signal(int)  # an object was clicked, or Enter pressed on it
    reopened = Signal(int)  # an object was double clicked
    deleted = Signal(int)  # the delete key was pressed on an object
    renamed = Signal(int)  # F2 was pressed on an object

    def __init__(self, model: ObjectModel) -> None:
        super().__init__()
        self._objects = model
        model.setParent(self)
        self.setModel(model)
        self.setItemDelegate(_WholeRow(self))
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setTabKeyNavigation(False)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setCornerButtonEnabled(False)
        self.setAccessibleName("Objects")
        self.setStyleSheet(_LOOK)
        self._head, self._side = _header(self.horizontalHeader()), _header(self.verticalHeader())
        self._head.setHighlightSections(False)
        self._head.setMinimumSectionSize(8)
        self._side.hide()
        for place, column in enumerate((CLASS, NAME), start=1):  # beside the number
            self._head.moveSection(self._head.visualIndex(column), place)
        self.setSortingEnabled(True)
        self.sortByColumn(NUMBER, Qt.SortOrder.AscendingOrder)
        self._head.sortIndicatorChanged.connect(self._on_sorted)
        self.clicked.connect(self._on_clicked)
        self.doubleClicked.connect(self._on_double_clicked)

    # ------------------------------------------------------------------ what it shows

    def set_rows(self, rows: Sequence[ObjectRow]) -> None:
        """Show other rows; what was selected, and the place scrolled to, stay."""
        number, bar = self.selected(), self.verticalScrollBar()
        place, row = (bar.value() if bar else 0), self.currentIndex().row()
        self._objects.set_rows(rows)
        self.fit()
        if self._select(number) or not rows:
            self._scroll(place)
            return
        # What was selected is gone: the arrow keys go on from its place, where nothing
        # is selected, so that a second press of the delete key takes no one unawares.
        heir = self._objects.index(min(max(row, 0), len(rows) - 1), NUMBER)
        chosen = self.selectionModel()
        if row >= 0 and chosen is not None:
            chosen.setCurrentIndex(heir, QItemSelectionModel.SelectionFlag.NoUpdate)
        self._scroll(place)

    def select(self, number: int | None) -> None:
        """Select an object and bring it into view; an unknown one selects nothing."""
        if self._select(number):
            self.scrollTo(self.currentIndex())
        else:
            self.clearSelection()

    def selected(self) -> int | None:
        """Return the number of the selected object."""
        chosen = self.selectionModel()
        rows = chosen.selectedRows(NUMBER) if chosen is not None else []
        return self._objects.number_at(rows[0].row()) if rows else None

    def sort_by(self, column: int) -> None:
        """Sort by a column; the other way round when it is sorted by already."""
        up = self._head.sortIndicatorSection() != column or (
            self._head.sortIndicatorOrder() == Qt.SortOrder.DescendingOrder
        )
        order = Qt.SortOrder.AscendingOrder if up else Qt.SortOrder.DescendingOrder
        self.sortByColumn(column, order)

    def _select(self, number: int | None) -> bool:
        place, chosen = self._objects.place_of(number), self.selectionModel()
        if place is None or chosen is None:
            return False
        flag = QItemSelectionModel.SelectionFlag
        chosen.setCurrentIndex(self._objects.index(place, NUMBER), flag.ClearAndSelect | flag.Rows)
        return True

    def _scroll(self, place: int) -> None:
        self.updateGeometries()  # a bar that is not told of its new range refuses the place
        bar = self.verticalScrollBar()
        if bar is not None:
            bar.setValue(place)

    # ------------------------------------------------------------------ fitting

    def set_font(self, font: QFont) -> None:
        """Write in a font: napari's style sheet sets none for tables."""
        self.setFont(font)
        self._head.setFont(font)
        high = self.fontMetrics().height()
        self._objects.set_swatch(round(0.7 * high), self.devicePixelRatioF())
        self.setIconSize(QSize(high, high))
        self._side.setDefaultSectionSize(high + 6)
        self.updateGeometry()
        self.fit()

    def fit(self) -> None:
        """Share the width among the columns; the least wanted go where there is no room."""
        widths = {column: self._width(column) for column in range(len(HEADINGS))}
        used = {
            SLICES: any(row.slices for row in self._objects.rows),
            CLASS: any(row.class_name for row in self._objects.rows),
            NAME: any(row.name for row in self._objects.rows),
            ROUNDS: self._head.sortIndicatorSection() == ROUNDS,  # wanted by few; in the tooltip
        }
        widths = {column: width for column, width in widths.items() if used.get(column, True)}
        viewport = self.viewport()
        room = viewport.width() if viewport is not None else self.width()
        for column in _LEAST_WANTED:
            if sum(widths.values()) > room:
                widths.pop(column, None)
        # A share of what is left over for each; the status takes the rest, or gives it.
        share = max(0, room - sum(widths.values())) // len(widths)
        widths = {column: width + share for column, width in widths.items()}
        widths[STATUS] = max(0, widths[STATUS] + room - sum(widths.values()))
        for column in range(len(HEADINGS)):
            self.setColumnHidden(column, column not in widths)
            self.setColumnWidth(column, widths.get(column, 0))

    def _width(self, column: int) -> int:
        """Return the width that a column's longest text needs, in pixels."""
        metrics = self.fontMetrics()
        texts = metrics.horizontalAdvance(self._objects.longest(column)[:_LETTERS])
        picture = metrics.height() + 4 if column in (NUMBER, STATUS, CLASS) else 0
        arrow = metrics.height() if column == self._head.sortIndicatorSection() else 0
        heading = metrics.horizontalAdvance(HEADINGS[column]) + arrow
        return max(texts + picture, heading) + 2 * _PADDING

    def sizeHint(self) -> QSize:
        """Return the size of about six rows."""
        return QSize(320, self._height(_SHOWN_ROWS))

    def minimumSizeHint(self) -> QSize:
        """Return the size of a few rows."""
        return QSize(120, self._height(_FEWEST_ROWS))

    def _height(self, rows: int) -> int:
        frame = 2 * self.frameWidth() + 2
        return self._head.sizeHint().height() + rows * self._side.defaultSectionSize() + frame

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Fit the columns again."""
        super().resizeEvent(event)
        self.fit()

    def event(self, event: QEvent | None) -> bool:
        """Draw the focus into the frame; the rows are painted elsewhere, and scroll."""
        done = super().event(event)
        draw_ring_of(self, event)
        return done

    # ------------------------------------------------------------------ what is done to it

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Go there, ask to delete, move; leave every other key to the viewer."""
        if event is None:
            return
        plain = event.modifiers() in (
            Qt.KeyboardModifier.NoModifier,
            Qt.KeyboardModifier.KeypadModifier,
        )
        number = self.selected()
        if plain and number and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.went.emit(number)
        elif plain and number and event.key() in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace):
            self.deleted.emit(number)
        elif plain and number and event.key() == Qt.Key.Key_F2:
            self.renamed.emit(number)
        elif event.key() in _MOVES:
            super().keyPressEvent(event)
        else:
            event.ignore()

    def _on_sorted(self, *_: object) -> None:
        self.fit()
        if self.selected() is not None:
            self.scrollTo(self.currentIndex())

    def _on_clicked(self, index: QModelIndex) -> None:
        self.went.emit(self._objects.number_at(index.row()))

    def _on_double_clicked(self, index: QModelIndex) -> None:
        self.reopened.emit(self._objects.number_at(index.row()))


class _WholeRow(QStyledItemDelegate):
    """Draw no frame around the current cell: rows are chosen, not cells."""

    def initStyleOption(self, option: QStyleOptionViewItem | None, index: QModelIndex) -> None:
        super().initStyleOption(option, index)
        if option is not None:
            option.state &= ~QStyle.StateFlag.State_HasFocus


def _header(header: QHeaderView | None) -> QHeaderView:
    assert header is not None
    header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
    return header


EMPTY = "Accepted objects appear here.\nClick an object in the image, pick, accept."
_ACTIONS = {
    "reopen": ("Reopen", "Refine the selected object further, with its history."),
    "delete": ("Delete", "Delete the selected object."),
    "edit": ("Edit by hand", "Paint on the selected object with napari's brush, or end that."),
    "merge": ("Merge…", "Click on the object that shall become a part of the selected one."),
    "split": ("Split…", "Draw a line across an object; each side becomes an object."),
    "segment": ("Segment all", "Find all objects on this slice; keep or drop them."),
    "refine": ("Refine a label…", "Start from an object of another labels layer."),
    "take": ("Take over…", "Make all labels of another layer objects, or write objects back."),
    "export": ("Export…", "Save the labels, the measures of all objects and more."),
}
_OF_ONE = ("reopen", "delete", "edit", "merge")
_TOOLS = ("edit", "merge", "split")  # that stay in use until the act is done
_IN_TABLE = {"reopen": "Or double click its row.", "delete": "Or press Delete in the table."}


class ObjectTable(QWidget):
    """All objects of an image; only shows and asks."""

    go_to_requested = Signal(int)  # the object with this number shall be shown
    reopen_requested = Signal(int)  # the object shall be refined further
    delete_requested = Signal(int)  # the object shall be deleted
    rename_requested = Signal(int, str)  # the object shall be called so
    class_requested = Signal(int, str)  # the object shall be of this class; empty for none
    edit_requested = Signal()  # the selected object shall be edited by hand, or no more
    merge_requested = Signal()  # the selected object shall take another one
    split_requested = Signal()  # an object shall be split along a line
    segment_requested = Signal()  # all objects shall be found
    take_requested = Signal()  # all labels of a layer shall become objects
    keep_requested = Signal(object)  # these objects, which wait for a look, are right
    drop_requested = Signal(object)  # these objects are not
    refine_requested = Signal()  # an object of another labels layer shall be refined
    export_requested = Signal()  # the measures shall be saved

    def __init__(self, colour_of: Callable[[int], Sequence[float] | None] | None = None) -> None:
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
        self.keep_all, self.drop_all = FittingButton(), FittingButton()
        self.keep_all.setToolTip("Accept all objects that need review.")
        self.drop_all.setToolTip("Delete all objects that need review; Undo brings them back.")
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
        self.view.deleted.connect(self.delete_requested)
        self.view.renamed.connect(self.ask_name)
        self.view.customContextMenuRequested.connect(self._on_menu)
        chosen = self.view.selectionModel()
        if chosen is not None:
            chosen.selectionChanged.connect(self._refresh)
        for action, button in self.buttons.items():
            wanted = getattr(self, f"{action}_requested")
            of_one = action in ("reopen", "delete")
            button.on_click(partial(self._with_selected, wanted) if of_one else wanted.emit)
        self.keep_all.on_click(lambda: self.keep_requested.emit(self._waiting()))
        self.drop_all.on_click(lambda: self.drop_requested.emit(self._waiting()))

    # ------------------------------------------------------------------ setters

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

    def selected(self) -> int | None:
        """Return the number of the selected object."""
        return self.view.selected()

    def set_keys(self, keys: Mapping[str, str]) -> None:
        """Show other keys: an act of the buttons, or ``"class"``, and its key."""
        self.classes.set_key(keys.get("class", ""))
        for action, (text, tip) in _ACTIONS.items():
            button, key = self.buttons[action], keys.get(action, "")
            button.set_texts(text)  # there is room for the keys of some of them only
            about = "\n".join(filter(None, [tip, _IN_TABLE.get(action, "")]))
            button.setToolTip(tip_with_key(about, key))
            button.setAccessibleName(f"{text}: {tip}")

    def refresh_colours(self) -> None:
        """Ask for the objects' colours again, after the labels' colours changed."""
        self._model.refresh_colours()

    # ------------------------------------------------------------------ answering

    def _refresh(self, *_: object) -> None:
        one = self.view.selected() is not None
        for action in _OF_ONE:
            self.buttons[action].setEnabled(one)
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

    def menu(self) -> QMenu:
        """Make the menu of the selected object."""
        menu, number = QMenu(self), self.view.selected()
        if number is not None:
            menu.addAction(
                f"Go to object {number}\tEnter", partial(self.go_to_requested.emit, number)
            )
            for text, action in (
                ("Reopen\tDouble click", self.reopen_requested),
                ("Delete\tDel", self.delete_requested),
            ):
                menu.addAction(text, partial(action.emit, number))
            self._add_naming(menu, number)
            menu.addSeparator()
        order = menu.addMenu("Sort by")
        for column, heading in enumerate(HEADINGS):
            if order is not None:
                order.addAction(heading, partial(self.view.sort_by, column))
        return menu

    def _add_naming(self, menu: QMenu, number: int) -> None:
        """Add what is said of an object, and whether it is right."""
        menu.addAction("Name…\tF2", partial(self.ask_name, number))
        row = next(row for row in self._model.rows if row.number == number)
        classes = menu.addMenu("Class")
        if classes is not None:
            for name in ("", *(one.name for one in self.classes.entries)):
                menu_action = classes.addAction(
                    name.replace("&", "&&") or "No class",
                    partial(self.class_requested.emit, number, name),
                )
                if menu_action is not None:
                    menu_action.setCheckable(True)
                    menu_action.setChecked(name == row.class_name)
        if row.status == "review":
            menu.addAction("Keep", partial(self.keep_requested.emit, [number]))

    def _on_menu(self, place: QPoint) -> None:
        viewport, menu = self.view.viewport(), self.menu()
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        if viewport is not None:
            menu.popup(viewport.mapToGlobal(place))

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Write the table in the font that napari gives to labels."""
        if event is not None and event.type() in (QEvent.Type.FontChange, QEvent.Type.Polish):
            self.view.set_font(self.summary.font())
        return super().eventFilter(watched, event)

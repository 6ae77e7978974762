"""The table of objects: where they are, how they came about, and what to do with them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, QPoint, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QLabel, QMenu, QSizePolicy, QStackedWidget, QVBoxLayout, QWidget

from napari_spa.widgets.common.buttons import FittingButton, show_key, with_key
from napari_spa.widgets.common.layouts import EvenGrid
from napari_spa.widgets.objects.model import HEADINGS, ObjectModel
from napari_spa.widgets.objects.rows import ObjectRow, summary
from napari_spa.widgets.objects.view import ObjectView

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["ObjectRow", "ObjectTable"]

EMPTY = "Accepted objects appear here.\nClick an object in the image, pick, accept."
_ACTS = {
    "reopen": ("Reopen", "Refine the selected object further, with its history."),
    "delete": ("Delete", "Delete the selected object."),
    "refine": ("Refine a label…", "Start from an object of another labels layer."),
    "export": ("Export…", "Save the measures of all objects as a table (CSV)."),
}
_IN_TABLE = {"reopen": "Or double click its row.", "delete": "Or press Delete in the table."}


class ObjectTable(QWidget):
    """All objects of an image; only shows and asks.

    Parameters
    ----------
    colour_of : callable or None
        From an object's number to its colour in the labels, RGBA in [0, 1], or None.

    Attributes
    ----------
    go_to_requested : Signal(int)
        The object with this number shall be shown.
    reopen_requested : Signal(int)
        The object shall be refined further.
    delete_requested : Signal(int)
        The object shall be deleted.
    refine_requested : Signal()
        An object of another labels layer shall be refined.
    export_requested : Signal()
        The measures shall be saved.
    buttons : dict of str to FittingButton
        ``"reopen"``, ``"delete"``, ``"refine"`` and ``"export"``.
    view : ObjectView
        The rows.
    summary : QLabel
        One line about all of them.
    """

    go_to_requested = Signal(int)
    reopen_requested = Signal(int)
    delete_requested = Signal(int)
    refine_requested = Signal()
    export_requested = Signal()

    def __init__(
        self,
        colour_of: Callable[[int], Sequence[float] | None] | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._active = True
        self._model = ObjectModel(colour_of)
        self.view = ObjectView(self._model)
        self.view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        self.summary.installEventFilter(self)
        self.empty = QLabel(EMPTY)
        self.empty.setWordWrap(True)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.pages = QStackedWidget()
        self.pages.addWidget(self.empty)
        self.pages.addWidget(self.view)
        self.pages.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.buttons = {act: FittingButton() for act in _ACTS}
        self._compose()
        self._connect()
        self.set_keys({})
        self.set_rows(())

    def _compose(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.summary)
        layout.addWidget(self.pages, 1)
        cells = QWidget()
        grid = EvenGrid((2, 1), cells)
        for button in self.buttons.values():
            grid.addWidget(button)
        layout.addWidget(cells)

    def _connect(self) -> None:
        self.view.went.connect(self.go_to_requested)
        self.view.reopened.connect(self._on_reopen)
        self.view.deleted.connect(self._on_delete)
        self.view.customContextMenuRequested.connect(self._on_menu)
        chosen = self.view.selectionModel()
        if chosen is not None:
            chosen.selectionChanged.connect(self._refresh)
        self.buttons["reopen"].clicked.connect(self._on_reopen_button)
        self.buttons["delete"].clicked.connect(self._on_delete_button)
        self.buttons["refine"].clicked.connect(self.refine_requested)
        self.buttons["export"].clicked.connect(self.export_requested)

    # ------------------------------------------------------------------ setters

    def set_rows(self, rows: Sequence[ObjectRow]) -> None:
        """Show other rows, sorted by the column that was chosen in the heading.

        The selection and the place scrolled to stay; nothing is emitted.

        Parameters
        ----------
        rows : sequence of ObjectRow
            All objects, each number once.
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

    def set_active(self, active: bool) -> None:
        """Say whether objects can be reopened, deleted and refined now."""
        self._active = active
        self._refresh()

    def set_keys(self, keys: Mapping[str, str]) -> None:
        """Show other keys: ``"reopen"``, ``"delete"``, ``"refine"``, ``"export"``, and a key."""
        for act, (text, tip) in _ACTS.items():
            button, key = self.buttons[act], keys.get(act, "")
            button.set_texts(with_key(text, key), text)
            lines = [tip, _IN_TABLE.get(act, ""), f"Key: {show_key(key)}" if key else ""]
            button.setToolTip("\n".join(line for line in lines if line))
            button.setAccessibleName(f"{text}: {tip}")

    def refresh_colours(self) -> None:
        """Ask for the objects' colours again, after the labels' colours changed."""
        self._model.refresh_colours()

    # ------------------------------------------------------------------ answering

    def _refresh(self, *_: object) -> None:
        one = self._active and self.view.selected() is not None
        self.buttons["reopen"].setEnabled(one)
        self.buttons["delete"].setEnabled(one)
        self.buttons["refine"].setEnabled(self._active)
        self.buttons["export"].setEnabled(bool(self._model.rows))

    def _on_reopen(self, number: int) -> None:
        if self._active:
            self.reopen_requested.emit(number)

    def _on_delete(self, number: int) -> None:
        if self._active:
            self.delete_requested.emit(number)

    def _on_reopen_button(self) -> None:
        number = self.view.selected()
        if number is not None:
            self._on_reopen(number)

    def _on_delete_button(self) -> None:
        number = self.view.selected()
        if number is not None:
            self._on_delete(number)

    def menu(self) -> QMenu:
        """Make the menu of the selected object."""
        menu, number = QMenu(self), self.view.selected()
        if number is not None:
            menu.addAction(
                f"Go to object {number}\tEnter", partial(self.go_to_requested.emit, number)
            )
            for text, act in (
                ("Reopen\tDouble click", self._on_reopen),
                ("Delete\tDel", self._on_delete),
            ):
                action = menu.addAction(text, partial(act, number))
                if action is not None:
                    action.setEnabled(self._active)
            menu.addSeparator()
        order = menu.addMenu("Sort by")
        for column, heading in enumerate(HEADINGS):
            if order is not None:
                order.addAction(heading, partial(self.view.sort_by, column))
        return menu

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

"""The rows of the dock that choose a profile, say what is in it, and compare it."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QAction, QStandardItemModel
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QMenu, QSizePolicy

from napari_spa.core.words import counted
from napari_spa.refine.preference.comparison import FIRST_COLOUR, SECOND_COLOUR
from napari_spa.viewer.profiles.active import full_name
from napari_spa.viewer.profiles.comparison import MODEL_ALONE
from napari_spa.widgets.common.buttons import FittingButton
from napari_spa.widgets.common.fields import QuietCombo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtWidgets import QGridLayout, QWidget

    from napari_spa.io.profiles.entries import ShelfEntry
    from napari_spa.viewer.profiles.comparison import Disagreement

NONE = "No profile"
ACTS = {
    "new": "New…",
    "keep": "Keep as a profile…",
    "rename": "Rename…",
    "copy": "Save a copy…",
    "merge": "Merge with…",
    "reset": "Reset…",
    "delete": "Delete…",
    "folder": "Show the folder",
}


class ProfileBar(QObject):
    """Choose a profile, see what is in it, open its menu.

    Attributes
    ----------
    chosen : Signal(object)
        Path of another profile, or None for none.
    menu_requested : Signal()
        The menu shall be opened, by :meth:`open_menu`.
    act_requested : Signal(str)
        One of :data:`ACTS`.
    back_requested : Signal(object)
        Path of a removed profile that shall come back.
    compare_requested : Signal(object, str)
        Path and name of another profile; None is the model alone.
    hide_requested : Signal()
        The comparison shall be taken away.
    """

    chosen = Signal(object)
    menu_requested = Signal()
    act_requested = Signal(str)
    back_requested = Signal(object)
    compare_requested = Signal(object, str)
    hide_requested = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.combo = QuietCombo("Profile")
        self.menu_button = FittingButton("⋯")
        self.menu_button.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
        self.menu_button.setToolTip("Make, rename, copy, merge, compare and reset profiles.")
        self.menu_button.setAccessibleName("What can be done with profiles")
        self.words = QLabel()
        self.words.setTextFormat(Qt.TextFormat.PlainText)
        self.words.setWordWrap(True)
        self.comparison = QFrame()
        self.comparison.setFrameShape(QFrame.Shape.StyledPanel)
        self.comparison_words = QLabel()
        self.comparison_words.setWordWrap(True)
        self.hide_comparison = FittingButton("Hide")
        self.hide_comparison.setToolTip("Show the comparison no more.")
        self.hide_comparison.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
        row = QHBoxLayout(self.comparison)
        row.setContentsMargins(6, 4, 6, 4)
        row.addWidget(self.comparison_words, 1)
        row.addWidget(self.hide_comparison)
        self._paths: list[object] = []
        self.combo.activated.connect(self._on_chosen)
        self.menu_button.clicked.connect(self.menu_requested)
        self.hide_comparison.clicked.connect(self.hide_requested)
        self.set_entries((), None, ())

    def add_to(self, grid: QGridLayout, row: int) -> None:
        """Put the parts into three rows of a grid of three columns."""
        grid.addWidget(QLabel("Profile"), row, 0)
        grid.addWidget(self.combo, row, 1)
        grid.addWidget(self.menu_button, row, 2)
        grid.addWidget(self.words, row + 1, 0, 1, 3)
        grid.addWidget(self.comparison, row + 2, 0, 1, 3)
        self.comparison.hide()

    # ------------------------------------------------------------------ setters

    def set_entries(
        self, entries: Sequence[ShelfEntry], chosen: object, fitting: Sequence[ShelfEntry]
    ) -> None:
        """Offer profiles, one of them chosen (by path); those that do not fit are greyed."""
        self._paths = [None, *(entry.path for entry in entries)]
        current = self._paths.index(chosen) if chosen in self._paths else -1
        self.combo.show_entries([NONE, *map(full_name, entries)], current)
        for place, entry in enumerate(entries, start=1):
            usable = entry in fitting or entry.path == chosen
            self._tell(place, entry, usable=usable)

    def _tell(self, place: int, entry: ShelfEntry, *, usable: bool) -> None:
        model = self.combo.model()
        known = "" if entry.model is None else entry.model.name
        why = entry.problem or (f"It was made with the model {known}." if not usable else known)
        self.combo.setItemData(place, why, Qt.ItemDataRole.ToolTipRole)
        item = model.item(place) if isinstance(model, QStandardItemModel) else None
        if item is not None:
            item.setEnabled(usable)

    def set_words(self, brief: str, full: str) -> None:
        """Say what is in the profile in use, in a line, and in full in the tooltip."""
        self.words.setText(brief)
        self.words.setToolTip(full)
        self.words.setAccessibleName(brief)
        self.words.setAccessibleDescription(full)

    def set_comparison(self, found: Disagreement | None) -> None:
        """Say how two profiles disagree; None hides it."""
        self.comparison.setVisible(found is not None)
        if found is None:
            self.comparison_words.clear()
            return
        colours = zip((FIRST_COLOUR, SECOND_COLOUR), found.names, strict=True)
        legend = [
            f'<span style="color: rgb{colour}">■</span>&nbsp;only&nbsp;{escape(name)}'
            for colour, name in colours
            if found.labels.any()
        ]
        words = escape(found.words[:1].upper() + found.words[1:])
        self.comparison_words.setText("<br>".join(filter(None, [words, " &nbsp; ".join(legend)])))

    # ------------------------------------------------------------------ the menu

    def open_menu(self, menu: QMenu) -> None:
        """Open a menu under its button."""
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.popup(self.menu_button.mapToGlobal(self.menu_button.rect().bottomLeft()))

    def menu(
        self,
        possible: Sequence[str],
        others: Sequence[ShelfEntry],
        why_not: str,
        parent: QWidget | None = None,
        *,
        removed: Sequence[ShelfEntry] = (),
    ) -> QMenu:
        """Make the menu.

        Parameters
        ----------
        possible : sequence of str
            Those of :data:`ACTS` that can be done now; "keep" is left out otherwise.
        others : sequence of ShelfEntry
            Profiles to compare with.
        why_not : str
            Why nothing can be compared now; empty when it can.
        parent : QWidget or None
            Qt's parent.
        removed : sequence of ShelfEntry
            Profiles that can be brought back, the latest first.

        Returns
        -------
        QMenu
        """
        menu = QMenu(parent)
        menu.setFont(self.menu_button.font())  # which napari's style gives to buttons alone
        for act, title in ACTS.items():
            if act == "keep" and act not in possible:
                continue
            if act in ("reset", "folder"):
                menu.addSeparator()
            action = QAction(title, menu)
            action.setEnabled(act in possible)
            action.triggered.connect(partial(self._on_act, act))
            menu.addAction(action)
            if act == "merge":
                menu.addMenu(self._compare_menu(others, why_not, menu))
            if act == "delete" and removed:
                menu.addMenu(self._back_menu(removed, menu))
        return menu

    def _compare_menu(self, others: Sequence[ShelfEntry], why_not: str, parent: QMenu) -> QMenu:
        menu = QMenu("Compare on this image", parent)
        menu.setFont(parent.font())
        if why_not:
            reason = QAction(why_not, menu)
            reason.setEnabled(False)
            menu.addAction(reason)
            return menu
        for path, name, title in [
            *((entry.path, entry.name, full_name(entry)) for entry in others),
            (None, MODEL_ALONE, MODEL_ALONE.capitalize()),
        ]:
            action = QAction(title.replace("&", "&&"), menu)
            action.triggered.connect(partial(self._on_compare, path, name))
            menu.addAction(action)
        return menu

    def _back_menu(self, removed: Sequence[ShelfEntry], parent: QMenu) -> QMenu:
        menu = QMenu("Bring back", parent)
        menu.setFont(parent.font())
        for entry in removed:
            picks = counted(entry.picks, "pick")
            action = QAction(f"{full_name(entry)} ({picks})".replace("&", "&&"), menu)
            action.triggered.connect(partial(self._on_back, entry.path))
            menu.addAction(action)
        return menu

    # ------------------------------------------------------------------ asking

    def _on_chosen(self, place: int) -> None:
        self.chosen.emit(self._paths[place])

    def _on_act(self, act: str, _: bool = False) -> None:
        self.act_requested.emit(act)

    def _on_back(self, path: object, _: bool = False) -> None:
        self.back_requested.emit(path)

    def _on_compare(self, path: object, name: str, _: bool = False) -> None:
        self.compare_requested.emit(path, name)

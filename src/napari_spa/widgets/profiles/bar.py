"""The profile bar, and the presenter that connects it with the active profile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, QUrl, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QDesktopServices, QStandardItemModel, QWindow
from qtpy.QtWidgets import QApplication, QFrame, QGridLayout, QLabel, QMenu, QWidget

from napari_spa.core.presentation import capitalised
from napari_spa.errors import SpaError
from napari_spa.refine.preference import FIRST_COLOUR, SECOND_COLOUR, evidence, unfamiliar
from napari_spa.viewer.background import later
from napari_spa.viewer.layers.planes import image_plane_of, pixel_side, shown_plane
from napari_spa.viewer.profiles.actions import (
    MODEL_ALONE,
    Disagreement,
    Disagreements,
    ProfileActions,
)
from napari_spa.viewer.profiles.active import full_name, shortened
from napari_spa.widgets.common.buttons import (
    FittingButton,
    FocusRingCheckBox,
    NoWheelComboBox,
    add_entry,
    explain,
    open_menu,
    sure,
)
from napari_spa.widgets.common.layouts import column_of, row_of, tip_button, wrapped
from napari_spa.widgets.profiles.dialogs import ConfirmDialog, MergeDialog, NameDialog

if TYPE_CHECKING:
    from pathlib import Path

    from napari_spa.io.profiles import StoreEntry
    from napari_spa.viewer.annotation.controller import AnnotationController


class ProfilePresenter(QObject):
    """What the dock does with profiles."""

    def __init__(self, controller: AnnotationController, bar: ProfileBar, window: QWidget) -> None:
        super().__init__(window)
        self._controller, self._profiles = controller, controller.profiles
        self._bar, self._window = bar, window
        self.actions = ProfileActions(controller)
        self.comparison = Disagreements(controller)
        self.dialog: ConfirmDialog | None = None
        self._warned = ""
        self._kind_due = later(self, self._show_kind)
        self._profiles.changed.connect(self._kind_due.start)
        controller.objects_changed.connect(self._kind_due.start)
        controller.proposed.connect(self._kind_due.start)
        self._profiles.changed.connect(self._show)
        self.comparison.changed.connect(bar.set_comparison)
        bar.chosen.connect(self.actions.choose)
        bar.menu_button.on_click(partial(self._open_menu, bar.menu_button))
        bar.name.on_click(partial(self._open_menu, bar.name))
        bar.action_requested.connect(self.ask)
        bar.compare_requested.connect(self.comparison.compare)
        bar.hide_comparison.on_click(self.comparison.clear)
        self._application = QApplication.instance()
        if isinstance(self._application, QApplication):
            self._application.focusWindowChanged.connect(self._on_focus)
        self._profiles.refresh()
        self._show()

    def close(self) -> None:
        """Take the comparison and an open dialog away."""
        self._kind_due.stop()
        if isinstance(self._application, QApplication):
            self._application.focusWindowChanged.disconnect(self._on_focus)
        if self.dialog is not None:
            self.dialog.close()
        self.comparison.clear()

    def menu(self) -> QMenu:
        """Make the menu for what can be done now."""
        profiles, others = self._profiles, self._profiles.others()
        possible = ["new", "folder"]
        if profiles.chosen is not None:
            possible += ["rename", "copy", "reset", "delete"]
            possible += ["merge"] if others else []
        elif profiles.loose is not None and profiles.loose.evidence:
            possible.append("keep")
        why_not = ""
        if not self.comparison.possible:
            blind = self._controller.blind or self._controller.choosing
            why_not = "Not in blind mode" if blind else "Click on an object first"
        return self._bar.menu(possible, others, why_not, self._window)

    def ask(self, action: str) -> None:
        """Ask what is needed for an act of the menu, then do it."""
        profiles, entry = self._profiles, self._profiles.entry
        if action == "folder":
            self._show_folder()
        elif action in ("new", "keep"):
            self._ask_name(action, "", "")
        elif entry is None:
            return
        elif action == "rename":
            self._ask_name(action, entry.name, entry.task, profiles.chosen)
        elif action == "copy":
            self._ask_name(action, self._free_name(entry), entry.task)
        elif action == "merge":
            dialog = MergeDialog(entry, profiles.others(), profiles.problem, self._window)
            self._open(dialog, lambda: self.actions.merge(dialog.paths(), *dialog.named()))
        else:
            self._ask_confirmation(action, shortened(entry.name))

    def _ask_name(self, action: str, name: str, task: str, but: Path | None = None) -> None:
        entry = self._profiles.entry
        whose = "" if entry is None else shortened(entry.name)
        title, words, button = {
            "new": (
                "New profile",
                "One for each user and task. Saved automatically after each accepted object.",
                "Create",
            ),
            "keep": (
                "Save as a profile",
                "What you picked in this window so far goes into it.",
                "Save",
            ),
            "rename": (f"Rename {whose}", "", "Rename"),
            "copy": (
                f"Save a copy of {whose}",
                f"You go on with {whose}; the copy stays as it is now.",
                "Save",
            ),
        }[action]
        problem = partial(self._profiles.problem, but=but)
        dialog = NameDialog(
            title, words, button, problem, name=name, task=task, parent=self._window
        )
        self._open(dialog, lambda: getattr(self.actions, action)(*dialog.named()))

    def _ask_confirmation(self, action: str, name: str) -> None:
        profile = self._profiles.profile
        taught = "your picks" if profile is None else evidence(profile)
        words = {
            "reset": f"Forget everything that {name} has learnt, from {taught}? "
            "Name and task stay; so does everything you outlined.",
            "delete": f"Delete {name} and what it learnt from {taught}? "
            "Everything you outlined stays.",
        }[action]
        title, kept = action.capitalize(), "A copy stays in the subfolder 'removed' of the folder."
        dialog = ConfirmDialog(f"{title} {name}", f"{words} {kept}", title, self._window)
        self._open(dialog, getattr(self.actions, action))

    def _open(self, dialog: ConfirmDialog, do: Callable[[], None]) -> None:
        self.dialog = dialog
        dialog.accepted.connect(do)
        dialog.finished.connect(self._on_closed)
        dialog.open()

    def _on_closed(self, _: int) -> None:
        self.dialog = None

    def _free_name(self, entry: StoreEntry) -> str:
        """Return a name for a copy that is not taken."""
        name, number = f"{entry.name} (copy)", 1
        while self._profiles.problem(name, entry.task):
            number += 1
            name = f"{entry.name} (copy {number})"
        return name

    def _show(self) -> None:
        profiles = self._profiles
        fitting = [entry for entry in profiles.entries if profiles.fits(entry)]
        self._bar.set_entries(profiles.entries, profiles.chosen, fitting)
        self._bar.set_teaching(profiles.teaching)
        self._bar.set_words(*profiles.words())

    def _show_kind(self) -> None:
        """Say where the image is of another kind than those that taught the profile."""
        words, entry = self._unfamiliar(), self._profiles.entry
        self._bar.set_warning(words)
        if words and words != self._warned and self._controller.choosing:
            name = "what was learnt" if entry is None else shortened(entry.name)
            self._controller.status_message.emit(
                f"{words} Switch Teach off to keep {name} as it is."
            )
            self._warned = words  # said once; it stays beside the switch

    def _unfamiliar(self) -> str:
        annotated, profile = self._controller.current, self._profiles.profile
        if annotated is None or profile is None:
            return ""
        image = annotated.image
        try:
            plane = shown_plane(self._controller.viewer, image)
            kind = image_plane_of(image, plane, annotated.look).kind
        except SpaError:  # a volume, or no image of numbers
            return ""
        return unfamiliar(profile, kind, pixel_side(image, plane))

    def _on_focus(self, window: QWindow | None) -> None:
        """Look at the profiles again where a user comes back to the window."""
        ours = self._window.window()
        if window is not None and ours is not None and window is ours.windowHandle():
            self._profiles.refresh()

    def _open_menu(self, button: FittingButton) -> None:
        self._profiles.refresh()  # other windows may have made some
        menu = self.menu()
        open_menu(self._bar.names(menu) if button is self._bar.name else menu, button)

    def _show_folder(self) -> None:
        chosen = self._profiles.chosen
        folder = self._profiles.store.root if chosen is None else chosen.parent
        if folder.is_dir():
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))
        else:
            self._controller.status_message.emit(
                f"There is no profile yet; they will be in {folder}."
            )


NONE, NEW = "No profile", "New profile…"
ACTIONS = {
    "new": "New…",
    "keep": "Save as a profile…",
    "rename": "Rename…",
    "copy": "Save a copy…",
    "merge": "Merge with…",
    "reset": "Reset…",
    "delete": "Delete…",
    "folder": "Show the folder",
}


class ProfileBar(QObject):
    """Choose a profile, see what is in it, open its menu."""

    chosen = Signal(object)  # path of another profile, or None for none
    action_requested = Signal(str)  # one of :data:`ACTIONS`
    compare_requested = Signal(object, str)  # another's path, None for the model alone, and name
    teach_requested = Signal(bool)  # accepted objects shall teach the profile, or not
    renamed = Signal()  # :attr:`name` says something else, and may want more room

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.combo = NoWheelComboBox("Profile")
        tip = "Make, rename, copy, merge, compare and reset profiles."
        self.menu_button = tip_button("⋯", tip=tip, narrow=True)
        self.menu_button.setAccessibleName("What can be done with profiles")
        self.teach = FocusRingCheckBox("Teach")
        explain(
            self.teach,
            "On: accepted objects teach the profile.\n"
            "Off: objects start from it, and new ones teach it nothing.",
        )
        self.teach.setChecked(True)
        # Whose preference it is, in sight whichever tab is open.
        self.name = FittingButton(parent=parent)
        self.name.setAccessibleName("Profile in use")
        self.words, self.warning, self.comparison_words = wrapped(), wrapped(), wrapped()
        self.words.setTextFormat(Qt.TextFormat.PlainText)
        self.warning.hide()
        self.comparison = QFrame()
        self.comparison.setFrameShape(QFrame.Shape.StyledPanel)
        self.hide_comparison = tip_button("Hide", tip="Show the comparison no more.", narrow=True)
        row = row_of(self.comparison_words, self.hide_comparison, grows=self.comparison_words)
        column_of(row, margin=5, holder=self.comparison)
        self._paths: list[object] = []
        self._entries: tuple[StoreEntry, ...] = ()
        self._usable: list[bool] = []  # the entries of the list
        self._current = 0
        self.combo.activated.connect(self._on_chosen)
        self.teach.clicked.connect(self.teach_requested)
        self.set_entries((), None, ())

    def add_to(self, grid: QGridLayout, row: int) -> None:
        """Put the parts into four rows of a grid of three columns."""
        grid.addWidget(QLabel("Profile"), row, 0)
        grid.addLayout(row_of(self.combo, self.teach, grows=self.combo), row, 1)
        grid.addWidget(self.menu_button, row, 2)
        grid.addWidget(self.words, row + 1, 0, 1, 3)
        grid.addWidget(self.warning, row + 2, 0, 1, 3)
        grid.addWidget(self.comparison, row + 3, 0, 1, 3)
        self.comparison.hide()

    def set_entries(
        self, entries: Sequence[StoreEntry], chosen: object, fitting: Sequence[StoreEntry]
    ) -> None:
        """Offer profiles, one of them chosen (by path); those that do not fit are greyed."""
        self._paths = [None, *(entry.path for entry in entries)]
        current = self._paths.index(chosen) if chosen in self._paths else -1
        self._current = current
        names = [*map(full_name, entries)]
        told = [
            f"{name} ({entry.path.name})" if names.count(name) > 1 else name
            for name, entry in zip(names, entries, strict=True)
        ]
        self.combo.show_entries([NONE, *told, NEW], current)
        usable = [entry in fitting or entry.path == chosen for entry in entries]
        model = self.combo.model()
        assert isinstance(model, QStandardItemModel)
        for place, (entry, fits) in enumerate(zip(entries, usable, strict=True), start=1):
            known = "" if entry.model is None else entry.model.name
            why = entry.problem or (known if fits else f"It was made with the model {known}.")
            self.combo.setItemData(place, why, Qt.ItemDataRole.ToolTipRole)
            sure(model.item(place)).setEnabled(fits)
        self._entries, self._usable = tuple(entries), [True, *usable, True]
        self._say_whose()

    def set_teaching(self, on: bool) -> None:
        """Show whether accepted objects teach the profile."""
        self.teach.setChecked(on)
        self._say_whose()

    def _say_whose(self) -> None:
        """Say on the button whose preference is used, and whether it is taught."""
        teaching, entry = self.teach.isChecked(), None
        if self._current > 0:
            entry = self._entries[self._current - 1]
        names = [NONE] if entry is None else list(dict.fromkeys((full_name(entry), entry.name)))
        mark = "⚠ " if entry is not None and self.warning.text() else ""
        state = "" if teaching else "Not taught: "  # first: the end is cut off where it is narrow
        self.name.set_texts(*(f"{mark}{state}{name} ▾" for name in names))
        off = "Teach is off: new objects teach it nothing."
        taught = "Accepted objects teach it." if teaching else off
        about = (names[0], self.words.toolTip(), taught, self.warning.text())
        explain(self.name, "\n".join(filter(None, about)))
        self.renamed.emit()

    def set_words(self, brief: str, full: str) -> None:
        """Say what is in the profile in use, in a line, and in full in the tooltip."""
        self.words.setText(brief)
        self.words.setAccessibleName(brief)
        explain(self.words, full)
        self._say_whose()

    def set_warning(self, words: str) -> None:
        """Say how the image differs from those that taught the profile; empty hides it."""
        self.warning.setText(words)
        self.warning.setVisible(bool(words))
        self._say_whose()

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
            if any(found.only)
        ]
        words = escape(capitalised(found.words))
        self.comparison_words.setText("<br>".join(filter(None, [words, " &nbsp; ".join(legend)])))

    def names(self, manage: QMenu) -> QMenu:
        """Make the menu of the profiles; ``manage`` is what can be done with the one in use."""
        menu = QMenu(manage.parentWidget())
        menu.setFont(self.menu_button.font())
        menu.setToolTipsVisible(True)
        for place, usable in enumerate(self._usable):
            add_entry(
                menu,
                self.combo.itemText(place),
                partial(self._on_chosen, place),
                enabled=usable,
                checked=place == self._current if place < len(self._paths) else None,
                tip=str(self.combo.itemData(place, Qt.ItemDataRole.ToolTipRole) or ""),
            )
        menu.addSeparator()
        teaches = self.teach.isChecked()
        teach = partial(self.teach_requested.emit, not teaches)
        add_entry(menu, "Teach it what is accepted", teach, checked=teaches)
        manage.setTitle("Manage")
        manage.setParent(menu, manage.windowFlags())  # and goes with it
        menu.addMenu(manage)
        return menu

    def menu(
        self,
        possible: Sequence[str],
        others: Sequence[StoreEntry],
        why_not: str,
        parent: QWidget | None = None,
    ) -> QMenu:
        """Make the menu."""
        menu = QMenu(parent)
        menu.setFont(self.menu_button.font())  # which napari's style gives to buttons alone
        for action, title in ACTIONS.items():
            if action == "keep" and action not in possible:
                continue
            if action in ("reset", "folder"):
                menu.addSeparator()
            wanted = partial(self.action_requested.emit, action)
            add_entry(menu, title, wanted, enabled=action in possible)
            if action == "merge":
                menu.addMenu(self._compare_menu(others, why_not, menu))
        return menu

    def _compare_menu(self, others: Sequence[StoreEntry], why_not: str, parent: QMenu) -> QMenu:
        menu = QMenu("Compare on this image", parent)
        menu.setFont(parent.font())
        if why_not:
            add_entry(menu, why_not, lambda: None, enabled=False)
            return menu
        for entry in others:
            wanted = partial(self.compare_requested.emit, entry.path, entry.name)
            add_entry(menu, full_name(entry), wanted)
        alone = partial(self.compare_requested.emit, None, MODEL_ALONE)
        add_entry(menu, MODEL_ALONE.capitalize(), alone)
        return menu

    def _on_chosen(self, place: int) -> None:
        if place < len(self._paths):
            self._current = place
            self.chosen.emit(self._paths[place])
        else:
            self.combo.setCurrentIndex(self._current)
            self.action_requested.emit("new")

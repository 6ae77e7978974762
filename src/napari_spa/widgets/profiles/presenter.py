"""Connects the rows of the profile with what is done to profiles, and asks before."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QUrl
from qtpy.QtGui import QDesktopServices

from napari_spa.refine.preference.summary import evidence
from napari_spa.viewer.profiles.actions import ProfileActs
from napari_spa.viewer.profiles.active import shortened
from napari_spa.viewer.profiles.comparison import Disagreements
from napari_spa.widgets.profiles.dialogs import MergeDialog, NameDialog, SureDialog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qtpy.QtWidgets import QMenu, QWidget

    from napari_spa.io.profiles.entries import ShelfEntry
    from napari_spa.viewer.annotation.controller import Refiner
    from napari_spa.widgets.profiles.bar import ProfileBar


_UNDO = "Bring back in the menu undoes it."


class ProfileDesk(QObject):
    """What the dock does with profiles.

    Parameters
    ----------
    refiner : Refiner
        Whose objects start from the profile in use.
    bar : ProfileBar
        What is seen of it.
    window : QWidget
        Over which dialogs open.

    Attributes
    ----------
    acts : ProfileActs
        What can be done.
    comparison : Disagreements
        The comparison on the object at hand.
    dialog : SureDialog or None
        The one that is open.
    """

    def __init__(self, refiner: Refiner, bar: ProfileBar, window: QWidget) -> None:
        super().__init__(window)
        self._refiner, self._book, self._bar, self._window = refiner, refiner.profiles, bar, window
        self.acts = ProfileActs(refiner)
        self.comparison = Disagreements(refiner)
        self.dialog: SureDialog | None = None
        self._book.changed.connect(self._show)
        self.comparison.changed.connect(bar.set_comparison)
        bar.chosen.connect(self.acts.choose)
        bar.menu_requested.connect(self._open_menu)
        bar.act_requested.connect(self.ask)
        bar.back_requested.connect(self.acts.bring_back)
        bar.compare_requested.connect(self.comparison.compare)
        bar.hide_requested.connect(self.comparison.clear)
        self._book.refresh()
        self._show()

    def close(self) -> None:
        """Take the comparison and an open dialog away."""
        if self.dialog is not None:
            self.dialog.close()
        self.comparison.close()

    def menu(self) -> QMenu:
        """Make the menu for what can be done now."""
        book, others = self._book, self._book.others()
        possible = ["new", "folder"]
        if book.chosen is not None:
            possible += ["rename", "copy", "reset", "delete"]
            possible += ["merge"] if others else []
        elif book.loose is not None and book.loose.picks:
            possible.append("keep")
        why_not = ""
        if not self.comparison.possible:
            blind = self._refiner.blind
            why_not = "Not in blind mode" if blind else "Click on an object first"
        return self._bar.menu(possible, others, why_not, self._window, removed=book.removed)

    def ask(self, act: str) -> None:
        """Ask what is needed for an act of the menu, then do it."""
        book, entry = self._book, self._book.entry
        if act == "folder":
            self._show_folder()
        elif act in ("new", "keep"):
            self._ask_new(act)
        elif entry is not None:
            getattr(self, f"_ask_{act}")(entry, book.chosen)

    # ------------------------------------------------------------------ asking

    def _ask_new(self, act: str) -> None:
        words = "One for each person and task. It is saved by itself after each accepted object."
        title, button, do = "New profile", "Make it", self.acts.new
        if act == "keep":
            words = "What you picked in this window so far goes into it."
            title, button, do = "Keep as a profile", "Keep it", self.acts.keep
        self._ask_name(title, words, button, do)

    def _ask_rename(self, entry: ShelfEntry, path: Path) -> None:
        self._ask_name(
            f"Rename {shortened(entry.name)}",
            "",
            "Rename",
            self.acts.rename,
            entry.name,
            entry.task,
            path,
        )

    def _ask_copy(self, entry: ShelfEntry, path: Path) -> None:
        self._ask_name(
            f"Save a copy of {shortened(entry.name)}",
            f"You go on with {shortened(entry.name)}; the copy stays as it is now.",
            "Save",
            self.acts.copy,
            self._free_name(entry),
            entry.task,
        )

    def _ask_merge(self, entry: ShelfEntry, path: Path) -> None:
        dialog = MergeDialog(entry, self._book.others(), self._book.problem, self._window)
        dialog.merge_requested.connect(self.acts.merge)
        self._open(dialog)

    def _ask_reset(self, entry: ShelfEntry, path: Path) -> None:
        words = (
            f"{shortened(entry.name)} forgets what it learnt from {self._evidence()}. "
            f"Name and task stay; so does everything you outlined. {_UNDO}"
        )
        self._ask_sure(f"Reset {shortened(entry.name)}", words, "Reset", self.acts.reset)

    def _ask_delete(self, entry: ShelfEntry, path: Path) -> None:
        words = (
            f"{shortened(entry.name)} is deleted, with what it learnt from {self._evidence()}. "
            f"Everything you outlined stays. {_UNDO}"
        )
        self._ask_sure(f"Delete {shortened(entry.name)}", words, "Delete", self.acts.delete)

    def _evidence(self) -> str:
        profile = self._book.profile
        return "your picks" if profile is None else evidence(profile)

    def _ask_name(
        self,
        title: str,
        words: str,
        button: str,
        do: Callable[[str, str], None],
        name: str = "",
        task: str = "",
        but: Path | None = None,
    ) -> None:
        problem = partial(self._book.problem, but=but)
        dialog = NameDialog(
            title, words, button, problem, name=name, task=task, parent=self._window
        )
        dialog.named.connect(do)
        self._open(dialog)

    def _ask_sure(self, title: str, words: str, button: str, do: Callable[[], None]) -> None:
        dialog = SureDialog(title, words, button, self._window)
        dialog.agreed.connect(do)
        self._open(dialog)

    def _open(self, dialog: SureDialog) -> None:
        self.dialog = dialog
        dialog.finished.connect(self._on_closed)
        dialog.open()

    def _on_closed(self, _: int) -> None:
        self.dialog = None

    def _free_name(self, entry: ShelfEntry) -> str:
        """Return a name for a copy that is not taken."""
        name, number = f"{entry.name} (copy)", 1
        while self._book.problem(name, entry.task):
            number += 1
            name = f"{entry.name} (copy {number})"
        return name

    # ------------------------------------------------------------------ showing

    def _show(self) -> None:
        book = self._book
        fitting = [entry for entry in book.entries if book.fits(entry)]
        self._bar.set_entries(book.entries, book.chosen, fitting)
        self._bar.set_words(*book.words())

    def _open_menu(self) -> None:
        self._book.refresh()  # other windows may have made some
        self._bar.open_menu(self.menu())

    def _show_folder(self) -> None:
        chosen = self._book.chosen
        folder = self._book.shelf.root if chosen is None else chosen.parent
        if folder.is_dir():
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))
        else:
            self._refiner.said.emit(f"There is no profile yet; they will be in {folder}.")

"""Small dialogs about profiles: a name, several profiles into one, and whether really."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QDialog, QFormLayout, QLineEdit, QVBoxLayout, QWidget

from napari_spa.refine.preference import acts
from napari_spa.viewer.profiles.active import full_name, shortened
from napari_spa.widgets.common.buttons import FittingButton, FocusRingCheckBox, sure
from napari_spa.widgets.common.layouts import row_of, wrapped

if TYPE_CHECKING:
    from pathlib import Path

    from napari_spa.io.profiles import StoreEntry

    Problem = Callable[[str, str], str]

_LONGEST_NAME = 120
_LETTERS = 46  # wide enough for a sentence in two lines


class ConfirmDialog(QDialog):
    """Say what would be lost; accepted, it shall be done."""

    def __init__(self, title: str, words: str, action: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(title)
        self.words = wrapped(words)
        self.words.setTextFormat(Qt.TextFormat.PlainText)
        self.words.setVisible(bool(words))
        self.action = FittingButton(action)
        self.cancel = FittingButton("Cancel")
        self.column = QVBoxLayout()
        layout = QVBoxLayout(self)
        layout.addWidget(self.words)
        layout.addLayout(self.column)
        layout.addStretch(1)
        layout.addLayout(row_of(self.action, self.cancel))
        self.action.clicked.connect(self.accept)
        self.cancel.clicked.connect(self.reject)
        self.cancel.setFocus()

    def showEvent(self, event: QShowEvent) -> None:
        """Take the size that the words need, in the font that napari's style gives to labels."""
        super().showEvent(event)
        self.setMinimumWidth(_LETTERS * self.words.fontMetrics().averageCharWidth())
        for field in self.findChildren(QLineEdit):
            field.setFont(self.words.font())
        self.grow()

    def grow(self) -> None:
        """Take more height where it is needed: Qt guesses that of wrapped words."""
        layout, width = sure(self.layout()), max(self.width(), self.minimumWidth())
        layout.activate()
        self.resize(width, max(self.height(), layout.totalHeightForWidth(width)))


class NameDialog(ConfirmDialog):
    """Ask for a name and, if wanted, for what is outlined."""

    def __init__(
        self,
        title: str,
        words: str,
        action: str,
        problem: Problem,
        *,
        name: str = "",
        task: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(title, words, action, parent)
        self._problem, self._touched = problem, bool(name)
        self.name, self.task = QLineEdit(name), QLineEdit(task)
        for field in (self.name, self.task):
            field.setMaxLength(_LONGEST_NAME)
            field.textEdited.connect(self._on_typed)
            field.returnPressed.connect(self.action.click)
        self.name.setAccessibleName("Name of the profile")
        self.task.setAccessibleName("What is outlined")
        self.task.setPlaceholderText("what is outlined (not needed)")
        self.trouble = wrapped()
        self.trouble.setTextFormat(Qt.TextFormat.PlainText)
        self.trouble.setAlignment(Qt.AlignmentFlag.AlignTop)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Name", self.name)
        form.addRow("Task", self.task)
        self.column.addLayout(form)
        self.column.addWidget(self.trouble)
        self.name.selectAll()
        self.name.setFocus()
        self.look()

    def named(self) -> tuple[str, str]:
        """Return the name and the task."""
        return self.name.text().strip(), self.task.text().strip()

    def trouble_now(self) -> str:
        """Return why it cannot be done as things are; empty when it can."""
        return self._problem(self.name.text(), self.task.text())

    def look(self) -> None:
        """Say in place what is wrong; of an empty name only once something was typed."""
        trouble = self.trouble_now()
        self.action.setEnabled(not trouble)
        self.trouble.setText(trouble if self._touched else "")
        if self.isVisible():
            self.grow()

    def _on_typed(self, _: str) -> None:
        self._touched = True
        self.look()


class MergeDialog(NameDialog):
    """Ask which profiles shall become one with the one in use, and its name."""

    def __init__(
        self,
        mine: StoreEntry,
        others: Sequence[StoreEntry],
        problem: Problem,
        parent: QWidget | None = None,
    ) -> None:
        self._mine, self._others = mine, tuple(others)
        self.boxes: list[FocusRingCheckBox] = []
        super().__init__(
            f"Merge {shortened(mine.name)} with…",
            "Makes a new profile, in which each counts in proportion to what taught it. "
            "The ones it is made of stay as they are.",
            "Merge",
            problem,
            task=mine.task,
            parent=parent,
        )
        for place, entry in enumerate(self._others):
            taught = " and ".join(acts(entry)) or "no picks"
            box = FocusRingCheckBox(f"{shortened(full_name(entry))} ({taught})".replace("&", "&&"))
            box.toggled.connect(self._on_toggled)
            self.boxes.append(box)
            self.column.insertWidget(place, box)
        self.look()

    def paths(self) -> list[Path]:
        """Return the files of the others that are chosen."""
        return [entry.path for entry in self._chosen()]

    def trouble_now(self) -> str:
        """Return why it cannot be done as things are; empty when it can."""
        if not self._chosen():
            return "Choose at least one."
        return super().trouble_now()

    def _chosen(self) -> list[StoreEntry]:
        # Made before its boxes are: without any, none is chosen.
        return [e for e, box in zip(self._others, self.boxes, strict=False) if box.isChecked()]

    def _on_toggled(self, _: bool) -> None:
        self._touched = True
        if not self.name.isModified():
            names = [self._mine.name, *(entry.name for entry in self._chosen())]
            self.name.setText(" and ".join(names)[:_LONGEST_NAME] if len(names) > 1 else "")
        self.look()

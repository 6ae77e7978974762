"""The dialog that runs a batch on the rest of a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QButtonGroup,
    QDialog,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QLineEdit,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from napari_spa.widgets.common.buttons import FittingButton, FocusRingSpinBox
from napari_spa.widgets.common.layouts import column_of, row_of, tip_button, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence


Way = Literal["auto", "prompts", "masks"]
_WAYS: dict[Way, tuple[str, str]] = {
    "auto": ("Find objects automatically", "A grid of points; what is found twice is kept once."),
    "prompts": ("Click where a table says", "CSV columns: image, object, row, col, label."),
    "masks": ("Refine rough masks", "A folder of label images with the names of the images."),
}
_REVIEW_BELOW = 0.75


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What a user wants done with the rest of a folder."""

    way: Way  # where objects come from
    path: Path | None  # the table, or the folder of masks
    doubtful: float  # objects of at least this uncertainty are put on the review list
    workers: int  # processes at once


class BatchDialog(QDialog):
    """Choose where objects come from; nothing starts before *Start*."""

    options_changed = Signal(
        object
    )  # A ``BatchOptions`` whose effort shall be told; see :meth:`show_effort`
    start_requested = Signal(object)  # A ``BatchOptions`` that shall be done

    def __init__(self, names: Sequence[str], profile: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Apply my profile to the rest")
        self.ways: dict[Way, QRadioButton] = {}
        self.path = QLineEdit()
        self.path.setPlaceholderText("Choose a file")
        self.browse = tip_button("Browse…", narrow=True)
        self.review_below = QDoubleSpinBox()
        self.review_below.setRange(0.0, 1.0)
        self.review_below.setSingleStep(0.05)
        self.review_below.setValue(_REVIEW_BELOW)
        self.review_below.setToolTip(
            "Objects whose expected Dice is lower are put on the review list.\n"
            "1: everything. 0: nothing but failures."
        )
        self.workers = FocusRingSpinBox()
        self.workers.setRange(1, max(1, os.cpu_count() or 1))
        self.workers.setToolTip("Each process loads the model once.")
        self.effort = wrapped()
        self.start = FittingButton("Start")
        self.close_button = FittingButton("Close")
        count = "1 other image is" if len(names) == 1 else f"{len(names)} other images are"
        self._compose(f"{count} pending. {profile}")
        self._connect()

    def ask(self) -> None:
        """Ask what it would take as it is chosen now."""
        self._on_options()

    def options(self) -> BatchOptions:
        """Return what is chosen."""
        way = next(way for way, button in self.ways.items() if button.isChecked())
        text = self.path.text().strip()
        path = Path(text) if text and way != "auto" else None
        return BatchOptions(
            way, path, round(1 - self.review_below.value(), 2), self.workers.value()
        )

    def show_effort(self, words: str, *, possible: bool) -> None:
        """Say what it would take, or why it cannot be done."""
        self.effort.setText(words)
        self.start.setEnabled(possible)

    def _compose(self, words: str) -> None:
        layout = QVBoxLayout(self)
        layout.addWidget(wrapped(words))
        group = QButtonGroup(self)
        for way, (text, tip) in _WAYS.items():
            button = QRadioButton(text)
            button.setToolTip(tip)
            button.setAccessibleDescription(tip)
            group.addButton(button)
            self.ways[way] = button
            layout.addWidget(button)
        self.ways["auto"].setChecked(True)
        self.where = column_of(row_of(self.path, self.browse, grows=self.path))
        layout.addWidget(self.where)
        form = QFormLayout()
        form.addRow("Review objects below a Dice of", self.review_below)
        form.addRow("Processes at once", self.workers)
        layout.addLayout(form)
        layout.addWidget(self.effort)
        layout.addStretch(1)
        layout.addLayout(row_of(self.start, self.close_button))
        self.setMinimumWidth(440)

    def _connect(self) -> None:
        for button in self.ways.values():
            button.toggled.connect(self._on_way)
        self.browse.clicked.connect(self._on_browse)
        self.path.editingFinished.connect(self._on_options)
        self.start.clicked.connect(self._on_start)
        self.close_button.clicked.connect(self.reject)
        self.where.hide()

    def _on_way(self, chosen: bool) -> None:
        if chosen:
            way = self.options().way
            self.path.clear()
            self.path.setPlaceholderText(
                "A folder of masks" if way == "masks" else "A table of clicks (CSV)"
            )
            self.where.setVisible(way != "auto")
            self._on_options()

    def _on_browse(self) -> None:
        if self.options().way == "masks":
            path = QFileDialog.getExistingDirectory(self, "Rough masks")
        else:
            path, _ = QFileDialog.getOpenFileName(
                self, "Clicks", "", "Tables (*.csv);;All files (*)"
            )
        if path:
            self.path.setText(path)
            self._on_options()

    def _on_options(self) -> None:
        options = self.options()
        if options.way != "auto" and options.path is None:
            self.show_effort("Choose where the objects come from.", possible=False)
            return
        self.show_effort("Estimating time and space…", possible=True)  # no one has to wait for it
        self.options_changed.emit(options)

    def _on_start(self) -> None:
        options = self.options()
        self.accept()
        self.start_requested.emit(options)

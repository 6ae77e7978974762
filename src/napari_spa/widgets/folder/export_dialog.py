"""Ask what of a folder shall be written for other programs, and where to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QSizePolicy,
    QVBoxLayout,
)

from napari_spa.io.projects.export import KINDS
from napari_spa.io.projects.paths import exports_path
from napari_spa.widgets.common.buttons import FittingButton
from napari_spa.widgets.common.fields import RingedCheck

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget


@dataclass(frozen=True, slots=True)
class ExportWish:
    """What a person wants written.

    Attributes
    ----------
    kinds : tuple of str
        Keys of ``KINDS``.
    folder : Path
        Where to.
    """

    kinds: tuple[str, ...]
    folder: Path


class ExportDialog(QDialog):
    """Choose kinds and a folder; nothing is written before *Export*.

    Parameters
    ----------
    out : Path
        The project's output folder.
    parent : QWidget or None
        Qt's parent.

    Attributes
    ----------
    start_requested : Signal(object)
        An ``ExportWish`` that shall be done.
    """

    start_requested = Signal(object)

    def __init__(self, out: Path, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Export")
        self.kinds = {kind: RingedCheck(text) for kind, text in KINDS.items()}
        self.folder = QLineEdit(str(exports_path(out)))
        self.folder.setAccessibleName("Where to")
        self.browse = FittingButton("Browse…")
        self.browse.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
        self.start = FittingButton("Export")
        self.close_button = FittingButton("Close")
        self._compose()
        self._refresh()

    def wish(self) -> ExportWish:
        """Return what is chosen."""
        chosen = tuple(kind for kind, box in self.kinds.items() if box.isChecked())
        return ExportWish(chosen, Path(self.folder.text().strip()))

    def _compose(self) -> None:
        layout = QVBoxLayout(self)
        layout.addWidget(QLabel("Write of all images with objects:"))
        for box in self.kinds.values():
            box.toggled.connect(self._refresh)
            layout.addWidget(box)
        self.kinds["labels"].setChecked(True)
        layout.addSpacing(6)
        layout.addWidget(QLabel("Into the folder:"))
        row = QHBoxLayout()
        row.addWidget(self.folder, 1)
        row.addWidget(self.browse)
        layout.addLayout(row)
        ends = QHBoxLayout()
        ends.addWidget(self.start)
        ends.addWidget(self.close_button)
        layout.addStretch(1)
        layout.addLayout(ends)
        self.setMinimumWidth(440)
        self.folder.textChanged.connect(self._refresh)
        self.browse.clicked.connect(self._on_browse)
        self.start.clicked.connect(self._on_start)
        self.close_button.clicked.connect(self.reject)

    def _refresh(self, *_: object) -> None:
        wish = self.wish()
        self.start.setEnabled(bool(wish.kinds) and bool(self.folder.text().strip()))

    def _on_browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Export into a folder")
        if folder:
            self.folder.setText(folder)

    def _on_start(self) -> None:
        wish = self.wish()
        self.accept()
        self.start_requested.emit(wish)

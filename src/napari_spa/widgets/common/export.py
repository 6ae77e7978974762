"""The dialog of every export: formats, a folder, and what is there already."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QDialog,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from napari_spa.core.presentation import counted
from napari_spa.io.export import (
    FORMATS,
    NUMBERED,
    ExportRequest,
    existing,
    format_problem,
    free_folder,
    free_name,
)
from napari_spa.viewer.background import later
from napari_spa.widgets.common.buttons import FittingButton, FocusRingCheckBox, explain
from napari_spa.widgets.common.layouts import row_of, tip_button, wrapped

_VALUES = {
    "objects": "Instance: each object has a number of its own.",
    "classes": "Semantic: all objects of a class have the same number.",
}
_BESIDE = ("masks", "coco", "rois", "geojson", "stl")
_NAMED = 2  # files that are named where they would be replaced
_WAIT_MS = 150


def start_folder(image: str | None = None) -> Path:
    """Return where exports go before a user said so.

    Beside the image where it is a file of this machine, else where napari was started, else home.
    """
    beside = [] if image is None or not Path(image).exists() else [Path(image).absolute().parent]
    for folder in (*beside, Path.cwd()):
        if os.access(folder, os.W_OK) and folder != Path(folder.anchor):
            return folder
    return Path.home()


class ExportDialog(QDialog):
    """Choose formats and a folder; nothing is written, or replaced, before the button is pressed.

    For one image, whose files lie side by side, or for all images of a project.
    """

    start_requested = Signal(object, str)  # an ``ExportRequest``, and the name of a single image

    def __init__(
        self,
        request: ExportRequest,
        names: Sequence[str],
        parent: QWidget | None = None,
        *,
        single: bool,
        deep: bool = True,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Export")
        self._names, self._single = list(names), single
        self._replacing = False
        self.kinds = {kind: FocusRingCheckBox(known.title) for kind, known in FORMATS.items()}
        for kind, box in self.kinds.items():
            flat = kind == "stl" and not deep
            problem = "The image has no planes along Z." if flat else format_problem(kind)
            explain(box, problem or FORMATS[kind].about)
            box.setEnabled(not problem)
            box.setChecked(kind in request.formats and not problem)
        self.values = {value: FocusRingCheckBox(value) for value in _VALUES}
        for value, box in self.values.items():
            explain(box, _VALUES[value])
            box.setChecked(value in request.values)
        self.folder = QLineEdit(str(request.folder))
        self.name = QLineEdit(names[0] if single else "", self)
        self.name.setVisible(single)
        self.browse = tip_button("Browse…", narrow=True)
        self.there = wrapped()
        self.rename = FittingButton("Use new names" if single else "Use a new folder")
        self.start, self.close_button = FittingButton("Export"), FittingButton("Close")
        self._due = later(self, self.look)
        self._due.setInterval(_WAIT_MS)
        self._compose()
        self._connect()
        self.look()

    def showEvent(self, event: QShowEvent) -> None:
        """Write the fields in the font that napari's style gives to labels."""
        super().showEvent(event)
        for field in (self.folder, self.name):
            field.setFont(self.there.font())

    def request(self) -> ExportRequest:
        """Return what is chosen."""
        return ExportRequest(
            Path(self.folder.text().strip()),
            tuple(kind for kind, box in self.kinds.items() if box.isChecked()),
            tuple(value for value, box in self.values.items() if box.isChecked()),
        )

    def look(self) -> None:
        """Look what is there already, and say so; the button says what it will do."""
        request = self.request()
        numbered = any(kind in NUMBERED for kind in request.formats)
        for box in self.values.values():
            box.setEnabled(numbered)
        why_not = ""
        if not request.formats:
            why_not = "Choose what shall be written."
        elif numbered and not request.values:
            why_not = "Choose whether the numbers are of objects or of classes."
        elif not self.folder.text().strip():
            why_not = "Choose a folder."
        elif self._single and not self._called():
            why_not = "Write a name without a folder in it."
        names = self._called()
        there = [] if why_not else existing(request, names, single=self._single)
        self.there.setText(why_not or _in_words(there))
        self.rename.setVisible(bool(there))
        self.start.set_texts(f"Replace {counted(len(there), 'file')}" if there else "Export")
        self.start.setEnabled(not why_not)
        # Enter replaces nothing.
        self.start.setDefault(not there)
        self.rename.setDefault(bool(there))
        self._replacing = bool(there)

    def _called(self) -> list[str]:
        if not self._single:
            return self._names
        name = self.name.text().strip()
        return [name] if name and Path(name).name == name else []

    def _compose(self) -> None:
        layout, kinds = QVBoxLayout(self), self.kinds
        objects = QGridLayout()
        for place, kind in enumerate(_BESIDE):
            objects.addWidget(kinds[kind], place // 2, place % 2)
        numbers = _in_row([QLabel("Numbers of"), *self.values.values()], indent=20)
        for title, *parts in (
            (
                "<b>Label images</b>: a number for each pixel",
                _in_row([kinds[kind] for kind in NUMBERED]),
                numbers,
            ),
            ("<b>Objects</b>", objects),
            ("<b>Tables and log</b>", _in_row([kinds["tables"], kinds["logs"]])),
        ):
            layout.addWidget(QLabel(title))
            for part in parts:
                layout.addLayout(part)
            layout.addSpacing(8)
        form = QGridLayout()
        fields = [("Folder", self.folder), *([("Name", self.name)] if self._single else [])]
        for place, (words, field) in enumerate(fields):
            label = QLabel(words)
            label.setBuddy(field)
            field.setAccessibleName(words)
            form.addWidget(label, place, 0)
            form.addWidget(field, place, 1)
        self.name.setToolTip("What the names of the files begin with.")
        form.addWidget(self.browse, 0, 2)
        layout.addLayout(form)
        layout.addWidget(self.there)
        layout.addStretch(1)
        layout.addLayout(row_of(self.rename, self.start, self.close_button))
        self.setMinimumWidth(480)

    def _connect(self) -> None:
        for box in (*self.kinds.values(), *self.values.values()):
            box.toggled.connect(self._due.start)
        for field in (self.folder, self.name):
            field.textChanged.connect(self._due.start)
        self.browse.clicked.connect(self._on_browse)
        self.rename.clicked.connect(self._on_rename)
        self.start.on_click(self._on_start)
        self.close_button.clicked.connect(self.reject)

    def _on_browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Export into a folder", self.folder.text())
        if folder:
            self.folder.setText(folder)

    def _on_rename(self) -> None:
        if self._single:
            self.name.setText(free_name(self.request(), self.name.text().strip()))
        else:
            self.folder.setText(str(free_folder(self.request(), self._names)))
        self.look()

    def _on_start(self) -> None:
        said = self.there.text()
        self.look()
        if self.start.isEnabled() and self.there.text() == said:  # as the button said
            self.accept()
            self.start_requested.emit(
                replace(self.request(), replace=self._replacing), self.name.text().strip()
            )


def _in_row(widgets: Sequence[QWidget], indent: int = 0) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setContentsMargins(indent, 0, 0, 0)
    for widget in widgets:
        row.addWidget(widget)
    row.addStretch(1)
    return row


def _in_words(there: Sequence[Path]) -> str:
    """Say what would be replaced."""
    if not there:
        return ""
    names = ", ".join(path.name for path in there[:_NAMED])
    more = len(there[_NAMED:])
    also = f" and {counted(more, 'more file')}" if more else ""
    verb = "are" if len(there) > 1 else "is"
    return f"{names}{also} {verb} there already."

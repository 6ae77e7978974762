"""The tab Options: which model proposes, what it looks at, and how objects share pixels."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QFileDialog, QFormLayout, QLineEdit, QProgressBar, QWidget

from napari_spa.core.presentation import capitalised
from napari_spa.io.models.registry import ModelEntry, list_models
from napari_spa.viewer.background import FileThread
from napari_spa.viewer.compat import load_torch, old_objects
from napari_spa.widgets.common.buttons import FittingButton, FocusRingCheckBox, NoWheelComboBox
from napari_spa.widgets.common.layouts import column_of, even_row, tip_button, wrapped

if TYPE_CHECKING:
    from napari_spa.io.models.download import StopEvent

BROWSE, TUNE = "Open a file…", "Tune it to my objects…"
_STEPS = 1000
_SUITS = (
    ("spa-tiny*", "any image, at once, on any computer"),
    ("mobile-sam*", "photographs and other images in colour; quick without a GPU"),
    ("sam*", "photographs and other images in colour"),
    ("medsam*", "X-ray, CT, MRI and ultrasound, with boxes"),
    ("vit-t-lm*", "cells and nuclei in light microscopy; quick without a GPU"),
    ("vit-t-em*", "organelles in electron microscopy; quick without a GPU"),
    ("*-lm", "cells and nuclei in light microscopy"),
    ("*-em-organelles", "organelles in electron microscopy"),
    ("*-histopathology", "nuclei in stained tissue"),
    ("*-medical-imaging", "X-ray, CT, MRI and ultrasound, with clicks"),
)
"""Which images a model is for, by what its name is like."""


class ModelFiles(FileThread):
    """Bring models' files onto this machine and check them, in a thread of its own."""

    progressed = Signal(float, str)  # share done and words of the download, in the main thread
    ready = Signal(str)  # a name or path that can be used now

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__("napari-spa-models", parent)
        self._cancel: StopEvent | None = None

    def download(self, name: str) -> None:
        """Download a published model; what a broken or cancelled one got is kept."""
        from napari_spa.io.models.download import StopEvent, download_model

        self._cancel = cancel = StopEvent()

        def job() -> None:
            told = partial(self.emit, self.progressed)
            download_model(name, progress=told, cancel=cancel)

        self.ask(job, lambda _: self.ready.emit(name))

    def check(self, path: str) -> None:
        """Read a weights file and build its network, before anything depends on it."""

        @old_objects.imported()
        def job() -> None:
            load_torch()
            from napari_spa.io.models.load import check_weights

            check_weights(path)

        self.ask(job, lambda _: self.ready.emit(path))

    def cancel(self) -> None:
        """Stop the download."""
        if self._cancel is not None:
            self._cancel.set()

    def close(self, *, wait: bool = False) -> None:
        """Stop, and let the thread end: no window waits for a server."""
        self.cancel()
        super().close(wait=wait)


class ModelBar(QWidget):
    """A list of all models, how to get one that is not here, and how to make one of one's own."""

    model_chosen = Signal(str)  # name or path of another model, which is on this machine
    tuning_requested = Signal()  # make a model from what was accepted
    tuning_cancelled = Signal()
    name_chosen = Signal(str)  # keep the model that was made by this name

    def __init__(self) -> None:
        super().__init__()
        self.files = ModelFiles(self)
        self.combo = NoWheelComboBox("Model")
        self.about = wrapped()
        self.download, self.open = FittingButton("Download…"), FittingButton("Choose its file…")
        self.progress = QProgressBar()
        self.progress.setRange(0, _STEPS)
        self.cancel = FittingButton("Cancel")
        self.name = QLineEdit()
        self.name.setAccessibleName("Name of the model")
        self.keep = FittingButton("Use it")
        self.keep.setToolTip("Keep it by this name, and use it from the next object on.")
        self._current, self._active, self._tuning = "", True, False
        self._wanted: ModelEntry | None = None
        self._offer = even_row((2, 1), self.download, self.open)
        self._running = even_row((2, 1), self.progress, self.cancel)
        self._naming = even_row((2, 1), self.name, self.keep)
        column_of(self.combo, self.about, self._offer, self._running, self._naming, holder=self)
        self.combo.activated.connect(self._on_activated)
        self.download.on_click(self._on_download)
        self.open.on_click(self._browse)
        self.cancel.on_click(self._on_cancel)
        self.keep.on_click(lambda: self.name_chosen.emit(self.name.text().strip()))
        self.name.returnPressed.connect(self.keep.click)
        self.files.progressed.connect(self.show_progress)
        self.files.ready.connect(self.take)
        self.files.failed.connect(self.show_failure)
        self._show_offer(None)
        self.refresh()

    def refresh(self) -> None:
        """List the models again: those on this machine first, then those to be had."""
        entries = sorted(list_models(), key=lambda entry: entry.path is None)
        self.combo.clear()
        for entry in entries:
            there = "" if entry.path is not None else "  (download…)"
            self._add(entry.name + there, entry.name, tip_of(entry))
        self._add(BROWSE, "", "A weights file of SAM, MedSAM, micro-sam or napari-spa.")
        self._add(TUNE, "", "A copy of the model learns from the objects you accepted, in minutes.")
        self.set_current(self._current)

    def set_current(self, model: str) -> None:
        """Show which model is used, by its name, or by its file's name where it is a path."""
        self._current = model
        if model and self.combo.findData(model) < 0:
            place = self.combo.findText(BROWSE)
            self.combo.insertItem(place, Path(model).stem, model)
            self.combo.setItemData(place, model, Qt.ItemDataRole.ToolTipRole)
        self.combo.setCurrentIndex(self.combo.findData(model))
        tip = self.combo.itemData(self.combo.currentIndex(), Qt.ItemDataRole.ToolTipRole)
        self.combo.setToolTip(str(tip or ""))

    def set_active(self, active: bool) -> None:
        """Let another model be chosen, or not while the one in use is at work."""
        self._active = active
        self.combo.setEnabled(active and not self._running.isVisibleTo(self))

    def show_progress(self, share: float, words: str) -> None:
        """Show how far a download, or the tuning, is."""
        self.progress.setValue(round(_STEPS * share))
        if self.cancel.isEnabled():
            self.progress.setFormat(words)

    def show_failure(self, sentence: str) -> None:
        """Say what went wrong; a name that was refused can be another one."""
        self._set_running(False)
        self._tuning = False
        self._show(capitalised(sentence))

    def end_tuning(self, words: str, name: str) -> None:
        """Say what became of the tuning; with a name, offer to keep the model."""
        self._show_offer(None)
        self._show(words)
        self.name.setText(name)
        self._naming.setVisible(bool(name))

    def take(self, model: str) -> None:
        """Use a model that is new on this machine."""
        self._show_offer(None)
        self._choose(model)
        self.refresh()

    def _on_activated(self, place: int) -> None:
        name = self.combo.itemData(place)
        entry = next((each for each in list_models() if each.name == name), None)
        if self.combo.itemText(place) == TUNE:
            self.set_current(self._current)
            self._begin_tuning()
        elif not name:
            self._browse()
        elif entry is not None and entry.path is None:
            self.set_current(self._current)  # until its file is there
            self._show_offer(entry)
        else:
            self._show_offer(None)
            self._choose(name)

    def _choose(self, model: str) -> None:
        self.set_current(model)
        self.model_chosen.emit(model)

    def _on_download(self) -> None:
        if self._wanted is not None:
            self._show(tip_of(self._wanted))  # not what became of the last try
            self._set_running(True)
            self.show_progress(0.0, "connecting…")
            self.files.download(self._wanted.name)

    def _on_cancel(self) -> None:
        self.progress.setFormat("stopping…")
        self.cancel.setEnabled(False)
        if self._tuning:
            self.tuning_cancelled.emit()
        else:
            self.files.cancel()

    def _begin_tuning(self) -> None:
        self._show_offer(None)
        self._tuning = True
        self._show(
            "A copy of the model learns from the objects you accepted. This takes some minutes; "
            "you can go on, with slower clicks."
        )
        self._set_running(True)
        self.show_progress(0.0, "reading the objects")
        self.tuning_requested.emit()

    def _browse(self) -> None:
        path, _filter = QFileDialog.getOpenFileName(
            self, "Open a model", "", "Models (*.safetensors *.pth *.pt);;All files (*)"
        )
        self.set_current(self._current)
        if path:
            self._show(f"Checking {Path(path).name}…")
            self.files.check(path)

    def _add(self, text: str, data: str, tip: str) -> None:
        self.combo.addItem(text, data)
        self.combo.setItemData(self.combo.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)

    def _show_offer(self, entry: ModelEntry | None) -> None:
        """Offer to get a model, or nothing."""
        self._wanted, self._tuning = entry, False
        self._show("" if entry is None else tip_of(entry))
        self._naming.setVisible(False)
        self._set_running(False)

    def _show(self, words: str) -> None:
        self.about.setText(words)
        self.about.setVisible(bool(words))

    def _set_running(self, running: bool) -> None:
        self.combo.setEnabled(self._active and not running)
        self.cancel.setEnabled(True)
        self._offer.setVisible(self._wanted is not None and not running)
        self._running.setVisible(running)


def tip_of(entry: ModelEntry) -> str:
    """Say what a model is, which images it is for, how large it is and under which licence."""
    lines = [f"{entry.name}: {entry.about}."]
    suits = next((words for like, words in _SUITS if fnmatchcase(entry.name, like)), "")
    if suits and entry.kind != "imported":
        lines.append(f"For {suits}.")
    if entry.known is not None:
        lines.append(f"{entry.known.megabytes:,} MB, licence: {entry.known.licence}.")
    if entry.path is None:
        lines.append("Not on this computer yet.")
    return "\n".join(lines)


CONTRASTS = {"automatic": "Automatic", "layer": "Layer's contrast limits"}
OVERLAPS = {"protect": "Protect earlier objects", "replace": "Replace earlier objects"}
FIELDS = {
    "wider": (("Wider",), "Look at more of the image around the click, in less detail."),
    "closer": (("Closer",), "Look at less of the image around the click, in more detail."),
    "automatic": (("Automatic", "Auto"), "Choose the field of view by the object's size."),
}
_NARROW = 30  # letters


class ImageOptions(QWidget):
    """Image, channels, contrast, field of view, overlap and blind mode."""

    layer_requested = Signal(int)  # another image layer, its place in what ``set_layers`` was given
    channels_requested = Signal(int)  # another entry of ``set_channels``
    contrast_requested = Signal(str)  # "automatic" or "layer"
    field_requested = Signal(str)  # "wider", "closer" or "automatic"
    frame_requested = Signal(bool)  # show the frame of the field of view, or not
    overlap_requested = Signal(str)  # "protect" or "replace"
    blind_requested = Signal(bool)  # read the next objects blind, or not

    def __init__(self) -> None:
        super().__init__()
        self.layer = NoWheelComboBox("Image layer")
        self.channels = NoWheelComboBox("Channels")
        self.contrast = NoWheelComboBox("Contrast")
        self.field = {name: tip_button(*texts, tip=tip) for name, (texts, tip) in FIELDS.items()}
        self.field_words = wrapped()
        self.frame = FocusRingCheckBox("Show frame")
        self.overlap = NoWheelComboBox("Overlap")
        self.blind = FocusRingCheckBox("Blind mode")
        self.blind.setToolTip(
            "From the next object on: show all masks alike and shuffled, without saying which\n"
            "is recommended; it can be accepted once it was chosen."
        )
        self.frame.setToolTip("Draw the field of view into the image.")
        self.contrast.show_entries(list(CONTRASTS.values()), 0)
        self.overlap.show_entries(list(OVERLAPS.values()), 0)
        self._compose()
        self._connect()
        self.set_field("")
        self.layer.show_entries((), -1)
        self.set_channels((), -1)

    def _compose(self) -> None:
        self._form = QFormLayout(self)
        self._form.setContentsMargins(0, 6, 0, 6)
        self._form.setVerticalSpacing(4)
        self._form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for name, part in (
            ("Image", self.layer),
            ("Channels", self.channels),
            ("Contrast", self.contrast),
            ("Field", even_row((3, 1), *self.field.values())),
            ("", self.field_words),
            ("", self.frame),
            ("Overlap", self.overlap),
            ("", self.blind),
        ):
            self._form.addRow(name, part)

    def _connect(self) -> None:
        # activated and clicked come from the user alone, so that setters emit nothing.
        self.layer.activated.connect(self.layer_requested)
        self.channels.activated.connect(self.channels_requested)
        self.contrast.activated.connect(
            lambda place: self.contrast_requested.emit(list(CONTRASTS)[place])
        )
        self.overlap.activated.connect(
            lambda place: self.overlap_requested.emit(list(OVERLAPS)[place])
        )
        for name, button in self.field.items():
            button.on_click(partial(self.field_requested.emit, name))
        self.frame.clicked.connect(self.frame_requested)
        self.blind.clicked.connect(self.blind_requested)

    def set_channels(self, entries: Sequence[str], current: int) -> None:
        """Offer ways to use the channels ("RGB", "DAPI", "all"); none hides the choice."""
        self.channels.show_entries(entries, current)
        self._form.setRowVisible(self.channels, bool(entries))

    def set_choices(self, *, contrast: str, overlap: str, blind: bool) -> None:
        """Show contrast ("automatic", "layer"), overlap ("protect", "replace") and blind mode."""
        self.contrast.setCurrentIndex(list(CONTRASTS).index(contrast))
        self.overlap.setCurrentIndex(list(OVERLAPS).index(overlap))
        self.blind.setChecked(blind)

    def set_field(self, words: str, *, automatic: bool = True, frame: bool = False) -> None:
        """Show the field of view, and whether it was chosen by the object's size."""
        self.field_words.setText(words)
        self._form.setRowVisible(self.field_words, bool(words))
        self.field["automatic"].setEnabled(not automatic)
        self.frame.setChecked(frame)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Put names above what they name where both do not fit beside each other."""
        super().resizeEvent(event)
        policies = QFormLayout.RowWrapPolicy
        narrow = self.width() < _NARROW * self.field_words.fontMetrics().averageCharWidth()
        self._form.setRowWrapPolicy(policies.WrapAllRows if narrow else policies.DontWrapRows)

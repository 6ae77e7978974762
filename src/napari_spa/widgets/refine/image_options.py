"""What the model looks at, and what an accepted object does to earlier ones."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QFormLayout, QWidget

from napari_spa.widgets.common.buttons import FocusRingCheckBox, NoWheelComboBox
from napari_spa.widgets.common.layouts import Disclosure, column_of, even_row, tip_button, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QResizeEvent

CONTRASTS = {"automatic": "Automatic", "layer": "Layer's contrast limits"}
OVERLAPS = {"protect": "Protect earlier objects", "replace": "Replace earlier objects"}
FIELDS = {
    "wider": (("Wider",), "Look at more of the image around the click, in less detail."),
    "closer": (("Closer",), "Look at less of the image around the click, in more detail."),
    "automatic": (("Automatic", "Auto"), "Choose the field of view by the object's size."),
}
_NARROW = 30  # letters
_IN_SUMMARY = {"automatic": "automatic contrast", "layer": "layer's contrast"}


class ImageOptions(QWidget):
    """Image, channels, contrast, field of view, overlap and blind mode, folded away."""

    layer_requested = Signal(int)  # another image layer, its place in what ``set_layers`` was given
    channels_requested = Signal(int)  # another entry of ``set_channels``
    contrast_requested = Signal(str)  # "automatic" or "layer"
    field_requested = Signal(str)  # "wider", "closer" or "automatic"
    frame_requested = Signal(bool)  # show the field's frame; blind mode
    overlap_requested = Signal(str)  # "protect" or "replace"
    blind_requested = Signal(bool)  # show the field's frame; blind mode

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
        self.fold = Disclosure("", self._content())
        column_of(self.fold, holder=self)
        self._connect()
        self.set_field("")
        self.set_layers((), -1)
        self.set_channels((), -1)

    # ------------------------------------------------------------------ composing

    def _content(self) -> QWidget:
        content = QWidget()
        self._form = QFormLayout(content)
        self._form.setContentsMargins(8, 0, 0, 0)
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
        return content

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
        for combo in (self.layer, self.channels, self.contrast, self.overlap):
            combo.activated.connect(self._summarise)
        self.blind.clicked.connect(self._summarise)

    # ------------------------------------------------------------------ setters

    def set_layers(self, names: Sequence[str], current: int) -> None:
        """Offer image layers, one of them annotated; -1 for none."""
        self.layer.show_entries(names, current)
        self._summarise()

    def set_channels(self, entries: Sequence[str], current: int) -> None:
        """Offer ways to use the channels ("RGB", "DAPI", "all"); none hides the choice."""
        self.channels.show_entries(entries, current)
        self._show_row(self.channels, bool(entries))
        self._summarise()

    def set_contrast(self, contrast: str) -> None:
        """Show which contrast is used: "automatic" or "layer"."""
        self.contrast.setCurrentIndex(list(CONTRASTS).index(contrast))
        self._summarise()

    def set_field(self, words: str, *, automatic: bool = True, frame: bool = False) -> None:
        """Show the field of view, and whether it was chosen by the object's size."""
        self.field_words.setText(words)
        self._show_row(self.field_words, bool(words))
        self.field["automatic"].setEnabled(not automatic)
        self.frame.setChecked(frame)
        self._summarise()

    def set_overlap(self, overlap: str) -> None:
        """Show what happens where objects overlap: "protect" or "replace"."""
        self.overlap.setCurrentIndex(list(OVERLAPS).index(overlap))
        self._summarise()

    def set_blind(self, blind: bool) -> None:
        """Show whether blind mode is on."""
        self.blind.setChecked(blind)
        self._summarise()

    def summary(self) -> str:
        """Return what is in force, in a few words."""
        parts = [
            self.layer.currentText() or "no image",
            self.channels.currentText(),
            _IN_SUMMARY[list(CONTRASTS)[self.contrast.currentIndex()]],
            self.field_words.text() if self.field["automatic"].isEnabled() else "",
            "replaces" if self.overlap.currentIndex() else "",
            "blind" if self.blind.isChecked() else "",
        ]
        return " · ".join(filter(None, parts))

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Put names above what they name where both do not fit beside each other."""
        super().resizeEvent(event)
        policies = QFormLayout.RowWrapPolicy
        narrow = self.width() < _NARROW * self.field_words.fontMetrics().averageCharWidth()
        self._form.setRowWrapPolicy(policies.WrapAllRows if narrow else policies.DontWrapRows)

    def _summarise(self, _: object = None) -> None:
        self.fold.set_title(self.summary())

    def _show_row(self, part: QWidget, shown: bool) -> None:
        label = self._form.labelForField(part)
        part.setVisible(shown)
        if label is not None:
            label.setVisible(shown)

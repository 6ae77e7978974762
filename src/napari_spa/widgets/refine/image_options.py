"""What the model looks at, and what an accepted object does to earlier ones."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QFormLayout,
    QLabel,
    QVBoxLayout,
    QWidget,
)

from napari_spa.widgets.common.buttons import FittingButton, FocusRingCheckBox, NoWheelComboBox
from napari_spa.widgets.common.layouts import Disclosure, EvenGrid

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
_MIX = ("Red", "Green", "Blue")
_NARROW = 30  # letters
_IN_SUMMARY = {"automatic": "automatic contrast", "layer": "layer's contrast"}


class ImageOptions(QWidget):
    """Image, channels, contrast, field of view, overlap and blind mode, folded away."""

    layer_requested = Signal(int)  # another image layer, its place in what ``set_layers`` was given
    channels_requested = Signal(int)  # another entry of ``set_channels``
    # Other channels for red, green and blue: a tuple of three places in what ``set_mix`` was
    # given.
    mix_requested = Signal(object)
    contrast_requested = Signal(str)  # "automatic" or "layer"
    field_requested = Signal(str)  # "wider", "closer" or "automatic"
    frame_requested = Signal(bool)  # show the field's frame; blind mode
    overlap_requested = Signal(str)  # "protect" or "replace"
    blind_requested = Signal(bool)  # show the field's frame; blind mode

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.layer = NoWheelComboBox("Image layer")
        self.channels = NoWheelComboBox("Channels")
        self.mix = [NoWheelComboBox(name) for name in _MIX]
        self.contrast = NoWheelComboBox("Contrast")
        self.field = {name: FittingButton(*texts) for name, (texts, _) in FIELDS.items()}
        self.field_words = QLabel()
        self.field_words.setWordWrap(True)
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
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.fold)
        self._connect()
        self.set_mix((), (0, 0, 0))
        self.set_field("")
        self.set_layers((), -1)
        self.set_channels((), -1)

    # ------------------------------------------------------------------ composing

    def _content(self) -> QWidget:
        field_cells = QWidget()
        field = EvenGrid((3, 1), field_cells)
        for name, button in self.field.items():
            button.setToolTip(FIELDS[name][1])
            field.addWidget(button)
        content = QWidget()
        self._form = QFormLayout(content)
        self._form.setContentsMargins(8, 0, 0, 0)
        self._form.setVerticalSpacing(4)
        self._form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for name, part in (
            ("Image", self.layer),
            ("Channels", self.channels),
            *zip(_MIX, self.mix, strict=True),
            ("Contrast", self.contrast),
            ("Field", field_cells),
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
        for combo in self.mix:
            combo.activated.connect(self._on_mix)
        self.contrast.activated.connect(self._on_contrast)
        self.overlap.activated.connect(self._on_overlap)
        for name, button in self.field.items():
            button.clicked.connect(partial(self._on_field, name))
        self.frame.clicked.connect(self.frame_requested)
        self.blind.clicked.connect(self.blind_requested)
        for combo in (self.layer, self.channels, *self.mix, self.contrast, self.overlap):
            combo.activated.connect(self._summarise)
        self.blind.clicked.connect(self._summarise)

    # ------------------------------------------------------------------ setters

    def set_layers(self, names: Sequence[str], current: int) -> None:
        """Offer image layers, one of them annotated; -1 for none."""
        self.layer.show_entries(names, current)
        self._summarise()

    def set_channels(self, entries: Sequence[str], current: int) -> None:
        """Offer ways to use the channels ("RGB", "DAPI", "Mix"); none hides the choice."""
        self.channels.show_entries(entries, current)
        self._show_row(self.channels, bool(entries))
        self._summarise()

    def set_mix(self, names: Sequence[str], chosen: tuple[int, int, int]) -> None:
        """Offer channels for red, green and blue each; none hides the choice."""
        for combo, current in zip(self.mix, chosen, strict=True):
            combo.show_entries(names, current if names else -1)
            self._show_row(combo, bool(names))
        self._summarise()

    def set_contrast(self, contrast: str) -> None:
        """Show which contrast is used: "automatic" or "layer"."""
        self.contrast.setCurrentIndex(list(CONTRASTS).index(contrast))
        self._summarise()

    def set_field(self, words: str, *, automatic: bool = True, frame: bool = False) -> None:
        """Show the field of view."""
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
        mixed = [combo.currentText() for combo in self.mix if combo.count()]
        parts = [
            self.layer.currentText() or "no image",
            "/".join(mixed) or self.channels.currentText(),
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

    # ------------------------------------------------------------------ asking

    def _on_mix(self, _: int) -> None:
        self.mix_requested.emit(tuple(combo.currentIndex() for combo in self.mix))

    def _on_contrast(self, place: int) -> None:
        self.contrast_requested.emit(list(CONTRASTS)[place])

    def _on_overlap(self, place: int) -> None:
        self.overlap_requested.emit(list(OVERLAPS)[place])

    def _on_field(self, name: str, _: bool = False) -> None:
        self.field_requested.emit(name)

    def _summarise(self, _: object = None) -> None:
        self.fold.set_title(self.summary())

    def _show_row(self, part: QWidget, shown: bool) -> None:
        label = self._form.labelForField(part)
        part.setVisible(shown)
        if label is not None:
            label.setVisible(shown)

"""The slider that grows and shrinks the recommended mask."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QLabel, QSizePolicy, QSlider, QWidget

from napari_spa.viewer.background import later
from napari_spa.widgets.common.buttons import show_key
from napari_spa.widgets.common.layouts import column_of, row_of

_STEPS = 100
"""From the middle to either end."""
_KEY_STEP = 5
_SETTLED_MS = 250
"""After so long without a further step, keys and the wheel are done."""


class SizeSlider(QWidget):
    """A place on the axis from shrunk to grown; one choice for a drag, or for a run of steps."""

    previewed = Signal(float)  # it is being moved, and is there now
    chosen = Signal(float)  # it was moved there

    def __init__(self) -> None:
        super().__init__()
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(-_STEPS, _STEPS)
        self.slider.setSingleStep(_KEY_STEP)
        self.slider.setPageStep(2 * _KEY_STEP)
        self.slider.setAccessibleName("Size of the recommended mask")
        self.slider.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._settled = later(self, self._on_settled, _SETTLED_MS)
        self._moved = False
        self.slider.valueChanged.connect(self._on_value)
        self.slider.sliderReleased.connect(self._on_settled)
        row = row_of(QLabel("Smaller"), self.slider, QLabel("Larger"), grows=self.slider)
        column_of(row, holder=self)
        self.set_keys("", "")

    @property
    def moving(self) -> bool:
        """Whether it is being moved, and nothing was chosen yet."""
        return self._moved

    def set_keys(self, smaller: str, larger: str) -> None:
        """Show the keys that move it."""
        tip = "Grow or shrink the recommended mask; what you said with clicks and boxes holds."
        keys = f"\nKeys: {show_key(smaller)} and {show_key(larger)}" if smaller and larger else ""
        self.setToolTip(tip + keys)

    def set_size(self, size: float) -> None:
        """Show where a recommendation stands, in [-1, 1]; nothing is asked for."""
        self._settled.stop()
        self._moved = False
        blocked = self.slider.blockSignals(True)
        self.slider.setValue(round(size * _STEPS))
        self.slider.blockSignals(blocked)

    def step(self, direction: int) -> None:
        """Move it one step towards larger (1) or smaller (-1)."""
        if self.isEnabled():
            self.slider.setValue(self.slider.value() + direction * _KEY_STEP)

    def _on_value(self, value: int) -> None:
        self._moved = True
        if not self.slider.isSliderDown():
            self._settled.start()
        self.previewed.emit(value / _STEPS)

    def _on_settled(self) -> None:
        if self._moved and not self.slider.isSliderDown():
            self._settled.stop()
            self._moved = False
            self.chosen.emit(self.slider.value() / _STEPS)

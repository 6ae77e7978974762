"""Combo, spin and check boxes that show the focus, and a label in a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QPainter, QPen
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QLabel,
    QSizePolicy,
    QSpinBox,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QWidget,
)

from napari_spa.widgets.common.buttons import draw_ring

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QPaintEvent, QWheelEvent


class QuietCombo(QComboBox):
    """A combo box that leaves the wheel to the scrolling dock and the keys to the canvas.

    Parameters
    ----------
    name : str
        What is chosen, for those who hear instead of see.
    """

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setAccessibleName(name)
        policy = QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        self.setSizeAdjustPolicy(policy)
        self.setMinimumContentsLength(5)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.currentTextChanged.connect(self.setToolTip)

    def show_entries(self, entries: Sequence[str], current: int) -> None:
        """Offer other entries, one of them current; -1 for none."""
        if [self.itemText(index) for index in range(self.count())] != list(entries):
            self.clear()
            self.addItems(list(entries))
        self.setCurrentIndex(current)
        self.setEnabled(self.count() > 1)

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """Change nothing in passing."""
        if event is not None:
            event.ignore()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the box, its text elided where it does not fit."""
        painter = QStylePainter(self)
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        style = self.style()
        if style is not None:
            room = style.subControlRect(
                QStyle.ComplexControl.CC_ComboBox,
                option,
                QStyle.SubControl.SC_ComboBoxEditField,
                self,
            )
            option.currentText = self.fontMetrics().elidedText(
                option.currentText, Qt.TextElideMode.ElideRight, room.width() - 2
            )
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)
        painter.end()
        if self.hasFocus():
            draw_ring(self)


class RingedSpin(QSpinBox):
    """A spin box that shows the focus."""

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the box, and the focus around it."""
        super().paintEvent(event)
        if self.hasFocus():
            draw_ring(self)


class RingedCheck(QCheckBox):
    """A check box that shows the focus, and takes it from Tab alone."""

    def __init__(self, text: str, parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the box, and the focus around it."""
        super().paintEvent(event)
        if self.hasFocus():
            draw_ring(self)


class FramedLabel(QLabel):
    """A text in a frame of its own colour, such as a key's cap.

    Parameters
    ----------
    text : str
        The text.
    space : int
        Between text and frame, in pixels.
    """

    def __init__(self, text: str = "", *, space: int = 4, parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setContentsMargins(space, space // 2, space, space // 2)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the text and the frame."""
        super().paintEvent(event)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colour = QColor(self.palette().color(self.foregroundRole()))
        colour.setAlpha(colour.alpha() * 2 // 3)
        painter.setPen(QPen(colour, 1))
        painter.drawRoundedRect(
            self.rect().adjusted(0, 0, -1, -1).toRectF().translated(0.5, 0.5), 4, 4
        )

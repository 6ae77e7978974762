"""What a click in the image means, and a form for those who cannot click there."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QPainter, QPainterPath, QPen
from qtpy.QtWidgets import (
    QButtonGroup,
    QHBoxLayout,
    QLabel,
    QStylePainter,
    QVBoxLayout,
    QWidget,
)

from napari_spa.widgets.common.buttons import PADDING, FittingButton, FocusRingSpinBox, show_key
from napari_spa.widgets.common.layouts import Disclosure, EvenGrid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qtpy.QtGui import QPaintEvent

ADD, REMOVE, BOX, BRUSH = "add", "remove", "box", "brush"
_TOOLS = {
    ADD: ("Add", "Click what belongs to the object."),
    REMOVE: ("Remove", "Click what does not belong to the object."),
    BOX: ("Box", "Drag a box around the object."),
    BRUSH: ("Brush", "Brush over the object."),
}


HINTS = {BOX: _TOOLS[BOX][1], BRUSH: _TOOLS[BRUSH][1]}
"""What to do first with a tool that is not clicked with."""


class ToolButton(FittingButton):
    """One prompt tool: its sign, its name and its key."""

    def __init__(self, tool: str, parent: QWidget | None = None) -> None:
        super().__init__(parent=parent)
        self._tool, self._key = tool, ""
        self.setCheckable(True)
        self.set_key("")

    def set_key(self, key: str) -> None:
        """Show another key."""
        name, tip = _TOOLS[self._tool]
        self._key = show_key(key)
        self.set_texts(name)
        self.setToolTip(f"{tip}\nKey: {self._key}" if key else tip)
        self.setAccessibleName(f"{name}: {tip}")

    def sizeHint(self) -> QSize:
        """Leave room for the sign, and for the key under the name."""
        metrics = self.fontMetrics()
        missing = metrics.horizontalAdvance(self._key) - metrics.horizontalAdvance(self.text())
        more = QSize(max(0, missing) + self._sign_size() + PADDING, 0)
        if self._key:
            more.setHeight(metrics.height())
        return super().sizeHint() + more

    def minimumSizeHint(self) -> QSize:
        """Show everything, always."""
        return self.sizeHint()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the sign in front of the name, and the key under it."""
        painter = QStylePainter(self)
        self.draw_frame(painter)
        lines = [self.text(), *([self._key] if self._key else [])]
        size, line = self._sign_size(), self.fontMetrics().height()
        width = max(self.fontMetrics().horizontalAdvance(text) for text in lines)
        left = (self.width() - width - size - PADDING) / 2
        top = (self.height() - line * len(lines)) / 2
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(self.ink(), max(1.5, size / 10)))
        draw_sign(painter, QRectF(left, (self.height() - size) / 2, size, size), self._tool)
        painter.setPen(self.ink())
        for place, text in enumerate(lines):
            room = QRectF(left + size + PADDING, top + place * line, width, line)
            painter.drawText(room, int(Qt.AlignmentFlag.AlignCenter), text)
        painter.end()
        self.draw_focus()

    def _sign_size(self) -> int:
        return self.fontMetrics().ascent()


def draw_sign(painter: QPainter, area: QRectF, tool: str) -> None:
    """Draw a tool's sign with the painter's pen into a square area."""
    area = area.adjusted(1, 1, -1, -1)
    middle, reach = area.center(), area.width() / 4
    if tool in (ADD, REMOVE):
        painter.drawEllipse(area)
        painter.drawLine(middle - QPointF(reach, 0), middle + QPointF(reach, 0))
        if tool == ADD:
            painter.drawLine(middle - QPointF(0, reach), middle + QPointF(0, reach))
    elif tool == BOX:
        pen = painter.pen()
        pen.setDashPattern([2, 1.2])
        painter.setPen(pen)
        painter.drawRect(area)
    else:
        pen = painter.pen()
        pen.setWidthF(2.2 * pen.widthF())
        pen.setCapStyle(Qt.PenCapStyle.RoundCap)
        painter.setPen(pen)
        path = QPainterPath(area.bottomLeft())
        path.cubicTo(area.topLeft(), area.bottomRight(), area.topRight())
        painter.drawPath(path)


class PromptBar(QWidget):
    """The prompt tools, one of them in use, and a form to place a click by numbers."""

    tool_changed = Signal(str)  # the user took another tool: "add", "remove", "box" or "brush"
    # Row and column in pixels, and 1 to add or 0 to remove.
    point_requested = Signal(float, float, int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._tool = ADD
        self.tools = {tool: ToolButton(tool) for tool in _TOOLS}
        self._group = QButtonGroup(self)
        buttons = QWidget()
        grid = EvenGrid((4, 2, 1), buttons)
        for tool, button in self.tools.items():
            self._group.addButton(button)
            button.clicked.connect(partial(self._on_tool, tool))
            grid.addWidget(button)
        self.tools[ADD].setChecked(True)
        self.row, self.column = FocusRingSpinBox(), FocusRingSpinBox()
        self.add_point, self.remove_point = FittingButton("Add"), FittingButton("Remove")
        self.form = Disclosure("Place a click by numbers", self._form())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(buttons)
        layout.addWidget(self.form)
        self.set_limits(0, 0)

    def _form(self) -> QWidget:
        form = QWidget()
        grid = EvenGrid((4, 2, 1), form)
        for name, spin in (("Row", self.row), ("Column", self.column)):
            spin.setAccessibleName(f"{name} in pixels")
            spin.setToolTip(f"{name} in pixels, from 0.")
            pair = QWidget()
            layout = QHBoxLayout(pair)
            layout.setContentsMargins(0, 0, 0, 0)
            layout.addWidget(QLabel(name))
            layout.addWidget(spin, 1)
            grid.addWidget(pair)
        for button, label, tip in (
            (self.add_point, 1, "This pixel belongs to the object."),
            (self.remove_point, 0, "This pixel does not belong to the object."),
        ):
            button.setToolTip(tip)
            button.clicked.connect(partial(self._on_point, label))
            grid.addWidget(button)
        return form

    def set_tool(self, tool: str) -> None:
        """Show which tool is in use; emits nothing."""
        self._tool = tool
        self.tools[tool].setChecked(True)

    def set_keys(self, keys: Mapping[str, str]) -> None:
        """Show other keys: tool, and its key."""
        for tool, button in self.tools.items():
            button.set_key(keys.get(tool, ""))

    def set_limits(self, height: int, width: int) -> None:
        """Allow clicks in an image of so many pixels, beginning in its middle; 0 for none."""
        for spin, size in ((self.row, height), (self.column, width)):
            if spin.maximum() != size - 1:
                spin.setRange(0, max(0, size - 1))
                spin.setValue(size // 2)
        for part in (self.row, self.column, self.add_point, self.remove_point):
            part.setEnabled(height > 0 and width > 0)

    def _on_tool(self, tool: str, _: bool = False) -> None:
        if tool != self._tool:
            self._tool = tool
            self.tool_changed.emit(tool)

    def _on_point(self, label: int, _: bool = False) -> None:
        self.point_requested.emit(float(self.row.value()), float(self.column.value()), label)

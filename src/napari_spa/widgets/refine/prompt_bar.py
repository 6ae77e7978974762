"""What a click in the image means, and a form for those who cannot click there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QPainter, QPainterPath, QPaintEvent, QPen
from qtpy.QtWidgets import QLabel, QStylePainter, QWidget

from napari_spa.widgets.common.buttons import (
    PADDING,
    FittingButton,
    FocusRingSpinBox,
    draw_ring,
    show_key,
    tip_with_key,
)
from napari_spa.widgets.common.layouts import EvenGrid, column_of, even_row, row_of

ADD, REMOVE, BOX, BRUSH, LASSO = "add", "remove", "box", "brush", "lasso"
CLICK = "click"
"""The tool when none of the others is: what is clicked is added or removed."""
_TOOLS = {
    ADD: ("Add", "Click what belongs to the object; brush and lasso add as well."),
    REMOVE: ("Remove", "Click what does not belong to it; brush and lasso take away as well."),
    BOX: ("Box", "Drag a box around the object."),
    BRUSH: ("Brush", "Brush over the object."),
    LASSO: ("Lasso", "Drag around the object, or click corner by corner and double click."),
}
SIGNED = (CLICK, BRUSH, LASSO)
"""The tools that add or remove."""
_USUAL_KEY = "Shift+X"
HINTS = {tool: _TOOLS[tool][1] for tool in (BOX, BRUSH, LASSO)}
"""What to do first with a tool that is not clicked with."""


class ToolButton(FittingButton):
    """One prompt tool: its sign, its name and its key."""

    def __init__(self, tool: str) -> None:
        super().__init__()
        self._tool, self._key = tool, ""
        self.setCheckable(True)
        self.set_key("")

    def set_key(self, key: str) -> None:
        """Show another key."""
        name, tip = _TOOLS[self._tool]
        self._key = show_key(key)
        self.set_texts(name)
        self.setToolTip(tip_with_key(tip, key))
        self.setAccessibleName(f"{name}: {tip}")

    def sizeHint(self) -> QSize:
        """Leave room for the sign, and for a key under the name; there may be none yet."""
        return self._fitting(self.text(), self._key, _USUAL_KEY) + QSize(PADDING, 0)

    def minimumSizeHint(self) -> QSize:
        """Show everything, always."""
        return self._fitting(self.text(), self._key)

    def _fitting(self, *texts: str) -> QSize:
        metrics = self.fontMetrics()
        widest = max(map(metrics.horizontalAdvance, texts))
        height = super().sizeHint().height() + (metrics.height() if self._key else 0)
        return QSize(widest + self._sign_size() + 3 * PADDING, height)

    def paintEvent(self, event: QPaintEvent) -> None:
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
        draw_ring(self)

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
    elif tool == LASSO:
        loop = QRectF(area.left(), area.top(), area.width(), 0.7 * area.height())
        painter.drawEllipse(loop)
        end = QPainterPath(QPointF(loop.left() + reach, loop.bottom() - reach / 4))
        end.quadTo(area.bottomLeft() - QPointF(0, reach), area.bottomLeft() + QPointF(2 * reach, 0))
        painter.drawPath(end)
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
    """The prompt tools, what they do, and a form to place a click by numbers."""

    tool_requested = Signal(str)  # a button was pressed: a key of ``tools``
    point_requested = Signal(float, float, int)  # row, column in pixels; 1 to add, 0 to remove

    def __init__(self) -> None:
        super().__init__()
        self.tools = {tool: ToolButton(tool) for tool in _TOOLS}
        buttons = QWidget()
        grid = EvenGrid((3, 2, 1), buttons, row=True)
        for tool, button in self.tools.items():
            button.on_click(partial(self._on_tool, tool))
            grid.addWidget(button)
        self._checked = {ADD}
        self.set_tool(CLICK)
        self.row, self.column = FocusRingSpinBox(), FocusRingSpinBox()
        self.add_point, self.remove_point = FittingButton("Add"), FittingButton("Remove")
        self.form = column_of(QLabel("Place a click by numbers"), self._form())
        column_of(buttons, self.form, holder=self)
        self.set_limits(0, 0)

    def _form(self) -> QWidget:
        for name, spin in (("Row", self.row), ("Column", self.column)):
            spin.setAccessibleName(f"{name} in pixels")
            spin.setToolTip(f"{name} in pixels, from 0.")
        for button, label, tip in (
            (self.add_point, 1, "This pixel belongs to the object."),
            (self.remove_point, 0, "This pixel does not belong to the object."),
        ):
            button.setToolTip(tip)
            button.on_click(partial(self._on_point, label))
        row = row_of(QLabel("Row"), self.row, grows=self.row)
        column = row_of(QLabel("Column"), self.column, grows=self.column)
        clicks = (self.add_point, self.remove_point)
        return even_row((4, 2, 1), column_of(row), column_of(column), *clicks)

    def set_tool(self, tool: str, *, negative: bool = False) -> None:
        """Show which tool is in use, and whether it removes; emits nothing."""
        self._checked = {REMOVE if negative else ADD} if tool in SIGNED else set()
        self._checked |= {tool} - {CLICK}
        for name, button in self.tools.items():
            button.setChecked(name in self._checked)

    def set_keys(self, keys: Mapping[str, str]) -> None:
        """Show other keys; that of the sign is beside what takes away."""
        for tool, button in self.tools.items():
            button.set_key(keys.get("prompt_sign" if tool == REMOVE else tool, ""))

    def set_limits(self, height: int, width: int) -> None:
        """Allow clicks in an image of so many pixels, beginning in its middle; 0 for none."""
        for spin, size in ((self.row, height), (self.column, width)):
            if spin.maximum() != size - 1:
                spin.setRange(0, max(0, size - 1))
                spin.setValue(size // 2)
        for part in (self.row, self.column, self.add_point, self.remove_point):
            part.setEnabled(height > 0 and width > 0)

    def _on_tool(self, tool: str) -> None:
        self.tools[tool].setChecked(tool in self._checked)  # until it is so
        self.tool_requested.emit(tool)

    def _on_point(self, label: int) -> None:
        self.point_requested.emit(float(self.row.value()), float(self.column.value()), label)

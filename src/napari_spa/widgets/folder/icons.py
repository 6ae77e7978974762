"""Pictures of the states of an image: a shape and a colour for each, never colour alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QPainterPath, QPen, QPolygonF

if TYPE_CHECKING:
    from qtpy.QtGui import QPainter

TROUBLED = "problem"
STATUS_WORDS = {
    "to do": "To do",
    "in progress": "In progress",
    "done": "Done",
    "skipped": "Skipped",
    "review": "To review",
    TROUBLED: "Problem",
}
# As the bars of the stack: told apart with any kind of colour vision, and in either theme.
STATUS_COLOURS = {
    "to do": (140, 140, 140),
    "in progress": (0, 145, 255),
    "done": (0, 158, 115),
    "skipped": (140, 140, 140),
    "review": (230, 159, 0),
    TROUBLED: (213, 94, 0),
}
FLAG_COLOUR = (213, 94, 0)


def draw_status(painter: QPainter, status: str, box: QRectF) -> None:
    """Draw the sign of a state.

    Parameters
    ----------
    painter : QPainter
        Where.
    status : str
        A key of ``STATUS_WORDS``; any other is drawn as to do.
    box : QRectF
        A square.
    """
    colour = QColor(*STATUS_COLOURS.get(status, STATUS_COLOURS["to do"]))
    painter.save()
    painter.setRenderHint(painter.RenderHint.Antialiasing)
    inner = box.adjusted(1, 1, -1, -1)
    thick = max(1.5, box.width() / 8)
    pen = QPen(colour, thick, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap)
    painter.setPen(pen)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    if status == "in progress":
        painter.drawEllipse(inner)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(colour)
        painter.drawPie(inner, 90 * 16, -180 * 16)
    elif status in ("done", "review", TROUBLED):
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(colour)
        if status == TROUBLED:
            top = QPointF(inner.center().x(), inner.top())
            painter.drawPolygon(QPolygonF([top, inner.bottomRight(), inner.bottomLeft()]))
        else:
            painter.drawEllipse(inner)
        painter.setPen(QPen(QColor(255, 255, 255), thick, cap=Qt.PenCapStyle.RoundCap))
        painter.drawPath(_mark(status, inner))
    elif status == "skipped":
        painter.drawEllipse(inner)
        painter.drawLine(_at(inner, 0.28, 0.72), _at(inner, 0.72, 0.28))
    else:
        painter.drawEllipse(inner)
    painter.restore()


def draw_flag(painter: QPainter, box: QRectF) -> None:
    """Draw a flag on its pole."""
    painter.save()
    painter.setRenderHint(painter.RenderHint.Antialiasing)
    colour = QColor(*FLAG_COLOUR)
    painter.setPen(QPen(colour, max(1.5, box.width() / 9)))
    painter.drawLine(_at(box, 0.25, 0.08), _at(box, 0.25, 0.95))
    painter.setBrush(colour)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.drawPolygon(QPolygonF([_at(box, 0.25, 0.08), _at(box, 0.9, 0.3), _at(box, 0.25, 0.55)]))
    painter.restore()


def _mark(status: str, box: QRectF) -> QPainterPath:
    path = QPainterPath()
    if status == "done":
        path.moveTo(_at(box, 0.27, 0.52))
        path.lineTo(_at(box, 0.44, 0.69))
        path.lineTo(_at(box, 0.74, 0.34))
    elif status == "review":
        path.moveTo(_at(box, 0.36, 0.38))
        path.cubicTo(_at(box, 0.36, 0.16), _at(box, 0.68, 0.2), _at(box, 0.64, 0.42))
        path.lineTo(_at(box, 0.5, 0.58))
        path.moveTo(_at(box, 0.5, 0.77))
        path.lineTo(_at(box, 0.5, 0.78))
    else:
        path.moveTo(_at(box, 0.5, 0.42))
        path.lineTo(_at(box, 0.5, 0.66))
        path.moveTo(_at(box, 0.5, 0.84))
        path.lineTo(_at(box, 0.5, 0.85))
    return path


def _at(box: QRectF, x: float, y: float) -> QPointF:
    return QPointF(box.left() + x * box.width(), box.top() + y * box.height())

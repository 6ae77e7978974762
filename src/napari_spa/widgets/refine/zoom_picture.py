"""Pictures that are zoomed and moved together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QPointF, QRectF, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QApplication, QSizePolicy, QWidget

from napari_spa.widgets.common.picture_button import PictureButton, draw_scaled

if TYPE_CHECKING:
    from qtpy.QtGui import QKeyEvent, QMouseEvent, QPainter, QPixmap, QWheelEvent

STEP = 1.25
LARGEST_ZOOM = 32.0
_NOTCH = 120  # what Qt calls one step of a wheel


class Zoom(QObject):
    """What part of the pictures is looked at.

    Attributes
    ----------
    changed : Signal()
        It is another part.
    factor : float
        1.0 shows the whole picture.
    centre : QPointF
        x and y of the middle, in shares of the picture.
    """

    changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.factor = 1.0
        self.centre = QPointF(0.5, 0.5)

    def reset(self) -> None:
        """Show the whole picture."""
        self._set(1.0, QPointF(0.5, 0.5))

    def zoom(self, by: float, at: QPointF | None = None) -> None:
        """Enlarge so many times; the point ``at``, in shares of the picture, stays in place."""
        factor = min(max(self.factor * by, 1.0), LARGEST_ZOOM)
        fixed = self.centre if at is None else at
        self._set(factor, fixed + (self.centre - fixed) * (self.factor / factor))

    def move(self, x: float, y: float) -> None:
        """Move the middle, in shares of the picture."""
        self._set(self.factor, self.centre + QPointF(x, y))

    def _set(self, factor: float, centre: QPointF) -> None:
        edge = 0.5 / factor
        self.factor = factor
        self.centre = QPointF(*(min(max(x, edge), 1 - edge) for x in (centre.x(), centre.y())))
        self.changed.emit()


class ZoomPicture(PictureButton):
    """A large picture on a button: the wheel zooms, dragging moves, a click picks.

    Parameters
    ----------
    zoom : Zoom
        Shared with the pictures beside it.
    """

    def __init__(self, zoom: Zoom, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._zoom = zoom
        self._grabbed: QPointF | None = None
        self._dragging = False
        zoom.changed.connect(self.update)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)

    def hasHeightForWidth(self) -> bool:
        """Take the height there is."""
        return False

    def draw_picture(self, painter: QPainter, area: QRectF, pixmap: QPixmap) -> None:
        """Draw the part that is looked at."""
        painter.save()
        painter.setClipRect(area)
        scale = self._scale()
        away = QPointF(0.5, 0.5) - self._zoom.centre
        offset = QPointF(away.x() * pixmap.width(), away.y() * pixmap.height()) * scale
        draw_scaled(painter, pixmap, area.center() + offset, scale)
        painter.restore()

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """Zoom around the pointer."""
        if event is None or self.pixmap is None:
            return
        away = (event.position() - self.picture_area().center()) / self._scale()
        at = self._zoom.centre + self._in_shares(away)
        self._zoom.zoom(STEP ** (event.angleDelta().y() / _NOTCH), at)
        event.accept()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Remember where a drag may begin."""
        super().mousePressEvent(event)
        if event is not None and event.button() == Qt.MouseButton.LeftButton:
            self._grabbed, self._dragging = event.position(), False

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Move the pictures along with the pointer."""
        if event is None or self._grabbed is None or self.pixmap is None:
            return
        away = event.position() - self._grabbed
        if self._dragging or away.manhattanLength() >= QApplication.startDragDistance():
            self._dragging = True
            self._grabbed = event.position()
            shares = self._in_shares(away / self._scale())
            self._zoom.move(-shares.x(), -shares.y())

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        """Pick, unless this was a drag."""
        if self._dragging:
            self.setDown(False)
        self._grabbed, self._dragging = None, False
        super().mouseReleaseEvent(event)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Zoom with + and -, reset with 0."""
        key = None if event is None else event.key()
        if key in (Qt.Key.Key_Plus, Qt.Key.Key_Equal):
            self._zoom.zoom(STEP)
        elif key == Qt.Key.Key_Minus:
            self._zoom.zoom(1 / STEP)
        elif key == Qt.Key.Key_0:
            self._zoom.reset()
        else:
            super().keyPressEvent(event)

    def _scale(self) -> float:
        """Return the button's pixels per pixel of the picture."""
        if self.pixmap is None:
            return 1.0
        area = self.picture_area()
        fit = min(area.width() / self.pixmap.width(), area.height() / self.pixmap.height())
        return fit * self._zoom.factor

    def _in_shares(self, distance: QPointF) -> QPointF:
        if self.pixmap is None:
            return QPointF()
        return QPointF(distance.x() / self.pixmap.width(), distance.y() / self.pixmap.height())

"""Going through a stack: carry, propagate, and how good each slice probably is."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor, QHelpEvent, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPolygonF
from qtpy.QtWidgets import QLabel, QSizePolicy, QToolTip, QWidget

from napari_spa.widgets.common.buttons import (
    FittingButton,
    draw_ring,
    tip_with_key,
    with_alpha,
    with_key,
)
from napari_spa.widgets.common.layouts import column_of, even_row, row_of
from napari_spa.widgets.objects.rows import STATUS_COLOURS

_OTHER_COLOUR = (140, 140, 140)
_NAMES: dict[object, tuple[str, str, str]] = {  # of a step or direction, and its tooltip
    -1: ("Carry to previous", "◂ Carry", "Propose this object on the {unit} before."),
    1: ("Carry to next", "Carry ▸", "Propose this object on the {unit} after."),
    "backward": ("↑ to first", "↑", "Towards the first {unit}, until the object ends."),
    "both": ("both ways", "↑↓", "Both ways, until the object ends."),
    "forward": ("↓ to last", "↓", "Towards the last {unit}, until the object ends."),
}
_ACTIONS: dict[object, str] = {-1: "carry_previous", 1: "carry_next", "both": "propagate"}


class QualityStrip(QWidget):
    """One bar per slice: as high as the Dice to be expected, coloured by status."""

    slice_requested = Signal(int)  # a bar was clicked or reached by keys: its 0-based position

    def __init__(self) -> None:
        super().__init__()
        self.count, self.current, self.unit = 1, 0, "slice"
        self._results: dict[int, tuple[float, str]] = {}
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.set_slices(1, 0)

    def set_slices(self, count: int, current: int, unit: str = "slice") -> None:
        """Show so many slices, or frames, and mark one."""
        self.count, self.current, self.unit = max(1, count), current, unit
        self.setAccessibleName(f"Dice expected on each {unit}")
        self.setAccessibleDescription(self.words_at(current))
        self.update()

    def set_results(self, results: Mapping[int, tuple[float, str]]) -> None:
        """Show results: position, and (Dice to be expected, status)."""
        self._results = dict(results)
        self.setAccessibleDescription(self.words_at(self.current))
        self.update()

    def words_at(self, position: int) -> str:
        """Say what is known of a slice."""
        last = self.count - 1  # as napari's slider counts
        words = f"{self.unit.capitalize()} {position} of 0–{last}"  # noqa: RUF001
        if position not in self._results:
            return f"{words}: nothing yet"
        quality, status = self._results[position]
        return f"{words}: {status}, Dice about {quality:.2f} expected"

    def sizeHint(self) -> QSize:
        """Return about two lines of text."""
        return QSize(200, 2 * self.fontMetrics().lineSpacing() + 8)

    def minimumSizeHint(self) -> QSize:
        """Be as narrow as need be."""
        return QSize(60, self.sizeHint().height())

    def bar(self, position: int) -> QRectF:
        """Return a slice's column, in the widget's pixels."""
        width = self.width() / self.count
        return QRectF(position * width, 0, width, self.height())

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the bars, the lowest where several share a pixel."""
        painter = QPainter(self)
        ink = self.palette().color(self.foregroundRole())
        painter.fillRect(self.rect(), with_alpha(ink, 28))
        marker = max(5.0, self.height() / 5)
        room = self.height() - marker - 2
        worst: dict[int, int] = {}  # of those whose bars begin at one pixel
        for position in sorted(self._results, key=lambda one: -self._results[one][0]):
            worst[int(self.bar(position).left())] = position
        for place, position in worst.items():
            column, (quality, status) = self.bar(position), self._results[position]
            column.moveLeft(place if column.width() < 1 else column.left())
            high = max(3.0, min(max(quality, 0.0), 1.0) * room)
            gap = 1.0 if column.width() >= 3 else 0.0
            box = QRectF(column.left(), self.height() - high, max(1.0, column.width() - gap), high)
            colour = STATUS_COLOURS.get(status, _OTHER_COLOUR)
            painter.fillRect(box, QColor(*colour))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(ink)
        painter.setBrush(ink)
        centre = self.bar(self.current).center().x()
        top = QPointF(centre, marker)
        side = QPointF(marker * 0.7, marker)
        painter.drawPolygon(QPolygonF([top, top - side, QPointF(centre + side.x(), 0)]))
        painter.drawLine(top, QPointF(centre, self.height()))
        painter.end()
        draw_ring(self)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Ask for the slice under the pointer."""
        if event.button() == Qt.MouseButton.LeftButton:
            self.slice_requested.emit(self._at(event.position().x()))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Ask for a neighbour, the first or the last slice."""
        last = self.count - 1
        places = {
            Qt.Key.Key_Left: max(self.current - 1, 0),
            Qt.Key.Key_Right: min(self.current + 1, last),
            Qt.Key.Key_Home: 0,
            Qt.Key.Key_End: last,
        }
        if event.key() in places:
            self.slice_requested.emit(places[Qt.Key(event.key())])
        else:
            super().keyPressEvent(event)

    def event(self, event: QEvent) -> bool:
        """Tell about the slice under the pointer."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            QToolTip.showText(event.globalPos(), self.words_at(self._at(event.pos().x())), self)
            return True
        return super().event(event)

    def _at(self, x: float) -> int:
        return min(max(int(x / max(1, self.width()) * self.count), 0), self.count - 1)


class StackBar(QWidget):
    """Carry and propagate, with what came of it; hidden for a single plane."""

    propagate_one_requested = Signal(int)  # -1 for the previous slice, 1 for the next
    propagate_requested = Signal(str)  # "backward", "forward" or "both"
    slice_requested = Signal(int)  # A slice's 0-based position

    def __init__(self) -> None:
        super().__init__()
        self._active = False
        self._keys: Mapping[str, str] = {}
        self.propagate_one = {step: FittingButton() for step in (-1, 1)}
        self.propagate = {way: FittingButton() for way in ("backward", "both", "forward")}
        self.strip = QualityStrip()
        self.strip.slice_requested.connect(self.slice_requested)
        self._title = QLabel()
        column_of(
            even_row((2, 1), *self.propagate_one.values()),
            row_of(QLabel("Propagate"), *self.propagate.values()),
            self._title,
            self.strip,
            holder=self,
        )
        for step, button in self.propagate_one.items():
            button.on_click(partial(self.propagate_one_requested.emit, step))
        for direction, button in self.propagate.items():
            button.on_click(partial(self.propagate_requested.emit, direction))
        self.set_slices(1, 0)
        self._name_all()

    def set_keys(self, keys: Mapping[str, str]) -> None:
        """Show other keys."""
        self._keys = keys
        self._name_all()

    def set_slices(self, count: int, current: int, unit: str = "slice") -> None:
        """Say how many slices, or frames, there are and which is on show; one hides all this."""
        renamed = unit != self.strip.unit
        self.strip.set_slices(count, current, unit)
        if renamed:
            self._name_all()
        self._refresh()
        self.setVisible(count > 1)

    def set_active(self, active: bool) -> None:
        """Say whether there is an object that can be carried and propagated now."""
        self._active = active
        self._refresh()

    def _name_all(self) -> None:
        self._title.setText(f"Dice expected per {self.strip.unit}")
        for which, button in (*self.propagate_one.items(), *self.propagate.items()):
            long, short, tip = _NAMES[which]
            tip, key = tip.format(unit=self.strip.unit), self._keys.get(_ACTIONS.get(which, ""), "")
            button.set_texts(with_key(long, key), with_key(short, key), short)
            button.setToolTip(tip_with_key(tip, key))
            button.setAccessibleName(f"{long}: {tip}")

    def _refresh(self) -> None:
        before, after = self.strip.current > 0, self.strip.current < self.strip.count - 1
        possible = {-1: before, 1: after, "both": before or after}
        possible |= {"backward": before, "forward": after}
        for which, button in (*self.propagate_one.items(), *self.propagate.items()):
            button.setEnabled(self._active and possible[which])

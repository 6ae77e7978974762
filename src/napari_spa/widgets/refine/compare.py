"""Candidates side by side, enlarged and moved together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QPointF, QRectF, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import (
    QKeyEvent,
    QKeySequence,
    QMouseEvent,
    QPainter,
    QPixmap,
    QResizeEvent,
    QShortcut,
    QShowEvent,
    QWheelEvent,
)
from qtpy.QtWidgets import (
    QApplication,
    QDialog,
    QGridLayout,
    QHBoxLayout,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_spa.widgets.common.buttons import (
    FittingButton,
    PictureButton,
    draw_scaled,
    show_key,
    sure,
    with_key,
)
from napari_spa.widgets.common.layouts import tip_button, wrapped
from napari_spa.widgets.refine.candidates import LETTERS, keep_units, legend, pick_keys

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


STEP = 1.25
LARGEST_ZOOM = 32.0
_NOTCH = 120  # what Qt calls one step of a wheel
_ZOOMS = {
    Qt.Key.Key_Plus: STEP,
    Qt.Key.Key_Equal: STEP,
    Qt.Key.Key_Minus: 1 / STEP,
    Qt.Key.Key_0: 0,
}


class Zoom(QObject):
    """What part of the pictures is looked at."""

    changed = Signal()  # it is another part

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.factor = 1.0
        self.centre = QPointF(0.5, 0.5)

    def zoom(self, by: float, at: QPointF | None = None) -> None:
        """Enlarge so many times, 0 to show all; ``at``, in shares of the picture, stays."""
        factor = min(max(self.factor * by, 1.0), LARGEST_ZOOM)
        fixed = self.centre if at is None else at
        self._set(factor, fixed + (self.centre - fixed) * (self.factor / factor))

    def move(self, by: QPointF) -> None:
        """Move the middle, in shares of the picture."""
        self._set(self.factor, self.centre + by)

    def _set(self, factor: float, centre: QPointF) -> None:
        edge = 0.5 / factor
        self.factor = factor
        self.centre = QPointF(*(min(max(x, edge), 1 - edge) for x in (centre.x(), centre.y())))
        self.changed.emit()


class ZoomPicture(PictureButton):
    """A large picture on a button: the wheel zooms, dragging moves, a click picks."""

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

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Zoom around the pointer."""
        away = (event.position() - self.picture_area().center()) / self._scale()
        at = self._zoom.centre + self._in_shares(away)
        self._zoom.zoom(STEP ** (event.angleDelta().y() / _NOTCH), at)
        event.accept()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Remember where a drag may begin."""
        super().mousePressEvent(event)
        if event.button() == Qt.MouseButton.LeftButton:
            self._grabbed, self._dragging = event.position(), False

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Move the pictures along with the pointer."""
        if self._grabbed is None:
            return
        away = event.position() - self._grabbed
        if self._dragging or away.manhattanLength() >= QApplication.startDragDistance():
            self._dragging = True
            self._grabbed = event.position()
            self._zoom.move(self._in_shares(-away / self._scale()))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Pick, unless this was a drag."""
        if self._dragging:
            self.setDown(False)
        self._grabbed, self._dragging = None, False
        super().mouseReleaseEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Zoom with + and -, reset with 0."""
        if (key := Qt.Key(event.key())) in _ZOOMS:
            self._zoom.zoom(_ZOOMS[key])
        else:
            super().keyPressEvent(event)

    def _scale(self) -> float:
        """Return the button's pixels per pixel of the picture."""
        area, pixmap = self.picture_area(), sure(self.pixmap)
        fit = min(area.width() / pixmap.width(), area.height() / pixmap.height())
        return fit * self._zoom.factor

    def _in_shares(self, distance: QPointF) -> QPointF:
        pixmap = sure(self.pixmap)
        return QPointF(distance.x() / pixmap.width(), distance.y() / pixmap.height())


_HINT = "Click a picture to take it · wheel zooms, dragging moves, all together · Esc closes"
_WAITING = "Click an object in the image; its candidates appear here."
_FRAMES = "Dashed: what the recommended picture shows."
_BLIND = "Choose the mask that you want, then accept it in the dock."
_LARGEST, _OF_SCREEN, _ASPECT = 960, 0.88, 1.45  # height at first, in pixels; its share; width


_OTHERS = ("accept", "undo", "redo", "discard", "side_by_side")  # acts whose keys work here too


class SideBySide(QDialog):
    """A window beside the viewer's: same crop, same zoom, one click picks."""

    candidate_chosen = Signal(int)  # its 0-based place in what ``set_pictures`` was given
    action_requested = Signal(str)  # an act was asked for, by its key or by *Accept*

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Side by side")
        self.setModal(False)
        self.zoom = Zoom(self)
        self._keys: Mapping[str, str] = {}
        self._order: list[int] = []
        self._words: list[str] = []
        self._recommended = False
        self._shape: tuple[int, ...] = ()
        self._placed = 0, 0  # columns and cells
        self._tiles = QWidget()
        self._grid = QGridLayout(self._tiles)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._all = [ZoomPicture(self.zoom, self._tiles) for _ in LETTERS]
        for place, tile in enumerate(self._all):
            tile.on_click(partial(self._on_picture, place))
        self.pictures: list[ZoomPicture] = []  # those that are shown
        self.legend, self.words, self.accept_button = legend(), wrapped(), FittingButton("Accept")
        self.accept_button.on_click(partial(self._act, "accept"))
        self._aside = self._make_aside()
        self._hint = wrapped()
        layout = QVBoxLayout(self)
        layout.addWidget(self._tiles, 1)
        layout.addLayout(self._bottom())
        self._fitted = False
        self.set_pictures(None, [])

    def _make_aside(self) -> QWidget:
        """Make the cell beside the pictures: what their colours mean, and *Accept*."""
        aside = QWidget()
        aside.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
        layout = QVBoxLayout(aside)
        layout.setSpacing(12)
        layout.addStretch(1)
        for label in (self.legend, self.words):
            label.setWordWrap(True)
            label.setAlignment(Qt.AlignmentFlag.AlignHCenter)
            layout.addWidget(label)
        layout.addWidget(self.accept_button)
        layout.addStretch(1)
        return aside

    def _bottom(self) -> QHBoxLayout:
        layout = QHBoxLayout()
        layout.addWidget(self._hint, 1)
        for text, tip, action in (
            ("−", "Show more (key −)", partial(self.zoom.zoom, 1 / STEP)),  # noqa: RUF001
            ("+", "Enlarge (key +)", partial(self.zoom.zoom, STEP)),
            ("Fit", "Show the whole pictures (key 0)", partial(self.zoom.zoom, 0)),
        ):
            button = tip_button(text, tip=tip)
            button.setAccessibleName(tip)
            button.setMinimumWidth(button.sizeHint().width() + 16)
            button.on_click(action)
            layout.addWidget(button)
        return layout

    def set_keys(self, keys: Mapping[str, str]) -> None:
        """Set the keys that work while this window has the keyboard."""
        self._keys = keys
        for shortcut in self.findChildren(QShortcut):
            shortcut.setParent(None)
            shortcut.deleteLater()
        press = [partial(self._press, place) for place in range(len(LETTERS))]
        actions: dict[str, Callable[[], object]] = {str(n): do for n, do in enumerate(press, 1)}
        actions |= dict(zip(pick_keys(keys), press, strict=True))
        actions |= {keys.get(action, ""): partial(self._act, action) for action in _OTHERS}
        for key, action in actions.items():
            if key:
                sequence = QKeySequence(show_key(key).replace("Control", "Ctrl"))
                QShortcut(sequence, self).activated.connect(action)
        self._label()

    def set_pictures(
        self,
        recommended: tuple[NDArray[np.uint8], str] | None,
        candidates: Sequence[tuple[NDArray[np.uint8], str]],
        order: Sequence[int] | None = None,
        blind: bool = False,
    ) -> None:
        """Show a round; the zoom is kept while the pictures keep their shape.

        Pictures, (h, w, 3) uint8 of one shape, come with words.  ``order`` says which candidate
        comes first on the screen, and so on; ``blind`` says "A", "B", ... in place of the words.
        """
        self._order = list(range(len(candidates))) if order is None else list(order)
        self._recommended = recommended is not None
        shown = [] if recommended is None else [recommended]
        for position, index in enumerate(self._order):
            picture, words = candidates[index]
            shown.append((picture, LETTERS[position] if blind else words))
        shape = shown[0][0].shape if shown else ()
        if shape != self._shape:
            self._shape = shape
            self.zoom.zoom(0)
        self.pictures = self._all[: len(shown)]
        for tile in self._all:
            tile.setVisible(tile in self.pictures)
        self._words = [words for _, words in shown]
        for tile, (picture, _) in zip(self.pictures, shown, strict=True):
            tile.set_picture(picture)
        self._label()
        self._hint.setText(_HINT if shown else "")
        self.legend.setVisible(self._recommended)
        self.accept_button.setVisible(self._recommended)
        self.words.setText(_WAITING if not shown else _FRAMES if self._recommended else _BLIND)
        self._place()

    def _label(self) -> None:
        """Write each picture's words and key under it."""
        self.accept_button.set_texts(with_key("Accept", self._keys.get("accept", "")), "Accept")
        keys = [*([""] if self._recommended else []), *pick_keys(self._keys)]
        pairs = zip(self._words, keys, strict=False)
        texts = [with_key(keep_units(words), key) for words, key in pairs]
        longest = max(texts, key=len, default="")  # one height of words: one scale of pictures
        for tile, text in zip(self.pictures, texts, strict=True):
            tile.set_words(text, longest)
            tile.setToolTip(text)
            tile.setAccessibleName(text)

    def _press(self, position: int) -> None:
        place = position + self._recommended
        if place < len(self.pictures):
            self.pictures[place].click()

    def _act(self, action: str) -> None:
        if self._recommended or action != "accept":  # no one takes what is not shown
            self.action_requested.emit(action)

    def _on_picture(self, place: int) -> None:
        if self._recommended and place == 0:  # to take it ends the object: not by a slip
            self._hint.setText("This one is recommended; Accept keeps it.")
        else:
            self.candidate_chosen.emit(self._order[place - self._recommended])

    def showEvent(self, event: QShowEvent) -> None:
        """Be as large as the screen allows when shown first."""
        if not self._fitted:
            self._fitted = True
            room = sure(self.screen()).availableGeometry()
            height = min(_LARGEST, _OF_SCREEN * room.height())
            self.resize(round(min(_ASPECT * height, 0.95 * room.width())), round(height))
        super().showEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Use the window's shape for the largest pictures."""
        super().resizeEvent(event)
        self._place()

    def _place(self) -> None:
        """Choose the number of columns that makes the pictures largest."""
        cells = [*self.pictures, self._aside]
        count = len(cells)
        height, width = self._shape[:2] or (1, 1)
        words = 2 * self.fontMetrics().lineSpacing()

        def scale(columns: int) -> float:
            rows = -(-count // columns)
            room = self._tiles.height() / rows - words
            return min(self._tiles.width() / columns / width, room / height)

        columns = max(range(1, count + 1), key=scale)
        if (columns, count) == self._placed:
            return
        self._placed = columns, count
        for place, cell in enumerate(cells):
            self._grid.addWidget(cell, *divmod(place, columns))
        for place in range(max(self._grid.columnCount(), self._grid.rowCount())):
            self._grid.setColumnStretch(place, int(place < columns))
            self._grid.setRowStretch(place, int(place * columns < count))

"""Candidates side by side, enlarged and moved together."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QPointF, QRectF, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QApplication,
    QDialog,
    QGridLayout,
    QHBoxLayout,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_spa.core.presentation import ADDED_COLOUR, REMOVED_COLOUR
from napari_spa.widgets.common.buttons import (
    FittingButton,
    PictureButton,
    draw_scaled,
    show_key,
    with_key,
)
from napari_spa.widgets.common.layouts import tip_button, wrapped
from napari_spa.widgets.refine.candidates import FURTHER_KEYS, LETTERS, LegendRow, keep_units

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from qtpy.QtGui import (
        QKeyEvent,
        QMouseEvent,
        QPainter,
        QPixmap,
        QResizeEvent,
        QShowEvent,
        QWheelEvent,
    )


STEP = 1.25
LARGEST_ZOOM = 32.0
_NOTCH = 120  # what Qt calls one step of a wheel


class Zoom(QObject):
    """What part of the pictures is looked at."""

    changed = Signal()  # it is another part

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


_HINT = "Click a picture to take it · wheel zooms, dragging moves, all together · Esc closes"
_WAITING = "Click an object in the image; its candidates appear here."
_FRAMES = "Dashed: what the recommended picture shows."
_BLIND = "Choose the mask that you want, then accept it in the dock."
_LARGEST, _OF_SCREEN, _ASPECT = 960, 0.88, 1.45  # height at first, in pixels; its share; width


class Aside(QWidget):
    """The cell beside the pictures: what their colours mean, and *Accept*."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
        self.legend = LegendRow([(ADDED_COLOUR, "adds"), (REMOVED_COLOUR, "takes away")])
        self.legend.setWordWrap(True)
        self.legend.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self.words = wrapped(_WAITING)
        self.words.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self.accept = FittingButton("Accept")
        layout = QVBoxLayout(self)
        layout.setSpacing(12)
        layout.addStretch(1)
        layout.addWidget(self.legend)
        layout.addWidget(self.words)
        layout.addWidget(self.accept)
        layout.addStretch(1)
        self.show_for(recommended=False, words=_WAITING)

    def show_for(self, *, recommended: bool, words: str) -> None:
        """Say what there is to say, with a recommendation to be accepted or without."""
        self.legend.setVisible(recommended)
        self.accept.setVisible(recommended)
        self.words.setText(words)


class SideBySide(QDialog):
    """A window beside the viewer's: same crop, same zoom, one click picks."""

    # A candidate was picked: its 0-based place in what ``set_pictures`` was given.
    candidate_chosen = Signal(int)
    accept_requested = Signal()  # the recommended mask shall be kept
    action_requested = Signal(str)  # the key of this action was pressed in this window

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Side by side")
        self.setModal(False)
        self.pictures: list[ZoomPicture] = []
        self.zoom = Zoom(self)
        self._pick_keys: tuple[str, ...] = ()
        self._accept_key = ""
        self._order: list[int] = []
        self._words: list[str] = []
        self._recommended = False
        self._shape: tuple[int, ...] = ()
        self._shortcuts: list[QShortcut] = []
        self._columns = 0
        self._tiles = QWidget()
        self._grid = QGridLayout(self._tiles)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self.aside = Aside()
        self.aside.accept.on_click(self._on_accept)
        self._hint = wrapped()
        layout = QVBoxLayout(self)
        layout.addWidget(self._tiles, 1)
        layout.addLayout(self._bottom())
        self._fitted = False
        self._place()

    def _bottom(self) -> QHBoxLayout:
        layout = QHBoxLayout()
        layout.addWidget(self._hint, 1)
        for text, tip, action in (
            ("−", "Show more (key −)", partial(self.zoom.zoom, 1 / STEP)),  # noqa: RUF001
            ("+", "Enlarge (key +)", partial(self.zoom.zoom, STEP)),
            ("Fit", "Show the whole pictures (key 0)", self.zoom.reset),
        ):
            button = tip_button(text, tip=tip)
            button.setAccessibleName(tip)
            button.setMinimumWidth(button.sizeHint().width() + 16)
            button.on_click(action)
            layout.addWidget(button)
        return layout

    # ------------------------------------------------------------------ setters

    def set_keys(
        self, pick_keys: Sequence[str], accept_key: str, others: Mapping[str, str] | None = None
    ) -> None:
        """Set the keys that work while this window has the keyboard."""
        self._pick_keys, self._accept_key = tuple(pick_keys), accept_key
        for shortcut in self._shortcuts:
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._shortcuts = []
        for position, key in enumerate(pick_keys):
            self._bind(key, partial(self._press, position))
        for position in range(5):  # as in the viewer
            if str(position + 1) not in {*pick_keys, accept_key, *(others or {}).values()}:
                self._bind(str(position + 1), partial(self._press, position))
        self._bind(accept_key, self._on_accept)
        for action, key in (others or {}).items():
            self._bind(key, partial(self.action_requested.emit, action))
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
            self.zoom.reset()
        self._need_pictures(len(shown))
        self._words = [words for _, words in shown]
        for tile, (picture, _) in zip(self.pictures, shown, strict=True):
            tile.set_picture(picture)
        self._label()
        self._hint.setText(_HINT if shown else "")
        words = _WAITING if not shown else _FRAMES if self._recommended else _BLIND
        self.aside.show_for(recommended=self._recommended, words=words)
        self._place()

    def _label(self) -> None:
        """Write each picture's words and key under it."""
        self.aside.accept.set_texts(with_key("Accept", self._accept_key), "Accept")
        keys = [""] if self._recommended else []
        keys += [
            key or FURTHER_KEYS.get(place, "")
            for place, key in enumerate([*self._pick_keys, *[""] * len(self._words)])
        ]
        pairs = zip(self._words, keys, strict=False)
        texts = [with_key(keep_units(words), key) for words, key in pairs]
        longest = max(texts, key=len, default="")  # one height of words: one scale of pictures
        for tile, text in zip(self.pictures, texts, strict=True):
            tile.set_words(text, longest)
            tile.setToolTip(text)
            tile.setAccessibleName(text)

    # ------------------------------------------------------------------ asking

    def _press(self, position: int) -> None:
        place = position + self._recommended
        if place < len(self.pictures):
            self.pictures[place].click()

    def _on_accept(self) -> None:
        if self._recommended:  # no one takes what is not shown
            self.accept_requested.emit()

    def _on_picture(self, place: int) -> None:
        if self._recommended and place == 0:  # to take it ends the object: not by a slip
            self._hint.setText("This one is recommended; Accept keeps it.")
        else:
            self.candidate_chosen.emit(self._order[place - self._recommended])

    # ------------------------------------------------------------------ arranging

    def showEvent(self, event: QShowEvent | None) -> None:
        """Be as large as the screen allows when shown first."""
        screen = self.screen()
        if not self._fitted and screen is not None:
            self._fitted = True
            room = screen.availableGeometry()
            height = min(_LARGEST, _OF_SCREEN * room.height())
            self.resize(round(min(_ASPECT * height, 0.95 * room.width())), round(height))
        super().showEvent(event)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Use the window's shape for the largest pictures."""
        super().resizeEvent(event)
        self._place()

    def _bind(self, key: str, action: Callable[[], object]) -> None:
        if key:
            sequence = QKeySequence(show_key(key).replace("Control", "Ctrl"))
            shortcut = QShortcut(sequence, self)
            shortcut.activated.connect(action)
            self._shortcuts.append(shortcut)

    def _need_pictures(self, count: int) -> None:
        while len(self.pictures) > count:
            tile = self.pictures.pop()
            tile.hide()
            tile.setParent(None)
            tile.deleteLater()
        for place in range(len(self.pictures), count):
            tile = ZoomPicture(self.zoom, self._tiles)
            tile.on_click(partial(self._on_picture, place))
            tile.show()
            self.pictures.append(tile)
            self._columns = 0

    def _place(self) -> None:
        """Choose the number of columns that makes the pictures largest."""
        cells = [*self.pictures, self.aside]
        count = len(cells)
        height, width = self._shape[:2] or (1, 1)
        words = 2 * self.fontMetrics().lineSpacing()

        def scale(columns: int) -> float:
            rows = -(-count // columns)
            room = self._tiles.height() / rows - words
            return min(self._tiles.width() / columns / width, room / height)

        columns = max(range(1, count + 1), key=scale)
        if columns == self._columns and self._grid.count() == count:
            return
        self._columns = columns
        for place, cell in enumerate(cells):
            self._grid.addWidget(cell, *divmod(place, columns))
        for place in range(max(self._grid.columnCount(), self._grid.rowCount())):
            self._grid.setColumnStretch(place, int(place < columns))
            self._grid.setRowStretch(place, int(place * columns < count))

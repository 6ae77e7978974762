"""The list of a folder's images on screen: thumbnail, name, state, note."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QModelIndex, QRect, QRectF, QSize, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor, QFont, QImage, QKeyEvent, QPainter
from qtpy.QtWidgets import (
    QAbstractItemView,
    QListView,
    QSizePolicy,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from napari_spa.widgets.common.buttons import draw_ring
from napari_spa.widgets.folder.model import (
    ITEM_ROLE,
    FolderModel,
    draw_flag,
    draw_status,
    second_line,
    state_of,
    third_line,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from napari_spa.io.projects.project import ProjectItem

    Thumbnail = Callable[[ProjectItem], NDArray[np.uint8] | None]

_GAP, _SHOWN_ROWS, _FEWEST_ROWS = 5, 3, 2
_MOVES = {Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_Home, Qt.Key.Key_End}
_LOOK = "QListView { border: 2px solid transparent; padding: 0px; }"


class FolderList(QListView):
    """The images; a key that means nothing here goes on to the viewer."""

    chosen = Signal(str)  # an image was clicked, or Enter pressed on it

    def __init__(self, model: FolderModel, thumbnail: Thumbnail) -> None:
        super().__init__()
        self._images = model
        model.setParent(self)
        self.setModel(model)
        self.rows = _ImageRow(thumbnail, self)
        self.setItemDelegate(self.rows)
        self.setUniformItemSizes(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName("Images of the folder")
        self.setStyleSheet(_LOOK)
        self.clicked.connect(self._on_clicked)

    def choose(self, name: str | None) -> None:
        """Select an image and bring it into view; nothing is emitted."""
        place = self._images.place_of(name)
        if place is None:
            self.clearSelection()
            return
        index = self._images.index(place)
        self.setCurrentIndex(index)
        self.scrollTo(index)

    def chosen_name(self) -> str | None:
        """Return the name of the selected image."""
        rows = self.selectedIndexes()
        return str(rows[0].data()) if rows else None

    def set_open(self, name: str | None) -> None:
        """Mark the image that is in the viewer."""
        self.rows.open_name = name
        self.update_all()

    def update_all(self) -> None:
        """Draw what is seen again."""
        viewport = self.viewport()
        if viewport is not None:
            viewport.update()

    def set_font(self, font: QFont) -> None:
        """Write in a font: napari's style sheet sets none for lists."""
        if font != self.font():
            self.setFont(font)
            self.updateGeometry()
            self.scheduleDelayedItemsLayout()

    def sizeHint(self) -> QSize:
        """Return the size of a few rows; the list takes what the other parts leave."""
        return QSize(320, self._height(_SHOWN_ROWS))

    def minimumSizeHint(self) -> QSize:
        """Return the size of two rows."""
        return QSize(150, self._height(_FEWEST_ROWS))

    def _height(self, rows: int) -> int:
        return rows * self.rows.height(self) + 2 * self.frameWidth() + 2

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Open the image, move; leave every other key to the viewer."""
        if event is None:
            return
        name = self.chosen_name()
        if name is not None and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.chosen.emit(name)
        elif event.key() in _MOVES:
            super().keyPressEvent(event)
        else:
            event.ignore()

    def event(self, event: QEvent | None) -> bool:
        """Draw the focus into the frame."""
        done = super().event(event)
        if event is not None:
            if event.type() == QEvent.Type.Paint and self.hasFocus():
                draw_ring(self)
            elif event.type() in (QEvent.Type.FocusIn, QEvent.Type.FocusOut):
                self.update()
        return done

    def _on_clicked(self, index: QModelIndex) -> None:
        self.chosen.emit(str(index.data()))


class _ImageRow(QStyledItemDelegate):
    """Draw one image: its thumbnail, and three lines beside it."""

    def __init__(self, thumbnail: Thumbnail, parent: QWidget) -> None:
        super().__init__(parent)
        self._thumbnail = thumbnail
        self.open_name: str | None = None

    def height(self, widget: QWidget) -> int:
        """Return the height of a row, in pixels."""
        return 3 * widget.fontMetrics().lineSpacing() + 2 * _GAP

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:
        """Return the size of a row."""
        widget = self.parent()
        return QSize(150, self.height(widget) if isinstance(widget, QWidget) else 60)

    def paint(
        self, painter: QPainter | None, option: QStyleOptionViewItem, index: QModelIndex
    ) -> None:
        """Draw a row."""
        item, widget = index.data(ITEM_ROLE), self.parent()
        if painter is None or item is None or not isinstance(widget, QWidget):
            return
        painter.save()
        row = QRect(option.rect)
        ink = QColor(widget.palette().color(widget.foregroundRole()))
        self._draw_ground(painter, option, row, ink)
        side = row.height() - 2 * _GAP
        box = QRect(row.left() + _GAP + 2, row.top() + _GAP, side, side)
        self._draw_thumbnail(painter, item, box, ink, widget)
        left = box.right() + 2 * _GAP
        words = QRect(left, box.top(), row.right() - left - _GAP, side)
        self._draw_words(painter, item, words, ink, widget)
        painter.restore()

    def _draw_ground(
        self, painter: QPainter, option: QStyleOptionViewItem, row: QRect, ink: QColor
    ) -> None:
        """Shade the selected row, and mark the one in the viewer with a bar on its left."""
        shade = QColor(ink)
        if option.state & QStyle.StateFlag.State_Selected:
            shade.setAlpha(46)
            painter.fillRect(row, shade)
        elif option.state & QStyle.StateFlag.State_MouseOver:
            shade.setAlpha(20)
            painter.fillRect(row, shade)
        shade.setAlpha(30)
        painter.fillRect(QRect(row.left(), row.bottom(), row.width(), 1), shade)

    def _draw_thumbnail(
        self, painter: QPainter, item: ProjectItem, box: QRect, ink: QColor, widget: QWidget
    ) -> None:
        if item.name == self.open_name:
            bar = QRect(box.left() - _GAP - 2, box.top() - _GAP, 4, box.height() + 2 * _GAP)
            painter.fillRect(bar, ink)
        pixels = None if item.problem else self._thumbnail(item)
        if pixels is None:
            faint = QColor(ink)
            faint.setAlpha(24)
            painter.fillRect(box, faint)
            return
        height, width = pixels.shape[:2]
        image = QImage(pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
        ratio = min(box.width() / width, box.height() / height)
        size = QSize(max(1, round(width * ratio)), max(1, round(height * ratio)))
        target = QRect(0, 0, size.width(), size.height())
        target.moveCenter(box.center())
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.drawImage(target, image)

    def _draw_words(
        self, painter: QPainter, item: ProjectItem, words: QRect, ink: QColor, widget: QWidget
    ) -> None:
        metrics = widget.fontMetrics()
        line, align = metrics.lineSpacing(), Qt.AlignmentFlag.AlignVCenter
        first = QRect(words.left(), words.top(), words.width(), line)
        sign = metrics.ascent()
        painter.setPen(ink)
        font = widget.font()
        if item.name == self.open_name:
            font.setBold(True)
        painter.setFont(font)
        name_width = first.width() - (sign + _GAP if item.flagged else 0)
        name = painter.fontMetrics().elidedText(item.name, Qt.TextElideMode.ElideMiddle, name_width)
        painter.drawText(first.adjusted(0, 0, name_width - first.width(), 0), align, name)
        if item.flagged:
            draw_flag(painter, QRectF(first.right() - sign, first.top() + 2, sign, sign))
        painter.setFont(widget.font())
        second = first.translated(0, line)
        draw_status(
            painter,
            state_of(item),
            QRectF(second.left(), second.center().y() - sign / 2 + 1, sign, sign),
        )
        second = second.adjusted(sign + _GAP, 0, 0, 0)
        elide = Qt.TextElideMode.ElideRight
        painter.drawText(
            second, align, metrics.elidedText(second_line(item), elide, second.width())
        )
        quiet = QColor(ink)
        quiet.setAlpha(190)
        painter.setPen(quiet)
        third = first.translated(0, 2 * line)
        note = " ".join(third_line(item).split())
        painter.drawText(third, align, metrics.elidedText(note, elide, third.width()))

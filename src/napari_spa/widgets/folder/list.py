"""The list of a folder's images: as a Qt model, and on screen with thumbnail, state and note."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import (  # type: ignore[attr-defined]
    QAbstractListModel,
    QEvent,
    QModelIndex,
    QPoint,
    QPointF,
    QRect,
    QRectF,
    QSize,
    Qt,
    Signal,
)
from qtpy.QtGui import QColor, QFont, QKeyEvent, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import (
    QListView,
    QMenu,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from napari_spa.core.presentation import capitalised, counted
from napari_spa.io.projects.project import in_brief
from napari_spa.widgets.common.buttons import (
    draw_fitted,
    draw_ring_of,
    open_menu,
    set_up,
    sure,
    to_pixmap,
    with_alpha,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from napari_spa.io.projects.project import ProjectItem

    Thumbnail = Callable[[ProjectItem], NDArray[np.uint8] | None]


TROUBLED = "problem"
STATUS_WORDS = {
    "to do": "Pending",
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


_MARKS = {  # the lines within a sign, in shares of its box
    "done": [[(0.27, 0.52), (0.44, 0.69), (0.74, 0.34)]],
    "review": [
        [(0.36, 0.38), (0.41, 0.26), (0.52, 0.24), (0.61, 0.29), (0.64, 0.42), (0.5, 0.58)],
        [(0.5, 0.77), (0.5, 0.78)],
    ],
    TROUBLED: [[(0.5, 0.42), (0.5, 0.66)], [(0.5, 0.84), (0.5, 0.85)]],
    "skipped": [[(0.28, 0.72), (0.72, 0.28)]],
}


def draw_status(painter: QPainter, status: str, box: QRectF) -> None:
    """Draw the sign of a state."""
    colour = QColor(*STATUS_COLOURS.get(status, STATUS_COLOURS["to do"]))
    inner, thick = box.adjusted(1, 1, -1, -1), max(1.5, box.width() / 8)
    filled = status in ("done", "review", TROUBLED)
    painter.save()
    painter.setRenderHint(painter.RenderHint.Antialiasing)
    painter.setPen(QPen(Qt.PenStyle.NoPen) if filled else QPen(colour, thick))
    painter.setBrush(colour if filled else Qt.GlobalColor.transparent)
    if status == TROUBLED:
        painter.drawPolygon(_points(inner, [(0.5, 0), (1, 1), (0, 1)]))
    else:
        painter.drawEllipse(inner)
    ink = QColor("white") if filled else colour
    painter.setPen(QPen(ink, thick, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
    for line in _MARKS.get(status, []):
        painter.drawPolyline(_points(inner, line))
    if status == "in progress":
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(colour)
        painter.drawPie(inner, 90 * 16, -180 * 16)
    painter.restore()


def draw_flag(painter: QPainter, box: QRectF) -> None:
    """Draw a flag on its pole."""
    painter.save()
    painter.setRenderHint(painter.RenderHint.Antialiasing)
    painter.setPen(QPen(QColor(*FLAG_COLOUR), max(1.5, box.width() / 9)))
    painter.drawPolyline(_points(box, [(0.25, 0.08), (0.25, 0.95)]))
    painter.setBrush(QColor(*FLAG_COLOUR))
    painter.setPen(Qt.PenStyle.NoPen)
    painter.drawPolygon(_points(box, [(0.25, 0.08), (0.9, 0.3), (0.25, 0.55)]))
    painter.restore()


def _points(box: QRectF, shares: Iterable[tuple[float, float]]) -> QPolygonF:
    at, width, height = box.topLeft(), box.width(), box.height()
    return QPolygonF([at + QPointF(x * width, y * height) for x, y in shares])


ALL, FLAGGED = "all", "flagged"
FILTERS = {
    ALL: "All images",
    "to do": "Pending",
    "in progress": "In progress",
    "review": "To review",
    "done": "Done",
    "skipped": "Skipped",
    FLAGGED: "Flagged",
    TROUBLED: "With a problem",
}
ORDERS = {"name": "By name", "doubt": "Most doubtful first"}
ITEM_ROLE = Qt.ItemDataRole.UserRole + 1
_NO_PARENT = QModelIndex()
_UNREADABLE = "cannot be read as an image: "


@dataclass(frozen=True, slots=True)
class Choice:
    """Which images are listed, and how."""

    kind: str = ALL  # A key of ``FILTERS``
    text: str = ""  # what name or note must hold, whatever the case
    order: str = "name"  # natural order, or the most uncertain first

    def takes(self, item: ProjectItem) -> bool:
        """Tell whether an image is listed."""
        if self.kind == FLAGGED and not item.flagged:
            return False
        if self.kind not in (ALL, FLAGGED) and state_of(item) != self.kind:
            return False
        text = self.text.strip().casefold()
        return text in item.name.casefold() or text in item.note.casefold()

    def arrange(self, items: Iterable[ProjectItem]) -> list[str]:
        """Return the names that are listed, in order."""
        found = [item for item in items if self.takes(item)]
        if self.order == "doubt":
            # Stable: equal ones, and those of which nothing is known, stay in natural order.
            found.sort(key=lambda item: 1.0 if item.uncertainty is None else -item.uncertainty)
        return [item.name for item in found]


def state_of(item: ProjectItem) -> str:
    """Return what an image counts as: its status, or that there is a problem with it."""
    return TROUBLED if item.problem else item.status


def second_line(item: ProjectItem) -> str:
    """Say what is known of an image, under its name."""
    words = [STATUS_WORDS.get(state_of(item), item.status)]
    if item.objects:
        words.append(counted(item.objects, "object"))
    if item.uncertainty is not None:
        words.append(f"Dice {1 - item.uncertainty:.2f}")
    return " · ".join(words)


def third_line(item: ProjectItem) -> str:
    """Say what someone noted, or why an image cannot be read."""
    problem = in_brief(item.problem, item.path)
    reason = problem.replace(f"{item.path.name} {_UNREADABLE}", "")
    if reason != problem:  # the name and the state stand above it
        return capitalised(reason)
    return problem or item.warning or item.note


def all_words(item: ProjectItem) -> str:
    """Say everything about an image in a few lines."""
    lines = [item.name, second_line(item)]
    if item.flagged:
        lines.append("Flagged")
    said = (in_brief(item.problem, item.path), item.warning, item.note)
    return "\n".join([*lines, *filter(None, said)])


def summary(items: Iterable[ProjectItem]) -> str:
    """Say how many images there are in each state."""
    states = [state_of(item) for item in items]
    words = counted(len(states), "image")
    counts = [(states.count(state), FILTERS[state].lower()) for state in _COUNTED]
    parts = [f"{count} {word}" for count, word in counts if count]
    return f"{words}: {', '.join(parts)}" if parts else words


_COUNTED = ("done", "in progress", "review", "skipped", TROUBLED, "to do")


class FolderModel(QAbstractListModel):
    """The images that are listed, for a view."""

    def __init__(self) -> None:
        super().__init__()
        self._items: Mapping[str, ProjectItem] = {}
        self.choice = Choice()  # which are listed
        self.names: list[str] = []  # of those that are, in order
        self._places: dict[str, int] = {}

    def show(self, items: Mapping[str, ProjectItem], choice: Choice | None = None) -> None:
        """List other images, or list them otherwise."""
        self.beginResetModel()
        self._items, self.choice = items, choice or self.choice
        self.names = self.choice.arrange(items.values())
        self._places = {name: place for place, name in enumerate(self.names)}
        self.endResetModel()

    def changed(self, name: str) -> None:
        """Show what is known of one image now; its place stays until all are listed again.

        An image that no longer fits the filter stays as well: what one just marked as done
        must not vanish under the hand, nor take the way to the next with it.
        """
        place = self._places.get(name)
        if place is not None:
            index = self.index(place)
            self.dataChanged.emit(index, index)

    def place_of(self, name: str | None) -> int | None:
        """Return the row of an image; None where it is not listed."""
        return None if name is None else self._places.get(name)

    def rowCount(self, parent: QModelIndex = _NO_PARENT) -> int:
        """Return the number of images that are listed."""
        return 0 if parent.isValid() else len(self.names)

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        """Return an image's name, words, or item."""
        if not 0 <= index.row() < len(self.names):
            return None
        item = self._items.get(self.names[index.row()])
        if item is None:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return item.name
        if role == ITEM_ROLE:
            return item
        if role == Qt.ItemDataRole.ToolTipRole:
            return all_words(item)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return all_words(item).replace("\n", ", ")
        return None


_GAP, _SHOWN_ROWS, _FEWEST_ROWS = 5, 3, 2
_MOVES = {Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_Home, Qt.Key.Key_End}
_LOOK = "QListView { border: 2px solid transparent; padding: 0px; }"


class FolderList(QListView):
    """The images; a key that means nothing here goes on to the viewer."""

    chosen = Signal(str)  # an image was clicked, or Enter pressed on it
    start_again_requested = Signal(str)  # its work shall be set aside

    def __init__(self, model: FolderModel, thumbnail: Thumbnail) -> None:
        super().__init__()
        self._images = model
        model.setParent(self)
        self.setModel(model)
        self.rows = _ImageRow(thumbnail, self)
        self.setItemDelegate(self.rows)
        self.setUniformItemSizes(True)
        set_up(self, "Images of the folder")
        self.setStyleSheet(_LOOK)
        self.clicked.connect(lambda index: self.chosen.emit(str(index.data())))
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._on_menu)

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
        sure(self.viewport()).update()

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
        return rows * self.rows.height() + 2 * self.frameWidth() + 2

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Open the image, move; leave every other key to the viewer."""
        name = self.chosen_name()
        if name is not None and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.chosen.emit(name)
        elif event.key() in _MOVES:
            super().keyPressEvent(event)
        else:
            event.ignore()

    def event(self, event: QEvent) -> bool:
        """Draw the focus into the frame."""
        done = super().event(event)
        draw_ring_of(self, event)
        return done

    def menu(self, name: str) -> QMenu:
        """Make the menu of an image."""
        menu = QMenu(self)
        menu.addAction(f"Open {name}", partial(self.chosen.emit, name))
        menu.addAction("Set aside, start again…", partial(self.start_again_requested.emit, name))
        return menu

    def _on_menu(self, place: QPoint) -> None:
        index = self.indexAt(place)
        if index.isValid():
            open_menu(self.menu(str(index.data())), sure(self.viewport()), place)


class _ImageRow(QStyledItemDelegate):
    """Draw one image: its thumbnail, and three lines beside it."""

    def __init__(self, thumbnail: Thumbnail, parent: QWidget) -> None:
        super().__init__(parent)
        self._thumbnail, self._widget = thumbnail, parent
        self.open_name: str | None = None

    def height(self) -> int:
        """Return the height of a row, in pixels."""
        return 3 * self._widget.fontMetrics().lineSpacing() + 2 * _GAP

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:
        """Return the size of a row."""
        return QSize(150, self.height())

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Draw a row."""
        item, widget = index.data(ITEM_ROLE), self._widget
        if item is None:
            return
        painter.save()
        row = QRect(option.rect)
        ink = QColor(widget.palette().color(widget.foregroundRole()))
        self._draw_ground(painter, option, row, ink)
        side = row.height() - 2 * _GAP
        box = QRect(row.left() + _GAP + 2, row.top() + _GAP, side, side)
        self._draw_thumbnail(painter, item, box, ink)
        left = box.right() + 2 * _GAP
        words = QRect(left, box.top(), row.right() - left - _GAP, side)
        self._draw_words(painter, item, words, ink, widget)
        painter.restore()

    def _draw_ground(
        self, painter: QPainter, option: QStyleOptionViewItem, row: QRect, ink: QColor
    ) -> None:
        """Shade the selected row, and mark the one in the viewer with a bar on its left."""
        if option.state & QStyle.StateFlag.State_Selected:
            painter.fillRect(row, with_alpha(ink, 46))
        elif option.state & QStyle.StateFlag.State_MouseOver:
            painter.fillRect(row, with_alpha(ink, 20))
        painter.fillRect(QRect(row.left(), row.bottom(), row.width(), 1), with_alpha(ink, 30))

    def _draw_thumbnail(
        self, painter: QPainter, item: ProjectItem, box: QRect, ink: QColor
    ) -> None:
        if item.name == self.open_name:
            bar = QRect(box.left() - _GAP - 2, box.top() - _GAP, 4, box.height() + 2 * _GAP)
            painter.fillRect(bar, ink)
        pixels = None if item.problem else self._thumbnail(item)
        if pixels is None:
            painter.fillRect(box, with_alpha(ink, 24))
        else:
            draw_fitted(painter, to_pixmap(pixels), QRectF(box))

    def _draw_words(
        self, painter: QPainter, item: ProjectItem, words: QRect, ink: QColor, widget: QWidget
    ) -> None:
        metrics = widget.fontMetrics()
        line, sign, align = metrics.lineSpacing(), metrics.ascent(), Qt.AlignmentFlag.AlignVCenter
        first = QRect(words.left(), words.top(), words.width(), line)
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
        box = QRectF(second.left(), second.center().y() - sign / 2 + 1, sign, sign)
        draw_status(painter, state_of(item), box)
        second, elide = second.adjusted(sign + _GAP, 0, 0, 0), Qt.TextElideMode.ElideRight
        said = metrics.elidedText(second_line(item), elide, second.width())
        painter.drawText(second, align, said)
        painter.setPen(with_alpha(ink, 190))
        third = first.translated(0, 2 * line)
        note = " ".join(third_line(item).split())
        painter.drawText(third, align, metrics.elidedText(note, elide, third.width()))

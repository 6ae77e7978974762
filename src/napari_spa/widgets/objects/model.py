"""The objects as rows and columns: what the table shows, and what it sorts by."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap

from napari_spa.widgets.refine.stack_bar import STATUS_COLOURS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_spa.widgets.objects.rows import ObjectRow

NUMBER, SLICES, AREA, ROUNDS, UNCERTAINTY, STATUS = range(6)
HEADINGS = ("Id", "Slice", "Area", "Rounds", "Unsure", "Status")
_TIPS = (
    "The object's number in the labels.",
    "The slice, or the first and last slice, that show it.",
    "Its pixels, over all its slices.",
    "Rounds of picks and clicks that it took.",
    "How much the model's samples disagree: 0 not at all, 1 completely.",
    "Sorted by what is left to do.",
)
_NO_PARENT = QModelIndex()


class ObjectModel(QAbstractTableModel):
    """The rows, for a view.

    Parameters
    ----------
    colour_of : callable or None
        From an object's number to its RGBA in [0, 1], or None.
    """

    def __init__(self, colour_of: Callable[[int], Sequence[float] | None] | None = None) -> None:
        super().__init__()
        self.rows: tuple[ObjectRow, ...] = ()
        self._cells: list[_Cells] = []
        self._sorted = (NUMBER, Qt.SortOrder.AscendingOrder)
        self._colour_of = colour_of
        self._swatch = QSize(12, 12)
        self._ratio = 1.0

    def set_rows(self, rows: Sequence[ObjectRow]) -> None:
        """Show other rows, sorted as those before."""
        self.beginResetModel()
        self.rows = tuple(rows)
        known = {cells.row: cells for cells in self._cells}
        self._cells = self._arrange([known.get(row) or _Cells(row) for row in rows])
        self.endResetModel()

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column's numbers; equal ones by the object's.

        A ``QSortFilterProxyModel`` asks Python twice for each comparison: 400 rows then
        take 30 to 100 ms instead of one.
        """
        self.layoutAboutToBeChanged.emit()
        before = self.persistentIndexList()
        numbers = [self.number_at(index.row()) for index in before]
        self._sorted = (column, order)
        self._cells = self._arrange(self._cells)
        now = {cells.row.number: place for place, cells in enumerate(self._cells)}
        after = [
            self.index(now[number], index.column())
            for number, index in zip(numbers, before, strict=True)
        ]
        self.changePersistentIndexList(before, after)
        self.layoutChanged.emit()

    def _arrange(self, cells: list[_Cells]) -> list[_Cells]:
        column, order = self._sorted
        cells = sorted(cells, key=lambda one: one.row.number)
        down = order == Qt.SortOrder.DescendingOrder
        return sorted(cells, key=lambda one: one.keys[column], reverse=down)

    def number_at(self, place: int) -> int:
        """Return the number of the object in a row."""
        return self._cells[place].row.number

    def place_of(self, number: int | None) -> int | None:
        """Return the row of an object, or None."""
        places = (place for place, cells in enumerate(self._cells) if cells.row.number == number)
        return next(places, None)

    def longest(self, column: int) -> str:
        """Return the longest text of a column."""
        return max((cells.texts[column] for cells in self._cells), key=len, default="")

    def set_swatch(self, size: int, ratio: float) -> None:
        """Draw swatches of so many pixels, on a screen of that many dots to a pixel."""
        self._swatch, self._ratio = QSize(size, size), ratio

    def refresh_colours(self) -> None:
        """Ask for the colours again."""
        if self.rows:
            first, last = self.index(0, NUMBER), self.index(len(self.rows) - 1, NUMBER)
            self.dataChanged.emit(first, last, [Qt.ItemDataRole.DecorationRole])

    # ------------------------------------------------------------------ what Qt asks for

    def rowCount(self, parent: QModelIndex = _NO_PARENT) -> int:
        """Return the number of objects."""
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex = _NO_PARENT) -> int:
        """Return the number of columns."""
        return 0 if parent.isValid() else len(HEADINGS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        """Return a column's name, alignment or explanation."""
        if orientation != Qt.Orientation.Horizontal or not 0 <= section < len(HEADINGS):
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return HEADINGS[section]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _alignment(section)
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{_TIPS[section]}\nClick to sort; a wider dock shows more columns."
        return None

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        """Return a cell's text, number, alignment, picture or words."""
        row, column = index.row(), index.column()
        if not 0 <= row < len(self._cells):
            return None
        cells = self._cells[row]
        if role == Qt.ItemDataRole.DisplayRole:
            return cells.texts[column]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _alignment(column)
        if role == Qt.ItemDataRole.DecorationRole:
            return self._picture(cells.row, column)
        if role == Qt.ItemDataRole.ToolTipRole:
            return (
                f"{cells.row.words()}.\n"
                "Click or Enter: go there. Double click: reopen. Delete: delete."
            )
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return cells.row.words() if column == 0 else f"{HEADINGS[column]} {cells.texts[column]}"
        return None

    def _picture(self, row: ObjectRow, column: int) -> QIcon | None:
        size = self._swatch.width()
        if column == NUMBER and self._colour_of is not None:
            rgba = self._colour_of(row.number)
            if rgba is None:
                return _square((127, 127, 127, 0), size, self._ratio)
            red, green, blue, alpha = (round(255 * min(max(float(c), 0.0), 1.0)) for c in rgba)
            return _square((red, green, blue, alpha), size, self._ratio)
        if column == STATUS:
            return _dot(STATUS_COLOURS.get(row.status), size, self._ratio)
        return None


class _Cells:
    """A row's texts and keys, made when they are asked for the first time."""

    def __init__(self, row: ObjectRow) -> None:
        self.row = row

    @cached_property
    def texts(self) -> tuple[str, ...]:
        return self.row.texts()

    @cached_property
    def keys(self) -> tuple[float, ...]:
        return self.row.sort_keys()


def _alignment(column: int) -> Qt.AlignmentFlag:
    right = column in (AREA, ROUNDS, UNCERTAINTY)
    side = Qt.AlignmentFlag.AlignRight if right else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter


@lru_cache(maxsize=4096)
def _square(rgba: tuple[int, int, int, int], size: int, ratio: float) -> QIcon:
    """Draw a label's colour; no colour is an empty frame."""
    picture, painter = _canvas(size, ratio)
    painter.setPen(QColor(127, 127, 127))
    painter.setBrush(QColor(*rgba))
    painter.drawRoundedRect(QRectF(0.5, 0.5, size - 1, size - 1), 2, 2)
    painter.end()
    return _icon(picture)


@lru_cache(maxsize=64)
def _dot(rgb: tuple[int, int, int] | None, size: int, ratio: float) -> QIcon:
    """Draw a status' colour, as the bars of the stack have it."""
    picture, painter = _canvas(size, ratio)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(*(rgb or (140, 140, 140))))
    radius = size * 0.32
    painter.drawEllipse(QRectF(size / 2 - radius, size / 2 - radius, 2 * radius, 2 * radius))
    painter.end()
    return _icon(picture)


def _icon(picture: QPixmap) -> QIcon:
    """Keep the colour as it is in the selected row, where Qt would tint it."""
    icon = QIcon(picture)
    icon.addPixmap(picture, QIcon.Mode.Selected)
    return icon


def _canvas(size: int, ratio: float) -> tuple[QPixmap, QPainter]:
    picture = QPixmap(round(size * ratio), round(size * ratio))
    picture.setDevicePixelRatio(ratio)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    return picture, painter

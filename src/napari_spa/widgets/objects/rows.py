"""The rows of the object table: as a Qt model, and on screen."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from qtpy.QtCore import (  # type: ignore[attr-defined]
    QAbstractTableModel,
    QEvent,
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QPointF,
    QRectF,
    QSize,
    Qt,
    Signal,
)
from qtpy.QtGui import (
    QColor,
    QFont,
    QIcon,
    QKeyEvent,
    QKeySequence,
    QPainter,
    QPixmap,
    QResizeEvent,
)
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
)

from napari_spa.core.presentation import counted
from napari_spa.widgets.common.buttons import draw_ring_of, set_up, sure

STATUS_COLOURS = {
    "accepted": (0, 158, 115),
    "propagated": (0, 145, 255),
    "review": (230, 159, 0),
    "edited": (204, 121, 167),
}
"""RGB, told apart with any kind of colour vision; any other status is drawn in grey."""
_GREY = (140, 140, 140)

_ORDER = ("in progress", "review", "propagated", "edited", "accepted")


@dataclass(frozen=True)
class ObjectRow:
    """What the table shows of one object; texts and keys are made when they are first asked for."""

    number: int  # the object's number in the labels, at least 1
    places: tuple[tuple[int, ...], ...]  # its slices along the stack axes, sorted; or none
    area: int  # in pixels, over all slices; 0 for one that is read blind
    rounds: int  # rounds it took
    quality: float | None  # the Dice to be expected, in [0, 1]; None where no model said
    status: str  # ``"accepted"``, ``"in progress"``, ``"propagated"``, ``"review"`` or ``"edited"``
    class_name: str = ""  # of which class it is; empty for none
    name: str = ""  # what the user calls it
    unit: str = "slice"  # what it has places on: slices, or frames

    @property
    def slices(self) -> str:
        """Its slices, such as "12", "12–14, 17" or, with two stack axes, "3.12–19"."""  # noqa: RUF002
        return ", ".join(map(_span, _runs(self.places)))

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The texts of its cells, in the order of the columns."""
        return (
            str(self.number),
            self.slices,
            f"{self.area:,}" if self.area else "–",  # noqa: RUF001
            str(self.rounds),
            "–" if self.quality is None else f"{self.quality:.2f}",  # noqa: RUF001
            self.word,
            self.class_name,
            self.name,
        )

    @property
    def word(self) -> str:
        """Its status in a word: what no user made was only propagated where there are slices."""
        return "found" if self.status == "propagated" and not self.places else self.status

    @cached_property
    def sort_keys(self) -> tuple[Any, ...]:
        """What its cells are sorted by, in the order of the columns."""
        status = _ORDER.index(self.status) if self.status in _ORDER else -1
        words = self.class_name.casefold(), self.name.casefold()
        quality = 2.0 if self.quality is None else self.quality  # after all that a model said
        ends = self.places[:1] + self.places[-1:]
        return self.number, ends, self.area, self.rounds, quality, status, *words

    def words(self) -> str:
        """Say everything about it in one line."""
        where = f", {self.unit} {self.slices}" if self.places else ""
        rounds = counted(self.rounds, "round")
        what = "".join(f", {word}" for word in (self.name, self.class_name) if word)
        good = "" if self.quality is None else f"Dice about {self.quality:.2f} expected, "
        area = f"{self.area:,} px, " if self.area else ""
        return f"Object {self.number}{what}{where}: {area}{rounds}, {good}{self.word}"


def summary(rows: Sequence[ObjectRow]) -> str:
    """Say how many objects there are, on how many slices, and how many to look at again."""
    done = [row for row in rows if row.status != _ORDER[0]]
    words = counted(len(done), "object")
    slices = len({place for row in done for place in row.places})
    if slices:
        words += f" on {counted(slices, rows[0].unit)}"
    if len(done) < len(rows):
        pending = f"{len(rows) - len(done)} in progress"
        words = f"{words}, {pending}" if done else pending
    review = sum(row.status == "review" for row in rows)
    return f"{words}, {review} to review" if review else words


def _runs(places: Sequence[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
    """Part sorted places where one is left out along the last axis."""
    runs: list[list[tuple[int, ...]]] = []
    for place in places:
        if runs and place == (*runs[-1][-1][:-1], runs[-1][-1][-1] + 1):
            runs[-1].append(place)
        else:
            runs.append([place])
    return runs


def _span(run: Sequence[tuple[int, ...]]) -> str:
    first = ".".join(map(str, run[0]))
    return first if len(run) == 1 else f"{first}–{run[-1][-1]}"  # noqa: RUF001


NUMBER, SLICES, AREA, ROUNDS, QUALITY, STATUS, CLASS, NAME = range(8)
HEADINGS = ("Id", "Slice", "Area", "Rounds", "Dice", "Status", "Class", "Name")
_TIPS = (
    "The object's number in the labels.",
    "The slice, or the first and last slice, that show it.",
    "Its pixels, over all its slices.",
    "Rounds of picks and clicks that it took.",
    "The Dice that is to be expected, as under the pictures; on its worst slice.",
    "Sorted by what is left to do.",
    "The object's class; right click to change it.",
    "What you call the object; F2 to change it.",
)
_RIGHT = (AREA, ROUNDS, QUALITY)  # columns of figures, which end at the right
_ROOM = 4 * "\N{NO-BREAK SPACE}"  # for the arrow in a heading
_NO_PARENT = QModelIndex()


class ObjectModel(QAbstractTableModel):
    """The rows, for a view."""

    def __init__(self, colour_of: Callable[[int], Sequence[float] | None]) -> None:
        super().__init__()
        self.class_colours: Mapping[str, tuple[int, int, int]] = {}
        self.rows: tuple[ObjectRow, ...] = ()
        self._listed: list[ObjectRow] = []
        self.order = (NUMBER, Qt.SortOrder.AscendingOrder)  # what it is sorted by
        self._colour_of = colour_of
        self._swatch = QSize(12, 12)
        self._ratio = 1.0

    def set_rows(self, rows: Sequence[ObjectRow]) -> None:
        """Show other rows, sorted by a column's numbers; equal ones by the object's.

        A ``QSortFilterProxyModel`` asks Python twice for each comparison: 400 rows then
        take 30 to 100 ms instead of one.
        """
        self.beginResetModel()
        self.rows = tuple(rows)
        known = {row: row for row in self._listed}  # with their texts and keys
        listed = sorted((known.get(row, row) for row in rows), key=lambda row: row.number)
        column, order = self.order
        down = order == Qt.SortOrder.DescendingOrder
        self._listed = sorted(listed, key=lambda row: row.sort_keys[column], reverse=down)
        self.endResetModel()

    def number_at(self, place: int) -> int:
        """Return the number of the object in a row."""
        return self._listed[place].number

    def places_of(self, numbers: Collection[int]) -> list[int]:
        """Return the rows of those of some objects that there are, in their order."""
        wanted = set(numbers)
        return [place for place, row in enumerate(self._listed) if row.number in wanted]

    def longest(self, column: int) -> str:
        """Return the longest text of a column."""
        return max((row.texts[column] for row in self._listed), key=len, default="")

    def set_swatch(self, size: int, ratio: float) -> None:
        """Draw swatches of so many pixels, on a screen of that many dots to a pixel."""
        self._swatch, self._ratio = QSize(size, size), ratio

    def refresh_colours(self) -> None:
        """Ask for the colours again."""
        if self.rows:
            first, last = self.index(0, NUMBER), self.index(len(self.rows) - 1, NAME)
            self.dataChanged.emit(first, last, [Qt.ItemDataRole.DecorationRole])

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
            in_frames = section == SLICES and self.rows and self.rows[0].unit == "frame"
            # The arrow is drawn at the right: a heading that stands there makes room for it.
            beside = section == self.order[0] and section in _RIGHT
            return ("Frame" if in_frames else HEADINGS[section]) + _ROOM * beside
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _alignment(section)
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{_TIPS[section]}\nClick to sort; a wider dock shows more columns."
        return None

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        """Return a cell's text, number, alignment, picture or words."""
        place, column = index.row(), index.column()
        if not 0 <= place < len(self._listed):
            return None
        row = self._listed[place]
        if role == Qt.ItemDataRole.DisplayRole:
            return row.texts[column]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _alignment(column)
        if role == Qt.ItemDataRole.DecorationRole:
            return self._picture(row, column)
        if role == Qt.ItemDataRole.ToolTipRole:
            keys = "Click or Enter: go there. Double click: reopen. Delete: delete."
            keys += "\nShift or Ctrl and click: several."
            return f"{row.words()}.\n{keys}"
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return row.words() if column == 0 else f"{HEADINGS[column]} {row.texts[column]}"
        return None

    def _picture(self, row: ObjectRow, column: int) -> QIcon | None:
        size = self._swatch.width()
        if column == NUMBER:
            colour = self._colour_of(row.number)
            shares = (0.5, 0.5, 0.5, 0) if colour is None else colour
            rgba = tuple(round(255 * min(max(float(c), 0.0), 1.0)) for c in shares)
            return _swatch(rgba, size, self._ratio)
        if column == CLASS and row.class_name:
            return _swatch(self.class_colours.get(row.class_name, _GREY), size, self._ratio)
        if column == STATUS:
            return _swatch(STATUS_COLOURS.get(row.status, _GREY), size, self._ratio, dot=True)
        return None


def _alignment(column: int) -> Qt.AlignmentFlag:
    right = column in _RIGHT
    side = Qt.AlignmentFlag.AlignRight if right else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter


@lru_cache(maxsize=4096)
def _swatch(colour: tuple[int, ...], size: int, ratio: float, *, dot: bool = False) -> QIcon:
    """Draw a label's colour as a square, or a status' as a dot; no opacity is an empty frame."""
    picture = QPixmap(round(size * ratio), round(size * ratio))
    picture.setDevicePixelRatio(ratio)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.GlobalColor.transparent if dot else QColor(127, 127, 127))
    painter.setBrush(QColor(*colour))
    if dot:
        painter.drawEllipse(QPointF(size / 2, size / 2), size * 0.32, size * 0.32)
    else:
        painter.drawRoundedRect(QRectF(0.5, 0.5, size - 1, size - 1), 2, 2)
    painter.end()
    icon = QIcon(picture)
    icon.addPixmap(picture, QIcon.Mode.Selected)  # which Qt would tint
    return icon


_SHOWN_ROWS, _FEWEST_ROWS = 6, 3
_LETTERS = 12  # an object on many a slice is elided; its tooltip has them all
_LEAST_WANTED = (ROUNDS, QUALITY, AREA, NAME)  # hidden in this order where there is no room
_MOVES = {
    Qt.Key.Key_Up,
    Qt.Key.Key_Down,
    Qt.Key.Key_Home,
    Qt.Key.Key_End,
    Qt.Key.Key_PageUp,
    Qt.Key.Key_PageDown,
}
_PADDING = 3
_LOOK = f"""
QTableView {{ border: 2px solid transparent; padding: 0px; }}
QHeaderView::section {{ border: 0px; padding: 2px {_PADDING}px; }}
"""


class ObjectView(QTableView):
    """The rows; a key that means nothing here goes on to the viewer."""

    went = Signal(int)  # an object was clicked, or Enter pressed on it
    reopened = Signal(int)  # an object was double clicked
    deleted = Signal(object)  # the delete key was pressed on these objects, a list of numbers
    renamed = Signal(int)  # F2 was pressed on an object

    def __init__(self, model: ObjectModel) -> None:
        super().__init__()
        self._objects = model
        model.setParent(self)
        self.setModel(model)
        self.setItemDelegate(_WholeRow(self))
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        set_up(self, "Objects")
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self._asked: int | None = None  # what was to be selected last
        self.setTabKeyNavigation(False)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setCornerButtonEnabled(False)
        self.setStyleSheet(_LOOK)
        self._head, self._side = sure(self.horizontalHeader()), sure(self.verticalHeader())
        for header in (self._head, self._side):
            header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self._head.setHighlightSections(False)
        self._head.setMinimumSectionSize(8)
        self._side.hide()
        for place, column in enumerate((CLASS, NAME), start=1):  # beside the number
            self._head.moveSection(self._head.visualIndex(column), place)
        self._head.setSortIndicatorShown(True)
        self._head.setSortIndicator(*model.order)
        self._head.sortIndicatorChanged.connect(self._on_sorted)
        self.clicked.connect(lambda _: self._with_selected(self.went))
        self.doubleClicked.connect(lambda index: self.reopened.emit(model.number_at(index.row())))

    def set_rows(self, rows: Sequence[ObjectRow]) -> None:
        """Show other rows; what was selected, and the place scrolled to, stay."""
        before, bar = self.chosen(), sure(self.verticalScrollBar())
        place, row = bar.value(), self.currentIndex().row()
        self._objects.set_rows(rows)
        self.fit()
        if not self._select(before) and rows and row >= 0:
            # What was selected is gone: the arrow keys go on from its place, where nothing
            # is selected, so that a second press of the delete key takes no one unawares.
            heir = self._objects.index(min(row, len(rows) - 1), NUMBER)
            flag = QItemSelectionModel.SelectionFlag.NoUpdate
            sure(self.selectionModel()).setCurrentIndex(heir, flag)
        self.updateGeometries()  # a bar that is not told of its new range refuses the place
        bar.setValue(place)

    def select(self, number: int | None) -> None:
        """Select an object and bring it into view; an unknown one selects nothing.

        Asked for the same again, it leaves several that a user chose since.
        """
        if number == self._asked and len(self.chosen()) > 1:
            return
        self._asked = number
        if number is not None and self._select([number]):
            self.scrollTo(self.currentIndex())
        else:
            self.clearSelection()

    def chosen(self) -> list[int]:
        """Return the numbers of all selected objects, in their order."""
        rows = sure(self.selectionModel()).selectedRows(NUMBER)
        return [self._objects.number_at(place) for place in sorted(row.row() for row in rows)]

    def selected(self) -> int | None:
        """Return the number of the one selected object; None of several, too."""
        chosen = self.chosen()
        return chosen[0] if len(chosen) == 1 else None

    def sort_by(self, column: int) -> None:
        """Sort by a column; the other way round when it is sorted by already."""
        up = self._head.sortIndicatorSection() != column or (
            self._head.sortIndicatorOrder() == Qt.SortOrder.DescendingOrder
        )
        order = Qt.SortOrder.AscendingOrder if up else Qt.SortOrder.DescendingOrder
        self.sortByColumn(column, order)

    def _select(self, numbers: Collection[int]) -> bool:
        """Select those of some objects that there are; return whether there are any."""
        places, flags = self._objects.places_of(numbers), QItemSelectionModel.SelectionFlag
        if not places:
            return False
        indices = [self._objects.index(place, NUMBER) for place in places]
        selection = QItemSelection()
        for index in indices:
            selection.select(index, index)
        selecting = sure(self.selectionModel())
        selecting.setCurrentIndex(indices[-1], flags.NoUpdate)
        selecting.select(selection, flags.ClearAndSelect | flags.Rows)  # one change, however many
        return True

    def _with_selected(self, signal: Any) -> None:
        number = self.selected()
        if number is not None:
            signal.emit(number)

    def set_font(self, font: QFont) -> None:
        """Write in a font: napari's style sheet sets none for tables."""
        self.setFont(font)
        self._head.setFont(font)
        high = self.fontMetrics().height()
        self._objects.set_swatch(round(0.7 * high), self.devicePixelRatioF())
        self.setIconSize(QSize(high, high))
        self._side.setDefaultSectionSize(high + 6)
        self.updateGeometry()
        self.fit()

    def fit(self) -> None:
        """Share the width among the columns; the least wanted go where there is no room."""
        widths = {column: self._width(column) for column in range(len(HEADINGS))}
        used = {
            SLICES: any(row.places for row in self._objects.rows),
            CLASS: any(row.class_name for row in self._objects.rows),
            NAME: any(row.name for row in self._objects.rows),
            ROUNDS: self._head.sortIndicatorSection() == ROUNDS,  # wanted by few; in the tooltip
        }
        widths = {column: width for column, width in widths.items() if used.get(column, True)}
        room = sure(self.viewport()).width()
        for column in _LEAST_WANTED:
            if sum(widths.values()) > room:
                widths.pop(column, None)
        # A share of what is left over for each; the status takes the rest, or gives it.
        share = max(0, room - sum(widths.values())) // len(widths)
        widths = {column: width + share for column, width in widths.items()}
        widths[STATUS] = max(0, widths[STATUS] + room - sum(widths.values()))
        for column in range(len(HEADINGS)):
            self.setColumnHidden(column, column not in widths)
            self.setColumnWidth(column, widths.get(column, 0))

    def _width(self, column: int) -> int:
        """Return the width that a column's longest text needs, in pixels."""
        metrics = self.fontMetrics()
        texts = metrics.horizontalAdvance(self._objects.longest(column)[:_LETTERS])
        picture = metrics.height() + 4 if column in (NUMBER, STATUS, CLASS) else 0
        arrow = metrics.height() if column == self._head.sortIndicatorSection() else 0
        heading = metrics.horizontalAdvance(HEADINGS[column]) + arrow
        return max(texts + picture, heading) + 2 * _PADDING

    def sizeHint(self) -> QSize:
        """Return the size of about six rows."""
        return QSize(320, self._height(_SHOWN_ROWS))

    def minimumSizeHint(self) -> QSize:
        """Return the size of a few rows."""
        return QSize(120, self._height(_FEWEST_ROWS))

    def _height(self, rows: int) -> int:
        frame = 2 * self.frameWidth() + 2
        return self._head.sizeHint().height() + rows * self._side.defaultSectionSize() + frame

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Fit the columns again."""
        super().resizeEvent(event)
        self.fit()

    def event(self, event: QEvent) -> bool:
        """Draw the focus into the frame; the rows are painted elsewhere, and scroll."""
        done = super().event(event)
        draw_ring_of(self, event)
        return done

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Go there, ask to delete, move; leave every other key to the viewer."""
        modifiers = Qt.KeyboardModifier
        plain = event.modifiers() in (modifiers.NoModifier, modifiers.KeypadModifier)
        asked = {
            Qt.Key.Key_Return: self.went,
            Qt.Key.Key_Enter: self.went,
            Qt.Key.Key_F2: self.renamed,
        }
        chosen = self.chosen()
        current = self.currentIndex()
        if plain and chosen and event.key() in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace):
            self.deleted.emit(chosen)
        elif plain and len(chosen) == 1 and event.key() in asked:
            asked[Qt.Key(event.key())].emit(chosen[0])
        elif event.matches(QKeySequence.StandardKey.SelectAll):
            self.selectAll()
        elif event.key() == Qt.Key.Key_Down and not chosen and current.isValid():
            self.select(self._objects.number_at(current.row()))  # the heir, which is the next
        elif event.key() in _MOVES:
            super().keyPressEvent(event)
        else:
            event.ignore()

    def _on_sorted(self, column: int, order: Qt.SortOrder) -> None:
        self._objects.order = column, order
        self.set_rows(self._objects.rows)
        if self.chosen():
            self.scrollTo(self.currentIndex())


class _WholeRow(QStyledItemDelegate):
    """Draw no frame around the current cell: rows are chosen, not cells."""

    def initStyleOption(self, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        super().initStyleOption(option, index)
        option.state &= ~QStyle.StateFlag.State_HasFocus

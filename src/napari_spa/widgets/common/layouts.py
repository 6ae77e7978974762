"""Arrangements that fit a dock of any width: an even grid, rows and columns."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QRect, QSize, Qt
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QLayout,
    QLayoutItem,
    QLineEdit,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_spa.widgets.common.buttons import FittingButton


class EvenGrid(QLayout):
    """Equal columns, as many of the offered numbers as fit; a short last row is centred.

    With ``row`` all cells go into one row, each as wide as it needs, where that fits.
    """

    def __init__(
        self, columns: Sequence[int], parent: QWidget, *, spacing: int = 4, row: bool = False
    ) -> None:
        super().__init__(parent)
        self._row = row
        self._items: list[QLayoutItem] = []
        self._choices = tuple(columns)
        self.setContentsMargins(0, 0, 0, 0)
        self.setSpacing(spacing)

    def set_columns(self, columns: Sequence[int]) -> None:
        """Offer other numbers of columns, the preferred first."""
        self._choices = tuple(columns)
        self.invalidate()

    def addItem(self, item: QLayoutItem) -> None:
        """Append a cell."""
        self._items.append(item)
        self.invalidate()

    def count(self) -> int:
        """Return the number of cells."""
        return len(self._items)

    def itemAt(self, index: int) -> QLayoutItem | None:
        """Return a cell, or None."""
        return self._items[index] if 0 <= index < len(self._items) else None

    def takeAt(self, index: int) -> QLayoutItem | None:
        """Remove and return a cell, or None."""
        return self._items.pop(index) if 0 <= index < len(self._items) else None

    def expandingDirections(self) -> Qt.Orientation:
        """Take the width there is."""
        return Qt.Orientation.Horizontal

    def hasHeightForWidth(self) -> bool:
        """Fewer columns need more rows."""
        return True

    def heightForWidth(self, width: int) -> int:
        """Return the height of all rows at a width, in pixels."""
        return self._arrange(QRect(0, 0, width, 0), move=False)

    def setGeometry(self, rect: QRect) -> None:
        """Place the cells."""
        super().setGeometry(rect)
        self._arrange(rect, move=True)

    def sizeHint(self) -> QSize:
        """Return the size with the preferred number of columns."""
        cells = self._shown()
        widths = [cell.sizeHint().width() for cell in cells]
        columns = max(1, min(self._choices[0], len(cells)))
        width = self._total(columns, max(widths, default=0))
        if self._row:
            width = sum(widths) + len(widths) * self.spacing()
        return QSize(width, self.heightForWidth(width))

    def minimumSize(self) -> QSize:
        """Return the size with the fewest columns."""
        sizes = [cell.minimumSize() for cell in self._shown()]
        width = self._total(min(self._choices), max((s.width() for s in sizes), default=0))
        return QSize(width, max((s.height() for s in sizes), default=0))

    def _shown(self) -> list[QLayoutItem]:
        return [item for item in self._items if not item.isEmpty()]

    def _total(self, columns: int, cell: int) -> int:
        return columns * cell + (columns - 1) * self.spacing()

    def _arrange(self, rect: QRect, *, move: bool) -> int:
        """Place the cells, or only measure; return the height they take, in pixels."""
        cells, gap = self._shown(), self.spacing()
        if not cells:
            return 0
        least = [cell.minimumSize().width() for cell in cells]
        spare = rect.width() + gap - sum(least) - len(cells) * gap
        if self._row and spare >= 0:
            left, height = rect.left(), max(cell.sizeHint().height() for cell in cells)
            for cell, width in zip(cells, least, strict=True):
                width += spare // len(cells)
                if move:
                    cell.setGeometry(QRect(left, rect.top(), width, height))
                left += width + gap
            return height
        fitting = (c for c in self._choices if self._total(c, max(least)) <= rect.width())
        columns = next(fitting, self._choices[-1])
        width, top = max(1, (rect.width() + gap) // columns - gap), rect.top()
        for start in range(0, len(cells), columns):
            row = cells[start : start + columns]
            height = max(
                cell.heightForWidth(width) if cell.hasHeightForWidth() else cell.sizeHint().height()
                for cell in row
            )
            left = rect.left() + (columns - len(row)) * (width + gap) // 2
            for position, cell in enumerate(row if move else ()):
                cell.setGeometry(QRect(left + position * (width + gap), top, width, height))
            top += height + gap
        return top - gap - rect.top()


def tip_button(*texts: str, tip: str = "", narrow: bool = False) -> FittingButton:
    """Make a button with a tooltip; a narrow one takes no more width than it needs."""
    button = FittingButton(*texts)
    button.setToolTip(tip)
    if narrow:
        button.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
    return button


def wrapped(text: str = "") -> QLabel:
    """Make a label that breaks its lines."""
    label = QLabel(text)
    label.setWordWrap(True)
    return label


def hinted_line(hint: str) -> QLineEdit:
    """Make a field that says what belongs into it."""
    line = QLineEdit()
    line.setPlaceholderText(hint)
    line.setAccessibleName(hint)
    return line


def scrolling(content: QWidget, viewport: QWidget | None = None) -> QScrollArea:
    """Let a part scroll up and down where there is not enough room, but never sideways."""
    scroll = QScrollArea()
    if viewport is not None:
        scroll.setViewport(viewport)
    scroll.setWidgetResizable(True)
    scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # Tab would stop where nothing is to be seen
    scroll.setFrameShape(QScrollArea.Shape.NoFrame)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    scroll.setWidget(content)
    return scroll


def even_row(columns: tuple[int, ...], *cells: QWidget) -> QWidget:
    """Put cells beside each other, equally wide."""
    holder = QWidget()
    grid = EvenGrid(columns, holder)
    for cell in cells:
        grid.addWidget(cell)
    return holder


def row_of(*parts: QWidget, grows: QWidget | None = None) -> QHBoxLayout:
    """Put parts beside each other; ``grows`` takes the width that is left."""
    row = QHBoxLayout()
    for part in parts:
        row.addWidget(part, int(part is grows))
    return row


def column_of(
    *parts: QWidget | QHBoxLayout,
    spacing: int = 4,
    margin: int = 0,
    grows: QWidget | None = None,
    holder: QWidget | None = None,
) -> QWidget:
    """Put parts one under the other; ``grows`` takes the height that is left."""
    holder = holder or QWidget()
    column = QVBoxLayout(holder)
    column.setContentsMargins(margin, margin, margin, margin)
    column.setSpacing(spacing)
    for part in parts:
        if isinstance(part, QWidget):
            column.addWidget(part, int(part is grows))
        else:
            column.addLayout(part)
    return holder

"""Small controls that several docks use: buttons, pictures that are buttons, number fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
from qtpy.QtCore import QEvent, QPoint, QPointF, QRect, QRectF, QSize, Qt
from qtpy.QtGui import (
    QAction,
    QColor,
    QFocusEvent,
    QFont,
    QFontMetrics,
    QImage,
    QKeyEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPixmap,
    QWheelEvent,
)
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QLabel,
    QMenu,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QStyle,
    QStyleOptionButton,
    QStyleOptionComboBox,
    QStylePainter,
    QTabBar,
    QWidget,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray


PADDING = 4
_DISABLED_ALPHA = 165
Part = TypeVar("Part")


def sure(part: Part | None) -> Part:
    """Return a part of a widget that is always there, though PyQt's types let it be None."""
    assert part is not None
    return part


def show_key(key: str) -> str:
    """Write a key as the dock shows it: "Alt-1" and "Alt+1" both become "Alt+1"."""
    return key[:-1].replace("-", "+") + key[-1:]


def with_key(text: str, key: str) -> str:
    """Append a key to a text, if there is one: "Accept  [N]"."""
    return f"{text}  [{show_key(key)}]" if key else text


def tip_with_key(tip: str, key: str) -> str:
    """Append a key to a tooltip, if there is one."""
    return f"{tip}\nKey: {show_key(key)}" if key else tip


def explain(part: QWidget, tip: str) -> None:
    """Give a control a tooltip that is read out, too."""
    part.setToolTip(tip)
    part.setAccessibleDescription(tip)


def open_menu(menu: QMenu, widget: QWidget, place: QPoint | None = None) -> None:
    """Open a menu at a place in a widget, or under it, a button; it goes when it closes."""
    menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    menu.popup(widget.mapToGlobal(widget.rect().bottomLeft() if place is None else place))


def add_entry(
    menu: QMenu,
    title: str,
    action: Callable[[], object],
    *,
    enabled: bool = True,
    checked: bool | None = None,
    tip: str = "",
) -> None:
    """Add an entry to a menu; one that can be ``checked`` shows whether it is."""
    entry = QAction(title.replace("&", "&&"), menu)
    entry.setToolTip(tip)
    entry.setEnabled(enabled)
    if checked is not None:
        entry.setCheckable(True)
        entry.setChecked(checked)
    entry.triggered.connect(lambda _=False: action())
    menu.addAction(entry)


def with_alpha(colour: QColor, alpha: int) -> QColor:
    """Return a colour with another opacity, of 255."""
    colour = QColor(colour)
    colour.setAlpha(alpha)
    return colour


def draw_ring(widget: QWidget, part: QRect | None = None) -> None:
    """Draw the focus around a widget or a part of it, if it is there, in the colour of its text.

    napari's style sheet draws none, and in a style sheet a colour could not follow the theme.
    """
    if not widget.hasFocus():
        return
    painter = QPainter(widget)
    painter.setPen(QPen(widget.palette().color(widget.foregroundRole()), 2))
    painter.drawRect((part or widget.rect()).adjusted(1, 1, -1, -1))


def set_up(view: QAbstractItemView, name: str) -> None:
    """Let a list or table take the room there is, and one of its rows be chosen, not changed."""
    view.setSelectionMode(view.SelectionMode.SingleSelection)
    view.setEditTriggers(view.EditTrigger.NoEditTriggers)
    view.setVerticalScrollMode(view.ScrollMode.ScrollPerPixel)
    view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    view.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
    view.setAccessibleName(name)


def draw_ring_of(view: QAbstractItemView, event: QEvent) -> None:
    """Draw the focus into the frame of a list or table, whose rows are painted elsewhere."""
    if event.type() == QEvent.Type.Paint:
        draw_ring(view)
    elif event.type() in (QEvent.Type.FocusIn, QEvent.Type.FocusOut):
        view.update()


class FittingButton(QPushButton):
    """A button that shows the longest of its texts that fits, and elides the last.

    napari's tool buttons do not follow its font size; push buttons do.  A click leaves
    the focus in the canvas, where napari's keys arrive; Tab still comes here, and both
    Space and Enter press the button.
    """

    def __init__(self, *texts: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._refocus = False
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setAutoDefault(False)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.set_texts(*texts)

    def on_click(self, action: Callable[[], object]) -> None:
        """Call an action when it is clicked, without what Qt says of the button's state."""
        self.clicked.connect(lambda _=False: action())

    def set_texts(self, *texts: str) -> None:
        """Change the texts, the longest first."""
        self._texts = texts or ("",)
        self.setText(self._texts[0].replace("&", "&&"))
        self.updateGeometry()

    def shown_text(self) -> str:
        """Return the text as it is drawn at the present width."""
        room = self.text_area().width()
        metrics = self.fontMetrics()
        for text in self._texts:
            if metrics.horizontalAdvance(text) <= room:
                return text
        return metrics.elidedText(self._texts[-1], Qt.TextElideMode.ElideRight, room)

    def sizeHint(self) -> QSize:
        """Return the size of the longest text."""
        return self._size_of(self._texts[0])

    def minimumSizeHint(self) -> QSize:
        """Return the size of the shortest text, at most eight letters of it."""
        size = self._size_of(self._texts[-1])
        letters = self._size_of("m" * 8)
        return size.boundedTo(letters)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Let Enter press the button as Space does."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.click()
        else:
            super().keyPressEvent(event)

    def focusNextPrevChild(self, forwards: bool) -> bool:
        """Hand the focus to no other button when disabled: who presses twice would press that."""
        return self.isEnabled() and super().focusNextPrevChild(forwards)

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Remember when the focus went because the button was disabled."""
        self._refocus = not self.isEnabled()
        super().focusOutEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        """Take the focus back when enabled again, unless it went elsewhere meanwhile.

        Everything is disabled while the model works, several times a minute; who works
        with the keyboard alone would have to find the place again each time.
        """
        super().changeEvent(event)
        if event.type() == QEvent.Type.EnabledChange and self.isEnabled():
            if self._refocus and sure(self.window()).focusWidget() is None:
                self.setFocus(Qt.FocusReason.OtherFocusReason)
            self._refocus = False

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the button and the text that fits."""
        painter = QStylePainter(self)
        self.draw_frame(painter)
        painter.setPen(self.ink())
        painter.drawText(self.text_area(), int(Qt.AlignmentFlag.AlignCenter), self.shown_text())
        painter.end()
        draw_ring(self)

    def ink(self) -> QColor:
        """Return the colour to write in: the theme's, and readable when disabled."""
        ink = self.palette().color(self.foregroundRole())
        return with_alpha(ink, 255 if self.isEnabled() else _DISABLED_ALPHA)

    def draw_frame(self, painter: QStylePainter) -> None:
        """Draw what is under the text, as the style does."""
        option = QStyleOptionButton()
        self.initStyleOption(option)
        painter.drawControl(QStyle.ControlElement.CE_PushButtonBevel, option)

    def text_area(self) -> QRect:
        """Return where the text goes, in the button's pixels."""
        return self.rect().adjusted(PADDING, 0, -PADDING, 0)

    def _size_of(self, text: str) -> QSize:
        option = QStyleOptionButton()
        self.initStyleOption(option)
        metrics, kind = self.fontMetrics(), QStyle.ContentsType.CT_PushButton
        content = QSize(metrics.horizontalAdvance(text) + 2, metrics.height())
        size = sure(self.style()).sizeFromContents(kind, option, content, self)
        return size.expandedTo(QSize(content.width() + 2 * PADDING, 0))


SMALLEST_SIDE, LARGEST_SIDE = 108, 280
MOST_LINES = 4
SMALLEST_FONT = 0.7  # of the theme's
_WORDS = int(Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop | Qt.TextFlag.TextWordWrap)


class PictureButton(FittingButton):
    """A button with a picture that scales with its width and words under it.

    The height depends on the width and the font alone, not on the words, so that
    buttons stay under the pointer from round to round.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent=parent)
        self.pixmap: QPixmap | None = None
        self._words = self._sample = ""
        self.share: float | None = None  # in [0, 1]; a thin bar along the picture's lower edge
        self._largest = LARGEST_SIDE
        # A fixed height would be the size hint's, whatever the width.
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)

    def set_picture(self, picture: NDArray[np.uint8] | None) -> None:
        """Show a picture, (h, w, 3) uint8, or an empty frame."""
        self.pixmap = None if picture is None else to_pixmap(picture)
        self.update()

    def set_largest(self, side: int) -> None:
        """Draw the picture with a side of at most so many pixels."""
        if side != self._largest:
            self._largest = side
            self.updateGeometry()

    def set_words(self, words: str, sample: str = "") -> None:
        """Change the words; the longest that may come (``sample``) keeps room for itself."""
        self._words = words
        self._sample = sample or words
        self.set_texts(words)

    def heightForWidth(self, width: int) -> int:
        """Return the height of the picture and its words, in pixels."""
        return self.side_at(width) + self._words_height(width - 2 * PADDING) + 3 * PADDING

    def side_at(self, width: int) -> int:
        """Return the side of the picture at a width, in pixels."""
        return min(width - 2 * PADDING, self._largest)

    def hasHeightForWidth(self) -> bool:
        """Be as high as the width asks for."""
        return True

    def sizeHint(self) -> QSize:
        """Return a size for the eye."""
        width = SMALLEST_SIDE * 3 // 2
        return QSize(width, self.heightForWidth(width))

    def minimumSizeHint(self) -> QSize:
        """Return the smallest size in which a difference can be told."""
        return QSize(SMALLEST_SIDE, SMALLEST_SIDE)

    def picture_area(self) -> QRectF:
        """Return where the picture may be drawn, in the button's pixels."""
        height = self.height() - self._words_height(self.width() - 2 * PADDING) - 3 * PADDING
        return QRectF(PADDING, PADDING, self.width() - 2 * PADDING, max(1, height))

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the button, the picture and the words."""
        painter = QStylePainter(self)
        self.draw_frame(painter)
        area = self.picture_area()
        if self.pixmap is None:
            painter.setPen(QPen(self.ink(), 1, Qt.PenStyle.DashLine))
            side = min(area.width(), area.height()) - 1
            frame = QRectF(0, 0, side, side)
            frame.moveCenter(area.center())
            painter.drawRect(frame)
        else:
            painter.setOpacity(1.0 if self.isEnabled() else 0.6)
            self.draw_picture(painter, area, self.pixmap)
            painter.setOpacity(1.0)
            if self.share is not None:
                self._draw_share(painter, area, self.share)
        painter.setPen(self.ink())
        top = round(area.bottom()) + PADDING
        room = QRect(PADDING, top, self.width() - 2 * PADDING, self.height() - top)
        painter.setFont(self._words_font(room.width()))
        painter.drawText(room, _WORDS, self._words)
        painter.end()
        draw_ring(self)

    def draw_picture(self, painter: QPainter, area: QRectF, pixmap: QPixmap) -> None:
        """Draw the whole picture into an area, its shape kept."""
        draw_fitted(painter, pixmap, area)

    def _draw_share(self, painter: QPainter, area: QRectF, share: float) -> None:
        """Draw the bar under the picture, in the gap that the words leave."""
        side = min(area.width(), area.height())
        line = QRectF(area.center().x() - side / 2, area.bottom() + 1, side, PADDING - 1)
        ink = self.ink()
        painter.fillRect(line, with_alpha(ink, ink.alpha() // 4))
        line.setWidth(side * share)
        painter.fillRect(line, ink)

    def _words_font(self, width: int) -> QFont:
        """Return the theme's font, a little smaller where its longest word would be cut."""
        font = QFont(self.font())
        words = self._sample.split(" ")  # at spaces that may be broken
        widest = max(self.fontMetrics().horizontalAdvance(word) for word in words)
        if widest > width and font.pointSizeF() > 0:
            font.setPointSizeF(font.pointSizeF() * max(SMALLEST_FONT, (width - 2) / widest))
        return font

    def _words_height(self, width: int) -> int:
        metrics = QFontMetrics(self._words_font(width))
        needed = metrics.boundingRect(QRect(0, 0, width, 0), _WORDS, self._sample).height()
        line = metrics.lineSpacing()
        return min(max(1, round(needed / line)), MOST_LINES) * line


def draw_fitted(painter: QPainter, pixmap: QPixmap, area: QRectF) -> None:
    """Draw the whole of a picture into an area, its shape kept."""
    scale = min(area.width() / pixmap.width(), area.height() / pixmap.height())
    draw_scaled(painter, pixmap, area.center(), scale)


def draw_scaled(painter: QPainter, pixmap: QPixmap, centre: QPointF, scale: float) -> None:
    """Draw a picture around a point; pixels shown large keep their edges."""
    device = painter.device()
    ratio = 1.0 if device is None else device.devicePixelRatioF()
    target = QRectF(0, 0, pixmap.width() * scale, pixmap.height() * scale)
    target.moveCenter(centre)
    if scale * ratio < 1:  # the painter's own scaling would skip pixels
        size = QSize(*(max(1, round(x * ratio)) for x in (target.width(), target.height())))
        smooth = Qt.TransformationMode.SmoothTransformation
        pixmap = pixmap.scaled(size, Qt.AspectRatioMode.IgnoreAspectRatio, smooth)
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, scale * ratio < 2)
    painter.drawPixmap(target, pixmap, QRectF(pixmap.rect()))


def to_pixmap(picture: NDArray[np.uint8]) -> QPixmap:
    """Copy a picture, (h, w, 3) uint8, into a pixmap."""
    height, width = picture.shape[:2]
    data = np.ascontiguousarray(picture)
    image = QImage(data.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
    return QPixmap.fromImage(image.copy())


class NoWheelComboBox(QComboBox):
    """A combo box that leaves the wheel to the scrolling dock and the keys to the canvas."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setAccessibleName(name)
        policy = QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        self.setSizeAdjustPolicy(policy)
        self.setMinimumContentsLength(5)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.currentTextChanged.connect(self.setToolTip)

    def show_entries(self, entries: Sequence[str], current: int) -> None:
        """Offer other entries, one of them current; -1 for none."""
        if [self.itemText(index) for index in range(self.count())] != list(entries):
            self.clear()
            self.addItems(list(entries))
        self.setCurrentIndex(current)
        self.setEnabled(self.count() > 1)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Change nothing in passing."""
        event.ignore()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the box, its text elided where it does not fit."""
        painter = QStylePainter(self)
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        kind, part = QStyle.ComplexControl.CC_ComboBox, QStyle.SubControl.SC_ComboBoxEditField
        room = sure(self.style()).subControlRect(kind, option, part, self).width() - 2
        room -= 0 if option.currentIcon.isNull() else option.iconSize.width() + 4
        option.currentText = self.fontMetrics().elidedText(
            option.currentText, Qt.TextElideMode.ElideRight, room
        )
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)
        painter.end()
        draw_ring(self)


class FocusRingSpinBox(QSpinBox):
    """A spin box that shows the focus."""

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the box, and the focus around it."""
        super().paintEvent(event)
        draw_ring(self)


class FocusRingTabBar(QTabBar):
    """Tabs of which the current one shows the focus."""

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the tabs, and the focus around the current one."""
        super().paintEvent(event)
        draw_ring(self, self.tabRect(self.currentIndex()))


class FocusRingCheckBox(QCheckBox):
    """A check box that shows the focus, and takes it from Tab alone."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the box, and the focus around it."""
        super().paintEvent(event)
        draw_ring(self)


class FramedLabel(QLabel):
    """A text in a frame of its own colour, such as a key's cap."""

    def __init__(self, text: str = "", *, space: int = 4) -> None:
        super().__init__(text)
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setContentsMargins(space, space // 2, space, space // 2)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the text and the frame."""
        super().paintEvent(event)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ink = self.palette().color(self.foregroundRole())
        painter.setPen(QPen(with_alpha(ink, ink.alpha() * 2 // 3), 1))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), 4, 4)

"""Buttons whose text fits the width there is, and how keys and the focus look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QRect, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPen
from qtpy.QtWidgets import (
    QPushButton,
    QSizePolicy,
    QStyle,
    QStyleOptionButton,
    QStylePainter,
    QWidget,
)

if TYPE_CHECKING:
    from qtpy.QtGui import QFocusEvent, QKeyEvent, QPaintEvent

PADDING = 4
_DISABLED_ALPHA = 165


def show_key(key: str) -> str:
    """Write a key as the dock shows it: "Alt-1" and "Alt+1" both become "Alt+1".

    Parameters
    ----------
    key : str
        As napari binds it; may be empty.

    Returns
    -------
    str
        The same key.
    """
    return key[:-1].replace("-", "+") + key[-1:]


def with_key(text: str, key: str) -> str:
    """Append a key to a text, if there is one: "Accept  [N]"."""
    return f"{text}  [{show_key(key)}]" if key else text


def draw_ring(widget: QWidget) -> None:
    """Draw the focus around a widget in the colour of its text, seen in any theme.

    napari's style sheet draws none, and in a style sheet a colour could not follow the theme.
    """
    painter = QPainter(widget)
    painter.setPen(QPen(widget.palette().color(widget.foregroundRole()), 2))
    painter.drawRect(widget.rect().adjusted(1, 1, -1, -1))


class FittingButton(QPushButton):
    """A button that shows the longest of its texts that fits, and elides the last.

    napari's tool buttons do not follow its font size; push buttons do.  A click leaves
    the focus in the canvas, where napari's keys arrive; Tab still comes here, and both
    Space and Enter press the button.

    Parameters
    ----------
    *texts : str
        The same in fewer and fewer words.
    alignment : Qt.AlignmentFlag
        Of the text.
    flat : bool
        Draw no background.
    """

    def __init__(
        self,
        *texts: str,
        alignment: Qt.AlignmentFlag = Qt.AlignmentFlag.AlignHCenter,
        flat: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._alignment = alignment
        self._plain = flat
        self._texts: tuple[str, ...] = ("",)
        self._refocus = False
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setAutoDefault(False)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.set_texts(*texts)

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

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Let Enter press the button as Space does."""
        if event is not None and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.click()
        else:
            super().keyPressEvent(event)

    def focusOutEvent(self, event: QFocusEvent | None) -> None:
        """Remember when the focus went because the button was disabled."""
        self._refocus = not self.isEnabled()
        super().focusOutEvent(event)

    def changeEvent(self, event: QEvent | None) -> None:
        """Take the focus back when enabled again, unless it went elsewhere meanwhile.

        Everything is disabled while the model works, several times a minute; who works
        with the keyboard alone would have to find the place again each time.
        """
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.EnabledChange and self.isEnabled():
            window = self.window()
            if self._refocus and window is not None and window.focusWidget() is None:
                self.setFocus(Qt.FocusReason.OtherFocusReason)
            self._refocus = False

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the button and the text that fits."""
        painter = QStylePainter(self)
        self.draw_frame(painter)
        painter.setPen(self.ink())
        flags = self._alignment | Qt.AlignmentFlag.AlignVCenter
        painter.drawText(self.text_area(), int(flags), self.shown_text())
        painter.end()
        self.draw_focus()

    def ink(self) -> QColor:
        """Return the colour to write in: the theme's, and readable when disabled."""
        ink = QColor(self.palette().color(self.foregroundRole()))
        ink.setAlpha(255 if self.isEnabled() else _DISABLED_ALPHA)
        return ink

    def draw_frame(self, painter: QStylePainter) -> None:
        """Draw what is under the text, as the style does."""
        option = QStyleOptionButton()
        self.initStyleOption(option)
        if not self._plain or self.underMouse() or self.hasFocus():
            if self._plain:  # open is not pressed
                option.state &= ~QStyle.StateFlag.State_On
            painter.drawControl(QStyle.ControlElement.CE_PushButtonBevel, option)

    def draw_focus(self) -> None:
        """Draw the focus, if it is here."""
        if self.hasFocus():
            draw_ring(self)

    def text_area(self) -> QRect:
        """Return where the text goes, in the button's pixels."""
        return self.rect().adjusted(PADDING, 0, -PADDING, 0)

    def _size_of(self, text: str) -> QSize:
        option = QStyleOptionButton()
        self.initStyleOption(option)
        metrics = self.fontMetrics()
        content = QSize(metrics.horizontalAdvance(text) + 2, metrics.height())
        smallest = QSize(content.width() + 2 * PADDING, 0)
        style = self.style()
        if style is None:
            return smallest
        kind = QStyle.ContentsType.CT_PushButton
        return style.sizeFromContents(kind, option, content, self).expandedTo(smallest)

"""A button with a picture that scales and words that wrap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QPointF, QRect, QRectF, QSize, Qt
from qtpy.QtGui import (
    QFont,
    QFontMetrics,
    QImage,
    QPainter,
    QPen,
    QPixmap,
    QTextLayout,
    QTextOption,
)
from qtpy.QtWidgets import QSizePolicy, QStylePainter, QWidget

from napari_spa.widgets.common.buttons import PADDING, FittingButton

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qtpy.QtGui import QPaintEvent

SMALLEST_SIDE, LARGEST_SIDE = 108, 280
MOST_LINES = 4
SMALLEST_FONT = 0.7  # of the theme's


class PictureButton(FittingButton):
    """A button with a picture that scales with its width and words under it.

    The height depends on the width and the font alone, not on the words, so that
    buttons stay under the pointer from round to round.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent=parent)
        self.pixmap: QPixmap | None = None
        self._words = ""
        self._sample = ""
        # A fixed height would be the size hint's, whatever the width.
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)

    def set_picture(self, picture: NDArray[np.uint8] | None) -> None:
        """Show a picture, (h, w, 3) uint8, or an empty frame."""
        self.pixmap = None if picture is None else to_pixmap(picture)
        self.update()

    def set_words(self, words: str, sample: str = "") -> None:
        """Change the words; the longest that may come (``sample``) keeps room for itself."""
        self._words = words
        self._sample = sample or words
        self.set_texts(words)

    def heightForWidth(self, width: int) -> int:
        """Return the height of the picture and its words, in pixels."""
        side = min(width - 2 * PADDING, LARGEST_SIDE)
        return side + self._words_height(width - 2 * PADDING) + 3 * PADDING

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

    def shown_lines(self) -> list[str]:
        """Return the words as they are drawn at the present width."""
        width = self.width() - 2 * PADDING
        return wrap(self._words, self._words_font(width), width)

    def paintEvent(self, event: QPaintEvent | None) -> None:
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
        painter.setPen(self.ink())
        top = round(area.bottom()) + PADDING
        room = QRect(PADDING, top, self.width() - 2 * PADDING, self.height() - top)
        painter.setFont(self._words_font(room.width()))
        flags = Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop
        painter.drawText(room, int(flags), "\n".join(self.shown_lines()))
        painter.end()
        self.draw_focus()

    def draw_picture(self, painter: QPainter, area: QRectF, pixmap: QPixmap) -> None:
        """Draw the whole picture into an area, its shape kept."""
        scale = min(area.width() / pixmap.width(), area.height() / pixmap.height())
        draw_scaled(painter, pixmap, area.center(), scale)

    def _words_font(self, width: int) -> QFont:
        """Return the theme's font, a little smaller where its longest word would be cut."""
        font = QFont(self.font())
        words = self._sample.split(" ")  # at spaces that may be broken
        widest = max(self.fontMetrics().horizontalAdvance(word) for word in words)
        if widest > width and font.pointSizeF() > 0:
            font.setPointSizeF(font.pointSizeF() * max(SMALLEST_FONT, (width - 2) / widest))
        return font

    def _words_height(self, width: int) -> int:
        font = self._words_font(width)
        return max(1, len(wrap(self._sample, font, width))) * QFontMetrics(font).lineSpacing()


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


def wrap(text: str, font: QFont, width: int, most: int = MOST_LINES) -> list[str]:
    """Break a text into lines, at most so many; what is over is elided.

    Parameters
    ----------
    text : str
        What to break, of characters of Unicode's first plane.
    font : QFont
        To measure it in.
    width : int
        Of a line, in pixels.
    most : int
        Lines.

    Returns
    -------
    list of str
        The lines.
    """
    layout = QTextLayout(text, font)
    option = QTextOption()
    option.setWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
    layout.setTextOption(option)
    layout.beginLayout()
    starts = []
    while (line := layout.createLine()).isValid():
        line.setLineWidth(width)
        starts.append(line.textStart())
    layout.endLayout()
    lines = [text[a:b].strip() for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]
    if len(lines) > most:
        rest = text[starts[most - 1] :]
        elided = QFontMetrics(font).elidedText(rest, Qt.TextElideMode.ElideRight, width)
        lines[most - 1 :] = [elided]
    return lines

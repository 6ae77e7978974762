"""The four differences as thumbnails with their words and keys."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import (  # type: ignore[attr-defined]
    QEvent,
    QObject,
    QSize,
    Qt,
    Signal,
)
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

THUMBNAIL = 118


class CandidateCard(QFrame):
    """One candidate: a button with its picture, and a switch for its shapes.

    Parameters
    ----------
    pick_key, toggle_key : str
        Keys to show.
    """

    chosen = Signal()
    toggled = Signal(bool)
    previewed = Signal(bool)

    def __init__(self, pick_key: str, toggle_key: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._key = pick_key
        self.button = QToolButton()
        self.button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
        self.button.setIconSize(QSize(THUMBNAIL, THUMBNAIL))
        self.button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.button.clicked.connect(self.chosen)
        self.button.installEventFilter(self)
        self.toggle = QToolButton()
        self.toggle.setCheckable(True)
        self.toggle.setText(f"Show in image  [{toggle_key.replace('-', '+')}]")
        self.toggle.setToolTip("Draw this difference into the image.")
        self.toggle.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.toggle.toggled.connect(self.toggled)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(2, 2, 2, 2)
        layout.setSpacing(2)
        layout.addWidget(self.button)
        layout.addWidget(self.toggle)
        self.clear()

    def set_candidate(self, picture: NDArray[np.uint8], words: str) -> None:
        """Show a picture, (h, w, 3) uint8, and what the candidate would change."""
        self.button.setIcon(QIcon(_to_pixmap(picture)))
        self.button.setText(f"[{self._key}]  {words}")
        self.button.setToolTip(
            "Pick this one: blue would be added, magenta removed.\n"
            f"{words} of the model's samples.\nKey: {self._key}"
        )
        self.button.setAccessibleName(f"Candidate {self._key}: {words}")
        self.setEnabled(True)

    def clear(self) -> None:
        """Show that there is nothing to pick here."""
        blank = QPixmap(THUMBNAIL, THUMBNAIL)
        blank.fill(Qt.GlobalColor.transparent)
        self.button.setIcon(QIcon(blank))
        self.button.setText(f"[{self._key}]")
        self.button.setToolTip("Nothing to pick yet.")
        self.setEnabled(False)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Preview while the pointer rests on the picture."""
        if event is not None and self.isEnabled():
            if event.type() == QEvent.Type.Enter:
                self.previewed.emit(True)
            elif event.type() == QEvent.Type.Leave:
                self.previewed.emit(False)
        return super().eventFilter(watched, event)


class CandidateGrid(QWidget):
    """Two by two candidates.

    Parameters
    ----------
    pick_keys, toggle_keys : sequence of str
        Four keys each, shown on the buttons.

    Attributes
    ----------
    candidate_chosen : Signal(int)
        A candidate was picked, 0-based.
    candidate_toggled : Signal(int, bool)
        A candidate's shapes shall be shown or hidden.
    candidate_previewed : Signal(int, bool)
        The pointer came onto a candidate or left it.
    """

    candidate_chosen = Signal(int)
    candidate_toggled = Signal(int, bool)
    candidate_previewed = Signal(int, bool)

    def __init__(
        self,
        pick_keys: Sequence[str],
        toggle_keys: Sequence[str],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.cards: list[CandidateCard] = []
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for index, (pick, toggle) in enumerate(zip(pick_keys, toggle_keys, strict=True)):
            card = CandidateCard(pick, toggle)
            card.chosen.connect(partial(self.candidate_chosen.emit, index))
            card.toggled.connect(partial(self.candidate_toggled.emit, index))
            card.previewed.connect(partial(self.candidate_previewed.emit, index))
            layout.addWidget(card, *divmod(index, 2))
            self.cards.append(card)

    def set_candidates(self, shown: Sequence[tuple[NDArray[np.uint8], str]]) -> None:
        """Show up to four candidates.

        Parameters
        ----------
        shown : sequence of (picture, words)
            Picture (h, w, 3) uint8, and what the candidate would change.
        """
        for index, card in enumerate(self.cards):
            if index < len(shown):
                card.set_candidate(*shown[index])
            else:
                card.clear()

    def clear(self) -> None:
        """Show that there is nothing to pick."""
        self.set_candidates([])


class LegendRow(QWidget):
    """Say what the two colours mean.

    Parameters
    ----------
    entries : sequence of (colour, word)
        RGB in [0, 255], and its meaning.
    """

    def __init__(
        self,
        entries: Sequence[tuple[tuple[int, int, int], str]],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(2, 0, 2, 0)
        for colour, word in entries:
            swatch = QLabel()
            swatch.setFixedSize(12, 12)
            swatch.setStyleSheet(f"background-color: rgb{colour}; border-radius: 2px;")
            layout.addWidget(swatch)
            layout.addWidget(QLabel(word))
        layout.addStretch()


def _to_pixmap(picture: NDArray[np.uint8]) -> QPixmap:
    """Scale a picture into a square thumbnail, its shape kept."""
    height, width = picture.shape[:2]
    data = np.ascontiguousarray(picture)
    image = QImage(data.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
    return QPixmap.fromImage(image.copy()).scaled(
        THUMBNAIL,
        THUMBNAIL,
        Qt.AspectRatioMode.KeepAspectRatio,
        Qt.TransformationMode.SmoothTransformation,
    )

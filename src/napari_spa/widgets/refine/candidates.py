"""The four differences as thumbnails with their words and keys."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QLabel, QStackedLayout, QWidget

from napari_spa.widgets.common.fields import FramedLabel
from napari_spa.widgets.common.layouts import EvenGrid
from napari_spa.widgets.refine.candidate_card import CandidateCard

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

CERTAIN = "Nothing to pick: the model is certain."
LETTERS = "ABCDEFGHIJ"


class CandidateGrid(QWidget):
    """The candidates, two in a row; three where five fit.

    Parameters
    ----------
    pick_keys, toggle_keys : sequence of str
        Four keys each (five for blind reading), shown on the buttons.

    Attributes
    ----------
    candidate_chosen : Signal(int)
        A candidate was picked: its 0-based place in what ``set_candidates`` was given.
    candidate_toggled : Signal(int, bool)
        A candidate's shapes shall be shown or hidden.
    candidate_previewed : Signal(int, bool)
        The pointer or the keyboard's focus came onto a candidate or left it.
    cards : list of CandidateCard
        In the order on the screen: what the first key picks is ``cards[0]``.
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
        self._order: list[int] = []
        cells = QWidget()
        self._cells = EvenGrid((2,), cells, wanted=140)
        self._message = FramedLabel(space=8)
        self._message.setWordWrap(True)
        self._pages = QStackedLayout(self)
        self._pages.setContentsMargins(0, 0, 0, 0)
        self._pages.addWidget(cells)
        self._pages.addWidget(self._message)
        self._fewest = len(pick_keys)
        self.set_keys(pick_keys, toggle_keys)
        self.clear()

    def set_keys(self, pick_keys: Sequence[str], toggle_keys: Sequence[str]) -> None:
        """Show other keys, in the order on the screen; a card without a key shows none."""
        self._keys = (tuple(pick_keys), tuple(toggle_keys))
        self._need_cards(len(pick_keys))
        for position, card in enumerate(self.cards):
            card.set_keys(*self._keys_at(position))

    def set_candidates(
        self,
        shown: Sequence[tuple[NDArray[np.uint8], str]],
        order: Sequence[int] | None = None,
        blind: bool = False,
    ) -> None:
        """Show up to four candidates, or five when the recommendation is one of them.

        Parameters
        ----------
        shown : sequence of (picture, words)
            Picture (h, w, 3) uint8, and what the candidate would change.
        order : sequence of int, optional
            Which of ``shown`` comes first on the screen, which second, and so on.
        blind : bool
            Say "A", "B", ... instead of the words, and hide the switches.
        """
        self._order = list(range(len(shown))) if order is None else list(order)
        self._need_cards(len(self._order))
        self._cells.set_columns((3, 2) if len(self._order) > self._fewest else (2,))
        for position, card in enumerate(self.cards):
            if position < len(self._order):
                letter = LETTERS[position] if blind else ""
                card.set_candidate(*shown[self._order[position]], letter)
            else:
                card.clear()
            card.setVisible(position < max(self._fewest, len(self._order)))
        self._pages.setCurrentIndex(0)

    def set_certain(self, words: str = CERTAIN) -> None:
        """Say in the candidates' place that there is nothing to pick."""
        self.set_candidates([])
        lines = "<br>".join(escape(line) for line in words.splitlines())
        self._message.setText(f'<p style="font-size: xx-large">✓</p><p>{lines}</p>')
        self._pages.setCurrentIndex(1)

    def clear(self) -> None:
        """Show that there is nothing to pick yet."""
        self.set_candidates([])

    def index_at(self, position: int) -> int | None:
        """Return which candidate is on a card, or None."""
        return self._order[position] if 0 <= position < len(self._order) else None

    def is_toggled(self, index: int) -> bool:
        """Return whether a candidate's switch is on."""
        return index in self._order and self.cards[self._order.index(index)].toggle.isChecked()

    def _keys_at(self, position: int) -> tuple[str, str]:
        pick, toggle = ((*keys, *[""] * 10)[position] for keys in self._keys)
        return pick, toggle

    def _need_cards(self, count: int) -> None:
        for position in range(len(self.cards), count):
            card = CandidateCard(*self._keys_at(position))
            card.chosen.connect(partial(self._on_chosen, position))
            card.toggled.connect(partial(self._on_toggled, position))
            card.previewed.connect(partial(self._on_previewed, position))
            self._cells.addWidget(card)
            self.cards.append(card)

    def _on_chosen(self, position: int) -> None:
        if position < len(self._order):
            self.candidate_chosen.emit(self._order[position])

    def _on_previewed(self, position: int, on: bool) -> None:
        if position < len(self._order):
            self.candidate_previewed.emit(self._order[position], on)

    def _on_toggled(self, position: int, on: bool) -> None:
        # A switch may be turned before there is a candidate to show.
        index = self.index_at(position)
        self.candidate_toggled.emit(position if index is None else index, on)


class LegendRow(QLabel):
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
        self.setWordWrap(True)
        self.setText(
            " &nbsp; ".join(
                f'<span style="color: rgb{colour}">■</span>&nbsp;{word.replace(" ", "&nbsp;")}'
                for colour, word in entries
            )
        )

"""The grid of candidates, the card of one, and the slider of the recommended mask's size."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QFrame, QLabel, QSizePolicy, QSlider, QStackedLayout, QWidget

from napari_spa.core.presentation import ADDED_COLOUR, REMOVED_COLOUR
from napari_spa.viewer.background import later
from napari_spa.widgets.common.buttons import (
    LARGEST_SIDE,
    FittingButton,
    FramedLabel,
    PictureButton,
    show_key,
    tip_with_key,
    with_key,
)
from napari_spa.widgets.common.layouts import EvenGrid, column_of, row_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray


_CARD_GAP, _SMALLEST_PICTURE = 2, 84  # between a picture and its switch; a side; in pixels
_LONGEST_WORDS = "the whole around it, +8,888 %"  # what core.presentation writes
_USUAL, _MOST = 4, 5  # candidates; a blind round's recommendation is one of them


def pick_keys(keys: Mapping[str, str]) -> list[str]:
    """Return the keys that pick, by place; the fifth has its number, which choose too, alone."""
    return [*(keys.get(f"pick_{n}", "") for n in range(1, _MOST)), str(_MOST)]


class CandidateCard(QFrame):
    """One candidate: a button with its picture, and a switch for its shapes."""

    chosen = Signal()  # the picture was pressed
    toggled = Signal(bool)  # the switch was turned
    previewed = Signal(bool)  # the pointer or the focus came onto the picture, or both left

    def __init__(self) -> None:
        super().__init__()
        self._shown: tuple[NDArray[np.uint8], str] | None = None
        self._letter, self._share, self._key = "", 0.0, ""
        self._previewing = False
        self.button = PictureButton()
        self.button.clicked.connect(self.chosen)
        self.button.installEventFilter(self)
        self.toggle = FittingButton()
        self.toggle.setCheckable(True)
        self.toggle.setChecked(True)
        self.toggle.toggled.connect(self._on_toggled)
        column_of(self.button, self.toggle, spacing=_CARD_GAP, holder=self)

    def set_keys(self, pick_key: str, toggle_key: str) -> None:
        """Show other keys."""
        self._key = pick_key
        texts = (with_key(words, toggle_key) for words in ("Show in image", "Show"))
        self.toggle.set_texts(*texts, show_key(toggle_key) or "Show")
        tip = "Show this difference in the image: an outline, or filled where it is the only one."
        self.toggle.setToolTip(tip_with_key(tip, toggle_key))
        self._refresh()

    def set_candidate(
        self, shown: tuple[NDArray[np.uint8], str] | None, letter: str = "", share: float = 0.0
    ) -> None:
        """Show a candidate: its picture, (h, w, 3) uint8, and what it would change; or none.

        ``letter`` is shown instead of all else, for blind reading; ``share``, in [0, 1], is how
        much of the model's samples it stands for, shown as a bar.
        """
        self._shown, self._letter, self._share = shown, letter, share
        self._refresh()

    def _refresh(self) -> None:
        key = show_key(self._key)
        mark = f"[{key}]" if key else ""
        if self._shown is None:
            picture, words, tip, name = None, "", "Nothing to pick yet.", "No candidate"
        elif self._letter:
            picture, words = self._shown[0], self._letter
            tip, name = f"Pick {self._letter}.", f"Candidate {self._letter}"
        else:
            picture, words = self._shown
            tip = (
                f"Pick this one: {words}.\nBlue would be added, yellow removed.\n"
                f"The bar: {100 * self._share:.0f} % of the model's samples are like it."
            )
            name = f"Candidate {key}: {words}"
        sample = "" if self._letter else f"{mark}  {_LONGEST_WORDS}"
        self.button.share = None if self._letter or self._shown is None else self._share
        self.button.set_picture(picture)
        self.button.set_words(f"{mark}  {keep_units(words)}".strip(), keep_units(sample))
        self.button.setToolTip(tip_with_key(tip, self._key if self._shown else ""))
        self.button.setAccessibleName(name)
        self.toggle.setAccessibleName(f"Show in image: {name}")
        # Shapes are differences from the recommendation; they would tell which one that is.
        self.toggle.setVisible(not self._letter)
        self.setEnabled(self._shown is not None)

    def _on_toggled(self, on: bool) -> None:
        if not self._letter:
            self.toggled.emit(on)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Preview while the pointer or the focus rests on the picture."""
        kind = event.type()
        button = self.button
        if kind in (QEvent.Type.Enter, QEvent.Type.FocusIn) and button.isEnabled():
            self._set_previewing(True)
        elif kind == QEvent.Type.Leave:
            self._set_previewing(button.hasFocus())
        elif kind == QEvent.Type.FocusOut:
            self._set_previewing(button.isEnabled() and button.underMouse())
        return super().eventFilter(watched, event)

    def _set_previewing(self, on: bool) -> None:
        if on != self._previewing:
            self._previewing = on
            self.previewed.emit(on)


def keep_units(words: str) -> str:
    """Keep numbers and their units on one line."""
    return re.sub(" (px|%)", "\N{NO-BREAK SPACE}\\1", words)


CERTAIN = '<p style="font-size: xx-large">✓</p><p>Nothing to pick: the model is certain.</p>'
LETTERS = "ABCDE"


class CandidateGrid(QWidget):
    """The candidates, two in a row; three where five fit."""

    # Of a candidate, by its 0-based place in what ``set_candidates`` was given:
    candidate_chosen = Signal(int)  # it was picked
    candidate_toggled = Signal(int, bool)  # its shapes shall be shown or hidden
    candidate_previewed = Signal(int, bool)  # the pointer or the focus came onto it or left

    def __init__(self) -> None:
        super().__init__()
        self._room = 2 * LARGEST_SIDE, 4 * LARGEST_SIDE
        self._order: list[int] = []
        cells = QWidget()
        self._cells = EvenGrid((2,), cells)
        self.cards = [CandidateCard() for _ in range(_MOST)]
        for position, card in enumerate(self.cards):
            card.chosen.connect(partial(self._tell, self.candidate_chosen, position))
            card.toggled.connect(partial(self._tell, self.candidate_toggled, position))
            card.previewed.connect(partial(self._tell, self.candidate_previewed, position))
            self._cells.addWidget(card)
        self._message = FramedLabel(CERTAIN, space=8)
        self._message.setWordWrap(True)
        self._pages = QStackedLayout(self)
        self._pages.setContentsMargins(0, 0, 0, 0)
        self._pages.addWidget(cells)
        self._pages.addWidget(self._message)
        self.set_keys({})
        self.clear()

    def set_keys(self, keys: Mapping[str, str]) -> None:
        """Show other keys, in the order on the screen; a card without a key shows none."""
        for place, (card, key) in enumerate(zip(self.cards, pick_keys(keys), strict=True), 1):
            card.set_keys(key, keys.get(f"toggle_{place}", ""))

    def fit(self, width: int, height: int) -> None:
        """Draw pictures as large as leaves all cards in sight in so much room, in pixels."""
        self._room = width, height
        card, gap = self.cards[0], self._cells.spacing()
        many = len(self._order) > _USUAL
        fits: list[tuple[int, int]] = []
        for columns, rows in ((2, 3), (3, 2)) if many else ((2, 2),):
            wide = (width - (columns - 1) * gap) // columns
            # The words, the switch, and what the style adds around them.
            words = card.heightForWidth(wide) - card.button.side_at(wide)
            side = (height - (rows - 1) * gap) // rows - words
            fits.append((min(side, wide), columns))
        side, columns = max(fits)
        self._cells.set_columns((columns, 2))
        for card in self.cards:
            card.button.set_largest(min(max(side, _SMALLEST_PICTURE), LARGEST_SIDE))

    def set_candidates(
        self,
        shown: Sequence[tuple[NDArray[np.uint8], str]],
        order: Sequence[int] | None = None,
        blind: bool = False,
        shares: Sequence[float] = (),
    ) -> None:
        """Show up to four candidates, or five when the recommendation is one of them.

        ``shown`` are pictures, (h, w, 3) uint8, and what each would change; ``order`` says which
        of them comes first on the screen; ``blind`` says "A", "B", ... instead and hides the
        switches; ``shares`` are how much of the model's samples each stands for.
        """
        shares = shares or [0.0] * len(shown)
        self._order = list(range(len(shown))) if order is None else list(order)
        for position, card in enumerate(self.cards):
            index = self.index_at(position)
            if index is None:
                card.set_candidate(None)
            else:
                card.set_candidate(shown[index], LETTERS[position] if blind else "", shares[index])
            card.setVisible(position < max(_USUAL, len(self._order)))
        self.fit(*self._room)
        self._pages.setCurrentIndex(0)

    def set_certain(self) -> None:
        """Say in the candidates' place that there is nothing to pick."""
        self.set_candidates([])
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

    def _tell(self, signal: Any, position: int, *values: bool) -> None:
        # A switch may be turned before there is a candidate to show.
        index = self.index_at(position)
        signal.emit(position if index is None else index, *values)


def legend() -> QLabel:
    """Say what the two colours mean."""
    entries = (ADDED_COLOUR, "adds"), (REMOVED_COLOUR, "takes&nbsp;away")
    return QLabel(
        " &nbsp; ".join(
            f'<span style="color: rgb{colour}">■</span>&nbsp;{words}' for colour, words in entries
        )
    )


_STEPS = 100
"""From the middle to either end."""
_KEY_STEP = 5
_SETTLED_MS = 250
"""After so long without a further step, keys and the wheel are done."""


class SizeSlider(QWidget):
    """A place on the axis from shrunk to grown; one choice for a drag, or for a run of steps."""

    previewed = Signal(float)  # it is being moved, and is there now
    chosen = Signal(float)  # it was moved there

    def __init__(self) -> None:
        super().__init__()
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(-_STEPS, _STEPS)
        self.slider.setSingleStep(_KEY_STEP)
        self.slider.setPageStep(2 * _KEY_STEP)
        self.slider.setAccessibleName("Size of the recommended mask")
        self.slider.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._settled = later(self, self._on_settled, _SETTLED_MS)
        self._moved = False
        self.slider.valueChanged.connect(self._on_value)
        self.slider.sliderReleased.connect(self._on_settled)
        row = row_of(QLabel("Smaller"), self.slider, QLabel("Larger"), grows=self.slider)
        column_of(row, holder=self)
        self.set_keys({})

    def set_keys(self, keys: Mapping[str, str]) -> None:
        """Show the keys that move it."""
        tip = "Grow or shrink the recommended mask; what you said with clicks and boxes holds."
        smaller, larger = (show_key(keys.get(way, "")) for way in ("smaller", "larger"))
        self.setToolTip(f"{tip}\nKeys: {smaller} and {larger}" if smaller and larger else tip)

    def set_size(self, size: float) -> None:
        """Show where a recommendation stands, in [-1, 1]; nothing is asked for."""
        self._settled.stop()
        self._moved = False
        blocked = self.slider.blockSignals(True)
        self.slider.setValue(round(size * _STEPS))
        self.slider.blockSignals(blocked)

    def step(self, direction: int) -> None:
        """Move it one step towards larger (1) or smaller (-1)."""
        if self.isEnabled():
            self.slider.setValue(self.slider.value() + direction * _KEY_STEP)

    def _on_value(self, value: int) -> None:
        self._moved = True
        if not self.slider.isSliderDown():
            self._settled.start()
        self.previewed.emit(value / _STEPS)

    def _on_settled(self) -> None:
        if self._moved and not self.slider.isSliderDown():
            self._settled.stop()
            self._moved = False
            self.chosen.emit(self.slider.value() / _STEPS)

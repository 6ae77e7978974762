"""The grid alone: what it asks for, what it keeps quiet, what it tells whom."""

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPointF, QRect, Qt
from qtpy.QtGui import QEnterEvent, QFontMetrics
from qtpy.QtWidgets import QApplication, QPushButton, QVBoxLayout, QWidget

from napari_spa.core.presentation import ADDED_COLOUR
from napari_spa.widgets.common.buttons import _WORDS, PADDING
from napari_spa.widgets.refine.candidates import CandidateGrid, legend

KEYS = {f"pick_{n}": key for n, key in enumerate("GHJK", 1)}
KEYS |= {f"toggle_{n}": f"Alt+{n}" for n in range(1, 5)}
WORDS = (
    "\N{MINUS SIGN}5,163 px · 27 %",
    "+6,036 px · 31 %",
    "+1 px · 21 %",
    "no change · 12 %",
    "Recommended",
)


def shown(count):
    return [(np.full((30, 20, 3), 50 * k, np.uint8), WORDS[k]) for k in range(count)]


@pytest.fixture
def grid(qtbot):
    grid = CandidateGrid()
    grid.set_keys(KEYS)
    qtbot.addWidget(grid)
    grid.resize(320, 500)
    grid.show()
    QApplication.setActiveWindow(grid)
    return grid


@pytest.fixture
def heard(grid):
    """Collect all that the grid emits."""
    signals = []
    for name in ("candidate_chosen", "candidate_toggled", "candidate_previewed"):
        getattr(grid, name).connect(lambda *values, name=name: signals.append((name, *values)))
    return signals


def press(qtbot, button, key=Qt.Key.Key_Space):
    button.setFocus(Qt.FocusReason.TabFocusReason)
    qtbot.keyClick(button, key)


def hover(button, on):
    here = QPointF(5, 5)
    event = QEnterEvent(here, here, here) if on else QEvent(QEvent.Type.Leave)
    QApplication.sendEvent(button, event)


def everything_told(card):
    parts = card.button, card.toggle
    texts = [
        text
        for part in parts
        if not part.isHidden()
        for text in (part.text(), part.toolTip(), part.accessibleName(), part.shown_text())
    ]
    return " ".join(texts)


def test_setters_emit_nothing(grid, heard):
    grid.set_candidates(shown(4))
    grid.set_keys(dict(zip(KEYS, "ABCDEFGH", strict=True)))
    grid.set_candidates(shown(5), order=[4, 3, 2, 1, 0], blind=True)
    grid.set_certain()
    grid.clear()
    assert heard == []


@pytest.mark.parametrize("key", [Qt.Key.Key_Space, Qt.Key.Key_Return])
def test_keyboard_focus_previews_and_picks(grid, heard, qtbot, key):
    grid.set_candidates(shown(3))
    press(qtbot, grid.cards[1].button, key)
    assert heard == [("candidate_previewed", 1, True), ("candidate_chosen", 1)]
    grid.cards[2].toggle.setFocus(Qt.FocusReason.TabFocusReason)
    assert heard[2:] == [("candidate_previewed", 1, False)]
    qtbot.keyClick(grid.cards[2].toggle, key)
    assert heard[3:] == [("candidate_toggled", 2, False)]


def test_a_click_picks_and_leaves_the_keyboard_where_it_was(grid, heard, qtbot):
    grid.set_candidates(shown(4))
    qtbot.mouseClick(grid.cards[3].button, Qt.MouseButton.LeftButton)
    assert ("candidate_chosen", 3) in heard
    assert not grid.cards[3].button.hasFocus()


def test_hover_previews_once_and_ends_when_all_left(grid, heard):
    grid.set_candidates(shown(2))
    button = grid.cards[0].button
    hover(button, True)
    button.setFocus(Qt.FocusReason.TabFocusReason)
    hover(button, False)  # the focus still holds it
    button.clearFocus()
    assert heard == [("candidate_previewed", 0, True), ("candidate_previewed", 0, False)]


def test_an_empty_card_asks_for_nothing(grid, heard, qtbot):
    grid.set_candidates(shown(1))
    hover(grid.cards[1].button, True)
    qtbot.mouseClick(grid.cards[1].button, Qt.MouseButton.LeftButton)
    grid.cards[1].button.click()
    assert heard == []
    assert [card.isEnabled() for card in grid.cards] == [True, False, False, False, False]


def test_an_order_moves_cards_and_keeps_their_numbers(grid, heard):
    grid.set_candidates(shown(4), order=[2, 0, 3, 1])
    assert WORDS[0] in grid.cards[1].button.accessibleName()
    grid.cards[0].button.click()
    grid.cards[1].toggle.click()
    assert heard == [("candidate_chosen", 2), ("candidate_toggled", 0, False)]
    assert [grid.index_at(position) for position in (0, 3, 4)] == [2, 1, None]
    assert not grid.is_toggled(0)
    assert grid.is_toggled(2)


def test_blind_tells_letters_and_nothing_else(grid, heard):
    order = [4, 2, 0, 1, 3]
    grid.set_candidates(shown(5), order=order, blind=True)
    for letter, card in zip("ABCDE", grid.cards, strict=True):
        told = everything_told(card)
        assert letter in card.button.text()
        assert not any(word in told for word in ("px", "%", "Recommended", "blue", "change"))
        assert card.toggle.isHidden()
    # The recommendation looks and answers like the rest.
    assert len({card.size().width() for card in grid.cards}) == 1
    assert len({card.size().height() for card in grid.cards}) == 1
    grid.cards[0].button.click()
    grid.cards[1].toggle.toggle()  # what its key does
    assert heard == [("candidate_chosen", 4)]


def test_five_cards_only_while_there_are_five(grid):
    grid.set_candidates(shown(5), blind=True)
    assert not grid.cards[4].isHidden()
    grid.set_candidates(shown(2))
    assert [card.isHidden() for card in grid.cards] == [False] * 4 + [True]
    assert not grid.cards[0].toggle.isHidden()
    assert "px" in grid.cards[0].button.accessibleName()


def test_certain_is_said_in_the_cards_place(grid):
    grid.set_certain()
    assert not grid.cards[0].isVisible()
    assert "the model is certain" in grid._message.text()
    assert grid._message.isVisible()
    grid.set_candidates(shown(2))
    assert grid.cards[0].isVisible()
    assert not grid._message.isVisible()


def test_keys_are_shown_as_given(grid):
    grid.set_candidates(shown(4))
    grid.set_keys({"pick_4": "Shift-X", "toggle_4": "F4"})
    assert "[Shift+X]" in grid.cards[3].button.text()
    assert "no change" in grid.cards[3].button.text()
    assert "[F4]" in grid.cards[3].toggle.text()


@pytest.mark.parametrize("points", [9, 18])
@pytest.mark.parametrize("width", [296, 336, 576])  # docks of 320, 360 and 600 pixels
def test_words_fit_at_any_width_and_font(qtbot, width, points):
    host = QWidget()
    qtbot.addWidget(host)
    host.setStyleSheet(f"QPushButton, QLabel {{ font-size: {points}pt; }}")
    grid = CandidateGrid()
    grid.set_keys(KEYS)
    QVBoxLayout(host).addWidget(grid)
    longest = "the whole around it, +8,888 %"
    grid.set_candidates([(picture, longest) for picture, _ in shown(4)])
    host.resize(width, 100)
    host.show()
    host.resize(width, host.heightForWidth(width))
    QApplication.processEvents()
    assert grid.minimumSizeHint().width() <= width - 24
    for card in grid.cards[:4]:
        button = card.button
        assert button.height() == button.heightForWidth(button.width())
        assert button.picture_area().width() >= 90
        room = button.height() - button.picture_area().bottom() - PADDING
        needed = QFontMetrics(button._words_font(button.width() - 2 * PADDING)).boundingRect(
            QRect(0, 0, button.width() - 2 * PADDING, 0), _WORDS, button._words
        )
        assert needed.height() <= room
        assert needed.width() <= button.width() - 2 * PADDING
        assert "…" not in card.toggle.shown_text()


def test_cards_keep_their_place_whatever_they_say(grid):
    grid.set_candidates([(picture, "+1 px · 1 %") for picture, _ in shown(4)])
    before = [card.geometry() for card in grid.cards]
    grid.set_candidates([(p, "+12,345 px, \N{MINUS SIGN}12,345 px · 99 %") for p, _ in shown(4)])
    QApplication.processEvents()
    assert [card.geometry() for card in grid.cards] == before


def test_the_focus_comes_back_after_a_round(qtbot):
    host = QWidget()
    qtbot.addWidget(host)
    layout = QVBoxLayout(host)
    grid, other = CandidateGrid(), QPushButton("other")
    layout.addWidget(grid)
    layout.addWidget(other)
    host.show()
    QApplication.setActiveWindow(host)
    grid.set_candidates(shown(4))
    button = grid.cards[2].button
    button.setFocus(Qt.FocusReason.TabFocusReason)
    grid.setEnabled(False)
    assert not button.hasFocus()
    grid.set_candidates(shown(4))
    grid.setEnabled(True)
    assert button.hasFocus()
    grid.setEnabled(False)
    other.setFocus()  # went on meanwhile
    grid.setEnabled(True)
    assert other.hasFocus()


def test_the_legend_is_one_line_and_names_its_colours(qtbot):
    label = legend()
    qtbot.addWidget(label)
    assert not label.wordWrap()
    assert f"rgb{ADDED_COLOUR}" in label.text()
    assert "takes&nbsp;away" in label.text()

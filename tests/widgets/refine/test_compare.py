"""Large pictures: picks, keys, one zoom for all, blind reading, closing."""

import numpy as np
import pytest
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication, QWidget

from napari_spa.widgets.refine.compare import SideBySide

PICTURE = np.zeros((60, 80, 3), np.uint8)
CANDIDATES = [(PICTURE, f"+{k} px · {k} %") for k in range(4)]


KEYS = {"pick_1": "G", "pick_2": "H", "pick_3": "J", "pick_4": "K", "accept": "N", "undo": "U"}


@pytest.fixture
def window(qtbot):
    window = SideBySide()
    qtbot.addWidget(window)
    window.set_keys(KEYS)
    with qtbot.waitExposed(window):
        window.show()
    QApplication.setActiveWindow(window)
    return window


@pytest.fixture
def heard(window):
    signals = []
    window.candidate_chosen.connect(lambda index: signals.append(("chosen", index)))
    window.action_requested.connect(lambda act: signals.append(("act", act)))
    return signals


def round_of(window, **options):
    window.set_pictures((PICTURE, "Recommended · 9 px"), CANDIDATES, **options)
    QApplication.processEvents()


def test_setters_emit_nothing(window, heard):
    round_of(window)
    window.set_keys({"pick_1": "A", "accept": "E"})
    window.set_pictures(None, [])
    assert heard == []
    assert window.pictures == []


def test_a_click_picks_what_it_is_on(window, heard, qtbot):
    round_of(window, order=[3, 1, 0, 2])
    for place in (0, 1, 4):
        qtbot.mouseClick(window.pictures[place], Qt.MouseButton.LeftButton)
    assert heard == [("chosen", 3), ("chosen", 2)]  # the recommendation is not taken by a slip
    qtbot.mouseClick(window.accept_button, Qt.MouseButton.LeftButton)
    assert heard[2:] == [("act", "accept")]


def test_keys_pick_by_place_accept_and_ask(window, heard, qtbot):
    round_of(window, order=[3, 1, 0, 2])
    for key in (Qt.Key.Key_G, Qt.Key.Key_K, Qt.Key.Key_N, Qt.Key.Key_U):
        qtbot.keyClick(window, key)
    assert heard == [("chosen", 3), ("chosen", 2), ("act", "accept"), ("act", "undo")]
    window.set_keys({"pick_1": "A", "accept": "B"})
    qtbot.keyClick(window, Qt.Key.Key_G)
    assert len(heard) == 4


def test_new_keys_are_shown_at_once(window):
    round_of(window)
    assert "[G]" in window.pictures[1].text()
    window.set_keys({"pick_1": "Shift+X", "accept": "B"})
    assert "[B]" in window.accept_button.text()
    assert "[Shift+X]" in window.pictures[1].text()
    assert "[" not in window.pictures[2].text()


def test_blind_shows_letters_only(window, heard, qtbot):
    window.set_pictures(None, [*CANDIDATES, (PICTURE, "Recommended")], [4, 2, 0, 1, 3], blind=True)
    told = [
        " ".join((p.text(), p.toolTip(), p.accessibleName(), p.accessibleDescription()))
        for p in window.pictures
    ]
    assert [text[0] for text in told] == list("ABCDE")
    assert not any(word in " ".join(told) for word in ("px", "%", "Recommended"))
    qtbot.keyClick(window, Qt.Key.Key_N)  # the recommendation is not marked, nor taken so
    assert not window.accept_button.isVisible()
    assert not window.legend.isVisible()
    window.pictures[0].click()
    assert "[5]" in window.pictures[4].text()
    qtbot.keyClick(window, Qt.Key.Key_5)
    assert heard == [("chosen", 4), ("chosen", 3)]


def test_escape_closes_and_the_window_can_come_back(window, qtbot):
    with qtbot.waitSignal(window.finished):
        qtbot.keyClick(window, Qt.Key.Key_Escape)
    assert not window.isVisible()
    window.show()
    round_of(window)
    assert window.pictures[0].isVisible()


def wheel(picture, notches, at):
    event = QWheelEvent(
        at, picture.mapToGlobal(at), QPoint(), QPoint(0, 120 * notches),
        Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(picture, event)


def test_the_wheel_zooms_all_around_the_pointer(window):
    round_of(window)
    picture = window.pictures[0]
    corner = picture.picture_area().center() + QPointF(20, 10)
    wheel(picture, 3, corner)
    zoom = window.zoom
    assert zoom.factor == pytest.approx(1.25**3)
    assert zoom.centre.x() > 0.5
    assert zoom.centre.y() > 0.5
    assert all(p._zoom is zoom for p in window.pictures)
    for side in ("width", "height"):  # one scale, up to what cannot be divided
        sides = {getattr(p.picture_area(), side)() for p in window.pictures}
        assert max(sides) - min(sides) <= 1
    wheel(picture, -30, corner)
    assert (zoom.factor, zoom.centre) == (1.0, QPointF(0.5, 0.5))


def test_the_point_under_the_pointer_stays(window):
    window.zoom.zoom(4)
    at, centre, factor = QPointF(0.55, 0.45), window.zoom.centre, window.zoom.factor
    before = (at - centre) * factor
    window.zoom.zoom(1.5, at)
    after = (at - window.zoom.centre) * window.zoom.factor
    assert (before - after).manhattanLength() < 1e-9


def test_dragging_moves_and_does_not_pick(window, heard, qtbot):
    round_of(window)
    window.zoom.zoom(4)
    picture = window.pictures[1]
    middle = picture.rect().center()
    qtbot.mousePress(picture, Qt.MouseButton.LeftButton, pos=middle)
    qtbot.mouseMove(picture, middle + QPoint(40, 0))
    qtbot.mouseMove(picture, middle + QPoint(60, 0))
    qtbot.mouseRelease(picture, Qt.MouseButton.LeftButton, pos=middle + QPoint(60, 0))
    assert heard == []
    assert window.zoom.centre.x() < 0.5
    qtbot.mouseClick(picture, Qt.MouseButton.LeftButton)
    assert heard == [("chosen", 0)]


def test_a_new_round_keeps_the_zoom_of_the_same_crop(window, qtbot):
    round_of(window)
    qtbot.keyClick(window.pictures[0], Qt.Key.Key_Plus)
    assert window.zoom.factor == 1.25
    round_of(window)
    assert window.zoom.factor == 1.25
    window.set_pictures(None, [(np.zeros((10, 10, 3), np.uint8), "")])
    assert window.zoom.factor == 1.0


@pytest.mark.parametrize(("size", "columns"), [((1500, 420), 5), ((330, 1300), 1)])
def test_the_windows_shape_decides_on_columns(window, size, columns):
    round_of(window)
    window.resize(*size)
    QApplication.processEvents()
    assert len({picture.x() for picture in window.pictures}) == columns


def test_it_goes_with_its_parent(qtbot):
    parent = QWidget()
    qtbot.addWidget(parent)
    window = SideBySide(parent)
    assert not window.isModal()
    assert window.parent() is parent

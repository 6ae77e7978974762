"""Carrying, propagating, and the strip of slices."""

import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication, QLabel, QVBoxLayout, QWidget

from napari_spa.widgets.objects.rows import STATUS_COLOURS
from napari_spa.widgets.refine.stack_bar import StackBar


@pytest.fixture
def host(qtbot):
    host = QWidget()
    qtbot.addWidget(host)
    return host


@pytest.fixture
def bar(host):
    bar = StackBar()
    QVBoxLayout(host).addWidget(bar)
    host.resize(424, 200)
    host.show()
    QApplication.setActiveWindow(host)
    bar.set_slices(10, 4)
    bar.set_active(True)
    QApplication.processEvents()
    return bar


@pytest.fixture
def heard(bar):
    signals = []
    for name in ("propagate_one_requested", "propagate_requested", "slice_requested"):
        getattr(bar, name).connect(lambda value, name=name: signals.append((name, value)))
    return signals


def test_a_single_plane_hides_it(bar):
    assert bar.isVisible()
    bar.set_slices(1, 0)
    assert not bar.isVisible()


def test_setters_emit_nothing(bar, heard):
    bar.set_slices(12, 3)
    bar.strip.set_results({3: (0.2, "accepted"), 4: (2.0, "unheard of")})
    bar.set_keys({"carry_next": ".", "carry_previous": ",", "propagate": "Shift+N"})
    bar.set_active(False)
    assert heard == []


def test_buttons_ask(bar, heard, qtbot):
    for button in [*bar.propagate_one.values(), *bar.propagate.values()]:
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert heard == [
        ("propagate_one_requested", -1), ("propagate_one_requested", 1),
        ("propagate_requested", "backward"),
        ("propagate_requested", "both"), ("propagate_requested", "forward"),
    ]  # fmt: skip


def test_there_is_nowhere_to_go_beyond_the_ends(bar):
    bar.set_slices(10, 0)
    assert (bar.propagate_one[-1].isEnabled(), bar.propagate_one[1].isEnabled()) == (False, True)
    assert not bar.propagate["backward"].isEnabled()
    bar.set_slices(10, 9)
    assert (bar.propagate_one[-1].isEnabled(), bar.propagate_one[1].isEnabled()) == (True, False)
    assert bar.propagate["both"].isEnabled()
    bar.set_active(False)
    assert not bar.propagate["both"].isEnabled()


def test_keys_are_on_the_buttons(bar):
    bar.set_keys({"carry_next": ".", "carry_previous": ",", "propagate": "Shift+N"})
    assert bar.propagate_one[1].shown_text().endswith("[.]")
    assert bar.propagate["both"].shown_text() == "↑↓  [Shift+N]"
    assert "Key: Shift+N" in bar.propagate["both"].toolTip()


def test_a_bar_is_clicked_or_reached_by_arrows(bar, heard, qtbot):
    strip = bar.strip
    for position in (0, 7, 9):
        point = strip.bar(position).center().toPoint()
        qtbot.mouseClick(strip, Qt.MouseButton.LeftButton, pos=point)
    strip.setFocus(Qt.FocusReason.TabFocusReason)
    for key in (Qt.Key.Key_Left, Qt.Key.Key_Right, Qt.Key.Key_Home, Qt.Key.Key_End):
        qtbot.keyClick(strip, key)
    assert [value for _, value in heard] == [0, 7, 9, 3, 5, 0, 9]


def test_colours_and_heights_show_the_results(bar):
    bar.strip.set_results({0: (1.0, "accepted"), 1: (0.0, "propagated"), 9: (0.5, "review")})
    picture = bar.strip.grab().toImage()
    bottom, ratio = picture.height() - 2, picture.devicePixelRatio()

    def colour(position, y):
        x = round(bar.strip.bar(position).center().x() * ratio)
        return picture.pixelColor(QPoint(x, y)).getRgb()[:3]

    for position, status in ((0, "accepted"), (1, "propagated"), (9, "review")):
        assert colour(position, bottom) == STATUS_COLOURS[status]
    middle = picture.height() // 2
    assert colour(0, middle) == STATUS_COLOURS["accepted"]
    assert colour(1, middle) != STATUS_COLOURS["propagated"]


def test_more_slices_than_pixels_show_the_worst(bar):
    bar.set_slices(4000, 0)
    bar.strip.set_results({k: (0.1 if k == 2001 else 0.9, "propagated") for k in range(4000)})
    picture = bar.strip.grab().toImage()
    x = round(bar.strip.bar(2001).x() * picture.devicePixelRatio())
    colours = [picture.pixelColor(x + d, picture.height() // 2).getRgb()[:3] for d in range(-4, 5)]
    assert 1 <= sum(colour != STATUS_COLOURS["propagated"] for colour in colours) <= 3


def test_words_say_what_is_known(bar):
    bar.strip.set_results({4: (0.234, "review")})
    assert bar.strip.words_at(4) == "Slice 4 of 0–9: review, Dice about 0.23 expected"  # noqa: RUF001
    assert bar.strip.words_at(0) == "Slice 0 of 0–9: nothing yet"  # noqa: RUF001
    assert bar.strip.accessibleDescription() == bar.strip.words_at(4)


def test_a_movie_has_frames(bar):
    bar.set_keys({"carry_next": "."})
    bar.set_slices(8, 2, "frame")
    assert bar.strip.words_at(2) == "Frame 2 of 0–7: nothing yet"  # noqa: RUF001
    buttons = [*bar.propagate_one.values(), *bar.propagate.values()]
    said = [text for b in buttons for text in (b.toolTip(), b.accessibleName())]
    said += [label.text() for label in bar.findChildren(QLabel)] + [bar.strip.accessibleName()]
    assert not [text for text in said if "slice" in text]
    assert "Key: ." in bar.propagate_one[1].toolTip()
    bar.set_slices(8, 2)
    assert "slice after" in bar.propagate_one[1].toolTip()

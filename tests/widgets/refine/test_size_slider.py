"""The slider of the size: what it says while it is moved, and once when it is done."""

import pytest
from qtpy.QtCore import Qt

from napari_spa.widgets.refine.candidates import SizeSlider


@pytest.fixture
def heard(qtbot):
    part = SizeSlider()
    qtbot.addWidget(part)
    part.seen, part.taken = [], []
    part.previewed.connect(part.seen.append)
    part.chosen.connect(part.taken.append)
    return part


def test_a_drag_is_one_choice_and_many_looks(heard, qtbot):
    heard.slider.setSliderDown(True)
    for value in (10, 25, 40):
        heard.slider.setSliderPosition(value)
    qtbot.wait(400)  # held still
    assert heard.seen == [0.1, 0.25, 0.4]
    assert heard.taken == []
    heard.slider.setSliderDown(False)
    assert heard.taken == [0.4]
    qtbot.wait(400)
    assert heard.taken == [0.4]


def test_a_run_of_keys_is_one_choice(heard, qtbot):
    for _ in range(3):
        heard.step(1)
    qtbot.keyClick(heard.slider, Qt.Key.Key_Left)
    with qtbot.waitSignal(heard.chosen):
        pass
    assert heard.taken == [0.1]
    assert heard.seen == [0.05, 0.1, 0.15, 0.1]


def test_what_it_is_told_it_does_not_ask_for(heard, qtbot):
    heard.step(-1)
    heard.set_size(0.62)
    qtbot.wait(400)
    assert heard.slider.value() == 62
    assert heard.seen == [-0.05]
    assert heard.taken == []


def test_it_has_two_ends(heard):
    heard.set_size(0.98)
    heard.step(1)
    heard.step(1)
    assert heard.seen == [1.0]
    heard.setEnabled(False)
    heard.step(-1)
    assert heard.slider.value() == 100


def test_its_keys_are_told(heard):
    heard.set_keys({"smaller": ";", "larger": "'"})
    assert heard.toolTip().endswith("Keys: ; and '")
    heard.set_keys({})
    assert "Keys" not in heard.toolTip()

"""The prompt tools and the form."""

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_spa.widgets.refine.prompt_bar import PromptBar


@pytest.fixture
def bar(qtbot):
    bar = PromptBar()
    qtbot.addWidget(bar)
    bar.resize(340, 200)
    bar.show()
    QApplication.setActiveWindow(bar)
    return bar


@pytest.fixture
def heard(bar):
    signals = []
    bar.tool_requested.connect(signals.append)
    bar.point_requested.connect(lambda *values: signals.append(values))
    return signals


def test_setters_emit_nothing(bar, heard):
    bar.set_tool("box")
    bar.set_keys({"prompt_sign": "A", "box": "Shift+B"})
    bar.set_limits(100, 200)
    assert heard == []
    assert [tool for tool, button in bar.tools.items() if button.isChecked()] == ["box"]


@pytest.mark.parametrize(
    ("tool", "negative", "checked"),
    [
        ("click", False, ["add"]),
        ("click", True, ["remove"]),
        ("brush", True, ["remove", "brush"]),
        ("lasso", False, ["add", "lasso"]),
        ("box", False, ["box"]),
    ],
)
def test_buttons_show_the_tool_and_what_it_does(bar, heard, qtbot, tool, negative, checked):
    bar.set_tool(tool, negative=negative)
    for button in bar.tools.values():  # asking changes nothing yet
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert heard == list(bar.tools)
    assert [name for name, button in bar.tools.items() if button.isChecked()] == checked


def test_keys_are_shown_under_the_names(bar):
    bar.set_keys({"box": "Shift-B"})
    assert "Key: Shift+B" in bar.tools["box"].toolTip()
    assert "Key" not in bar.tools["add"].toolTip()
    assert bar.tools["box"].sizeHint().height() > bar.tools["add"].sizeHint().height()


def test_a_click_can_be_placed_by_the_keyboard_alone(bar, heard, qtbot):
    bar.set_limits(100, 200)
    assert (bar.row.value(), bar.column.value()) == (50, 100)
    bar.row.setFocus(Qt.FocusReason.TabFocusReason)
    bar.row.selectAll()
    qtbot.keyClicks(bar.row, "999")  # no more than 99 can be typed
    qtbot.keyClick(bar.row, Qt.Key.Key_Tab)
    bar.column.selectAll()
    qtbot.keyClicks(bar.column, "7")
    qtbot.keyClick(bar.column, Qt.Key.Key_Tab)
    qtbot.keyClick(bar.add_point, Qt.Key.Key_Space)
    qtbot.keyClick(bar.remove_point, Qt.Key.Key_Return)
    assert heard == [(99.0, 7.0, 1), (99.0, 7.0, 0)]


def test_limits_keep_the_numbers_while_they_stay(bar):
    bar.set_limits(100, 200)
    bar.row.setValue(3)
    bar.set_limits(100, 300)
    assert (bar.row.value(), bar.column.value()) == (3, 150)
    bar.set_limits(0, 0)
    assert not bar.add_point.isEnabled()


def test_names_fit_in_a_row_or_two(bar):
    bar.set_keys(dict.fromkeys(["prompt_sign", *bar.tools], "Shift+X"))
    widths = [button.sizeHint().width() for button in bar.tools.values()]
    rows = []
    for width in (sum(widths) + 16, 3 * max(widths) + 8):
        bar.resize(width, 300)
        QApplication.processEvents()
        rows.append(len({button.y() for button in bar.tools.values()}))
        assert all(b.width() >= b.minimumSizeHint().width() for b in bar.tools.values())
    assert rows == [1, 2]

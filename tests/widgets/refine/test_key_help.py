"""The list of keys: groups, what is left out, opening."""

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel

from napari_spa.viewer.settings import ACTION_TITLES, DEFAULT_KEYS
from napari_spa.widgets.refine.panel import GROUPS, KeyHelp, KeyHelpButton


def texts(help_window):
    return [label.text() for label in help_window.findChildren(QLabel)]


def test_every_act_has_a_group():
    grouped = [act for members in GROUPS.values() for act in members]
    assert set(DEFAULT_KEYS) <= set(grouped)
    assert len(grouped) == len(set(grouped))


def test_keys_and_titles_stand_under_their_heading(qtbot):
    window = KeyHelp(DEFAULT_KEYS)
    qtbot.addWidget(window)
    found = texts(window)
    assert {f"<b>{heading}</b>" for heading in GROUPS} <= set(found)
    assert {*ACTION_TITLES.values(), *DEFAULT_KEYS.values()} <= set(found)
    assert {"1 to 4", "Ctrl+Z", "Shift+click", "Ctrl+click", "Alt+click"} <= set(found)


def test_other_keys_are_listed_and_acts_without_one_are_not(qtbot):
    button = KeyHelpButton()
    qtbot.addWidget(button)
    button.set_keys(DEFAULT_KEYS)
    assert ACTION_TITLES["undo"] in texts(button.help)
    button.set_keys({"box": "Alt-1", "lasso": ""})
    assert "Alt+1" in texts(button.help)
    assert ACTION_TITLES["lasso"] not in texts(button.help)
    assert ACTION_TITLES["undo"] not in texts(button.help)


def test_the_button_opens_and_escape_closes(qtbot):
    button = KeyHelpButton()
    qtbot.addWidget(button)
    button.set_keys({"undo": "U"})
    button.show()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert button.help.isVisible()
    assert not button.help.isModal()
    qtbot.keyClick(button.help, Qt.Key.Key_Escape)
    assert not button.help.isVisible()

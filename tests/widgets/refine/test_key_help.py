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
    window = KeyHelp()
    qtbot.addWidget(window)
    window.set_actions({act: (ACTION_TITLES[act], DEFAULT_KEYS[act]) for act in ACTION_TITLES})
    found = texts(window)
    assert {f"<b>{heading}</b>" for heading in GROUPS} <= set(found)
    assert {*ACTION_TITLES.values(), *DEFAULT_KEYS.values()} <= set(found)
    window.set_actions({"box": ("First", "Alt-1"), "lasso": ("No key", "")})
    assert "Alt+1" in texts(window)
    assert "No key" not in texts(window)
    assert ACTION_TITLES["undo"] not in texts(window)


def test_an_act_without_a_group_comes_last(qtbot):
    window = KeyHelp()
    qtbot.addWidget(window)
    window.set_actions({"new": ("New act", "F9"), "box": ("First", "A")})
    found = texts(window)
    assert found.index("First") < found.index("<b>More</b>") < found.index("New act")


def test_the_button_opens_and_escape_closes(qtbot):
    button = KeyHelpButton()
    qtbot.addWidget(button)
    button.set_actions({"undo": ("Undo", "U")})
    button.show()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert button.help.isVisible()
    assert not button.help.isModal()
    qtbot.keyClick(button.help, Qt.Key.Key_Escape)
    assert not button.help.isVisible()

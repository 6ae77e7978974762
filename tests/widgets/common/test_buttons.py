"""Buttons that fit, and where the focus of the keyboard is."""

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QWidget

from napari_spa.widgets.common.buttons import FittingButton


def test_a_button_that_is_disabled_keeps_the_focus_from_the_next_one(qtbot):
    window = QWidget()
    row = QHBoxLayout(window)
    accept, undo = FittingButton("Accept"), FittingButton("Undo")
    for button in (accept, undo):
        row.addWidget(button)
    pressed = []
    accept.on_click(lambda: (pressed.append("accept"), accept.setEnabled(False)))
    undo.on_click(lambda: pressed.append("undo"))
    qtbot.addWidget(window)
    window.show()
    qtbot.waitExposed(window)
    window.activateWindow()
    accept.setFocus()
    qtbot.waitUntil(accept.hasFocus)
    qtbot.keyClick(window.focusWidget(), Qt.Key.Key_Space)
    assert window.focusWidget() is None
    qtbot.keyClick(window, Qt.Key.Key_Space)
    assert pressed == ["accept"]
    accept.setEnabled(True)  # the next object
    assert window.focusWidget() is accept
    qtbot.keyClick(accept, Qt.Key.Key_Tab)
    assert window.focusWidget() is undo

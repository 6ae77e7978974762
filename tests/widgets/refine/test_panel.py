"""The dock's parts together: how the keyboard reaches them."""

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QWidget

from napari_spa.viewer.settings import Settings
from napari_spa.widgets.refine.panel import RefinePanel


def test_tab_reaches_what_is_seen_from_top_to_bottom(qtbot):
    panel = RefinePanel(lambda label: None)
    panel.set_keys(Settings().keys)
    panel.resize(400, 700)
    qtbot.addWidget(panel)
    panel.show()
    qtbot.waitExposed(panel)
    panel.activateWindow()
    reached = [panel.tabs.tabBar()]
    reached[0].setFocus()
    qtbot.waitUntil(reached[0].hasFocus)
    while True:
        qtbot.keyClick(reached[-1], Qt.Key.Key_Tab)
        if panel.focusWidget() is reached[0]:
            break
        reached.append(panel.focusWidget())
        assert len(reached) < 40
    assert reached[1:3] == [panel.profile.name, panel.help]
    assert reached[3] in panel.prompts.findChildren(QWidget)
    assert reached[-4:] == list(panel.action_buttons.values())

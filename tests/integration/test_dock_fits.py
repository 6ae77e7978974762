"""The dock in a laptop's window: the main flow needs no scrolling, whatever runs."""

import numpy as np
import pytest
from napari.settings import get_settings
from qtpy.QtCore import QPoint, QRect
from qtpy.QtWidgets import QDockWidget, QLabel, QScrollArea
from tiny_model import make_model

from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.session.session import RefinementSession
from napari_spa.viewer.annotation.round import HINT_CHOOSE
from napari_spa.widgets.folder.dock import FolderDock
from napari_spa.widgets.refine.dock import RefineDock


def place(window, part):
    return QRect(part.mapTo(window, QPoint(0, 0)), part.size())


def test_the_main_flow_is_in_sight_on_a_laptop(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    viewer.add_image(np.random.default_rng(0).integers(0, 255, (60, 70), np.uint8))
    model = make_model()
    dock = RefineDock(
        viewer, lambda name: RefinementSession(model, config=EngineConfig(samples=12))
    )
    try:
        viewer.window.add_dock_widget(dock, name="SPA Refine")
        window, parts = dock.window(), dock.parts
        window.resize(1280, 720)
        qtbot.wait(300)
        status = place(dock, parts.status).translated(0, -dock.height())
        with qtbot.waitSignal(dock.controller.proposed, timeout=60_000):
            dock.prompt_controller.click((30, 35))
            assert parts.now.currentIndex() == 1  # progress and Cancel
        assert parts.now.currentIndex() == 0  # the object's figures
        qtbot.wait(300)
        assert window.height() == 720
        page = parts.tabs.currentWidget()
        assert isinstance(page, QScrollArea)
        seen = place(window, page)
        for part in (
            *parts.prompts.tools.values(),
            *(card.button for card in parts.grid.cards[:4]),
        ):
            assert seen.contains(place(window, part))
        assert seen.contains(place(window, parts.size_slider))
        assert seen.contains(place(window, parts.compare))
        assert not page.verticalScrollBar().isVisible()
        assert parts.size_slider.slider.width() >= 60
        whole = QRect(QPoint(0, 0), window.size())
        for part in (parts.status, parts.figures, *parts.action_buttons.values()):
            assert part.isVisible()
            assert whole.contains(place(window, part))
        parts.status.setText("A sentence. " * 20)
        qtbot.wait(100)
        # napari's own status bar may be a pixel higher by now, and the dock as much lower.
        assert place(dock, parts.status).translated(0, -dock.height()) == status
        assert not parts.tabs.isTabVisible(2)  # no stack
        dock.controller.discard()
        dock.store.save(blind=True)  # five alike
        with qtbot.waitSignal(dock.controller.proposed, timeout=60_000):
            dock.prompt_controller.click((30, 35))
        qtbot.wait(300)
        cards = [card for card in parts.grid.cards if card.isVisible()]
        assert len(cards) == 5
        assert all(seen.contains(place(window, card)) for card in cards)
        assert not parts.legend.isVisible()
        dock.store.save(blind=False)
        dock.controller.discard()
        assert parts.legend.isVisible()
        assert parts.size_slider.isVisible()
    finally:
        dock.release()
        viewer.window.remove_dock_widget(dock)
        dock.deleteLater()


def test_nothing_is_cut_off_in_a_font_twice_as_large(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    dock = RefineDock(viewer, lambda name: RefinementSession(make_model()))
    appearance = get_settings().appearance
    before = appearance.font_size
    try:
        viewer.window.add_dock_widget(dock, name="SPA Refine")
        dock.window().resize(1600, 1000)
        qtbot.wait(200)
        small = dock.parts.figures.fontMetrics().lineSpacing()
        appearance.font_size = 2 * before
        qtbot.waitUntil(lambda: dock.parts.figures.fontMetrics().lineSpacing() > 1.7 * small)
        qtbot.wait(300)
        parts = dock.parts
        for page in map(parts.tabs.widget, range(parts.tabs.count())):
            assert page.width() >= page.widget().minimumSizeHint().width()
        for width in (390, 406, 430, 460, 507, 560):
            dock.setFixedWidth(width)
            qtbot.waitUntil(lambda: parts.width() == dock.width())
            qtbot.wait(20)
            for label, text in (
                (parts.figures, "Round 1 · 30,859 px · Dice about 0.85 expected: likely right"),
                (parts.status, HINT_CHOOSE),
            ):
                label.setText(text)
                assert QLabel.heightForWidth(label, label.width()) <= label.height(), width
        parts.help.open_help()
        keys = parts.help.help
        qtbot.waitUntil(keys.isVisible)
        qtbot.wait(50)
        assert keys.findChild(QScrollArea).horizontalScrollBar().maximum() == 0
        for label in keys.findChildren(QLabel):
            assert label.width() >= min(label.sizeHint().width(), keys.width() - 60), label.text()
        assert keys.screen().availableGeometry().contains(keys.frameGeometry())
        keys.close()
    finally:
        appearance.font_size = before
        dock.release()
        viewer.window.remove_dock_widget(dock)
        dock.deleteLater()


@pytest.mark.parametrize("width", [1280, 1600])
@pytest.mark.parametrize("folder_first", [False, True])
def test_a_folder_has_room_for_its_list_whichever_dock_came_first(
    make_napari_viewer, qtbot, width, folder_first
):
    viewer, model = make_napari_viewer(show=True), make_model()

    def make_refine():
        config = EngineConfig(samples=12)
        return RefineDock(viewer, lambda name: RefinementSession(model, config=config))

    makers = {"SPA Refine": make_refine, "SPA Folder": lambda: FolderDock(viewer)}
    docks = {}
    try:
        for name in sorted(makers, reverse=not folder_first):
            docks[name] = makers[name]()
            viewer.window.add_dock_widget(docks[name], name=name)
            docks[name].window().resize(width, 720)
            qtbot.wait(400)
        folder = docks["SPA Folder"]
        tabbed = folder.visibleRegion().isEmpty()  # behind the other one, with its height
        if tabbed:
            dock = folder.parent()
            while not isinstance(dock, QDockWidget):
                dock = dock.parent()
            dock.raise_()
        qtbot.waitUntil(
            lambda: folder.isVisible() and folder.height() > 500 and folder.width() > 240,
            timeout=10_000,
        )
        assert tabbed <= (width == 1280)  # in a wide window both are in sight
    finally:
        for dock in docks.values():
            dock.release()
            viewer.window.remove_dock_widget(dock)
            dock.deleteLater()

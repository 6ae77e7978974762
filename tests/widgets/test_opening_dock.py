"""The dock *SPA Refine* as napari opens it: in steps, and whole for whoever asks."""

from types import SimpleNamespace

import numpy as np
import pytest

from napari_spa.viewer.annotation.prompts import PromptController
from napari_spa.widgets import OpeningDock
from napari_spa.widgets.refine.dock import RefineDock


@pytest.fixture
def open_dock(make_napari_viewer):
    def opened():
        viewer = make_napari_viewer(show=True)
        viewer.add_image(np.random.default_rng(0).random((64, 64)), name="noise")
        return *viewer.window.add_plugin_dock_widget("napari-spa", "SPA Refine"), viewer

    return opened


def test_it_is_placed_empty_and_filled_in_steps(open_dock, qtbot):
    _, opening, _ = open_dock()
    assert isinstance(opening, OpeningDock)
    assert not opening.made
    width = opening.sizeHint().width()
    qtbot.waitUntil(lambda: opening.made and opening.dock.isVisible(), timeout=20_000)
    assert opening.width() >= width >= opening.dock.minimumSizeHint().width()
    assert isinstance(opening.dock, RefineDock)
    assert opening.controller is opening.dock.controller  # for scripts
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = opening.nothing_of_the_kind


def test_whoever_asks_has_it_at_once(open_dock, qtbot):
    _, opening, _ = open_dock()
    controller = opening.controller
    assert opening.made
    qtbot.wait(100)
    assert opening.controller is controller
    assert len(opening.findChildren(RefineDock)) == 1


@pytest.mark.parametrize("early", [True, False])
def test_it_may_be_closed_at_any_time(open_dock, qtbot, early):
    dock, opening, viewer = open_dock()
    if not early:
        qtbot.waitUntil(lambda: opening.made, timeout=20_000)
        refine_dock = opening.dock
    dock.destroyOnClose()
    qtbot.wait(200)
    assert "noise" in viewer.layers
    if not early:
        assert refine_dock.closed
    _, again = viewer.window.add_plugin_dock_widget("napari-spa", "SPA Refine")
    assert not again.controller.busy
    assert not again.closed


def test_a_click_before_the_dock_is_there_is_obeyed(open_dock, qtbot, monkeypatch):
    from napari.utils.interactions import mouse_press_callbacks, mouse_release_callbacks

    _, opening, viewer = open_dock()
    clicks = []
    monkeypatch.setattr(
        PromptController, "click", lambda _, position, *rest, **aim: clicks.append(position)
    )
    event = SimpleNamespace(
        type="mouse_press",
        button=1,
        modifiers=(),
        position=(20.0, 30.0),
        pos=np.array([200, 200]),
        view_direction=None,
        dims_displayed=[0, 1],
        handled=False,
    )
    mouse_press_callbacks(viewer, event)
    event.type = "mouse_release"
    mouse_release_callbacks(viewer, event)
    assert clicks == [(20.0, 30.0)]
    qtbot.wait(100)
    assert opening._on_pressed not in viewer.mouse_drag_callbacks


@pytest.mark.parametrize("error", [RuntimeError("no room"), AttributeError("no part")])
def test_a_dock_that_cannot_be_made_says_so_once(open_dock, qtbot, monkeypatch, error):
    tried = []

    def fail(*_):
        tried.append(1)
        raise error

    monkeypatch.setattr(RefineDock, "__init__", fail)
    with qtbot.captureExceptions() as raised:
        _, opening, viewer = open_dock()
        qtbot.waitUntil(lambda: bool(tried), timeout=20_000)
        qtbot.wait(200)
    assert len(tried) == len(raised) == 1
    assert str(error) in opening.currentWidget().text()
    assert opening._on_pressed not in viewer.mouse_drag_callbacks
    with pytest.raises(RuntimeError, match="was closed"):
        _ = opening.controller


def test_a_closed_one_makes_no_dock(open_dock, qtbot):
    dock, opening, _ = open_dock()
    dock.destroyOnClose()
    with pytest.raises(RuntimeError, match="was closed"):
        _ = opening.controller

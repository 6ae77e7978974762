"""The outline under a resting pointer: of what a click would start, and only then."""

from types import SimpleNamespace

import numpy as np
import pytest
from skimage import data

from napari_spa.io.models.load import load_model
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.engine.embedder import Embedder
from napari_spa.refine.session.session import RefinementSession
from napari_spa.widgets.refine.dock import RefineDock

FIRST, NEXT = (122.0, 97.0), (128.0, 171.0)  # two coins side by side


@pytest.fixture
def dock(make_napari_viewer, qtbot):
    model, viewer = load_model(), make_napari_viewer()
    viewer.add_image(data.coins(), name="coins")
    dock = RefineDock(
        viewer, lambda name: RefinementSession(model, config=EngineConfig(samples=12))
    )
    qtbot.addWidget(dock)
    yield dock
    dock.release()


def click(qtbot, dock, position):
    with qtbot.waitSignal(dock.controller.proposed, timeout=60_000):
        dock.prompt_controller.click(position)
    qtbot.waitUntil(lambda: not dock.controller.busy, timeout=30_000)


def rest(dock, position, *, is_dragging=False):
    event = SimpleNamespace(position=position, is_dragging=is_dragging)
    for callback in list(dock.controller.viewer.mouse_move_callbacks):
        callback(dock.controller.viewer, event)


def outlines(dock):
    layer = dock.controller.current.prompts._shapes
    return [] if layer is None or not layer.visible else list(layer.data)


def test_a_resting_pointer_shows_what_a_click_would_start(dock, qtbot):
    click(qtbot, dock, FIRST)
    rest(dock, NEXT)
    qtbot.waitUntil(lambda: bool(outlines(dock)), timeout=10_000)
    line = max(outlines(dock), key=len)
    low, high = line.min(axis=0), line.max(axis=0)
    assert (low < NEXT).all()
    assert (high > NEXT).all()
    assert (high - low).max() < 100
    assert dock.controller.choosing  # nothing was done
    assert not dock.controller.busy
    rest(dock, (NEXT[0] + 1, NEXT[1]))  # it moved on: gone at once
    assert not outlines(dock)
    click(qtbot, dock, NEXT)
    assert not outlines(dock)


def test_nothing_is_encoded_for_it(dock, qtbot, monkeypatch):
    dock.controller.get_ready()
    dock.controller.images.annotate(dock.controller.target())
    rest(dock, NEXT)  # nothing is encoded yet
    qtbot.wait(300)
    assert not outlines(dock)
    click(qtbot, dock, FIRST)
    monkeypatch.setattr(Embedder, "_fresh", lambda *_: pytest.fail("it was encoded"))
    rest(dock, NEXT)
    qtbot.waitUntil(lambda: bool(outlines(dock)), timeout=10_000)


def test_there_is_none_where_a_click_would_start_nothing(dock, qtbot):
    click(qtbot, dock, FIRST)

    def shown(position=NEXT, **how):
        rest(dock, position, **how)
        qtbot.wait(300)
        return bool(outlines(dock))

    assert shown()
    assert not shown(FIRST)  # a correction
    assert not shown(is_dragging=True)
    dock._actions()["brush"]()
    assert not shown()
    dock._actions()["brush"]()
    dock.store.save(blind=True)  # it would tell what is recommended
    assert not shown()
    dock.store.save(blind=False)
    dock._actions()["hover"]()
    assert not shown()
    assert not dock.store.load().hover
    dock._actions()["hover"]()
    assert shown()
    dock.controller.accept()
    assert not outlines(dock)
    assert not shown(FIRST)  # a click selects it
    assert shown()


def test_it_is_as_rough_as_one_look_and_leaves_the_session_alone():
    session = RefinementSession(load_model(), config=EngineConfig(samples=12))
    session.set_image(data.coins())
    assert session.outline_at(NEXT) == ()
    before = session.start([FIRST])
    lines = session.outline_at(NEXT)
    assert all(line.shape[1] == 2 and np.isfinite(line).all() for line in lines)
    assert session.proposal is before
    assert session.timeline.state.number == 1

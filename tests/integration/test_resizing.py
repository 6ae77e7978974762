"""The size slider in a real viewer: the image follows, one undo step a drag."""

import numpy as np
import pytest
from tiny_model import make_model

from napari_spa.io.event_log import read_records
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.session.session import RefinementSession
from napari_spa.widgets.refine.dock import RefineDock

MODEL = make_model()


@pytest.fixture
def dock(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    viewer.add_image(np.random.default_rng(0).integers(0, 255, (60, 70), np.uint8))
    dock = RefineDock(
        viewer, lambda name: RefinementSession(MODEL, config=EngineConfig(samples=12))
    )
    qtbot.addWidget(dock)
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    yield dock
    dock.release()


def play(qtbot, dock, act):
    with qtbot.waitSignal(dock.controller.proposed, timeout=60_000) as signal:
        act()
    return signal.args[0]


def in_image(dock):
    return int(np.count_nonzero(dock.controller.current.mask.layer.data))


def drag(qtbot, dock, *values):
    """Move the held slider; wait until the image shows each place."""
    slider = dock.parts.size_slider.slider
    slider.setSliderDown(True)
    areas = []
    for value in values:
        slider.setSliderPosition(value)
        qtbot.waitUntil(lambda: not dock.controller.worker.busy, timeout=60_000)
        areas.append(in_image(dock))
    return areas


def test_the_image_follows_and_a_drag_is_one_round(dock, qtbot):
    first, slider = dock.controller.active.shown.proposal, dock.parts.size_slider.slider
    assert slider.value() == round(100 * first.size)
    small, large = drag(qtbot, dock, -70, 70)
    assert small < first.area < large
    assert dock.parts.now.currentIndex() == 0  # no progress bar comes and goes
    assert dock.controller.active.shown.proposal is first
    shown = play(qtbot, dock, lambda: slider.setSliderDown(False))
    assert (shown.round, shown.size) == (2, pytest.approx(0.7))
    assert in_image(dock) == shown.area == large
    assert play(qtbot, dock, dock.controller.undo) is first
    assert in_image(dock) == first.area
    assert slider.value() == round(100 * first.size)
    assert play(qtbot, dock, dock.controller.redo).area == large
    dock.controller.accept()
    assert in_image(dock) == large
    dock.controller.autosave.flush()
    log = read_records(dock.controller.autosave.log_of(dock.controller.current))
    acts = [record["act"] for record in log if record["kind"] == "decision"]
    assert acts == ["start", "resize"]


def test_nothing_is_accepted_while_it_is_being_chosen(dock, qtbot):
    drag(qtbot, dock, 60)
    assert dock.controller.accept() is False
    assert not dock.controller.current.annotation.objects


def test_dragged_back_it_is_as_before(dock, qtbot):
    first = dock.controller.active.shown.proposal
    here = round(100 * first.size)
    drag(qtbot, dock, 60, here)
    dock.parts.size_slider.slider.setSliderDown(False)
    qtbot.waitUntil(lambda: not dock.controller.busy, timeout=60_000)
    assert in_image(dock) == first.area
    assert not dock.objects.undoing.can_undo
    assert dock.controller.accept()


def test_discarding_in_the_middle_leaves_nothing(dock, qtbot):
    drag(qtbot, dock, 60)
    dock.controller.discard()
    assert in_image(dock) == 0
    assert not dock.controller.busy
    assert not dock.parts.size_slider.isEnabled()


def test_a_size_that_fails_shows_the_round_again(dock, qtbot, monkeypatch):
    first = dock.controller.active.shown.proposal

    def fails(size):
        raise RuntimeError("broken")

    monkeypatch.setattr(dock.controller.session, "at_size", fails)
    slider = dock.parts.size_slider.slider
    play(qtbot, dock, lambda: slider.setValue(60))
    assert slider.value() == round(100 * first.size)
    assert in_image(dock) == first.area
    assert not dock.controller.busy


def test_a_blind_reader_has_no_slider(dock, qtbot):
    dock.controller.discard()
    dock.store.save(blind=True)
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    assert dock.parts.size_slider.isHidden()
    dock.parts.size_slider.step(1)
    dock.controller.resize(0.5)
    assert not dock.controller.busy
    assert in_image(dock) == 0
    dock.store.save(blind=False)
    dock.controller.discard()
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    assert not dock.parts.size_slider.isHidden()

"""The dock in a real viewer: clicks, picks, keys, stacks, layers that vanish, closing."""

import time
from unittest.mock import Mock

import numpy as np
import pytest
from napari.layers import Labels
from napari.settings import get_plugin_settings
from tiny_model import make_model

from napari_spa.errors import InputError
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.engine.view import widen
from napari_spa.refine.session.session import RefinementSession
from napari_spa.viewer.settings import DEFAULT_KEYS
from napari_spa.widgets.refine import dock as dock_module
from napari_spa.widgets.refine.dock import RefineDock

MODEL = make_model()


def make_session(name):
    return RefinementSession(MODEL, config=EngineConfig(samples=12))


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def open_dock(viewer, qtbot):
    docks = []

    def open_it(factory=make_session):
        dock = RefineDock(viewer, factory)
        qtbot.addWidget(dock)
        docks.append(dock)
        return dock

    yield open_it
    for dock in docks:
        dock.release()


def image(shape=(60, 70), seed=0):
    return np.random.default_rng(seed).integers(0, 255, shape, np.uint8)


def play(qtbot, dock, act):
    with qtbot.waitSignal(dock.controller.proposed, timeout=30_000) as signal:
        act()
    return signal.args[0]


def test_scripts_drive_a_dock_by_its_former_names(open_dock, viewer, qtbot):
    dock = open_dock()
    viewer.add_image(image())
    heard = []
    dock.refiner.said.connect(heard.append)
    with qtbot.waitSignal(dock.refiner.proposed, timeout=30_000):
        dock.prompter.click((30, 30))
    dock.refiner.accept()
    assert dock.refiner.current.mask.layer.data.any()
    assert heard


def press(viewer, key):
    """Resolve a key as napari does: the active layer first, then the viewer."""
    from app_model.types import KeyBinding

    binding = KeyBinding.from_str(key.replace("-", "+"))
    active = viewer.layers.selection.active
    for keymap in [] if active is None else [active.keymap, type(active).class_keymap]:
        assert binding not in keymap, f"{key} is taken by {type(active).__name__}"
    viewer.keymap[binding](viewer)


def preview(dock):
    return dock.controller.current.mask.layer.data


def test_click_pick_undo_accept(viewer, open_dock, qtbot):
    viewer.add_image(image())
    dock = open_dock()
    first = play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    np.testing.assert_array_equal(preview(dock) == 1, first.mask)
    assert [c.isEnabled() for c in dock.parts.grid.cards[:4]] == [
        k < len(first.candidates) for k in range(4)
    ]
    second = play(qtbot, dock, dock.parts.grid.cards[0].button.click)
    assert second.round == 2
    np.testing.assert_array_equal(preview(dock) == 1, second.mask)
    back = play(qtbot, dock, dock.parts.action_buttons["undo"].click)
    np.testing.assert_array_equal(back.mask, first.mask)
    again = play(qtbot, dock, dock.parts.action_buttons["redo"].click)
    np.testing.assert_array_equal(again.mask, second.mask)
    dock.parts.action_buttons["accept"].click()
    np.testing.assert_array_equal(preview(dock) == 1, second.mask)
    assert not dock.controller.choosing
    dock.controller.current.mask.layer.undo()
    np.testing.assert_array_equal(preview(dock) == 1, second.mask)  # napari's own: strokes alone


def test_a_field_chosen_by_hand_can_be_automatic_again(viewer, open_dock, qtbot):
    viewer.add_image(image())
    dock = open_dock()
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    field = dock.parts.options.field
    first = dock.controller.shown().timeline.state.view
    assert not field["automatic"].isEnabled()
    play(qtbot, dock, field["wider"].click)
    assert dock.controller.shown().timeline.state.view != first
    assert field["automatic"].isEnabled()
    play(qtbot, dock, dock.parts.grid.cards[0].button.click)
    play(qtbot, dock, lambda: dock.prompt_controller.click((26, 35), 0))
    before = dock.controller.shown().timeline.state
    play(qtbot, dock, field["automatic"].click)
    after = dock.controller.shown().timeline.state
    again = widen(first, before.prompts, (60, 70))  # the pick's point may lie beyond the first
    assert after.view == again
    assert after.prompts.clicks == before.prompts.clicks
    assert [decision.act for decision in after.decisions][1:] == ["view", "pick", "click", "view"]
    assert field["automatic"].isEnabled() == (again != first)
    play(qtbot, dock, dock.parts.action_buttons["undo"].click)
    assert dock.controller.shown().timeline.state.decisions == before.decisions


def test_what_was_clicked_holds_when_one_looks_with_another_contrast(viewer, open_dock, qtbot):
    viewer.add_image(image())
    dock = open_dock()
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    play(qtbot, dock, dock.parts.grid.cards[0].button.click)
    play(qtbot, dock, lambda: dock.prompt_controller.click((20, 20), 0))
    before = dock.controller.shown().timeline.state.prompts.clicks  # one of them the pick's
    dock.store.save(contrast="layer")  # as another window does
    dock.store.save(contrast="automatic")
    assert not dock.controller.busy
    shown = play(qtbot, dock, lambda: dock.parts.options.contrast_requested.emit("layer"))
    assert shown.round == 4
    assert dock.controller.shown().timeline.state.prompts.clicks == before
    assert len(before) == 3
    assert "Undo goes back" in dock.parts.status.text()
    play(qtbot, dock, dock.parts.action_buttons["undo"].click)
    assert dock.controller.shown().proposal.round == 3
    assert dock.parts.options.contrast.currentText() == "Layer's contrast limits"


def test_another_model_leaves_the_object_at_work_in_every_window(viewer, open_dock, qtbot):
    viewer.add_image(image())
    dock, idle = open_dock(), open_dock()
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    shown = play(qtbot, dock, dock.parts.grid.cards[0].button.click)
    idle.parts.model.model_chosen.emit("other")
    sentence = "other from the next object on; this one goes on with tiny-random."
    qtbot.waitUntil(lambda: dock.parts.status.text() == sentence, timeout=10_000)
    assert idle.parts.status.text() != sentence
    assert dock.controller.shown().proposal is shown
    assert dock.parts.action_buttons["undo"].isEnabled()
    assert play(qtbot, dock, dock.parts.grid.cards[0].button.click).round == 3
    dock.parts.model.model_chosen.emit("spa-tiny")
    assert "next object on" not in dock.parts.status.text()
    dock.parts.action_buttons["accept"].click()
    assert not dock.controller.choosing


def test_only_what_takes_long_is_in_the_activity_bar_of_napari(viewer, open_dock, monkeypatch):
    bars = []
    dock = open_dock()
    monkeypatch.setattr(dock_module, "activity", lambda **_: bars.append(Mock(n=0)) or bars[-1])
    dock._on_progressed(0.3, "looking")  # nothing runs
    dock._busy_since = time.monotonic()
    dock._on_progressed(0.4, "looking")
    assert not bars
    assert dock.parts.progress.value() == 40  # the dock's own shows it at once
    dock._busy_since = time.monotonic() - 10
    dock._on_progressed(0.5, "looking")
    (bar,) = bars
    bar.update.assert_called_once_with(50)
    dock._refresh()  # it is done
    bar.close.assert_called_once_with()


def test_earlier_objects_are_protected_and_numbers_go_up(viewer, open_dock, qtbot):
    viewer.add_image(image())
    dock = open_dock()
    first = play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35))).mask
    dock.parts.action_buttons["accept"].click()
    second = play(qtbot, dock, lambda: dock.prompt_controller.click((32, 30), aim="next")).mask
    np.testing.assert_array_equal(preview(dock) == 1, first)
    dock.parts.action_buttons["accept"].click()
    np.testing.assert_array_equal(preview(dock) == 1, first)
    np.testing.assert_array_equal(preview(dock) == 2, second & ~first)


def test_discard_leaves_nothing(viewer, open_dock, qtbot):
    viewer.add_image(image())
    dock = open_dock()
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    dock.parts.action_buttons["discard"].click()
    assert not preview(dock).any()
    ours = [layer for layer in viewer.layers if dock.controller.current.owns(layer)]
    assert all(not len(layer.data) for layer in ours if not isinstance(layer, Labels))


@pytest.mark.parametrize(
    ("shape", "rgb", "order"),
    [((60, 70, 3), True, None), ((5, 60, 70), False, None), ((5, 60, 70), False, (0, 2, 1)),
     ((60, 5, 70), False, (1, 0, 2))],
    ids=["rgb", "stack", "transposed", "other axis"],
)  # fmt: skip
def test_the_mask_lands_on_the_plane_on_show(viewer, open_dock, qtbot, shape, rgb, order):
    scale = (2.5, 0.7, 0.7)[-2 if rgb else -3 :]
    data = image(shape)
    layer = viewer.add_image(data, rgb=rgb, scale=scale, translate=[4.0] * len(scale))
    if order:
        viewer.dims.order = order
    if not rgb:
        axis = viewer.dims.not_displayed[0]
        viewer.dims.set_current_step(axis, 3)
    dock = open_dock()
    inside = np.array([30, 35] if rgb else [3, 30, 35])
    if order == (1, 0, 2):
        inside = np.array([30, 3, 35])
    world = tuple(layer.data_to_world(inside))
    proposal = play(qtbot, dock, lambda: dock.prompt_controller.click(world))
    labels = dock.controller.current.mask.layer
    np.testing.assert_allclose(labels.scale, layer.scale)
    np.testing.assert_allclose(labels.translate, layer.translate)
    if rgb:
        plane = labels.data
    else:
        axis = 1 if order == (1, 0, 2) else 0
        plane = np.take(labels.data, 3, axis)
        assert np.delete(labels.data, 3, axis).sum() == 0
    np.testing.assert_array_equal(plane == 1, proposal.mask)
    reference = make_session("")
    reference.set_image(data if rgb else np.take(data, 3, 1 if order == (1, 0, 2) else 0))
    np.testing.assert_array_equal(reference.start([(30, 35)]).mask, proposal.mask)
    layers = dock.controller.current.candidates.layers
    shapes = [s for s in layers if s is not None and len(s.data)]
    assert shapes
    if not rgb:
        axis = 1 if order == (1, 0, 2) else 0
        assert all((polygon[:, axis] == 3).all() for s in shapes for polygon in s.data)


def test_keys_work_whichever_layer_is_active(viewer, open_dock, qtbot):
    viewer.add_image(image(), name="image")
    dock = open_dock()
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    viewer.add_shapes(name="theirs")
    kinds = set()
    for layer in list(viewer.layers):
        if layer not in viewer.layers:
            continue
        viewer.layers.selection.active = layer
        kinds.add(type(layer).__name__)
        assert play(qtbot, dock, lambda: press(viewer, DEFAULT_KEYS["pick_1"])).round >= 2
        play(qtbot, dock, lambda: press(viewer, DEFAULT_KEYS["undo"]))
    assert {"Image", "Labels", "Points", "Shapes"} <= kinds
    first = dock.controller.current.candidates.layers[0]
    assert first.visible
    press(viewer, DEFAULT_KEYS["toggle_1"])
    assert not first.visible
    press(viewer, DEFAULT_KEYS["accept"])
    assert not dock.controller.choosing


def test_a_changed_key_holds_at_once_and_stays(viewer, open_dock, qtbot):
    viewer.add_image(image())
    dock = open_dock()
    get_plugin_settings("napari-spa").keys.accept = "Shift+Z"  # as the Preferences do
    dock.store.save(contrast="layer")
    assert "Shift+Z" in dock.parts.action_buttons["accept"].text()
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    press(viewer, "Shift+Z")
    assert not dock.controller.choosing


def test_layers_may_be_renamed_and_deleted(viewer, open_dock, qtbot):
    viewer.add_image(image(), name="image")
    dock = open_dock()
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    for layer in list(viewer.layers):
        layer.name = f"renamed {layer.name}"
    play(qtbot, dock, lambda: dock.controller.pick(0))
    for layer in [x for x in viewer.layers if dock.controller.current.owns(x)]:
        viewer.layers.remove(layer)
    proposal = play(qtbot, dock, lambda: dock.controller.pick(0))
    np.testing.assert_array_equal(preview(dock) == 1, proposal.mask)


def test_deleting_the_image_drops_the_object_and_late_answers(viewer, open_dock, qtbot):
    layer = viewer.add_image(image())
    dock = open_dock()
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    dock.controller.pick(0)
    viewer.layers.remove(layer)
    qtbot.wait(500)
    assert not dock.controller.choosing
    assert "removed" in dock.parts.status.text()
    viewer.add_image(image(seed=1))
    assert play(qtbot, dock, lambda: dock.prompt_controller.click((20, 20))).round == 1


def test_errors_are_sentences_one_can_go_on_from(viewer, open_dock, qtbot, monkeypatch):
    noted = []
    monkeypatch.setattr(dock_module, "show_warning", noted.append)

    def broken(name):
        raise InputError("the model file is broken.")

    dock = open_dock(broken)
    dock.prompt_controller.click((1, 1))
    assert "no image" in dock.parts.status.text()
    viewer.add_image(image())
    dock.prompt_controller.click((500, 1))
    assert "outside" in dock.parts.status.text()
    with qtbot.waitSignal(dock.controller.failed, timeout=10_000):
        dock.prompt_controller.click((5, 5))
    assert dock.parts.status.text() == noted[-1] == "The model file is broken."
    assert not dock.controller.worker.busy
    dock.controller.model.factory = make_session
    assert play(qtbot, dock, lambda: dock.prompt_controller.click((5, 5))).round == 1


def test_a_click_on_another_slice_is_refused(viewer, open_dock, qtbot):
    viewer.add_image(image((4, 60, 70)))
    viewer.dims.set_current_step(0, 1)
    dock = open_dock()
    play(qtbot, dock, lambda: dock.prompt_controller.click((1, 30, 35)))
    hint = dock.parts.status.text()
    viewer.dims.set_current_step(0, 2)
    said = "The current object is on slice 1; go back there"
    qtbot.waitUntil(lambda: said in dock.parts.status.text())
    viewer.dims.set_current_step(0, 1)
    qtbot.waitUntil(lambda: dock.parts.status.text() == hint)
    viewer.dims.set_current_step(0, 3)
    play(qtbot, dock, lambda: dock.controller.pick(0))
    assert said in dock.parts.status.text()  # the round is not seen here either
    viewer.dims.set_current_step(0, 2)
    dock.prompt_controller.click((2, 30, 35))
    assert said in dock.parts.status.text()
    dock.parts.action_buttons["accept"].click()
    labels = dock.controller.current.mask.layer.data
    assert labels[1].any()
    assert not labels[[0, 2, 3]].any()
    play(qtbot, dock, lambda: dock.prompt_controller.click((2, 30, 35)))
    viewer.dims.set_current_step(0, 3)  # the next object is on another slice now
    qtbot.waitUntil(lambda: "object is on slice 2; go" in dock.parts.status.text())


def test_closing_gives_everything_back(viewer, open_dock, qtbot):
    viewer.add_image(image())
    keys, callbacks = dict(viewer.keymap), list(viewer.mouse_drag_callbacks)
    dock = open_dock()
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    dock.parts.action_buttons["accept"].click()
    dock.close()
    assert dict(viewer.keymap) == keys
    assert list(viewer.mouse_drag_callbacks) == callbacks
    assert viewer.layers[-1].name == "Image: objects"


def test_removing_the_dock_gives_everything_back(viewer, qtbot):
    viewer.add_image(image())
    keys, callbacks = dict(viewer.keymap), list(viewer.mouse_drag_callbacks)
    dock = RefineDock(viewer, make_session)
    viewer.window.add_dock_widget(dock, name="SPA Refine")
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    viewer.window.remove_dock_widget(dock)
    assert dict(viewer.keymap) == keys
    assert list(viewer.mouse_drag_callbacks) == callbacks
    dock.deleteLater()


def test_two_viewers_do_not_collide(make_napari_viewer, qtbot):
    viewers = [make_napari_viewer(), make_napari_viewer()]
    docks = [RefineDock(v, make_session) for v in viewers]
    try:
        for seed, (v, dock) in enumerate(zip(viewers, docks, strict=True)):
            qtbot.addWidget(dock)
            v.add_image(image(seed=seed))
        first = play(qtbot, docks[0], lambda: docks[0].prompt_controller.click((30, 35)))
        second = play(qtbot, docks[1], lambda: docks[1].prompt_controller.click((20, 25)))
        np.testing.assert_array_equal(preview(docks[0]) == 1, first.mask)
        np.testing.assert_array_equal(preview(docks[1]) == 1, second.mask)
        press(viewers[0], DEFAULT_KEYS["accept"])
        assert docks[1].controller.choosing
        assert not docks[0].controller.choosing
    finally:
        for dock in docks:
            dock.release()

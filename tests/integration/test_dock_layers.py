"""The dock's layers and keys: ready before the first click, moved along, flipped and filled."""

import numpy as np
import pytest
from napari.layers import Labels, Shapes
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QApplication
from tiny_model import make_model

from napari_spa.io.profiles import PreferenceProfile, ProfileStore
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.session.session import RefinementSession
from napari_spa.viewer.annotation.round import HINT_CHOOSE, rehearse
from napari_spa.widgets.refine.dock import RefineDock

MODEL = make_model()


def make_session(name="tiny"):
    return RefinementSession(MODEL, config=EngineConfig(samples=12))


@pytest.fixture
def opened(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    viewer.add_image(pixels(), name="cell")
    made = []

    def factory(name):
        made.append(name)
        dock.there = names(viewer)
        return make_session()

    dock = RefineDock(viewer, factory)
    dock.made = made
    qtbot.addWidget(dock)
    yield viewer, dock
    dock.release()


def pixels(seed=0, shape=(60, 70)):
    return np.random.default_rng(seed).integers(0, 255, shape, np.uint8)


def play(qtbot, dock, act):
    with qtbot.waitSignal(dock.controller.proposed, timeout=30_000) as signal:
        act()
    qtbot.waitUntil(lambda: not dock.controller.busy, timeout=30_000)
    return signal.args[0]


def names(viewer):
    return [layer.name for layer in viewer.layers]


OURS = [*(f"candidate {k}" for k in (1, 2, 3, 4)), "objects", "prompts", "view"]


def test_model_and_layers_are_ready_before_the_first_click(opened, qtbot):
    viewer, dock = opened
    qtbot.waitUntil(lambda: len(viewer.layers) == 8, timeout=30_000)
    assert names(viewer) == ["cell", *(f"cell: {name}" for name in OURS)]
    assert viewer.layers.selection.active is viewer.layers["cell"]
    qtbot.waitUntil(lambda: dock.controller.session is not None, timeout=30_000)
    assert len(dock.there) == 8  # when the model began to load: an import slows drawing
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    assert len(viewer.layers) == 8
    assert dock.made == ["spa-tiny"]  # loaded once


@pytest.mark.parametrize("there", [1, 2, 3, 5, 8])
def test_a_click_while_layers_are_made_shows_all(opened, qtbot, there):
    viewer, dock = opened
    qtbot.waitUntil(lambda: len(viewer.layers) >= there, timeout=30_000)
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    qtbot.waitUntil(lambda: len(viewer.layers) == 8, timeout=30_000)
    qtbot.wait(100)
    hidden = [layer.name for layer in viewer.layers if not layer.visible]
    assert hidden == ["cell: view"]  # as long as there is nothing in it
    assert dock.controller.choosing


def test_a_round_whose_mask_is_hidden_says_so(opened, qtbot):
    viewer, dock = opened
    said = []
    dock.controller.status_message.connect(said.append)
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    assert "hidden" not in said[-1]
    viewer.layers["cell: objects"].visible = False
    play(qtbot, dock, lambda: dock.controller.pick(0))
    assert said[-1].startswith("cell: objects is hidden: press its eye")


def test_a_rehearsal_leaves_the_session_as_it_is():
    steps, session = [], make_session()
    rehearse(session, lambda share, words: steps.append(words))
    assert steps  # a round was played
    assert session.timeline is None


def test_closing_an_unused_dock_leaves_nothing(opened, qtbot):
    viewer, dock = opened
    qtbot.waitUntil(lambda: len(viewer.layers) == 8, timeout=30_000)
    dock.release()
    assert names(viewer) == ["cell"]


def test_one_set_of_layers_moves_to_the_image_on_show(opened, qtbot):
    viewer, dock = opened
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    helpers = {layer for layer in viewer.layers if isinstance(layer, Shapes)}
    dock.controller.accept()
    other = viewer.add_image(pixels(1), name="nerve", scale=(2, 2))
    play(qtbot, dock, lambda: dock.prompt_controller.click((40, 60)))
    # The accepted object stays under its image's name; all else is one set.
    assert sorted(names(viewer)) == sorted(
        ["cell", "cell: objects", "nerve", *(f"nerve: {name}" for name in OURS)]
    )
    assert {layer for layer in viewer.layers if isinstance(layer, Shapes)} == helpers
    above = viewer.layers.index(other)
    for layer in viewer.layers:
        if layer.name.startswith("nerve:"):
            assert viewer.layers.index(layer) > above
            np.testing.assert_array_equal(layer.scale, other.scale)
    dock.controller.discard()
    viewer.layers.selection.active = viewer.layers["cell"]
    qtbot.waitUntil(lambda: "cell: prompts" in names(viewer), timeout=10_000)
    assert sum(isinstance(layer, Labels) for layer in viewer.layers) == 1  # nerve had no object
    assert viewer.layers["cell: objects"].data.any()
    with qtbot.waitSignal(dock.controller.failed, timeout=10, raising=False):
        viewer.layers.remove(viewer.layers["cell"])
    assert "stays" not in dock.parts.status.text()


@pytest.mark.parametrize("way", ["bin", "clear", "image first", "image last", "reversed"])
def test_all_layers_are_removed_at_once(opened, qtbot, way):
    viewer, dock = opened
    layers, image = viewer.layers, viewer.layers["cell"]
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    assert len(layers) == 8
    if way == "clear":
        layers.clear()
    elif way == "bin":
        layers.select_all()
        layers.remove_selected()
    else:  # as the bin does; it goes through a set, so which of them goes first is chance
        chosen = list(layers)[:: -1 if way == "reversed" else 1]
        if way != "reversed":
            chosen.sort(key=lambda layer: (layer is image) != (way == "image first"))
        with layers.batched_update():
            for layer in chosen:
                layers.pop(layers.index(layer))
    qtbot.wait(20)
    assert not layers
    assert not dock.controller.choosing
    viewer.add_image(pixels(), name="cell")
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    assert sorted(names(viewer)) == ["cell", *sorted(f"cell: {name}" for name in OURS)]


def assert_together(viewer, image):
    ours = [layer for layer in viewer.layers if layer.name.startswith("cell: ")]
    assert len(ours) == len(OURS)
    world = image._transforms[1:].simplified.affine_matrix
    for layer in ours:
        np.testing.assert_allclose(layer._transforms[1:].simplified.affine_matrix, world)
        assert layer.units == image.units
    assert viewer.layers.extent.units is not None  # they are consistent
    return ours


def test_layers_go_where_the_image_goes(opened, qtbot):
    viewer, dock = opened
    image = viewer.layers["cell"]
    qtbot.waitUntil(lambda: len(viewer.layers) == 8, timeout=30_000)
    image.scale = (0.5, 0.25)
    image.units = ("um", "um")
    assert_together(viewer, image)
    play(qtbot, dock, lambda: dock.prompt_controller.click((15, 35 / 4)))
    mask = viewer.layers["cell: objects"]
    width = mask.contour
    moves = {
        "translate": (3.0, -4.0),
        "rotate": 30.0,
        "shear": [0.2],
        "affine": np.array([[1.0, 0.1, 2], [0, 1.5, 0], [0, 0, 1]]),
        "scale": (0.05, 0.05),
    }
    for name, value in moves.items():
        setattr(image, name, value)
        assert_together(viewer, image)
    assert mask.contour > width  # as wide on the screen
    points = viewer.layers["cell: prompts"]
    np.testing.assert_allclose(points.data_to_world(points.data[0]), image.data_to_world((30, 35)))
    dock.controller.accept()
    (size,) = dock.controller.session.profile.sizes
    placed = 0.05 * np.hypot(0.1, 1.5) ** 0.5  # as it is now, affine included
    assert size.pixel_size == pytest.approx(placed)


@pytest.mark.parametrize("objects", [True, False])
def test_a_mask_is_heard_after_a_look_at_an_image_of_other_dimensions(opened, qtbot, objects):
    viewer, dock = opened
    controller, said = dock.controller, []
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    if objects:
        controller.accept()
    else:
        controller.discard()
    controller.status_message.connect(said.append)
    cell, stack = viewer.layers["cell"], viewer.add_image(pixels(1, (3, 60, 70)), name="stack")
    play(qtbot, dock, lambda: dock.prompt_controller.click((1, 30, 35)))
    controller.accept()
    viewer.layers.selection.active = cell
    qtbot.waitUntil(lambda: controller.current.image is cell)
    qtbot.waitUntil(lambda: "cell: prompts" in names(viewer), timeout=30_000)
    assert not [sentence for sentence in said if "layer" in sentence]
    mask = controller.current.mask.layer
    mask.brush_size, mask.selected_label, mask.mode = 3, 9, "paint"
    mask.paint((3, 3), 9)
    controller.images.painting.flush()
    assert controller.current.annotation.objects[9].area == np.sum(mask.data == 9) > 0
    dock.controller.undo()
    assert not np.any(mask.data == 9)
    assert stack in viewer.layers


def test_layers_are_renamed_with_the_image(opened, qtbot):
    viewer, dock = opened
    image = viewer.layers["cell"]
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    viewer.layers["cell: objects"].name = "mine"
    image.name = "nerve"
    ours = ["mine" if name == "objects" else f"nerve: {name}" for name in OURS]
    assert sorted(names(viewer)) == sorted(["nerve", *ours])
    viewer.layers.remove("mine")
    assert "was removed" in dock.parts.status.text()
    dock.controller.current.mask.make()
    assert dock.parts.status.text() == "The mask layer is back."


@pytest.mark.parametrize("change", ["removed", "other pixels"])
def test_what_happens_to_another_image_leaves_the_round_on_show(opened, qtbot, change):
    viewer, dock = opened
    cell = viewer.layers["cell"]
    other = viewer.add_image(np.zeros((60, 70)), name="other", translate=(80, 0))
    dock.controller.images.annotate(other)
    viewer.layers.selection.active = cell
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    if change == "removed":
        viewer.layers.remove(other)
    else:
        other.data = np.ones((50, 50))
    assert change in dock.parts.status.text() or "were replaced" in dock.parts.status.text()
    assert HINT_CHOOSE in dock.parts.status.text()
    assert dock.parts.grid.index_at(0) is not None


def test_what_is_said_of_the_mask_changes_with_it(opened, qtbot):
    _, dock = opened
    first = play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    dock.controller.pick(0)
    seen, controller = set(), dock.controller
    while controller.busy:
        QApplication.processEvents()
        if dock.parts.now.currentWidget() is dock.parts.figures:
            drawn = np.count_nonzero(controller.current.mask.layer.data)
            assert f" {drawn:,} px" in dock.parts.figures.text()
            seen.add(drawn)
    assert seen == {first.area, controller.session.proposal.area}
    assert len(seen) == 2


def test_holding_a_key_shows_a_candidate_in_place_of_the_mask(opened, qtbot):
    _, dock = opened
    proposal = play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    data = dock.controller.current.mask.layer.data
    area = dock.controller.active.area
    dock._on_previewed(1, True)
    dock._on_previewed(1, False)
    active = dock._actions()["flip"]()
    next(active)
    np.testing.assert_array_equal(data == 1, proposal.candidates[1].mask)
    assert dock.controller.active.area == area
    next(active, None)
    np.testing.assert_array_equal(data == 1, proposal.mask)
    active = dock._actions()["flip"]()
    next(active)
    dock.controller.accept()  # accepts what is recommended, whatever is shown for a moment
    next(active, None)
    np.testing.assert_array_equal(data == 1, proposal.mask)


def test_the_mask_is_outlined_until_a_key_fills_it(opened, qtbot):
    viewer, dock = opened
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    layer = dock.controller.current.mask.layer
    assert layer.contour > 0
    dock._actions()["fill"]()
    assert layer.contour == 0
    dock.controller.accept()
    viewer.add_image(pixels(1), name="nerve")
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    assert dock.controller.current.mask.layer.contour == 0  # holds for the next image too
    dock._actions()["fill"]()
    assert dock.controller.current.mask.layer.contour > 0


def press(viewer, key, scan=0, modifiers=Qt.KeyboardModifier.NoModifier):
    canvas = viewer.window._qt_viewer.canvas.native
    for kind in (QEvent.Type.KeyPress, QEvent.Type.KeyRelease):
        event = QKeyEvent(kind, ord(key), modifiers, scan, 0, 0, key.lower())
        QApplication.sendEvent(canvas, event)


@pytest.mark.parametrize("layer", ["cell", "cell: objects", "cell: prompts"])
def test_control_z_is_undo_whichever_layer_is_active(opened, qtbot, layer):
    """On the objects layer napari's own would take accepted pixels away, and say nothing."""
    viewer, dock = opened
    viewer.window.add_dock_widget(dock)
    controller, shift = dock.controller, Qt.KeyboardModifier.ShiftModifier
    control = Qt.KeyboardModifier.ControlModifier
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    controller.accept()
    accepted = controller.current.mask.layer.data == 1
    play(qtbot, dock, lambda: dock.prompt_controller.click((10, 10), aim="next"))
    play(qtbot, dock, lambda: controller.pick(0))
    viewer.layers.selection.active = viewer.layers[layer]
    qtbot.wait(50)
    play(qtbot, dock, lambda: press(viewer, "Z", modifiers=control))
    assert controller.shown().proposal.round == 1
    play(qtbot, dock, lambda: press(viewer, "Z", modifiers=control | shift))
    assert controller.shown().proposal.round == 2
    np.testing.assert_array_equal(controller.current.mask.layer.data == 1, accepted)
    controller.accept()
    play(qtbot, dock, lambda: press(viewer, "Z", modifiers=control))
    assert controller.active.number == 2


def test_numbers_choose_while_no_tool_needs_them(opened, qtbot):
    viewer, dock = opened
    viewer.window.add_dock_widget(dock)
    image = viewer.layers["cell"]
    viewer.layers.selection.active = image
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    assert play(qtbot, dock, lambda: press(viewer, "2")).round == 2
    assert image.mode == "pan_zoom"
    assert play(qtbot, dock, lambda: press(viewer, "&", scan=10)).round == 3  # a French 1
    assert play(qtbot, dock, lambda: press(viewer, "П", scan=42)).round == 4  # a Russian G
    dock.controller.discard()
    press(viewer, "2")  # napari's again
    assert image.mode == "transform"
    image.mode = "pan_zoom"
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    points = viewer.add_points(np.empty((0, 2)))
    viewer.layers.selection.active = points
    qtbot.wait(50)
    press(viewer, "2")
    assert points.mode == "add"
    assert dock.controller.shown().proposal.round == 1


def test_an_accept_that_is_redone_teaches_again(opened, qtbot):
    _, dock = opened
    profiles = dock.controller.profiles
    empty = make_session()
    empty.set_image(pixels())
    empty.start([(30, 35)])
    empty.pick(0)
    path = ProfileStore().add(PreferenceProfile.empty(empty.model.identity, name="Ana"))

    def settle():
        done = []
        profiles.files.ask(lambda: None, done.append)
        qtbot.waitUntil(lambda: bool(done), timeout=30_000)

    for chosen in (None, path):
        profiles.use(chosen)
        settle()
        play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
        play(qtbot, dock, lambda: dock.controller.pick(0))
        dock.controller.accept()
        settle()
        assert profiles.profile.picks == 1
        play(qtbot, dock, dock.controller.undo)
        settle()
        assert profiles.profile.picks == 0
        dock.controller.discard()
        dock.controller.redo()
        settle()
        assert profiles.profile.picks == 1
        dock.controller.undo()  # and back again
        qtbot.waitUntil(
            lambda: not dock.controller.busy and dock.controller.choosing, timeout=30_000
        )
        settle()
        assert profiles.profile.picks == 0
        dock.controller.discard()

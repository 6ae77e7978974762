"""Lasso, negative brush, and clicks that are dragged and deleted with napari's own tools."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel
from tiny_model import make_model

from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.session.session import RefinementSession
from napari_spa.viewer.annotation.prompts import CanvasGestures
from napari_spa.viewer.settings import DEFAULT_KEYS
from napari_spa.widgets.refine.dock import RefineDock
from napari_spa.widgets.refine.prompt_bar import HINTS, LASSO

MODEL = make_model()
SQUARE = [(20.0, 20.0), (20.0, 50.0), (45.0, 50.0), (45.0, 20.0)]


class Taker:
    """Write down what gestures become."""

    def __init__(self):
        self.took, self.drawn = [], []

    def draw_gesture(self, tool, path):
        self.drawn.append((tool, list(path)))

    def __getattr__(self, name):
        return lambda *what, **how: self.took.append((name, *what, how.get("aim")))


@pytest.fixture
def mouse():
    viewer, taker = ViewerModel(), Taker()
    gestures = CanvasGestures(viewer, taker)

    def drag(*path, modifiers=()):
        """Press at the first place, move over the others, and release at the last."""
        event = SimpleNamespace(
            button=1, type="mouse_press", pos=path[0], position=path[0], modifiers=modifiers
        )
        steps = viewer.mouse_drag_callbacks[-1](viewer, event)
        next(steps)
        event.type = "mouse_move"
        for event.pos in path[1:]:
            event.position = event.pos
            next(steps)
        event.type = "mouse_release"
        with pytest.raises(StopIteration):
            next(steps)

    return SimpleNamespace(viewer=viewer, taker=taker, gestures=gestures, drag=drag)


def test_a_lasso_is_dragged(mouse):
    mouse.gestures.tool = "lasso"
    mouse.drag(*SQUARE, modifiers=("Shift",))
    assert mouse.taker.took == [("lasso", SQUARE, 0, "auto")]


def test_a_lasso_is_clicked_corner_by_corner(mouse):
    mouse.gestures.tool = "lasso"
    for corner in SQUARE:
        mouse.drag(corner)
    moved = SimpleNamespace(position=(60.0, 30.0))
    mouse.viewer.mouse_move_callbacks[-1](mouse.viewer, moved)
    assert mouse.taker.drawn[-1] == ("lasso", [*SQUARE, (60.0, 30.0)])
    assert not mouse.taker.took
    mouse.drag((22.0, 21.0))  # onto the first
    assert mouse.taker.took == [("lasso", SQUARE, 1, "auto")]
    for corner in SQUARE[:3]:
        mouse.drag(corner, modifiers=("Control",))
    mouse.viewer.mouse_double_click_callbacks[-1](mouse.viewer, moved)
    assert mouse.taker.took[1:] == [("lasso", SQUARE[:3], 1, "next")]


def test_another_tool_drops_an_open_lasso(mouse):
    mouse.gestures.tool = "lasso"
    for corner in SQUARE:
        mouse.drag(corner)
    mouse.gestures.tool = "click"
    assert mouse.taker.drawn[-1] == ("lasso", [])
    assert not mouse.taker.took


def test_a_double_click_zooms_unless_it_closes_a_lasso(mouse):
    doubles = mouse.viewer.mouse_double_click_callbacks
    before = list(doubles)
    assert before  # napari's zoom
    mouse.gestures.tool = "lasso"
    mouse.gestures.tool = "lasso"
    assert not set(before) & set(doubles)
    mouse.gestures.release()
    assert list(doubles) == before


@pytest.mark.parametrize(("shift", "label"), [(False, 0), (True, 1)])
def test_a_negative_brush_takes_away_unless_shift_is_held(mouse, shift, label):
    mouse.gestures.tool, mouse.gestures.negative = "brush", True
    mouse.drag((5.0, 5.0), (5.0, 25.0), modifiers=("Shift",) if shift else ())
    assert mouse.taker.took == [("stroke", [(5.0, 5.0), (5.0, 25.0)], label, "auto")]


@pytest.mark.parametrize("tool", ["box", "brush"])
def test_a_hand_that_trembles_clicks(mouse, tool):
    mouse.gestures.tool = tool
    mouse.drag((20.0, 20.0), (22.0, 21.0))
    assert mouse.taker.took == [("click", (20.0, 20.0), 1, "auto")]
    mouse.drag((20.0, 20.0), (30.0, 21.0))
    assert mouse.taker.took[1][0] in ("box", "stroke")


@pytest.fixture
def dock(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    viewer.add_image(np.random.default_rng(0).integers(0, 255, (60, 70), np.uint8), scale=(2, 3))
    dock = RefineDock(
        viewer, lambda name: RefinementSession(MODEL, config=EngineConfig(samples=12))
    )
    qtbot.addWidget(dock)
    yield dock
    dock.release()


def play(qtbot, dock, action):
    with qtbot.waitSignal(dock.controller.proposed, timeout=30_000) as signal:
        action()
    qtbot.waitUntil(lambda: not dock.controller.busy, timeout=30_000)
    return signal.args[0]


def test_the_sign_stays_with_brush_and_lasso_and_keys_switch_it(dock):
    gestures, bar = dock.prompt_controller.gestures, dock.parts.prompts

    def state():
        return gestures.tool, gestures.negative

    bar.tools["lasso"].click()
    assert state() == ("lasso", False)
    dock._actions()["prompt_sign"]()
    assert state() == ("lasso", True)
    bar.tools["brush"].click()
    assert state() == ("brush", True)
    bar.tools["add"].click()
    assert state() == ("brush", False)
    bar.tools["add"].click()  # once more: clicks
    assert state() == ("click", False)
    bar.tools["remove"].click()
    bar.tools["box"].click()  # there is no negative box
    assert state() == ("box", False)
    dock._actions()["lasso"]()
    dock._actions()["lasso"]()
    assert state() == ("click", False)
    assert "lasso" in DEFAULT_KEYS


def world(row, column):
    return 2.0 * row, 3.0 * column


def test_a_lasso_starts_an_object_and_adds_and_takes_away(dock, qtbot):
    outline = [world(r, c) for r, c in ((20, 20), (20, 40), (40, 40), (40, 20))]
    first = play(qtbot, dock, lambda: dock.prompt_controller.lasso(outline))
    assert first.round == 1
    rough = dock.controller.session.prompts.mask
    assert rough.area == 21 * 21
    part = [world(r, c) for r, c in ((24, 24), (24, 30), (30, 30), (30, 24))]
    taken = play(qtbot, dock, lambda: dock.prompt_controller.lasso(part, 0))
    assert not taken.mask[24:31, 24:31].any()
    added = play(qtbot, dock, lambda: dock.prompt_controller.lasso(part, aim="current"))
    assert added.mask[24:31, 24:31].all()
    # A lasso may leave the image; what is inside of it counts.
    beyond = [world(r, c) for r, c in ((30, 30), (30, 35), (90, 35), (90, 30))]
    edge = play(qtbot, dock, lambda: dock.prompt_controller.lasso(beyond, aim="current"))
    assert edge.mask[59, 32]


@pytest.mark.parametrize("tool", ["box", "lasso"])
def test_what_is_drawn_around_the_current_object_is_about_it(dock, qtbot, tool):
    prompts = dock.prompt_controller
    first = play(qtbot, dock, lambda: prompts.box(world(20, 20), world(30, 32)))
    rows, columns = np.nonzero(first.mask)
    top, left, bottom, right = rows.min(), columns.min(), rows.max(), columns.max()
    far = [(top - 12, left - 12), (bottom + 12, left - 12), (bottom + 12, right + 12)]
    far = [*far, (top - 12, right + 12)]
    if tool == "box":
        act = partial(prompts.box, world(*far[0]), world(*far[2]))
    else:
        act = partial(prompts.lasso, [world(*corner) for corner in far])
    assert play(qtbot, dock, act).round == 2
    assert not dock.controller.current.annotation.objects


def test_what_to_do_next_is_said_of_the_tool_that_is_on(dock, qtbot):
    dock.parts.prompts.tool_requested.emit(LASSO)
    outline = [world(r, c) for r, c in ((20, 20), (20, 40), (40, 40), (40, 20))]
    play(qtbot, dock, lambda: dock.prompt_controller.lasso(outline))
    dock.controller.undo()
    assert "only Discard takes the object away" in dock.parts.status.text()
    dock.controller.accept()
    assert dock.parts.status.text().startswith("Object 1 accepted")
    assert dock.parts.status.text().endswith(HINTS[LASSO])


def test_clicks_are_dragged_and_deleted_in_their_layer(dock, qtbot):
    play(qtbot, dock, lambda: dock.prompt_controller.click(world(30, 35)))
    play(qtbot, dock, lambda: dock.prompt_controller.click(world(32, 37), 0, aim="current"))
    points = dock.controller.current.prompts._points
    np.testing.assert_array_equal(points.data, [(30, 35), (32, 37)])

    def drag():
        points.mode = "select"
        points.selected_data = {1}
        points._set_drag_start([1], (32, 37))  # as the mouse does
        points._move([1], (40, 30))
        points._drag_start = None

    moved = play(qtbot, dock, drag)
    assert moved.round == 3
    assert not moved.mask[40, 30]
    np.testing.assert_array_equal(points.data, [(30, 35), (40, 30)])

    def delete():
        points.selected_data = {1}
        points.remove_selected()

    deleted = play(qtbot, dock, delete)
    assert deleted.round == 4
    np.testing.assert_array_equal(points.data, [(30, 35)])
    back = play(qtbot, dock, dock.controller.undo)
    assert back.round == 3
    np.testing.assert_array_equal(points.data, [(30, 35), (40, 30)])

    with qtbot.waitSignal(dock.controller.failed, timeout=10_000):  # the last one on the object
        points.selected_data = {0}
        points.remove_selected()
    np.testing.assert_array_equal(points.data, [(30, 35), (40, 30)])
    added = play(qtbot, dock, lambda: points.add((31, 33)))  # napari's own tool to add
    assert added.round == 4
    assert added.mask[31, 33]

"""One object after another: a click elsewhere accepts and starts the next; undo goes back."""

import numpy as np
import pytest
from scipy import ndimage
from tiny_model import make_model

from napari_spa.io.event_log import read_records
from napari_spa.io.models.load import load_model
from napari_spa.refine.annotation.annotation import ArraySurface
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.log.journal import read_journal
from napari_spa.refine.session.session import RefinementSession
from napari_spa.viewer.settings import DEFAULT_KEYS
from napari_spa.widgets.refine.dock import RefineDock

MODEL = make_model()
NUCLEI = (5, 10)
SPACING = 56


def make_session(name):
    return RefinementSession(MODEL, config=EngineConfig(samples=12))


def field_of_nuclei(seed=0):
    """Draw fifty bright ellipses: image, centres and labels."""
    rng = np.random.default_rng(seed)
    shape = tuple(n * SPACING + 16 for n in NUCLEI)
    rows, columns = np.indices(shape).astype(float)
    image, labels, centres = np.full(shape, 0.12), np.zeros(shape, int), []
    for place in np.ndindex(*NUCLEI):
        row, column = (np.array(place) + 0.5) * SPACING + 8 + rng.uniform(-5, 5, 2)
        turn, long, wide = rng.uniform(0, np.pi), rng.uniform(11, 17), rng.uniform(10, 16)
        along = (columns - column) * np.cos(turn) + (rows - row) * np.sin(turn)
        across = (rows - row) * np.cos(turn) - (columns - column) * np.sin(turn)
        inside = np.hypot(along / long, across / wide) < 1
        centres.append((round(row), round(column)))
        labels[inside] = len(centres)
        image[inside] += rng.uniform(0.4, 0.7)
    image = ndimage.gaussian_filter(image, 1.5) + rng.normal(0, 0.03, shape)
    return (image.clip(0, 1) * 255).astype(np.uint8), centres, labels


@pytest.fixture
def open_dock(make_napari_viewer, qtbot):
    docks = []

    def open_it(data, factory=make_session):
        viewer = make_napari_viewer()
        viewer.add_image(data, name="image")
        dock = RefineDock(viewer, factory)
        qtbot.addWidget(dock)
        docks.append(dock)
        return dock

    yield open_it
    for dock in docks:
        dock.release()


def play(qtbot, dock, act, timeout=60_000):
    with qtbot.waitSignal(dock.controller.proposed, timeout=timeout) as signal:
        act()
    return signal.args[0]


def noise(shape=(60, 300)):
    return np.random.default_rng(0).integers(0, 255, shape, np.uint8)


def objects(dock):
    return dock.controller.current.annotation.objects


def labels(dock):
    return dock.controller.current.mask.layer.data


def outside_view(dock):
    """A pixel in the image that the field of view of the current object does not hold."""
    view = dock.controller.shown().timeline.state.view
    column = view.column + view.width + 4 if view.column < 120 else view.column - 4
    return 30.0, column


def test_a_click_elsewhere_accepts_and_one_undo_takes_both_back(open_dock, qtbot):
    dock = open_dock(noise())
    first = play(qtbot, dock, lambda: dock.prompt_controller.click((30, 30)))
    picked = play(qtbot, dock, lambda: dock.controller.pick(0))
    assert picked.round == 2
    second = play(qtbot, dock, lambda: dock.prompt_controller.click(outside_view(dock)))
    assert second.round == 1
    assert list(objects(dock)) == [1]
    assert dock.controller.active.number == 2
    assert "Object 1 accepted" in dock.parts.status.text()
    np.testing.assert_array_equal(labels(dock) == 1, picked.mask)
    back = play(qtbot, dock, dock.parts.action_buttons["undo"].click)
    assert not objects(dock)
    assert dock.controller.active.number == 1
    np.testing.assert_array_equal(back.mask, picked.mask)
    assert not (labels(dock) == 2).any()
    again = play(qtbot, dock, dock.parts.action_buttons["undo"].click)  # its own round
    np.testing.assert_array_equal(again.mask, first.mask)
    assert not dock.objects.undoing.can_undo


def test_a_click_in_reach_corrects(open_dock, qtbot):
    dock = open_dock(noise())
    first = play(qtbot, dock, lambda: dock.prompt_controller.click((30, 30)))
    row, column = np.argwhere(first.mask)[0]
    assert play(qtbot, dock, lambda: dock.prompt_controller.click((row, column))).round == 2
    assert play(qtbot, dock, lambda: dock.prompt_controller.click(outside_view(dock), 0)).round == 3
    assert dock.controller.active.number == 1
    assert not objects(dock)


def test_ctrl_starts_the_next_and_alt_stays(open_dock, qtbot):
    dock = open_dock(noise())
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 30)))
    far = outside_view(dock)
    assert play(qtbot, dock, lambda: dock.prompt_controller.click(far, aim="current")).round == 2
    assert not objects(dock)
    proposal = play(qtbot, dock, lambda: dock.prompt_controller.click((31, 31), aim="next"))
    assert proposal.round == 1
    assert list(objects(dock)) == [1]


@pytest.mark.parametrize(
    ("modifiers", "aim"), [((), "auto"), (("Control",), "next"), (("Alt",), "current")]
)
def test_the_mouse_says_which_object_is_meant(modifiers, aim):
    from types import SimpleNamespace

    from napari.components import ViewerModel

    from napari_spa.viewer.annotation.prompts import CanvasGestures

    class Taker:
        def click(self, position, label=1, *, aim="auto"):
            self.took = position, label, aim

    viewer, taker = ViewerModel(), Taker()
    CanvasGestures(viewer, taker)
    event = SimpleNamespace(
        button=1, type="mouse_press", pos=(3, 4), position=(5.0, 6.0), modifiers=modifiers
    )
    steps = viewer.mouse_drag_callbacks[-1](viewer, event)
    next(steps)
    event.type = "mouse_release"
    with pytest.raises(StopIteration):
        next(steps)
    assert taker.took == ((5.0, 6.0), 1, aim)


def test_a_click_on_an_accepted_object_selects_it(open_dock, qtbot):
    dock = open_dock(noise())
    first = play(qtbot, dock, lambda: dock.prompt_controller.click((30, 30)))
    dock.controller.accept()
    row, column = (int(v) for v in np.argwhere(first.mask)[0])
    dock.controller.selected = None
    dock.prompt_controller.click((row, column))
    assert not dock.controller.busy
    assert dock.controller.active is None
    assert dock.controller.selected == 1
    assert "Reopen" in dock.parts.status.text()
    again = play(qtbot, dock, lambda: dock.objects.reopen(1))
    np.testing.assert_array_equal(again.mask, first.mask)
    assert list(objects(dock)) == [1]


def state(dock):
    """All that undo and redo move: objects, labels, current object and its round."""
    active = dock.controller.active
    number = None if active is None else (active.number, active.shown.proposal.round)
    return list(objects(dock)), number, labels(dock).copy()


def assert_state(dock, expected):
    now = state(dock)
    assert now[:2] == expected[:2]
    np.testing.assert_array_equal(now[2], expected[2])


def test_undo_and_redo_go_along_rounds_and_accepted_objects(open_dock, qtbot):
    dock = open_dock(noise())
    places = [(30.0, 30.0), (30.0, 150.0), (30.0, 270.0)]
    acts = [lambda p=p: dock.prompt_controller.click(p, aim="next") for p in places]
    acts.insert(1, lambda: dock.controller.pick(0))
    acts.insert(3, lambda: dock.controller.pick(1))
    states = []
    for act in acts:
        play(qtbot, dock, act)
        states.append(state(dock))
    picks = dock.controller.session.profile.picks
    undo, redo = (dock.parts.action_buttons[name] for name in ("undo", "redo"))
    for _ in range(2):
        for expected in reversed(states[:-1]):
            play(qtbot, dock, undo.click)
            assert_state(dock, expected)
        assert not undo.isEnabled()
        for expected in states[1:]:
            assert redo.isEnabled()
            play(qtbot, dock, redo.click)
            assert_state(dock, expected)
        assert not redo.isEnabled()
    assert dock.controller.session.profile.picks == picks > 0
    dock.controller.accept()  # and one that no click follows
    done = state(dock)
    play(qtbot, dock, undo.click)
    assert_state(dock, states[-1])
    redo.click()
    assert_state(dock, done)
    play(qtbot, dock, undo.click)
    play(qtbot, dock, lambda: dock.controller.pick(0))  # something else: there is no redo
    assert not redo.isEnabled()
    log = dock.controller.autosave.log_of(dock.controller.current)
    expected = state(dock)
    dock.controller.autosave.flush()
    surface = ArraySurface(np.zeros(labels(dock).shape, np.uint32))
    logged = read_journal(read_records(log), surface)
    assert list(logged.annotation.objects) == expected[0]
    assert (logged.active.number, logged.active.round) == expected[1]
    shown = np.where(labels(dock) == logged.active.number, 0, labels(dock))
    np.testing.assert_array_equal(surface.array, shown)


def test_a_discarded_object_comes_back_with_its_rounds(open_dock, qtbot):
    dock = open_dock(noise())
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 30)))
    dock.controller.accept()
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 150)))
    play(qtbot, dock, lambda: dock.controller.pick(0))
    play(qtbot, dock, lambda: dock.controller.pick(0))
    play(qtbot, dock, dock.controller.undo)
    before = state(dock)
    undo = dock.parts.action_buttons["undo"]
    dock.parts.action_buttons["discard"].click()
    assert "Undo brings it back" in dock.parts.status.text()
    assert not (labels(dock) == 2).any()
    play(qtbot, dock, undo.click)
    assert_state(dock, before)
    assert dock.objects.undoing.can_redo
    log = dock.controller.autosave.log_of(dock.controller.current)
    dock.controller.autosave.flush()
    logged = read_journal(read_records(log), ArraySurface(np.zeros(labels(dock).shape, np.uint32)))
    assert (logged.active.number, logged.active.round, logged.active.undone) == (2, 2, 1)
    dock.controller.discard()  # nothing was done since: undo goes further back
    again = play(qtbot, dock, undo.click)
    assert dock.controller.active.number == 1
    assert again.round == 1
    dock.controller.accept()
    play(qtbot, dock, lambda: dock.objects.reopen(1))
    play(qtbot, dock, lambda: dock.controller.pick(0))
    changed = state(dock)
    dock.controller.discard()
    play(qtbot, dock, undo.click)
    assert_state(dock, changed)


def test_undo_takes_back_what_was_painted_before_what_came_before(open_dock, qtbot):
    dock = open_dock(noise())
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 30)))
    dock.controller.accept()
    layer = dock.controller.current.mask.layer
    layer.brush_size = 9
    seen = [labels(dock).copy()]
    for place, label in (((8, 200), 1), ((8, 100), 5), ((8, 200), 0)):
        layer.paint(place, label)
        seen.append(labels(dock).copy())
    undo, redo = (dock.parts.action_buttons[name] for name in ("undo", "redo"))
    for acts, states in ((undo, seen[-2::-1]), (redo, seen[1:])):
        for expected in states:
            qtbot.waitUntil(acts.isEnabled)
            acts.click()
            np.testing.assert_array_equal(labels(dock), expected)
            counted = {number: one.area for number, one in objects(dock).items()}
            assert counted == {n: int((expected == n).sum()) for n in np.unique(expected) if n}
    assert not dock.objects.undoing.can_redo
    layer.undo()  # napari's own: what is left to take back is right all the same
    undo.click()
    np.testing.assert_array_equal(labels(dock), seen[1])
    undo.click()
    np.testing.assert_array_equal(labels(dock), seen[0])
    play(qtbot, dock, undo.click)
    assert dock.controller.active.number == 1
    assert not objects(dock)


def test_what_was_painted_on_is_reopened_as_painted(open_dock, qtbot):
    dock = open_dock(noise())
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 30)))
    dock.controller.accept()
    layer = dock.controller.current.mask.layer
    layer.brush_size = 9
    layer.paint((8, 60), 1)
    layer.paint((30, 30), 0)
    painted = labels(dock) == 1
    again = play(qtbot, dock, lambda: dock.objects.reopen(1))
    assert again.round == 1
    np.testing.assert_array_equal(again.mask, painted)
    np.testing.assert_array_equal(labels(dock) == 1, painted)
    assert again.candidates
    play(qtbot, dock, lambda: dock.controller.pick(0))
    dock.controller.discard()
    assert play(qtbot, dock, dock.controller.undo).round == 2  # painted before it was discarded
    dock.controller.discard()
    layer.paint((8, 200), 1)
    dock.controller.undo()  # painted after
    np.testing.assert_array_equal(labels(dock) == 1, painted)
    assert dock.controller.active is None
    play(qtbot, dock, lambda: dock.objects.reopen(1))
    play(qtbot, dock, lambda: dock.controller.pick(0))
    back = play(qtbot, dock, dock.controller.undo)
    np.testing.assert_array_equal(back.mask, painted)
    dock.controller.accept()
    np.testing.assert_array_equal(labels(dock) == 1, painted)


def test_reopening_another_object_accepts_the_current_one(open_dock, qtbot):
    dock = open_dock(noise())
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 30)))
    play(qtbot, dock, lambda: dock.prompt_controller.click(outside_view(dock)))
    play(qtbot, dock, lambda: dock.objects.reopen(1))
    assert dock.controller.active.number == 1
    assert list(objects(dock)) == [1, 2]


def test_what_is_counted_is_what_is_written(open_dock, qtbot):
    dock = open_dock(noise())
    first = play(qtbot, dock, lambda: dock.prompt_controller.click((30, 30))).mask
    dock.controller.accept()
    second = play(qtbot, dock, lambda: dock.prompt_controller.click((32, 30), aim="next")).mask
    left = int((second & ~first).sum())
    shared = int((second & first).sum())
    assert shared
    assert f"{left:,} px" in dock.parts.figures.text()
    assert f"{shared:,} px belong to earlier objects" in dock.parts.figures.text()
    rows = dock.parts.objects.view.model()
    qtbot.waitUntil(lambda: [row.area for row in rows.rows if row.number == 2] == [left])
    dock.store.save(overlap="replace")
    assert f"{int(second.sum()):,} px ·" in dock.parts.figures.text()
    dock.store.save(overlap="protect")
    dock.controller.accept()
    assert objects(dock)[2].area == left == int((labels(dock) == 2).sum())


def test_an_object_that_is_replaced_is_named(open_dock, qtbot):
    dock = open_dock(noise())
    dock.store.save(overlap="replace")
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 30)))
    dock.controller.accept()
    rows, columns = np.nonzero(labels(dock) == 1)
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 30), aim="next"))
    box = ((rows.min(), columns.min()), (rows.max(), columns.max()))
    corners = [box[0], (box[1][0], box[0][1]), box[1], (box[0][0], box[1][1])]
    play(qtbot, dock, lambda: dock.prompt_controller.lasso(corners, aim="current"))
    dock.controller.accept()
    assert "Replaced: object 1. " in dock.parts.status.text()
    assert list(objects(dock)) == [2]
    dock.objects.undoing.undo()
    qtbot.waitUntil(lambda: not dock.controller.busy)
    assert list(objects(dock)) == [1]


def test_any_of_fifty_objects_is_taken_back(open_dock, qtbot):
    """One click for each; then any is deleted and undone, reopened and discarded, in any order."""
    image, centres, _ = field_of_nuclei()
    dock = open_dock(image)
    for centre in centres:
        play(qtbot, dock, lambda centre=centre: dock.prompt_controller.click(centre, aim="next"))
    dock.controller.accept()
    accepted = list(objects(dock))
    assert len(accepted) > 40  # the small network draws some that lie wholly under others
    found = labels(dock).copy()
    any_order = np.random.default_rng(1).permutation(accepted)[:12].tolist()
    for number in any_order:
        dock.objects.delete(number)
    gone = np.isin(found, any_order)
    np.testing.assert_array_equal(labels(dock), np.where(gone, 0, found))
    for taken_back in range(len(any_order)):  # the latest first
        dock.controller.undo()
        still = np.isin(found, any_order[: len(any_order) - taken_back - 1])
        np.testing.assert_array_equal(labels(dock), np.where(still, 0, found))
    assert list(objects(dock)) == accepted
    for number in any_order[:3]:
        play(qtbot, dock, lambda number=number: dock.objects.reopen(number))
        assert dock.controller.active.number == number
        dock.controller.discard()
        np.testing.assert_array_equal(labels(dock), found)
    last = accepted[-1]
    play(qtbot, dock, dock.controller.undo)  # the last click's object is the current one again
    assert dock.controller.active.number == last
    assert list(objects(dock)) == accepted[:-1]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_fifty_nuclei_take_one_click_each(open_dock, qtbot):
    image, centres, truth = field_of_nuclei()
    model = load_model()
    dock = open_dock(image, lambda name: RefinementSession(model, config=EngineConfig(samples=16)))
    for centre in centres:
        play(qtbot, dock, lambda centre=centre: dock.prompt_controller.click(centre))
    assert list(objects(dock)) == list(range(1, 50))
    assert dock.controller.active.number == 50
    found = labels(dock)
    for number in range(1, 51):
        mask, nucleus = found == number, truth == number
        assert 2 * (mask & nucleus).sum() / (mask.sum() + nucleus.sum()) > 0.8, number
    before = found.copy()
    for number in (49, 48):
        play(qtbot, dock, dock.parts.action_buttons["undo"].click)
        assert dock.controller.active.number == number
        assert list(objects(dock)) == list(range(1, number))
    np.testing.assert_array_equal(labels(dock), np.where(before > 48, 0, before))
    play(qtbot, dock, lambda: dock.objects.reopen(7))
    assert dock.controller.active.number == 7
    np.testing.assert_array_equal(labels(dock), np.where(before > 48, 0, before))
    assert DEFAULT_KEYS["undo"] in dock.parts.action_buttons["undo"].text()

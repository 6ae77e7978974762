"""Who owns a job, a stroke, a preview: whatever one does meanwhile, nothing is misplaced."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from napari.components import ViewerModel
from tiny_model import make_model

from napari_spa.io.event_log import read_records
from napari_spa.refine.annotation.propagation import PropagationConfig
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.log.serialization import unpack
from napari_spa.refine.session.session import RefinementSession
from napari_spa.viewer.annotation.controller import AnnotationController
from napari_spa.viewer.annotation.display import DisplayController
from napari_spa.viewer.annotation.objects import ObjectActions
from napari_spa.viewer.annotation.prompts import PromptController
from napari_spa.viewer.annotation.stack import StackPropagation
from napari_spa.viewer.layers.mask import MASK_NAME
from napari_spa.viewer.layers.planes import channel_choices

MODEL = make_model()
ON_AND_ON = PropagationConfig(uncertainty=1.0, overlap=0.0, growth=1e9, fade=-1e9, shift=1e9)


class GatedSession(RefinementSession):
    """Waits at a gate, when there is one, before each of its acts; then may fail."""

    def __init__(self):
        super().__init__(MODEL, config=EngineConfig(samples=12))
        self.gate, self.fault, self.inside = None, None, threading.Event()

    def _pass(self):
        if self.gate is not None:
            self.inside.set()
            self.gate.wait(20)
        fault, self.fault = self.fault, None
        if fault is not None:
            raise fault


def _gated(name):
    def act(self, *args, **kwargs):
        self._pass()
        return getattr(RefinementSession, name)(self, *args, **kwargs)

    return act


for _name in ("start", "pick", "restore", "look"):
    setattr(GatedSession, _name, _gated(_name))


class Desk:
    """What the dock is made of, without a window: two stacks, and a gate before the session."""

    def __init__(self, qtbot, root):
        rng = np.random.default_rng(3)
        self.qtbot, self.viewer, self.session = qtbot, ViewerModel(), GatedSession()
        data = rng.integers(0, 255, (2, 5, 60, 70), np.uint8)
        self.first = self.viewer.add_image(data[0], name="first")
        self.second = self.viewer.add_image(data[1], name="second")
        self.refiner = AnnotationController(self.viewer, lambda name: self.session, work_root=root)
        self.prompt_controller = PromptController(self.refiner)
        self.display, self.acts = DisplayController(self.refiner), ObjectActions(self.refiner)
        self.walker = StackPropagation(self.refiner)
        self.walker.config = ON_AND_ON
        self.failed, self.closed = [], False
        self.refiner.failed.connect(self.failed.append)

    def show(self, layer, z=2):
        self.viewer.layers.selection.active = layer
        self.viewer.dims.set_current_step(0, z)
        return self.refiner.works.annotate(layer)

    def round(self, act):
        with self.qtbot.waitSignal(self.refiner.proposed, timeout=30_000):
            act()

    def start(self, layer, point=(30, 35), z=2, aim="auto"):
        work = self.show(layer, z)
        self.round(lambda: self.prompt_controller.click((z, *point), aim=aim))
        return work

    def accept(self, layer, point=(30, 35), z=2):
        work = self.start(layer, point, z)
        self.refiner.accept()
        assert work.at_hand is None, self.failed
        return work

    def hold(self):
        """From now on the session waits at the gate."""
        self.session.inside.clear()
        self.session.gate = threading.Event()

    def go_on(self):
        """Open the gate, and wait until nothing is under way any more."""
        gate, self.session.gate = self.session.gate, None
        if gate is not None:
            gate.set()
        if not self.closed:
            self.refiner.worker._executor.submit(lambda: None).result(20)
            self.qtbot.waitUntil(lambda: not self.refiner.busy, timeout=20_000)
        self.qtbot.wait(30)

    def close(self):
        if not self.closed:
            self.closed = True
            if self.session.gate is not None:
                self.session.gate.set()
            self.prompt_controller.close()
            self.refiner.close()

    def log(self, work):
        self.refiner.keeper.flush()
        return self.refiner.keeper.log_of(work)

    def edits(self, work, log=None):
        """Return the painted planes in an image's log: slice and number of painted pixels."""
        records = read_records(log or self.log(work))
        return [
            (record["plane"]["index"][0], int((labels_of(record) > 0).sum()))
            for record in records
            if record["kind"] == "edit"
        ]


def labels_of(record):
    count = int(np.prod(record["shape"]))
    return unpack(record["labels"], "<u4", count).reshape(record["shape"])


def labels(work):
    return np.array(work.mask.store.data)


@pytest.fixture
def desk(qtbot, tmp_path):
    desk = Desk(qtbot, tmp_path / "work")
    yield desk
    desk.close()


# ---------------------------------------------------------------------- a job


def propagating(desk):
    work = desk.accept(desk.first)
    desk.hold()
    desk.walker.propagate("both")
    return work


def starting(desk):
    work = desk.show(desk.first)
    desk.hold()
    desk.prompt_controller.click((2, 30, 35))
    return work


def picking(desk):
    work = desk.start(desk.first)
    desk.hold()
    desk.refiner.pick(0)
    return work


def carrying(desk):
    work = desk.accept(desk.first)
    desk.hold()
    desk.walker.propagate_one(1)
    return work


def reopening(desk):
    work = desk.accept(desk.first)
    desk.hold()
    desk.acts.reopen(1)
    return work


def looking(desk):
    work = desk.start(desk.first)
    desk.hold()
    desk.display.look_at(scale=1.5)
    return work


def leave(desk, work):
    desk.refiner.leave(work)


def leave_from_another(desk, work):
    """Another image is annotated by the time that this one is left, as with a folder."""
    desk.refiner.works.annotate(desk.second)
    desk.refiner.leave(work)


def annotate_another(desk, work):
    desk.show(desk.second)


def remove(desk, work):
    desk.viewer.layers.remove(work.image)


def replace_pixels(desk, work):
    work.image.data = np.zeros_like(work.image.data)


def discard(desk, work):
    desk.refiner.discard()


def close(desk, work):
    desk.close()


def cancel(desk, work):
    desk.refiner.cancel()


def fail(desk, work):
    desk.session.fault = RuntimeError("the engine broke")


JOBS = [propagating, starting, picking, carrying, reopening, looking]
ENDS = [
    leave, leave_from_another, annotate_another, remove, replace_pixels, discard, close, cancel,
    fail,
]  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("job", JOBS)
def test_a_job_that_is_waited_for_no_more_writes_nothing_anywhere(desk, job, end):
    other = desk.accept(desk.second, point=(20, 20))
    theirs = labels(other)
    work = job(desk)
    assert desk.session.inside.wait(20)
    mine = labels(work)
    if work.at_hand is not None and work.at_hand.shown is not None:
        with work.bare():
            mine = labels(work)
    end(desk, work)
    masks = sum(layer.name.endswith(MASK_NAME.format("")) for layer in desk.viewer.layers)
    desk.go_on()

    np.testing.assert_array_equal(labels(other), theirs)
    assert sum(layer.name.endswith(MASK_NAME.format("")) for layer in desk.viewer.layers) <= masks
    if desk.closed:
        np.testing.assert_array_equal(labels(work), mine)
        return
    # What is at hand is shown; nothing waits for an answer that never comes.
    held = desk.refiner.held
    assert held is None or held.shown is not None
    if end in (cancel, annotate_another) and job is propagating:
        # The slice that was under way is done, and counts: on its own image.
        changed = labels(work) != mine
        assert not changed[2].any()
        assert set(np.unique(labels(work)).tolist()) <= {0, 1}
    else:
        if work.at_hand is not None:
            desk.refiner.discard()
        np.testing.assert_array_equal(labels(work), mine)
    # One can go on.
    desk.session.fault = None
    if desk.refiner.held is not None:
        desk.refiner.discard()
    desk.show(desk.second)
    before = len(other.annotation.objects)
    desk.round(lambda: desk.prompt_controller.click((2, 45, 50)))
    desk.refiner.accept()
    assert len(other.annotation.objects) == before + 1, desk.failed


@pytest.mark.parametrize("end", [cancel, fail])
def test_an_object_that_cannot_be_started_anew_comes_back_as_it_was(desk, end):
    """To look at it with another contrast is no reason to lose it."""
    work = desk.start(desk.first)
    desk.round(lambda: desk.refiner.pick(0))
    before, seen = work.at_hand, labels(work)
    desk.hold()
    desk.display.set_contrast("layer")
    assert desk.session.inside.wait(20)
    end(desk, work)
    gate, desk.session.gate = desk.session.gate, None
    desk.round(gate.set)
    held = work.at_hand
    assert held is not None
    assert held.shown.proposal.round == before.shown.proposal.round == 2
    np.testing.assert_array_equal(held.shown.proposal.mask, before.shown.proposal.mask)
    np.testing.assert_array_equal(labels(work), seen)
    assert desk.refiner.can_undo


# ---------------------------------------------------------------------- a painted stroke


def paint(work, z, number=7):
    layer = work.mask.layer
    layer.selected_label = number
    layer.brush_size = 4
    layer.paint((z, 10, 10), number)
    return int((labels(work)[z] == number).sum())


def scroll(desk, work):
    desk.viewer.dims.set_current_step(0, 4)


def scroll_far(desk, work):
    for z in (3, 4, 0, 1):
        desk.viewer.dims.set_current_step(0, z)


def nothing(desk, work):
    pass


def start_an_object(desk, work):
    desk.round(lambda: desk.prompt_controller.click((2, 45, 50)))


AFTER_PAINTING = [
    nothing,
    scroll,
    scroll_far,
    annotate_another,
    start_an_object,
    remove,
    leave,
    close,
]


@pytest.mark.parametrize("then", AFTER_PAINTING)
def test_what_was_painted_is_logged_on_its_own_slice_whatever_comes_then(desk, then):
    work = desk.accept(desk.first)
    log = desk.log(work)
    area = int((labels(work)[2] > 0).sum())
    painted = paint(work, 2)
    assert painted
    then(desk, work)
    if then in (nothing, start_an_object):
        desk.qtbot.wait(500)
    if not desk.closed and then not in (leave, remove):
        desk.refiner.keeper.flush()
    assert desk.edits(work, log) == [(2, area + painted)]
    held = work.annotation.objects[7]
    assert [(part.plane.index[0], part.area) for part in held.parts] == [(2, painted)]


def test_strokes_through_a_volume_belong_to_all_their_slices(desk):
    work = desk.accept(desk.first)
    layer = work.mask.layer
    layer.n_edit_dimensions = 3
    paint(work, 2)
    changed = [z for z in range(5) if (labels(work)[z] == 7).any()]
    assert len(changed) > 1
    scroll(desk, work)
    assert sorted(z for z, _ in desk.edits(work)) == changed
    assert [part.plane.index[0] for part in work.annotation.objects[7].parts] == changed


def test_labels_that_were_replaced_are_counted_on_all_slices(desk):
    work = desk.accept(desk.first)
    theirs = np.zeros_like(labels(work))
    theirs[0, :5, :5], theirs[3, :6, :6] = 3, 4
    work.mask.layer.data = theirs
    scroll(desk, work)
    desk.refiner.works.painting.flush()
    areas = {n: held.area for n, held in work.annotation.objects.items()}
    assert areas == {3: 25, 4: 36}


def test_napari_s_undo_is_seen_though_one_scrolls_at_once(desk):
    work = desk.accept(desk.first)
    desk.qtbot.wait(500)
    work.mask.layer.undo()
    scroll_far(desk, work)
    desk.qtbot.wait(500)
    assert not work.annotation.objects
    assert desk.edits(work)[-1] == (2, 0)


# ---------------------------------------------------------------------- a preview


def delete_other(desk, work):
    desk.acts.delete(1)


def undo_objects(desk, work):
    desk.acts.undo()


def delete_and_undo(desk, work):
    desk.acts.delete(1)
    work.undo()


def delete_and_redo(desk, work):
    desk.acts.delete(1)
    work.undo()
    work.redo()


@pytest.mark.parametrize("leaving", ["discard", "accept", "pick"])
@pytest.mark.parametrize("act", [delete_other, delete_and_undo, delete_and_redo, nothing])
@pytest.mark.parametrize("overlap", ["protect", "replace"])
def test_an_act_on_objects_under_a_preview_is_what_it_is_without(desk, act, leaving, overlap):
    desk.refiner.overlap = overlap
    work = desk.accept(desk.first)
    mine = labels(work)
    desk.start(desk.first, point=(31, 33), aim="next")  # wherever the first one reaches
    act(desk, work)
    gone = act in (delete_other, delete_and_redo)
    assert (1 in work.annotation.objects) != gone
    if leaving == "discard":
        desk.refiner.discard()
        np.testing.assert_array_equal(labels(work), np.zeros_like(mine) if gone else mine)
    elif leaving == "accept":
        wanted = np.array(work.at_hand.shown.proposal.mask)
        desk.refiner.accept()
        if overlap == "protect" and not gone:
            wanted &= mine[2] == 0
        if wanted.any():
            np.testing.assert_array_equal(labels(work)[2] == 2, wanted)
    else:
        desk.round(lambda: desk.refiner.pick(0))
        desk.refiner.discard()
        np.testing.assert_array_equal(labels(work), np.zeros_like(mine) if gone else mine)
    # What the table says is in the labels, and nothing else.
    now, objects = labels(work), work.annotation.objects
    assert {n: held.area for n, held in objects.items()} == {
        n: int((now == n).sum()) for n in np.unique(now).tolist() if n
    }
    assert not any(part.status == "edited" for one in objects.values() for part in one.parts)


def test_the_preview_shows_what_would_be_written_now(desk):
    work = desk.accept(desk.first)
    desk.start(desk.first, point=(31, 33), aim="next")
    wanted = work.at_hand.shown.proposal.mask
    for overlap in ("replace", "protect", "replace"):
        desk.refiner.overlap = overlap
        seen = labels(work)[2] == 2
        np.testing.assert_array_equal(seen, wanted if overlap == "replace" else seen & wanted)
    desk.refiner.accept()
    np.testing.assert_array_equal(labels(work)[2] == 2, wanted)


# ---------------------------------------------------------------------- a look, a number


def test_a_round_is_logged_as_it_was_looked_at(desk):
    """Display settings that change while it is computed count from the next object on."""
    work = desk.show(desk.first)
    desk.hold()
    desk.prompt_controller.click((2, 30, 35))
    assert desk.session.inside.wait(20)
    colours = channel_choices(desk.first)[1]
    assert colours.axis == 0
    desk.display.set_display(replace(work.look, channels=colours))
    gate, desk.session.gate = desk.session.gate, None
    desk.round(gate.set)

    def logged():
        return [r for r in read_records(desk.log(work)) if r["kind"] == "decision"][-1]

    assert logged()["look"]["axis"] is None
    assert logged()["image"] == desk.session.canvas.fingerprint
    desk.refiner.discard()
    desk.round(lambda: desk.prompt_controller.click((2, 30, 35)))
    assert logged()["look"]["axis"] == 0


def test_each_image_has_its_own_selected_object(desk):
    """What is selected on one image is not deleted on another."""
    desk.accept(desk.first)
    desk.show(desk.second)
    assert desk.refiner.selected is None


def test_slices_of_a_stack_teach_as_one_image(desk):
    for z, point in ((0, (30, 35)), (2, (20, 25)), (4, (40, 45))):
        desk.accept(desk.first, point, z)
    assert desk.session.profile.images == 1
    desk.accept(desk.second)
    assert desk.session.profile.images == 2


def test_with_an_ignore_value_painted_a_new_object_takes_a_free_number(desk):
    work = desk.accept(desk.first)
    work.mask.layer.paint((2, 5, 5), 65535)
    desk.qtbot.wait(450)
    desk.accept(desk.first, point=(45, 50))
    assert sorted(work.annotation.objects) == [1, 2, 65535], desk.failed


def test_undo_of_an_object_takes_back_what_it_taught(desk):
    """Accepted, undone and accepted again it teaches once; undone and discarded, nothing."""
    desk.accept(desk.second)
    known = desk.session.profile
    desk.start(desk.first)
    desk.round(lambda: desk.refiner.pick(0))
    desk.refiner.accept()
    once = desk.session.profile
    assert (once.picks, once.images, once.objects) != (known.picks, known.images, known.objects)
    desk.round(desk.acts.undo)
    assert desk.session.profile.to_json() == known.to_json()
    desk.refiner.accept()
    again = desk.session.profile
    assert again.to_json() == once.to_json()
    desk.round(desk.acts.undo)
    desk.refiner.discard()
    assert desk.session.profile.to_json() == known.to_json()
    desk.qtbot.waitUntil(lambda: desk.refiner.profiles.profile is not None, timeout=5000)
    assert desk.refiner.profiles.profile.to_json() == known.to_json()


# ---------------------------------------------------------------------- napari's 3D view


def test_in_the_3d_view_every_tool_says_where_it_works(desk):
    work = desk.accept(desk.first)
    before = labels(work)
    desk.viewer.dims.ndisplay = 3
    place, other = (2, 20, 20), (2, 30, 30)
    for act in (
        lambda: desk.prompter.click(place),
        lambda: desk.prompter.click(place, 0),
        lambda: desk.prompter.click(place, aim="next"),
        lambda: desk.prompter.box(place, other),
        lambda: desk.prompter.stroke([place, other]),
        lambda: desk.prompter.point(20, 20),
    ):
        act()
        said = "the viewer shows a volume; switch to the 2D view to click on a slice."
        assert desk.failed == [said]
        desk.failed.clear()
    desk.prompter.draw_gesture("box", [place, other])
    assert not desk.refiner.busy
    np.testing.assert_array_equal(labels(work), before)


@pytest.mark.parametrize("job", JOBS)
def test_a_round_that_arrives_in_the_3d_view_is_there_in_the_2d_view(desk, job):
    work = job(desk)
    assert desk.session.inside.wait(20)
    desk.viewer.dims.ndisplay = 3
    desk.go_on()
    assert desk.failed == []
    desk.viewer.dims.ndisplay = 2
    if desk.refiner.held is not None:
        assert desk.refiner.accept()
    assert desk.failed == []
    assert {n: int((labels(work) == n).sum()) for n in np.unique(labels(work)) if n} == {
        n: held.area for n, held in work.annotation.objects.items()
    }

"""Who owns a job, a stroke, a preview: whatever one does meanwhile, nothing is misplaced."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from annotator import Annotator

from napari_spa.core.types import LocalMask
from napari_spa.io.event_log import read_records
from napari_spa.refine.annotation.annotation import ArraySurface
from napari_spa.refine.log import journal
from napari_spa.viewer.annotation import painting as painting_module
from napari_spa.viewer.layers.mask import MASK_NAME
from napari_spa.viewer.layers.planes import channel_choices


def labels(annotated):
    return np.array(annotated.mask.store.data)


@pytest.fixture
def annotator(qtbot, tmp_path):
    annotator = Annotator(qtbot, tmp_path / "work")
    yield annotator
    annotator.close()


# ---------------------------------------------------------------------- a job


def propagating(annotator):
    annotated = annotator.accept(annotator.first)
    annotator.hold()
    annotator.propagation.propagate("both")
    return annotated


def starting(annotator):
    annotated = annotator.show(annotator.first)
    annotator.hold()
    annotator.prompt_controller.click((2, 30, 35))
    return annotated


def picking(annotator):
    annotated = annotator.start(annotator.first)
    annotator.hold()
    annotator.controller.pick(0)
    return annotated


def carrying(annotator):
    annotated = annotator.accept(annotator.first)
    annotator.hold()
    annotator.propagation.propagate_one(1)
    return annotated


def reopening(annotator):
    annotated = annotator.accept(annotator.first)
    annotator.hold()
    annotator.actions.reopen(1)
    return annotated


def looking(annotator):
    annotated = annotator.start(annotator.first)
    annotator.hold()
    annotator.display.look_at(scale=1.5)
    return annotated


def leave(annotator, annotated):
    annotator.controller.leave(annotated)


def leave_from_another(annotator, annotated):
    """Another image is annotated by the time that this one is left, as with a folder."""
    annotator.controller.images.annotate(annotator.second)
    annotator.controller.leave(annotated)


def annotate_another(annotator, annotated):
    annotator.show(annotator.second)


def remove(annotator, annotated):
    annotator.viewer.layers.remove(annotated.image)


def replace_pixels(annotator, annotated):
    annotated.image.data = np.zeros_like(annotated.image.data)


def discard(annotator, annotated):
    annotator.controller.discard()


def close(annotator, annotated):
    annotator.close()


def cancel(annotator, annotated):
    annotator.controller.cancel()


def fail(annotator, annotated):
    annotator.session.fault = RuntimeError("the engine broke")


JOBS = [propagating, starting, picking, carrying, reopening, looking]
ENDS = [
    leave, leave_from_another, annotate_another, remove, replace_pixels, discard, close, cancel,
    fail,
]  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("job", JOBS)
def test_a_job_that_is_waited_for_no_more_writes_nothing_anywhere(annotator, job, end):
    other = annotator.accept(annotator.second, point=(20, 20))
    theirs = labels(other)
    annotated = job(annotator)
    assert annotator.session.inside.wait(20)
    mine = labels(annotated)
    if annotated.active is not None and annotated.active.shown is not None:
        with annotated.bare():
            mine = labels(annotated)
    end(annotator, annotated)
    masks = sum(layer.name.endswith(MASK_NAME.format("")) for layer in annotator.viewer.layers)
    annotator.go_on()

    np.testing.assert_array_equal(labels(other), theirs)
    assert (
        sum(layer.name.endswith(MASK_NAME.format("")) for layer in annotator.viewer.layers) <= masks
    )
    if annotator.closed:
        np.testing.assert_array_equal(labels(annotated), mine)
        return
    # What is at hand is shown; nothing waits for an answer that never comes.
    active = annotator.controller.active
    assert active is None or active.shown is not None
    if end in (cancel, annotate_another) and job is propagating:
        # The slice that was under way is done, and counts: on its own image.
        changed = labels(annotated) != mine
        assert not changed[2].any()
        assert set(np.unique(labels(annotated)).tolist()) <= {0, 1}
    else:
        if annotated.active is not None:
            annotator.controller.discard()
        np.testing.assert_array_equal(labels(annotated), mine)
    # One can go on.
    annotator.session.fault = None
    if annotator.controller.active is not None:
        annotator.controller.discard()
    annotator.show(annotator.second)
    before = len(other.annotation.objects)
    annotator.round(lambda: annotator.prompt_controller.click((2, 45, 50)))
    annotator.controller.accept()
    assert len(other.annotation.objects) == before + 1, annotator.failed


@pytest.mark.parametrize("end", [cancel, fail])
def test_an_object_that_cannot_be_started_anew_comes_back_as_it_was(annotator, end):
    """To look at it with another contrast is no reason to lose it."""
    annotated = annotator.start(annotator.first)
    annotator.round(lambda: annotator.controller.pick(0))
    before, seen = annotated.active, labels(annotated)
    annotator.hold()
    annotator.display.set_contrast("layer")
    annotator.display.look_again()
    assert annotator.session.inside.wait(20)
    end(annotator, annotated)
    gate, annotator.session.gate = annotator.session.gate, None
    annotator.round(gate.set)
    active = annotated.active
    assert active is not None
    assert active.shown.proposal.round == before.shown.proposal.round == 2
    np.testing.assert_array_equal(active.shown.proposal.mask, before.shown.proposal.mask)
    np.testing.assert_array_equal(labels(annotated), seen)
    assert annotator.actions.undoing.can_undo


# ---------------------------------------------------------------------- a painted stroke


def paint(annotated, z, number=7):
    layer = annotated.mask.layer
    layer.selected_label = number
    layer.brush_size = 4
    layer.paint((z, 10, 10), number)
    return int((labels(annotated)[z] == number).sum())


def scroll(annotator, annotated):
    annotator.viewer.dims.set_current_step(0, 4)


def scroll_far(annotator, annotated):
    for z in (3, 4, 0, 1):
        annotator.viewer.dims.set_current_step(0, z)


def nothing(annotator, annotated):
    pass


def start_an_object(annotator, annotated):
    annotator.round(lambda: annotator.prompt_controller.click((2, 45, 50)))


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
def test_what_was_painted_is_logged_on_its_own_slice_whatever_comes_then(annotator, then):
    annotated = annotator.accept(annotator.first)
    log = annotator.log(annotated)
    area = int((labels(annotated)[2] > 0).sum())
    painted = paint(annotated, 2)
    assert painted
    then(annotator, annotated)
    if then in (nothing, start_an_object):
        annotator.qtbot.wait(500)
    if not annotator.closed and then not in (leave, remove):
        annotator.controller.autosave.flush()
    assert annotator.edits(annotated, log) == [(2, area + painted)]
    active = annotated.annotation.objects[7]
    assert [(part.plane.index[0], part.area) for part in active.parts] == [(2, painted)]


def test_strokes_through_a_volume_belong_to_all_their_slices(annotator):
    annotated = annotator.accept(annotator.first)
    layer = annotated.mask.layer
    layer.n_edit_dimensions = 3
    paint(annotated, 2)
    changed = [z for z in range(5) if (labels(annotated)[z] == 7).any()]
    assert len(changed) > 1
    scroll(annotator, annotated)
    assert sorted(z for z, _ in annotator.edits(annotated)) == changed
    assert [part.plane.index[0] for part in annotated.annotation.objects[7].parts] == changed


def test_labels_that_were_replaced_are_counted_on_all_slices(annotator):
    annotated = annotator.accept(annotator.first)
    theirs = np.zeros_like(labels(annotated))
    theirs[0, :5, :5], theirs[3, :6, :6] = 3, 4
    annotated.mask.layer.data = theirs
    scroll(annotator, annotated)
    annotator.controller.images.painting.flush()
    areas = {n: active.area for n, active in annotated.annotation.objects.items()}
    assert areas == {3: 25, 4: 36}


def test_napari_s_undo_is_seen_though_one_scrolls_at_once(annotator):
    annotated = annotator.accept(annotator.first)
    area = annotated.annotation.objects[1].area
    paint(annotated, 2)
    annotator.qtbot.wait(500)
    annotated.mask.layer.undo()
    scroll_far(annotator, annotated)
    annotator.qtbot.wait(500)
    assert list(annotated.annotation.objects) == [1]
    assert annotator.edits(annotated)[-1] == (2, area)


def test_of_a_large_plane_the_window_counts_only_what_was_painted(annotator, monkeypatch):
    monkeypatch.setattr(painting_module, "_LARGE", 1000)
    annotated = annotator.accept(annotator.first)
    painting, store = annotator.controller.images.painting, annotated.mask.store
    read, whole = store.read, []

    def noted(index):
        found = read(index)
        if threading.current_thread() is threading.main_thread():
            whole.append(found.shape == (60, 70))
        return found

    def settled(number):
        annotator.qtbot.waitUntil(
            lambda: number in annotated.annotation.objects and not painting._counting, timeout=9000
        )
        counted = np.unique(read(np.s_[2]), return_counts=True)
        areas = {n: one.area for n, one in annotated.annotation.objects.items()}
        assert [0, *areas] == counted[0].tolist()
        assert list(areas.values()) == counted[1][1:].tolist()

    monkeypatch.setattr(store, "read", noted)
    settled(1)
    painted = paint(annotated, 2)
    settled(7)
    assert annotator.edits(annotated) == [(2, painted)]  # the first object is in no record of it
    layer = annotated.mask.layer
    layer.data[2, 50:53, 60:62] = 9  # by a script
    layer.refresh()
    settled(9)
    layer.data[2, 50:53, 60] = 11
    layer.refresh()
    layer.data[2, 0, 0] = 12
    settled(11)
    annotator.start(annotator.first, (50, 20))
    annotator.controller.undo_requested.emit()
    layer.data[2, 0, 1] = 40
    layer.refresh()  # while an object is active: counted when it is accepted
    annotator.controller.accept()
    settled(40)
    assert whole
    assert not any(whole)
    facts = journal.read_journal(
        read_records(annotator.log(annotated)), ArraySurface(np.zeros((5, 60, 70), np.uint16))
    )
    now = {number: one.area for number, one in facts.annotation.objects.items()}
    assert now == {number: one.area for number, one in annotated.annotation.objects.items()}


# ---------------------------------------------------------------------- a preview


def delete_other(annotator, annotated):
    annotator.actions.delete(1)


def undo_objects(annotator, annotated):
    annotator.actions.undoing.undo_act()


def delete_and_undo(annotator, annotated):
    annotator.actions.delete(1)
    annotated.undo()


def delete_and_redo(annotator, annotated):
    annotator.actions.delete(1)
    annotated.undo()
    annotated.undo(redo=True)


@pytest.mark.parametrize("leaving", ["discard", "accept", "pick"])
@pytest.mark.parametrize("act", [delete_other, delete_and_undo, delete_and_redo, nothing])
@pytest.mark.parametrize("overlap", ["protect", "replace"])
def test_an_act_on_objects_under_a_preview_is_what_it_is_without(annotator, act, leaving, overlap):
    annotator.controller.overlap = overlap
    annotated = annotator.accept(annotator.first)
    mine = labels(annotated)
    annotator.start(annotator.first, point=(31, 33), aim="next")  # wherever the first one reaches
    act(annotator, annotated)
    gone = act in (delete_other, delete_and_redo)
    assert (1 in annotated.annotation.objects) != gone
    if leaving == "discard":
        annotator.controller.discard()
        np.testing.assert_array_equal(labels(annotated), np.zeros_like(mine) if gone else mine)
    elif leaving == "accept":
        wanted = np.array(annotated.active.shown.proposal.mask)
        annotator.controller.accept()
        if overlap == "protect" and not gone:
            wanted &= mine[2] == 0
        if wanted.any():
            np.testing.assert_array_equal(labels(annotated)[2] == 2, wanted)
    else:
        annotator.round(lambda: annotator.controller.pick(0))
        annotator.controller.discard()
        np.testing.assert_array_equal(labels(annotated), np.zeros_like(mine) if gone else mine)
    # What the table says is in the labels, and nothing else.
    now, objects = labels(annotated), annotated.annotation.objects
    assert {n: active.area for n, active in objects.items()} == {
        n: int((now == n).sum()) for n in np.unique(now).tolist() if n
    }
    assert not any(part.status == "edited" for one in objects.values() for part in one.parts)


def test_the_preview_shows_what_would_be_written_now(annotator):
    annotated = annotator.accept(annotator.first)
    annotator.start(annotator.first, point=(31, 33), aim="next")
    wanted = annotated.active.shown.proposal.mask
    for overlap in ("replace", "protect", "replace"):
        annotator.controller.overlap = overlap
        seen = labels(annotated)[2] == 2
        np.testing.assert_array_equal(seen, wanted if overlap == "replace" else seen & wanted)
    annotator.controller.accept()
    np.testing.assert_array_equal(labels(annotated)[2] == 2, wanted)


# ---------------------------------------------------------------------- a look, a number


def test_a_round_is_logged_as_it_was_looked_at(annotator):
    """Display settings that change while it is computed count from the next object on."""
    annotated = annotator.show(annotator.first)
    annotator.hold()
    annotator.prompt_controller.click((2, 30, 35))
    assert annotator.session.inside.wait(20)
    colours = channel_choices(annotator.first)[1]
    assert colours.axis == 0
    annotator.display.set_display(replace(annotated.look, channels=colours))
    gate, annotator.session.gate = annotator.session.gate, None
    annotator.round(gate.set)

    def logged():
        return [r for r in read_records(annotator.log(annotated)) if r["kind"] == "decision"][-1]

    assert logged()["look"]["axis"] is None
    assert logged()["image"] == annotator.session.sampler.fingerprint
    annotator.controller.discard()
    annotator.round(lambda: annotator.prompt_controller.click((2, 30, 35)))
    assert logged()["look"]["axis"] == 0


def test_each_image_has_its_own_selected_object(annotator):
    """What is selected on one image is not deleted on another."""
    annotator.accept(annotator.first)
    annotator.show(annotator.second)
    assert annotator.controller.selected is None


def test_slices_of_a_stack_teach_as_one_image(annotator):
    for z, point in ((0, (30, 35)), (2, (20, 25)), (4, (40, 45))):
        annotator.accept(annotator.first, point, z)
    assert annotator.session.profile.images == 1
    annotator.accept(annotator.second)
    assert annotator.session.profile.images == 2


def test_with_an_ignore_value_painted_a_new_object_takes_a_free_number(annotator):
    annotated = annotator.accept(annotator.first)
    annotated.mask.layer.paint((2, 5, 5), 65535)
    annotator.qtbot.wait(450)
    annotator.accept(annotator.first, point=(45, 50))
    assert sorted(annotated.annotation.objects) == [1, 2, 65535], annotator.failed


def test_propagation_ends_at_a_slice_where_another_object_lies(annotator):
    annotated, said = annotator.accept(annotator.first), []
    part = annotated.annotation.objects[1].parts[0]
    everywhere = LocalMask.crop(np.ones((60, 70), bool))
    annotated.annotation.commit(2, replace(part, plane=part.plane.at(0, 3)), everywhere)
    annotator.controller.status_message.connect(said.append)
    annotator.propagation.propagate("forward")
    annotator.go_on()
    assert said[-1].endswith("Ended at slice 3: what is there is another object.")
    assert not annotator.failed
    assert len(annotated.annotation.objects[1].parts) == 1


def test_undo_of_an_object_takes_back_what_it_taught(annotator):
    """Accepted, undone and accepted again it teaches once; undone and discarded, nothing."""
    annotator.accept(annotator.second)
    known = annotator.session.profile
    annotator.start(annotator.first)
    annotator.round(lambda: annotator.controller.pick(0))
    annotator.controller.accept()
    once = annotator.session.profile
    assert (once.picks, once.images, once.objects) != (known.picks, known.images, known.objects)
    annotator.round(annotator.actions.undoing.undo_act)
    assert annotator.session.profile.to_json() == known.to_json()
    annotator.controller.accept()
    again = annotator.session.profile
    assert again.to_json() == once.to_json()
    annotator.round(annotator.actions.undoing.undo_act)
    annotator.controller.discard()
    assert annotator.session.profile.to_json() == known.to_json()
    annotator.qtbot.waitUntil(
        lambda: annotator.controller.profiles.profile is not None, timeout=5000
    )
    assert annotator.controller.profiles.profile.to_json() == known.to_json()


# ---------------------------------------------------------------------- napari's 3D view


def test_in_the_3d_view_every_tool_says_where_it_works(annotator):
    annotated = annotator.accept(annotator.first)
    before = labels(annotated)
    annotator.viewer.dims.ndisplay = 3
    place, other = (2, 20, 20), (2, 30, 30)
    for act in (
        lambda: annotator.prompt_controller.click(place),
        lambda: annotator.prompt_controller.click(place, 0),
        lambda: annotator.prompt_controller.click(place, aim="next"),
        lambda: annotator.prompt_controller.box(place, other),
        lambda: annotator.prompt_controller.stroke([place, other]),
        lambda: annotator.prompt_controller.point(20, 20),
    ):
        act()
        said = "the viewer shows a volume; switch to the 2D view to click on a slice."
        assert annotator.failed == [said]
        annotator.failed.clear()
    annotator.prompt_controller.draw_gesture("box", [place, other])
    assert not annotator.controller.busy
    np.testing.assert_array_equal(labels(annotated), before)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # napari's, as it switches
@pytest.mark.parametrize("job", JOBS)
def test_a_round_that_arrives_in_the_3d_view_is_there_in_the_2d_view(annotator, job):
    annotated = job(annotator)
    assert annotator.session.inside.wait(20)
    annotator.viewer.dims.ndisplay = 3
    annotator.go_on()
    assert annotator.failed == []
    annotator.viewer.dims.ndisplay = 2
    if annotator.controller.active is not None:
        assert annotator.controller.accept()
    assert annotator.failed == []
    assert {n: int((labels(annotated) == n).sum()) for n in np.unique(labels(annotated)) if n} == {
        n: active.area for n, active in annotated.annotation.objects.items()
    }

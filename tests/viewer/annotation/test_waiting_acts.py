"""What is done while a round is computed is done after it, in its order."""

import numpy as np
import pytest
from annotator import Annotator

from napari_spa.errors import InputError
from napari_spa.io.event_log import read_records
from napari_spa.viewer.annotation.finding import AutomaticSegmentation
from napari_spa.viewer.annotation.objects import ObjectEditing
from napari_spa.viewer.annotation.round import MOST_WAITING


@pytest.fixture
def annotate(qtbot, tmp_path):
    made = []

    def annotate(name="work"):
        made.append(Annotator(qtbot, tmp_path / name))
        made[-1].said = []
        made[-1].controller.status_message.connect(made[-1].said.append)
        made[-1].show(made[-1].first)
        return made[-1]

    yield annotate
    for one in made:
        one.go_on()
        one.controller.close()


def work(annotator):
    """Give acts as functions: clicks on three slices, one that corrects, and accepting."""

    def click(z, point, label=1, aim="auto"):
        annotator.viewer.dims.set_current_step(0, z)
        annotator.prompt_controller.click((z, *point), label, aim=aim)

    return [
        lambda: click(2, (30, 35)),
        lambda: click(2, (31, 36), 0, "current"),
        lambda: click(2, (10, 60), aim="next"),
        annotator.controller.accept,
        lambda: click(3, (20, 20)),
        lambda: click(3, (45, 10), aim="next"),
        lambda: click(1, (30, 35), aim="next"),
        annotator.controller.accept,
        lambda: click(4, (50, 60)),
    ]


def acts_in(annotator):
    """Return the acts in the log, less when they were done."""
    records = read_records(annotator.log(annotator.controller.current))
    acts = [r for r in records if r["kind"] not in ("opened", "closed")]
    for record in acts:
        for decision in [record.pop("decision", {}), *record.get("decisions", ())]:
            decision.pop("time", None)
        record.pop("time", None)
        record.pop("group", None)  # when it was begun
    return acts


def test_quick_acts_give_what_slow_ones_give(annotate):
    slow, quick = annotate("slow"), annotate("quick")
    for act in work(slow):
        act()
        slow.go_on()
    quick.hold()
    for act in work(quick):
        act()
    assert quick.said[-1] == "Still working… 8 acts wait."
    quick.go_on()
    assert not quick.failed
    np.testing.assert_array_equal(
        *(each.controller.current.mask.store.data for each in (slow, quick))
    )
    assert list(quick.controller.current.annotation.objects) == [1, 2, 3, 4, 5]
    assert quick.controller.active.plane.index[0] == 4
    assert acts_in(quick) == acts_in(slow)


def reshape(annotator):
    """Give acts on accepted objects as functions, each about what is on show when it is done."""
    editing, propagation = ObjectEditing(annotator.controller), annotator.propagation
    propagation.limit(1, 1.0)
    controller, actions = annotator.controller, annotator.actions

    def see(z):
        annotator.viewer.dims.set_current_step(0, z)

    def click(z, point):
        see(z)
        annotator.prompt_controller.click((z, *point), aim="next")

    rows, columns = np.nonzero(controller.current.mask.store.data[2])
    row, left, right = int(np.median(rows)), columns.min() - 2, columns.max() + 2

    def cut():
        see(2)
        editing.split([(2, row, left), (2, row, right)])

    def merge():
        see(2)
        controller.selected = 1
        editing.merge_at((2, 10, 60))

    return [
        lambda: click(2, (10, 60)),
        cut,
        lambda: editing.rename(1, "upper half"),
        merge,
        lambda: editing.classify([1], ""),
        lambda: (see(2), actions.reopen(1)),
        controller.accept,
        lambda: click(3, (45, 10)),
        lambda: (see(3), propagation.propagate("forward")),
        lambda: (see(3), propagation.propagate_one(-1)),
        lambda: see(0),  # what came before is about the slice that was on show then
        lambda: actions.delete(1),
        lambda: click(1, (20, 20)),
    ]


def test_acts_on_accepted_objects_wait_too(annotate):
    slow, quick = annotate("slow"), annotate("quick")
    for annotator in (slow, quick):
        annotator.accept(annotator.first)
    for act in reshape(slow):
        act()
        slow.go_on()
    quick.hold()
    for act in reshape(quick):
        act()
    quick.go_on()
    assert not quick.failed
    assert not slow.failed
    np.testing.assert_array_equal(
        *(each.controller.current.mask.store.data for each in (slow, quick))
    )
    assert acts_in(quick) == acts_in(slow)
    assert {"split", "merge", "describe", "reopen", "delete"} <= {r["kind"] for r in acts_in(quick)}


def test_what_is_found_or_taken_over_waits_and_undo_drops_it(annotate):
    annotator = annotate()
    labels = np.zeros((5, 60, 70), np.uint16)
    labels[4, 40:50, 10:20] = 7
    layer = annotator.viewer.add_labels(labels)
    annotator.show(annotator.first)
    finding = AutomaticSegmentation(annotator.controller)
    annotator.hold()
    annotator.prompt_controller.click((2, 30, 35))
    finding.take_over(layer)
    finding.segment_all()
    assert annotator.said[-1] == "Still working… 2 acts wait."
    annotator.controller.undo()
    assert annotator.said[-1] == "Still working… 1 act waits."
    annotator.go_on()
    assert not annotator.failed
    first, other = annotator.controller.current.annotation.objects.values()
    assert (first.number, other.number) == (1, 7)
    assert other.parts[0].plane.index[0] == 4


def test_acts_on_several_objects_that_wait_are_about_those_that_are_left(annotate):
    annotator = annotate()
    for point in ((12, 12), (45, 55)):
        annotated = annotator.accept(annotator.first, point)
    editing, objects = ObjectEditing(annotator.controller), lambda: annotated.annotation.objects
    annotator.hold()
    annotator.prompt_controller.click((2, 30, 35), aim="next")
    annotator.actions.delete(1)
    editing.classify([1, 2], "cell")
    editing.delete([1, 2])
    for gone in (editing.delete, editing.drop, editing.keep):
        gone([1, 2])
    annotator.go_on()
    assert "1 object: cell." in annotator.said
    assert "1 object deleted; Undo brings it back." in annotator.said
    assert annotator.failed == ["these objects are not there any more."] * 3
    assert list(objects()) == [3]


@pytest.mark.parametrize("act", ["discard", "cancel", "leave", "other image", "fails"])
def test_what_waits_is_dropped_with_what_it_waits_for(annotate, act):
    annotator = annotate()
    controller, click = annotator.controller, annotator.prompt_controller.click
    annotated = annotator.accept(annotator.first)
    annotator.hold()
    if act == "fails":
        annotator.session.fault = InputError("this does not work.")
    click((2, 10, 60))
    controller.accept()
    click((2, 50, 10), aim="next")
    assert annotator.said[-1] == "Still working… 2 acts wait."
    if act == "leave":
        controller.leave(annotated)
    elif act == "other image":
        annotator.show(annotator.second)
    elif act != "fails":
        getattr(controller, act)()
    annotator.go_on()
    assert list(annotated.annotation.objects) == [1]
    if act == "fails":
        assert annotator.failed == ["this does not work. 2 acts that waited were dropped."]


def test_only_so_many_acts_wait_and_undo_takes_the_latest_back(annotate):
    annotator = annotate()
    click = annotator.prompt_controller.click
    annotator.hold()
    click((2, 30, 35))
    for column in range(MOST_WAITING):
        click((2, 10, column), 0)
    assert annotator.said[-1] == "Still working… 20 acts wait."
    click((2, 30, 36), 0)
    assert annotator.said[-1] == "Still working… 20 acts wait; this one was not taken."
    for _ in range(MOST_WAITING - 1):
        annotator.controller.undo()
    assert annotator.said[-1] == "Still working… 1 act waits."
    annotator.controller.pick(0)
    assert annotator.said[-1].startswith("The candidates are about to change")
    annotator.go_on()
    assert annotator.controller.shown().proposal.round == 2


def test_undo_goes_on_after_the_first_round_is_discarded(annotate):
    annotator = annotate()
    annotated = annotator.accept(annotator.first)
    annotator.start(annotator.first, (10, 60), aim="auto")
    annotator.controller.undo()
    assert annotator.said[-1].endswith("Undo takes back what was done before it.")
    annotator.controller.discard()
    annotator.controller.undo()
    annotator.go_on()
    assert annotated.annotation.objects == {}

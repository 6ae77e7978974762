"""Objects are named, classed, merged, split, painted, found and taken over in a real viewer."""

import json

import numpy as np
import pytest
from labelled import SHAPE, make_session
from qtpy.QtWidgets import QInputDialog
from skimage.draw import disk

from napari_spa.core.plane import Plane
from napari_spa.core.types import LocalMask
from napari_spa.io.models.load import load_model
from napari_spa.refine.annotation.objects import Part
from napari_spa.refine.session.session import RefinementSession
from napari_spa.viewer.annotation.controller import HINT_OPEN
from napari_spa.viewer.layers.prompts import PromptLayers
from napari_spa.widgets.common.export import ExportDialog
from napari_spa.widgets.objects.rows import CLASS, NAME
from napari_spa.widgets.refine.dock import RefineDock


def test_an_object_is_deleted_on_one_slice_alone(annotator):
    annotator.take_over()
    before, table = annotator.pixels().copy(), annotator.table
    annotator.viewer.dims.set_current_step(0, 1)
    annotator.qtbot.waitUntil(lambda: bool(table._model.rows), timeout=10_000)
    table.select(7)
    menu = table.menu()
    next(each for each in menu.actions() if each.text() == "Delete on this slice").trigger()
    after = before.copy()
    after[1][before[1] == 7] = 0
    assert (after != before).any()
    np.testing.assert_array_equal(annotator.pixels(), after)
    assert annotator.status_message[-1] == "Object 7 deleted on this slice; Undo brings it back."
    annotator.assert_logged()
    table.delete_here_requested.emit(7)
    assert annotator.failed[-1] == "there is no object 7 on this slice."
    annotator.dock.objects.undoing.undo_act()
    np.testing.assert_array_equal(annotator.pixels(), before)


def test_an_object_deleted_on_one_slice_stays_active_on_another(annotator):
    annotator.take_over()
    act, controller, show = annotator.dock.objects, annotator.controller, annotator.viewer.dims
    with annotator.qtbot.waitSignal(controller.proposed, timeout=60_000):
        act.reopen(7)  # on the first slice
    annotator.idle()
    show.set_current_step(0, 1)
    act.delete_here(7)
    assert controller.active.number == 7
    assert not (annotator.pixels()[1] == 7).any()
    controller.accept()
    show.set_current_step(0, 1)
    controller.selected = 8
    with annotator.qtbot.waitSignal(controller.proposed, timeout=60_000):
        annotator.dock.propagation.propagate_one(1)
    annotator.idle()
    act.delete_here(8)  # where it was not accepted yet
    assert controller.active is None
    assert len(annotator.objects[8].parts) == 2
    assert not annotator.failed


def test_objects_get_names_and_classes_that_stay_through_everything(annotator, monkeypatch):
    annotator.take_over()
    annotator.dock.parts.objects.classes.add_requested.emit("nucleus")
    annotator.dock.parts.objects.classes.add_requested.emit("Nucleus")
    assert "there is a class nucleus already" in annotator.failed[-1]
    annotator.table.class_requested.emit([3], "nucleus")
    monkeypatch.setattr(QInputDialog, "getText", lambda *a, **k: ("  the\nlarge one ", True))
    annotator.table.ask_name(7)
    annotator.qtbot.waitUntil(lambda: any(row.class_name for row in annotator.table._model.rows))
    rows = {row.number: row for row in annotator.table._model.rows}
    assert rows[3].class_name == "nucleus"
    assert rows[7].name == "the large one"
    assert not annotator.table.view.isColumnHidden(CLASS)
    annotator.assert_logged()
    annotator.dock.objects.undoing.undo_act()
    assert annotator.objects[7].name == ""
    annotator.dock.objects.undoing.redo_act()
    assert annotator.objects[7].name == "the large one"
    assert "Object 7, the large one" in rows[7].words()
    assert NAME > CLASS
    annotator.table.rename_requested.emit(7, "x" * 101)
    assert "at most 100 letters" in annotator.failed[-1]
    assert annotator.objects[7].name == "the large one"


def test_objects_are_coloured_by_class_on_demand(annotator):
    annotator.take_over()
    classes, mask = annotator.controller.classes, annotator.annotated.mask
    classes.add("nucleus", "#ff0000")
    own = mask.colour(3)
    annotator.table.class_requested.emit([3], "nucleus")
    assert mask.colour(3) == own
    annotator.table.classes.by_class_requested.emit(True)
    assert annotator.table.classes.by_class
    assert mask.colour(3)[:3] == (1, 0, 0)
    assert mask.colour(7) == mask.colour(8) != mask.colour(3)  # of no class
    annotator.table.class_requested.emit([7], "nucleus")
    assert mask.colour(7)[:3] == (1, 0, 0)
    classes.recolour("nucleus", "#0000ff")
    assert mask.colour(7)[:3] == (0, 0, 1)
    annotator.dock.objects.undoing.undo_act()
    assert mask.colour(7) == mask.colour(8)
    annotator.table.classes.by_class_requested.emit(False)
    assert mask.colour(3) == own


def test_new_objects_get_the_class_that_a_key_chooses(annotator, open_annotator):
    classes = annotator.controller.classes
    classes.add("cell")
    classes.add("debris")
    next_class = annotator.dock._actions()["next_class"]
    next_class()
    assert (classes.current, annotator.status_message[-1]) == ("", "New objects have no class.")
    next_class()
    assert annotator.status_message[-1] == "New objects: cell."
    assert annotator.table.classes.combo.currentText() == "cell"
    with annotator.qtbot.waitSignal(annotator.controller.proposed, timeout=30_000):
        annotator.dock.prompt_controller.click((0, 30, 30))
    assert annotator.controller.accept()
    (active,) = annotator.objects.values()
    assert active.class_name == "cell"
    annotator.assert_logged()
    assert [one.name for one in open_annotator().controller.classes.entries] == ["cell", "debris"]


def accept_one(annotator, place):
    with annotator.qtbot.waitSignal(annotator.controller.proposed, timeout=30_000):
        annotator.dock.prompt_controller.click(place)
    annotator.idle()
    assert annotator.controller.accept()


def undo_accept(annotator):
    with annotator.qtbot.waitSignal(annotator.controller.proposed, timeout=30_000):
        annotator.controller.undo()
    annotator.idle()


def test_an_undone_accept_that_is_accepted_again_keeps_its_class(annotator):
    classes = annotator.controller.classes
    classes.add("nucleus")
    classes.add("cell")
    accept_one(annotator, (0, 30, 30))
    classes.choose("nucleus")  # for the next one
    undo_accept(annotator)
    annotator.qtbot.waitUntil(
        lambda: [row.class_name for row in annotator.table._model.rows] == ["cell"]
    )
    annotator.controller.accept()
    assert annotator.objects[1].class_name == "cell"
    undo_accept(annotator)
    classes.remove("cell")  # no object has it
    annotator.controller.accept()
    assert annotator.objects[1].class_name == "cell"
    undo_accept(annotator)
    annotator.table.classes.chosen.emit("nucleus")  # for this one
    annotator.controller.accept()
    assert annotator.objects[1].class_name == "nucleus"
    annotator.assert_logged()


def test_a_class_that_objects_have_is_not_removed(annotator, open_annotator):
    annotator.take_over()
    classes, bar = annotator.controller.classes, annotator.table.classes
    for name in ("cell", "debris"):
        classes.add(name)
    annotator.table.class_requested.emit([3], "cell")
    annotator.table.class_requested.emit([7], "cell")
    bar.remove_requested.emit("cell")
    assert annotator.failed[-1] == "2 objects are cell; give them another class first."
    assert [one.name for one in classes.entries] == ["cell", "debris"]
    other = annotator.viewer.add_image(annotator.image.data, name="others")
    annotator.controller.images.annotate(other)
    bar.remove_requested.emit("cell")
    assert "2 objects are cell (also on cells); give them" in annotator.failed[-1]
    annotator.controller.images.annotate(annotator.image)
    annotator.table.class_requested.emit([3], "")
    annotator.table.class_requested.emit([7], "")
    bar.remove_requested.emit("cell")
    assert [one.name for one in classes.entries] == ["debris"]


def test_a_class_is_renamed_with_all_its_objects_as_one_act(annotator, open_annotator):
    annotator.take_over()
    classes, bar = annotator.controller.classes, annotator.table.classes
    for name, colour in (("cel", "#ff0000"), ("debris", None)):
        classes.add(name, colour)
    for number, name in ((3, "cel"), (8, "cel"), (7, "debris")):
        annotator.table.class_requested.emit([number], name)

    def listed():
        of = [annotator.objects[number].class_name for number in (3, 7, 8)]
        return [one.name for one in classes.entries], of

    classes.choose("cel")
    before = listed()
    bar.rename_requested.emit("cel", " cell ")
    after = ["cell", "debris"], ["cell", "debris", "cell"]
    assert listed() == after
    assert annotator.status_message[-1] == "cel is called cell now: 2 objects."
    assert (classes.current, classes.entries[0].colour) == ("cell", "#ff0000")
    annotator.assert_logged()
    assert [one.name for one in open_annotator().controller.classes.entries] == after[0]
    annotator.dock.objects.undoing.undo_act()
    assert (listed(), classes.current) == (before, "cel")
    annotator.dock.objects.undoing.redo_act()
    assert (listed(), classes.current) == (after, "cell")
    classes.add("cel", None)  # again, before the renaming is taken back: one is listed
    annotator.dock.objects.undoing.undo_act()
    assert sorted(listed()[0]) == ["cel", "debris"]
    annotator.dock.objects.undoing.redo_act()
    assert (listed(), classes.current) == (after, "cell")
    bar.rename_requested.emit("cell", "x" * 101)
    assert "at most 100 letters" in annotator.failed[-1]
    bar.rename_requested.emit("cell", "Debris")  # both become one
    assert listed() == (["debris"], ["debris"] * 3)
    annotator.dock.objects.undoing.undo_act()
    assert listed()[1] == after[1]
    assert set(listed()[0]) == set(after[0])
    annotator.assert_logged()


def test_a_class_that_another_image_has_stays_in_the_list_when_it_is_renamed(annotator):
    annotator.take_over()
    classes, bar = annotator.controller.classes, annotator.table.classes
    classes.add("cel")
    annotator.table.class_requested.emit([3], "cel")
    other = annotator.viewer.add_image(annotator.image.data, name="others")
    annotator.controller.images.annotate(other)
    bar.rename_requested.emit("cel", "cell")
    assert [one.name for one in classes.entries] == ["cel", "cell"]
    annotator.controller.images.annotate(annotator.image)
    bar.rename_requested.emit("cel", "cell")
    assert [one.name for one in classes.entries] == ["cell"]
    assert annotator.objects[3].class_name == "cell"


def test_a_list_of_classes_is_imported_or_refused(annotator, tmp_path):
    path = tmp_path / "ours.json"
    listed = [{"name": "vessel", "colour": "#CC0000"}, {"name": "disc", "colour": "#00cc00"}]
    path.write_text(json.dumps({"kind": "napari-spa classes", "version": 1, "classes": listed}))
    annotator.table.classes.import_requested.emit(str(path))
    assert [one.colour for one in annotator.table.classes.entries] == ["#cc0000", "#00cc00"]
    path.write_text("[]")
    annotator.table.classes.import_requested.emit(str(path))
    assert "no list of classes" in annotator.failed[-1]
    assert len(annotator.table.classes.entries) == 2


def test_a_click_merges_and_a_line_splits(annotator):
    annotator.take_over()
    before = annotator.pixels()
    annotator.select(3)
    annotator.table.merge_requested.emit()
    assert annotator.dock.prompt_controller.gestures.tool == "merge"
    assert annotator.table.buttons["merge"].isChecked()
    annotator.dock.prompt_controller.merge_requested.emit((0.0, 15.0, 40.0))
    assert list(annotator.objects) == [3, 8]
    np.testing.assert_array_equal(annotator.pixels(), np.where(before == 7, 3, before))
    assert annotator.dock.prompt_controller.gestures.tool == "click"
    annotator.table.split_requested.emit()
    annotator.dock.prompt_controller.split_requested.emit([(0.0, 40.0, 18.0), (0.0, 40.4, 45.0)])
    assert list(annotator.objects) == [3, 8, 9]
    assert annotator.pixels()[0, 47, 30] == 9 or annotator.pixels()[0, 34, 30] == 9
    assert (annotator.pixels() > 0).sum() == (before > 0).sum()
    annotator.assert_logged()
    annotator.dock.prompt_controller.split_requested.emit(
        [(0.0, 2.0, 2.0), (0.0, 55.0, 70.0), (0.0, 57.0, 70.0)]
    )
    annotator.dock.prompt_controller.split_requested.emit([(0.0, 55.0, 70.0), (0.0, 57.0, 70.0)])
    assert "no accepted object under the line" in annotator.failed[-1]
    annotator.dock.prompt_controller.merge_requested.emit((0.0, 58.0, 78.0))
    assert "no accepted object at that place" in annotator.failed[-1]
    while annotator.annotated.annotation.last_change.kind != "accept":
        annotator.dock.objects.undoing.undo_act()
    np.testing.assert_array_equal(annotator.pixels(), before)


@pytest.mark.parametrize("tool", ["merge", "split"])
def test_escape_goes_back_to_clicks(annotator, tool):
    annotator.take_over()
    annotator.select(3)
    keymap, gestures = annotator.viewer.keymap, annotator.dock.prompt_controller.gestures
    getattr(annotator.table, f"{tool}_requested").emit()
    assert gestures.tool == tool
    (escape,) = (act for key, act in keymap.items() if str(key) == "Escape")
    escape(annotator.viewer)
    assert gestures.tool == "click"
    assert not annotator.table.buttons[tool].isChecked()
    assert "Escape" not in map(str, keymap)


def test_undo_while_editing_goes_stroke_by_stroke_and_then_ends_it(annotator):
    annotator.take_over()
    annotator.select(8)
    before, undoing = annotator.pixels(), annotator.dock.objects.undoing
    layer = annotator.annotated.mask.layer
    annotator.table.edit_requested.emit()
    for row in (50, 55):
        layer.paint((0, row, 50), 8)
    undoing.undo()
    assert (annotator.pixels()[0, 50, 50], annotator.pixels()[0, 55, 50]) == (8, 0)
    undoing.redo()
    assert annotator.pixels()[0, 55, 50] == 8
    for _ in range(2):
        undoing.undo()
    assert annotator.dock.tab.reshaping.editing
    np.testing.assert_array_equal(annotator.pixels(), before)
    undoing.undo()  # what was taken over
    assert not annotator.dock.tab.reshaping.editing
    assert not annotator.objects
    undoing.redo()
    np.testing.assert_array_equal(annotator.pixels(), before)
    assert annotator.objects[8].status == "accepted"
    annotator.assert_logged()


def test_undo_while_editing_leaves_the_object_accepted_before_alone(annotator):
    annotator.dock.prompt_controller.click((0.0, 30.0, 30.0))
    annotator.qtbot.waitUntil(lambda: annotator.controller.choosing, timeout=60_000)
    annotator.idle()
    annotator.controller.accept()
    number = annotator.controller.selected
    before, area = annotator.pixels(), annotator.objects[number].area
    annotator.table.edit_requested.emit()
    layer, place = annotator.annotated.mask.layer, (0, 55, 5)
    layer.brush_size = 1
    layer.paint(place, number)
    layer.mode = "pan_zoom"
    annotator.dock.objects.undoing.undo()
    assert annotator.controller.active is None
    np.testing.assert_array_equal(annotator.pixels(), before)
    layer.paint(place, number)
    annotator.table.edit_requested.emit()
    annotator.dock.objects.undoing.undo()  # the edit, as one act
    assert annotator.controller.active is None
    assert annotator.objects[number].area == area
    np.testing.assert_array_equal(annotator.pixels(), before)


def test_another_row_ends_the_editing(annotator):
    annotator.take_over()
    annotator.select(8)
    annotator.table.edit_requested.emit()
    annotator.table.go_to_requested.emit(8)
    assert annotator.dock.tab.reshaping.editing
    annotator.table.go_to_requested.emit(3)
    assert not annotator.dock.tab.reshaping.editing
    assert annotator.controller.selected == 3


@pytest.mark.parametrize("label", ["the object's", "none"])
def test_a_stroke_on_the_object_in_progress_is_taken_back_and_said(annotator, label):
    annotator.dock.prompt_controller.click((0.0, 30.0, 30.0))
    annotator.qtbot.waitUntil(lambda: annotator.controller.choosing, timeout=60_000)
    annotator.idle()
    layer, number = annotator.annotated.mask.layer, annotator.controller.active.number
    before = np.array(layer.data)
    assert before[0, 30, 30] == number
    layer.brush_size = 9
    layer.paint((0, 30, 30) if label == "none" else (0, 4, 4), 0 if label == "none" else number)
    said = annotator.status_message
    annotator.qtbot.waitUntil(lambda: "before you paint on it" in said[-1])
    np.testing.assert_array_equal(layer.data, before)
    annotator.controller.images.painting.flush()
    assert not annotator.objects
    layer.paint((0, 4, 4), 40)  # another object's, by hand
    annotator.controller.images.painting.flush()
    assert list(annotator.objects) == [40]


def test_editing_by_hand_takes_the_chosen_object_not_the_active_one(annotator):
    annotator.take_over()
    annotator.dock.prompt_controller.click((0.0, 50.0, 70.0))
    annotator.qtbot.waitUntil(lambda: annotator.controller.choosing, timeout=60_000)
    annotator.idle()
    active = annotator.controller.active.number
    annotator.dock.objects.go_to(8)
    annotator.table.edit_requested.emit()
    assert annotator.annotated.mask.layer.selected_label == annotator.controller.selected == 8
    assert active in annotator.objects
    annotator.table.edit_requested.emit()


def test_a_click_is_where_it_is_seen_beside_a_layer_in_another_unit(open_annotator):
    annotator = open_annotator(np.random.default_rng(2).integers(0, 255, (60, 80), np.uint8))
    viewer, image = annotator.viewer, annotator.image
    image.scale, image.units = (0.5, 0.5), ("um", "um")
    viewer.add_image(np.zeros((9, 9)), scale=(100, 100), units=("nm", "nm"))
    viewer.layers.selection.active = image
    annotator.dock.prompt_controller.click((20 * 500.0, 30 * 500.0))  # the world is in nm
    annotator.qtbot.waitUntil(lambda: annotator.controller.choosing, timeout=60_000)
    annotator.idle()
    assert not annotator.failed
    assert annotator.pixels()[20, 30] == 0  # the active object is shown, not written
    (click,) = annotator.controller.shown().timeline.state.prompts.clicks
    assert (click.row, click.column) == (20.0, 30.0)


def test_a_discarded_object_leaves_the_table(annotator):
    annotator.dock.prompt_controller.click((0.0, 30.0, 30.0))
    annotator.qtbot.waitUntil(lambda: annotator.controller.choosing, timeout=60_000)
    annotator.idle()
    annotator.controller.accept()
    annotator.dock.objects.undoing.undo()
    annotator.idle()
    annotator.qtbot.waitUntil(lambda: annotator.table.view.model().rowCount() == 1)
    annotator.qtbot.wait(50)
    annotator.controller.discard()
    annotator.qtbot.waitUntil(lambda: annotator.table.view.model().rowCount() == 0)


@pytest.mark.parametrize("act", ["merge", "split", "edit", "propagate", "put away"])
def test_without_an_image_every_act_says_to_open_one(make_napari_viewer, qtbot, act):
    dock = RefineDock(make_napari_viewer(), make_session)
    qtbot.addWidget(dock)
    {
        "merge": dock.parts.objects.merge_requested.emit,
        "split": dock.parts.objects.split_requested.emit,
        "edit": dock.parts.objects.edit_requested.emit,
        "propagate": lambda: dock.parts.stack.propagate_requested.emit("both"),
        "put away": dock.tab.put_away,
    }[act]()
    assert dock.parts.status.text() == HINT_OPEN
    assert dock.prompt_controller.gestures.tool == "click"
    dock.release()


def test_export_says_at_once_that_an_object_is_active(annotator):
    annotator.dock.prompt_controller.click((0.0, 30.0, 30.0))
    annotator.qtbot.waitUntil(lambda: annotator.controller.choosing, timeout=60_000)
    annotator.idle()
    annotator.table.export_requested.emit()
    assert "Accept or discard" in annotator.status_message[-1]
    assert not annotator.table.findChildren(ExportDialog)
    annotator.controller.accept()
    annotator.table.export_requested.emit()
    (dialog,) = annotator.table.findChildren(ExportDialog)
    dialog.close()


def test_editing_by_hand_readies_the_brush_and_is_one_act_for_each_slice(annotator):
    annotator.take_over()
    before = annotator.pixels()
    annotator.select(8)
    layer = annotator.annotated.mask.layer
    annotator.table.edit_requested.emit()
    assert (str(layer.mode), layer.selected_label) == ("paint", 8)
    assert annotator.viewer.layers.selection.active is layer
    assert annotator.table.buttons["edit"].isChecked()
    layer.brush_size = 5
    layer.paint((0, 50, 50), 8)
    layer.paint((0, 15, 15), 8)  # belongs to object 3, which is protected
    annotator.viewer.dims.set_current_step(0, 2)
    layer.paint((2, 50, 50), 8)
    annotator.assert_logged()  # strokes are safe before the end
    annotator.table.edit_requested.emit()
    assert str(layer.mode) == "pan_zoom"
    assert annotator.viewer.layers.selection.active is annotator.image
    assert not annotator.table.buttons["edit"].isChecked()
    after = annotator.pixels()
    assert after[0, 50, 50] == after[2, 50, 50] == 8
    assert after[0, 15, 15] == 3
    assert annotator.objects[8].status == "edited"
    annotator.assert_logged()
    annotator.dock.objects.undoing.undo_act()
    annotator.assert_logged()
    assert annotator.pixels()[2].sum() == 0
    annotator.dock.objects.undoing.undo_act()
    np.testing.assert_array_equal(annotator.pixels(), before)
    assert annotator.objects[8].status == "accepted"
    annotator.assert_logged()


def test_whatever_is_done_next_ends_the_editing_first(annotator):
    annotator.take_over()
    annotator.select(8)
    annotator.table.edit_requested.emit()
    annotator.annotated.mask.layer.paint((0, 50, 50), 8)
    annotator.table.delete_requested.emit(3)
    assert not annotator.dock.tab.reshaping.editing
    assert list(annotator.objects) == [7, 8]
    annotator.assert_logged()
    annotator.dock.objects.undoing.undo_act()
    annotator.dock.objects.undoing.undo_act()
    assert annotator.pixels()[0, 50, 50] == 0
    assert list(annotator.objects) == [3, 7, 8]


@pytest.mark.slow
def test_segment_all_finds_objects_to_keep_or_drop(open_annotator, monkeypatch):
    drawn, show = [], PromptLayers.show_outline
    monkeypatch.setattr("napari_spa.viewer.annotation.finding._LOOK_S", 0.0)
    monkeypatch.setattr(
        PromptLayers, "show_outline", lambda *a: (drawn.append(len(a[1])), show(*a))[1]
    )
    rng = np.random.default_rng(4)
    image = np.full((160, 200), 30.0)
    for place in ((40, 40), (40, 110), (110, 60), (110, 150)):
        image[disk(place, 17)] = 170
    image = (image + rng.normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8)
    tiny = load_model("spa-tiny")
    annotator = open_annotator(image, lambda name: RefinementSession(tiny))
    annotator.table.segment_requested.emit()
    annotator.qtbot.waitUntil(lambda: not annotator.controller.busy, timeout=240_000)
    found = list(annotator.objects)
    assert len(found) >= 3
    assert drawn == [*sorted(set(drawn[:-1])), 0]  # as they came, until they were there
    assert len(drawn) > len(found)
    assert {one.status for one in annotator.objects.values()} == {"review"}
    assert annotator.status_message[-1].startswith(f"{len(found)} objects found.")
    annotator.assert_logged()
    annotator.qtbot.waitUntil(lambda: annotator.table._waiting() == found)
    assert not annotator.table.review.isHidden()
    annotator.table.keep_requested.emit(found[:1])
    annotator.table.drop_requested.emit(found[1:])
    assert [one.status for one in annotator.objects.values()] == ["accepted"]
    annotator.dock.objects.undoing.undo_act()  # all that were dropped
    assert list(annotator.objects) == found
    annotator.assert_logged()
    annotator.dock.objects.undoing.undo_act()
    annotator.dock.objects.undoing.undo_act()
    assert not annotator.objects
    assert annotator.status_message[-1] == f"Taken back: add {len(found)} objects."


def test_cancel_ends_the_search_and_leaves_everything(open_annotator):
    tiny = load_model("spa-tiny")
    data = np.random.default_rng(0).integers(0, 255, (200, 200), np.uint8)
    annotator = open_annotator(data, lambda name: RefinementSession(tiny))
    annotator.table.segment_requested.emit()
    annotator.controller.cancel()
    annotator.idle()
    assert not annotator.objects
    assert annotator.status_message[-1].startswith("Stopped.")


@pytest.mark.slow
def test_what_segment_all_found_before_cancel_stays(open_annotator, monkeypatch):
    monkeypatch.setattr("napari_spa.viewer.annotation.finding._LOOK_S", 0.0)
    image = np.full((160, 200), 30, np.uint8)
    for place in ((40, 40), (40, 110), (110, 60), (110, 150)):
        image[disk(place, 17)] = 170
    tiny = load_model("spa-tiny")
    annotator = open_annotator(image, lambda name: RefinementSession(tiny))
    show = PromptLayers.show_outline

    def cancel_at_first(layers, lines, *plane):
        show(layers, lines, *plane)
        if lines:
            annotator.controller.cancel()

    monkeypatch.setattr(PromptLayers, "show_outline", cancel_at_first)
    annotator.table.segment_requested.emit()
    annotator.qtbot.waitUntil(lambda: not annotator.controller.busy, timeout=240_000)
    assert 1 <= len(annotator.objects) < 4
    assert {one.status for one in annotator.objects.values()} == {"review"}
    assert "found before it was stopped. Keep or drop" in annotator.status_message[-1]
    annotator.assert_logged()
    annotator.dock.objects.undoing.undo_act()
    assert not annotator.objects


def test_a_label_to_refine_is_recommended_as_it_is(annotator):
    layer = annotator.add_labels()
    annotator.dock.objects.refine_at((0.0, 15.0, 40.0))
    annotator.idle()
    mask = annotator.controller.active.shown.mask
    shown = mask.region.paste(mask.pixels, SHAPE[1:])
    np.testing.assert_array_equal(shown, layer.data[0] == 7)
    annotator.controller.accept()
    np.testing.assert_array_equal(annotator.pixels()[0] > 0, layer.data[0] == 7)


def test_several_objects_are_one_act(annotator):
    annotator.take_over()
    before = annotator.pixels()
    annotator.table.class_requested.emit([3, 7], "nucleus")
    assert [one.class_name for one in annotator.objects.values()] == ["nucleus", "nucleus", ""]
    annotator.dock.objects.undoing.undo_act()
    assert not any(one.class_name for one in annotator.objects.values())
    annotator.table.delete_all_requested.emit([3, 8])
    assert list(annotator.objects) == [7]
    assert set(np.unique(annotator.pixels())) == {0, 7}
    assert annotator.status_message[-1] == "2 objects deleted; Undo brings them back."
    annotator.dock.objects.undoing.undo_act()
    assert list(annotator.objects) == [3, 7, 8]
    np.testing.assert_array_equal(annotator.pixels(), before)


def test_an_active_object_that_is_deleted_with_others_is_never_accepted(annotator):
    annotator.take_over()
    controller, said = annotator.controller, annotator.controller.proposed
    with annotator.qtbot.waitSignal(said, timeout=60_000):
        annotator.dock.prompt_controller.click((0, 45, 65))
    annotator.idle()
    number = controller.active.number
    annotator.table.delete_all_requested.emit([3, number])
    assert controller.active is None
    assert list(annotator.objects) == [7, 8]
    annotator.dock.objects.undoing.undo_act()
    assert list(annotator.objects) == [3, 7, 8]
    annotator.assert_logged()


def test_what_was_accepted_of_an_object_is_not_dropped_with_what_waits(annotator):
    annotator.take_over()
    first, second = (Plane((1, 2), (z, 0, 0)) for z in (0, 1))
    annotated = annotator.annotated
    disc = annotated.annotation.pixels(3, second)
    annotated.remove(3, second)
    annotated.write(3, Part(second, "review"), disc, "protect")
    annotated.remove(7, second)
    annotated.write(20, Part(second, "review"), LocalMask.crop(np.eye(9, dtype=bool)), "protect")
    assert annotator.objects[3].status == annotator.objects[20].status == "review"
    annotator.table.drop_requested.emit([3, 20])
    assert list(annotator.objects) == [3, 7, 8]
    assert [part.plane for part in annotator.objects[3].parts] == [first]
    assert "1 object stayed" in annotator.status_message[-1]
    annotator.dock.objects.undoing.undo_act()
    assert len(annotator.objects[3].parts) == 2
    assert 20 in annotator.objects


def test_what_was_painted_between_two_acts_stays_an_object_when_both_are_undone(annotator):
    annotator.take_over()
    layer, undoing = annotator.annotated.mask.layer, annotator.dock.objects.undoing
    annotator.qtbot.wait(50)  # napari draws it first
    annotator.table.class_requested.emit([3], "cell")
    layer.paint((0, 50, 60), 20)
    annotator.table.class_requested.emit([7], "cell")
    layer.paint((0, 50, 10), 21)
    for act in (undoing.undo, undoing.undo, undoing.undo, undoing.redo, undoing.redo):
        act()
        annotator.idle()
        assert list(annotator.objects) == [3, 7, 8, 20]
        assert set(np.unique(annotator.pixels())) == {0, 3, 7, 8, 20}
        annotator.assert_logged()
    assert [annotator.objects[number].class_name for number in (3, 7)] == ["cell", "cell"]

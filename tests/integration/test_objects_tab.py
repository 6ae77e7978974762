"""Objects are named, classed, merged, split, painted, found and taken over in a real viewer."""

import json

import numpy as np
import pytest
from qtpy.QtWidgets import QInputDialog
from skimage.draw import disk
from tiny_model import make_model

from napari_spa.io.event_log import read_records
from napari_spa.io.models.load import load_model
from napari_spa.refine.annotation.annotation import ArraySurface
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.log.journal import read_journal
from napari_spa.refine.session.session import RefinementSession
from napari_spa.widgets.objects.model import CLASS, NAME
from napari_spa.widgets.refine.dock import RefineDock

MODEL = make_model()
SHAPE = (3, 60, 80)


def make_session(name):
    return RefinementSession(MODEL, config=EngineConfig(samples=12))


class Desk:
    """A dock on a stack, and a labels layer with three discs on its first two slices."""

    def __init__(self, viewer, qtbot, data, factory):
        self.viewer, self.qtbot = viewer, qtbot
        self.image = viewer.add_image(data, name="cells")
        self.dock = RefineDock(viewer, factory)
        qtbot.addWidget(self.dock)
        self.refiner, self.table = self.dock.refiner, self.dock.parts.objects
        self.said, self.failed = [], []
        self.refiner.said.connect(self.said.append)
        self.refiner.failed.connect(self.failed.append)
        viewer.dims.set_current_step(0, 0)

    def add_labels(self):
        labels = np.zeros(SHAPE, np.int32)
        for number, place in ((3, (15, 15)), (7, (15, 40)), (8, (40, 30))):
            labels[(slice(0, 2), *disk(place, 9))] = number
        layer = self.viewer.add_labels(labels, name="Cellpose")
        self.viewer.layers.selection.active = self.image
        return layer

    def idle(self):
        self.qtbot.waitUntil(lambda: not self.refiner.busy, timeout=60_000)

    def take_over(self):
        layer = self.add_labels()
        self.dock.tab.finding.take_over(layer)
        self.idle()
        return layer

    @property
    def work(self):
        return self.refiner.current

    @property
    def objects(self):
        return self.work.annotation.objects

    def pixels(self):
        with self.work.bare():
            return np.array(self.work.mask.layer.data)

    def select(self, number):
        self.dock.objects.go_to(number)
        self.viewer.dims.set_current_step(0, 0)

    def from_log(self):
        """Read from disk what would come back after a crash."""
        self.refiner.works.painting.flush()
        self.refiner.keeper.flush()
        array = np.zeros(self.work.facts.shape, np.uint32)
        log = read_records(self.refiner.keeper.log_of(self.work))
        return read_journal(log, ArraySurface(array)).annotation, array

    def assert_logged(self):
        annotation, array = self.from_log()
        np.testing.assert_array_equal(array, self.pixels())
        for one, other in zip(annotation.objects.values(), self.objects.values(), strict=True):
            assert (one.number, one.area, one.name, one.class_name, one.status) == (
                other.number,
                other.area,
                other.name,
                other.class_name,
                other.status,
            )


@pytest.fixture
def open_desk(make_napari_viewer, qtbot):
    desks = []

    def open_it(data=None, factory=make_session):
        if data is None:
            data = np.random.default_rng(2).integers(0, 255, SHAPE, np.uint8)
        desks.append(Desk(make_napari_viewer(), qtbot, data, factory))
        return desks[-1]

    yield open_it
    for desk in desks:
        desk.dock.release()


@pytest.fixture
def desk(open_desk):
    return open_desk()


def test_a_labels_layer_is_taken_over_refined_and_written_back(desk):
    layer = desk.take_over()
    before = np.array(layer.data)
    np.testing.assert_array_equal(desk.pixels(), before)
    assert list(desk.objects) == [3, 7, 8]  # numbers that are free stay
    assert desk.said[-1] == "6 objects taken over."  # on two slices each
    assert not layer.visible
    desk.assert_logged()
    desk.dock.objects.delete(7)
    desk.dock.tab.finding.write_back()
    np.testing.assert_array_equal(layer.data, np.where(before == 7, 0, before))
    desk.dock.objects.undo()
    desk.dock.objects.undo()
    assert not desk.objects  # one act
    assert not desk.pixels().any()


def test_what_is_there_already_is_left_alone_when_a_layer_is_taken_over(desk):
    desk.take_over()
    before = desk.pixels()
    other = np.zeros(SHAPE, np.uint16)
    other[(0, *disk((15, 15), 10))] = 1
    other[(0, *disk((45, 60), 8))] = 3
    layer = desk.viewer.add_labels(other, name="StarDist")
    desk.viewer.layers.selection.active = desk.image
    desk.dock.tab.finding.take_over(layer)
    desk.idle()
    assert desk.said[-1] == "1 object taken over. 1 left out: others are there already."
    after = desk.pixels()
    np.testing.assert_array_equal(after[before > 0], before[before > 0])
    assert set(np.unique(after)) == {0, 3, 7, 8, 9}


def test_layers_of_another_size_are_refused(desk):
    layer = desk.viewer.add_labels(np.ones((9, 9), np.uint8))
    desk.viewer.layers.selection.active = desk.image
    desk.dock.tab.finding.take_over(layer)
    assert "another size" in desk.failed[-1]


def test_objects_get_names_and_classes_that_stay_through_everything(desk, monkeypatch):
    desk.take_over()
    desk.dock.parts.objects.classes.add_requested.emit("nucleus")
    desk.dock.parts.objects.classes.add_requested.emit("Nucleus")
    assert "there is a class Nucleus already" in desk.failed[-1]
    desk.table.class_requested.emit(3, "nucleus")
    monkeypatch.setattr(QInputDialog, "getText", lambda *a, **k: ("  the\nlarge one ", True))
    desk.table.ask_name(7)
    desk.qtbot.waitUntil(lambda: any(row.class_name for row in desk.table._model.rows))
    rows = {row.number: row for row in desk.table._model.rows}
    assert rows[3].class_name == "nucleus"
    assert rows[7].name == "the large one"
    assert not desk.table.view.isColumnHidden(CLASS)
    desk.assert_logged()
    desk.dock.objects.undo()
    assert desk.objects[7].name == ""
    desk.dock.objects.redo()
    assert desk.objects[7].name == "the large one"
    assert "Object 7, the large one" in rows[7].words()
    assert NAME > CLASS


def test_new_objects_get_the_class_that_a_key_chooses(desk, open_desk):
    classes = desk.refiner.classes
    classes.add("cell")
    classes.add("debris")
    next_class = desk.dock._acts()["next_class"]
    next_class()
    assert (classes.current, desk.said[-1]) == ("", "New objects have no class.")
    next_class()
    assert desk.said[-1] == "New objects: cell."
    assert desk.table.classes.combo.currentText() == "cell"
    with desk.qtbot.waitSignal(desk.refiner.proposed, timeout=30_000):
        desk.dock.prompt_controller.click((0, 30, 30))
    assert desk.refiner.accept()
    (held,) = desk.objects.values()
    assert held.class_name == "cell"
    desk.assert_logged()
    assert [one.name for one in open_desk().refiner.classes.entries] == ["cell", "debris"]


def test_a_list_of_classes_is_imported_or_refused(desk, tmp_path):
    path = tmp_path / "ours.json"
    listed = [{"name": "vessel", "colour": "#CC0000"}, {"name": "disc", "colour": "#00cc00"}]
    path.write_text(json.dumps({"kind": "napari-spa classes", "version": 1, "classes": listed}))
    desk.table.classes.import_requested.emit(str(path))
    assert [one.colour for one in desk.table.classes.entries] == ["#cc0000", "#00cc00"]
    path.write_text("[]")
    desk.table.classes.import_requested.emit(str(path))
    assert "no list of classes" in desk.failed[-1]
    assert len(desk.table.classes.entries) == 2


def test_a_click_merges_and_a_line_splits(desk):
    desk.take_over()
    before = desk.pixels()
    desk.select(3)
    desk.table.merge_requested.emit()
    assert desk.dock.prompt_controller.gestures.tool == "merge"
    assert desk.table.buttons["merge"].isChecked()
    desk.dock.prompt_controller.merge((0.0, 15.0, 40.0))
    assert list(desk.objects) == [3, 8]
    np.testing.assert_array_equal(desk.pixels(), np.where(before == 7, 3, before))
    assert desk.dock.prompt_controller.gestures.tool == "add"
    desk.table.split_requested.emit()
    desk.dock.prompt_controller.split([(0.0, 40.0, 18.0), (0.0, 40.4, 45.0)])
    assert list(desk.objects) == [3, 8, 9]
    assert desk.pixels()[0, 47, 30] == 9 or desk.pixels()[0, 34, 30] == 9
    assert (desk.pixels() > 0).sum() == (before > 0).sum()
    desk.assert_logged()
    desk.dock.prompt_controller.split([(0.0, 2.0, 2.0), (0.0, 55.0, 70.0), (0.0, 57.0, 70.0)])
    desk.dock.prompt_controller.split([(0.0, 55.0, 70.0), (0.0, 57.0, 70.0)])
    assert "no accepted object under the line" in desk.failed[-1]
    desk.dock.prompt_controller.merge((0.0, 58.0, 78.0))
    assert "no accepted object at that place" in desk.failed[-1]
    while desk.work.annotation.last_change.kind != "accept":
        desk.dock.objects.undo()
    np.testing.assert_array_equal(desk.pixels(), before)


def test_editing_by_hand_readies_the_brush_and_is_one_act_for_each_slice(desk):
    desk.take_over()
    before = desk.pixels()
    desk.select(8)
    layer = desk.work.mask.layer
    desk.table.edit_requested.emit()
    assert (str(layer.mode), layer.selected_label) == ("paint", 8)
    assert desk.viewer.layers.selection.active is layer
    assert desk.table.buttons["edit"].isChecked()
    layer.brush_size = 5
    layer.paint((0, 50, 50), 8)
    layer.paint((0, 15, 15), 8)  # belongs to object 3, which is protected
    desk.viewer.dims.set_current_step(0, 2)
    layer.paint((2, 50, 50), 8)
    desk.assert_logged()  # strokes are safe before the end
    desk.table.edit_requested.emit()
    assert str(layer.mode) == "pan_zoom"
    assert desk.viewer.layers.selection.active is desk.image
    assert not desk.table.buttons["edit"].isChecked()
    after = desk.pixels()
    assert after[0, 50, 50] == after[2, 50, 50] == 8
    assert after[0, 15, 15] == 3
    assert desk.objects[8].status == "edited"
    desk.assert_logged()
    desk.dock.objects.undo()
    desk.assert_logged()
    assert desk.pixels()[2].sum() == 0
    desk.dock.objects.undo()
    np.testing.assert_array_equal(desk.pixels(), before)
    assert desk.objects[8].status == "accepted"
    desk.assert_logged()


def test_whatever_is_done_next_ends_the_editing_first(desk):
    desk.take_over()
    desk.select(8)
    desk.table.edit_requested.emit()
    desk.work.mask.layer.paint((0, 50, 50), 8)
    desk.table.delete_requested.emit(3)
    assert not desk.dock.tab.reshaping.editing
    assert list(desk.objects) == [7, 8]
    desk.assert_logged()
    desk.dock.objects.undo()
    desk.dock.objects.undo()
    assert desk.pixels()[0, 50, 50] == 0
    assert list(desk.objects) == [3, 7, 8]


@pytest.mark.slow
def test_segment_all_finds_objects_to_keep_or_drop(open_desk):
    rng = np.random.default_rng(4)
    image = np.full((160, 200), 30.0)
    for place in ((40, 40), (40, 110), (110, 60), (110, 150)):
        image[disk(place, 17)] = 170
    image = (image + rng.normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8)
    tiny = load_model("spa-tiny")
    desk = open_desk(image, lambda name: RefinementSession(tiny))
    desk.table.segment_requested.emit()
    desk.qtbot.waitUntil(lambda: not desk.refiner.busy, timeout=240_000)
    found = list(desk.objects)
    assert len(found) >= 3
    assert {one.status for one in desk.objects.values()} == {"review"}
    assert desk.said[-1].startswith(f"{len(found)} objects found.")
    desk.assert_logged()
    desk.qtbot.waitUntil(lambda: desk.table._waiting() == found)
    assert not desk.table.review.isHidden()
    desk.table.keep_requested.emit(found[:1])
    desk.table.drop_requested.emit(found[1:])
    assert [one.status for one in desk.objects.values()] == ["accepted"]
    desk.dock.objects.undo()  # all that were dropped
    assert list(desk.objects) == found
    desk.assert_logged()
    desk.dock.objects.undo()
    desk.dock.objects.undo()
    assert not desk.objects


def test_cancel_ends_the_search_and_leaves_everything(open_desk):
    tiny = load_model("spa-tiny")
    data = np.random.default_rng(0).integers(0, 255, (200, 200), np.uint8)
    desk = open_desk(data, lambda name: RefinementSession(tiny))
    desk.table.segment_requested.emit()
    desk.refiner.cancel()
    desk.idle()
    assert not desk.objects
    assert desk.said[-1].startswith("Stopped.")

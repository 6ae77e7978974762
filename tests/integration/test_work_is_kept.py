"""Faults that cost work: labels behind their log, what is painted first, exports while painting."""

import csv
import json

import numpy as np
import pytest
import tifffile
from folder_docks import SHAPE, accept, go, open_folder, pixels, until

from napari_spa.errors import DataError
from napari_spa.io.event_log import WorkFolder
from napari_spa.io.export import ExportRequest
from napari_spa.io.projects.classes import KIND, VERSION, read_classes
from napari_spa.io.projects.paths import labels_path, log_path
from napari_spa.viewer.export import export_work
from napari_spa.viewer.layers.planes import steps_of


def paint(layer, place, label, size=10):
    layer.mode, layer.brush_size, layer.selected_label = "paint", size, label
    layer.paint(place, label)


def two_objects(qtbot, dock, refine_dock, folder):
    """Accept two objects on the first image and leave it."""
    open_folder(qtbot, dock, folder)
    for point in ((24, 28), (40, 8)):
        accept(qtbot, dock, refine_dock, point)
    go(qtbot, dock, "cell2.png")
    dock.controller.saver.flush()
    return labels_path(dock.controller.out, "cell1.png")


@pytest.mark.parametrize("lost", [False, True])
def test_labels_that_lack_what_the_log_says_are_written_when_the_image_is_left(
    open_docks, few, qtbot, lost
):
    _, dock, refine_dock = open_docks()
    labels = two_objects(qtbot, dock, refine_dock, few)
    whole = tifffile.imread(labels)
    assert len(np.unique(whole)) == 3
    # As a crash, or a disk that was full, leaves them: older than the log, or not there.
    log = log_path(dock.controller.out, "cell1.png")
    if lost:
        labels.unlink()
    else:
        tifffile.imwrite(labels, np.where(whole == 1, whole, 0))
    log.write_bytes(log.read_bytes())
    go(qtbot, dock, "cell1.png")
    go(qtbot, dock, "cell2.png")
    dock.controller.saver.flush()
    np.testing.assert_array_equal(tifffile.imread(labels), whole)
    written = labels.stat().st_mtime_ns
    go(qtbot, dock, "cell1.png")  # and are not written again
    go(qtbot, dock, "cell2.png")
    dock.controller.saver.flush()
    assert labels.stat().st_mtime_ns == written


def test_what_is_painted_before_the_first_click_is_kept(open_docks, few, qtbot):
    _, dock, refine_dock = open_docks()
    open_folder(qtbot, dock, few)
    accept(qtbot, dock, refine_dock)
    go(qtbot, dock, "cell2.png")
    annotated = refine_dock.controller.current
    annotated.mask.make()
    paint(annotated.mask.layer, (20, 20), 1)
    until(qtbot, lambda: dock.controller.items["cell2.png"].objects == 1)
    assert dock.controller.items["cell2.png"].status == "in progress"
    painted = annotated.mask.store.data.copy()
    go(qtbot, dock, "cell3.png")
    dock.controller.saver.flush()
    np.testing.assert_array_equal(
        tifffile.imread(labels_path(dock.controller.out, "cell2.png")), painted
    )
    go(qtbot, dock, "cell2.png")
    assert list(refine_dock.controller.current.annotation.objects) == [1]


def test_names_and_classes_given_without_a_log_are_in_it_once_there_is_one(
    open_docks, qtbot, monkeypatch
):
    viewer, _, dock = open_docks()
    controller = dock.controller

    def refuse(root):
        raise DataError("No space left on device.")

    monkeypatch.setattr(WorkFolder, "create", refuse)
    layer = viewer.add_image(pixels(1), name="cell")
    for number, point in enumerate(((30, 35), (10, 12)), start=1):
        dock.prompt_controller.click(tuple(layer.data_to_world(point)), aim="next")
        until(qtbot, lambda: controller.choosing and not controller.busy)
        controller.accept()
        if number == 1:
            dock.tab.reshaping.classify([1], "nucleus")
            dock.tab.reshaping.rename(1, "big one")
            monkeypatch.undo()
    controller.autosave.flush()
    log = controller.autosave.log_of(controller.current).read_text(encoding="utf-8")
    said = [json.loads(line) for line in log.splitlines()]
    told = [(r["name"], r["class"]) for r in said if r["kind"] == "describe"]
    assert ("big one", "nucleus") in told


def test_an_export_holds_what_there_was_when_it_began(open_docks, qtbot, tmp_path):
    viewer, _, dock = open_docks()
    layer = viewer.add_image(pixels(1), name="cell")
    dock.prompt_controller.click(tuple(layer.data_to_world((30, 35))))
    until(qtbot, lambda: dock.controller.choosing and not dock.controller.busy)
    dock.controller.accept()
    annotated = dock.controller.current
    before = annotated.mask.store.data.copy()
    job = export_work(annotated, ExportRequest(tmp_path, ("labels", "tables")), None, ())
    paint(annotated.mask.layer, (10, 10), 1)
    job(lambda *_: None)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "cell-labels.tif"), before)
    with (tmp_path / "cell-objects.csv").open(encoding="utf-8-sig") as rows:
        assert [int(row["pixels"]) for row in csv.DictReader(rows)] == [int((before == 1).sum())]


@pytest.mark.parametrize(
    "place",
    [
        {"scale": (-0.5, 0.5), "units": ("um", "um")},
        {"affine": np.diag([0.5, 0.5, 1.0]), "units": ("um", "um")},
        {"scale": (0.5, 0.5)},  # of whatever: napari's default unit is the pixel
    ],
)
def test_a_layer_that_is_flipped_or_placed_by_an_affine_is_measured(
    open_docks, qtbot, tmp_path, place
):
    viewer, _, dock = open_docks()
    layer = viewer.add_image(pixels(1), name="cell", **place)
    np.testing.assert_allclose(steps_of(layer), 0.5)
    dock.prompt_controller.click(tuple(layer.data_to_world((30, 35))))
    until(qtbot, lambda: dock.controller.choosing and not dock.controller.busy)
    dock.controller.accept()
    request = ExportRequest(tmp_path, ("labels", "tables"))
    export_work(dock.controller.current, request, None, ())(lambda *_: None)
    with (tmp_path / "cell-objects.csv").open(encoding="utf-8-sig") as rows:
        (row,) = csv.DictReader(rows)
    assert float(row["area"]) == pytest.approx(0.25 * int(row["pixels"]))
    assert row["unit"] == ("micrometer" if "units" in place else "unnamed")


def test_what_is_erased_across_the_slices_is_counted_on_them(open_docks, qtbot):
    viewer, _, dock = open_docks()
    layer = viewer.add_image(pixels(1, (6, *SHAPE)), name="stack")
    viewer.dims.set_current_step(0, 3)
    dock.prompt_controller.click(tuple(layer.data_to_world((3, 30, 35))))
    until(qtbot, lambda: dock.controller.choosing and not dock.controller.busy)
    dock.controller.accept()
    annotated = dock.controller.current
    data = annotated.mask.store.data
    row = int(np.argwhere(data == 1)[0, 1])
    viewer.dims.order = (1, 0, 2)
    viewer.dims.set_current_step(1, row)
    paint(annotated.mask.layer, (3, row, 35), 0, size=2 * SHAPE[1])
    dock.controller.images.painting.flush()
    left = int((data == 1).sum())
    held = annotated.annotation.objects[1]
    assert held.area == left
    assert held.status == "edited"
    assert {part.plane.axes for part in held.parts} == {(1, 2)}


def test_a_list_of_classes_keeps_what_another_window_added(open_docks, qtbot, make_napari_viewer):
    viewer, _, dock = open_docks()
    other, _, other_dock = open_docks(make_napari_viewer())
    for number, one in enumerate((viewer, other)):
        one.add_image(pixels(number), name=f"cell {number}")
    dock.controller.classes.add("nucleus")
    other_dock.controller.classes.add("debris")
    path = dock.controller.classes._path
    assert [one.name for one in read_classes(path)] == ["nucleus", "debris"]
    dock.controller.classes.add("cell")
    assert [one.name for one in read_classes(path)] == ["nucleus", "debris", "cell"]
    dock.controller.classes.remove("debris")  # as this window knows it by now
    assert [one.name for one in read_classes(path)] == ["nucleus", "cell"]


def test_a_list_of_classes_that_cannot_be_read_is_never_replaced(open_docks, qtbot):
    viewer, _, dock = open_docks()
    viewer.add_image(pixels(1), name="cell")
    classes = dock.controller.classes
    classes.add("nucleus")
    newer = json.dumps({"kind": KIND, "version": VERSION + 1, "classes": []})
    classes._path.write_text(newer, encoding="utf-8")
    said = []
    classes.failed.connect(said.append)
    classes.add("debris")
    assert classes._path.read_text(encoding="utf-8") == newer
    assert "could not be saved" in said[0]
    assert [one.name for one in classes.entries] == ["nucleus", "debris"]

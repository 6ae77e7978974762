"""A folder of mixed files is worked through in the real dock, closed, and opened again."""

import errno
import os
import threading

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from folder_docks import (
    SHAPE,
    accept,
    annotate_one,
    answers_of,
    click,
    finish_first,
    go,
    layers_of,
    open_folder,
    pixels,
    ready,
    until,
)

from napari_spa.io.event_log import read_records
from napari_spa.io.profiles import PreferenceProfile
from napari_spa.io.projects.classes import ObjectNote, read_classes, write_notes
from napari_spa.io.projects.paths import labels_path, log_path, notes_path
from napari_spa.io.projects.project import Project
from napari_spa.viewer.folder import reader
from napari_spa.widgets.folder.list import second_line


def test_a_mixed_folder_from_end_to_end(open_docks, folder, qtbot):
    viewer, dock, refine_dock = open_docks()
    mine = viewer.add_points([[3.0, 3.0]], name="mine")
    open_folder(qtbot, dock, folder)
    controller, out = dock.controller, folder.parent / "images-spa"
    names = list(controller.items)
    assert len(names) == 20
    assert names[:3] == ["cell1.png", "cell2.png", "cell3.png"]
    assert names.index("cell10.png") == 9
    assert controller.current == "cell1.png"

    # Through all of it with the buttons: an object in each, done, next.
    expected, masks = {}, {}
    while True:
        name = controller.current
        accept(qtbot, dock, refine_dock)
        masks[name] = refine_dock.controller.current.mask.store.read(
            dock.controller.stage.plane().slices
        )
        dock.parts.action_buttons["done_next"].click()
        expected[name] = "done"
        if "this was the last image" in dock.parts.status.text():
            break
        until(qtbot, lambda name=name: controller.current != name)
    assert len(expected) == 18
    assert {n: i.status for n, i in controller.items.items()} == {
        name: expected.get(name, "to do") for name in names
    }
    until(qtbot, lambda: all(controller.items[n].problem for n in ("corrupt.tif", "empty.png")))
    assert mine in viewer.layers
    assert len(layers_of(viewer, ": objects")) == 1

    go(qtbot, dock, "cell1.png")
    controller.saver.flush()
    for name, mask in masks.items():
        labels = tifffile.imread(labels_path(out, name))
        np.testing.assert_array_equal(labels[2] if name == "stack.tif" else labels, mask)
        assert mask.any()
        assert read_records(log_path(out, name))
    assert labels_path(out, "twin.png") != labels_path(out, "twin.tif")
    with tifffile.TiffFile(labels_path(out, "stack.tif")) as tiff:
        assert tiff.series[0].axes == "ZYX"
    assert not [path for path in out.rglob(".*") if path.suffix not in ("", ".lock-window")
                and not path.name.startswith(".project")]  # fmt: skip
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_our_layers_serve_the_next_image_whatever_was_done_to_them(open_docks, tmp_path, qtbot):
    source = tmp_path / "some"
    source.mkdir()
    iio.imwrite(source / "a.png", pixels(1))
    tifffile.imwrite(
        source / "b.tif", pixels(2), imagej=True, metadata={"unit": "um"}, resolution=(2.0, 4.0)
    )
    tifffile.imwrite(source / "c.tif", pixels(3, (5, *SHAPE)), photometric="minisblack")
    viewer, dock, refine_dock = open_docks()
    mine = viewer.add_points([[3.0, 3.0]], name="mine")
    open_folder(qtbot, dock, source)
    viewer.layers.move(viewer.layers.index(mine), len(viewer.layers))
    click(qtbot, dock, refine_dock)
    annotated = refine_dock.controller.current
    renamed, deleted, *others = annotated.candidates.layers
    mask = annotated.mask.layer
    renamed.name, mask.opacity = "my name", 0.9
    viewer.layers.remove(deleted)
    viewer.layers.move(viewer.layers.index(others[1]), 1)  # just above the image
    refine_dock.controller.accept()
    before = list(viewer.layers)

    go(qtbot, dock, "b.tif")
    after = list(viewer.layers)
    assert after[1:] == before[1:]
    assert after[0] is dock.controller.stage.current.layer is not before[0]
    for layer in after[1:]:
        assert layer is mine or np.allclose(layer.scale, [0.25, 0.5])
        assert layer is mine or layer.units == after[0].units
    assert not mask.data.any()
    mask.undo()  # napari's own must not bring the other image's object here
    assert not mask.data.any()
    click(qtbot, dock, refine_dock)
    annotated = refine_dock.controller.current
    assert annotated.mask.layer is mask
    assert mask.opacity == 0.9
    shapes = annotated.candidates.layers
    assert (shapes[0], *shapes[2:]) == (renamed, *others)
    assert renamed.name == "my name"
    assert shapes[1] is not deleted
    viewer.layers.remove(mask)  # comes back when it is needed
    refine_dock.controller.accept()
    assert mask in viewer.layers

    go(qtbot, dock, "c.tif")  # of other dimensions: made again
    assert list(viewer.layers) == [dock.controller.stage.current.layer, mine]
    click(qtbot, dock, refine_dock)
    assert all(layer.ndim == 3 for layer in refine_dock.controller.current.candidates.layers)
    dock.controller.leave()
    assert list(viewer.layers) == [mine]
    for name in ("a.png", "b.tif"):
        go(qtbot, dock, name)
        assert list(refine_dock.controller.current.annotation.objects) == [1]


def test_going_on_where_one_was(open_docks, folder, qtbot):
    viewer, dock, refine_dock = open_docks()
    open_folder(qtbot, dock, folder)
    go(qtbot, dock, "stack.tif")
    accept(qtbot, dock, refine_dock)
    viewer.dims.set_current_step(0, 4)
    click(qtbot, dock, refine_dock, (10, 40))
    refine_dock.controller.pick(0)
    until(
        qtbot,
        lambda: ready(refine_dock) and refine_dock.controller.active.shown.proposal.round == 2,
    )
    before = refine_dock.controller.active.shown.proposal.mask
    labels = refine_dock.controller.current.mask.store.data.copy()
    dock.release()
    refine_dock.release()
    assert not layers_of(viewer, "stack.tif")

    viewer, dock, refine_dock = open_docks()
    open_folder(qtbot, dock, folder)
    assert dock.controller.current == "stack.tif"
    until(qtbot, lambda: ready(refine_dock))
    assert viewer.dims.current_step[0] == 4
    assert refine_dock.controller.active.number == 2
    assert refine_dock.controller.active.shown.proposal.round == 2
    np.testing.assert_array_equal(refine_dock.controller.active.shown.proposal.mask, before)
    np.testing.assert_array_equal(refine_dock.controller.current.mask.store.data, labels)
    assert refine_dock.objects.undoing.can_undo
    refine_dock.controller.accept()
    assert sorted(refine_dock.controller.current.annotation.objects) == [1, 2]
    assert dock.controller.items["stack.tif"].status == "in progress"


def test_images_that_came_since_are_listed_when_the_folder_is_opened_again(open_docks, few, qtbot):
    _, dock, refine_dock = open_docks()
    open_folder(qtbot, dock, few)
    click(qtbot, dock, refine_dock)
    iio.imwrite(few / "cell9.png", pixels(9))
    dock.open_folder(few)
    until(qtbot, lambda: "cell9.png" in dock.controller.items)
    assert dock.parts.status.text() == "4 images, 1 of them new."
    assert refine_dock.controller.active is not None  # nothing that is being done is disturbed
    dock.open_folder(few)
    until(qtbot, lambda: dock.parts.status.text() == "4 images, none of them new.")


def test_looking_at_finished_work_changes_no_byte_of_it(open_docks, folder, qtbot):
    dock = finish_first(open_docks, folder, qtbot)
    out = dock.controller.out
    files = [labels_path(out, "cell1.png"), log_path(out, "cell1.png")]
    before = [path.read_bytes() for path in files]
    go(qtbot, dock, "cell1.png")
    assert list(dock._refine_dock.controller.current.annotation.objects) == [1]
    go(qtbot, dock, "cell2.png")
    dock.controller.saver.flush()
    assert [path.read_bytes() for path in files] == before
    assert not log_path(out, "cell2.png").exists()


@pytest.mark.parametrize("number", [7, 70_000])
def test_labels_without_a_log_come_back_and_are_kept(open_docks, folder, qtbot, number):
    out = folder.parent / "images-spa"
    out.mkdir()
    labels = np.zeros(SHAPE, np.uint32)
    labels[2:9, 3:12], labels[30:40, 30:50] = 1, number
    tifffile.imwrite(labels_path(out, "cell1.png"), labels)
    theirs = labels_path(out, "cell1.png").read_bytes()
    _, dock, refine_dock = open_docks()
    open_folder(qtbot, dock, folder)
    assert sorted(refine_dock.controller.current.annotation.objects) == [1, number]
    until(qtbot, lambda: dock.controller.items["cell1.png"].objects == 2)
    assert second_line(dock.controller.items["cell1.png"]) == "Pending · 2 objects"
    accept(qtbot, dock, refine_dock, (15, 40))
    go(qtbot, dock, "cell2.png")
    go(qtbot, dock, "cell1.png")
    assert sorted(refine_dock.controller.current.annotation.objects) == [1, number, number + 1]
    kept = refine_dock.controller.current.mask.store.data
    np.testing.assert_array_equal(kept == number, labels == number)
    accept(qtbot, dock, refine_dock, (40, 8))
    go(qtbot, dock, "cell2.png")
    dock.controller.saver.flush()
    assert [path.read_bytes() for path in out.glob("*.bak*")] == [theirs]


def test_skip_flag_note_filter_and_order(open_docks, folder, qtbot):
    _, dock, refine_dock = open_docks()
    open_folder(qtbot, dock, folder)
    parts, controller = dock.parts, dock.controller
    parts.action_buttons["flag_image"].click()
    parts.note.setFocus()
    parts.note.insert("blurred")
    parts.note.editingFinished.emit()
    parts.action_buttons["skip_image"].click()
    until(qtbot, lambda: controller.current == "cell2.png")
    item = controller.items["cell1.png"]
    assert (item.status, item.flagged, item.note) == ("skipped", True, "blurred")
    accept(qtbot, dock, refine_dock)
    parts.action_buttons["done_next"].click()
    until(qtbot, lambda: controller.current == "cell3.png")
    parts.text.setText("BLUR")
    until(qtbot, lambda: list(parts.model.names) == ["cell1.png"])
    parts.text.clear()
    until(qtbot, lambda: len(parts.model.names) == 20)
    parts.order.setCurrentIndex(1)
    parts.order.activated.emit(1)
    assert parts.model.names[0] == "cell2.png"
    controller.saver.flush()
    controller.refresh()
    until(qtbot, lambda: controller.items["cell1.png"].note == "blurred")


def test_an_object_at_hand_is_not_left_behind_as_done(open_docks, folder, qtbot):
    _, dock, refine_dock = open_docks()
    open_folder(qtbot, dock, folder)
    assert dock.parts.status.text() == "cell1.png: click on an object."
    click(qtbot, dock, refine_dock)
    until(qtbot, lambda: dock.parts.status.text() == "cell1.png: the first object is active.")
    dock.parts.action_buttons["done_next"].click()
    assert "Accept or discard" in dock.parts.status.text()
    assert dock.controller.current == "cell1.png"
    assert dock.controller.items["cell1.png"].status == "in progress"


def test_a_second_window_is_told(open_docks, folder, qtbot):
    _, first, _ = open_docks()
    open_folder(qtbot, first, folder)
    _, second, _ = open_docks()
    with qtbot.waitSignal(second.controller.failed, timeout=30_000) as said:
        second.open_folder(folder)
    assert "another window" in said.args[0]
    assert second.controller.project is None
    first.release()
    open_folder(qtbot, second, folder)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS], ids=["full", "read-only"])
def test_a_disk_that_refuses_loses_nothing(open_docks, folder, qtbot, monkeypatch, code):
    _, dock, refine_dock = open_docks()
    open_folder(qtbot, dock, folder)
    controller, said = dock.controller, []
    controller.failed.connect(said.append)
    refine_dock.controller.failed.connect(said.append)

    def refuse(*arguments, **options):
        raise OSError(code, os.strerror(code))

    out = controller.out
    before = sorted(path.name for path in out.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr("secrets.token_hex", refuse)
        patch.setattr(reader.FolderLog, "_append_line", refuse)
        accept(qtbot, dock, refine_dock)
        go(qtbot, dock, "cell2.png")
        controller.saver.run(lambda: None).result()
        until(qtbot, lambda: controller.saver.unsaved == ("cell1.png",))
        until(qtbot, lambda: dock.parts.retry.isVisibleTo(dock))
        assert os.strerror(code) in said[0]
        assert len(said) == 1
        assert sorted(path.name for path in out.iterdir()) == before
        go(qtbot, dock, "cell1.png")  # from memory
        assert list(refine_dock.controller.current.annotation.objects) == [1]
        labels = refine_dock.controller.current.mask.store.data.copy()
        go(qtbot, dock, "cell2.png")
        until(qtbot, lambda: controller.saver.unsaved == ("cell1.png",))
    dock.parts.retry.click()
    until(qtbot, lambda: not controller.saver.unsaved)
    np.testing.assert_array_equal(tifffile.imread(labels_path(out, "cell1.png")), labels)
    assert [r["kind"] for r in read_records(log_path(out, "cell1.png"))].count("accept") == 1
    assert not [path for path in out.iterdir() if path.name.startswith(".cell")]


@pytest.mark.parametrize("back", ["itself", "a new one"])
def test_a_project_that_is_taken_away_is_told_and_not_made_again(open_docks, folder, qtbot, back):
    """As when a disk is pulled out: what was done waits in memory, and is written whole."""
    viewer, dock, refine_dock = open_docks()
    open_folder(qtbot, dock, folder)
    controller, said = dock.controller, []
    controller.failed.connect(said.append)
    refine_dock.controller.failed.connect(said.append)
    out, away = controller.out, folder.parent / "away"
    accept(qtbot, dock, refine_dock)
    refine_dock.controller.autosave.flush()
    out.rename(away)
    accept(qtbot, dock, refine_dock, (8, 8))
    dock.parts.action_buttons["done_next"].click()  # who knows what was done to the next one?
    until(qtbot, lambda: len(said) == 2)
    assert all("images-spa was taken away; bring it back" in words for words in said)
    assert (controller.current, controller.items["cell2.png"].problem) == ("cell1.png", "")
    dock.open_folder(folder)  # which looks again, and makes nothing
    until(qtbot, lambda: len(said) == 3)
    assert "images-spa was taken away; bring it back" in said.pop()
    viewer.layers.remove(controller.stage.current.layer)
    until(qtbot, lambda: controller.saver.unsaved == ("cell1.png",))
    dock.parts.retry.click()
    until(qtbot, lambda: len(said) == 3)
    assert said[2].startswith("Still not saved: cell1.png (")
    assert "images-spa was taken away; bring it back" in said[2]
    assert "press Save again" in said[2]
    go(qtbot, dock, "cell1.png")  # from memory
    assert list(refine_dock.controller.current.annotation.objects) == [1, 2]
    accept(qtbot, dock, refine_dock, (40, 48))
    labels = refine_dock.controller.current.mask.store.data.copy()
    viewer.layers.remove(controller.stage.current.layer)
    until(qtbot, lambda: controller.saver.unsaved == ("cell1.png",))
    assert len(said) == 3
    assert not out.exists()
    if back == "itself":
        away.rename(out)
    else:
        out.mkdir()
    dock.parts.retry.click()
    until(qtbot, lambda: not controller.saver.unsaved)
    controller.saver.flush()
    np.testing.assert_array_equal(tifffile.imread(labels_path(out, "cell1.png")), labels)
    records = read_records(log_path(out, "cell1.png"))
    assert records[0]["kind"] == "session"
    assert [r["object"] for r in records if r["kind"] == "accept"] == [1, 2, 3]
    assert PreferenceProfile.load(out / "profile.json").objects >= 3
    assert Project.open(out).item("cell1.png").status == "in progress"
    assert not list(out.glob("*.bak"))
    go(qtbot, dock, "cell1.png")
    assert list(refine_dock.controller.current.annotation.objects) == [1, 2, 3]


def test_a_log_without_its_beginning_says_where_the_objects_are(open_docks, few, qtbot):
    _, dock, refine_dock = open_docks()
    open_folder(qtbot, dock, few)
    annotate_one(qtbot, dock, refine_dock, few, "cell1.png")
    log = log_path(dock.controller.out, "cell1.png")
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[1:]))
    with qtbot.waitSignal(dock.controller.failed, timeout=30_000) as said:
        dock.controller.go("cell1.png")
    assert "cell1.png.spa.jsonl cannot be opened" in said.args[0]
    assert "beside it (.tif), they are whole: rename the log" in said.args[0]
    log.rename(log.with_suffix(".bak"))
    go(qtbot, dock, "cell1.png")
    assert list(refine_dock.controller.current.annotation.objects) == [1]


def test_a_folder_that_cannot_be_written_is_one_sentence(open_docks, folder, qtbot):
    (folder.parent / "images-spa").write_text("a file where the folder should be")
    _, dock, _ = open_docks()
    with qtbot.waitSignal(dock.controller.failed, timeout=30_000) as said:
        dock.open_folder(folder)
    assert said.args[0].count(".") >= 1
    assert "cannot" in said.args[0]
    assert dock.controller.project is None


def test_a_file_one_may_not_read_is_listed(open_docks, qtbot, strict_folder):
    ours = strict_folder / "images"
    ours.mkdir()
    for number in (1, 2):
        iio.imwrite(ours / f"cell{number}.png", pixels(number))
    (ours / "cell1.png").chmod(0)
    _, dock, _ = open_docks()
    open_folder(qtbot, dock, ours)
    assert dock.controller.current == "cell2.png"
    problem = dock.controller.items["cell1.png"].problem
    assert "cell1.png" in problem
    assert "Permission denied" in problem


def test_closing_the_window_leaves_everything_in_order(
    open_docks, folder, qtbot, make_napari_viewer
):
    viewer, dock, refine_dock = open_docks(make_napari_viewer(show=True))
    open_folder(qtbot, dock, folder)
    accept(qtbot, dock, refine_dock)
    labels = refine_dock.controller.current.mask.store.data.copy()
    click(qtbot, dock, refine_dock, (8, 8))  # active
    out = dock.controller.out
    viewer.close()
    assert not [t.name for t in threading.enumerate() if t.name.startswith("napari-spa")]
    np.testing.assert_array_equal(tifffile.imread(labels_path(out, "cell1.png")), labels)
    _, dock, refine_dock = open_docks()
    open_folder(qtbot, dock, folder)  # no other window has it
    until(qtbot, lambda: ready(refine_dock))
    assert refine_dock.controller.active.number == 2


@pytest.mark.parametrize("first", [True, False])
def test_closing_while_an_image_is_read_leaves_nothing_behind(
    open_docks, folder, qtbot, monkeypatch, first
):
    """The first image of the folder, or the next one after work on another."""
    _, dock, refine_dock = open_docks()
    reading, go_on = threading.Event(), threading.Event()
    read = reader.read_image_file

    def slow(name, path):
        if name == "cell5.png" or first:
            reading.set()
            assert go_on.wait(30)
        return read(name, path)

    monkeypatch.setattr(reader, "read_image_file", slow)
    if first:
        dock.open_folder(folder)
    else:
        open_folder(qtbot, dock, folder)
        accept(qtbot, dock, refine_dock)
        dock.controller.go("cell5.png")
    until(qtbot, reading.is_set)
    # The dock waits for its threads; what is read by then is heard by nobody.
    timer = threading.Timer(0.2, go_on.set)
    timer.start()
    dock.release()
    refine_dock.release()
    timer.join()
    qtbot.wait(100)
    assert not [t.name for t in threading.enumerate() if t.name.startswith("napari-spa")]
    _, dock, refine_dock = open_docks()
    open_folder(qtbot, dock, folder)  # no other window has it
    if not first:
        go(qtbot, dock, "cell1.png")
        assert list(refine_dock.controller.current.annotation.objects) == [1]


def test_what_was_clicked_is_done_before_the_image_is_left(open_docks, folder, qtbot):
    _, dock, refine_dock = open_docks()
    open_folder(qtbot, dock, folder)
    layer = dock.controller.stage.current.layer
    for point in ((10, 12), (38, 44)):  # the second, far from the first, accepts it
        refine_dock.prompt_controller.click(tuple(layer.data_to_world(point)), aim="next")
    dock.controller.step(1)
    assert dock.controller.current == "cell1.png"
    until(qtbot, lambda: dock.controller.current == "cell2.png")
    go(qtbot, dock, "cell1.png")
    until(qtbot, lambda: ready(refine_dock))
    assert list(refine_dock.controller.current.annotation.objects) == [1]
    assert refine_dock.controller.active.number == 2
    refine_dock.controller.discard()
    refine_dock.prompt_controller.click(tuple(layer.data_to_world((38, 44))))
    dock.controller.done()
    until(qtbot, lambda: ready(refine_dock))
    assert dock.controller.current == "cell1.png"
    assert dock.parts.status.text() == "Accept or discard the active object first."
    assert refine_dock.parts.status.text() == dock.parts.status.text()  # which is in front of it


def test_removing_the_image_layer_keeps_the_work(open_docks, folder, qtbot):
    viewer, dock, refine_dock = open_docks()
    open_folder(qtbot, dock, folder)
    accept(qtbot, dock, refine_dock)
    viewer.layers.remove(dock.controller.stage.current.layer)
    until(qtbot, lambda: dock.controller.current is None)
    dock.controller.saver.flush()
    assert labels_path(dock.controller.out, "cell1.png").exists()
    go(qtbot, dock, "cell1.png")
    assert list(refine_dock.controller.current.annotation.objects) == [1]


def test_the_rest_is_done_by_a_batch_and_can_be_refined(open_docks, tmp_path, qtbot):
    """With the model in the box: clicks from a table, live results, review, reopening."""
    source = tmp_path / "some"
    source.mkdir()
    for number in range(1, 5):
        iio.imwrite(source / f"cell{number}.png", pixels(number))
    table = tmp_path / "clicks.csv"
    rows = [f"cell{n}.png,1,24,28,1" for n in (2, 3)] + ["cell3.png,4,999,1,1"]
    table.write_text("\n".join(["image,object,row,col,label", *rows]) + "\n")
    _, dock, refine_dock = open_docks()
    open_folder(qtbot, dock, source)
    controller, jobs = dock.controller, dock.jobs
    dock.parts.apply.click()
    dialog = jobs.dialog
    assert dialog.start.isEnabled()  # no one has to wait for the estimate
    dialog.ways["prompts"].setChecked(True)
    assert not dialog.start.isEnabled()
    dialog.path.setText(str(table))
    dialog.review_below.setValue(1.0)  # everything is looked at
    dialog.workers.setValue(1)
    dialog.path.editingFinished.emit()
    qtbot.waitUntil(lambda: "2 images" in dialog.effort.text(), timeout=60_000)
    dock.parts.status.setText("Batch stopped; what was finished stays.")  # an earlier one
    dialog.start.click()
    assert jobs.busy
    assert not dock.parts.status.text()
    controller.go("cell3.png")  # waits in the batch
    assert controller.current == "cell1.png"
    qtbot.waitUntil(lambda: not jobs.busy, timeout=60_000)
    until(qtbot, lambda: controller.items["cell3.png"].status == "review")
    assert "Not found: object 4 of cell3.png: the point (999, 1)" in dock.parts.status.text()
    assert controller.items["cell2.png"].objects == 1
    assert controller.items["cell4.png"].status == "to do"
    until(qtbot, lambda: list(dock.parts.model.names) == ["cell2.png", "cell3.png"]
          or list(dock.parts.model.names) == ["cell3.png", "cell2.png"])  # fmt: skip
    go(qtbot, dock, "cell3.png")
    assert list(refine_dock.controller.current.annotation.objects) == [1]
    np.testing.assert_array_equal(
        refine_dock.controller.current.mask.store.data,
        tifffile.imread(labels_path(controller.out, "cell3.png")),
    )
    refine_dock.controller.profiles.set_teaching(False)  # of another model than the batch's
    accept(qtbot, dock, refine_dock, (5, 5))
    go(qtbot, dock, "cell1.png")
    controller.saver.flush()
    before = labels_path(controller.out, "cell3.png").read_bytes()
    (source / "cell4.png").write_bytes(b"no image")
    rows[2] = "cell4.png,1,24,28,1"
    table.write_text("\n".join(["image,object,row,col,label", *rows]) + "\n")
    dock.parts.apply.click()  # again, and otherwise: cell 3 was changed, cell 2 was not
    jobs.dialog.review_below.setValue(0.9)
    jobs.dialog.ways["prompts"].setChecked(True)
    jobs.dialog.path.setText(str(table))
    jobs.dialog.again.setChecked(True)
    jobs.dialog.workers.setValue(1)
    jobs.dialog.start.click()
    qtbot.waitUntil(lambda: not jobs.busy, timeout=60_000)
    said = dock.parts.status.text()
    assert "The batch ended: 1 done, 1 failed." in said
    assert "Failed: cell4.png cannot be read as an image" in said
    assert "Kept, as you changed them: 1 image." in said
    assert labels_path(controller.out, "cell3.png").read_bytes() == before
    go(qtbot, dock, "cell3.png")
    dock.parts.action_buttons["done_next"].click()
    assert controller.items["cell3.png"].status == "done"


def test_the_menu_of_an_image_sets_its_work_aside(open_docks, folder, qtbot):
    dock = finish_first(open_docks, folder, qtbot)
    out = dock.controller.out
    ask = dock.parts.list.menu("cell1.png").actions()[1]
    ask.trigger()
    answers_of(dock)["Keep it"].click()
    assert not answers_of(dock)
    assert labels_path(out, "cell1.png").exists()
    ask.trigger()
    answers_of(dock)["Set aside, start again"].click()
    until(qtbot, lambda: dock.controller.current == "cell1.png")
    assert dock.controller.items["cell1.png"].status == "to do"
    assert not labels_path(out, "cell1.png").exists()
    assert list(out.glob("cell1.png.tif.bak"))


def test_export_writes_what_is_accepted(open_docks, folder, qtbot, tmp_path):
    _, dock, refine_dock = open_docks()
    open_folder(qtbot, dock, folder)
    dock.parts.export.click()
    assert dock.jobs.dialog is None
    assert f"No image of {folder} has an object yet" in dock.parts.status.text()
    accept(qtbot, dock, refine_dock)
    mask = refine_dock.controller.current.mask.store.data.copy()
    refine_dock.controller.classes.add("nucelus")
    refine_dock.parts.objects.class_requested.emit([1], "nucelus")
    refine_dock.parts.objects.classes.rename_requested.emit("nucelus", "nucleus")
    click(qtbot, dock, refine_dock, (8, 8))  # active, and not exported
    dock.parts.export.click()
    dialog = dock.jobs.dialog
    dialog.kinds["coco"].setChecked(True)
    dialog.kinds["stl"].setChecked(True)
    dialog.values["classes"].setChecked(True)
    dialog.folder.setText(str(tmp_path / "exported"))
    dialog.start.click()
    until(qtbot, lambda: not dock.jobs.busy)
    assert "Exported 1 image" in dock.parts.status.text()
    assert "Not written: cell1.png has no planes along Z" in dock.parts.status.text()
    np.testing.assert_array_equal(
        tifffile.imread(tmp_path / "exported" / "labels" / "cell1.png.tif"), mask
    )
    semantic = tifffile.imread(tmp_path / "exported" / "classes" / "cell1.png.tif")
    np.testing.assert_array_equal(semantic, mask == 1)
    out = dock.controller.out
    assert [c.name for c in read_classes(out / "classes.json")] == ["nucleus"]
    write_notes(notes_path(out, "cell2.png"), {4: ObjectNote(class_name="nucleus")})
    refine_dock.parts.objects.classes.remove_requested.emit("nucleus")
    assert "2 objects are nucleus (also on cell2.png)" in refine_dock.parts.status.text()

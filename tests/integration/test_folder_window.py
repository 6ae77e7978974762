"""The dock *SPA Folder* in its window: its place, what it says, and images that changed."""

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
    go,
    layers_of,
    open_folder,
    pixels,
    until,
)

from napari_spa.io.projects.paths import labels_path, log_path
from napari_spa.viewer.annotation.controller import HINT_START
from napari_spa.widgets.common.export import ExportDialog
from napari_spa.widgets.folder.list import third_line


def test_a_batch_behind_the_tools_says_in_its_tab_how_far_it_is(narrow, qtbot, monkeypatch):
    from napari_spa.widgets.folder import dock as module

    told = []
    monkeypatch.setattr(module, "show_info", told.append)
    dock, refine_dock = narrow
    holder = dock.parent()
    dock.jobs.running.emit("Batch: 1 of 4 images", 0.25)
    assert holder.windowTitle() == "SPA Folder (napari-spa) · 25%"
    dock.jobs.status_message.emit("In sight.")
    refine_dock.places.bring_forward()
    until(qtbot, lambda: dock.visibleRegion().isEmpty())
    dock.jobs.running.emit("Batch: 2 of 4 images", 0.5)
    assert holder.windowTitle() == "SPA Folder (napari-spa) · 50%"
    dock.jobs.running.emit("", 0.0)
    assert holder.windowTitle() == "SPA Folder (napari-spa)"
    dock.jobs.status_message.emit("The batch ended: 4 done.")
    assert told == ["The batch ended: 4 done."]
    assert dock.parts.status.text() == told[0]


def test_all_acts_show_their_keys_on_a_laptop(narrow, qtbot):
    for button in narrow[0].parts.action_buttons.values():
        assert "[" in button.shown_text()


def test_why_a_click_is_refused_stays_in_the_list_until_one_is_not(open_docks, folder, qtbot):
    tifffile.imwrite(folder / "all nan.tif", np.full(SHAPE, np.nan, np.float32))
    _, dock, refine_dock = open_docks()
    open_folder(qtbot, dock, folder)
    go(qtbot, dock, "all nan.tif")
    qtbot.wait(300)
    point = tuple(dock.controller.stage.current.layer.data_to_world((24, 28)))
    refine_dock.prompt_controller.click(point)
    words = "The image has no finite pixel; there is nothing to segment."
    until(qtbot, lambda: dock.parts.status.text() == words)
    qtbot.wait(400)  # until what the list says by itself has settled
    assert dock.parts.status.text() == words
    go(qtbot, dock, "cell1.png")
    accept(qtbot, dock, refine_dock)
    until(qtbot, lambda: dock.parts.status.text() == "cell1.png: 1 object so far.")


def test_opening_the_dock_imports_no_torch():
    import subprocess
    import sys

    code = "import sys, napari_spa.widgets.folder.dock; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_dock_that_a_folder_opens_leaves_both_wide_enough(make_napari_viewer, qtbot, folder):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1600, 900)
    _, dock = viewer.window.add_plugin_dock_widget("napari-spa", "SPA Folder")
    try:
        open_folder(qtbot, dock, folder)
        refine_dock = dock._refine_dock
        until(qtbot, refine_dock.isVisible)  # until it is laid out it has another width
        until(qtbot, lambda: min(dock.width(), refine_dock.width()) >= 320)
    finally:
        dock.release()


@pytest.fixture
def narrow(make_napari_viewer, qtbot, few):
    """A window of a laptop in which a folder was opened before *SPA Refine*."""
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1280, 720)
    _, dock = viewer.window.add_plugin_dock_widget("napari-spa", "SPA Folder")
    open_folder(qtbot, dock, few)
    refine_dock = dock._refine_dock
    qtbot.wait(400)
    yield dock, refine_dock
    dock.release()
    refine_dock.release()


def press_in_menu(refine_dock):
    """What napari's menu does with a dock that is there."""
    dock = refine_dock.places._dock()
    dock.setVisible(not dock.isVisible())


def test_in_a_narrow_window_a_click_brings_the_tools_in_front_of_the_list(narrow, qtbot):
    dock, refine_dock = narrow
    assert not dock.visibleRegion().isEmpty()  # the list, until there is something to choose
    assert refine_dock.visibleRegion().isEmpty()
    click(qtbot, dock, refine_dock)
    until(qtbot, lambda: not refine_dock.visibleRegion().isEmpty())
    page = refine_dock.parts.tabs.currentWidget()
    until(qtbot, lambda: refine_dock.width() >= 390)  # as wide as the main flow needs
    until(qtbot, lambda: not page.verticalScrollBar().isVisible())
    assert dock.visibleRegion().isEmpty()


def test_the_menu_shows_a_dock_that_is_behind_and_the_folder_one_that_is_hidden(narrow, qtbot):
    dock, refine_dock = narrow
    assert not dock.parts.tools.isVisible()
    press_in_menu(refine_dock)  # behind the list: napari would hide it
    until(qtbot, lambda: not refine_dock.visibleRegion().isEmpty())
    press_in_menu(refine_dock)  # in front: a user wants it away
    until(qtbot, dock.parts.tools.isVisible)
    dock.parts.tools.click()
    until(qtbot, lambda: not refine_dock.visibleRegion().isEmpty())
    until(qtbot, lambda: not dock.parts.tools.isVisibleTo(dock))


def test_what_runs_is_in_sight_on_a_laptop(narrow, qtbot):
    dock, _ = narrow
    dock.parts.set_running("Batch: 1 of 5 images, about 3 min left", 0.2)
    qtbot.wait(100)
    for part in (dock.parts.running, dock.parts.progress, dock.parts.cancel):
        assert part.visibleRegion().boundingRect() == part.rect()
    assert not dock.parts._scroll.verticalScrollBar().isVisible()
    assert not dock.parts.export.isVisible()
    dock.parts.set_running("")
    assert dock.parts.export.isVisible()


def test_an_image_of_a_folder_is_exported_into_its_project(narrow, qtbot, few):
    dock, refine_dock = narrow
    accept(qtbot, dock, refine_dock)
    refine_dock.tab.ask_export()
    (dialog,) = refine_dock.parts.objects.findChildren(ExportDialog)
    assert dialog.folder.text() == str(dock.controller.out / "exports")
    dialog.start.click()
    until(qtbot, lambda: "Saved" in refine_dock.parts.status.text())
    assert list((dock.controller.out / "exports").glob("*-labels.tif"))
    dock.controller.out.rename(few.parent / "away")
    refine_dock.tab.ask_export()
    refine_dock.parts.objects.findChildren(ExportDialog)[-1].start.click()
    until(qtbot, lambda: "images-spa was taken away" in refine_dock.parts.status.text())
    assert not (few.parent / "images-spa").exists()
    (few.parent / "away").rename(few.parent / "images-spa")


def test_an_image_that_changed_since_is_to_be_reviewed(open_docks, few, qtbot):
    viewer, dock, refine_dock = open_docks()
    annotate_one(qtbot, dock, refine_dock, few, "cell1.png")
    assert not answers_of(dock)
    iio.imwrite(few / "cell1.png", pixels(77))
    for answered in (False, True):
        go(qtbot, dock, "cell1.png")
        assert "cell1.png has changed since it was annotated" in dock.parts.question.text()
        assert "cell1.png has changed" in refine_dock.parts.status.text()
        item = dock.controller.items["cell1.png"]
        assert (item.status, item.objects) == ("review", 1)
        assert "has changed" in third_line(item)
        assert layers_of(viewer, "objects")[0].data.any()  # nothing is dropped
        if answered:
            answers_of(dock)["Keep its objects"].click()
        go(qtbot, dock, "cell2.png")
    go(qtbot, dock, "cell1.png")
    assert not answers_of(dock)
    assert dock.controller.items["cell1.png"].warning == ""
    assert len(dock.controller.stage.current.annotated.annotation.objects) == 1


def test_a_question_stays_with_its_image_until_it_is_answered(open_docks, few, qtbot):
    _, dock, refine_dock = open_docks()
    annotate_one(qtbot, dock, refine_dock, few, "cell1.png")
    go(qtbot, dock, "cell3.png")
    accept(qtbot, dock, refine_dock)
    go(qtbot, dock, "cell2.png")
    dock.controller.saver.flush()
    iio.imwrite(few / "cell1.png", pixels(77))
    iio.imwrite(few / "cell3.png", pixels(78, (SHAPE[0] + 8, SHAPE[1])))
    go(qtbot, dock, "cell1.png")
    # Another image is wanted, and cannot be shown: this one stays, and so does its question.
    (few / "cell2.png").unlink()
    dock.controller._reader.forget()  # or what was read ahead would still be shown
    dock.controller.go("cell2.png")
    until(qtbot, lambda: bool(dock.controller.items["cell2.png"].problem))
    assert dock.controller.current == "cell1.png"
    assert "cell1.png has changed" in dock.parts.question.text()
    # The other one has a question of its own; a click on this one's row asks again.
    dock.controller.go("cell3.png")
    until(qtbot, lambda: "another size" in dock.parts.question.text())
    dock.controller.go("cell1.png")
    assert "cell1.png has changed" in dock.parts.question.text()
    answers_of(dock)["Keep its objects"].click()
    dock.controller.go("cell1.png")
    assert not answers_of(dock)


def test_an_image_that_is_passed_over_is_named_in_both_docks(open_docks, few, qtbot):
    _, dock, refine_dock = open_docks()
    open_folder(qtbot, dock, few)
    said = []
    refine_dock.controller.status_message.connect(said.append)
    (few / "cell2.png").unlink()
    dock.controller._reader.forget()  # or what was read ahead would still be shown
    dock.controller.step(1)
    until(qtbot, lambda: dock.controller.current == "cell3.png")
    assert dock.parts.status.text().startswith("Passed over: cell2.png")
    assert said[-1] == dock.parts.status.text()


@pytest.mark.parametrize("shape", [SHAPE, (SHAPE[0] + 8, SHAPE[1])])
def test_work_on_another_image_is_set_aside(open_docks, few, qtbot, shape):
    _, dock, refine_dock = open_docks()
    annotate_one(qtbot, dock, refine_dock, few, "cell1.png")
    iio.imwrite(few / "cell1.png", pixels(77, shape))
    out = dock.controller.out
    before = {path(out, "cell1.png").read_bytes() for path in (labels_path, log_path)}
    dock.controller.go("cell1.png")
    until(qtbot, lambda: bool(answers_of(dock)))
    answers_of(dock)["Set aside, start again"].click()
    until(qtbot, lambda: dock.controller.current == "cell1.png" and not answers_of(dock))
    item = dock.controller.items["cell1.png"]
    assert (item.status, item.objects, item.problem, item.warning) == ("to do", None, "", "")
    assert {path.read_bytes() for path in out.glob("cell1.png*.bak")} == before
    accept(qtbot, dock, refine_dock)
    go(qtbot, dock, "cell2.png")
    dock.controller.saver.flush()
    assert tifffile.imread(labels_path(out, "cell1.png")).shape == shape


def test_a_renamed_image_takes_its_work_along(open_docks, few, qtbot):
    _, dock, refine_dock = open_docks()
    annotate_one(qtbot, dock, refine_dock, few, "cell1.png")
    dock.controller.items.set_note("cell1.png", "mine")
    (few / "cell1.png").rename(few / "probe.png")
    dock.controller.refresh()
    until(qtbot, lambda: "probe.png" in dock.controller.items)
    assert dock.controller.items["cell1.png"].problem
    go(qtbot, dock, "probe.png")
    assert "was it renamed" in dock.parts.question.text()
    answers_of(dock)["Take its work along"].click()
    until(qtbot, lambda: dock.controller.current == "probe.png" and not answers_of(dock))
    assert list(dock.controller.items) == ["cell2.png", "cell3.png", "probe.png"]
    item = dock.controller.items["probe.png"]
    assert (item.status, item.objects, item.note) == ("done", 1, "mine")
    assert len(dock.controller.stage.current.annotated.annotation.objects) == 1
    assert not log_path(dock.controller.out, "cell1.png").exists()


def test_what_is_said_of_an_image_does_not_stay_for_the_next(open_docks, few, qtbot):
    _, dock, refine_dock = open_docks()
    open_folder(qtbot, dock, few)
    go(qtbot, dock, "cell1.png")
    click(qtbot, dock, refine_dock)
    assert "accept" in refine_dock.parts.status.text()
    go(qtbot, dock, "cell2.png")
    qtbot.wait(100)
    assert refine_dock.parts.status.text() == HINT_START

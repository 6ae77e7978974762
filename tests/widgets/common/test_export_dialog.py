"""The export dialog says what is there, and replaces nothing unless its button said so."""

import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_spa.io.export import ExportRequest
from napari_spa.widgets.common.export import ExportDialog, start_folder


@pytest.fixture
def opened(qtbot, tmp_path):
    def open_dialog(names=("cell",), single=True, **more):
        request = ExportRequest(tmp_path)
        dialog = ExportDialog(request, names, single=single, **more)
        qtbot.addWidget(dialog)
        dialog.orders = []
        dialog.start_requested.connect(lambda *wanted: dialog.orders.append(wanted))
        dialog.show()
        return dialog

    return open_dialog


def test_enter_exports_where_nothing_is_there(opened, tmp_path):
    dialog = opened()
    QTest.keyClick(dialog, Qt.Key.Key_Return)
    assert dialog.orders == [(ExportRequest(tmp_path), "cell")]
    assert not dialog.isVisible()


def test_enter_gives_new_names_where_files_are_there(opened, tmp_path, qtbot):
    (tmp_path / "cell-labels.tif").touch()
    dialog = opened()
    assert dialog.there.text() == "cell-labels.tif is there already."
    assert dialog.start.text() == "Replace 1 file"
    QTest.keyClick(dialog, Qt.Key.Key_Return)
    assert dialog.orders == []
    assert dialog.name.text() == "cell-2"
    QTest.keyClick(dialog, Qt.Key.Key_Return)
    ((request, name),) = dialog.orders
    assert (request.replace, name) == (False, "cell-2")


def test_the_button_replaces_only_what_it_said(opened, tmp_path):
    (tmp_path / "cell-labels.tif").touch()
    dialog = opened()
    (tmp_path / "cell-objects.csv").touch()  # by another program, meanwhile
    dialog.start.click()
    assert dialog.orders == []
    assert dialog.start.text() == "Replace 2 files"
    dialog.start.click()
    assert dialog.orders[0][0].replace


def test_a_project_goes_into_a_new_folder(opened, tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.png.tif").touch()
    dialog = opened(["a.png", "b.png"], single=False)
    assert dialog.there.text() == "a.png.tif is there already."
    dialog.rename.click()
    assert dialog.folder.text() == f"{tmp_path}-2"
    assert not dialog.name.isVisible()


def test_what_cannot_be_chosen_is_greyed_with_its_reason(opened, monkeypatch, qtbot):
    monkeypatch.setattr(
        "napari_spa.widgets.common.export.format_problem",
        lambda kind: "It needs roifile." if kind == "rois" else "",
    )
    dialog = opened(deep=False)
    assert not dialog.kinds["rois"].isEnabled()
    assert dialog.kinds["rois"].toolTip() == "It needs roifile."
    assert not dialog.kinds["stl"].isEnabled()
    dialog.values["objects"].setChecked(False)
    qtbot.waitUntil(lambda: not dialog.start.isEnabled())  # label images of nothing
    dialog.kinds["labels"].setChecked(False)
    qtbot.waitUntil(dialog.start.isEnabled)
    for name in ("", "a/b"):
        dialog.name.setText(name)
        qtbot.waitUntil(lambda: not dialog.start.isEnabled())
        dialog.name.setText("cell")
        qtbot.waitUntil(dialog.start.isEnabled)


def test_exports_go_beside_the_image_first(tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    image = elsewhere / "cell.tif"
    image.touch()
    monkeypatch.chdir(tmp_path)
    assert start_folder(str(image)) == elsewhere
    assert start_folder("https://example.org/cell.zarr") == tmp_path
    assert start_folder() == tmp_path


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda dialog: dialog.name.setText("a/b"), "Write a name without a folder in it."),
        (lambda dialog: dialog.folder.setText(" "), "Choose a folder."),
        (
            lambda dialog: [box.setChecked(False) for box in dialog.kinds.values()],
            "Choose what shall be written.",
        ),
        (
            lambda dialog: [box.setChecked(False) for box in dialog.values.values()],
            "Choose whether the numbers are of objects or of classes.",
        ),
    ],
)
def test_why_nothing_can_be_exported_is_said(opened, change, why):
    dialog = opened()
    change(dialog)
    dialog.look()
    assert not dialog.start.isEnabled()
    assert dialog.there.text() == why

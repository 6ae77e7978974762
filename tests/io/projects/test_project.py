"""A project folder: what is on disk is the state."""

import json
import os

import imageio.v3 as iio
import numpy as np
import pytest

from napari_spa.errors import DataError, InputError
from napari_spa.io.projects.paths import default_output, labels_path, log_path, project_path
from napari_spa.io.projects.project import Project

NAMES = ("a1.png", "a2.png", "a10.png")


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in NAMES:
        iio.imwrite(folder / name, np.zeros((8, 8), np.uint8))
    return folder


def write_manifest(out, **images):
    for name in images:
        labels_path(out, name).touch()
    manifest = {"kind": "napari-spa batch", "version": 1, "images": images}
    (out / "manifest.json").write_text(json.dumps(manifest))


def outcome(doubtful=False, uncertainty=0.1, outcome="done", problem=""):
    held = {"number": 1, "index": [], "area": 9, "uncertainty": uncertainty, "problem": ""}
    return {"outcome": outcome, "doubtful": doubtful, "problem": problem, "objects": [held]}


def test_paths_never_leave_the_folder_nor_collide(tmp_path):
    assert labels_path(tmp_path, "sub/a.png") == tmp_path / "sub" / "a.png.tif"
    assert log_path(tmp_path, "a.tif") != log_path(tmp_path, "a.png")
    assert default_output(tmp_path / "images") == tmp_path / "images-spa"
    for name in ("../a.png", "/a.png", ""):
        with pytest.raises(InputError):
            labels_path(tmp_path, name)


def test_changes_are_on_disk_at_once_and_come_back(source):
    project = Project.create(source)
    assert [item.name for item in project.items] == list(NAMES)
    project.update("a2.png", status="done", flagged=True, note="ünsure", objects=3, uncertainty=0.2)
    again = Project.open(project.out)
    item = again.item("a2.png")
    assert (item.status, item.flagged, item.note) == ("done", True, "ünsure")
    assert (item.objects, item.uncertainty) == (3, 0.2)
    assert again.item("a1.png").status == "to do"
    with pytest.raises(DataError, match="already"):
        Project.create(source)
    with pytest.raises(InputError):
        project.update("a2.png", status="perhaps")
    with pytest.raises(InputError):
        project.update("none.png", note="x")


def test_two_windows_write_only_what_they_changed(source):
    first = Project.create(source)
    second = Project.open(first.out)
    first.update("a1.png", note="first")
    second.update("a2.png", note="second")
    third = Project.open(first.out)
    assert (third.item("a1.png").note, third.item("a2.png").note) == ("first", "second")
    first.hold()
    with pytest.raises(DataError, match="another window"):
        second.hold()
    first.close()
    second.hold()
    second.close()


def test_a_batch_is_seen_but_a_person_decides(source):
    project = Project.create(source)
    project.update("a1.png", status="skipped")
    write_manifest(
        project.out,
        **{
            "a1.png": outcome(),
            "a2.png": outcome(doubtful=True, uncertainty=0.6),
            "a10.png": outcome(outcome="failed", problem="a10.png is odd."),
        },
    )
    project.refresh()
    assert [item.status for item in project.items] == ["skipped", "review", "to do"]
    assert project.item("a2.png").uncertainty == 0.6
    assert project.item("a10.png").problem == "In the last batch: a10.png is odd."


def test_a_result_whose_objects_were_all_deleted_has_no_uncertainty(source):
    project = Project.create(source)
    write_manifest(project.out, **{"a1.png": outcome(doubtful=True, uncertainty=0.4)})
    project.update("a1.png", objects=0, uncertainty=None)
    project.refresh()
    assert (project.item("a1.png").objects, project.item("a1.png").uncertainty) == (0, None)


def test_a_result_that_was_set_aside_or_is_gone_is_pending_until_there_is_another(source):
    project = Project.create(source)
    found = {"a1.png": outcome(doubtful=True), "a2.png": outcome()}
    write_manifest(project.out, **found)
    project.update("a1.png", objects=5)
    project.move_work("a1.png")
    labels_path(project.out, "a2.png").unlink()
    project.refresh()
    assert [item.status for item in project.items] == ["to do"] * 3
    assert [item.objects for item in project.items] == [None] * 3
    write_manifest(project.out, **found)
    project.refresh()
    assert [item.status for item in project.items] == ["review", "done", "to do"]
    assert project.item("a1.png").objects == 1


def test_images_that_come_and_go(source):
    project = Project.create(source)
    project.update("a1.png", note="kept")
    os.remove(source / "a1.png")
    os.remove(source / "a2.png")
    iio.imwrite(source / "b.png", np.zeros((8, 8), np.uint8))
    project.refresh()
    assert [item.name for item in project.items] == ["a1.png", "a10.png", "b.png"]
    assert "any more" in project.item("a1.png").problem


@pytest.mark.parametrize("content", ["", "{", '{"kind": "other"}', "[1]"])
def test_a_damaged_project_is_refused_and_never_overwritten(source, content):
    project = Project.create(source)
    path = project_path(project.out)
    path.write_text(content)
    with pytest.raises(DataError):
        Project.open(project.out)
    assert path.read_text() == content
    project.update("a1.png", note="new")  # memory goes on; what was there is kept beside
    assert path.with_name("project.json.bak").read_text() == content
    assert Project.open(project.out).item("a1.png").note == "new"


def test_a_newer_project_is_refused(source):
    project = Project.create(source)
    path = project_path(project.out)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 99}))
    with pytest.raises(DataError, match="version"):
        Project.open(project.out)


def test_what_the_disk_refuses_stays_in_memory(source, monkeypatch):
    project = Project.create(source)
    with monkeypatch.context() as patched:
        patched.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "disk full")))
        with pytest.raises(DataError, match="disk full"):
            project.update("a1.png", note="not lost")
    assert project.unsaved == ("a1.png",)
    assert Project.open(project.out).item("a1.png").note == ""
    project.save()
    assert Project.open(project.out).item("a1.png").note == "not lost"
    assert not [p for p in project.out.iterdir() if p.suffix == ".json" and p.name[0] == "."]


def test_work_on_an_image_that_no_list_names_is_listed(source):
    project = Project.create(source)
    log = log_path(project.out, "gone.png")
    log.parent.mkdir(exist_ok=True)
    log.write_text("{}\n", encoding="utf-8")
    project.refresh()
    assert "not in" in project.item("gone.png").problem

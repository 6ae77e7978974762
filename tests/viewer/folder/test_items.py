"""What is known of the images of a folder, and what is said of the one on show."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_spa.batch.task import ImageResult, ObjectResult
from napari_spa.errors import DataError
from napari_spa.io.images import write_picture
from napari_spa.io.projects.project import Project, ProjectItem
from napari_spa.viewer.folder import saver as saving
from napari_spa.viewer.folder.controller import FolderController
from napari_spa.viewer.folder.items import FolderItems, hold_project
from napari_spa.viewer.folder.saver import FolderSaver, PendingSave


class Heard:
    """Images by name, with what was told of them and what was written down."""

    def __init__(self, *names, **known):
        self.changed, self.written = [], []
        self.items = FolderItems(
            self.changed.append, lambda n, **new: self.written.append((n, new))
        )
        self.items.take([ProjectItem(name, Path(name), **known) for name in names])

    def write(self, name, **new):
        self.written.append((name, new))


def test_what_a_person_says_is_written_down_once():
    heard = Heard("a.png", "b.png")
    for _ in range(2):
        heard.items.set_note("a.png", "blurred")
        heard.items.set_status("b.png", "done")
    heard.items.toggle_flag("a.png")
    heard.items.set_note("gone.png", "no one")
    assert heard.written == [
        ("a.png", {"note": "blurred"}),
        ("b.png", {"status": "done"}),
        ("a.png", {"flagged": True}),
    ]
    assert heard.changed == ["a.png", "b.png", "a.png"]
    assert (heard.items["a.png"].note, heard.items["a.png"].flagged) == ("blurred", True)


@pytest.mark.parametrize(
    ("before", "after"),
    [("to do", "in progress"), ("skipped", "in progress"), ("done", "in progress"),
     ("review", "review"), ("in progress", "in progress")],
)  # fmt: skip
def test_work_begins_again_but_a_review_stays_one(before, after):
    heard = Heard("a.png", status=before)
    heard.items.begin("a.png")
    assert heard.items["a.png"].status == after


def test_objects_are_counted_with_the_least_certain():
    heard = Heard("a.png")
    heard.items.count("a.png", 0, [])  # nothing was there, and nothing is
    assert heard.written == []
    heard.items.count("a.png", 2, [])  # no round was played
    heard.items.count("a.png", 3, [0.1, 0.4])
    assert [said for _, said in heard.written] == [
        {"objects": 2, "uncertainty": None},
        {"objects": 3, "uncertainty": 0.4},
    ]


def test_what_cannot_be_opened_stays_so_when_the_folder_is_read_again():
    heard = Heard("a.png")
    heard.items.note_unreadable("a.png", "it is cut short.")
    heard.items.take([ProjectItem("a.png", Path("a.png"))])
    assert heard.items.is_unreadable("a.png")
    assert heard.items["a.png"].problem == "it is cut short."
    heard.items.note_readable("a.png")
    assert heard.items["a.png"].problem == ""
    assert heard.written == []  # it is what the disk says, not the user


def test_results_of_a_batch_are_shown_and_left_to_its_manifest():
    heard = Heard("a.png", "b.png", "c.png", problem="earlier")
    sure, unsure = ObjectResult(1, (), 9, 0.1, ""), ObjectResult(2, (), 9, 0.7, "")
    missing = ObjectResult(3, (), 0, 1.0, "the point lies outside.")
    heard.items.take_result(ImageResult("a.png", "done", (sure,), False))
    heard.items.take_result(ImageResult("b.png", "done", (sure, unsure, missing), True))
    heard.items.take_result(ImageResult("c.png", "failed", problem="c.png is empty."))
    heard.items.take_result(ImageResult("gone.png", "done"))
    a, b, c = (heard.items[name] for name in ("a.png", "b.png", "c.png"))
    assert (a.status, a.objects, a.uncertainty, a.problem) == ("done", 1, 0.1, "")
    assert (b.status, b.objects, b.uncertainty) == ("review", 2, 0.7)
    assert (c.status, c.problem) == ("to do", "c.png is empty.")
    assert heard.written == []


def test_how_far_an_image_is_is_said_once_and_trouble_stays(qapp):
    said, objects = [], {}
    annotated = SimpleNamespace(annotation=SimpleNamespace(objects=objects), active=None)
    controller = FolderController(ViewerModel(), None)
    controller.stage.current = SimpleNamespace(name="a.png", annotated=annotated)
    controller.status_message.connect(said.append)
    controller._say_how_far()
    controller._say_how_far()
    annotated.active = object()
    controller._say_how_far()
    objects.update({1: None, 2: None})
    controller._say_how_far()
    controller.failed.emit("trouble")
    objects[3] = None
    controller._say_how_far()
    controller._said = ""  # another image comes
    controller._say_how_far()
    controller.stage.current = None
    controller.close()
    assert said == [
        "a.png: click on an object.",
        "a.png: the first object is active.",
        "a.png: 2 objects so far.",
        "a.png: 3 objects so far.",
    ]


def test_beside_images_that_are_read_only_another_place_is_advised(strict_folder):
    images = strict_folder / "share" / "images"
    images.mkdir(parents=True)
    write_picture(images / "a.png", np.zeros((8, 9), np.uint8))
    images.parent.chmod(0o500)
    with pytest.raises(DataError, match=r"images-spa: .*; choose a place with Recent > Open with"):
        hold_project(images)
    elsewhere = strict_folder / "mine"
    hold_project(images, elsewhere).close()
    assert (elsewhere / "project.json").exists()


def test_what_waits_for_one_folder_is_never_taken_for_another(tmp_path, qapp, monkeypatch):
    """The disk of the first is full, and the second has an image of the same name."""
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        write_picture(tmp_path / place / "a.png", np.zeros((8, 9), np.uint8))
    first, second = Project.create(tmp_path / "one"), Project.create(tmp_path / "two")
    full, written = True, []

    def write(leaving):
        if full:
            raise DataError("no space left.")
        written.append(leaving.location.log)

    def update(*_, **changes):
        if full:
            raise DataError("no space left.")
        return Project.update(first, *_, **changes)

    monkeypatch.setattr(saving, "_write_labels", write)
    monkeypatch.setattr(first, "update", update)
    saver = FolderSaver()
    saver.begin(first)
    saver.index("a.png", status="done")
    mine = saver.location(first.out, "a.png", lambda location: None)
    mine.open(lambda sentence: None)
    saver.save(PendingSave(mine, None, None, True))
    saver.begin(second)
    saver.index("a.png", flagged=True)
    other = saver.location(second.out, "a.png", lambda location: None)
    assert other.open_log is None  # it is not the log of the first
    saver.return_pending(other.log)
    saver.flush()
    assert saver.unsaved == ("a.png",)
    assert (second.item("a.png").status, second.item("a.png").flagged) == ("to do", True)
    full = False
    assert saver.close() == ()
    assert written == [mine.log]
    assert (first.item("a.png").status, first.item("a.png").flagged) == ("done", False)
    assert second.item("a.png").status == "to do"

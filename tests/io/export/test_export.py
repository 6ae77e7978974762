"""Exports hold the same objects as the labels, read back by other means."""

import csv
import errno
import json
import tracemalloc

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
import zarr

from napari_spa.errors import DataError, InputError
from napari_spa.io.export import FORMATS, NO_LOG, ExportRequest, existing, free_folder
from napari_spa.io.export import export_project as export_requested
from napari_spa.io.export.shapes import CocoWriter
from napari_spa.io.images import ImageInfo, open_image, write_labels
from napari_spa.io.projects.classes import (
    ObjectClass,
    ObjectNote,
    make_class,
    read_classes,
    read_notes,
    write_classes,
    write_notes,
)
from napari_spa.io.projects.paths import labels_path, log_path, notes_path
from napari_spa.io.projects.project import Project

FLAT = np.zeros((20, 30), np.uint8)
FLAT[2:9, 3:12] = 1
FLAT[4:6, 5:8] = 0  # a hole
FLAT[0:3, 27:30] = 4
FLAT[19, 0] = 4  # and an island in the corner
STACK = np.zeros((3, 12, 14), np.uint8)
STACK[1, 2:6, 3:9] = 2
STACK[2, 3:6, 3:9] = 2


def silent(share, message):
    pass


def export_project(project, formats, folder, *, colour=None, **wanted):
    request = ExportRequest(folder, tuple(formats), **wanted)
    return export_requested(project, request, silent, colour=colour)


@pytest.fixture
def project(tmp_path):
    source = tmp_path / "images"
    source.mkdir()
    iio.imwrite(source / "flat.png", FLAT * 50)
    tifffile.imwrite(
        source / "stack.tif", STACK.astype(np.uint16) * 9, imagej=True, metadata={"axes": "ZYX"}
    )
    iio.imwrite(source / "untouched.png", FLAT)
    project = Project.create(source)
    for name, labels in (("flat.png", FLAT), ("stack.tif", STACK)):
        info = open_image(source / name).info
        write_labels(labels_path(project.out, name), labels, info)
    log_path(project.out, "flat.png").write_text('{"kind": "session"}\n')
    return project


def decoded(segmentation):
    """Decode COCO's run lengths, which go down the columns."""
    counts, (height, width) = segmentation["counts"], segmentation["size"]
    values = np.arange(len(counts)) % 2
    runs = np.repeat(values, counts)
    assert len(runs) <= height * width
    runs = np.pad(runs, (0, height * width - len(runs)))
    return runs.reshape(width, height).T.astype(bool)


def test_everything_comes_back(project, tmp_path):
    folder = tmp_path / "exports"
    report = export_project(project, FORMATS, folder)
    assert report.images == 1, report.problems
    assert report.problems == [
        ("flat.png", "flat.png has no planes along Z; STL is for 3D objects.")
    ]
    plain = [p for p in folder.rglob("*") if p.is_file() and "ome-zarr" not in p.parts]
    assert report.files == len(report.names) == len(plain) + 2
    assert {folder / name for name in report.names} >= set(plain)
    np.testing.assert_array_equal(tifffile.imread(folder / "labels" / "flat.png.tif"), FLAT)
    mask = tifffile.imread(folder / "masks" / "flat.png" / "object00004.tif")
    np.testing.assert_array_equal(mask, np.where(FLAT == 4, 255, 0))
    mask = tifffile.imread(folder / "masks" / "stack.tif" / "object00002-0001.tif")
    np.testing.assert_array_equal(mask > 0, STACK[1] == 2)
    assert (folder / "logs" / "flat.png.spa.jsonl").exists()
    assert report.left_out.count(NO_LOG) == 1  # of the stack

    coco = json.loads((folder / "coco.json").read_text())
    images = {image["id"]: image for image in coco["images"]}
    assert len(images) == 4
    for found in coco["annotations"]:
        image = images[found["image_id"]]
        plane = FLAT if image["file_name"] == "flat.png" else STACK[tuple(image["slice"])]
        known = plane == found["object"]
        np.testing.assert_array_equal(decoded(found["segmentation"]), known)
        rows, columns = np.nonzero(known)
        left, top, width, height = found["bbox"]
        assert (top, left) == (rows.min(), columns.min())
        assert (top + height - 1, left + width - 1) == (rows.max(), columns.max())
        assert found["area"] == known.sum()
    assert len(coco["annotations"]) == 4

    objects, slices = (read_csv(folder / f"{table}.csv") for table in ("objects", "slices"))
    found = {(row["image"], row["object"]): int(row["pixels"]) for row in objects}
    assert found == {
        ("flat.png", "1"): (FLAT == 1).sum(),
        ("flat.png", "4"): (FLAT == 4).sum(),
        ("stack.tif", "2"): (STACK == 2).sum(),
    }
    assert [(r["image"], r["slice_z"], int(r["pixels"])) for r in slices] == [
        ("stack.tif", "1", (STACK[1] == 2).sum()),
        ("stack.tif", "2", (STACK[2] == 2).sum()),
    ]
    assert "level" not in objects[0]


def read_csv(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_ome_zarr_comes_back(project, tmp_path):
    """Also what needs another order of axes, a pyramid, and more colours than one."""
    labels = np.zeros((2, 3, 301, 700), np.uint16)  # Z before T
    labels[1, 2, 40:45, 61:700], labels[0, 0, 0, 0] = 999, 2
    info = ImageInfo("ZTYX", (301, 700), (0.5, 0.25), plane_distance=2.0)
    iio.imwrite(project.source / "movie.png", FLAT)
    project.refresh()
    write_labels(labels_path(project.out, "movie.png"), labels, info)

    def colour(number):
        return (number % 256, 1, 2, 255)

    for _ in "twice":  # the second replaces the first
        export_project(project, ["ome-zarr"], tmp_path, colour=colour, replace=True)
    written = tmp_path / "ome-zarr"
    names = ["flat.png.zarr", "movie.png.zarr", "stack.tif.zarr"]
    assert sorted(path.name for path in written.iterdir()) == names
    for name, known in (("flat.png.zarr", FLAT), ("stack.tif.zarr", STACK)):
        back = open_image(written / name)
        np.testing.assert_array_equal(np.asarray(back.levels[0]), known)
        assert len(back.levels) == 1

    back = open_image(written / "movie.png.zarr")
    assert (back.info.axes, back.info.pixel_size) == ("TZYX", (0.5, 0.25))
    assert back.info.plane_distance == 2.0
    turned = labels.transpose(1, 0, 2, 3)
    for level, step in zip(back.levels, (1, 2, 4), strict=True):
        assert level.dtype == labels.dtype
        np.testing.assert_array_equal(np.asarray(level), turned[..., ::step, ::step])
    group = zarr.open_group(written / "movie.png.zarr", mode="r")
    assert group.attrs["image-label"]["colors"] == [
        {"label-value": 2, "rgba": [2, 1, 2, 255]},
        {"label-value": 999, "rgba": [231, 1, 2, 255]},
    ]
    (facts,) = group.attrs["multiscales"]
    assert [axis.get("unit") for axis in facts["axes"]] == [None, *["micrometer"] * 3]
    scales = [d["coordinateTransformations"][0]["scale"] for d in facts["datasets"]]
    assert scales[2] == [1.0, 2.0, 2.0, 1.0]


@pytest.mark.parametrize("apart", [False, True])
def test_objects_of_all_channels_are_exported_without_their_axis(tmp_path, apart):
    image = np.arange(2 * 3 * 12 * 14, dtype=np.uint16).reshape(2, 3, 12, 14)
    path = tmp_path / "images" / "cells.tif"
    path.parent.mkdir()
    tifffile.imwrite(path, image, metadata={"axes": "CZYX"}, ome=True)
    project = Project.create(path.parent)
    labels = np.zeros(image.shape, np.uint8)
    labels[0] = STACK  # where a project keeps what is of all channels
    labels[1, 0, 7:9, 2:4] = 5 * apart  # this is of one alone
    write_labels(labels_path(project.out, path.name), labels, open_image(path).info)
    export_project(project, ["labels", "tables"], tmp_path / "out")
    exported = open_image(next((tmp_path / "out").rglob("cells*.tif")))
    np.testing.assert_array_equal(exported.levels[0], labels if apart else STACK)
    assert exported.info.axes == ("CZYX" if apart else "ZYX")
    rows = read_csv(next((tmp_path / "out").rglob("*slices.csv")))
    row = next(row for row in rows if row["slice_z"] == "2")
    assert ("slice_c" in row) is apart
    names = ["intensity_mean"] if apart else ["intensity_mean_0", "intensity_mean_1"]
    for channel, name in enumerate(names):
        expected = image[channel, 2][STACK[2] > 0].mean()
        assert float(row[name]) == pytest.approx(expected)


def test_half_an_ome_zarr_is_none(project, tmp_path, monkeypatch):
    export_project(project, ["ome-zarr"], tmp_path)
    before = sorted(tmp_path.rglob("*"))

    def refuse(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("napari_spa.io.export.volumes._facts", refuse)
    with pytest.raises(DataError, match="No space left"):
        export_project(project, ["ome-zarr"], tmp_path, replace=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_image_that_cannot_be_exported_does_not_stop_the_others(project, tmp_path):
    labels_path(project.out, "flat.png").write_bytes(b"II*\0")
    report = export_project(project, ["labels", "coco"], tmp_path / "exports")
    assert report.images == 1, report.problems
    assert [name for name, _ in report.problems] == ["flat.png"]
    assert not (tmp_path / "exports" / "labels" / "flat.png.tif").exists()


def test_nothing_or_nonsense_is_refused(project, tmp_path):
    for kinds in ([], ["pictures"]):
        with pytest.raises(InputError, match="choose"):
            export_project(project, kinds, tmp_path / "exports")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError):
        export_project(project, ["tables"], tmp_path / "file")


def test_a_project_without_an_object_is_refused_with_what_to_do(project, tmp_path):
    for name in ("flat.png", "stack.tif"):
        labels_path(project.out, name).unlink()
    with pytest.raises(InputError, match=r"no image of .*images has an object yet; annotate one"):
        export_project(project, ["labels"], tmp_path / "out")


def test_files_of_classes_are_left_out_where_no_object_has_one(project, tmp_path):
    write_classes(project.out / "classes.json", [ObjectClass("cell", "#111111")])
    write_notes(notes_path(project.out, "flat.png"), {1: ObjectNote("the large one", "")})
    kinds, out = ("labels", "png", "ome-zarr", "tables"), tmp_path / "out"
    report = export_project(project, kinds, out, values=("objects", "classes"))
    assert sorted(path.name for path in out.iterdir()) == [
        *("labels", "objects.csv", "ome-zarr", "png", "slices.csv")
    ]
    assert report.left_out == "No object has a class yet, so no file of classes was written."
    assert export_project(project, ["labels"], tmp_path / "plain").left_out == ""
    write_notes(notes_path(project.out, "flat.png"), {1: ObjectNote("", "cell")})
    report = export_project(project, ["labels"], tmp_path / "classed", values=("classes",))
    assert (report.left_out, report.files) == ("", 3)


def test_nothing_is_replaced_unless_that_is_allowed(project, tmp_path):
    folder = tmp_path / "out"
    request = ExportRequest(folder, ("labels", "tables", "ome-zarr"))
    names = ["flat.png", "stack.tif"]
    assert existing(request, names, single=False) == []
    export_requested(project, request, silent)
    written = {p.relative_to(folder).as_posix() for p in existing(request, names, single=False)}
    assert written == {
        *(f"labels/{name}.tif" for name in names),
        *(f"ome-zarr/{name}.zarr" for name in names),
        *("objects.csv", "slices.csv"),
    }
    (folder / "objects.csv").write_text("mine")
    for kind in request.formats:
        with pytest.raises(InputError, match="would be replaced"):
            export_project(project, [kind], folder)
    assert (folder / "objects.csv").read_text() == "mine"
    assert free_folder(request, names) == tmp_path / "out-2"
    export_project(project, ["tables"], folder, replace=True)
    assert (folder / "objects.csv").read_text() != "mine"


def test_a_folder_that_is_no_label_image_is_never_replaced(project, tmp_path):
    place = tmp_path / "ome-zarr" / "flat.png.zarr"
    place.mkdir(parents=True)
    (place / "thesis.txt").write_text("mine")
    report = export_project(project, ["ome-zarr"], tmp_path, replace=True)
    assert [name for name, _ in report.problems] == ["flat.png"]
    assert (place / "thesis.txt").read_text() == "mine"


def test_what_an_earlier_export_left_of_deleted_objects_goes(project, tmp_path):
    folder = tmp_path / "masks" / "flat.png"
    export_project(project, ["masks"], tmp_path)
    assert {p.name for p in folder.iterdir()} == {"object00001.tif", "object00004.tif"}
    (folder / "notes.txt").write_text("mine")
    info = open_image(project.source / "flat.png").info
    write_labels(labels_path(project.out, "flat.png"), np.where(FLAT == 4, FLAT, 0), info)
    export_project(project, ["masks"], tmp_path, replace=True)
    assert {p.name for p in folder.iterdir()} == {"notes.txt", "object00004.tif"}


def test_an_export_does_not_make_a_project_that_was_taken_away(project, tmp_path):
    def take_away(share, name):
        if project.out.exists():
            project.out.rename(tmp_path / "away")

    request = ExportRequest(project.out / "exports", ("labels", "tables"))
    with pytest.raises(DataError, match="was taken away; bring it back"):
        export_requested(project, request, take_away)
    assert not project.out.exists()


def test_exports_are_never_among_the_images(project, tmp_path):
    for folder in (project.source, project.source / "new"):
        with pytest.raises(InputError, match="among the images"):
            export_project(project, ["labels"], folder)
    within = Project.create(project.source, project.source / "work")
    write_labels(
        labels_path(within.out, "flat.png"), FLAT, open_image(project.source / "flat.png").info
    )
    export_project(within, ["labels"], within.out / "exports")
    within.refresh()
    assert len(within.items) == 3


@pytest.mark.parametrize("kind", sorted({*FORMATS, "classes"} - {"coco", "tables"}))
def test_a_link_does_not_lead_an_export_out_of_its_folder(project, tmp_path, kind):
    folder, elsewhere = tmp_path / "exports", tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder.mkdir()
    try:
        (folder / kind).symlink_to(elsewhere, target_is_directory=True)
    except OSError:
        pytest.skip("this user may not make links")
    write_notes(notes_path(project.out, "flat.png"), {1: ObjectNote("", "cell")})
    kinds, values = ([kind], ["objects"]) if kind in FORMATS else (["labels"], ["classes"])
    with pytest.raises(DataError, match="is a link out of"):
        export_project(project, kinds, folder, values=values)
    assert not list(elsewhere.iterdir())


def test_coco_takes_labels_of_any_size(tmp_path):
    labels = np.zeros((8, 9), np.uint32)
    labels[1:3, 1:3], labels[5:7, 4:8] = 2**32 - 1, 100_000_000
    writer = CocoWriter("huge")
    tracemalloc.start()
    writer.add("a.png", (), labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    found = {a["object"]: decoded(a["segmentation"]) for a in writer.content()["annotations"]}
    assert set(found) == {2**32 - 1, 100_000_000}
    for number, mask in found.items():
        np.testing.assert_array_equal(mask, labels == number)
    assert peak < 2**24


def test_classes_and_names_are_in_every_form(project, tmp_path):
    write_classes(
        project.out / "classes.json",
        [ObjectClass("cell", "#111111"), ObjectClass("debris", "#222222")],
    )
    notes = {1: ObjectNote("the large one", "debris"), 4: ObjectNote("", "vessel")}
    write_notes(notes_path(project.out, "flat.png"), notes)
    assert read_notes(notes_path(project.out, "flat.png")) == notes
    folder = tmp_path / "out"
    kinds = ("labels", "png", "ome-zarr", "coco", "tables")
    export_project(project, kinds, folder, values=("objects", "classes"))
    # The list, and after it a class that an object is of and no one listed.
    listed = [one.name for one in read_classes(folder / "classes.json")]
    assert listed == ["cell", "debris", "vessel"]
    semantic = tifffile.imread(folder / "classes" / "flat.png.tif")
    np.testing.assert_array_equal(semantic, np.select([FLAT == 1, FLAT == 4], [2, 3], 0))
    np.testing.assert_array_equal(iio.imread(folder / "classes-png" / "flat.png.png"), semantic)
    assert not tifffile.imread(folder / "classes" / "stack.tif.tif").any()
    classes = zarr.open_group(folder / "classes-ome-zarr" / "flat.png.zarr", mode="r")
    np.testing.assert_array_equal(classes["0"][:], semantic)
    assert classes.attrs["image-label"]["colors"][0]["rgba"] == [0x22, 0x22, 0x22, 255]
    attrs = zarr.open_group(folder / "ome-zarr" / "flat.png.zarr", mode="r").attrs
    assert attrs["image-label"]["properties"] == [
        {"label-value": 1, "class": "debris", "name": "the large one"},
        {"label-value": 4, "class": "vessel", "name": ""},
    ]
    coco = json.loads((folder / "coco.json").read_text())
    names = {one["id"]: one["name"] for one in coco["categories"]}
    found = {one["object"]: names[one["category_id"]] for one in coco["annotations"]}
    assert found == {1: "debris", 4: "vessel", 2: "object"}
    rows = read_csv(folder / "objects.csv")
    assert {(row["object"], row["class"], row["name"]) for row in rows} == {
        ("1", "debris", "the large one"),
        ("4", "vessel", ""),
        ("2", "", ""),
    }


def test_notes_that_say_nothing_leave_no_file(tmp_path):
    path = tmp_path / "a.objects.json"
    write_notes(path, {1: ObjectNote("x", "")})
    assert path.exists()
    write_notes(path, {1: ObjectNote()})
    assert not path.exists()
    assert read_notes(path) == {}
    path.write_text(
        '{"kind": "napari-spa objects", "objects": {"1": 3, "x": {}, "2": {"name": 4}}}'
    )
    assert read_notes(path) == {2: ObjectNote()}


@pytest.mark.parametrize(
    ("name", "colour", "words"),
    [
        ("", None, "needs a name"),
        ("\n ", None, "needs a name"),
        ("CELL", None, "a class cell already"),
        ("x", "red", "#rrggbb"),
    ],
)
def test_a_class_that_cannot_be_is_refused(name, colour, words):
    with pytest.raises(InputError, match=words):
        make_class(name, colour, among=[ObjectClass("cell", "#111111")])

"""Tests of ``napari-spa export``: the same writers as the docks, by command."""

import imageio.v3 as iio
import numpy as np
import pytest
import roifile
import tifffile

from napari_spa.io.images import open_image, write_labels
from napari_spa.io.projects.paths import labels_path
from napari_spa.io.projects.project import Project

LABELS = np.zeros((40, 50), np.uint8)
LABELS[5:15, 5:25], LABELS[20:30, 10:20] = 1, 2


@pytest.fixture
def project(tmp_path):
    source = tmp_path / "images"
    source.mkdir()
    iio.imwrite(source / "cell.png", LABELS * 40)
    iio.imwrite(source / "other.png", LABELS)
    project = Project.create(source)
    info = open_image(source / "cell.png").info
    write_labels(labels_path(project.out, "cell.png"), LABELS, info)
    return project


def test_a_project_is_exported_once_unless_told_to_replace(run, project, tmp_path):
    out = tmp_path / "out"
    call = ("export", project.out, "-o", out, "--formats", "labels,rois,tables", "--json")
    answer = run(*call)
    assert answer.status == 0, answer.err
    files = ["labels/cell.png.tif", "rois/cell.png.zip", "objects.csv"]
    assert answer.json == {"images": 1, "files": files, "problems": [], "changed": []}
    np.testing.assert_array_equal(tifffile.imread(out / files[0]), LABELS)
    assert len(roifile.roiread(out / files[1])) == 2
    again = run(*call)
    assert again.status == 2
    assert "would be replaced" in again.err
    assert run(*call, "--replace").status == 0


def test_a_label_image_is_exported_with_its_image(run, project, tmp_path):
    labels = labels_path(project.out, "cell.png")
    answer = run("export", labels, "--image", project.source / "cell.png", "-o", tmp_path / "out")
    assert answer.status == 0, answer.err
    assert "intensity_mean" in (tmp_path / "out" / "cell.png-objects.csv").read_text()
    assert "1 image, 2 files" in answer.out


@pytest.mark.parametrize("number", [-3, 2**32])
def test_numbers_that_no_label_can_have_are_one_sentence(refuses, tmp_path, number) -> None:
    labels = LABELS.astype(np.int64)
    labels[labels == 2] = number
    np.save(tmp_path / "labels.npy", labels)
    said = refuses("export", tmp_path / "labels.npy", "-o", tmp_path / "out")
    assert f"must be between 0 and 2**32 - 1, not {number}" in said
    assert not (tmp_path / "out").exists()


def test_an_image_written_in_some_forms_is_not_whole(run, tmp_path) -> None:
    tifffile.imwrite(tmp_path / "labels.tif", LABELS.astype(np.uint32) * 70_000)
    answer = run("export", tmp_path / "labels.tif", "-o", tmp_path / "out", "--formats", "png,rois")
    assert answer.status == 1
    assert "0 images whole, 1 file in" in answer.out


def test_labels_are_not_exported_under_an_image_of_another_size(run, project, tmp_path):
    small = tmp_path / "small.png"
    iio.imwrite(small, LABELS[:30])
    labels = labels_path(project.out, "cell.png")
    answer = run("export", labels, "--image", small, "-o", tmp_path / "out")
    assert answer.status == 2
    assert f"{small} has 30 x 50 pixels, and {labels} has 40 x 50" in answer.err
    assert not (tmp_path / "out").exists()


def test_what_a_batch_made_is_exported_with_its_images(run, project, tmp_path):
    (project.out / "project.json").unlink()
    (project.out / "manifest.json").write_text('{"kind": "napari-spa batch", "images": {}}')
    call = ("export", project.out, "-o", tmp_path / "out")
    answer = run(*call)
    assert answer.status == 2
    assert "--image" in answer.err
    answer = run(*call, "--image", project.source)
    assert (answer.status, answer.err) == (0, "")
    assert (tmp_path / "out" / "labels" / "cell.png.tif").exists()
    answer = run("train", "--from", project.out, "-o", tmp_path / "model", "--steps", 1)
    assert answer.status == 1
    assert "results of a batch and no project yet; review it in SPA Folder" in answer.err


def test_part_of_the_work_that_fails_is_said(run, project, tmp_path):
    answer = run("export", project.out, "-o", tmp_path / "out", "--formats", "labels,stl")
    assert answer.status == 1
    assert "STL is for 3D objects" in answer.err
    assert (tmp_path / "out" / "labels" / "cell.png.tif").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--formats", "pictures"], "choose what to export"),
        (["--values", "colours"], "numbers of objects"),
    ],
)
def test_a_call_that_cannot_be_is_refused(run, project, tmp_path, options, words):
    answer = run("export", project.out, "-o", tmp_path / "out", *options)
    assert answer.status == 2
    assert words in answer.err
    assert not (tmp_path / "out").exists()

"""Tests of ``napari-spa batch`` on a tiny random network: what it writes, says and refuses."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from napari_spa import load_model
from napari_spa.io.profiles import PreferenceProfile
from napari_spa.io.projects.project import Project

NAMES = ("b2.png", "b10.png", "a.tif")


def blob(row: int, column: int) -> np.ndarray:
    image = np.random.default_rng(row).integers(0, 60, (48, 60)).astype(np.uint8)
    image[row : row + 20, column : column + 20] += 150
    return image


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        image = blob(5 + 4 * number, 8 + 10 * number)
        if name.endswith(".tif"):
            tifffile.imwrite(folder / name, image)
        else:
            iio.imwrite(folder / name, image)
    return folder


@pytest.fixture
def clicks(tmp_path: Path) -> Path:
    path = tmp_path / "clicks.csv"
    lines = ["image,object,row,col,label"]
    for number, name in enumerate(NAMES):
        lines += [f"{name},1,{15 + 4 * number},{18 + 10 * number},1", f"{name},2,40,5,1"]
        lines += [f"{name},1,1,1,0"]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def batch(run, model_file: str, images: Path, tmp_path: Path) -> Callable:
    """``batch("--auto")``: run the command on the images, into ``out``."""

    def call(*options: object, out: str = "out"):
        return run("batch", images, tmp_path / out, "--model", model_file, *options)

    return call


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_points_of_a_table_become_labels_logs_and_a_manifest(batch, clicks, images, tmp_path):
    before = files(images)
    said = batch("--prompts", clicks, "--json").json
    out = tmp_path / "out"
    expected = {f"{name}{end}" for name in NAMES for end in (".tif", ".spa.jsonl")}
    assert set(files(out)) == expected | {"manifest.json"}
    assert files(images) == before
    assert said["done"] == 3
    assert said["objects"] == 6
    assert said["failed"] == []
    manifest = json.loads((out / "manifest.json").read_text())
    assert list(manifest["images"]) == sorted(NAMES)
    for name in NAMES:
        labels = tifffile.imread(out / f"{name}.tif")
        assert labels.shape == (48, 60)
        assert set(np.unique(labels)) <= {0, 1, 2}


def test_an_object_that_cannot_be_had_is_named_and_costs_no_other(batch, clicks, tmp_path):
    clicks.write_text(clicks.read_text() + "a.tif,7,900,5,1\n")
    answer = batch("--prompts", clicks)
    assert answer.status == 1
    assert "a.tif, object 7: the point (900, 5) lies outside the image" in answer.err
    assert "3 images done with 6 objects" in answer.out
    again = batch("--prompts", clicks, "--json")
    assert again.status == 1  # as long as it is missing
    assert again.json["done"] == 0
    (missing,) = again.json["missing"]
    assert (missing["image"], missing["object"]) == ("a.tif", 7)


def test_again_it_does_only_what_changed_to_the_same_bytes(batch, clicks, images, tmp_path):
    batch("--prompts", clicks)
    first = files(tmp_path / "out")
    said = batch("--prompts", clicks, "--json").json
    assert (said["done"], said["unchanged"]) == (0, 3)
    assert files(tmp_path / "out") == first
    batch("--prompts", clicks, out="other")
    assert files(tmp_path / "other") == first
    iio.imwrite(images / "b2.png", blob(9, 30))
    (tmp_path / "out" / "b10.png.tif").unlink()
    said = batch("--prompts", clicks, "--json").json
    assert (said["done"], said["unchanged"]) == (2, 1)
    again = files(tmp_path / "out")
    assert again["b10.png.tif"] == first["b10.png.tif"]
    assert again["b2.png.spa.jsonl"] != first["b2.png.spa.jsonl"]


def test_labels_of_a_person_are_kept_unless_told_otherwise(batch, clicks, tmp_path):
    batch("--prompts", clicks)
    mine = tmp_path / "out" / "b2.png.tif"
    drawn = np.zeros((48, 60), np.uint16)
    tifffile.imwrite(mine, drawn)
    answer = batch("--prompts", clicks)
    assert "b2.png: labels of a user, kept" in answer.out
    assert not tifffile.imread(mine).any()
    said = batch("--prompts", clicks, "--overwrite", "--json").json
    assert (said["done"], said["kept"]) == (3, [])
    assert tifffile.imread(mine).any()


def test_masks_of_an_image_that_changed_since_are_named(
    batch, run, clicks, images, model_file, tmp_path
):
    """Batch keeps a user's, export writes them, training leaves them out: each says so."""
    out = tmp_path / "out"
    batch("--prompts", clicks)
    Project.create(images, out).close()
    labels = tifffile.imread(out / "b2.png.tif")
    labels[0, 0] = 9
    tifffile.imwrite(out / "b2.png.tif", labels)
    train = ("train", "--from", out, "-o", tmp_path / "own", "--init", model_file, "--steps", 1)
    said = batch("--prompts", clicks)
    assert "other pixels" not in said.err + run(*train).err
    assert run("export", out, "-o", tmp_path / "1").err == ""

    iio.imwrite(images / "b2.png", blob(9, 30))
    words = "b2.png has other pixels than when it was annotated"
    said = batch("--prompts", clicks)
    assert f"{words}: the labels are kept as they were" in said.err
    assert "to review, first: b2.png" in said.out
    np.testing.assert_array_equal(tifffile.imread(out / "b2.png.tif"), labels)
    assert batch("--prompts", clicks, "--json").json["review"][:1] == ["b2.png"]
    said = run("export", out, "-o", tmp_path / "2", "--json")
    assert f"{words}: they are exported as they were" in said.err
    assert (said.status, said.json["changed"]) == (0, ["b2.png"])
    assert "labels/b2.png.tif" in said.json["files"]
    assert f"{words}: nothing is learnt from them" in run(*train).err


def test_rough_masks_are_matched_by_name_and_refined(batch, images, tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    rough = np.zeros((48, 60), np.uint8)
    rough[6:24, 10:27] = 7
    iio.imwrite(masks / "b2.png", rough)
    iio.imwrite(masks / "b7.png", rough)
    answer = batch("--masks", masks)
    assert answer.status == 0
    assert "masks has no mask for: a.tif, b10.png." in answer.err
    assert "masks has masks of no image: b7.png." in answer.err
    labels = tifffile.imread(tmp_path / "out" / "b2.png.tif")
    assert set(np.unique(labels)) == {0, 7}


def test_auto_needs_no_prompts_and_a_profile_is_only_read(batch, model_file, tmp_path):
    profile = tmp_path / "me.json"
    PreferenceProfile.empty(load_model(model_file, device="cpu").identity).save(profile)
    before = profile.read_bytes()
    said = batch("--auto", "--profile", profile, "--json").json
    assert said["done"] == 3
    assert profile.read_bytes() == before
    assert PreferenceProfile.load(profile).picks == 0


def test_a_denser_grid_is_another_recipe(batch, clicks, tmp_path):
    assert batch("--auto", "--grid", "4", out="four").status == 0
    assert batch("--auto", "--grid", "6", out="six").status == 0
    recipes = [
        json.loads((tmp_path / out / "manifest.json").read_text())["recipe"]["auto"]["grid"]
        for out in ("four", "six")
    ]
    assert recipes == [4, 6]
    refused = batch("--prompts", clicks, "--grid", "4", out="none")
    assert refused.status == 2
    assert "--grid is for --auto" in refused.err
    assert batch("--auto", "--grid", "0", out="none").status == 2


def test_one_bad_image_is_reported_and_costs_no_other(batch, clicks, images, tmp_path):
    (images / "b10.png").write_bytes(b"not a picture")
    answer = batch("--prompts", clicks)
    assert answer.status == 1
    assert "b10.png failed: " in answer.err
    assert str(tmp_path) not in answer.err.split("failed: ")[1]
    assert (tmp_path / "out" / "a.tif.tif").exists()
    assert not (tmp_path / "out" / "b10.png.tif").exists()


def test_a_dry_run_writes_nothing_and_says_how_much(batch, clicks, tmp_path):
    said = batch("--prompts", clicks, "--dry-run", "--json").json
    assert (said["images"], said["to_do"], said["objects"]) == (3, 3, 6)
    assert said["seconds"] > 0
    assert said["disk"] > 0
    assert not (tmp_path / "out").exists()
    assert "3 of 3 images to do, nothing is written" in batch("--prompts", clicks, "--dry-run").out


def test_verify_finds_what_was_changed_damaged_or_lost(batch, clicks, images, run, tmp_path):
    batch("--prompts", clicks)
    out = tmp_path / "out"
    assert batch("--prompts", clicks, "--verify").out.endswith("nothing wrong\n")
    with (out / "a.tif.tif").open("r+b") as stream:
        stream.seek(100)
        stream.write(b"damage")
    (out / "b2.png.spa.jsonl").unlink()
    iio.imwrite(images / "b10.png", blob(9, 30))
    answer = batch("--prompts", clicks, "--verify", "--json")
    assert answer.status == 1
    assert {wrong["what"] for wrong in answer.json["wrong"]} == {
        "a.tif.tif",
        "b2.png.spa.jsonl",
        "b10.png",
    }


@pytest.mark.parametrize(
    ("table", "part"),
    [
        ("", "is empty"),
        ("image,object,row\n", "has no column col"),
        ("image,object,row,col\nb2.png,1,x,5\n", "line 2"),
        ("image,object,row,col\nc.png,1,5,5\n", "asks for what is not there: c.png"),
        ("image,object,row,col\n", "asks for nothing"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_sentence(
    table, part, refuses, images, model_file, tmp_path
):
    path = tmp_path / "table.csv"
    path.write_text(table)
    call = ("batch", images, tmp_path / "out", "--model", model_file, "--prompts", path)
    assert part in refuses(*call)
    assert not (tmp_path / "out").exists()


def test_an_image_that_is_not_there_costs_the_exit_status_alone(batch, clicks, tmp_path):
    table = tmp_path / "more.csv"
    table.write_text("image,object,row,col\nb2.png,1,14,18\nc.png,1,5,5\n")
    answer = batch("--prompts", table)
    assert answer.status == 1
    assert "asks for what is not there: c.png" in answer.err
    assert (tmp_path / "out" / "b2.png.tif").exists()


def test_a_call_that_cannot_be_used_leaves_nothing(refuses, images, clicks, model_file, tmp_path):
    out = tmp_path / "out"
    call = ("batch", images, out, "--model", model_file)
    assert "say where objects come from" in refuses(*call)
    inside = refuses("batch", images, images / "out", "--model", model_file, "--auto")
    assert "choose a folder beside it" in inside
    missing = refuses(*call, "--prompts", clicks, "--profile", tmp_path / "none.json")
    assert "there is no profile" in missing
    (tmp_path / "empty").mkdir()
    nothing = refuses("batch", tmp_path / "empty", out, "--model", model_file, "--auto")
    assert "there is no image in" in nothing
    refuses("batch", images, out, "--model", "no-such-model", "--auto")
    assert not out.exists()


def test_results_of_another_recipe_are_not_mixed(batch, clicks, tmp_path):
    batch("--prompts", clicks)
    first = files(tmp_path / "out")
    answer = batch("--prompts", clicks, "--seed", 5)
    assert answer.status == 2
    assert "made with another seed" in answer.err
    answer = batch("--auto")
    assert answer.status == 2
    assert "made with another kind of prompts;" in answer.err
    assert files(tmp_path / "out") == first


def test_two_processes_write_what_one_does(batch, clicks, tmp_path):
    pytest.importorskip("distributed")
    batch("--prompts", clicks)
    assert batch("--prompts", clicks, "--workers", 2, out="two").status == 0
    assert files(tmp_path / "two") == files(tmp_path / "out")


def test_the_table_may_come_from_a_spreadsheet(batch, clicks, tmp_path):
    rows = csv.reader(clicks.read_text().splitlines())
    german = tmp_path / "german.csv"
    german.write_text("\n".join(";".join(row) for row in rows), "utf-8-sig")
    batch("--prompts", clicks)
    assert batch("--prompts", german, out="german").status == 0
    one, other = files(tmp_path / "out"), files(tmp_path / "german")
    assert one["b2.png.tif"] == other["b2.png.tif"]

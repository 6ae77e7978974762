"""Tests of ``napari-spa segment`` in this process, on a tiny random network."""

from __future__ import annotations

import os
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from napari_spa.io.images import read_image
from napari_spa.io.profiles import ProfileStore


@pytest.fixture
def segment(run, model_file, image_file, tmp_path: Path):
    """``segment("--pick", 0)``: segment the image from one point."""

    def call(*arguments: object, image: Path = image_file, out: str = "mask.tif", point="35,45"):
        options = ["--point", point] if point else []
        return run(
            "segment", image, *options, "--model", model_file, "-o", tmp_path / out, *arguments
        )

    return call


def test_json_says_what_the_design_promises(segment, tmp_path: Path) -> None:
    answer = segment("--json")
    assert answer.status == 0
    assert answer.err == ""
    said = answer.json
    mask, info = read_image(tmp_path / "mask.tif")
    assert said["mask"] == str(tmp_path / "mask.tif")
    assert said["area"] == np.count_nonzero(mask)
    assert mask.shape == info.shape == (70, 90)
    assert set(np.unique(mask)) <= {0, 1}
    assert said["round"] == 1
    assert 0 <= said["uncertainty"] <= 1
    assert said["quality"] == pytest.approx(1 - said["uncertainty"])
    assert said["calibrated"] is False  # a random network was never measured
    assert -1 <= said["size"] <= 1
    assert 1 <= len(said["candidates"]) <= 4
    for candidate in said["candidates"]:
        assert set(candidate) == {"added", "removed", "weight"}
        assert isinstance(candidate["added"], int)
    assert sum(c["weight"] for c in said["candidates"]) == pytest.approx(1)
    assert set(said["seconds"]) == {"load", "encode", "propose"}
    assert all(seconds >= 0 for seconds in said["seconds"].values())
    assert said["model"]["name"] == "tiny"
    assert said["model"]["device"] == "cpu"
    assert len(said["model"]["sha256"]) == 64


def test_without_json_it_is_for_people(segment) -> None:
    answer = segment()
    first, *others = answer.out.splitlines()
    assert "px, round 1, samples agree to 0." in first
    assert others
    assert all("% of the samples" in line for line in others)


def test_a_size_grows_and_shrinks(segment) -> None:
    areas = []
    for size in ("-0.8", "0", "0.8"):
        said = segment("--json", "--size", size).json
        assert said["size"] == pytest.approx(float(size))
        assert said["round"] == 2
        areas.append(said["area"])
    assert areas == sorted(areas)
    assert areas[0] < areas[-1]


@pytest.mark.parametrize("size", ["1.5", "nan", "large", "0.1,0.2"])
def test_what_is_no_size_is_told_before_anything_is_done(segment, size) -> None:
    answer = segment("--size", size)
    assert answer.status == 2
    assert "from -1 to 1" in answer.err


def test_picks_lead_to_later_rounds(segment) -> None:
    once, twice = segment("--pick", 0, "--json").json, segment("--pick", 0, 1, "--json").json
    again = segment("--pick", 0, "--pick", 1, "--json").json
    assert (once["round"], twice["round"]) == (2, 3)
    assert again["candidates"] == twice["candidates"]
    assert once["candidates"] != twice["candidates"]


def test_the_seed_decides(segment, tmp_path: Path) -> None:
    def play(seed: int, out: str) -> dict:
        answer = segment("--pick", 1, "--seed", seed, "--json", out=out)
        assert answer.status == 0, answer.err
        return answer.json

    first, second, other = play(3, "a.tif"), play(3, "b.tif"), play(4, "c.tif")
    assert first["candidates"] == second["candidates"] != other["candidates"]
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_candidates_are_written_as_masks_and_differences(segment, tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    for number in range(8):  # of an earlier run
        for part in ("mask", "added", "removed"):
            (tmp_path / "all" / f"candidate_{number}_{part}.tif").write_text("old")
    others = [tmp_path / "all" / name for name in ("candidate_8.txt", "candidate_x_mask.tif")]
    for other in others:
        other.write_text("another's")
    said = segment("--pick", 0, "--candidates", tmp_path / "all", "--json").json
    for other in others:
        other.unlink()
    recommended = read_image(tmp_path / "mask.tif")[0] > 0
    assert len(list((tmp_path / "all").iterdir())) == 3 * len(said["candidates"])
    for number, candidate in enumerate(said["candidates"]):
        mask, added, removed = (
            read_image(tmp_path / "all" / f"candidate_{number}_{part}.tif")[0] > 0
            for part in ("mask", "added", "removed")
        )
        np.testing.assert_array_equal(added, mask & ~recommended)
        np.testing.assert_array_equal(removed, recommended & ~mask)
        assert (candidate["added"], candidate["removed"]) == (added.sum(), removed.sum())


def test_a_box_alone_is_a_prompt(segment) -> None:
    assert segment("--box", "20,30,50,60", "--json", point=None).json["round"] == 1


def test_background_points(segment) -> None:
    alone = segment("--json").json
    both = segment("--point", "5,5", "--label", 1, 0, "--json").json
    same = segment("--point", "5,5", "--label", 1, "--label", 0, "--json").json
    assert both["candidates"] == same["candidates"] != alone["candidates"]


def test_a_slice_of_a_stack(segment, tmp_path: Path) -> None:
    stack = np.random.default_rng(0).integers(0, 4000, (4, 40, 50)).astype(np.int16)
    path = tmp_path / "stack.tif"
    resolution = {"resolution": (5, 5), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, stack, photometric="minisblack", metadata={"axes": "ZYX"}, **resolution)
    assert segment("--slice", 2, "--json", image=path).status == 0
    mask, info = read_image(tmp_path / "mask.tif")
    assert mask.shape == (40, 50)
    assert info.pixel_size == pytest.approx((2000, 2000))
    answer = segment(image=path)
    assert answer.status == 2
    assert "--slice 2" in answer.err


def test_a_png_mask_is_black_and_white(segment, tmp_path: Path) -> None:
    said = segment("--json", out="new/mask.png").json
    mask = iio.imread(tmp_path / "new" / "mask.png")
    assert set(np.unique(mask)) <= {0, 255}
    assert np.count_nonzero(mask) == said["area"]


def test_a_profile_is_written_and_changes_the_next_start(segment, tmp_path: Path) -> None:
    profile = tmp_path / "me.json"
    plain = segment("--json").json
    assert segment("--pick", 0, 0, 0, 0, "--save-profile", profile).status == 0
    taught = segment("--profile", profile, "--json").json
    assert taught["candidates"] != plain["candidates"]
    store = ProfileStore()
    store.root.mkdir(parents=True, exist_ok=True)
    (store.root / "me.json").write_bytes(profile.read_bytes())
    by_name = segment("--profile", "me", "--json").json  # as the other commands take one
    assert by_name["candidates"] == taught["candidates"]
    assert "there is no profile 'you'" in segment("--profile", "you").err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--point", "35,4500"], "lies outside the image of 70 rows and 90 columns"),
        (["--label", "1", "0"], "1 point and 2 labels cannot be paired"),
        (["--label", "7"], "a label is 1"),
        (["--pick", "9"], "no candidate 9"),
        (["--pick", "-1"], "no candidate -1"),
        (["--box", "60,60,10,10,2"], "not R0,C0,R1,C1"),
        (["--box", "500,500,600,600"], "outside of the image"),
        (["--box", "5,5,5,9"], "less than a pixel"),
        (["--model", "no-such-model"], "no model 'no-such-model'"),
        (["--device", "abacus"], "unknown device 'abacus'"),
        (["--device", "cuda:99"], "cuda"),
        (["--profile", "no-such.json"], "no-such.json"),
        (["--slice", "3"], "single image"),
        (["--slice", "one"], "not a whole number"),
        (["--point", "nan,3"], "finite"),
    ],
)
def test_a_wrong_call_is_one_sentence_and_leaves_nothing(
    refuses, model_file, image_file, tmp_path: Path, arguments, sentence
) -> None:
    # Options that are given twice count by the last one; points add up.
    start = [] if "--point" in arguments else ["--point", "35,45"]
    call = ["segment", image_file, "--model", model_file, *start, "-o", tmp_path / "m.tif"]
    assert sentence in refuses(*call, *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["image.png"]


def test_outputs_that_cannot_be(refuses, model_file, image_file, tmp_path: Path) -> None:
    call = ["segment", image_file, "--model", model_file, "--point", "35,45", "-o"]
    before = image_file.read_bytes()
    assert "overwrite the image" in refuses(*call, image_file)
    assert "overwrite the image" in refuses(*call, tmp_path / "x" / ".." / "image.png")
    # Every file that is written, over every file that is read, by whatever name.
    save = [*call, tmp_path / "m.tif", "--save-profile"]
    assert "overwrite the image" in refuses(*save, image_file)
    assert "overwrite the model" in refuses(*save, model_file)
    assert "overwrite the mask" in refuses(*save, tmp_path / "m.tif")
    assert "is a folder" in refuses(*save, tmp_path)
    os.link(image_file, tmp_path / "candidate_0_mask.tif")
    assert "overwrite the image" in refuses(*call, tmp_path / "m.tif", "--candidates", tmp_path)
    assert "overwrite the image" in refuses(*call, tmp_path / "candidate_0_mask.tif")
    (tmp_path / "candidate_0_mask.tif").unlink()
    png, below = tmp_path / "j.png", tmp_path / "j.png" / "c"
    assert "cannot be in one another" in refuses(*call, png, "--candidates", png)
    assert "cannot be in one another" in refuses(*call, png, "--candidates", below)
    assert "cannot be in one another" in refuses(
        *call, below / "m.tif", "--save-profile", tmp_path / "j.png"
    )
    assert not png.exists()
    assert "is a file" in refuses(*call, tmp_path / "m.tif", "--candidates", image_file)
    assert image_file.read_bytes() == before
    assert ".tif or .png" in refuses(*call, tmp_path / "mask.jpg")
    (tmp_path / "folder.tif").mkdir()
    assert "is a folder" in refuses(*call, tmp_path / "folder.tif")
    (tmp_path / "file").write_text("")
    assert "cannot write" in refuses(*call, tmp_path / "file" / "mask.tif", status=1)


def test_a_missing_prompt_is_told_before_anything_is_loaded(refuses, tmp_path: Path) -> None:
    assert "give --point" in refuses("segment", "none.png", "--model", "none", "-o", "m.tif")

"""Tests of ``napari-spa profile`` in this process, on a tiny random network."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from napari_spa.io.profiles import PreferenceProfile, ProfileStore


@pytest.fixture
def people(run, model_file, image_file, tmp_path: Path) -> tuple[Path, Path]:
    """Two people who picked differently: one file each."""
    paths = []
    for name, pick, size in (("Ana", 3, 1.2), ("Ben", 0, 0.9)):
        path = tmp_path / f"{name}.json"
        answer = run(
            "segment", image_file, "--point", "35,45", "--model", model_file, "--pick", pick, pick,
            "--save-profile", path, "-o", tmp_path / "mask.tif",
        )  # fmt: skip
        assert answer.status == 0, answer.err
        profile = PreferenceProfile.load(path)
        replace(profile, name=name, objects=6, log_growth=6 * math.log(size)).save(path)
        paths.append(path)
    return paths[0], paths[1]


def test_a_profile_from_new_to_reset(run, model_file, people) -> None:
    assert "no profiles yet" in run("profile", "list").err
    made = run("profile", "new", "Ana", "--task", "optic cup", "--model", model_file, "--json").json
    assert made["words"] == "Nothing learnt yet."
    assert (made["name"], made["task"], made["picks"], made["growth"]) == (
        "Ana",
        "optic cup",
        0,
        None,
    )
    path = Path(made["path"])
    ana = replace(PreferenceProfile.load(people[0]), task="optic cup", corrected=3)
    ana.save(path)
    (listed,) = run("profile", "list", "--json").json["profiles"]
    assert listed["path"] == str(path)
    assert (listed["name"], listed["picks"], listed["problem"]) == ("Ana", 2, None)
    assert listed["corrected"] == 3
    shown = run("profile", "show", "ana", "--json").json
    assert shown["growth"] == pytest.approx(0.2)
    assert shown["model"]["sha256"]
    assert "Ana, optic cup\nTends to draw 20 % larger" in run("profile", "show", "Ana").out
    renamed = run("profile", "rename", "Ana", "Anna", "--json").json
    assert (renamed["name"], renamed["task"], renamed["path"]) == ("Anna", "optic cup", str(path))
    answer = run("profile", "reset", "Anna", "--json")
    assert answer.json["picks"] == 0
    assert "2 picks and 3 corrected objects on 1 image forgotten" in answer.err
    assert str(ProfileStore().removed) in answer.err  # where it is, wherever the profile lies
    table = run("profile", "list").out
    assert "Anna" in table
    assert str(path) in table


@pytest.mark.parametrize("name", ["Ana / Ünal", "ana.json"])
def test_a_profile_is_found_by_any_name(run, refuses, model_file, name) -> None:
    assert run("profile", "new", name, "--model", model_file).status == 0
    assert run("profile", "show", name.upper(), "--json").json["name"] == name
    assert "no profile o/none.json" in refuses("profile", "show", "o/none.json")


def test_a_nameless_profile_has_the_name_of_its_file(run, people, tmp_path: Path) -> None:
    path = tmp_path / "nameless.json"
    replace(PreferenceProfile.load(people[0]), name="").save(path)
    assert run("profile", "reset", path).out.startswith("nameless\n")


def test_damaged_profiles_are_listed(run) -> None:
    root = ProfileStore().root
    root.mkdir(parents=True)
    (root / "bad.json").write_text("{")
    answer = run("profile", "list", "--json")
    assert answer.status == 0
    assert "damaged" in answer.json["profiles"][0]["problem"]
    assert "damaged" in run("profile", "list").out


def test_two_distributions_in_words(run, people) -> None:
    answer = run("profile", "diff", *people)
    assert answer.status == 0
    assert "Ana draws 33 % larger than Ben." in answer.out
    said = run("profile", "diff", *people, "--json").json
    assert said["difference"]["size"] == pytest.approx(1.2 / 0.9 - 1)
    assert said["first"] == {
        "name": "Ana", "path": str(people[0]), "picks": 2, "corrected": 0,
        "images": 1, "objects": 6
    }  # fmt: skip
    assert said["image"] is None


def test_where_two_people_disagree(run, people, model_file, image_file, tmp_path: Path) -> None:
    call = ["profile", "diff", *people, image_file, "--point", "35,45", "--model", model_file]
    said = run(*call, "-o", tmp_path / "new" / "where.png", "--json").json
    found = said["image"]
    both = found["first_area"] - found["only_first"]
    assert both == found["second_area"] - found["only_second"]
    assert found["only_first"] + found["only_second"] > 0
    assert found["dice"] == pytest.approx(2 * both / (found["first_area"] + found["second_area"]))
    drawn = iio.imread(tmp_path / "new" / "where.png")
    for colour, part in (((255, 176, 0), "only_first"), ((0, 200, 215), "only_second")):
        patch = (np.abs(drawn[..., :3].astype(int) - colour) < 2).all(axis=2)
        assert patch.sum() > 50, part  # the legend, at least
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["where.png"]
    text = run(*call, "-o", tmp_path / "new" / "where.png").out
    assert f"{found['only_first']} px of them alone (amber)" in text
    again = run(*call, "--json").json["image"]
    assert {**again, "overlay": found["overlay"]} == found


def test_an_overlay_of_nothing_and_of_any_name(
    run, people, model_file, image_file, tmp_path
) -> None:
    from napari_spa.cli.panel import _drawable

    assert _drawable("Ana $x_1$", "first") == "Ana $x_1$"
    assert _drawable("田中", "first") == "first"
    assert len(_drawable("x" * 90, "first")) == 40
    twin = tmp_path / "twin.json"
    replace(PreferenceProfile.load(people[0]), name="Ana $x_1$").save(twin)
    said = run(
        "profile", "diff", twin, twin, image_file, "--box", "20,30,50,60", "--model", model_file,
        "-o", tmp_path / "same.png", "--json",
    ).json  # fmt: skip
    assert (said["image"]["dice"], said["image"]["only_first"]) == (1.0, 0)
    assert (tmp_path / "same.png").exists()


def test_an_empty_profile_can_be_compared_on_an_image(
    run, people, model_file, image_file, tmp_path
) -> None:
    empty = tmp_path / "empty.json"
    PreferenceProfile.load(people[0]).emptied().save(empty)
    answer = run("profile", "diff", people[0], empty, image_file, "--point", "35,45",
                 "--model", model_file, "--json")  # fmt: skip
    assert answer.json["difference"] is None
    assert answer.json["image"]["dice"] < 1
    assert "Nothing learnt yet." in run("profile", "diff", people[0], empty).out


def test_merging_weighs_by_evidence(run, people, tmp_path: Path) -> None:
    out = tmp_path / "both.json"
    said = run("profile", "merge", *people, "-o", out, "--task", "cup", "--json").json
    merged = PreferenceProfile.load(out)
    assert (said["name"], said["task"], said["path"]) == ("both", "cup", str(out))
    assert (merged.picks, merged.images, merged.objects) == (4, 1, 12)  # of the same image
    assert said["growth"] == pytest.approx(math.sqrt(1.2 * 0.9) - 1)
    named = run("profile", "merge", *people, "-o", out, "--name", "All", "--json").json
    assert named["name"] == "All"


def test_wrong_calls_are_one_sentence(refuses, people, image_file, model_file, tmp_path) -> None:
    ana, ben = people
    before = ana.read_bytes()
    assert "no profile 'Zoe'" in refuses("profile", "show", "Zoe")
    absent = tmp_path / ("n" * 90 + ".json")
    assert f"no profile {absent}" in refuses("profile", "show", absent)
    assert "is not text" in refuses("profile", "show", image_file)
    assert "needs a name" in refuses("profile", "new", " ", "--model", model_file)
    assert "two profiles or more" in refuses("profile", "merge", ana, "-o", tmp_path / "m.json")
    assert "given twice" in refuses("profile", "merge", ana, ana, "-o", tmp_path / "m.json")
    assert "overwrite the profile" in refuses("profile", "merge", ana, ben, "-o", ana)
    assert "written as .json" in refuses("profile", "merge", ana, ben, "-o", tmp_path / "m.txt")
    assert "need an image" in refuses("profile", "diff", ana, ben, "--point", "3,3")
    assert "need an image" in refuses("profile", "diff", ana, ben, "-o", tmp_path / "a.png")
    assert "give --point" in refuses("profile", "diff", ana, ben, image_file)
    look = ["profile", "diff", ana, ben, image_file, "--model", model_file, "--point"]
    assert "written as .png" in refuses(*look, "35,45", "-o", tmp_path / "a.jpg")
    assert "overwrite the image" in refuses(*look, "35,45", "-o", image_file)
    assert "lies outside the image" in refuses(*look, "-35,45")
    look = ["profile", "diff", ana, ben, image_file, "--point", "35,45"]
    assert "no model 'tiny'" in refuses(*look)
    assert "was made with tiny" in refuses(*look, "--model", "spa-tiny")
    look += ["--model", model_file]
    (tmp_path / "file").write_text("")
    assert "cannot write" in refuses(*look, "-o", tmp_path / "file" / "a.png", status=1)
    assert ana.read_bytes() == before


def test_a_profile_of_another_model_is_refused(refuses, people, tmp_path: Path) -> None:
    content = json.loads(people[1].read_text())
    content["model"]["sha256"] = "f" * 64
    other = tmp_path / "other.json"
    other.write_text(json.dumps(content))
    assert "'Ben' was made with" in refuses("profile", "diff", people[0], other)
    assert refuses("profile", "merge", people[0], other, "-o", tmp_path / "m.json")
    assert not (tmp_path / "m.json").exists()


def test_help_shows_examples(capsys) -> None:
    from napari_spa import cli

    for action in ("list", "show", "new", "rename", "reset", "merge", "diff"):
        with pytest.raises(SystemExit):
            cli.main(["profile", action, "--help"])
        assert f"Example:\n  napari-spa profile {action}" in capsys.readouterr().out

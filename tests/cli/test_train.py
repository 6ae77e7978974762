"""Tests of ``napari-spa train`` in this process: a tiny network, a few steps."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from napari_spa.io.projects.paths import labels_path
from napari_spa.io.projects.project import Project
from napari_spa.train import personal

RECIPE = """
steps = 2
batch = 2
workers = 0
save_every = 1
[model]
image_size = 32
embed_dim = 32
widths = [8, 16, 32]
depths = [1, 1, 1]
layers = 1
decoder_mlp = 32
latent_dim = 4
components = 4
[window]
size = 32
targets = 2
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    image = np.zeros((60, 60), np.uint8)
    image[20:40, 20:40] = 255
    for part in ("images", "raters/x", "raters/y"):
        path = tmp_path / "squares" / part / "a.png"
        path.parent.mkdir(parents=True)
        iio.imwrite(path, image)
    return tmp_path / "squares"


@pytest.fixture
def call(data: Path, tmp_path: Path) -> list[object]:
    (tmp_path / "tiny.toml").write_text(RECIPE)
    options = ["--config", tmp_path / "tiny.toml", "--device", "cpu", "-o", tmp_path / "run"]
    return ["train", data, *options]


def test_a_run_leaves_a_usable_model_and_a_log(run, call, tmp_path: Path, image_file) -> None:
    answer = run(*call, "--json")
    assert answer.status == 0, answer.err
    said = answer.json
    assert said["steps"] == 2
    assert said["model"] == str(tmp_path / "run" / "spa.safetensors")
    assert {"last.pt", "metrics.csv", "spa.safetensors"} <= {
        path.name for path in (tmp_path / "run").iterdir()
    }
    assert "FolderSource: 1 objects" in answer.err
    segment = ["segment", image_file, "--point", "35,45", "--model", said["model"]]
    assert run(*segment, "-o", tmp_path / "mask.tif").status == 0
    card = run("models", "info", said["model"], "--json").json["card"]
    assert card["data"] == ["squares"]
    assert card["steps"] == 2


def test_resume_goes_on_and_a_run_is_not_overwritten(run, refuses, call, tmp_path: Path) -> None:
    assert run(*call).status == 0
    before = (tmp_path / "run" / "last.pt").read_bytes()
    assert "add --resume" in refuses(*call)
    assert (tmp_path / "run" / "last.pt").read_bytes() == before
    again = ("--resume", "--init", "spa-tiny")  # as the script does that makes the model
    assert run(*call, "--steps", 3, *again, "--json").json["steps"] == 3
    assert (tmp_path / "run" / "metrics.csv").read_text().count("\n") == 4


def test_a_run_does_not_replace_a_model_of_ones_own(refuses, call, tmp_path: Path) -> None:
    weights = tmp_path / "run" / "spa.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"tuned")
    assert "holds spa.safetensors of another run; choose another" in refuses(*call)
    assert [*weights.parent.iterdir()] == [weights]
    assert weights.read_bytes() == b"tuned"


@pytest.mark.parametrize(
    ("kind", "others"),
    [
        ("--pack", "-o --init --steps --device --minutes --seed"),
        ("--methods", "--config --init --resume --minutes"),
        ("--from", "--config --resume --minutes --batch --seed --workers --objects"),
        ("training on DATA alone", "--model --split --batch --seed --workers --objects"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(refuses, tmp_path: Path, kind, others) -> None:
    values = {"--resume": [], "--objects": [], "--device": ["cpu"], "-o": [tmp_path / "run"]}
    asked = {"--pack": ["--pack", "a.pack"], "--methods": ["--methods", "unet"]}
    asked["--from"] = ["--from", tmp_path]
    output = [] if kind == "--pack" else values["-o"]
    for option in others.split():
        given = [option, *values.get(option, ["0" if option == "--workers" else "3"])]
        out = [] if option == "-o" or kind == "--pack" else ["-o", *output]
        sentence = refuses("train", *asked.get(kind, [tmp_path]), *given, *out)
        named = "--output" if option == "-o" else option
        assert f"{named} is for " in sentence
        assert "; leave it out." in sentence
        assert kind not in sentence
    assert not (tmp_path / "run").exists()


def test_what_excludes_each_other_is_refused(refuses, call, tmp_path: Path) -> None:
    assert "not allowed with" in refuses(*call, "--pack", "a.pack", "--methods", "unet")
    assert "from 0 to 2**63" in refuses(*call, "--methods", "unet", "--seed", -1)
    assert "from 0 to 2**63" in refuses(*call, "--seed", -1)


def test_a_pack_replaces_nothing_but_a_pack(run, refuses, data, tmp_path: Path) -> None:
    picture, pack = tmp_path / "mine.png", tmp_path / "data.pack"
    picture.write_bytes((data / "images" / "a.png").read_bytes())
    assert "is no training data" in refuses("train", data, "--pack", picture)
    iio.imread(picture)
    assert "no image to pack" in refuses("train", "synthetic", "--pack", pack)
    assert not pack.exists()
    for _ in range(2):
        assert run("train", data, "--pack", pack).status == 0


def test_wrong_calls_are_one_sentence(refuses, call, tmp_path: Path) -> None:
    assert "unknown device" in refuses(*call, "--device", "abacus")
    assert "no run to go on with; leave --resume out" in refuses(*call, "--resume")
    picture = tmp_path / "squares" / "images" / "a.png"
    assert "is a file; name a folder" in refuses("train", "synthetic", "-o", picture)
    assert "not valid TOML" in refuses(*call, "--config", picture)
    assert "no model 'none'" in refuses(*call, "--init", "none")
    methods = ("--methods", "unet", "-o", tmp_path / "run")
    assert "nothing synthetic" in refuses("train", "synthetic", *methods)
    assert "from 0" in refuses(*call, "--workers", -1)
    assert "is not a folder" in refuses("train", tmp_path / "none", "-o", tmp_path / "run")
    (tmp_path / "bad.toml").write_text("stepz = 3")
    assert "unknown 'stepz'" in refuses(*call, "--config", tmp_path / "bad.toml")
    (tmp_path / "odd.toml").write_text(RECIPE.replace("embed_dim = 32", "embed_dim = 33"))
    assert "can be trained" in refuses(*call, "--config", tmp_path / "odd.toml")
    assert "asks for 'general'" in refuses(*call, "--config", "spa-tiny")
    (tmp_path / "empty").mkdir()
    assert "not a multi-rater" in refuses("train", tmp_path / "empty", "-o", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_of_ones_own_is_kept_only_if_it_is_better(
    run, refuses, call, tmp_path: Path, monkeypatch
) -> None:
    assert run(*call).status == 0
    source, out = tmp_path / "images", tmp_path / "project"
    source.mkdir()
    labels = np.zeros((60, 60), np.uint8)
    for number in range(6):
        labels[5 + 25 * (number // 3) :, :][:14, 3 + 19 * (number % 3) :][:, :13] = number + 1
    iio.imwrite(source / "a.png", np.where(labels, 200, 40).astype(np.uint8))
    Project.create(source, out).close()
    tifffile.imwrite(labels_path(out, "a.png"), labels)
    own = ["train", "--from", out, "-o", tmp_path / "own", "--device", "cpu"]
    own += ["--init", tmp_path / "run" / "spa.safetensors", "--steps", 2]
    answer = run(*own, "--json")
    said = answer.json
    assert (said["learnt_from"], said["tested_on"]) == (4, 2)
    better = said["after"] > said["before"]
    assert answer.status == (0 if better else 1)
    assert (tmp_path / "own" / "spa.safetensors").exists() == better
    assert ("nothing was saved" in answer.err) != better
    assert (tmp_path / "own").exists() == better  # nor an empty folder
    monkeypatch.setattr(personal, "tune", None)  # before the work, not after it
    nowhere = source / "a.png" / "o"
    assert f"cannot write {nowhere}" in refuses(*own[:3], "-o", nowhere, *own[5:], status=1)
    assert "DATA is for --pack or --methods" in refuses(*own, tmp_path)
    held = (tmp_path / "run" / "spa.safetensors").read_bytes()
    assert "holds last.pt of another run" in refuses(*own, "-o", tmp_path / "run")
    assert (tmp_path / "run" / "spa.safetensors").read_bytes() == held
    assert "name the data" in refuses("train", "-o", tmp_path / "none")


def test_methods_are_trained_into_a_folder_each(run, refuses, data: Path, tmp_path: Path) -> None:
    for name in "bcd":
        for part in ("images", "raters/x", "raters/y"):
            source = data / part / "a.png"
            (data / part / f"{name}.png").write_bytes(source.read_bytes())
    call = [
        "train",
        data,
        "--methods",
        "unet,mh-unet",
        "--split",
        "all",
        "--steps",
        2,
        "--batch",
        2,
        "--seed",
        2**63 - 1,  # the largest that it takes
    ]
    answer = run(*call, "-o", tmp_path / "runs", "--json")
    assert answer.status == 0, answer.err
    assert [method["method"] for method in answer.json["methods"]] == ["unet", "mh-unet"]
    assert (tmp_path / "runs" / "mh-unet" / "weights.safetensors").exists()
    assert "unet: step 2" in answer.err
    again = run(*call, "-o", tmp_path / "runs")
    assert "unet: step" not in again.err, "what is done is not done again"
    assert "unet: 2 steps" in again.out
    assert "cannot be trained" in refuses(*call[:3], "sam-click", "-o", tmp_path / "r")
    other = run(*call, "--batch", 3, "-o", tmp_path / "runs")
    assert other.status == 2
    assert "another batch" in other.err.splitlines()[-1]
    assert "one DATA folder" in refuses(*call[:2], data, "--methods", "unet", "-o", tmp_path / "r")

"""Tests of ``napari-spa evaluate`` in this process, on a tiny random network."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three images, one in the training split, with two raters' squares."""
    folder = tmp_path / "data"
    for name in ("a", "b", "c"):
        for rater, size in (("tight", 10), ("loose", 14)):
            mask = np.zeros((40, 50), np.uint8)
            mask[12 : 12 + size, 15 : 15 + size] = 255
            path = folder / "raters" / rater / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            iio.imwrite(path, mask)
        path = folder / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        iio.imwrite(
            path, mask // 2 + np.random.default_rng(0).integers(0, 99, mask.shape, np.uint8)
        )
    (folder / "split.csv").write_text("name,split\na,val\nb,val\nc,train\n")
    return folder


@pytest.fixture
def call(model_file: str, data: Path, tmp_path: Path) -> list[object]:
    return ["evaluate", data, "--model", model_file, "--rounds", 2, "-o", tmp_path / "report"]


def test_the_report_is_written_and_summed_up(run, call, tmp_path: Path) -> None:
    answer = run(*call, "--json")
    assert answer.status == 0, answer.err
    said = answer.json
    # Two images; tight, loose and both together; four methods, two ways of clicking, two rounds.
    assert (said["images"], said["targets"], said["rows"]) == (2, 6, 6 * 4 * 2 * 2)
    assert said["failed"] == []
    with (tmp_path / "report" / "rows.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == said["rows"]
    means = {
        (s["seat"]["method"], s["round"]): s["value"]["mean"]
        for s in said["summary"]
        if s["metric"] == "dice" and s["seat"]["clicks"] == "central"
    }
    chosen = [
        float(r["dice"])
        for r in rows
        if (r["method"], r["round"], r["clicks"]) == ("spa", "2", "central")
    ]
    assert means["spa", 2] == pytest.approx(np.mean(chosen), abs=1e-5)
    assert {d["name"] for d in said["differences"]} >= {"spa - spa-frozen", "spa - spa-random-pick"}
    assert (tmp_path / "report" / "index.html").exists()


def test_without_json_the_report_is_printed(run, call, tmp_path: Path) -> None:
    answer = run(*call, "--limit", 1, "--methods", "spa,spa-frozen")
    assert answer.status == 0
    assert (tmp_path / "report" / "report.md").read_text() in answer.out
    assert "| spa | picks | central |" in answer.out
    assert "random" not in answer.out


def test_splits_users_and_objects(run, call, tmp_path: Path) -> None:
    wanted = [*call, "--methods", "spa-logit", "--clicks", "central", "--json"]
    said = run(*wanted, "--split", "all", "--users", "picks", "clicks").json
    assert said["images"] == 3
    assert {s["seat"]["user"] for s in said["summary"]} == {"picks", "clicks"}
    wanted += ["--split", "train", "--combinations", "raters", "-o", tmp_path / "other"]
    said = run(*wanted).json
    assert (said["images"], said["targets"]) == (1, 2)


def test_a_report_goes_on_and_refuses_other_settings(run, refuses, call, tmp_path: Path) -> None:
    wanted = [*call, "--methods", "spa-logit", "--clicks", "central", "--combinations", "raters"]
    assert run(*wanted, "--limit", 1).status == 0
    games = {path: path.stat().st_mtime_ns for path in (tmp_path / "report" / "games").rglob("*")}
    assert run(*wanted).status == 0
    rows = (tmp_path / "report" / "rows.csv").read_bytes()
    assert all(path.stat().st_mtime_ns == time for path, time in games.items() if path.is_file())
    assert run(*wanted).status == 0
    assert (tmp_path / "report" / "rows.csv").read_bytes() == rows, "the same table, seconds too"
    assert "another seed" in refuses(*wanted, "--seed", 1)


def test_methods_are_listed_one_a_line(run) -> None:
    listed = run("evaluate", "--list-methods").out.splitlines()
    assert len(set(listed)) == len(listed)
    ours = "spa spa-logit spa-both spa-frozen spa-random-pick"
    ablations = "spa-random-gaussian spa-gaussian spa-weights spa-n24 spa-n36 spa-n48"
    interactive = "sam-click medsam-box msa-click sam-u-v1 sam-u-v2"
    networks = "unet transunet swinunet ensemble-unet probunet ls-unet mh-unet mrnet"
    assert listed == f"{ours} {ablations} {interactive} {networks}".split()
    said = run("evaluate", "--list-methods", "--json").json
    assert [method["name"] for method in said["methods"]] == listed
    assert {"picks", "clicks", "both", "slips-5"} <= {user["name"] for user in said["users"]}


def test_a_broken_image_is_named_and_the_rest_is_done(run, call, data: Path) -> None:
    (data / "images" / "a.png").write_bytes(b"broken")
    answer = run(*call, "--json")
    assert answer.status == 1
    assert answer.json["images"] == 1
    assert [failed["image"] for failed in answer.json["failed"]] == ["a"]
    assert "a was left out" in answer.err


def test_wrong_calls_are_one_sentence(refuses, call, data: Path, tmp_path: Path) -> None:
    assert "unknown method magic" in refuses(*call, "--methods", "magic")
    assert "unknown clicks anywhere" in refuses(*call, "--clicks", "anywhere")
    assert "unknown user no one" in refuses(*call, "--users", "no one")
    assert "takes DATA and -o DIR" in refuses("evaluate", "-o", "r")
    assert "no image of the split 'test'" in refuses(*call, "--split", "test")
    assert "unknown device" in refuses(*call, "--device", "abacus")
    (tmp_path / "empty").mkdir()
    assert "not a multi-rater data set" in refuses("evaluate", tmp_path / "empty", "-o", "r")
    assert not (tmp_path / "report").exists()


def test_when_nothing_could_be_played_it_fails(run, call, data: Path, tmp_path: Path) -> None:
    for path in (data / "images").iterdir():
        path.write_bytes(b"broken")
    answer = run(*call)
    assert answer.status == 1
    assert "no image" in answer.err.splitlines()[-1]
    assert not (tmp_path / "report").exists()


def test_what_people_did_is_reported_from_logs(run, refuses, tmp_path: Path) -> None:
    (tmp_path / "ann").mkdir()
    assert "does not exist" in refuses(
        "evaluate", "--from-log", tmp_path / "x", "-o", tmp_path / "r"
    )
    assert "-o DIR" in refuses("evaluate", "--from-log", tmp_path / "ann")
    answer = run("evaluate", "--from-log", tmp_path / "ann", "-o", tmp_path / "r")
    assert answer.status == 2
    assert "no decision log" in answer.err
    log = tmp_path / "ann" / "a.png.spa.jsonl"
    facts = {"name": "a.png", "shape": [40, 50], "dtype": "uint8", "path": ""}
    log.write_text(json.dumps({"kind": "session", "version": 1, "image": facts, "model": {}}))
    answer = run("evaluate", "--from-log", tmp_path / "ann", "-o", tmp_path / "r")
    assert answer.status == 1
    assert "no one accepted an object" in answer.err

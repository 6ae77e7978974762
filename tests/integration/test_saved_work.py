"""Files written by an earlier commit (3f57a67) still open and say the same, byte for byte.

``tests/data/saved`` holds two images, a batch of them (labels, logs, manifest) that is also a
project, a preference profile, and the log of a user who picked, took back, accepted, painted
and left an object unfinished, with the labels they saw.
"""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_spa.batch.plan import make_plan
from napari_spa.batch.resume import verify
from napari_spa.batch.task import BatchRecipe, input_digest
from napari_spa.io.event_log import read_records
from napari_spa.io.profiles import PreferenceProfile
from napari_spa.io.projects.project import Project
from napari_spa.refine.annotation.annotation import ArraySurface
from napari_spa.refine.log.journal import read_journal
from napari_spa.refine.log.serialization import (
    decision_from_record,
    decision_to_record,
    mask_from_record,
    mask_to_record,
    plane_from_record,
    plane_to_record,
)

SAVED = Path(__file__).parents[1] / "data" / "saved"
LOGS = ("work/a.spa.jsonl", "out/a.png.spa.jsonl", "out/b.png.spa.jsonl")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAVED, tmp_path / "saved"))


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


@pytest.mark.parametrize("name", LOGS)
def test_a_log_gives_the_labels_that_were_saved(saved: Path, name: str) -> None:
    expected = (
        np.load(saved / "work/labels.npy")
        if name.startswith("work")
        else tifffile.imread(saved / name.replace(".spa.jsonl", ".tif"))
    )
    labels = np.zeros_like(expected)
    session = read_journal(read_records(saved / name), ArraySurface(labels))
    np.testing.assert_array_equal(labels, expected)
    assert labels.any()
    assert session.closed


@pytest.mark.parametrize("name", LOGS)
def test_records_of_a_log_are_written_as_they_were_read(name: str) -> None:
    decisions = 0
    for record in read_records(SAVED / name):
        if "plane" in record:
            assert plane_to_record(plane_from_record(record["plane"])) == record["plane"]
        if record["kind"] == "accept":
            assert mask_to_record(mask_from_record(record["mask"])) == record["mask"]
        alone = [record] if record["kind"] == "decision" else []
        for decision in (*alone, *record.get("decisions", ())):
            again = decision_to_record(decision_from_record(decision))
            for key in ("act", "round", "seed", "entropy", "pick", "mixture", "view"):
                assert json.dumps(again[key]) == json.dumps(decision[key])
            prompts = {**again["prompts"]}
            for key, value in decision["prompts"].items():
                assert prompts.pop(key) == value
            assert not any(prompts.values()), "a new kind of prompt is empty in an old log"
            decisions += 1
    assert decisions


def test_an_unfinished_object_is_found_again() -> None:
    labels = np.zeros((48, 56), np.uint16)
    session = read_journal(read_records(SAVED / LOGS[0]), ArraySurface(labels))
    assert session.active is not None
    assert (session.active.number, session.active.round) == (3, 2)
    assert sorted(session.annotation.objects) == [1, 2]


def test_a_profile_opens_with_the_same_numbers() -> None:
    content = json.loads((SAVED / "profile.json").read_text())
    profile = PreferenceProfile.load(SAVED / "profile.json")
    for name in ("weights", "means", "variances"):
        assert getattr(profile.mixture, name).tolist() == content["mixture"][name]
    assert (profile.picks, profile.images, profile.objects) == (1, 1, 1)
    assert profile.log_growth == content["log_growth"]


def test_a_batch_is_verified_and_its_inputs_are_the_same(saved: Path) -> None:
    before = digests(saved)
    verdict = verify(saved / "out")
    assert (verdict.images, verdict.checked, verdict.wrong) == (2, 4, ())
    recipe = BatchRecipe(device="cpu", profile=saved / "profile.json")
    plan = make_plan(saved / "images", saved / "out", recipe, saved / "prompts.csv")
    entries = json.loads((saved / "out/manifest.json").read_text())["images"]
    for task in plan.tasks:
        assert input_digest(task) == entries[task.name]["input_sha256"]
    assert digests(saved) == before


def test_a_project_opens_as_it_was_left(saved: Path) -> None:
    before = digests(saved)
    project = Project.open(saved / "out")
    items = {item.name: (item.status, item.flagged, item.note) for item in project.items}
    assert items["a.png"] == ("done", True, "seen")
    assert project.item("b.png").objects == 1
    assert digests(saved) == before

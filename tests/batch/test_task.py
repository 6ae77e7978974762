"""The manifest: read as it was written, the same whatever the order of work."""

import json

import pytest

from napari_spa.batch.task import (
    BatchRecipe,
    ImageResult,
    Manifest,
    ObjectResult,
    read_manifest,
    recipe_facts,
    what_differs,
)
from napari_spa.errors import DataError, ModelError

FACTS = {"model": {"name": "m", "sha256": "0"}, "seed": 0}


def result(name, uncertainty=0.1, problem="", doubtful=False):
    one = ObjectResult(1, (3,), 20, uncertainty, problem)
    two = ObjectResult(2, (), 5, 0.05)
    outputs = ((f"{name}.spa.jsonl", "b" * 64), (f"{name}.tif", "a" * 64))
    return ImageResult(name, "done", (one, two), doubtful, "c" * 64, outputs)


def test_it_reads_as_it_was_written(tmp_path):
    manifest = Manifest(FACTS)
    manifest.add(result("ä/1.png"), {"device": "cpu"})
    manifest.add(ImageResult("2.png", "failed", problem="no."), {})
    manifest.write(tmp_path / "manifest.json")
    again = read_manifest(tmp_path / "manifest.json")
    assert again == manifest
    assert again.to_bytes() == manifest.to_bytes()
    assert again.entries["2.png"].environment == ""


def test_the_order_of_work_does_not_show():
    first, second = Manifest(FACTS), Manifest(dict(reversed(FACTS.items())))
    for name in ("a", "b", "c"):
        first.add(result(name), {"device": "cpu", "torch": "1"})
    for name in ("c", "a", "b"):
        second.add(result(name), {"torch": "1", "device": "cpu"})
    assert first.to_bytes() == second.to_bytes()


def test_only_environments_that_made_something_are_kept():
    manifest = Manifest(FACTS)
    manifest.add(result("a"), {"device": "cpu"})
    manifest.add(result("a"), {"device": "cuda"})
    content = json.loads(manifest.to_bytes())
    assert list(content["environments"].values()) == [{"device": "cuda"}]


def test_the_review_list_begins_with_the_most_doubtful():
    manifest = Manifest(FACTS)
    for one in [
        result("sure"),
        result("b", 0.4, doubtful=True),
        result("a", 0.4, doubtful=True),
        result("c", 0.9, doubtful=True),
        result("lost", 0.0, "it has no mask.", doubtful=True),
    ]:
        manifest.add(one, {})
    assert manifest.review() == ("lost", "c", "a", "b")


def test_no_manifest_is_none_and_a_newer_one_is_refused(tmp_path):
    assert read_manifest(tmp_path / "manifest.json") is None
    (tmp_path / "manifest.json").write_text('{"kind": "napari-spa batch", "version": 2}')
    with pytest.raises(DataError, match="newer"):
        read_manifest(tmp_path / "manifest.json")


def test_facts_name_model_and_profile_by_content(tmp_path):
    profile = tmp_path / "me.json"
    profile.write_text("{}")
    facts = recipe_facts(BatchRecipe(profile=profile, device="cpu"))
    assert facts["model"]["name"] == "spa-tiny"
    assert len(facts["model"]["sha256"]) == 64
    assert facts["profile"]["name"] == "me.json"
    assert facts["auto"] is None
    assert str(tmp_path) not in json.dumps(facts)
    assert what_differs(facts, recipe_facts(BatchRecipe(profile=profile, device="cuda"))) == ""
    other = recipe_facts(BatchRecipe(seed=1, doubtful=0.5))
    assert what_differs(facts, other) == "limit for review, profile and seed"


def test_facts_of_what_is_not_there_are_refused(tmp_path):
    with pytest.raises(ModelError):
        recipe_facts(BatchRecipe(model="none"))
    with pytest.raises(DataError, match="cannot read"):
        recipe_facts(BatchRecipe(profile=tmp_path / "none.json"))

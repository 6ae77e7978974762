"""Tests of ``napari-spa models`` in this process."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from weights_server import serving

from napari_spa.io.models import download, registry


@pytest.fixture(autouse=True)
def models_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAPARI_SPA_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def test_list_names_the_packaged_model_first(run) -> None:
    models = run("models", "list", "--json").json["models"]
    assert models[0]["name"] == "spa-tiny"
    assert models[0]["kind"] == "packaged"
    assert run("models", "list").out.splitlines()[1].startswith("spa-tiny")


def test_list_says_size_licence_and_what_is_here(run, models_folder: Path) -> None:
    models = {m["name"]: m for m in run("models", "list", "--json").json["models"]}
    mobile = models["mobile-sam"]
    assert (mobile["megabytes"], mobile["licence"], mobile["path"]) == (41, "Apache-2.0", None)
    assert mobile["digest"].startswith("sha256:")
    models_folder.mkdir()
    (models_folder / "mobile_sam.pt").write_bytes(b"1")
    lines = {line.split()[0]: line.split() for line in run("models", "list").out.splitlines()}
    assert lines["mobile-sam"][1:5] == ["yes", "41", "MB", "Apache-2.0"]
    assert lines["sam-vit-b"][1] == "no"


def test_download_from_a_mirror(run, refuses, models_folder: Path) -> None:
    with serving(b"not the weights") as server:
        sentence = refuses("models", "download", "mobile-sam", "--mirror", server.address, status=1)
        assert "not the published file of mobile-sam" in sentence
        server.status = 404
        sentence = refuses("models", "download", "mobile-sam", "--mirror", server.address, status=1)
        assert "HTTP 404" in sentence
    assert list(models_folder.iterdir()) == []
    assert "choose one of sam-vit-b" in refuses("models", "download", "sam")


def test_a_download_says_where_the_file_is(run, models_folder: Path, monkeypatch) -> None:
    content = b"weights" * 1000
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    known = (replace(registry.KNOWN[0], digest=digest),)
    for module in (registry, download):
        monkeypatch.setattr(module, "KNOWN", known)
    with serving(content) as server:
        said = run("models", "download", "sam-vit-b", "--mirror", server.address, "--json").json
    assert said["path"] == str(models_folder / "sam_vit_b_01ec64.pth")
    assert Path(said["path"]).read_bytes() == content
    assert said["path"] in run("models", "download", "sam-vit-b").out  # it is here already


def test_info_of_a_file(run, model_file: str) -> None:
    facts = run("models", "info", model_file, "--json").json
    assert facts["head"] == "both"
    assert facts["image_size"] == 32
    assert len(facts["sha256"]) == 64
    text = run("models", "info", model_file).out
    assert f"sha256: {facts['sha256']}" in text
    assert "card, data: none" in text
    assert "{" not in text  # a card within a card, say


def test_an_imported_model_can_be_asked_for_by_name(
    run, model_file: str, models_folder: Path
) -> None:
    said = run("models", "import", model_file, "--name", "mine", "--json").json
    assert said["name"] == "mine"
    assert Path(said["path"]).parent == models_folder
    assert run("models", "info", "mine", "--json").json["name"] == "mine"
    assert "mine" in run("models", "list").out


def test_wrong_calls_are_one_sentence(refuses, model_file: str, tmp_path: Path) -> None:
    assert "no model 'nothing'" in refuses("models", "info", "nothing")
    assert "ACTION" in refuses("models")
    assert "nothing to download" in refuses("models", "download", "spa-tiny")
    assert "packaged model" in refuses("models", "import", model_file, "--name", "spa-tiny")
    (tmp_path / "text.pth").write_text("no model")
    assert "no weights file" in refuses("models", "import", tmp_path / "text.pth")
    assert not (tmp_path / "models").exists()

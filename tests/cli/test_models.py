"""Tests of ``napari-spa models`` in this process."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def models_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAPARI_SPA_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def test_list_names_the_packaged_model_first(run) -> None:
    models = run("models", "list", "--json").json["models"]
    assert models[0]["name"] == "spa-tiny"
    assert models[0]["kind"] == "packaged"
    assert run("models", "list").out.splitlines()[1].startswith("spa-tiny")


def test_info_of_a_file(run, model_file: str) -> None:
    facts = run("models", "info", model_file, "--json").json
    assert facts["head"] == "both"
    assert facts["image_size"] == 32
    assert len(facts["sha256"]) == 64
    text = run("models", "info", model_file).out
    assert f"sha256: {facts['sha256']}" in text
    assert "card, data: none" in text


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
    assert "packaged model" in refuses("models", "import", model_file, "--name", "spa-tiny")
    (tmp_path / "text.pth").write_text("no model")
    assert "no weights file" in refuses("models", "import", tmp_path / "text.pth")
    assert not (tmp_path / "models").exists()

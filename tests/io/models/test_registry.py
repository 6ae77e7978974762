"""Unit: names of models, the folders they are looked for in, and copies into them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from napari_spa.errors import CheckpointError, InputError, ModelError
from napari_spa.io.models import registry
from napari_spa.io.models.registry import (
    KNOWN,
    copy_into_models,
    file_digest,
    find_model,
    list_models,
    models_folder,
)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "models"
    monkeypatch.setenv("NAPARI_SPA_MODELS", str(folder))
    return folder


@pytest.fixture
def weights(tmp_path) -> Path:
    path = tmp_path / "some.pth"
    path.write_bytes(b"weights")
    return path


def test_the_models_folder_is_the_users_unless_chosen(user_folders, tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("NAPARI_SPA_MODELS", raising=False)
    assert models_folder().is_relative_to(user_folders)
    assert models_folder().name == "models"
    monkeypatch.setenv("NAPARI_SPA_MODELS", str(tmp_path))
    assert models_folder() == tmp_path


def test_every_known_model_says_where_its_file_would_be_looked_for(folder) -> None:
    for known in KNOWN:
        with pytest.raises(ModelError) as caught:
            find_model(known.name)
        message = str(caught.value)
        for part in (known.name, known.files[0], str(folder), "napari-spa models download"):
            assert part in message


def test_known_digests_are_digests() -> None:
    digests = [known.sha256 for known in KNOWN if known.sha256]
    assert len(digests) == len(set(digests)) >= 3
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)


def test_known_files_are_found_under_the_publishers_name_and_ours(folder, weights) -> None:
    folder.mkdir()
    (folder / "vit_b_lm").write_bytes(b"1")
    assert find_model("vit-b-lm").path == folder / "vit_b_lm"
    (folder / "medsam.safetensors").write_bytes(b"2")
    assert find_model("medsam").path == folder / "medsam.safetensors"
    names = [entry.name for entry in list_models()]
    assert len(names) == len(set(names))
    assert "vit_b_lm" not in names


def test_unknown_names_list_what_there_is(folder, weights) -> None:
    copy_into_models(weights, "mine")
    with pytest.raises(ModelError, match=r"spa-tiny, sam-vit-b.*mine") as caught:
        find_model("spa-huge")
    assert "'spa-huge'" in str(caught.value)
    with pytest.raises(ModelError, match="spa-tiny"):
        find_model("")


@pytest.mark.parametrize("text", ["gone.pth", "folder/gone", "./gone"])
def test_what_looks_like_a_path_is_one(folder, text) -> None:
    assert find_model(text).path == Path(text)
    assert find_model(Path("gone")).path == Path("gone")


def test_names_win_over_files_of_the_working_folder(folder, weights, monkeypatch, tmp_path) -> None:
    copy_into_models(weights, "mine")
    monkeypatch.chdir(tmp_path)
    Path("mine").write_bytes(b"other")
    assert find_model("mine").path == folder / "mine.pth"
    assert find_model(Path("mine")).path == Path("mine")


def test_a_copy_is_whole_and_leaves_nothing_else(folder, weights) -> None:
    target = copy_into_models(weights, "my.model-2")
    assert target == folder / "my.model-2.pth"
    assert [path.name for path in folder.iterdir()] == ["my.model-2.pth"]
    assert copy_into_models(weights, "my.model-2") == target  # again: nothing to do
    assert find_model("my.model-2").path == target
    weights.write_bytes(b"others")
    with pytest.raises(InputError, match="is taken"):
        copy_into_models(weights, "my.model-2")
    assert target.read_bytes() == b"weights"


@pytest.mark.parametrize(
    "name", ["", ".hidden", "../up", "a/b", "a b", "x" * 200, "x.pth", "spa-tiny", "a\n"]
)
def test_names_that_cannot_be_used(folder, weights, name) -> None:
    with pytest.raises(InputError, match=r"name"):
        copy_into_models(weights, name)
    assert not folder.exists()


def test_a_published_name_needs_the_published_file(folder, weights) -> None:
    with pytest.raises(CheckpointError, match="not the published file of sam-vit-b"):
        copy_into_models(weights, "sam-vit-b")
    folder.mkdir()
    (folder / "sam_vit_b_01ec64.pth").write_bytes(b"weights")
    entry = find_model("sam-vit-b")
    with pytest.raises(CheckpointError, match="SHA-256"):
        registry.check_published(entry, file_digest(entry.path))
    registry.check_published(entry, entry.known.sha256)


def test_digests_follow_the_file(weights) -> None:
    assert file_digest(weights) == hashlib.sha256(b"weights").hexdigest()
    weights.write_bytes(b"other weights")
    assert file_digest(weights) == hashlib.sha256(b"other weights").hexdigest()
    with pytest.raises(CheckpointError, match="cannot read"):
        file_digest(weights.parent / "gone")

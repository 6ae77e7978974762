"""A folder is written whole or not at all, and what was there is not lost."""

import os
from pathlib import Path

import pytest

from napari_spa.errors import DataError
from napari_spa.io.files import atomic_folder


@pytest.fixture
def before(tmp_path: Path) -> Path:
    folder = tmp_path / "labels.zarr"
    folder.mkdir()
    (folder / "old").write_text("old")
    return folder


def test_a_folder_replaces_the_one_before(before: Path) -> None:
    with atomic_folder(before) as folder:
        (folder / "new").write_text("new")
    assert [path.name for path in before.iterdir()] == ["new"]
    assert list(before.parent.iterdir()) == [before]


def test_the_one_before_stays_when_writing_fails(before: Path) -> None:
    with pytest.raises(DataError, match="cannot write"), atomic_folder(before) as folder:
        (folder / "no folder" / "new").write_text("new")
    assert (before / "old").read_text() == "old"
    assert list(before.parent.iterdir()) == [before]


def test_the_one_before_is_put_back_when_the_new_cannot_take_its_place(
    before: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def fail_once(source: Path, target: Path) -> None:
        if Path(target) == before and Path(source).name == before.name:
            raise PermissionError(13, "Permission denied")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail_once)
    with pytest.raises(DataError, match="Permission denied"), atomic_folder(before) as folder:
        (folder / "new").write_text("new")
    assert (before / "old").read_text() == "old"
    assert list(before.parent.iterdir()) == [before]

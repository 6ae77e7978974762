"""Folders that were worked on lately."""

import pytest

from napari_spa.viewer.folder.items import (
    RecentFolder,
    place_in,
    recent_folders,
    recent_path,
    remember_folder,
)


def folder(tmp_path, out, **more):
    (tmp_path / out).mkdir(exist_ok=True)
    return RecentFolder(str(tmp_path / "images"), str(tmp_path / out), **more)


def test_the_latest_comes_first_once_and_old_ones_go(tmp_path):
    for number in range(12):
        remember_folder(folder(tmp_path, f"out{number}"))
    remember_folder(folder(tmp_path, "out7", name="a.tif", index=(3, 0, 0)))
    found = recent_folders()
    assert found[0] == folder(tmp_path, "out7", name="a.tif", index=(3, 0, 0))
    assert [entry.out for entry in found].count(str(tmp_path / "out7")) == 1
    assert len(found) == 8


def test_folders_that_are_gone_are_not_offered(tmp_path):
    remember_folder(folder(tmp_path, "out"))
    (tmp_path / "out").rmdir()
    assert recent_folders() == []


def test_a_place_is_found_by_its_output(tmp_path):
    remember_folder(folder(tmp_path, "out", name="b.png"))
    assert place_in(tmp_path / "out").name == "b.png"
    assert place_in(tmp_path / "other") is None


@pytest.mark.parametrize(
    "content", ["", "[]", '{"folders": 3}', '{"folders": [{"out": 1}]}', '{"folders": [[1]]}', "\0"]
)
def test_a_damaged_file_is_passed_over(tmp_path, content):
    recent_path().parent.mkdir(parents=True, exist_ok=True)
    recent_path().write_text(content)
    assert recent_folders() == []
    remember_folder(folder(tmp_path, "out"))
    assert len(recent_folders()) == 1

"""A folder is written whole or not at all, and what was there is not lost."""

import os
from pathlib import Path

import pytest

from napari_spa.errors import DataError
from napari_spa.io.files import _TEMPORARY, atomic_folder, atomic_path


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


def test_a_name_as_long_as_a_disk_takes_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / f"{'ä' * 125}a.tif"
    assert len(os.fsencode(path.name)) == 255
    with atomic_path(path) as temporary:
        assert _TEMPORARY.fullmatch(temporary.name)
        temporary.write_text("new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("path", [Path(), Path(Path.cwd().anchor)], ids=["here", "root"])
def test_a_folder_as_the_file_to_write_is_one_sentence(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="cannot write"), atomic_path(path, sync=False):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_a_replaced_file_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "me.json"
    path.write_text("old")
    path.chmod(mode)
    with atomic_path(path) as temporary:
        temporary.write_text("new")
    assert path.stat().st_mode & 0o777 == mode
    assert path.read_text() == "new"


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_a_new_file_has_the_users_mode(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        with atomic_path(tmp_path / "a") as temporary:
            temporary.write_text("new")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o664


def test_a_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("theirs")
    link = tmp_path / "link"
    try:
        link.symlink_to("other")
    except OSError:
        pytest.skip("this user may not make links")
    with atomic_path(link) as temporary:
        temporary.write_text("ours")
    assert not link.is_symlink()
    assert (tmp_path / "other").read_text() == "theirs"


def test_what_a_killed_process_left_goes_after_a_day_and_nothing_else(tmp_path: Path) -> None:
    day = 86_400
    names = {
        ".spa-labels.tif-abcdefgh.tif": 2 * day,
        ".spa-folder-abcdefgh": 2 * day,
        ".spa-young-abcdefgh.tif": 60,
        ".notes-abcdefgh.tif": 2 * day,
        ".spa-batch": 2 * day,
    }
    for name, age in names.items():
        path = tmp_path / name
        path.write_text("half") if "." in name[1:] else (path / "in").mkdir(parents=True)
        now = path.stat().st_mtime
        os.utime(path, (now - age, now - age))
    with atomic_path(tmp_path / "a") as temporary:
        temporary.write_text("new")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".notes-abcdefgh.tif", ".spa-batch", ".spa-young-abcdefgh.tif", "a"]


def test_a_source_that_cannot_be_read_is_named_and_not_the_target(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot use .*gone.bin"):  # noqa: SIM117
        with atomic_path(tmp_path / "out.bin") as temporary:
            temporary.write_bytes((tmp_path / "gone.bin").read_bytes())
    with pytest.raises(DataError, match=r"cannot write .*out.bin"):  # noqa: SIM117
        with atomic_path(tmp_path / "out.bin") as temporary:
            (temporary / "in a file").write_bytes(b"")
    assert list(tmp_path.iterdir()) == []

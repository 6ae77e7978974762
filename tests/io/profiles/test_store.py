"""Unit: the shelf of profiles: any name, any order of windows, damaged neighbours."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_spa.core.types import MixtureParameters
from napari_spa.errors import DataError, ProfileError
from napari_spa.io.models.registry import ModelIdentity
from napari_spa.io.profiles import PreferenceProfile, ProfileStore, file_stem, profiles_root

MODEL = ModelIdentity("spa-tiny", "ab" * 32, "both", "mixture", 3)
OTHER = replace(MODEL, name="medsam", sha256="cd" * 32)


def _taught(name: str = "Ana", picks: int = 5, **changes: object) -> PreferenceProfile:
    mixture = MixtureParameters(np.array([1.0]), np.array([[0.1, 0.2, 0.3, 0.4]]), np.ones((1, 4)))
    return replace(PreferenceProfile(MODEL, mixture, picks, 2, name=name), **changes)


@pytest.fixture
def profile_store(tmp_path: Path) -> ProfileStore:
    return ProfileStore(tmp_path / "profiles")


def test_the_persons_own_folder(user_folders: Path) -> None:
    assert user_folders in profiles_root().parents
    assert ProfileStore().list() == ()
    assert not profiles_root().exists()  # looking makes nothing


def test_new_list_rename_reset_delete(profile_store: ProfileStore) -> None:
    entry = profile_store.new("  Ana ", model=MODEL, task="optic cup")
    assert profile_store.list() == (entry,)
    assert (entry.name, entry.task, entry.picks, entry.problem) == ("Ana", "optic cup", 0, "")
    _taught(task="optic cup", picks=9).save(entry.path)
    renamed = profile_store.rename(entry.path, "Anna")
    assert (renamed.name, renamed.task, renamed.picks) == ("Anna", "optic cup", 9)
    (listed,) = profile_store.list()
    assert (listed.path, listed.name, listed.picks, listed.images) == (entry.path, "Anna", 9, 2)
    assert profile_store.rename(entry.path, "Anna", "disc").task == "disc"
    assert profile_store.rename(entry.path, "Anna", "disc").task == "disc"  # its own name
    twin = profile_store.new("Ben", model=MODEL, task="disc")
    with pytest.raises(ProfileError, match="choose another name"):
        profile_store.rename(twin.path, "Anna")
    assert PreferenceProfile.load(twin.path).name == "Ben"
    profile_store.delete(twin.path)
    before = profile_store.reset(entry.path)
    assert before.picks == 9
    (listed,) = profile_store.list()
    assert (listed.name, listed.task, listed.picks, listed.images) == ("Anna", "disc", 0, 0)
    profile_store.delete(entry.path)
    assert profile_store.list() == ()
    for act in (
        profile_store.delete,
        profile_store.reset,
        lambda path: profile_store.rename(path, "x"),
    ):
        with pytest.raises(ProfileError, match="is gone"):
            act(entry.path)


def test_what_was_reset_or_deleted_is_kept_aside(profile_store: ProfileStore) -> None:
    path = profile_store.add(_taught("Ana", 9))
    text = path.read_text()
    profile_store.reset(path)
    profile_store.reset(path)  # of what has learnt nothing, nothing is kept
    (kept,) = profile_store.removed.glob("*.json")
    assert kept.read_text() == text
    _taught("Ana", 2).save(path)
    profile_store.delete(path)
    assert profile_store.list() == ()
    held = [PreferenceProfile.load(file).picks for file in profile_store.removed.glob("*.json")]
    assert sorted(held) == [2, 9]


def test_what_cannot_be_kept_is_not_reset(profile_store: ProfileStore) -> None:
    path = profile_store.add(_taught())
    (profile_store.root / "removed").write_text("a file in the way")
    for act in (profile_store.reset, profile_store.delete):
        with pytest.raises(DataError):
            act(path)
    assert PreferenceProfile.load(path).picks == 5


def test_a_profile_needs_a_name(profile_store: ProfileStore) -> None:
    with pytest.raises(ProfileError, match="needs a name"):
        profile_store.new(" \t", model=MODEL)
    path = profile_store.add(_taught(""))
    assert path.stem == "profile"
    assert profile_store.list()[0].name == "profile"
    with pytest.raises(ProfileError, match="needs a name"):
        profile_store.rename(path, "")


def test_the_same_name_task_and_model_are_not_made_twice(profile_store: ProfileStore) -> None:
    profile_store.new("Ana", model=MODEL, task="cup")
    with pytest.raises(ProfileError, match="there is a profile 'Ana - cup' already"):
        profile_store.new("Ana ", model=MODEL, task=" cup")
    profile_store.new("Ana", model=MODEL, task="disc")
    profile_store.new("Ana", model=replace(MODEL, sha256="0" * 64), task="cup")
    assert len(profile_store.list()) == 3


def test_one_name_for_two_tasks_and_the_same_again(profile_store: ProfileStore) -> None:
    paths = [profile_store.add(_taught("Ana", task=task)) for task in ("cup", "disc", "cup", "")]
    assert [p.stem for p in paths] == ["Ana - cup", "Ana - disc", "Ana - cup (2)", "Ana"]
    assert [e.task for e in profile_store.list()] == ["", "cup", "cup", "disc"]
    assert profile_store.find("Ana") == paths[3]  # a file's name goes first
    profile_store.delete(paths[3])
    with pytest.raises(ProfileError, match="3 profiles are called 'Ana'; say 'Ana - cup' or"):
        profile_store.find("Ana")
    assert profile_store.find("ana - DISC") == paths[1]


@pytest.mark.parametrize(
    "name",
    [
        "田中さん", "Ångström", "A\u030angstro\u0308m", "ملف", "😀" * 90, "x" * 4000,
        "con", "NUL.txt", "lpt1",
        "../../etc/passwd", "C:\\temp", ".hidden", "ends with dots...", "a\nb\x00c",
        "?*|<>\"", "..",
        "  ", "\u202eevil", "CON ", "-o",
    ],
)  # fmt: skip
def test_any_name_becomes_a_file_of_this_folder(profile_store: ProfileStore, name: str) -> None:
    path = profile_store.add(_taught(name))
    assert path.parent == profile_store.root
    assert len(os.fsencode(path.name)) <= 110
    assert not path.name.startswith(".")
    assert not set(path.name) & set('<>:"/\\|?*\n\x00')
    assert path.stem == path.stem.rstrip(". ")
    (entry,) = profile_store.list()
    assert (entry.path, entry.problem) == (path, "")
    if name.strip():
        assert entry.name == name
        assert profile_store.find(name) == path
    assert PreferenceProfile.load(path).name == name


@pytest.mark.parametrize("name", ["con", "PRN", "aux.json", "Nul", "com1", "LPT9.tar.gz", "com²"])
def test_names_that_windows_keeps_for_devices(name: str) -> None:
    assert file_stem(name) == f"_{name}"


def test_names_that_differ_in_case_or_accents_get_two_files(profile_store: ProfileStore) -> None:
    stems = [profile_store.add(_taught(n)).stem for n in ("Ana", "ANA", "é", "e\u0301", "É")]
    assert len({stem.casefold() for stem in stems}) == 5
    assert profile_store.find("ANA").stem == "ANA (2)"  # exactly, before roughly


def test_damaged_files_are_listed_and_can_be_deleted(profile_store: ProfileStore) -> None:
    good = profile_store.add(_taught("Zoe"))
    newer = good.read_text().replace('"version": 6', '"version": 99')
    (profile_store.root / "newer.json").write_text(newer)
    (profile_store.root / "broken.json").write_bytes(good.read_bytes()[:100])
    (profile_store.root / "bytes.json").write_bytes(b"\xff\xfe")
    (profile_store.root / "folder.json").mkdir()
    (profile_store.root / "dangling.json").symlink_to("nowhere")
    (profile_store.root / "notes.txt").write_text("not a profile")
    (profile_store.root / ".half-abc.json").write_text("{")
    entries = {entry.name: entry for entry in profile_store.list()}
    assert set(entries) == {"Zoe", "newer", "broken", "bytes", "folder", "dangling"}
    assert entries["Zoe"].problem == ""
    assert "newer napari-spa" in entries["newer"].problem
    for name in ("newer", "broken", "bytes", "folder", "dangling"):
        problem = entries[name].problem
        assert problem.endswith(".")
        assert f"{name}.json" in problem
        assert "\n" not in problem
        assert entries[name].model is None
        assert not entries[name].fits(MODEL)
    profile_store.delete(entries["broken"].path)
    assert not entries["broken"].path.exists()
    with pytest.raises(DataError, match="cannot delete"):
        profile_store.delete(entries["folder"].path)


def test_a_damaged_file_is_never_changed(profile_store: ProfileStore) -> None:
    path = profile_store.add(_taught())
    path.write_text("{")
    for act in (profile_store.reset, lambda p: profile_store.rename(p, "x")):
        with pytest.raises(ProfileError, match="cannot use the profile"):
            act(path)
    assert path.read_text() == "{"


def test_whether_a_profile_fits_the_model_in_use(profile_store: ProfileStore) -> None:
    profile_store.add(_taught("Ana"))
    profile_store.add(_taught("Ben", model=OTHER))
    ana, ben = profile_store.list()
    copied = replace(MODEL, name="a copy")
    assert [ana.fits(MODEL), ana.fits(OTHER), ana.fits(copied)] == [True, False, True]
    assert [ben.fits(MODEL), ben.fits(OTHER)] == [False, True]


def test_a_folder_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    profile_store = ProfileStore(tmp_path / "file")
    with pytest.raises(DataError, match="cannot read"):
        profile_store.list()
    with pytest.raises(DataError, match="cannot write"):
        profile_store.add(_taught())


def test_nobody_is_found_in_one_sentence(profile_store: ProfileStore) -> None:
    with pytest.raises(ProfileError, match=r"no profile 'Ana'.*none yet\.$"):
        profile_store.find("Ana")
    profile_store.add(_taught("Ben"))
    with pytest.raises(ProfileError, match=r"there are: 'Ben'\.$"):
        profile_store.find("Ana")


CHILD = """
import sys
from dataclasses import replace
from pathlib import Path
from napari_spa.io.profiles import PreferenceProfile, ProfileStore, update_profile
shelf, path = ProfileStore(Path(sys.argv[1])), Path(sys.argv[2])
profile = PreferenceProfile.load(path)
for _ in range(15):
    update_profile(path, lambda now: replace(now, picks=now.picks + 1))
    shelf.add(profile)
"""


def test_two_processes_lose_nothing_of_each_other(profile_store: ProfileStore) -> None:
    path = profile_store.add(_taught(picks=0))
    command = [sys.executable, "-c", CHILD, str(profile_store.root), str(path)]
    children = [subprocess.Popen(command) for _ in range(2)]
    for _ in range(30):  # and a third one reads
        assert all(not entry.problem for entry in profile_store.list())
    assert [child.wait() for child in children] == [0, 0]
    assert PreferenceProfile.load(path).picks == 30
    entries = profile_store.list()
    assert len(entries) == 31
    assert not [p for p in profile_store.root.iterdir() if p.suffix not in (".json", ".lock")]


def test_a_profile_that_another_window_holds_is_not_waited_for_forever(
    profile_store: ProfileStore, monkeypatch
) -> None:
    from filelock import FileLock

    path = profile_store.add(_taught())
    monkeypatch.setattr("napari_spa.io.profiles._PATIENCE", 0.05)
    with FileLock(path.with_name(f".{path.name}.lock")), pytest.raises(DataError, match="in use"):
        profile_store.reset(path)
    assert profile_store.reset(path).picks == 5

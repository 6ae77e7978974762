"""Tests of folders of work in progress: one process each, found again when it is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from napari_spa.errors import DataError
from napari_spa.io.event_log import KEPT_DAYS, KEPT_TIMES, WorkFolder, left_behind, work_root

HOLDER = """
import sys
from pathlib import Path
from napari_spa.io.event_log import WorkFolder
folder = WorkFolder.create(Path(sys.argv[1]))
folder.log.write_text('{"kind": "session"}\\n')
print(folder.path, flush=True)
sys.stdin.readline()
"""


def abandoned(root: Path, *, age: float = 0.0) -> Path:
    """A folder with a log that no one holds, written to so many seconds ago."""
    folder = WorkFolder.create(root)
    folder.log.write_text("{}\n")
    folder.release()
    _grow_old(folder.log, age)
    return folder.path


def _grow_old(path: Path, age: float) -> None:
    then = time.time() - age
    os.utime(path, (then, then))


@pytest.fixture
def held_elsewhere(tmp_path: Path) -> Iterator[Callable[[], tuple[Path, subprocess.Popen[str]]]]:
    """``held_elsewhere()``: a folder that another living process holds, and that process."""
    running = []

    def hold() -> tuple[Path, subprocess.Popen[str]]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        assert process.stdout is not None
        return Path(process.stdout.readline().strip()), process

    yield hold
    for process in running:
        with process:
            process.kill()


def test_a_folder_is_made_under_the_root(tmp_path: Path) -> None:
    folder = WorkFolder.create(tmp_path / "deep" / "work")
    assert folder.path.is_dir()
    assert folder.path.parent == tmp_path / "deep" / "work"
    assert folder.log.parent == folder.profile.parent == folder.path
    assert folder.log != folder.profile
    assert WorkFolder.create(tmp_path / "deep" / "work").path != folder.path
    folder.delete()
    assert not folder.path.exists()


def test_the_root_is_in_the_persons_state_folder(user_folders: Path) -> None:
    assert work_root().is_relative_to(user_folders)


def test_a_held_folder_is_not_offered_and_a_released_one_is(tmp_path: Path) -> None:
    folder = WorkFolder.create(tmp_path)
    folder.log.write_text("{}\n")
    assert left_behind(tmp_path) == []
    with pytest.raises(DataError, match="in use by another window"):
        WorkFolder(folder.path)
    folder.release()
    assert left_behind(tmp_path) == [folder.path]
    again = WorkFolder(folder.path)
    assert left_behind(tmp_path) == []
    again.release()
    assert left_behind(tmp_path) == [folder.path], "looking at it leaves it as it was"


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 on this system")
def test_the_folder_of_a_killed_process_is_offered(tmp_path: Path, held_elsewhere) -> None:
    path, process = held_elsewhere()
    assert left_behind(tmp_path) == []
    with pytest.raises(DataError, match="in use"):
        WorkFolder(path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert left_behind(tmp_path) == [path]
    folder = WorkFolder(path)
    assert folder.log.read_text() == '{"kind": "session"}\n'
    folder.delete()
    assert left_behind(tmp_path) == []
    assert not path.exists()


def test_one_window_closes_and_another_stays(tmp_path: Path, held_elsewhere) -> None:
    path, _ = held_elsewhere()
    mine = abandoned(tmp_path)
    assert left_behind(tmp_path) == [mine]
    assert path.exists()


def test_a_folder_taken_in_one_thread_is_let_go_in_another(tmp_path: Path) -> None:
    path, taken = abandoned(tmp_path), []
    worker = threading.Thread(target=lambda: taken.append(WorkFolder(path)))
    worker.start()
    worker.join()
    assert left_behind(tmp_path) == []
    taken[0].release()
    assert left_behind(tmp_path) == [path]


def test_a_folder_that_no_one_refers_to_any_more_is_let_go_of(tmp_path: Path) -> None:
    path = abandoned(tmp_path)
    WorkFolder(path)  # as work that was read again, and dropped before it was shown
    assert left_behind(tmp_path) == [path]


def test_the_latest_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stamps = iter(["20260101-000000", "20260301-000000", "20260201-000000"])
    monkeypatch.setattr(time, "strftime", lambda _: next(stamps))
    paths = [abandoned(tmp_path) for _ in range(3)]
    assert left_behind(tmp_path) == [paths[1], paths[2], paths[0]]


def test_old_and_empty_folders_are_removed_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = abandoned(tmp_path, age=(KEPT_DAYS + 1) * 86_400)
    kept = abandoned(tmp_path, age=(KEPT_DAYS - 1) * 86_400)
    empty = WorkFolder.create(tmp_path)
    empty.release()
    _grow_old(empty.path, 3600)
    for day in range(KEPT_TIMES - 1):
        monkeypatch.setattr(time, "strftime", lambda _, day=day: f"2026-03-{day + 1:02}")
        assert set(left_behind(tmp_path)) == {kept, old}
        assert set(left_behind(tmp_path)) == {kept, old}, "twice on a day counts once"
        assert not empty.path.exists()
    monkeypatch.setattr(time, "strftime", lambda _: "2026-04-01")
    assert left_behind(tmp_path) == [kept]
    assert not old.exists()


@pytest.mark.parametrize("wrong", [61 * 86_400, 40 * 365 * 86_400])
def test_a_wrong_clock_deletes_nothing(tmp_path: Path, monkeypatch, wrong: int) -> None:
    """Neither one that is far ahead now, nor one that was in 1970 when the log was written."""
    path = abandoned(tmp_path)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + wrong)
    assert left_behind(tmp_path) == [path]
    monkeypatch.undo()
    os.utime(path / "work.spa.jsonl", (0, 0))
    assert left_behind(tmp_path) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX")
def test_work_in_progress_is_private(tmp_path: Path) -> None:
    path = abandoned(tmp_path / "root")
    assert path.stat().st_mode & 0o077 == 0


def test_a_folder_that_was_just_made_is_left_alone(tmp_path: Path) -> None:
    about_to_be_held = tmp_path / "20260101-000000-1-abc"
    about_to_be_held.mkdir()
    assert left_behind(tmp_path) == []
    assert about_to_be_held.exists()


def test_what_is_no_folder_and_no_root_is_nothing(tmp_path: Path) -> None:
    assert left_behind(tmp_path / "none") == []
    (tmp_path / "file.txt").write_text("")
    assert left_behind(tmp_path) == []
    assert (tmp_path / "file.txt").exists()


def test_a_root_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write") as caught:
        WorkFolder.create(tmp_path / "file")
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError):
        WorkFolder(tmp_path / "file" / "none")


def test_a_folder_that_may_not_be_written_is_passed_over(strict_folder: Path) -> None:
    path = abandoned(strict_folder)
    (path / "lock").unlink(missing_ok=True)
    path.chmod(0o500)
    assert left_behind(strict_folder) == []
    with pytest.raises(DataError, match="cannot write"):
        WorkFolder(path)

"""A job in a process of its own: its answers, its errors, and its end."""

import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest

from napari_spa.errors import Cancelled, DataError, InputError
from napari_spa.viewer.subprocess_job import run_apart


@pytest.fixture(autouse=True)
def jobs_can_be_found(monkeypatch):
    """The new process does not look into the current folder, where these jobs are."""
    places = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, places)))


def silent(share, message):
    pass


def test_values_progress_and_result_come_back(capfd):
    values, shares = [], []
    found = run_apart(
        counting, 3, on_value=values.append, progress=lambda share, _: shares.append(share)
    )
    assert found != os.getpid()
    assert values == [0, 1, 2]
    assert 1.0 in shares
    assert not Path(tempfile.gettempdir(), "left-behind").exists()


def test_what_goes_wrong_is_told():
    with pytest.raises(InputError, match="no such thing"):
        run_apart(failing, InputError("no such thing."), on_value=silent, progress=silent)
    with pytest.raises(DataError, match="ended"):
        run_apart(dying, on_value=silent, progress=silent)


@pytest.mark.parametrize("job", ["patient", "deaf"])
def test_a_job_ends_when_it_is_not_wanted(job, tmp_path):
    """One that listens ends by itself; one that does not is ended."""
    begun, ended = tmp_path / "begun", tmp_path / "ended"

    def progress(share, message):
        if begun.exists():
            raise Cancelled("stop.")

    with pytest.raises(Cancelled):
        run_apart(
            globals()[job], begun, ended, on_value=silent, progress=progress,
            patience=30.0 if job == "patient" else 0.5,
        )  # fmt: skip
    assert ended.exists() == (job == "patient")


def test_modules_of_the_current_folder_are_not_run(tmp_path, monkeypatch):
    for name in ("numpy", "pickle", "tempfile"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    assert run_apart(counting, 0, on_value=silent, progress=silent) != os.getpid()
    assert not (tmp_path / "ran").exists()


# ---------------------------------------------------------------------- jobs


def counting(count, on_value, progress):
    sys.stdout.write("no one's answer")
    Path(tempfile.gettempdir(), "left-behind").touch()
    for number in range(count):
        on_value(number)
    progress(1.0, "done")
    return os.getpid()


def failing(error, on_value, progress):
    raise error


def dying(on_value, progress):
    os.kill(os.getpid(), signal.SIGKILL)


def patient(begun, ended, on_value, progress):
    begun.touch()
    try:
        while True:
            progress(0.0, "")
            time.sleep(0.01)
    except Cancelled:
        ended.touch()
        raise


def deaf(begun, ended, on_value, progress):
    begun.touch()
    time.sleep(600)
    ended.touch()

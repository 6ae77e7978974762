"""A job in a process of its own: its answers, its errors, and its end."""

import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest

from napari_spa.errors import Cancelled, DataError, InputError
from napari_spa.io.models.registry import ModelIdentity
from napari_spa.io.profiles import PreferenceProfile
from napari_spa.viewer.folder.jobs import (
    BatchOptions,
    BatchRequest,
    plan_batch,
    run_in_subprocess,
)


@pytest.fixture(autouse=True)
def jobs_can_be_found(monkeypatch):
    """The new process does not look into the current folder, where these jobs are."""
    places = [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, places)))


def silent(share, message):
    pass


def test_values_progress_and_result_come_back(capfd):
    values, shares = [], []
    found = run_in_subprocess(
        counting, 3, on_value=values.append, progress=lambda share, _: shares.append(share)
    )
    assert found != os.getpid()
    assert values == [0, 1, 2]
    assert 1.0 in shares
    assert not Path(tempfile.gettempdir(), "left-behind").exists()


def test_what_goes_wrong_is_told():
    with pytest.raises(InputError, match="no such thing"):
        run_in_subprocess(failing, InputError("no such thing."), on_value=silent, progress=silent)
    with pytest.raises(DataError, match="ended"):
        run_in_subprocess(dying, on_value=silent, progress=silent)


class Choosy(Exception):
    """Cannot be made of its message alone, so it cannot be unpickled."""

    def __init__(self, place, reason):
        super().__init__(f"{reason} at {place}")


class Turncoat(Exception):
    """Comes back as something else."""

    def __reduce__(self):
        return str, ("nothing happened",)


class Breaks(Exception):
    """Breaks whoever reads it."""

    def __reduce__(self):
        return _divide, (1, 0)


class Local(Exception):
    """Cannot be pickled."""

    def __init__(self):
        super().__init__("not to be had")
        self.held = lambda: None


def _divide(a, b):
    return a / b


@pytest.mark.parametrize(
    ("name", "says"),
    [("Choosy", "Choosy: worn at page 3"), ("Turncoat", "Turncoat: gone"),
     ("Breaks", "Breaks: now"), ("Local", "Local: not to be had")],
)  # fmt: skip
@pytest.mark.timeout(60)
def test_any_exception_of_a_job_is_one_sentence(name, says):
    with pytest.raises(DataError, match=says):
        run_in_subprocess(failing_with, name, on_value=silent, progress=silent)


@pytest.mark.parametrize("value", ["result", "value"])
@pytest.mark.timeout(60)
def test_an_answer_that_cannot_be_read_is_one_sentence(value):
    with pytest.raises(DataError, match="ended"):
        run_in_subprocess(answering_badly, value, on_value=silent, progress=silent)


@pytest.mark.parametrize("how", ["exit", "abort", "kill", "kill with a child", "system exit"])
@pytest.mark.timeout(60)
def test_a_process_that_ends_in_whatever_way_is_one_sentence(how):
    with pytest.raises(DataError, match="ended"):
        run_in_subprocess(ending, how, on_value=silent, progress=silent)


def test_an_order_that_cannot_be_given_is_one_sentence():
    with pytest.raises(DataError, match="cannot be given"):
        run_in_subprocess(counting, lambda: 3, on_value=silent, progress=silent)


@pytest.mark.parametrize("job", ["patient", "busy", "ignoring", "deaf"])
def test_a_job_ends_when_it_is_not_wanted(job, tmp_path, capfd, request):
    """It is interrupted, whether it reports or not; one that cannot be is ended."""
    if job == "ignoring":  # as whatever a script starts in the background
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    begun, ended = tmp_path / "begun", tmp_path / "ended"

    def progress(share, message):
        if begun.exists():
            raise Cancelled("stop.")

    with pytest.raises(Cancelled):
        run_in_subprocess(
            globals()[job], begun, ended, on_value=silent, progress=progress,
            patience=0.5 if job == "deaf" else 30.0,
        )  # fmt: skip
    assert ended.exists() == (job != "deaf")
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.timeout(60)
def test_a_job_that_is_dropped_is_not_waited_for_long_nor_are_its_children(tmp_path):
    """A window that closes has no minute to give, whatever the patience of one who cancels."""
    begun, child = tmp_path / "begun", tmp_path / "child"

    def progress(share, message):
        if begun.exists():
            raise Cancelled("stop.")

    started = time.monotonic()
    with pytest.raises(Cancelled):
        run_in_subprocess(
            deaf_with_a_child,
            begun,
            child,
            on_value=silent,
            progress=progress,
            dropped=lambda: True,
        )
    assert time.monotonic() - started < 20  # and not a minute
    number = int(child.read_text())
    end = time.monotonic() + 10
    while _lives(number) and time.monotonic() < end:
        time.sleep(0.05)
    assert not _lives(number)


def _lives(number):
    try:
        return "Z" not in Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


class SlowToRead:
    """As a job whose libraries take long to import."""

    def __reduce__(self):
        return time.sleep, (20,)


def test_a_job_that_has_not_begun_is_not_waited_for(capfd):
    def progress(share, message):
        raise Cancelled("stop.")

    started = time.monotonic()
    with pytest.raises(Cancelled):
        run_in_subprocess(counting, SlowToRead(), on_value=silent, progress=progress)
    assert time.monotonic() - started < 15
    assert "Traceback" not in capfd.readouterr().err


def test_modules_of_the_current_folder_are_not_run(tmp_path, monkeypatch):
    for name in ("numpy", "pickle", "tempfile"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    assert run_in_subprocess(counting, 0, on_value=silent, progress=silent) != os.getpid()
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


def failing_with(name, on_value, progress):
    raise {
        "Choosy": lambda: Choosy("page 3", "worn"),
        "Turncoat": lambda: Turncoat("gone"),
        "Breaks": lambda: Breaks("now"),
        "Local": Local,
    }[name]()


class _Unreadable:
    def __reduce__(self):
        return _divide, (1, 0)


def answering_badly(what, on_value, progress):
    if what == "value":
        on_value(_Unreadable())
        return 1
    return _Unreadable()


def ending(how, on_value, progress):
    progress(0.5, "half")
    if how == "exit":
        os._exit(3)
    if how == "abort":
        os.abort()
    if how == "system exit":
        raise SystemExit(1)
    if how == "kill with a child" and os.fork() == 0:
        time.sleep(20)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


def dying(on_value, progress):
    os.kill(os.getpid(), signal.SIGKILL)


def patient(begun, ended, on_value, progress):
    begun.touch()
    try:
        while True:
            progress(0.0, "")
            time.sleep(0.01)
    except (KeyboardInterrupt, Cancelled):
        ended.touch()
        raise


def busy(begun, ended, on_value, progress):
    begun.touch()
    try:
        while True:
            sum(range(1000))
    except KeyboardInterrupt:
        ended.touch()
        raise


def ignoring(begun, ended, on_value, progress):
    busy(begun, ended, on_value, progress)


def deaf(begun, ended, on_value, progress):
    begun.touch()
    time.sleep(600)
    ended.touch()


def deaf_with_a_child(begun, child, on_value, progress):
    number = os.fork()
    if not number:
        time.sleep(600)
        os._exit(0)
    child.write_text(str(number))
    begun.touch()
    time.sleep(600)


def test_a_batch_does_not_make_a_project_that_was_taken_away(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"")
    out, options = tmp_path / "out", BatchOptions("auto", None, 0.5, 1)
    model = ModelIdentity("tiny", "0" * 64, "both", "mixture", 4)
    for profile in (None, PreferenceProfile.empty(model)):
        order = BatchRequest(
            tmp_path / "images", out, options, ("a.png",), (), "spa-tiny", "cpu", profile
        )
        with pytest.raises(DataError, match="was taken away; bring it back"):
            plan_batch(order)
        assert not out.exists()

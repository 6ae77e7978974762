"""Tests of the command line as a whole: help, wrong calls, exit status."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest
from tiny_model import make_model

from napari_spa import __version__, cli
from napari_spa.cli import main, models
from napari_spa.errors import DataError, ModelError
from napari_spa.io.profiles import PreferenceProfile

COMMANDS = [
    ["segment"],
    ["batch"],
    ["evaluate"],
    ["train"],
    ["models"],
    ["models", "list"],
    ["models", "info"],
    ["models", "import"],
    ["profile"],
    ["profile", "list"],
    ["profile", "show"],
    ["profile", "new"],
    ["profile", "rename"],
    ["profile", "reset"],
    ["profile", "merge"],
    ["profile", "diff"],
    ["demo"],
    ["replay"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_of_each_command_shows_an_example(command, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert f"Example:\n  napari-spa {' '.join(command)}" in text


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_example_is_a_call_that_parses(command, capsys) -> None:
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    example = capsys.readouterr().out.split("Example:\n")[1]
    if command not in (["batch"], ["evaluate"], ["models"]):  # need a folder; a group of actions
        assert cli._parser().parse_args(shlex.split(example)[1:]).run


def test_the_package_is_the_command() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "napari_spa", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.startswith("napari-spa ")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_a_closed_stream_is_no_failure(closed) -> None:
    call = f'"{sys.executable}" -m napari_spa profile list {closed}'
    answer = subprocess.run(["sh", "-c", call], capture_output=True, text=True, check=False)
    assert (answer.returncode, "Traceback" in answer.stderr) == (0, False)


def test_version(capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.strip() == f"napari-spa {__version__}"


def test_wrong_calls_are_one_sentence(refuses) -> None:
    assert "COMMAND" in refuses()
    assert "invalid choice: 'segmnet'" in refuses("segmnet")
    assert "--help" in refuses("segment", "--nothing")
    assert "not ROW,COL" in refuses("segment", "a.png", "--point", "3", "-o", "m.tif")
    assert "not a folder" in refuses("evaluate", "no-such-folder", "-o", "report")
    assert "'c.tif' is not a whole number" in refuses("segment", "-o", "b", "--pick", "1", "c.tif")
    sentence = refuses("models", "import", "a.pth", "mine")
    assert "unrecognized arguments: mine; see napari-spa models import --help" in sentence
    assert "above 0" in refuses("train", "a", "-o", "b", "--steps", "0")


def test_negative_coordinates_reach_the_command(image_file, model_file, refuses, tmp_path) -> None:
    sentence = refuses(
        "segment", image_file, "--model", model_file, "--point", "-5,3", "-o", tmp_path / "m.tif"
    )
    assert "(-5, 3) lies outside the image" in sentence


def as_in_a_class(error: BaseException) -> RuntimeError:
    """Return what Python 3.11 makes of an error that comes while a class is made."""
    made = RuntimeError("Error calling __set_name__ on 'cached_property'")
    made.__cause__ = error
    return made


def as_of_a_file(error: BaseException) -> ModelError:
    try:
        raise ModelError("the weights file is damaged.") from error
    except ModelError as made:
        return made


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DataError("the disk is full."), 1),
        (ModelError("unknown."), 2),
        (KeyboardInterrupt(), 130),
        (as_in_a_class(KeyboardInterrupt()), 130),
        (as_of_a_file(as_in_a_class(KeyboardInterrupt())), 130),
    ],
)
def test_exit_status(error, status, monkeypatch, refuses) -> None:
    def fail(options: object) -> int:
        raise error

    monkeypatch.setattr(models, "run_list", fail)
    refuses("models", "list", status=status)


def test_help_and_wrong_calls_import_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from napari_spa.cli import main\n"
        "main(['segment', 'a.png'])\n"
        "heavy = {'torch', 'sklearn', 'skimage', 'matplotlib', 'napari', 'qtpy', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_a_name_that_stdout_cannot_write_is_no_error(tmp_path: Path) -> None:
    PreferenceProfile.empty(make_model().identity).save(tmp_path / "φ.json")
    code = "import sys; from napari_spa.cli import main; sys.exit(main(sys.argv[1:]))"
    answer = subprocess.run(
        [sys.executable, "-c", code, "profile", "show", str(tmp_path / "φ.json")],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},  # as where Windows writes into a file
        check=True,
    )
    assert b"\\u03c6.json" in answer.stdout


def test_ctrl_c_in_a_callback_of_pythons_is_heard(monkeypatch, refuses) -> None:
    class Thing:
        pass

    def interrupted(_options):
        def callback(_):
            raise KeyboardInterrupt

        thing = Thing()
        watched = weakref.ref(thing, callback)
        del thing
        assert watched() is None
        time.sleep(5)
        return 0

    monkeypatch.setattr("napari_spa.cli.models.run_list", interrupted)
    assert "stopped." in refuses("models", "list", status=130)

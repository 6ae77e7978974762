"""What runs in processes that tests disturb: a batch, and the saving that annotating does.

They are forked from a server that has imported everything, so that a trial takes less than a
second and hits the work, not the imports.
"""

import contextlib
import itertools
import multiprocessing
import os
import shutil
import signal
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

import numpy as np
from unprivileged import obey_modes

CONTEXT = multiprocessing.get_context("forkserver") if os.name == "posix" else None
TEN_YEARS = 315_576_000


_IMPORTED = [
    "napari_spa.batch.runner", "napari_spa.batch.segment", "napari_spa.cli.batch",
    "napari_spa.io.models.load", "napari_spa.io.projects.project",
    "napari_spa.refine.session.session", "napari_spa.refine.engine.predictor", "sklearn.cluster",
    "tifffile", "imagecodecs",
]  # fmt: skip


def start(act, folder: Path, said: Path, *, most=None, back=None, strict=False):
    """Start ``act(folder)`` in a process of its own; what it says goes to a file.

    No file may grow beyond ``most`` bytes; the clock goes back by ten years when it was asked
    ``back`` times.
    """
    CONTEXT.set_forkserver_preload(["pytest", "disturbed", *_IMPORTED])
    process = CONTEXT.Process(target=_run, args=(act, folder, said, most, back, strict))
    process.start()
    return process


def _run(act, folder, said, most, back, strict):
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    # What was started in the background ignores Ctrl+C, and with it all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if most is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    if back is not None:
        _turn_back(back)
    if strict:
        obey_modes()
    try:
        status = act(folder)
    except BaseException:  # noqa: BLE001  pytest's own handlers must not see it
        traceback.print_exc()
        status = 99
    sys.stderr.flush()
    os._exit(status)


def _turn_back(after):
    real, count = time.time, itertools.count()
    time.time = lambda: real() - (TEN_YEARS if next(count) >= after else 0)


# ---------------------------------------------------------------------- what is disturbed


def batch(folder: Path) -> int:
    """Run a batch as the command line does."""
    from napari_spa.cli import main

    names = ["images", "out", "clicks.csv", "model.safetensors"]
    images, out, clicks, model = (str(folder / name) for name in names)
    command = ["batch", images, out, "--prompts", clicks, "--model", model, "--device", "cpu"]
    return main(command)


def annotate(folder: Path) -> int:
    """Save what the docks save: labels, log, profile and project; note what was promised."""
    from napari_spa.errors import SpaError, was_interrupted

    try:
        _annotate(folder)
    except SpaError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except (KeyboardInterrupt, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not was_interrupted(error):
            raise
        sys.stderr.write("stopped.\n")
        return 130
    return 0


def _annotate(folder: Path) -> None:
    from napari_spa.errors import DataError
    from napari_spa.io.event_log import RecordLog
    from napari_spa.io.images import open_image, write_labels
    from napari_spa.io.profiles import update_profile
    from napari_spa.io.projects.paths import labels_path, log_path, project_path
    from napari_spa.io.projects.project import Project

    out, said = folder / "out", []
    there = project_path(out).exists()
    project = Project.open(out) if there else Project.create(folder / "images", out)
    try:
        project.hold()
        for number, item in enumerate(project.items, 1):
            if item.status == "done":
                continue
            log = RecordLog(log_path(out, item.name), said.append, within=out)
            for act in range(3):
                log.append({"kind": "act", "number": act})
            log.close()
            labels = np.zeros((40, 50), np.uint16)
            labels[number : number + 9, 5:20] = number
            info = open_image(folder / "images" / item.name).info
            write_labels(labels_path(out, item.name), labels, info, highest=number, within=out)
            update_profile(folder / "profile.json", _one_more)
            project.update(item.name, status="done", objects=1)
            if said or project.unsaved:
                raise DataError((said or project.unsaved)[0])
            with (folder / "promised" / item.name).open("w"):
                pass  # from here on the user was told that it is saved
    finally:
        project.close()


def _one_more(profile):
    return replace(profile, objects=profile.objects + 1)


class TakenAway:
    """Move a folder away just before Python touches it for the ``count``-th time."""

    EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.listdir", "os.scandir", "os.chmod")

    def __init__(self, folder: Path) -> None:
        self.folder, self.away = folder, folder.with_name("away")
        self.left: int | None = None  # accesses until it goes; None while nothing is to happen
        sys.addaudithook(self._heard)

    def _heard(self, event, args):
        if self.left is None or event not in self.EVENTS or not isinstance(args[0], str | Path):
            return
        if not Path(args[0]).is_relative_to(self.folder):
            return
        self.left -= 1
        if self.left == 0:
            self.left = None
            self.folder.rename(self.away)


def annotate_taken_away(folder: Path) -> int:
    """Annotate again and again, the project's folder moved away an access later each time."""
    from napari_spa.errors import SpaError
    from napari_spa.io.projects.project import Project

    out, promised = folder / "out", folder / "promised"
    taken = TakenAway(out)
    for count in itertools.count(1):
        shutil.rmtree(out, ignore_errors=True)
        Project.create(folder / "images", out)
        for path in promised.iterdir():
            path.unlink()
        taken.left = count
        with contextlib.suppress(SpaError):
            _annotate(folder)
        if taken.left is not None:
            break
        assert not out.exists(), f"access {count}: it was made again"
        taken.away.rename(out)
        kept = {item.name for item in Project.open(out).items if item.status == "done"}
        lost = {path.name for path in promised.iterdir()} - kept
        assert not lost, f"access {count}: {lost} was promised"
    assert count > 20, "hardly anything was tried"
    return 0

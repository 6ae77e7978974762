"""A stand-in for the engine of a batch: what an image does is written in it.

``blob``            one object
``doubt``           one uncertain object
``slow SECONDS``    one object, after a while
``fail``            the image cannot be used
``bug``             a fault of ours
``full``            the disk is full
``die``             the process ends, as if killed
``die once PATH``   the process ends unless the file is there; it is made before
``touch PATH``      a user writes to the file meanwhile
"""

import hashlib
import json
import os
import signal
import time
from pathlib import Path

import numpy as np

from napari_spa.batch.plan import BatchPlan
from napari_spa.batch.task import (
    BatchRecipe,
    BatchTask,
    ImageResult,
    ObjectPrompt,
    ObjectResult,
    input_digest,
)
from napari_spa.batch.worker import Tools
from napari_spa.errors import DataError, InputError
from napari_spa.io.files import atomic_path
from napari_spa.io.models.registry import ModelIdentity, file_digest
from napari_spa.io.projects.paths import labels_path, log_path


class FakeEngine:
    device = "cpu"

    def __init__(self, recipe):
        self.identity = ModelIdentity(
            "fake", file_digest(Path(recipe.model), "sha256"), "both", "mixture", 4
        )
        folder = Path(recipe.model).parent / "loads"
        folder.mkdir(exist_ok=True)
        (folder / f"{os.getpid()}-{time.time_ns()}").touch()


def segment(task, recipe, engine, out):
    word, *rest = task.path.read_text().split()
    _ACTS.get(word, lambda *_: None)(task, rest)
    seen = input_digest(task)
    rng = np.random.default_rng([recipe.seed, int(seen[:8], 16)])
    outputs = []
    for path in (labels_path(out, task.name), log_path(out, task.name)):
        with atomic_path(path) as temporary:
            temporary.write_bytes(rng.bytes(20_000))
        name = path.relative_to(out).as_posix()
        outputs.append((name, hashlib.sha256(path.read_bytes()).hexdigest()))
    uncertainty = 0.5 if word == "doubt" else 0.1
    objects = (ObjectResult(1, (), 20, uncertainty),)
    return ImageResult(task.name, "done", objects, word == "doubt", seen, tuple(outputs))


def _fail(task, rest):
    raise InputError(f"{task.path} cannot be used.")


def _interrupt(*_):
    raise RuntimeError("Error calling __set_name__") from KeyboardInterrupt()


def _full(task, rest):
    raise DataError("cannot write OUT: No space left on device.") from OSError(28, "full")


def _die(task, rest):
    if rest:
        flag = Path(rest[1])
        if flag.exists():
            return
        flag.touch()
    os.kill(os.getpid(), signal.SIGKILL)


_ACTS = {
    "slow": lambda task, rest: time.sleep(float(rest[0])),
    "fail": _fail,
    "bug": lambda task, rest: 1 // 0,
    "full": _full,
    "interrupt": _interrupt,
    "die": _die,
    "touch": lambda task, rest: Path(rest[0]).write_bytes(b"by hand"),
}

TOOLS = Tools(segment=segment, make_engine=FakeEngine)


def make_folder(folder: Path, contents: dict[str, str], **recipe) -> BatchPlan:
    """Write images with these contents and a model beside them; plan to do them all."""
    source = folder / "in"
    source.mkdir(parents=True, exist_ok=True)
    (folder / "model.pt").write_bytes(b"weights")
    tasks = []
    for name, content in contents.items():
        path = source / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        tasks.append(BatchTask(name, path, (ObjectPrompt(1, ((2.0, 3.0),), (1,)),)))
    chosen = BatchRecipe(model=str(folder / "model.pt"), **recipe)
    return BatchPlan(source, folder / "out", chosen, tuple(tasks))


def snapshot(out: Path) -> dict[str, bytes]:
    """All files of a folder, hidden ones too."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def load_count(plan: BatchPlan) -> int:
    """How often an engine was made."""
    return len(list((Path(plan.recipe.model).parent / "loads").glob("*")))


def images_of(plan: BatchPlan) -> dict:
    """What the manifest says of the images."""
    return json.loads((plan.out / "manifest.json").read_text())["images"]

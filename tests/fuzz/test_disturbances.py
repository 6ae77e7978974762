"""Kill, stop, fill, forbid, remove, turn the clock back, work twice: same bytes or one sentence.

``pytest tests/fuzz/test_disturbances.py --fuzz 20 -s`` disturbs a batch, and the saving that
annotating does, twenty times in each way; a few times in CI.  ``benchmarks/batch_faults.py`` does
it to whole programs and to their workers.
"""

import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import disturbed
import imageio.v3 as iio
import numpy as np
import pytest
from tiny_model import make_model

from napari_spa.io.event_log import read_records
from napari_spa.io.images import read_label_stack
from napari_spa.io.models.formats import save_model
from napari_spa.io.profiles import PreferenceProfile
from napari_spa.io.projects.paths import is_project, labels_path, log_path
from napari_spa.io.projects.project import Project

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and modes are those of POSIX")
PATIENCE = 120
NAMES = ["a.png", "b.png", "c.png", "d.png"]
LOSES_ITSELF = {-signal.SIGKILL, -signal.SIGTERM}


class Trial:
    """A folder of images, and what an undisturbed run makes of it."""

    def __init__(self, act, root):
        self.act, self.root = act, root
        self.folder, self.status_message = root / "work", root / "said"
        self.prepare()
        self.run()
        begun = time.monotonic()
        self.prepare()
        self.run()  # the second, as the first one imports
        self.seconds = time.monotonic() - begun
        self.expected = snapshot(self.folder)

    def prepare(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "images").mkdir(parents=True)
        (self.folder / "promised").mkdir()
        rng = np.random.default_rng(0)
        for name in NAMES:
            pixels = rng.integers(0, 255, (40, 50)).astype(np.uint8)
            iio.imwrite(self.folder / "images" / name, pixels)
        rows = [f"{name},1,20,25" for name in NAMES]
        (self.folder / "clicks.csv").write_text("\n".join(["image,object,row,col", *rows]))
        model = make_model()
        save_model(model.spa, self.folder / "model.safetensors", {"data": "none"})
        PreferenceProfile.empty(model.identity, name="ana").save(self.folder / "profile.json")

    def start(self, **how):
        return disturbed.start(self.act, self.folder, self.status_message, **how)

    def end(self, process, allowed=(0,)):
        process.join(PATIENCE)
        assert process.exitcode in allowed, (
            process.exitcode,
            self.status_message.read_text()[-600:],
        )
        lines = [line for line in self.status_message.read_text().splitlines() if line.strip()]
        # A log that cannot go on and labels that cannot be written are said one by one.
        assert len(lines) <= (2 if self.act is disturbed.annotate else 1), lines
        assert lines or process.exitcode in {0, *LOSES_ITSELF}, "it failed without a word"
        return process.exitcode

    def run(self, **how):
        return self.end(self.start(**how))

    def check(self):
        """What was promised is there, now; and the rest is there after another run."""
        self.keeps_what_it_promised()
        self.run()
        found = snapshot(self.folder)
        if self.act is disturbed.annotate:
            # What was done twice is learnt and noted twice; nothing of it is lost.
            # What a killed process was just writing stays for a day, and stands for nothing;
            # nor was anything promised where it was killed just before it said so.
            self.keeps_what_it_promised()
            found = {n: c for n, c in found.items() if not Path(n).name.startswith(".spa-")}
            found |= {n: c for n, c in self.expected.items() if n.startswith("promised/")}
            project = Project.open(self.folder / "out")
            assert all(project.item(name).status == "done" for name in NAMES)
            for name in (*(f"out/{n}.spa.jsonl" for n in NAMES), "profile.json"):
                found[name] = self.expected[name]
        assert sorted(found) == sorted(self.expected)
        assert [n for n, content in found.items() if content != self.expected[n]] == []

    def keeps_what_it_promised(self):
        promised = sorted(path.name for path in (self.folder / "promised").iterdir())
        profile = PreferenceProfile.load(self.folder / "profile.json")
        assert profile.objects >= len(promised)
        if promised:
            out = self.folder / "out"
            project = Project.open(out)
            for name in promised:
                assert project.item(name).status == "done"
                labels = read_label_stack(labels_path(out, name), (40, 50))
                assert labels.max() == NAMES.index(name) + 1
                acts = [record["number"] for record in read_records(log_path(out, name))]
                assert acts[-3:] == [0, 1, 2]


def snapshot(folder):
    """Return all files of a folder but locks."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".lock")
    }


# ---------------------------------------------------------------------- the disturbances


def stopped_by(how, *statuses):
    def trial(trial, rng, number):
        process = trial.start()
        process.join(rng.uniform(0, trial.seconds))
        if process.is_alive():
            os.kill(process.pid, how)
        return trial.end(process, (0, *statuses))

    return trial


killed = stopped_by(signal.SIGKILL, -signal.SIGKILL)


def full(trial, rng, number):
    most = int((200, 1000, 3000, 8000)[number % 4] * rng.uniform(0.5, 1.5))
    return trial.end(trial.start(most=most), (0, 1))


def read_only(trial, rng, number):
    killed(trial, rng, number)
    (trial.folder / "out").mkdir(exist_ok=True)
    folders = [trial.folder, *(path for path in trial.folder.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    status = trial.end(trial.start(strict=True), (0, 1))
    for path in folders:
        path.chmod(0o755)
    return status


def vanished(trial, rng, number):
    process = trial.start()
    out, away = trial.folder / "out", trial.root / "away"
    process.join(rng.uniform(0, trial.seconds))
    # What is only just being made is made again; this trial would throw that away.
    moved = is_project(out)
    if moved:
        out.rename(away)
    status = trial.end(process, (0, 1))
    if moved:
        shutil.rmtree(out, ignore_errors=True)
        away.rename(out)
    return status


def clock_back(trial, rng, number):
    killed(trial, rng, number)
    then = (0, time.time() - disturbed.TEN_YEARS, time.time() + disturbed.TEN_YEARS)[number % 3]
    for path in (trial.folder / "out").rglob("*"):
        os.utime(path, (then, then))
    return trial.end(trial.start(back=int(rng.integers(0, 20))))


def twice(trial, rng, number):
    first = trial.start()
    first.join(rng.uniform(0, trial.seconds))
    said, trial.status_message = trial.status_message, trial.root / "said-too"
    second = trial.end(trial.start(), (0, 1))
    trial.status_message = said
    status = trial.end(first, (0, 1))
    assert 0 in (status, second)
    return status, second


DISTURBANCES = {
    "kill": killed,
    "terminate": stopped_by(signal.SIGTERM, -signal.SIGTERM),
    "interrupt": stopped_by(signal.SIGINT, 130),
    "full": full,
    "read-only": read_only,
    "vanished": vanished,
    "clock": clock_back,
    "twice": twice,
}


@pytest.fixture(scope="module", params=["batch", "annotate"])
def trial(request):
    with tempfile.TemporaryDirectory(prefix="napari-spa-") as name:
        yield Trial(getattr(disturbed, request.param), Path(name))


@pytest.mark.parametrize("how", DISTURBANCES)
def test_a_disturbed_run_leaves_whole_files_and_one_sentence(
    how, trial, fuzz_count, fuzz_seed, capsys
):
    count = min(fuzz_count, 20) if fuzz_count != 12 else 2
    ended, faults = Counter(), []
    for number in range(count):
        rng = np.random.default_rng([fuzz_seed, number])
        trial.prepare()
        try:
            ended[str(DISTURBANCES[how](trial, rng, number))] += 1
            trial.check()
        except AssertionError as error:
            faults.append(f"{number}: {error}")
    with capsys.disabled():
        sys.stdout.write(
            f"\n{trial.act.__name__}, {how}: seed {fuzz_seed}, {count} trials, "
            f"exit statuses {dict(ended)}, {len(faults)} failed\n"
        )
    assert not faults, faults[:3]


def test_a_project_taken_away_at_any_access_is_not_made_again(tmp_path):
    trial = Trial.__new__(Trial)
    trial.act, trial.folder = disturbed.annotate_taken_away, tmp_path / "work"
    trial.status_message = tmp_path / "said"
    trial.prepare()
    for name in NAMES[1:]:
        (trial.folder / "images" / name).unlink()
    process = trial.start()
    process.join(PATIENCE)
    assert process.exitcode == 0, trial.status_message.read_text()[-600:]

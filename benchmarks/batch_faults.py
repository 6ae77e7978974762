"""Disturb a batch at random moments, and start it again.

    python benchmarks/batch_faults.py                     # 20 of each, about two hours
    python benchmarks/batch_faults.py --only worker --times 3 --model tiny.safetensors

``batch``, ``worker`` and ``scheduler`` are killed with SIGKILL; ``terminate`` and ``interrupt``
send SIGTERM and Ctrl+C; ``full`` lets no file grow beyond some bytes, ``vanished`` moves the
output folder away, ``clock`` moves the times of what a killed batch left by ten years, and
``twice`` starts a second batch into the same folder.  The moment is drawn from the length of an
undisturbed run.  Then what remains comes to its end, in one sentence where it says anything; the
same command runs again, and every file of the output folder, hidden ones too, is compared with
those of the undisturbed run.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import tifffile
from skimage import data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAMS = Path(sys.executable).parent
PATIENCE = 600
ORPHANS_END = 60
"""Seconds in which the workers of a killed batch must have ended by themselves."""


class Trials:
    """The folder that all trials work on."""

    def __init__(self, folder: Path, images: int, model: str, seed: int) -> None:
        self.folder, self.model = folder, model
        self.rng = np.random.default_rng(seed)
        self._make_images(images)
        begun = time.monotonic()
        self.run("undisturbed", "--workers", "2")
        self.seconds = time.monotonic() - begun
        self.expected = snapshot(folder / "undisturbed")
        self.source = snapshot(folder / "images")

    def _make_images(self, count: int) -> None:
        (self.folder / "images").mkdir()
        picture = data.coins()
        with (self.folder / "clicks.csv").open("w", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(("image", "object", "row", "col"))
            for number in range(count):
                row, column = self.rng.integers(0, (picture.shape[0] - 96, picture.shape[1] - 96))
                name = f"{number}.tif"
                cut = picture[row : row + 96, column : column + 96]
                tifffile.imwrite(self.folder / "images" / name, cut)
                table.writerow((name, 1, 48, 48))

    def start(self, out: str, *options: str, **more: object) -> subprocess.Popen:
        """Start a batch into a folder."""
        images, clicks = self.folder / "images", self.folder / "clicks.csv"
        command = [PROGRAMS / "napari-spa", "batch", images, self.folder / out, "--prompts", clicks]
        command += ["--model", self.model, "--device", "cpu", *options]
        return subprocess.Popen(
            [str(part) for part in command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )

    def run(self, out: str, *options: str) -> None:
        """Run a batch to its end."""
        process = self.start(out, *options)
        said = process.communicate(timeout=PATIENCE)[1]
        if process.returncode:
            raise AssertionError(f"exit status {process.returncode}: {said.strip()}")

    def moment(self) -> float:
        """Return seconds after which to kill."""
        return float(self.rng.uniform(0, self.seconds))

    def check(self, out: str) -> None:
        """Compare with what an undisturbed run left."""
        found = snapshot(self.folder / out)
        if set(found) != set(self.expected):
            raise AssertionError(f"other files: {sorted(set(found) ^ set(self.expected))}")
        other = [name for name, content in found.items() if content != self.expected[name]]
        if other:
            raise AssertionError(f"other bytes: {other}")
        if snapshot(self.folder / "images") != self.source:
            raise AssertionError("the input folder changed")
        shutil.rmtree(self.folder / out)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def kill_batch(trials: Trials, number: int) -> str:
    """Kill the batch itself; half of the time it works alone, half with two processes."""
    workers = str(1 + number % 2)
    process = trials.start("out", "--workers", workers)
    try:
        process.wait(trials.moment())
        return "ended before"
    except subprocess.TimeoutExpired:
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        process.stderr.close()
    _, alive = psutil.wait_procs(children, timeout=ORPHANS_END)
    if alive:
        raise AssertionError(f"{len(alive)} processes outlived the batch")
    done = len(list((trials.folder / "out").glob("*.tif")))
    trials.run("out", "--workers", workers)
    return f"{workers} workers, {done} images were done"


def kill_worker(trials: Trials, number: int) -> str:
    """Kill one of two worker processes; the batch goes on and needs no second run."""
    process = trials.start("out", "--workers", "2")
    time.sleep(trials.moment())
    killed = "none was there yet"
    workers = [] if process.poll() is not None else _workers_of(process)
    if workers:
        with_it = workers[number % len(workers)]
        with_it.kill()
        killed = f"one of {len(workers)}"
    said = process.communicate(timeout=PATIENCE)[1]
    if process.returncode:
        raise AssertionError(f"exit status {process.returncode}: {said.strip()}")
    return killed


def _workers_of(process: subprocess.Popen) -> list[psutil.Process]:
    """Return the processes that dask spawned, without Python's own helpers."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def kill_scheduler(trials: Trials, number: int) -> str:
    """Kill the scheduler of a cluster; the batch says so, and goes on with a new one."""
    with cluster(trials.folder) as (scheduler, address):
        process = trials.start("out", "--scheduler", address)
        try:
            process.wait(trials.moment())
            how = "ended before"
        except subprocess.TimeoutExpired:
            scheduler.kill()
            said = process.communicate(timeout=PATIENCE)[1]
            how = said.strip().splitlines()[-1] if said.strip() else "nothing said"
            if process.returncode != 1 or "Traceback" in said or "scheduler" not in how:
                raise AssertionError(f"exit status {process.returncode}: {said.strip()}") from None
    with cluster(trials.folder) as (_, address):
        trials.run("out", "--scheduler", address)
    return how


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """Start a scheduler and two workers as an administrator would."""
    place = folder / "scheduler.json"
    place.unlink(missing_ok=True)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    file = ["--scheduler-file", str(place)]
    dask = str(PROGRAMS / "dask")
    scheduler = subprocess.Popen(
        [dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", *file], **quiet
    )
    options = ["--nworkers", "2", "--nthreads", "1", "--no-dashboard", "--death-timeout", "30"]
    workers = subprocess.Popen([dask, "worker", *file, *options], **quiet)
    try:
        yield scheduler, _address(place)
    finally:
        ending = [*psutil.Process(workers.pid).children(recursive=True)]
        for process in (workers, scheduler):
            process.send_signal(signal.SIGKILL)
            process.wait()
        for process in ending:
            if process.is_running():
                process.kill()


def _address(place: Path) -> str:
    import json

    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if place.exists() and (text := place.read_text()):
            return str(json.loads(text)["address"])
        time.sleep(0.1)
    raise AssertionError("the scheduler did not start")


def _signalled(how: int, status: tuple[int, ...]) -> Callable[[Trials, int], str]:
    """Return a trial that sends a signal to the batch, which ends with one of these."""

    def trial(trials: Trials, number: int) -> str:
        workers = str(1 + number % 2)
        process = trials.start("out", "--workers", workers)
        try:
            process.wait(trials.moment())
            process.stderr.close()
            return "ended before"
        except subprocess.TimeoutExpired:
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(how)
        said = process.communicate(timeout=PATIENCE)[1]
        _, alive = psutil.wait_procs(children, timeout=ORPHANS_END)
        if alive:
            raise AssertionError(f"{len(alive)} processes outlived the batch")
        _one_sentence(process.returncode, said, (0, *status))
        trials.run("out", "--workers", workers)
        return f"{workers} workers, exit status {process.returncode}"

    return trial


def _one_sentence(status: int, said: str, allowed: tuple[int, ...]) -> None:
    lines = [line for line in said.splitlines() if line.strip()]
    if status not in allowed or "Traceback" in said or len(lines) > 1:
        raise AssertionError(f"exit status {status}: {said.strip()[-500:]}")


def full_disk(trials: Trials, number: int) -> str:
    """Let no file of the batch grow beyond some bytes: less than a log, or less than labels."""
    most = (200, 1000, 3000, 8000)[number % 4]
    process = trials.start("out", preexec_fn=lambda: _limit_files(most))
    said = process.communicate(timeout=PATIENCE)[1]
    _one_sentence(process.returncode, said, (0, 1))
    trials.run("out")
    return f"{most} bytes, exit status {process.returncode}"


def _limit_files(most: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def vanished(trials: Trials, number: int) -> str:
    """Move the output folder away while the batch runs, and back before it runs again."""
    workers = str(1 + number % 2)
    process = trials.start("out", "--workers", workers)
    time.sleep(trials.moment())
    moved = False
    with suppress(OSError):
        (trials.folder / "out").rename(trials.folder / "away")
        moved = True
    said = process.communicate(timeout=PATIENCE)[1]
    _one_sentence(process.returncode, said, (0, 1))
    if moved:
        shutil.rmtree(trials.folder / "out", ignore_errors=True)
        (trials.folder / "away").rename(trials.folder / "out")
    trials.run("out", "--workers", workers)
    return f"{'moved' if moved else 'not there yet'}, exit status {process.returncode}"


def clock_back(trials: Trials, number: int) -> str:
    """Kill the batch, and let all that it left be from another time."""
    how = kill_only(trials, number)
    then = (0, time.time() - 315_576_000, time.time() + 315_576_000)[number % 3]
    for path in (trials.folder / "out").rglob("*"):
        os.utime(path, (then, then))
    trials.run("out")
    return how


def kill_only(trials: Trials, number: int) -> str:
    """Kill a batch, and leave it so."""
    process = trials.start("out")
    try:
        process.wait(trials.moment())
        how = "ended before"
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        how = "killed"
    process.stderr.close()
    return how


def twice(trials: Trials, number: int) -> str:
    """Start a second batch into the same folder while the first runs: it is told."""
    first = trials.start("out")
    time.sleep(trials.moment() * 0.8)
    second = trials.start("out")
    told = second.communicate(timeout=PATIENCE)[1]
    said = first.communicate(timeout=PATIENCE)[1]
    for process, text in ((first, said), (second, told)):
        _one_sentence(process.returncode, text, (0, 1))
    if first.returncode and second.returncode:
        raise AssertionError(f"neither worked: {said} {told}")
    return f"exit statuses {first.returncode} and {second.returncode}"


KILLS = {
    "batch": kill_batch,
    "worker": kill_worker,
    "scheduler": kill_scheduler,
    "terminate": _signalled(signal.SIGTERM, (-signal.SIGTERM, 143)),
    "interrupt": _signalled(signal.SIGINT, (130, -signal.SIGINT)),
    "full": full_disk,
    "vanished": vanished,
    "clock": clock_back,
    "twice": twice,
}


def main() -> None:
    """Run the trials and print how each went."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=tuple(KILLS))
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--model", default="spa-tiny")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        trials = Trials(Path(name), options.images, options.model, options.seed)
        print(f"undisturbed, two workers: {trials.seconds:.0f} s", flush=True)
        for what, kill in KILLS.items():
            if options.only not in (None, what):
                continue
            for number in range(options.times):
                begun = time.monotonic()
                try:
                    how = kill(trials, number)
                    trials.check("out")
                except AssertionError as error:
                    failed += 1
                    how = f"FAILED: {error}"
                    shutil.rmtree(trials.folder / "out", ignore_errors=True)
                print(f"{what} {number}: {how} ({time.monotonic() - begun:.0f} s)", flush=True)
    print(f"{failed or 'no'} trials failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()

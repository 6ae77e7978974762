"""A batch in worker processes against the engine in a plain loop: throughput and memory.

    python benchmarks/batch.py                        # 1,000 images, about half an hour
    python benchmarks/batch.py --images 100 --loop 20
    python benchmarks/batch.py --only share           # what of an image is not the network
    python benchmarks/batch.py --only scale           # what 100 workers would do in an hour

Procedural images of 512 px, one click each.  As many plain loops as there are workers run
side by side before the batch and after it, each in one thread, so that both sides share the
machine in the same way; a loop opens an image, asks the engine for a mask and writes it.
Seconds of a core (user and system) are given next to those of the clock: they do not count
what other programs took.  The batch's own include the start of its processes.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import tifffile

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_spa.batch.worker import Assignment, Finished

SIDE = 512
SCENES = 50
"""Different scenes; each image is one of them, shifted and in its own brightness."""
BAR = 0.9
_SHARED, _SCALE = 24, 16


def make_images(folder: Path, count: int) -> None:
    """Write images and the table of clicks."""
    from napari_spa.core.types import LocalMask
    from napari_spa.refine.session.prompt_validation import interior_click
    from napari_spa.train.synthetic import generate

    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    scenes = [generate(rng, size=SIDE) for _ in range(min(SCENES, count))]
    with (folder / "clicks.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(("image", "object", "row", "col"))
        for number in range(count):
            scene = scenes[number % len(scenes)]
            shift = rng.integers(0, SIDE // 4, 2)
            image = np.roll(scene.image, shift, (0, 1)) * rng.uniform(0.8, 1.0)
            mask = np.roll(scene.masks[0], shift, (0, 1))
            click = interior_click(LocalMask.crop(mask))
            name = f"{number:04d}.tif"
            tifffile.imwrite(folder / "images" / name, (255 * image).astype(np.uint8))
            table.writerow((name, 1, click.row, click.column))


def plain_loop(folder: Path, start: int, stop: int) -> None:
    """Segment some of the images as a script would, and print what it took."""
    import torch

    import napari_spa

    torch.set_num_threads(1)
    with (folder / "clicks.csv").open() as stream:
        clicks = list(csv.DictReader(stream))[start:stop]
    session = napari_spa.RefinementSession(napari_spa.load_model("spa-tiny", device="cpu"))
    with tempfile.TemporaryDirectory(dir=folder) as out:
        begun, used = time.perf_counter(), time.process_time()
        for click in clicks:
            session.set_image(tifffile.imread(folder / "images" / click["image"]))
            proposal = session.start(points=[(float(click["row"]), float(click["col"]))])
            labels = proposal.mask.astype(np.uint16)
            tifffile.imwrite(Path(out) / click["image"], labels, compression="zlib")
        taken = time.perf_counter() - begun, time.process_time() - used
    print(json.dumps(taken))


def network_share(folder: Path) -> None:
    """Print how much of a core an image takes in the network, and how much elsewhere."""
    import torch

    from napari_spa.batch.engine import BatchEngine
    from napari_spa.batch.plan import make_plan
    from napari_spa.batch.segment import segment_image
    from napari_spa.batch.task import BatchRecipe

    torch.set_num_threads(1)
    recipe = BatchRecipe(device="cpu")
    plan = make_plan(folder / "images", folder / "out", recipe, folder / "clicks.csv")
    engine = BatchEngine(recipe)
    inside = 0.0

    def timed(call: Callable[..., object]) -> Callable[..., object]:
        def measured(*arguments: object, **options: object) -> object:
            nonlocal inside
            begun = time.thread_time()
            try:
                return call(*arguments, **options)
            finally:
                inside += time.thread_time() - begun

        return measured

    spa = engine.model.spa
    for name in ("encode", "embed_prompts", "decode"):
        setattr(spa, name, timed(getattr(spa, name)))
    with tempfile.TemporaryDirectory(dir=folder) as out:
        segment_image(plan.tasks[0], recipe, engine, Path(out))  # everything was called once
        inside, begun = 0.0, time.thread_time()
        for task in plan.tasks[1:]:
            segment_image(task, recipe, engine, Path(out))
        core = time.thread_time() - begun
    each = 1000 / len(plan.tasks[1:])
    print(f"of {core * each:.0f} ms of a core an image, {inside * each:.0f} are in the network")


def plain_loops(folder: Path, at_once: int, each: int) -> tuple[float, float]:
    """Run loops side by side; return the seconds of the clock and of a core for one image."""
    command = [sys.executable, __file__, "--plain", str(folder)]
    loops = [
        subprocess.Popen(
            [*command, str(number * each), str((number + 1) * each)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(at_once)
    ]
    taken = [json.loads(loop.communicate()[0]) for loop in loops]
    clock, core = np.mean(taken, axis=0) / each
    return float(clock), float(core)


class Watched:
    """Memory and time of a process and its children, read every second."""

    def __init__(self, process: subprocess.Popen) -> None:
        self.memory: list[tuple[float, float]] = []
        self.core: dict[int, float] = {}
        self._root = psutil.Process(process.pid)
        self._begun, self._process = time.perf_counter(), process
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def in_workers(self) -> float:
        """Seconds of a core of its children."""
        return sum(core for pid, core in self.core.items() if pid != self._process.pid)

    def end(self) -> None:
        """Wait for the process."""
        self._process.wait()
        self._thread.join()

    def _watch(self) -> None:
        while self._process.poll() is None:
            total = 0
            try:
                for each in (self._root, *self._root.children(recursive=True)):
                    total += each.memory_info().rss
                    times = each.cpu_times()
                    self.core[each.pid] = times.user + times.system
            except psutil.NoSuchProcess:
                continue
            self.memory.append((time.perf_counter() - self._begun, total / 2**20))
            time.sleep(1)


def batch(folder: Path, workers: int) -> tuple[float, float, Watched]:
    """Run the batch; return the seconds of the clock and of a core, and what was seen."""
    out = folder / f"out-{workers}"
    program = Path(sys.executable).with_name("napari-spa")
    command = [str(program), "batch", str(folder / "images"), str(out)]
    command += ["--prompts", str(folder / "clicks.csv"), "--workers", str(workers), "--json"]
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    watched = Watched(process)
    said = json.loads(process.stdout.read())
    watched.end()
    clock = time.perf_counter() - begun
    if said["failed"]:
        raise SystemExit(f"{len(said['failed'])} images failed: {said['failed'][:3]}")
    return clock, sum(watched.core.values()), watched


def failing_at_once(job: object, assignment: Assignment) -> Finished:
    """Stand in for the work on an image, in a worker."""
    from napari_spa.batch.task import ImageResult
    from napari_spa.batch.worker import Finished

    return Finished(ImageResult(assignment.task.name, "failed", problem="left out"))


def give_out(folder: Path, images: int, workers: int) -> float:
    """Return the seconds of a core that a batch takes beside what its workers do."""
    from napari_spa.batch import executors
    from napari_spa.batch.plan import make_plan
    from napari_spa.batch.runner import run_batch
    from napari_spa.batch.task import BatchRecipe

    (folder / "images").mkdir(parents=True)
    lines = ["image,object,row,col"]
    for number in range(images):
        tifffile.imwrite(folder / "images" / f"{number:05}.tif", np.zeros((16, 16), np.uint8))
        lines.append(f"{number:05}.tif,1,8,8")
    (folder / "clicks.csv").write_text("\n".join(lines))
    executors.process = failing_at_once
    begun = time.process_time()
    recipe = BatchRecipe(device="cpu")
    plan = make_plan(folder / "images", folder / "out", recipe, folder / "clicks.csv")
    run_batch(plan, workers=workers)
    return time.process_time() - begun


def scale(folder: Path, workers: int, at_scale: int = 100) -> None:
    """Print from measured parts what many workers would do in an hour, and where they stop.

    A worker's part is the difference of two batches, one three times as large, so that it is
    free of what starting costs; the part of the process that holds plan, scheduler and manifest
    is the difference of two batches whose workers answer at once.
    """
    cores = []
    for number, images in enumerate((_SCALE, 3 * _SCALE)):
        part = folder / str(number)
        part.mkdir()
        make_images(part, images)
        cores.append(batch(part, workers)[2].in_workers)
    worked = (cores[1] - cores[0]) / (2 * _SCALE)
    few, many = 200, 1000
    start = give_out(folder / "few", few, workers)
    given_out = (give_out(folder / "many", many, workers) - start) / (many - few)
    read, written = (
        sum(path.stat().st_size for path in one.rglob("*") if path.is_file()) / (3 * _SCALE)
        for one in (part / "images", part / f"out-{workers}")
    )
    most = worked / given_out
    rate = min(at_scale, most) / worked
    print(
        f"a worker: {1000 * worked:.0f} ms of a core an image\n"
        f"plan, scheduler and manifest: {1000 * given_out:.1f} ms of a core an image (bar 5), "
        f"{start - few * given_out:.1f} s to start\n"
        f"{at_scale} workers in an hour: {3600 * rate:,.0f} images of {SIDE} px, "
        f"{rate * read / 1e6:.1f} MB/s read, {rate * written / 1e6:.1f} MB/s written\n"
        f"giving out takes a whole core at {most:.0f} workers; more would wait for it"
    )


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", choices=["share", "scale"])
    parser.add_argument("--loop", type=int, default=75, help="images of each plain loop")
    parser.add_argument("--plain", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        plain_loop(Path(options.plain[0]), int(options.plain[1]), int(options.plain[2]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.only == "share":
            make_images(folder, _SHARED)
            network_share(folder)
            return
        if options.only == "scale":
            scale(folder, options.workers)
            return
        make_images(folder, options.images)
        report(folder, options.images, options.workers, options.loop)


def report(folder: Path, images: int, workers: int, each: int) -> None:
    """Measure both and print them."""
    each = min(each, images // workers)
    loops = [plain_loops(folder, workers, each)]
    print(f"{workers} plain loops before: {1000 * loops[0][0]:.0f} ms an image", flush=True)
    clock, core, watched = batch(folder, workers)
    loops.append(plain_loops(folder, workers, each))
    plain_clock, plain_core = (statistics.mean(one) for one in zip(*loops, strict=True))
    print(
        f"{workers} plain loops side by side, before and after: "
        f"{', '.join(f'{1000 * one:.0f}' for one, _ in loops)} ms an image in each, "
        f"{1000 * plain_core:.0f} ms of a core"
    )
    print(
        f"batch of {images} images, {workers} workers: {clock:.0f} s, "
        f"{1000 * clock * workers / images:.0f} ms an image in each, "
        f"{1000 * core / images:.0f} ms of a core"
    )
    ratio = plain_clock * images / (clock * workers)
    print(
        f"throughput per core, batch over plain loop: {ratio:.2f} by the clock, "
        f"{plain_core * images / core:.2f} by seconds of a core (bar: {BAR})"
    )
    memory = np.array(watched.memory)
    for share in (0.25, 0.5, 0.75, 1.0):
        near = memory[np.abs(memory[:, 0] - share * clock) < 0.05 * clock, 1]
        print(f"memory of all processes at {share:.0%}: {np.median(near):.0f} MiB")


if __name__ == "__main__":
    main()

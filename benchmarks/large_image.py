"""From a click to a mask in a 20,000 x 20,000 dask image with a pyramid, and the memory it takes.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/large_image.py

The image is made chunk by chunk when it is read, in about the time that reading a compressed
chunk takes: noisy ground with bright discs of 40 to 400 pixels.  The mask layer is in the
viewer, so what napari needs for it counts.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/large_image.py --plain

What the window's own thread computes for each act on a plain array of 8192 x 8192 pixels, until
nothing is left to do.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# The work of the benchmark is no one's work: keep it out of the user's folders.
for _name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
    os.environ[_name] = tempfile.mkdtemp(prefix="napari-spa-benchmark-")

import dask.array as da
import napari
import numpy as np
import psutil
from qtpy.QtCore import QEventLoop, QTimer

SIDE, CHUNK, LEVELS, CELL = 20_000, 1000, 6, 800
BAR_SECONDS = 2.0
GROUND = np.random.default_rng(0).normal(70, 12, (CHUNK, CHUNK)).clip(0, 160).astype(np.uint8)


def disc(row: int, column: int) -> tuple[float, float, float]:
    """Return centre and radius of the disc in one cell of a grid."""
    rng = np.random.default_rng([row, column])
    centre = (np.array([row, column]) + rng.uniform(0.4, 0.6, 2)) * CELL
    return float(centre[0]), float(centre[1]), float(rng.uniform(20, 200))


def make_chunk(step: int, block_info: dict | None = None) -> np.ndarray:
    """Make one chunk of a level whose pixels are ``step`` apart."""
    (r0, r1), (c0, c1) = block_info[None]["array-location"]
    chunk = GROUND[: r1 - r0, : c1 - c0].copy()
    first, last = (int(v * step // CELL) for v in (r0, r1 - 1))
    left, right = (int(v * step // CELL) for v in (c0, c1 - 1))
    for i in range(first, last + 1):
        for j in range(left, right + 1):
            row, column, radius = disc(i, j)
            top, low = (int(np.clip((row + d) / step - r0, 0, r1 - r0)) for d in (-radius, radius))
            near, far = (
                int(np.clip((column + d) / step - c0, 0, c1 - c0)) for d in (-radius, radius)
            )
            rows = (np.arange(top, low) + r0 + 0.5) * step - row
            columns = (np.arange(near, far) + c0 + 0.5) * step - column
            inside = np.hypot(rows[:, None], columns) < radius
            chunk[top:low, near:far][inside] += 90
    return chunk


def pyramid() -> list[da.Array]:
    """Return the levels, full resolution first."""
    levels = []
    for level in range(LEVELS):
        step, side = 2**level, SIDE // 2**level
        blocks = tuple(min(CHUNK, side - at) for at in range(0, side, CHUNK))
        levels.append(da.map_blocks(make_chunk, step, chunks=(blocks, blocks), dtype=np.uint8))
    return levels


def live(seconds: float) -> None:
    """Let the window live for a while, as it does on its own: asleep between events."""
    loop = QEventLoop()
    QTimer.singleShot(max(1, round(1000 * seconds)), loop.quit)
    loop.exec()


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=30)
    parser.add_argument("--plain", action="store_true", help="acts on one array of 8192 x 8192")
    options = parser.parse_args()
    if options.plain:
        time_acts()
        return
    process = psutil.Process()
    viewer = napari.Viewer()
    viewer.window.resize(1000, 700)
    image = viewer.add_image(pyramid(), multiscale=True, name="slide", contrast_limits=(0, 255))
    _, dock = viewer.window.add_plugin_dock_widget("napari-spa", "SPA Refine")
    live(3)
    rng = np.random.default_rng(0)
    seconds, whole, memory, dices = [], [], [], []
    for number in range(options.objects):
        row, column, radius = disc(*(int(v) for v in rng.integers(1, SIDE // CELL - 1, 2)))
        viewer.scene.camera.center = (0, row, column)
        live(0.3)
        begun = time.perf_counter()
        dock.prompt_controller.click(tuple(image.data_to_world((row, column))))
        while not dock.controller.choosing:  # until the mask is in the viewer
            live(0.002)
            if time.perf_counter() - begun > 120:
                raise TimeoutError("the dock did not answer")
        seconds.append(time.perf_counter() - begun)
        while dock.controller.busy:
            live(0.002)
        whole.append(time.perf_counter() - begun)
        mask = dock.controller.active.shown.mask
        rows, columns = np.indices(mask.pixels.shape)
        inside = (
            np.hypot(
                rows + mask.region.row + 0.5 - row, columns + mask.region.column + 0.5 - column
            )
            < radius
        )
        dices.append(2 * (mask.pixels & inside).sum() / (mask.area + np.pi * radius**2))
        dock.controller.accept()
        if dock.controller.active is not None:
            dock.controller.discard()
        live(0.1)
        memory.append(process.memory_info().rss / 2**20)
        if number == 0:
            print(f"first click, model loading included: {seconds[0]:.2f} s", flush=True)
    later = np.array(seconds[1:])
    verdict = "ok" if later.max() < BAR_SECONDS else "OVER"
    print(
        f"click to mask, {len(later)} clicks: median {np.median(later):.2f} s, "
        f"worst {later.max():.2f} s   bar {BAR_SECONDS} s   {verdict}"
    )
    print(f"until the differences are there too: median {np.median(whole[1:]):.2f} s")
    print(f"Dice with the discs: median {np.median(dices):.3f}, worst {min(dices):.3f}")
    half = len(memory) // 2
    print(
        f"memory: {memory[0]:.0f} MB after the first object, {memory[half]:.0f} after "
        f"{half + 1}, {memory[-1]:.0f} after {len(memory)}"
    )
    viewer.close()


def time_acts(side: int = 8192, repeats: int = 3) -> None:
    """Print the seconds of processor time of the window's thread for each act on a plain array."""
    viewer = napari.Viewer()
    viewer.window.resize(1000, 700)
    block = make_chunk(1, {None: {"array-location": [(0, CHUNK), (0, CHUNK)]}})
    count = -(-side // CHUNK)
    image = viewer.add_image(np.tile(block, (count, count))[:side, :side], name="plain")
    _, dock = viewer.window.add_plugin_dock_widget("napari-spa", "SPA Refine")
    controller, click = dock.controller, dock.prompt_controller.click
    viewer.scene.camera.zoom = 3.0
    live(3)

    def done() -> None:
        while controller.busy:
            live(0.01)
        live(1.5)  # longer than it takes until what was painted is counted

    def paint() -> None:
        number = max(controller.current.annotation.objects)
        controller.current.mask.layer.paint(tuple(int(v) for v in np.add(place, 70)), number)

    seconds: dict[str, list[float]] = {}
    row, column, _radius = disc(0, 0)
    for repeat in range(repeats + 1):
        place = np.add((row, column), CHUNK * (2 * repeat))
        viewer.scene.camera.center = (0, *place)
        live(0.5)
        for name, act in (
            ("a click", lambda p=place: click(tuple(image.data_to_world(p)))),
            ("accept", controller.accept),
            ("undo it", controller.undo_requested.emit),
            ("accept again", controller.accept),
            ("a stroke", paint),
            ("undo the stroke", controller.undo_requested.emit),
            ("zoom", lambda: setattr(viewer.scene.camera, "zoom", 1.0)),
            ("zoom back", lambda: setattr(viewer.scene.camera, "zoom", 3.0)),
        ):
            begun = time.thread_time()
            act()
            done()
            seconds.setdefault(name, []).append(time.thread_time() - begun)
    for name, all_of in seconds.items():
        later = " ".join(f"{each:.2f}" for each in all_of[1:])
        print(f"{name:<18}{later} s of the window's thread (the first: {all_of[0]:.2f})")
    viewer.close()


if __name__ == "__main__":
    main()

"""How long the window stands still while the dock works; how much memory a session takes.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/gui_thread.py

A timer of 5 ms runs in the GUI thread; by how much a tick is late is how long the window
could not answer, and beside it stands how long its thread computed meanwhile, which other work
on the machine changes less.  Software rendering counts too: the line "drawing alone" is what a
change of the view costs on this machine without the plugin doing anything.

Opening the dock is measured in processes of its own, beside what napari alone takes for the
first Labels, Points and Shapes layer of a window: the first time on a machine, when the graphics
driver compiles napari's programs for its cache, and later.  Those processes import nothing of
the plugin, nor what it needs, before a user's would.
"""

from __future__ import annotations

import argparse
import compileall
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

# Threads that spin while they wait slow everything else on the machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# The work of the benchmark is no one's work: keep it out of the user's folders.
_HOME = tempfile.mkdtemp(prefix="napari-spa-benchmark-")
for _name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
    os.environ[_name] = _HOME
_DRIVER = "MESA_SHADER_CACHE_DIR"
os.environ.setdefault(_DRIVER, str(Path(_HOME, "driver")))

import napari
import numpy as np
import psutil
from napari.qt import get_qapp
from qtpy.QtCore import QEventLoop, Qt, QTimer

if TYPE_CHECKING:
    from collections.abc import Callable

BAR_95, BAR_WORST, BAR_MEMORY = 50.0, 150.0, 50.0
TICK = 5
DISC = (650.0, 215.0)


class StallMeter:
    """Tick every 5 ms and remember by how much each tick was late."""

    def __init__(self) -> None:
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start(TICK)
        self._last = self._now()
        self.late: list[float] = []
        self.computed: list[float] = []

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.thread_time()

    def _tick(self) -> None:
        last, self._last = self._last, self._now()
        took, computed = (1000 * (now - then) for now, then in zip(self._last, last, strict=True))
        self.late.append(max(0.0, took - TICK))
        self.computed.append(computed)

    def report(self, name: str) -> None:
        """Print and forget what was measured so far."""
        late = np.array(self.late or [0.0])
        p95, worst = float(np.percentile(late, 95)), float(late.max())
        most = max(self.computed, default=0.0)
        verdict = "ok" if p95 < BAR_95 and worst < BAR_WORST else "OVER"
        print(
            f"{name:<42} {len(late):6d} ticks   95 %: {p95:6.1f} ms   "
            f"worst: {worst:6.1f} ms (computing {most:5.1f})   {verdict}",
            flush=True,
        )
        self.clear()

    def clear(self) -> None:
        """Forget what was measured so far."""
        self.late.clear()
        self.computed.clear()


def live(seconds: float) -> None:
    """Let the window live for a while, as it does on its own: asleep between events."""
    loop = QEventLoop()
    QTimer.singleShot(max(1, round(1000 * seconds)), loop.quit)
    loop.exec()


def wait(done: Callable[[], bool], seconds: float = 600) -> None:
    """Let the window live until something is done."""
    end = time.perf_counter() + seconds
    while not done():
        if time.perf_counter() > end:
            raise TimeoutError("the dock did not answer")
        live(0.01)


def draw_first_layers(viewer: napari.Viewer) -> None:
    """Let napari draw a first Labels, Points and Shapes layer, without the plugin.

    The graphics driver compiles programs for what it draws for the first time in a window,
    which software rendering takes a second or two for; that is napari's start, not ours.
    """
    image = viewer.layers[0]
    square = np.zeros((4, image.ndim))
    square[:, -2:] = [[0, 0], [0, 9], [9, 9], [9, 0]]
    labels = np.ones(image.data.shape[: image.ndim], dtype=np.uint16)
    space = {"scale": image.scale, "units": image.units}
    for layer in (
        napari.layers.Labels(labels, **space),
        napari.layers.Points(square, face_color="red", **space),
        napari.layers.Shapes([square], face_color="red", **space),
    ):
        viewer.add_layer(layer)
        live(0.8)
        layer.visible = False
        viewer.layers.selection.active = image
        live(0.2)


OPENINGS = {
    "napari": "napari alone, its first layers",
    "empty": "opening the dock, no image",
    "fresh": "opening the dock",
    "drawn": "opening the dock, layers seen before",
}


def play_opening(how: str, when: str, meter: StallMeter, size: tuple[int, int]) -> None:
    """Measure the first opening of a process: of the dock, or of napari's layers alone."""
    viewer = napari.Viewer()
    viewer.window.resize(*size)
    if how != "empty":
        viewer.add_image(np.random.default_rng(0).random((1024, 1024)), name="noise")
    live(1)
    meter.clear()
    if how in ("napari", "drawn"):
        draw_first_layers(viewer)
    if how == "napari":
        meter.report(f"{OPENINGS[how]}{when}")
    else:
        meter.clear()
        _, dock = viewer.window.add_plugin_dock_widget("napari-spa", "SPA Refine")
        wait(lambda: how == "empty" or (dock.made and dock.controller.session is not None))
        live(1)
        meter.report(f"{OPENINGS[how]}{when}")
    viewer.close()


def measure_openings(size: tuple[int, int]) -> None:
    """Open in a process each: first with nothing of the driver's in its cache, then with it."""
    arguments = [sys.executable, __file__, "--size", *map(str, size)]
    for how in ("napari", "fresh"):
        with tempfile.TemporaryDirectory() as empty:
            first = {**os.environ, _DRIVER: empty}
            asked = ["--opening", how, "--when", ", first time"]
            subprocess.run([*arguments, *asked], check=True, env=first)
    fill = [*arguments, "--opening", "fresh"]  # the driver's cache
    subprocess.run(fill, check=True, stdout=subprocess.DEVNULL)
    for how in OPENINGS:
        subprocess.run([*arguments, "--opening", how], check=True)


def play_fundus(meter: StallMeter, size: tuple[int, int]) -> None:
    """Measure model loading, encoding, sampling, accepting and saving on a fundus image."""
    from skimage import data

    from napari_spa.io.export import ExportRequest

    viewer = napari.Viewer()
    viewer.window.resize(*size)
    viewer.add_image(data.retina(), name="fundus")
    _, dock = viewer.window.add_plugin_dock_widget("napari-spa", "SPA Refine")
    wait(lambda: dock.controller.session is not None)
    live(1)
    draw_first_layers(viewer)
    meter.clear()
    for zoom in (1.0, 1.1, 1.2, 1.1, 1.0):
        viewer.scene.camera.zoom = zoom
        live(0.2)
    meter.report("drawing alone")
    controller = dock.controller
    idle = lambda: not controller.busy  # noqa: E731
    dock.prompt_controller.click(DISC)
    wait(lambda: idle() and controller.choosing)
    meter.report("first click: model, encoding")
    for number in range(20):
        controller.pick(number % max(1, len(controller.active.shown.proposal.candidates)))
        wait(idle)
    meter.report("sampling, 20 rounds")
    for index in range(4):
        dock.parts.grid.cards[index].toggle.setChecked(True)
        live(0.2)
    for number in range(5):
        controller.pick(number % max(1, len(controller.active.shown.proposal.candidates)))
        wait(idle)
    meter.report("sampling, differences in the image")
    for _ in range(5):
        controller.undo()
        wait(idle)
    meter.report("undo, 5 rounds")
    controller.accept()
    live(1)
    meter.report("accepting")
    with tempfile.TemporaryDirectory() as folder:
        dock.objects.export(ExportRequest(Path(folder)))
        wait(idle)
    meter.report("saving")
    viewer.close()


def play_stack(meter: StallMeter, size: tuple[int, int]) -> None:
    """Measure propagation through the CT-like sample stack."""
    viewer = napari.Viewer()
    viewer.window.resize(*size)
    viewer.open_sample("napari-spa", "ct")
    _, dock = viewer.window.add_plugin_dock_widget("napari-spa", "SPA Refine")
    live(2)
    image = dock.controller.target()
    click = image.metadata["napari-spa"]["first_click"]
    world = image.data_to_world(click)
    viewer.dims.set_point(0, world[0])
    live(0.5)
    draw_first_layers(viewer)
    meter.clear()
    controller = dock.controller
    dock.prompt_controller.click(tuple(world))
    wait(lambda: not controller.busy and controller.choosing)
    meter.report("first click in a stack")
    dock.propagation.propagate("both")
    wait(lambda: not controller.busy)
    live(0.5)
    meter.report("propagating")
    print(f"    {dock.parts.status.text()}")
    viewer.close()


def play_export(meter: StallMeter, size: tuple[int, int]) -> None:
    """Measure writing an object through three hundred slices."""
    from napari_spa.io.export import ExportRequest

    viewer = napari.Viewer()
    viewer.window.resize(*size)
    rows, columns = np.ogrid[:512, :512]
    disc = 200 * (np.hypot(rows - 250, columns - 260) < 60)
    noise = np.random.default_rng(0).integers(0, 40, (300, 512, 512))
    viewer.add_image((disc + noise).astype(np.uint8), name="cylinder", axis_labels="zyx")
    viewer.dims.set_point(0, 150)
    _, dock = viewer.window.add_plugin_dock_widget("napari-spa", "SPA Refine")
    live(2)
    controller = dock.controller
    dock.prompt_controller.click((150, 250, 260))
    wait(lambda: not controller.busy and controller.choosing)
    dock.propagation.propagate("both")
    wait(lambda: not controller.busy)
    live(1)
    meter.clear()
    with tempfile.TemporaryDirectory() as folder:
        dock.objects.export(ExportRequest(Path(folder), ("labels", "masks", "tables", "coco")))
        wait(lambda: not controller.busy)
        meter.report("exporting 300 slices, four formats")
        files = sum(path.is_file() for path in Path(folder).rglob("*"))
    print(f"    {files} files")
    viewer.close()


def play_batch(meter: StallMeter, size: tuple[int, int]) -> None:
    """Measure what a batch over a folder, one process at once, leaves to the window."""
    import imageio.v3 as iio
    from skimage import data

    viewer = napari.Viewer()
    viewer.window.resize(*size)
    _, dock = viewer.window.add_plugin_dock_widget("napari-spa", "SPA Folder")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "images"
        folder.mkdir()
        for number in range(5):
            tissue = np.rot90(data.immunohistochemistry(), number)
            iio.imwrite(folder / f"tissue{number}.png", np.roll(tissue, 40 * number, 0))
        dock.open_folder(folder)
        wait(lambda: dock.controller.current is not None)
        live(3)
        meter.clear()
        live(5)
        meter.report("a folder, nothing under way")
        dock.jobs.ask_batch(None, dock)
        wait(lambda: " images, " in dock.jobs.dialog.effort.text())
        meter.report("asking what a batch would take")
        dock.jobs.dialog.start.click()
        wait(lambda: not dock.jobs.busy)
        meter.report("the batch, one process")
        print(f"    {dock.parts.status.text()}")
        viewer.close()


def play_long(rounds: int, size: tuple[int, int]) -> None:
    """Measure the memory that many rounds in one session take."""
    from napari_spa.viewer.samples import sample_stack

    viewer = napari.Viewer()
    viewer.window.resize(*size)
    image = viewer.add_image(sample_stack("ct").image[20], name="slice")
    _, dock = viewer.window.add_plugin_dock_widget("napari-spa", "SPA Refine")
    live(1)
    controller, process = dock.controller, psutil.Process()
    rng = np.random.default_rng(0)
    played, layers, before = 0, 0, 0.0
    while played < rounds:
        dock.prompt_controller.click(tuple(rng.uniform(40, 150, 2) * image.scale))
        wait(lambda: not controller.busy)
        played += 1
        for _ in range(9):
            if not controller.choosing or not controller.active.shown.proposal.candidates:
                break
            controller.pick(int(rng.integers(len(controller.active.shown.proposal.candidates))))
            wait(lambda: not controller.busy)
            played += 1
        if rng.random() < 0.5:
            controller.accept()
        if controller.active is not None:  # also when no pixel was left to accept
            controller.discard()
        live(0.01)
        if not before and played >= min(100, rounds // 4):
            before, layers = process.memory_info().rss / 2**20, len(viewer.layers)
            start = played
    grown = process.memory_info().rss / 2**20 - before
    per_thousand = grown * 1000 / (played - start)
    verdict = "ok" if per_thousand < BAR_MEMORY else "OVER"
    print(
        f"{played} rounds: memory grew by {grown:.1f} MB since round {start} "
        f"({per_thousand:.1f} MB a thousand)   {verdict}"
    )
    print(f"layers then and now: {layers}, {len(viewer.layers)}")
    viewer.close()


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1000, help="for memory (default: 1000)")
    parser.add_argument("--size", type=int, nargs=2, default=(1000, 700), help="of the window")
    parser.add_argument("--opening", choices=OPENINGS, help="measure this alone, as it comes")
    parser.add_argument("--when", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    size = (options.size[0], options.size[1])
    if options.opening:
        get_qapp()
        play_opening(options.opening, options.when, StallMeter(), size)
        return
    print(f"napari {napari.__version__}, window {size[0]} x {size[1]}, {os.cpu_count()} cores")
    print(f"bars: 95 % under {BAR_95:.0f} ms, worst under {BAR_WORST:.0f} ms")
    # As pip does, which installs what Python made of the sources.
    package = importlib.util.find_spec("napari_spa").submodule_search_locations[0]
    compileall.compile_dir(package, quiet=1)
    measure_openings(size)
    get_qapp()
    meter = StallMeter()
    play_fundus(meter, size)
    play_stack(meter, size)
    play_export(meter, size)
    play_batch(meter, size)
    if options.rounds:
        play_long(options.rounds, size)
    print(f"kept out of the way in {Path(_HOME)}")


if __name__ == "__main__":
    main()

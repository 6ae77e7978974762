"""How much memory going from image to image takes, with an object accepted on each.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/folder_steps.py

A folder is worked through in the real docks: click, accept, done and next.  The graphics
driver keeps the programs of each layer that is removed (see viewer/compat.py), so what
counts is how many layers go: once all of ours with each image, and once none, as it is.
The model is one of a few weights, as in the tests: what is measured is the window.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import imageio.v3 as iio
from gui_thread import live, wait  # keeps the work out of the user's folders, too

sys.path.append(str(Path(__file__).parents[1] / "tests" / "helpers"))

import napari
import numpy as np
import psutil
from skimage import data
from tiny_model import make_model

from napari_spa import RefinementSession
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.widgets.folder.dock import FolderDock
from napari_spa.widgets.refine.dock import RefineDock

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE, SHOWN_SECONDS = 512, 0.05


def make_folder(folder: Path, count: int) -> None:
    """Write pieces of a real image, each its own."""
    tissue = data.immunohistochemistry()
    rng = np.random.default_rng(0)
    for number in range(count):
        turned = np.rot90(np.roll(tissue, rng.integers(0, SIDE, 2), (0, 1)), number)
        iio.imwrite(folder / f"tissue{number}.png", turned)


def memory() -> float:
    """Return the resident memory of this process in MB."""
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20


def grown(step: Callable[[], None], steps: int, before: int) -> tuple[float, float]:
    """Return MB and seconds that a step takes, once some have been taken."""
    for _ in range(before):
        step()
    start, begun = memory(), time.perf_counter()
    for _ in range(steps):
        step()
    seconds = (time.perf_counter() - begun) / steps
    return (memory() - start) / steps, seconds


def play_folder(
    folder: Path, options: argparse.Namespace, *, shown: bool, kept: bool
) -> tuple[float, float]:
    """Click, accept and go on in a folder, in the real docks; return MB and seconds a step."""
    viewer = napari.Viewer()
    viewer.window.resize(*options.size)
    model = make_model()
    refine_dock = RefineDock(
        viewer, lambda name: RefinementSession(model, config=EngineConfig(samples=12))
    )
    viewer.window.add_dock_widget(refine_dock, name="SPA Refine")
    dock = FolderDock(viewer)
    viewer.window.add_dock_widget(dock, name="SPA Folder")
    live(1)
    dock.open_folder(folder)
    wait(lambda: dock.controller.current is not None)
    for card in refine_dock.parts.grid.cards:
        card.toggle.setChecked(shown)
    controller = refine_dock.controller
    if not kept:
        leave = controller.leave
        controller.leave = lambda annotated, *, onward=False: leave(annotated)

    def step() -> None:
        name = dock.controller.current
        refine_dock.prompt_controller.click((SIDE / 2, SIDE / 2))
        wait(lambda: not controller.busy)
        live(SHOWN_SECONDS)
        controller.accept()
        if controller.active is not None:  # no pixel was left to accept
            controller.discard()
        dock.controller.done()
        wait(lambda: dock.controller.current != name)
        live(SHOWN_SECONDS)

    found = grown(step, options.steps, options.before)
    viewer.close()
    return found


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100, help="that are measured (default: 100)")
    parser.add_argument("--before", type=int, default=20, help="that are not (default: 20)")
    parser.add_argument("--size", type=int, nargs=2, default=(1000, 700), help="of the window")
    options = parser.parse_args()
    steps, before = options.steps, options.before
    print(f"napari {napari.__version__}, {steps} steps after {before}, image {SIDE} x {SIDE}")
    for shown in (False, True):
        taken = []
        for kept in (False, True):
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place) / "images"
                folder.mkdir()
                make_folder(folder, steps + before + 1)
                mb, seconds = play_folder(folder, options, shown=shown, kept=kept)
            taken.append(mb)
            print(
                f"differences {'shown' if shown else 'hidden':<6}   layers "
                f"{'kept' if kept else 'anew':<4}   {mb:6.2f} MB   {seconds:5.2f} s a step",
                flush=True,
            )
        print(f"    kept takes {taken[1] / taken[0]:.0%} of the memory", flush=True)


if __name__ == "__main__":
    main()

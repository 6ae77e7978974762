"""A napari window in a process of its own that annotates until it is killed.

    python annotating_child.py

Accepts one object, is in round 2 of another after an undo, prints READY and lives on.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import napari
import numpy as np
from qtpy.QtWidgets import QApplication
from tiny_model import make_model

from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.session.session import RefinementSession
from napari_spa.widgets.refine.dock import RefineDock

STACK = np.random.default_rng(0).integers(0, 255, (4, 60, 70), np.uint8)


def make_session(name):
    return RefinementSession(make_model(), config=EngineConfig(samples=12))


def main():
    viewer = napari.Viewer(show=False)
    viewer.add_image(STACK, name="stack")
    viewer.dims.set_current_step(0, 2)
    dock = RefineDock(viewer, make_session)
    controller = dock.controller

    def play(act):
        seen = []
        controller.proposed.connect(lambda *_: seen.append(1))
        act()
        end = time.monotonic() + 60
        while not seen and time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.005)

    play(lambda: dock.prompt_controller.click((2, 30, 35)))
    play(lambda: controller.pick(0))
    controller.accept()
    viewer.dims.set_current_step(0, 1)
    play(lambda: dock.prompt_controller.click((1, 20, 25)))
    play(lambda: controller.pick(0))
    play(lambda: controller.pick(0))
    play(controller.undo)
    controller.autosave.flush()
    np.save(sys.argv[1], controller.current.mask.layer.data)
    sys.stdout.write("READY\n")
    sys.stdout.flush()
    time.sleep(600)


if __name__ == "__main__":
    main()

"""Make the screenshots of the docs from a real window.

Usage, with a display (or under ``xvfb-run -a -s "-screen 0 1600x1000x24"``)::

    python scripts/screenshots.py docs/images
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import napari
import numpy as np
from qtpy.QtWidgets import QApplication
from skimage import data, io

if TYPE_CHECKING:
    from collections.abc import Callable

DISC = (650.0, 215.0)  # row, column in skimage.data.retina()


def settle(seconds: float = 0.4) -> None:
    """Let the window draw for a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def wait(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Let the window live until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the dock did not answer")
        settle(0.05)
    settle()


def save(viewer: napari.Viewer, path: Path) -> None:
    """Save the whole window as a palette PNG."""
    settle(0.8)
    pixels = viewer.screenshot(canvas_only=False, flash=False)[..., :3]
    io.imsave(path, np.ascontiguousarray(pixels), check_contrast=False)
    from PIL import Image

    Image.open(path).quantize(256).save(path, optimize=True)


def main(folder: Path) -> None:
    """Play a short session on a fundus image and save each state."""
    folder.mkdir(parents=True, exist_ok=True)
    viewer = napari.Viewer(title="napari-spa")
    viewer.window.resize(1600, 1000)
    viewer.add_image(data.retina(), name="fundus")
    _, dock = viewer.window.add_plugin_dock_widget("napari-spa", "SPA Refine")
    viewer.camera.center = (0, 650, 320)
    viewer.camera.zoom = 1.5
    settle(1.5)
    save(viewer, folder / "dock-before.png")

    def idle() -> bool:
        return not dock.refiner.worker.busy

    dock.refiner.click(DISC)
    settle(0.2)
    wait(lambda: idle() and dock.refiner.choosing)
    save(viewer, folder / "dock-first-round.png")
    for index in range(4):
        if not dock.grid.cards[index].isEnabled():
            continue
        dock.grid.cards[index].toggle.setChecked(True)
        save(viewer, folder / f"dock-candidate-{index + 1}.png")
        dock.grid.cards[index].toggle.setChecked(False)
    for index in (2, 1):
        dock.refiner.pick(index)
        wait(idle)
    save(viewer, folder / "dock-after-two-picks.png")
    dock.refiner.undo()
    wait(idle)
    save(viewer, folder / "dock-after-undo.png")
    viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images"))

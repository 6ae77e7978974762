"""Make the moving picture of the main flow from a real window: click, pick, accept, the next.

Usage, with a display (or under ``xvfb-run -a -s "-screen 0 1280x720x24"``)::

    python scripts/moving_picture.py docs/images/main-flow.webp
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import napari
import numpy as np
from PIL import Image, ImageDraw
from qtpy.QtWidgets import QApplication, QWidget
from screenshots import do, settle  # redirects the user's folders, too
from skimage import data

SIZE = (1280, 720)
SHOWN = (960, 540)  # of the picture
COINS = ((122.0, 97.0), (197.0, 210.0), (120.0, 205.0))  # row, column


class Recorder:
    """Frames of a window, each with the time that it stays."""

    def __init__(self, viewer: napari.Viewer) -> None:
        self._viewer = viewer
        self.frames: list[Image.Image] = []
        self.times: list[int] = []

    def take(
        self,
        words: str,
        seconds: float,
        at: tuple[float, float] | None = None,
        dialog: QWidget | None = None,
    ) -> None:
        """Add the window, with a sentence, the pointer on a pixel of the image, and a dialog."""
        settle(0.6)
        pixels = self._viewer.screenshot(canvas_only=False, flash=False)[..., :3]
        frame = Image.fromarray(np.ascontiguousarray(pixels))
        draw = ImageDraw.Draw(frame)
        if dialog is not None:
            with tempfile.TemporaryDirectory() as folder:
                dialog.grab().save(f"{folder}/dialog.png")
                with Image.open(f"{folder}/dialog.png") as over:
                    frame.paste(over.convert("RGB"), (frame.width // 3, frame.height // 4))
        if at is not None:
            self._point(draw, at)
        left, top = 345, frame.height - 90
        draw.rectangle((left, top, left + 14 + 11 * len(words), top + 34), fill=(0, 0, 0))
        draw.text((left + 8, top + 5), words, fill=(255, 255, 255), font_size=20)
        self.frames.append(frame.resize(SHOWN, Image.Resampling.LANCZOS))
        self.times.append(round(1000 * seconds))

    def _point(self, draw: ImageDraw.ImageDraw, at: tuple[float, float]) -> None:
        viewer = self._viewer
        canvas = viewer.window._qt_viewer.canvas.native  # noqa: SLF001  a picture's only way
        middle = canvas.mapTo(viewer.window._qt_window, canvas.rect().center())  # noqa: SLF001
        camera = viewer.scene.camera
        down, right = (np.array(at) - camera.center[-2:]) * camera.zoom
        x, y = middle.x() + right, middle.y() + down
        arrow = [(0, 0), (0, 26), (6, 20), (11, 31), (16, 29), (11, 18), (19, 18)]
        draw.polygon([(x + dx, y + dy) for dx, dy in arrow], fill="white", outline="black")

    def save(self, path: Path) -> None:
        """Write the moving picture."""
        first, *rest = self.frames
        first.save(
            path,
            save_all=True,
            append_images=rest,
            duration=self.times,
            loop=0,
            quality=70,
            method=6,
        )


def main(path: Path) -> None:
    """Play the main flow, and save it."""
    viewer = napari.Viewer(title="napari-spa")
    viewer.window.resize(*SIZE)
    viewer.add_image(data.coins(), name="coins")
    _, dock = viewer.window.add_plugin_dock_widget("napari-spa", "SPA Refine")
    settle(2)
    controller, film = dock.controller, Recorder(viewer)
    film.take("Click on an object.", 1.5, COINS[0])
    do(dock, lambda: dock.prompt_controller.click(COINS[0]))
    film.take("One recommended mask, four alternatives.", 3)
    do(dock, lambda: controller.pick(3))
    film.take("Pick what you mean: it learns, and offers four new ones.", 3)
    do(dock, controller.undo)
    film.take("Undo takes back the whole round.", 2)
    for place in COINS[1:]:
        film.take("Click on the next object: the first is accepted.", 1.5, place)
        do(dock, lambda place=place: dock.prompt_controller.click(place))
        film.take("One click for each object.", 2)
    controller.accept()
    settle(0.5)
    dock.tab.ask_export()
    settle(0.5)
    dialog = QApplication.activeModalWidget()
    dialog.folder.setText("exported")  # no one's folder
    film.take("Export for the program that you use next.", 3, dialog=dialog)
    dialog.reject()
    viewer.close()
    film.save(path)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images/main-flow.webp"))

"""The main flow, with mouse and keys in a real window: how many of them, and how long it takes.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/main_flow.py

From an open napari with an image to labels on disk: open the dock by the menu, click on an
object, click on the next one, export.  Every click and key is sent to the widget that a user
would hit and is counted; nothing of the plugin is called.  It fails above 4 clicks and 2 keys
for the first object, or 1 click for the second.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# The work of the benchmark is no one's work: keep it out of the user's folders.
_HOME = tempfile.mkdtemp(prefix="napari-spa-benchmark-")
for _name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
    os.environ[_name] = _HOME

import napari
import numpy as np
import tifffile
from qtpy.QtCore import QEventLoop, QPoint, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QMainWindow, QMenu, QPushButton, QWidget
from skimage import data

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_CLICKS, MOST_KEYS, MOST_CLICKS_AFTER = 4, 2, 1
COINS = ((122, 97), (128, 331))  # row, column of two coins in scikit-image's picture
_LEFT = Qt.MouseButton.LeftButton


def live(seconds: float) -> None:
    """Let the window live for a while."""
    loop = QEventLoop()
    QTimer.singleShot(max(1, round(1000 * seconds)), loop.quit)
    loop.exec()


def wait(done: Callable[[], object], seconds: float = 600) -> None:
    """Let the window live until something is done."""
    end = time.perf_counter() + seconds
    while not done():
        if time.perf_counter() > end:
            raise TimeoutError("the window did not answer")
        live(0.01)


class Hand:
    """Mouse and keyboard, counted."""

    def __init__(self, viewer: napari.Viewer) -> None:
        self._viewer = viewer
        self.clicks = self.keys = 0
        windows = QApplication.topLevelWidgets()
        self._window = next(window for window in windows if isinstance(window, QMainWindow))
        parts = self._window.findChildren(QWidget)
        # What shows the image: vispy's widget, whichever Qt is used.
        self.canvas = next(p for p in parts if type(p).__name__.startswith("CanvasBackend"))

    def click(self, widget: QWidget, at: QPoint) -> None:
        """Click on a place of a widget."""
        self.clicks += 1
        QTest.mouseClick(widget, _LEFT, Qt.KeyboardModifier.NoModifier, at)

    def can(self, title: str) -> bool:
        """Tell whether a button of the window can be pressed."""
        buttons = self._window.findChildren(QPushButton)
        return any(b.text().startswith(title) and b.isEnabled() for b in buttons)

    def choose(self, *titles: str) -> None:
        """Choose from the menu bar, one click a title."""
        menu: QWidget = self._window.menuBar()
        for title in titles:
            found = [a for a in menu.actions() if a.text().replace("&", "").startswith(title)]
            self.click(menu, menu.actionGeometry(found[0]).center())
            under = found[0].menu()
            if under is not None:
                wait(under.isVisible, 20)
                menu = under

    def click_image(self, row: float, column: float) -> None:
        """Click on a pixel of the image."""
        camera, canvas = self._viewer.scene.camera, self.canvas
        down, right = (np.array([row, column]) - camera.center[-2:]) * camera.zoom
        middle = canvas.rect().center()
        self.click(canvas, QPoint(round(middle.x() + right), round(middle.y() + down)))

    def press(self, widget: QWidget, key: Qt.Key, shift: bool = False) -> None:
        """Press a key."""
        self.keys += 1
        modifier = Qt.KeyboardModifier.ShiftModifier if shift else Qt.KeyboardModifier.NoModifier
        QTest.keyClick(widget, key, modifier)


def dialog() -> QWidget | None:
    """Return the dialog that waits for an answer."""
    there = QApplication.activeModalWidget()
    return None if isinstance(there, QMenu) else there


def export(hand: Hand, folder: Path) -> None:
    """Export by key, and agree to what the dialog suggests."""

    def agree() -> None:
        there = dialog()
        if there is None:
            QTimer.singleShot(100, agree)
        else:
            hand.press(there, Qt.Key.Key_Return)

    QTimer.singleShot(500, agree)  # the dialog runs a loop of its own
    hand.press(hand.canvas, Qt.Key.Key_W, shift=True)
    wait(lambda: list(folder.rglob("*.tif")), 120)


def seconds(act: Callable[[], object]) -> float:
    """Time something."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def run(pause: float, size: tuple[int, int]) -> bool:
    """Play the flow, and print what it took."""
    folder = Path(tempfile.mkdtemp(prefix="napari-spa-export-"))
    os.chdir(folder)
    viewer = napari.Viewer()
    viewer.window.resize(*size)
    viewer.add_image(data.coins(), name="coins")
    live(2)
    hand = Hand(viewer)
    opening = seconds(lambda: hand.choose("Plugins", "napari-spa", "SPA Refine"))
    live(pause)  # a user looks at what there is before the first click
    labels = lambda: next((x for x in viewer.layers if isinstance(x, napari.layers.Labels)), None)  # noqa: E731

    def shows(number: int, at: tuple[int, int]) -> Callable[[], object]:
        """Tell when an object is drawn, and its alternatives: it can be accepted then."""
        return lambda: (
            (layer := labels()) is not None and layer.data[at] == number and hand.can("Accept")
        )

    def first() -> None:
        hand.click_image(*COINS[0])
        wait(shows(1, COINS[0]))

    def second() -> None:
        hand.click_image(*COINS[1])
        wait(shows(2, COINS[1]))

    took = seconds(first)
    clicks = hand.clicks
    live(1)
    after = seconds(second)
    more = hand.clicks - clicks
    live(1)
    saving = seconds(lambda: export(hand, folder))
    live(1)
    written = tifffile.imread(next(folder.rglob("*.tif")))
    print(f"dock open {opening:.2f} s, looked at for {pause:g} s")
    print(f"first object   {took:6.2f} s   {clicks} clicks, {hand.keys} keys to labels on disk")
    print(f"second object  {after:6.2f} s   {more} click")
    print(f"export         {saving:6.2f} s   {sorted(np.unique(written).tolist())} in {folder}")
    viewer.close()
    both = all(written[at] == number for number, at in enumerate(COINS, 1))
    few = clicks <= MOST_CLICKS and hand.keys <= MOST_KEYS and more <= MOST_CLICKS_AFTER
    return both and few


def main() -> int:
    """Read the command line and play."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--pause", type=float, default=5.0, help="seconds before the first click")
    parser.add_argument("--size", type=int, nargs=2, default=(1280, 720))
    options = parser.parse_args()
    good = run(options.pause, tuple(options.size))
    print("ok" if good else "TOO MUCH, or not what was clicked")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

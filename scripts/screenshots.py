"""Make the screenshots of the docs from a real window.

Usage, with a display (or under ``xvfb-run -a -s "-screen 0 1600x1000x24"``)::

    python scripts/screenshots.py docs/images
    python scripts/screenshots.py --states FOLDER  # to be looked at: all kinds of window
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING


def forget(*folders: str) -> None:
    """Use new folders: the pictures' work is no one's, and none is offered to the next one."""
    for name in folders:
        os.environ[f"XDG_{name}_HOME"] = tempfile.mkdtemp(prefix="napari-spa-screenshots-")


forget("CACHE", "CONFIG", "DATA", "STATE")

import napari
import numpy as np
from qtpy.QtWidgets import QApplication, QWidget
from skimage import data, io

from napari_spa import RefinementSession, load_model
from napari_spa.io.profiles import ProfileStore
from napari_spa.widgets.refine.panel import OPTIONS, REFINE

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_spa.widgets.refine.dock import RefineDock

DISC = (650.0, 215.0)  # row, column in the sample "fundus"


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


def save(viewer: napari.Viewer, path: Path, part: tuple[slice, slice] | None = None) -> None:
    """Save the window, or a part of it in which rare colours count, as a palette PNG."""
    settle(0.8)
    pixels = viewer.screenshot(canvas_only=False, flash=False)[part or ...][..., :3]
    io.imsave(path, np.ascontiguousarray(pixels), check_contrast=False)
    from PIL import Image

    method = Image.Quantize.MAXCOVERAGE if part else Image.Quantize.MEDIANCUT
    Image.open(path).quantize(256, method=method).save(path, optimize=True)


def open_dock(viewer: napari.Viewer) -> RefineDock:
    """Open the dock in a window of the size of the docs' pictures."""
    viewer.window.resize(1600, 1000)
    _, opening = viewer.window.add_plugin_dock_widget("napari-spa", "SPA Refine")
    settle(1.5)
    return opening.dock


def do(dock: RefineDock, act: Callable[[], object]) -> None:
    """Do something with an object and wait until it is shown."""
    act()
    settle(0.1)
    wait(lambda: not dock.controller.busy)


def play_fundus(folder: Path) -> None:
    """Save the states of one object on a fundus image."""
    viewer = napari.Viewer(title="napari-spa")
    viewer.open_sample("napari-spa", "fundus")
    dock = open_dock(viewer)
    viewer.scene.camera.center = (0, 650, 320)
    viewer.scene.camera.zoom = 1.5
    save(viewer, folder / "dock-before.png")
    do(dock, lambda: dock.prompt_controller.click(DISC))
    save(viewer, folder / "dock-first-round.png")
    last = dock.parts.grid.cards[3].toggle
    last.setChecked(True)
    save(viewer, folder / "dock-candidate-4.png")
    last.setChecked(False)
    for index in (2, 1):
        do(dock, lambda index=index: dock.controller.pick(index))
    save(viewer, folder / "dock-after-two-picks.png")
    do(dock, dock.controller.undo)
    dock.parts.tabs.setCurrentIndex(OPTIONS)
    dock.display.set_framed(True)
    save(viewer, folder / "dock-options.png")
    dock.display.set_framed(False)
    dock.parts.tabs.setCurrentIndex(REFINE)
    dock.parts.side_by_side.show()
    settle(1)
    grab(dock.parts.side_by_side, folder / "side-by-side.png")
    dock.parts.side_by_side.hide()
    dock.parts.help.help.show_beside()
    settle(1)
    grab(dock.parts.help.help, folder / "keys.png")
    dock.parts.help.help.hide()
    dock.controller.discard()
    dock.store.save(blind=True)  # from the next object on
    do(dock, lambda: dock.prompt_controller.click(DISC))
    save(viewer, folder / "dock-blind.png")
    dock.store.save(blind=False)
    dock.controller.discard()  # else it is offered in the next window
    viewer.close()


def teach(name: str, candidate: int) -> None:
    """Put the profile of a user who always picks the same candidate on the shelf."""
    session = RefinementSession(load_model())
    for shift in range(6):
        session.set_image(np.roll(data.retina(), shift, axis=0))
        proposal = session.start([DISC])
        for _ in range(2):
            proposal = session.pick(min(candidate, len(proposal.candidates) - 1))
        session.accept()
    if session.profile is not None:
        ProfileStore().add(replace(session.profile, name=name, task="optic disc"))


def play_profiles(folder: Path) -> None:
    """Save where two people would disagree, and what the dock says of it."""
    teach("Ana", 2)
    teach("Ben", 0)
    viewer = napari.Viewer(title="napari-spa")
    viewer.open_sample("napari-spa", "fundus")
    dock = open_dock(viewer)
    viewer.scene.camera.center = (0, 860, 120)  # the disc in the part that is saved
    viewer.scene.camera.zoom = 1.2
    dock.profiles.actions.choose(ProfileStore().find("Ana"))
    do(dock, lambda: dock.prompt_controller.click(DISC))
    do(dock, lambda: dock.profiles.comparison.compare(ProfileStore().find("Ben"), "Ben"))
    dock.parts.tabs.setCurrentIndex(OPTIONS)
    save(viewer, folder / "dock-profile.png", part=(slice(20, 460), slice(560, 1600)))
    viewer.close()


def play_stack(folder: Path) -> None:
    """Save the states of an object in a stack, and of work that is offered again."""
    viewer = napari.Viewer(title="napari-spa")
    viewer.open_sample("napari-spa", "ct")
    dock = open_dock(viewer)
    dock.profiles.actions.choose(None)  # Ana draws optic discs
    image = dock.controller.target()
    click = image.metadata["napari-spa"]["first_click"]
    world = tuple(image.data_to_world(click))
    viewer.dims.set_point(0, world[0])
    settle()
    viewer.reset_view()  # of a window that has its size by now
    do(dock, lambda: dock.prompt_controller.click(world))
    dock.propagation.propagate("both")
    settle(0.2)
    wait(lambda: not dock.controller.busy)
    dock.propagation.go(int(click[0]) + 2)
    save(viewer, folder / "stack-propagated.png")
    grab(dock.parts.stack, folder / "stack-strip.png")
    do(dock, lambda: dock.propagation.propagate_one(1))
    dock.controller.autosave.flush()
    viewer.close()
    again = napari.Viewer(title="napari-spa")
    again.open_sample("napari-spa", "ct")
    dock = open_dock(again)
    wait(lambda: dock.parts.recovery.isVisible())
    save(again, folder / "dock-recovery.png")
    again.close()


SAMPLES = ("fundus", "ct", "tissue", "cell")
SIZES = ((1280, 720), (1600, 1000))


def shoot_tabs(viewer: napari.Viewer, dock: RefineDock, folder: Path, name: str) -> None:
    """Save the window with each tab of the dock in front, and in light colours."""
    for tab in range(dock.parts.tabs.count()):
        if dock.parts.tabs.isTabVisible(tab):
            dock.parts.tabs.setCurrentIndex(tab)
            save(viewer, folder / f"{name}-{dock.parts.tabs.tabText(tab).lower()}.png")
    dock.parts.tabs.setCurrentIndex(REFINE)
    viewer.theme = "light"
    save(viewer, folder / f"{name}-light.png")
    viewer.theme = "dark"


def shoot_sample(sample: str, size: tuple[int, int], folder: Path) -> None:
    """Save the states of the dock on a sample in a window of a size."""
    forget("DATA", "STATE")
    viewer, name = napari.Viewer(title="napari-spa"), f"{sample}-{size[0]}"
    viewer.open_sample("napari-spa", sample)
    dock = open_dock(viewer)
    viewer.window.resize(*size)
    settle(1)
    save(viewer, folder / f"{name}-before.png")
    image = dock.controller.target()
    world = tuple(image.data_to_world(image.metadata["napari-spa"]["first_click"]))
    for axis in range(image.ndim - 2):
        viewer.dims.set_point(axis, world[axis])
    do(dock, lambda: dock.prompt_controller.click(world))
    shoot_tabs(viewer, dock, folder, name)
    if sample == "fundus":
        dock.controller.accept()
        dock.store.save(blind=True)
        do(dock, lambda: dock.prompt_controller.click((740.0, 720.0)))
        save(viewer, folder / f"{name}-blind.png")
        dock.store.save(blind=False)
        dock.controller.discard()
        shoot_both(viewer, dock, folder / f"{name}-both-docks.png")
    viewer.close()


def shoot_both(viewer: napari.Viewer, dock: RefineDock, path: Path) -> None:
    """Save the window with both docks, a folder open and an object in it."""
    viewer.layers.clear()
    _, folder_dock = viewer.window.add_plugin_dock_widget("napari-spa", "SPA Folder")
    source = Path(tempfile.mkdtemp(prefix="napari-spa-images-"))
    for number, image in enumerate((data.immunohistochemistry(), data.retina(), data.coins())):
        io.imsave(source / f"image-{number}.png", image, check_contrast=False)
    folder_dock.open_folder(source)
    wait(lambda: folder_dock.controller.current is not None)
    settle(2)
    save(viewer, path)
    do(dock, lambda: dock.prompt_controller.click((230.0, 250.0)))
    save(viewer, path.with_stem(f"{path.stem}-click"))


def play_states(folder: Path) -> None:
    """Save what the window looks like on many images, in two sizes and a large font."""
    from napari.settings import get_settings

    for size in SIZES:
        for sample in SAMPLES:
            shoot_sample(sample, size, folder)
        viewer = napari.Viewer(title="napari-spa")
        channels = np.moveaxis(data.immunohistochemistry()[..., [0, 2]], -1, 0)
        viewer.add_image(channels, channel_axis=0, name=["cyto", "nuc"])
        dock = open_dock(viewer)
        viewer.window.resize(*size)
        names = dock.parts.options.channels
        wait(lambda names=names: names.findText("nuc + cyto") >= 0)
        names.activated.emit(names.findText("nuc + cyto"))
        do(dock, lambda dock=dock: dock.prompt_controller.click((230.0, 250.0)))
        shoot_tabs(viewer, dock, folder, f"channels-{size[0]}")
        viewer.close()
    get_settings().appearance.font_size *= 2
    large = folder / "font-200"
    large.mkdir(exist_ok=True)
    shoot_sample("fundus", SIZES[1], large)


def grab(widget: QWidget, path: Path) -> None:
    """Save a picture of one widget."""
    widget.grab().save(str(path))


def main(folder: Path) -> None:
    """Play short sessions and save each state."""
    folder.mkdir(parents=True, exist_ok=True)
    play_fundus(folder)
    play_profiles(folder)
    play_stack(folder)


if __name__ == "__main__":
    named = [word for word in sys.argv[1:] if word != "--states"]
    target = Path(named[0] if named else "docs/images")
    target.mkdir(parents=True, exist_ok=True)
    if "--states" in sys.argv:
        play_states(target)
    else:
        main(target)

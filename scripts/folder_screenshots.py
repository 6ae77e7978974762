"""Make the screenshots of the dock *SPA Folder* from a real window.

Usage, with a display (or under ``xvfb-run -a -s "-screen 0 1600x1000x24"``)::

    python scripts/folder_screenshots.py docs/images
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import napari
import tifffile
from screenshots import DISC, do, grab, save, settle, wait  # redirects the user's folders, too
from skimage import data, io

from napari_spa.viewer.samples import sample_stack


def make_folder(folder: Path) -> Path:
    """Write some real images and a stack."""
    folder.mkdir(parents=True)
    io.imsave(folder / "retina.png", data.retina(), check_contrast=False)
    io.imsave(folder / "tissue.png", data.immunohistochemistry(), check_contrast=False)
    tifffile.imwrite(folder / "cell.tif", data.cell())
    tifffile.imwrite(folder / "coins.tif", data.coins())
    tifffile.imwrite(
        folder / "ct.tif", sample_stack("ct").image, metadata={"axes": "ZYX"}, ome=True
    )
    (folder / "torn.tif").write_bytes(b"II*\0")
    return folder


def main(target: Path) -> None:
    """Play a short session and save what the docs show."""
    target.mkdir(parents=True, exist_ok=True)
    images = make_folder(Path(tempfile.mkdtemp(prefix="napari-spa-")) / "images")
    viewer = napari.Viewer(title="napari-spa")
    viewer.window.resize(1600, 1000)
    _, dock = viewer.window.add_plugin_dock_widget("napari-spa", "SPA Folder")
    settle(1)
    dock.open_folder(images)
    wait(lambda: dock.controller.current == "cell.tif")
    _, refine_dock = viewer.window.add_plugin_dock_widget("napari-spa", "SPA Refine")
    do(refine_dock, lambda: refine_dock.prompt_controller.click((383.0, 424.0)))
    refine_dock.controller.accept()
    dock.controller.done()
    dock.controller.items.toggle_flag("coins.tif")
    dock.controller.items.set_note("coins.tif", "shadows at the lower edge")
    dock.controller.go("retina.png")
    wait(lambda: dock.controller.current == "retina.png")
    settle(2)
    do(refine_dock, lambda: refine_dock.prompt_controller.click(DISC))
    save(viewer, target / "folder-at-hand.png")
    dock.jobs.ask_batch(refine_dock, dock)
    wait(lambda: " images, " in dock.jobs.dialog.effort.text())
    grab(dock.jobs.dialog, target / "folder-batch.png")
    dock.jobs.dialog.reject()
    viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images"))

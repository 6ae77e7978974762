"""Outlines drawn by eye on scikit-image's sample images, to compare masks with."""

from __future__ import annotations

import gc
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import imageio.v3 as iio
import labelled
import numpy as np
import pytest
import skimage.data
import tifffile
from folder_docks import SHAPE, make_session, pixels
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import polygon2mask

OUTLINES = Path(__file__).parents[1] / "data" / "outlines.json"  # its "how" says how


class Outline(NamedTuple):
    """An object: its mask, (H, W), and pixels (row, col) in it that a user may click on."""

    name: str
    mask: NDArray[np.bool_]
    innermost: tuple[int, int]
    points: list[tuple[int, int]]  # three drawn at random, none close to the border


@pytest.fixture(scope="session", autouse=True)
def _frozen_modules() -> Iterator[None]:
    """Keep what was imported out of the collections that napari does for each removed layer."""
    import napari
    import sklearn.cluster
    import torch

    assert napari
    assert sklearn.cluster
    assert torch
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def outlines() -> Callable[[str], list[Outline]]:
    """``outlines("coins")``: the objects outlined in ``skimage.data.coins()``."""
    images = json.loads(OUTLINES.read_text(encoding="utf-8"))["images"]

    def load_outlines(image_name: str) -> list[Outline]:
        shape = getattr(skimage.data, image_name)().shape[:2]
        return [_outline(shape, image_name, **entry) for entry in images[image_name]]

    return load_outlines


def _outline(
    shape: tuple[int, int], image_name: str, name: str, outline: list[list[float]]
) -> Outline:
    mask = polygon2mask(shape, outline)
    # From a pixel's centre to the border; the image's own edge is a border too.
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1] - 0.5
    # A quarter of the way in from the border to the innermost point, or more.
    inside = np.argwhere(depth >= 0.25 * depth.max())
    rng = np.random.default_rng(zlib.crc32(f"{image_name}/{name}".encode()))
    drawn = inside[rng.choice(len(inside), 3, replace=False)]
    innermost = np.unravel_index(depth.argmax(), shape)
    row, col = (int(i) for i in innermost)
    return Outline(name, mask, (row, col), [(int(r), int(c)) for r, c in drawn])


@pytest.fixture
def folder(tmp_path):
    """Twenty files: 14 plain, two of one stem, a stack, colours, a corrupt and an empty one."""
    source = tmp_path / "images"
    source.mkdir()
    for number in range(1, 15):
        iio.imwrite(source / f"cell{number}.png", pixels(number))
    iio.imwrite(source / "twin.png", pixels(20))
    tifffile.imwrite(source / "twin.tif", pixels(21), photometric="minisblack")
    tifffile.imwrite(
        source / "stack.tif",
        pixels(22, (5, *SHAPE), np.uint16),
        imagej=True,
        metadata={"axes": "ZYX", "spacing": 2.0, "unit": "um"},
        resolution=(2.0, 2.0),
    )
    iio.imwrite(source / "rgb.png", pixels(23, (*SHAPE, 3)))
    (source / "corrupt.tif").write_bytes(b"II*\0 and nothing that makes sense")
    (source / "empty.png").write_bytes(b"")
    return source


@pytest.fixture
def open_docks(make_napari_viewer, qtbot):
    opened = []

    def open_it(viewer=None):
        from napari_spa.widgets.folder.dock import FolderDock
        from napari_spa.widgets.refine.dock import RefineDock

        viewer = viewer or make_napari_viewer()
        refine_dock = RefineDock(viewer, make_session)
        viewer.window.add_dock_widget(refine_dock, name="SPA Refine")
        dock = FolderDock(viewer)
        viewer.window.add_dock_widget(dock, name="SPA Folder")
        opened.append((dock, refine_dock))
        return viewer, dock, refine_dock

    yield open_it
    for dock, refine_dock in opened:
        dock.release()
        refine_dock.release()


@pytest.fixture
def few(tmp_path):
    source = tmp_path / "images"
    source.mkdir()
    for number in range(1, 4):
        iio.imwrite(source / f"cell{number}.png", pixels(number))
    return source


@pytest.fixture
def open_annotator(make_napari_viewer, qtbot):
    """Opens docks beside labels of another tool."""
    annotators = []

    def open_it(data=None, factory=labelled.make_session):
        if data is None:
            data = np.random.default_rng(2).integers(0, 255, labelled.SHAPE, np.uint8)
        annotators.append(labelled.Annotator(make_napari_viewer(), qtbot, data, factory))
        return annotators[-1]

    yield open_it
    for annotator in annotators:
        annotator.dock.release()


@pytest.fixture
def annotator(open_annotator):
    return open_annotator()

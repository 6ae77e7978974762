"""Outlines drawn by eye on scikit-image's sample images, to compare masks with."""

from __future__ import annotations

import gc
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import skimage.data
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

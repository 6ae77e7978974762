"""A tiny random network, and a data set of two images that three raters marked."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from tiny_model import make_model

from napari_spa.evaluate.methods import MethodContext
from napari_spa.io.models.load import LoadedModel
from napari_spa.refine.engine.config import EngineConfig


@pytest.fixture(scope="session")
def model() -> LoadedModel:
    return make_model()


def disc(row: int, column: int, radius: int, shape: tuple[int, int] = (40, 56)) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images with two objects each; ``blank`` marked nothing on the first one."""
    rng = np.random.default_rng(0)
    for name, shift in [("a", 0), ("b", 4)]:
        image = rng.integers(0, 60, (40, 56)).astype(np.uint8)
        for rater, radius in [("tight", 5), ("loose", 8), ("blank", 6)]:
            mask = disc(14 + shift, 14, radius) | disc(20, 40 + shift, radius)
            if (name, rater) == ("a", "blank"):
                mask[:] = False
            image[mask] += 50
            path = tmp_path / "data" / "raters" / rater / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            iio.imwrite(path, mask.astype(np.uint8) * 255)
        path = tmp_path / "data" / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        iio.imwrite(path, image)
    return tmp_path / "data"


@pytest.fixture
def context(model: LoadedModel) -> MethodContext:
    return MethodContext(model, EngineConfig(samples=8))

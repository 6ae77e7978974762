"""Unit tests of the training sources: tiny folders in a temporary place."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from napari_spa.errors import DataError
from napari_spa.train.data import (
    MAX_DIAMETER,
    FolderSource,
    LabelSource,
    SyntheticSource,
    cut_object,
)


def disc(row: int, column: int, radius: int, size: int = 90) -> np.ndarray:
    rows, columns = np.ogrid[:size, :size]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def write(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    iio.imwrite(path, array)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        write(tmp_path / "images" / f"{name}.png", np.full((90, 90), 60, np.uint8))
        for rater, radius in (("loose", 9), ("tight", 6)):
            mask = disc(25, 25, radius) | disc(65, 60, radius)
            write(tmp_path / "raters" / rater / f"{name}.png", mask.astype(np.uint8) * 255)
    write(tmp_path / "raters" / "blank" / "a.png", np.zeros((90, 90), np.uint8))
    (tmp_path / "split.csv").write_text("name,split\na,train\nb,val\n")
    return tmp_path


def test_a_folder_gives_one_object_an_image(folder: Path) -> None:
    source = FolderSource(folder, split="train")
    assert len(source) == 1
    item = source[0]
    assert item.image.dtype == np.uint8
    assert item.image.shape[2] == 3
    assert item.masks.shape == (2, *item.image.shape[:2]), "the empty mask is left out"
    assert item.masks.dtype == bool


def test_a_folder_gives_single_objects(folder: Path) -> None:
    source = FolderSource(folder, objects=True)
    assert len(source) == 4
    areas = [[int(mask.sum()) for mask in source[k].masks] for k in range(4)]
    assert areas == [[int(disc(25, 25, 9).sum()), int(disc(25, 25, 6).sum())]] * 4


def test_an_empty_split_is_one_sentence(folder: Path) -> None:
    with pytest.raises(DataError, match="no image of the split 'test'"):
        FolderSource(folder, split="test")


def test_labels_give_one_object_a_number() -> None:
    labels = np.zeros((90, 90), np.uint16)
    labels[disc(25, 25, 9)], labels[disc(65, 60, 6)] = 7, 300
    labels[0, :3] = 9  # too small to learn from
    source = LabelSource([(np.full((90, 90, 3), 60, np.uint8), labels)])
    assert [int(source[k].masks.sum()) for k in range(len(source))] == [
        int(disc(25, 25, 9).sum()),
        int(disc(65, 60, 6).sum()),
    ]


def test_the_generator_repeats_itself_and_no_other() -> None:
    first, again = SyntheticSource(3, seed=5, size=64), SyntheticSource(3, seed=5, size=64)
    other = SyntheticSource(3, seed=6, size=64)
    np.testing.assert_array_equal(first[1].image, again[1].image)
    np.testing.assert_array_equal(first[1].masks, again[1].masks)
    assert not np.array_equal(first[1].image, first[2].image)
    assert not np.array_equal(first[1].image, other[1].image)
    assert first[1] is first[1], "made once"
    assert len(first) == 3


def test_a_large_object_is_reduced_and_keeps_its_shape() -> None:
    mask = disc(300, 300, 150, size=600)
    image = np.repeat(np.where(mask, 200, 20).astype(np.uint8)[..., None], 3, axis=2)
    item = cut_object(image, mask[None])
    step = 300 // MAX_DIAMETER + 1
    assert item.masks.sum() == pytest.approx(mask.sum() / step**2, rel=0.02)
    inside = item.image[item.masks[0]].mean()
    assert inside == pytest.approx(200, abs=3)


def test_a_small_object_keeps_its_surroundings_only() -> None:
    mask = disc(300, 300, 10, size=600)
    item = cut_object(np.zeros((600, 600, 3), np.uint8), mask[None])
    assert item.masks.sum() == mask.sum()
    assert 150 < item.masks.shape[1] < 300

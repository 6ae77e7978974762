"""Tests of training data in one file."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.train.test_loop import CONFIG, CPU, same

from napari_spa.errors import DataError
from napari_spa.train.data import (
    LabelSource,
    ObjectSource,
    RatedObject,
    Source,
    SuperpixelSource,
    SyntheticSource,
    read_pack,
    write_pack,
)
from napari_spa.train.loop import Windows, train
from napari_spa.train.recipe import open_sources
from napari_spa.train.windows import WindowConfig


def cells(seed: int, side: int, radius: int, count: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Return a noisy image of discs and their labels, which are not consecutive."""
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[:side, :side]
    labels = np.zeros((side, side), np.int32)
    for number in range(count):
        row, column = rng.integers(radius, side - radius, 2)
        labels[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = 7 + 300 * number
    image = rng.integers(0, 120, (side, side, 3)) + 100 * (labels > 0)[..., None]
    return image.astype(np.uint8), labels


@pytest.fixture
def sources() -> list[tuple[Source, float]]:
    labels = LabelSource([cells(seed, 90, 9) for seed in range(3)])
    masks = np.stack([cells(9, 80, radius, 1)[1] > 0 for radius in (8, 11, 14)])
    rated = ObjectSource([RatedObject(cells(9, 80, 11, 1)[0], masks)])
    superpixels = SuperpixelSource(labels.images, variants=1)
    generator = SyntheticSource(5, seed=3, size=64, kind="disc")
    return [(labels, 0.4), (rated, 0.2), (superpixels, 0.1), (generator, 0.3)]


def test_small_images_give_the_same_windows_from_a_pack(
    tmp_path: Path, sources: list[tuple[Source, float]]
) -> None:
    pack = tmp_path / "data.pack"
    report = write_pack(pack, sources)
    assert [(packed.kept, packed.found) for packed in report] == [(3, 3), (1, 1), (0, 0), (0, 0)]
    opened = open_sources([str(pack)], {})
    assert [share for _, share in opened] == [0.4, 0.2, 0.1, 0.3]
    config = WindowConfig(size=32, targets=3)
    direct, packed = Windows(sources, config, seed=2), Windows(opened, config, seed=2)
    for index in range(30):
        for name in ("pixels", "targets", "point", "visible", "extents", "made_up"):
            assert torch.equal(getattr(direct[index], name), getattr(packed[index], name))


def test_the_same_data_give_the_same_file(
    tmp_path: Path, sources: list[tuple[Source, float]]
) -> None:
    for name in ("a", "b"):
        write_pack(tmp_path / name, sources)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_large_objects_are_reduced_and_small_ones_are_not(tmp_path: Path) -> None:
    image, labels = cells(1, 960, 200, 1)
    tiny = cells(2, 960, 9, 30)
    write_pack(tmp_path / "p", [(LabelSource([(image, labels)]), 1.0), (LabelSource([tiny]), 1.0)])
    (large, _), (small, _) = read_pack(tmp_path / "p")
    assert isinstance(large, LabelSource)
    assert isinstance(small, LabelSource)
    assert large.images[0].shape == (320, 320, 3)
    assert large[0].masks.sum() == pytest.approx((labels > 0).sum() / 9, rel=0.02)
    assert {picture.shape for picture in small.images} == {(480, 480, 3)}
    assert sum((tile > 0).sum() for tile in small.labels) == (tiny[1] > 0).sum()


def test_a_source_of_many_images_leaves_room_for_the_others(tmp_path: Path) -> None:
    many = LabelSource([cells(seed, 90, 9) for seed in range(40)])
    few = LabelSource([cells(seed, 90, 9) for seed in range(50, 55)])
    report = write_pack(tmp_path / "p", [(many, 0.5), (few, 0.5)], megabytes=0.4)
    assert report[1].kept == 5
    assert 8 < report[0].kept < 20
    assert (tmp_path / "p").stat().st_size < 0.41e6


def test_a_run_from_a_pack_resumes_and_does_not_depend_on_workers(
    tmp_path: Path, sources: list[tuple[Source, float]]
) -> None:
    write_pack(tmp_path / "p", sources)
    opened, config = read_pack(tmp_path / "p"), replace(CONFIG, steps=5, save_every=2)
    whole = train(opened, tmp_path / "whole", config, device=CPU)
    many = train(opened, tmp_path / "many", replace(config, workers=2), device=CPU)
    # Its seconds are over after one step; then it goes on without a limit.
    stopped = train(opened, tmp_path / "parts", replace(config, minutes=1e-9), device=CPU)
    assert stopped.step == 1
    parts = train(opened, tmp_path / "parts", config, device=CPU, resume=True)
    assert whole.step == many.step == parts.step == 5
    assert same(whole.average, many.average)
    assert same(whole.average, parts.average)


@pytest.mark.parametrize("fault", ["text", "cut", "manifest", "later", "missing", "image", "sizes"])
def test_a_damaged_pack_is_one_sentence(
    tmp_path: Path, sources: list[tuple[Source, float]], fault: str
) -> None:
    path = tmp_path / "p"
    write_pack(path, sources)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    if fault == "text":
        path.write_text("no pack")
    elif fault == "cut":
        path.write_bytes(path.read_bytes()[:2000])
    else:
        manifest = json.loads(parts["pack.json"])
        if fault == "manifest":
            manifest["sources"] = 3
        elif fault == "later":
            manifest["version"] = 9
        elif fault == "missing":
            manifest["sources"][0]["images"] = 9
        elif fault == "image":
            parts["000/00001.webp"] = parts["000/00001.webp"][:40]
        elif fault == "sizes":
            parts["000/00001.webp"] = parts["001/00000.webp"]
        parts["pack.json"] = json.dumps(manifest).encode()
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, content)
    with pytest.raises(DataError, match="pack"):
        read_pack(path)

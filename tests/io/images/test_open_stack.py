"""Tests of opening image files: the same axes in the same order as napari."""

from __future__ import annotations

import os
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from napari_spa.errors import InputError
from napari_spa.io.images import lazy, open_stack, read_label_stack

SHAPES = {
    "YX": (40, 50),
    "YXS": (40, 50, 3),
    "ZYX": (5, 40, 50),
    "CYX": (3, 40, 50),
    "TZYX": (2, 3, 40, 50),
    "TZCYX": (2, 3, 2, 40, 50),
    "ZYXS": (4, 40, 50, 3),
    "TZ1": (1, 4, 40, 50),
}


def written(folder: Path, axes: str, kind: str) -> tuple[Path, np.ndarray]:
    shape = SHAPES[axes]
    array = np.random.default_rng(0).integers(0, 250, shape).astype(np.uint8)
    path = folder / "stack.tif"
    options = {
        "plain": {"metadata": None},
        "named": {"metadata": {"axes": axes if "1" not in axes else "TZYX"}},
        "zlib": {"compression": "zlib"},
        "big endian": {"byteorder": ">"},
    }[kind]
    if kind == "big endian":
        array = array.astype(np.uint16)
    photometric = "rgb" if axes.endswith("S") else "minisblack"
    tifffile.imwrite(path, array, photometric=photometric, **options)
    return path, array


@pytest.mark.parametrize("kind", ["plain", "named", "zlib", "big endian"])
@pytest.mark.parametrize("axes", SHAPES)
def test_a_tiff_file_is_what_napari_makes_of_it(tmp_path: Path, axes: str, kind: str) -> None:
    read = pytest.importorskip("napari_builtins.io").magic_imread
    path, array = written(tmp_path, axes, kind)
    theirs = read(str(path))
    shape = theirs.shape[:-1] if axes.endswith("S") else theirs.shape
    opened = open_stack(path, shape)
    assert opened.levels[0].shape == theirs.shape
    np.testing.assert_array_equal(np.asarray(opened.levels[0]), theirs)
    assert theirs.size == array.size
    assert len(opened.info.axes) == len(shape)
    assert opened.info.axes.endswith("YX")


def test_axes_and_pixel_size_are_the_files(tmp_path: Path) -> None:
    path = tmp_path / "stack.ome.tif"
    array = np.zeros((2, 3, 40, 50), np.uint8)
    size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25}
    tifffile.imwrite(path, array, photometric="minisblack", metadata={"axes": "ZCYX", **size})
    info = open_stack(path, (2, 3, 40, 50)).info
    assert info.axes == "ZCYX"
    assert info.pixel_size == pytest.approx((0.25, 0.5))
    assert info.shape == (40, 50)


@pytest.mark.parametrize("name", ["stack.tif", "stack.npy"])
def test_a_large_file_is_read_in_parts_and_never_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(lazy, "_READ_WHOLE", 100)
    array = np.arange(5 * 40 * 50, dtype=">u2").reshape(5, 40, 50)
    path = tmp_path / name
    if name.endswith("npy"):
        np.save(path, array)
    else:
        tifffile.imwrite(path, array, photometric="minisblack", byteorder=">")
    level = open_stack(path, array.shape).levels[0]
    assert isinstance(level, lazy.LazyArray)
    assert level.dtype == np.uint16
    for part in (
        np.s_[2, 3:9, ::7], np.s_[1:4, 5], np.s_[...], np.s_[::-2, ::-3, -1], np.s_[3, 4, 5],
        np.s_[3:3, :, 2], np.s_[1, 20:3:-4], np.s_[-1],
    ):  # fmt: skip
        np.testing.assert_array_equal(level[part], array[part])
    os.truncate(path, path.stat().st_size // 2)  # under our hands: a mapped file would be SIGBUS
    np.testing.assert_array_equal(level[0], array[0])
    with pytest.raises(InputError, match="cut short"):
        level[4]
    with pytest.raises(InputError, match="cut short"):
        open_stack(path, array.shape)


def test_zarr_arrays_and_pyramids(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    array = np.arange(2 * 8 * 10).reshape(2, 8, 10)
    zarr.create_array(tmp_path / "flat.zarr", data=array)
    (level,) = open_stack(tmp_path / "flat.zarr", (2, 8, 10)).levels
    np.testing.assert_array_equal(level[1], array[1])
    group = zarr.create_group(tmp_path / "group.zarr").create_group("image")
    group.create_array("0", data=array)
    group.create_array("1", data=array[:, ::2, ::2])
    levels = open_stack(tmp_path / "group.zarr", (2, 8, 10)).levels
    assert [level.shape for level in levels] == [(2, 8, 10), (2, 4, 5)]
    many = zarr.create_group(tmp_path / "many.zarr")
    for level in range(11):  # "10" comes after "2"
        many.create_array(str(level), data=np.zeros((2, 1024 >> level, 1024 >> level), np.uint8))
    levels = open_stack(tmp_path / "many.zarr", (2, 1024, 1024)).levels
    assert [level.shape[1] for level in levels] == [1024 >> level for level in range(len(levels))]
    assert len(levels) > 3
    zarr.create_group(tmp_path / "empty.zarr")
    with pytest.raises(InputError, match="holds no array"):
        open_stack(tmp_path / "empty.zarr", (2, 8, 10))


def test_pictures(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 250, (40, 50, 3)).astype(np.uint8)
    iio.imwrite(tmp_path / "image.png", image)
    opened = open_stack(tmp_path / "image.png", (40, 50))
    np.testing.assert_array_equal(opened.levels[0], image)
    assert opened.info.axes == "YX"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("none.tif", None, "does not exist"),
        ("cut.tif", b"II*\x00\x08\x00\x00\x00", "cannot be read"),
        ("text.tif", b"text", "cannot be read"),
        ("text.npy", b"text", "cannot be read"),
        ("text.png", b"text", "cannot be read"),
        ("folder", b"", "is a folder, and no image"),
    ],
)
@pytest.mark.parametrize("shape", [(3, 40, 50), (40, 50)])
def test_what_cannot_be_opened(tmp_path: Path, name, content, sentence, shape) -> None:
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=sentence) as caught:
        open_stack(path, shape)
    assert str(caught.value).count("\n") == 0
    assert str(caught.value).count(str(path)) == 1


@pytest.mark.parametrize("shape", [(6, 40, 50), (5, 40), (40, 50), (5, 40, 50, 2), (1,) * 5])
def test_another_extent_is_refused(tmp_path: Path, shape) -> None:
    path, _ = written(tmp_path, "ZYX", "named")
    with pytest.raises(InputError):
        open_stack(path, shape)


def test_labels_with_or_without_axes_of_length_one(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 9, (1, 3, 1, 8, 9)).astype(np.uint16)
    np.save(tmp_path / "labels.npy", labels[0, :, 0])
    np.testing.assert_array_equal(read_label_stack(tmp_path / "labels.npy", labels.shape), labels)
    np.save(tmp_path / "mask.npy", labels > 4)
    mask = read_label_stack(tmp_path / "mask.npy", (3, 8, 9))
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, (labels > 4)[0, :, 0])
    iio.imwrite(tmp_path / "mask.png", np.eye(8, dtype=np.uint8))
    assert read_label_stack(tmp_path / "mask.png", (8, 8)).sum() == 8
    np.save(tmp_path / "labels.npy", labels)
    with pytest.raises(InputError, match="3 x 8 x 9 pixels, not 8 x 9"):
        read_label_stack(tmp_path / "labels.npy", (8, 9))
    np.save(tmp_path / "labels.npy", labels[0, 0, 0] / 2)
    with pytest.raises(InputError, match="whole numbers"):
        read_label_stack(tmp_path / "labels.npy", (8, 9))

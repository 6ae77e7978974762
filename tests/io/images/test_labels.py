"""Unit tests of stacks written by napari_spa.io.images.write_labels."""

from __future__ import annotations

from pathlib import Path

import dask.array
import numpy as np
import pytest
import tifffile
import zarr

from napari_spa.errors import Cancelled, InputError
from napari_spa.io.images import ImageInfo, read_image, write_labels


def _pixels(path: Path) -> dict[str, str]:
    """The attributes of OME's Pixels."""
    from xml.etree import ElementTree

    with tifffile.TiffFile(path) as tiff:
        pixels = ElementTree.fromstring(tiff.ome_metadata).find(".//{*}Pixels")
    return dict(pixels.attrib)


def _stack(shape: tuple[int, ...], highest: int = 9) -> np.ndarray:
    labels = np.random.default_rng(0).integers(0, 10, shape)
    labels[(-1,) * len(shape)] = highest
    return labels


@pytest.mark.parametrize(
    ("axes", "shape", "kept"),
    [
        ("ZYX", (4, 5, 6), "ZYX"),
        ("TYX", (4, 5, 6), "TYX"),
        ("TZYX", (2, 4, 5, 6), "TZYX"),
        ("TZCYX", (2, 4, 3, 5, 6), "TZCYX"),
        ("TZCYX", (2, 4, 5, 6), "TZYX"),  # an image's channels share their labels
        ("ZCYX", (4, 5, 6), "ZYX"),
        ("ZYXC", (4, 5, 6), "ZYX"),
        ("zyxs", (4, 5, 3), "ZYX"),
        ("QYX", (4, 5, 6), "QYX"),
        ("ZTYX", (2, 4, 5, 6), "ZTYX"),
        ("TZYX", (1, 1, 5, 6), "YX"),  # axes of one plane are not told by readers
    ],
)
def test_a_stack_comes_back_with_its_axes(tmp_path: Path, axes: str, shape, kept: str) -> None:
    labels = _stack(shape)
    write_labels(tmp_path / "a.tif", labels, ImageInfo(axes, shape[-2:]))
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.series[0].axes == kept
        assert tiff.is_ome
        assert not tiff.is_bigtiff
        assert tiff.pages.first.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), labels.squeeze())


def test_a_stack_keeps_its_voxel_size(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    info = ImageInfo("ZYX", (5, 6), (0.25, 0.5), plane_distance=2.5)
    write_labels(path, _stack((4, 5, 6)), info)
    pixels = _pixels(path)
    assert [pixels[f"PhysicalSize{axis}"] for axis in "ZYX"] == ["2.5", "0.25", "0.5"]
    assert {pixels[f"PhysicalSize{axis}Unit"] for axis in "ZYX"} == {"µm"}
    assert read_image(path, index=(1,))[1].pixel_size == (0.25, 0.5)
    with tifffile.TiffFile(path) as tiff:  # for ImageJ, which reads no OME
        page = tiff.pages.first
        assert page.get_resolution("micrometer") == pytest.approx((2, 4), rel=1e-6)  # x, y


def test_a_stack_without_a_voxel_size_claims_none(tmp_path: Path) -> None:
    write_labels(tmp_path / "a.tif", _stack((4, 5, 6)), ImageInfo("ZYX", (5, 6)))
    assert not [name for name in _pixels(tmp_path / "a.tif") if name.startswith("Physical")]
    assert read_image(tmp_path / "a.tif", index=(0,))[1].pixel_size is None


@pytest.mark.parametrize(
    ("labels", "highest", "kept"),
    [
        (np.ones((2, 3, 4), bool), None, np.uint8),
        (_stack((2, 3, 4), 255), None, np.uint8),
        (_stack((2, 3, 4), 256), None, np.uint16),
        (_stack((2, 3, 4), 70_000), None, np.uint32),
        (_stack((2, 3, 4), 9), 300, np.uint16),
        (_stack((2, 3, 4)).astype(">i8"), None, np.uint8),
        (np.asfortranarray(_stack((2, 3, 4))), None, np.uint8),
    ],
)
def test_a_stack_is_stored_small(tmp_path: Path, labels, highest, kept) -> None:
    write_labels(tmp_path / "a.tif", labels, ImageInfo("ZYX", (3, 4)), highest=highest)
    stored = tifffile.imread(tmp_path / "a.tif")
    np.testing.assert_array_equal(stored, labels)
    assert stored.dtype == kept


class PlanesOnly:
    """A stack that counts its planes and gives nothing larger."""

    def __init__(self, array: np.ndarray) -> None:
        self._array, self.read = array, 0
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, index: tuple) -> np.ndarray:
        self.read += 1
        assert self._array[index].ndim == 2
        return self._array[index]

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("the whole stack was read")


def test_the_same_stack_is_the_same_bytes_from_wherever_it_comes(tmp_path: Path) -> None:
    labels = _stack((2, 3, 40, 50), 300).astype(np.uint16)
    info = ImageInfo("TZYX", (40, 50), (0.5, 0.5), plane_distance=2)
    sources = {
        "numpy": labels,
        "again": labels.copy(),
        "zarr": zarr.array(labels, chunks=(1, 1, 40, 50)),
        "dask": dask.array.from_array(labels, chunks=(1, 1, 20, 50)),
        "planes": PlanesOnly(labels),
    }
    for name, source in sources.items():
        write_labels(tmp_path / name, source, info)
    write_labels(tmp_path / "said", sources["planes"], info, highest=300)
    assert sources["planes"].read == 2 * 6 + 6  # looked through and written; only written
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_bigtiff_when_pixels_may_outgrow_four_gigabytes(tmp_path, monkeypatch) -> None:
    from napari_spa.io.images import labels as label_stacks

    info = ImageInfo("ZYX", (2048, 2048))
    for planes, large in ((60, False), (512, True)):
        tags = label_stacks._tags((planes, 2048, 2048), np.dtype(np.uint16), info)
        assert tags["bigtiff"] == large
    monkeypatch.setattr(label_stacks, "_CLASSIC_BYTES", 100)
    write_labels(tmp_path / "a.tif", _stack((4, 5, 6)), ImageInfo("ZYX", (5, 6)))
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.is_bigtiff
        assert tiff.series[0].axes == "ZYX"


@pytest.mark.parametrize(
    ("labels", "axes", "highest", "sentence"),
    [
        (np.ones((2, 3, 4)), "ZYX", None, "labels must be"),
        (np.ones((2, 3, 4), int), "TZYX", None, "labels must be"),
        (np.ones((3, 4, 3), int), "YXC", None, "labels must be"),
        (np.ones((2, 3, 4), int), "ZXY", None, "labels must be"),
        (np.ones((2, 2, 3, 4), int), "ZZYX", None, "OME-TIFF"),
        (np.ones((2, 3, 4), int), "1YX", None, "OME-TIFF"),
        (np.ones((0, 3, 4), int), "ZYX", None, "at least one pixel"),
        (np.full((2, 3, 4), -1), "ZYX", None, "labels must be between"),
        (np.full((2, 3, 4), -1), "ZYX", 3, "labels must be between"),
        (np.full((2, 3, 4), 2**32), "ZYX", None, "labels must be between"),
        (np.full((2, 3, 4), 256), "ZYX", 255, "between 0 and 255, not 256"),
        (np.ones((2, 2, 2, 2, 3, 4), int), "QTZCYX", None, "cannot be written as OME-TIFF"),
        (np.ones((2, 3, 4), int), "VYX", None, "cannot be written as OME-TIFF"),
    ],
)
def test_what_is_no_stack_of_labels_is_refused(
    tmp_path: Path, labels, axes: str, highest: int | None, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        write_labels(tmp_path / "a.tif", labels, ImageInfo(axes, (3, 4)), highest=highest)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_writing_a_stack_tells_and_can_be_cancelled(tmp_path: Path) -> None:
    labels, info = _stack((4, 5, 6)), ImageInfo("ZYX", (5, 6))
    told = []
    write_labels(
        tmp_path / "a.tif", labels, info, progress=lambda share, words: told.append((share, words))
    )
    assert [share for share, _ in told] == [0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875]
    assert {words for _, words in told} == {"reading the labels", "writing the labels"}
    before = (tmp_path / "a.tif").read_bytes()

    def stop(share: float, words: str) -> None:
        if share > 0.6:
            raise Cancelled("stopped.")

    with pytest.raises(Cancelled):
        write_labels(tmp_path / "a.tif", labels + 1, info, progress=stop)
    assert (tmp_path / "a.tif").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]

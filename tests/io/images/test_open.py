"""Unit tests of napari_spa.io.images.open: real files in a temporary folder, no model."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from napari_spa.errors import DataError, InputError
from napari_spa.io.images import ImageInfo, axes_in_file, read_image, write_labels, write_picture
from napari_spa.io.images.faults import reading


@pytest.fixture
def grey(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 60_000, (7, 9)).astype(np.uint16)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("name", ["a.tif", "a.TIFF", "a.png", "a.npy"])
def test_grey_comes_back_as_stored(tmp_path: Path, grey: np.ndarray, name: str) -> None:
    path = tmp_path / name
    if name.endswith("npy"):
        np.save(path, grey)
    else:
        iio.imwrite(path, grey, extension=".png" if name.endswith("png") else ".tif")
    array, info = read_image(path)
    np.testing.assert_array_equal(array, grey)
    assert array.dtype == np.uint16
    assert (info.axes, info.shape, info.index) == ("YX", (7, 9), ())


@pytest.mark.parametrize(("name", "channels"), [("a.png", 3), ("a.png", 4), ("a.jpg", 3)])
def test_colour_is_told_from_a_stack(tmp_path: Path, name: str, channels: int) -> None:
    iio.imwrite(tmp_path / name, np.full((8, 10, channels), 200, np.uint8))
    array, info = read_image(tmp_path / name)
    assert array.shape == (8, 10, channels)
    assert info.axes == "YXC"
    assert abs(int(array[0, 0, 0]) - 200) < 3


@pytest.mark.parametrize("axes", ["YXS", "SYX"])
def test_colours_of_a_tiff_come_last(tmp_path: Path, rng: np.random.Generator, axes: str) -> None:
    pixels = rng.integers(0, 255, (6, 8, 3)).astype(np.uint8)
    stored = np.moveaxis(pixels, -1, 0) if axes[0] in "CS" else pixels
    photometric = "rgb"
    planar = {"planarconfig": "separate"} if axes == "SYX" else {}
    tifffile.imwrite(
        tmp_path / "a.tif", stored, photometric=photometric, metadata={"axes": axes}, **planar
    )
    array, info = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(array, pixels)
    assert info.axes == "YXC"


@pytest.mark.parametrize("axes", ["CYX", "YXC"])
def test_channels_that_were_measured_are_slices_as_in_the_docks(tmp_path: Path, axes: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (6, 8, 3)).astype(np.uint8)
    stored = np.moveaxis(pixels, -1, 0) if axes == "CYX" else pixels
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", metadata={"axes": axes})
    array, info = read_image(tmp_path / "a.tif", index=(2,))
    np.testing.assert_array_equal(array, pixels[..., 2])
    assert info.axes == "YX"
    with pytest.raises(InputError, match="stack of 3 slices"):
        read_image(tmp_path / "a.tif")


def test_a_slice_of_a_stack(tmp_path: Path, rng: np.random.Generator) -> None:
    stack = rng.normal(size=(2, 5, 6, 7)).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", stack, metadata={"axes": "TZYX"}, photometric="minisblack")
    array, info = read_image(tmp_path / "a.tif", index=(1, -1))
    np.testing.assert_array_equal(array, stack[1, 4])
    assert info.index == (1, -1)
    with pytest.raises(InputError, match=r"stack of 2 x 5 slices.*--slice 1,2"):
        read_image(tmp_path / "a.tif")
    with pytest.raises(InputError, match="choose one with 2 numbers"):
        read_image(tmp_path / "a.tif", index=[3])
    with pytest.raises(InputError, match="slices 0 to 4, not 5"):
        read_image(tmp_path / "a.tif", index=[0, 5])


def test_an_axis_of_one_is_no_stack(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((1, 5, 6), np.uint8), metadata={"axes": "ZYX"})
    assert read_image(tmp_path / "a.tif")[0].shape == (5, 6)
    assert read_image(tmp_path / "a.tif", index=(0,))[1].index == ()


def test_one_pixel_and_one_row(tmp_path: Path) -> None:
    for shape in [(1, 1), (1, 40), (3, 200)]:
        np.save(tmp_path / "a.npy", np.ones(shape))
        assert read_image(tmp_path / "a.npy")[0].shape == shape


def test_slice_of_a_single_image_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((4, 4)))
    with pytest.raises(InputError, match="single image"):
        read_image(tmp_path / "a.npy", index=(3,))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"resolution": (2e4, 4e4), "resolutionunit": "CENTIMETER"}, (0.25, 0.5)),
        ({"resolution": (254, 254), "resolutionunit": "INCH"}, (100.0, 100.0)),
        ({"imagej": True, "resolution": (10, 10), "metadata": {"unit": "um"}}, (0.1, 0.1)),
        ({"ome": True, "metadata": {"PhysicalSizeX": 0.2, "PhysicalSizeY": 0.3}}, (0.3, 0.2)),
        (
            {
                "ome": True,
                "metadata": {
                    "PhysicalSizeX": 200.0,
                    "PhysicalSizeXUnit": "nm",
                    "PhysicalSizeY": 200.0,
                    "PhysicalSizeYUnit": "nm",
                },
            },
            (0.2, 0.2),
        ),
        ({}, None),
    ],
    ids=["centimetre", "inch", "imagej", "ome", "ome-nm", "none"],
)
def test_pixel_size(tmp_path: Path, grey: np.ndarray, options: dict, expected) -> None:
    tifffile.imwrite(tmp_path / "a.tif", grey, **options)
    size = read_image(tmp_path / "a.tif")[1].pixel_size
    assert size == (expected and pytest.approx(expected, rel=1e-6))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n broken", "cannot be read"),
        ("a.tif", b"II*\x00\x08\x00", "cannot be read"),
        ("a.tif", b"", "cannot be read"),
        ("a.npy", b"\x93NUMPY\x01\x00junk", "cannot be read"),
        ("a.jpg", b"not an image", "cannot be read"),
        ("a.xyz", b"not an image", "cannot be read"),
    ],
)
def test_a_broken_file_is_one_sentence(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=sentence) as caught:
        read_image(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_image(tmp_path / "none.png")
    with pytest.raises(InputError, match="is a folder"):
        read_image(tmp_path)
    np.save(tmp_path / "text.npy", np.array([["a", "b"]]))
    with pytest.raises(InputError, match="real numbers"):
        read_image(tmp_path / "text.npy")
    np.save(tmp_path / "empty.npy", np.ones((0, 4)))
    with pytest.raises(InputError, match="no pixel"):
        read_image(tmp_path / "empty.npy")
    np.save(tmp_path / "line.npy", np.ones(4))
    with pytest.raises(InputError, match="rows and columns"):
        read_image(tmp_path / "line.npy")


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read"):
        read_image(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("labels", "kept"),
    [
        (np.eye(5, dtype=bool), np.uint8),
        (np.full((3, 4), 255), np.uint8),
        (np.full((3, 4), 256), np.uint16),
        (np.full((3, 4), 70_000), np.uint32),
        (np.zeros((1, 1), np.int64), np.uint8),
    ],
)
def test_labels_come_back_with_their_pixel_size(tmp_path: Path, labels, kept) -> None:
    path = tmp_path / "new" / "a.tif"
    write_labels(path, labels, ImageInfo("YX", labels.shape, (0.25, 0.5)))
    array, info = read_image(path)
    np.testing.assert_array_equal(array, labels)
    assert array.dtype == kept
    assert info.pixel_size == pytest.approx((0.25, 0.5), rel=1e-6)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.series[0].axes == "YX"
        assert tiff.pages.first.compression == tifffile.COMPRESSION.ADOBE_DEFLATE


def test_the_same_labels_are_the_same_bytes(tmp_path: Path) -> None:
    labels = np.arange(12).reshape(3, 4)
    for name in "ab":
        write_labels(tmp_path / f"{name}.tif", labels, ImageInfo("YX", (3, 4)))
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tif", "b.tif"]


@pytest.mark.parametrize(
    "labels", [np.ones((2, 3, 4), int), np.ones((3, 4)), np.full((3, 4), -1)], ids=str
)
def test_what_are_no_labels_is_refused(tmp_path: Path, labels: np.ndarray) -> None:
    with pytest.raises(InputError, match="labels must be"):
        write_labels(tmp_path / "a.tif", labels, ImageInfo("YX", (3, 4)))
    assert not list(tmp_path.iterdir())


def test_an_unwritable_place_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        write_labels(tmp_path / "file" / "a.tif", np.eye(3, dtype=bool), ImageInfo("YX", (3, 3)))


def test_an_image_is_still_a_plain_tiff(tmp_path: Path) -> None:
    labels = np.arange(12, dtype=np.int64).reshape(3, 4)
    write_labels(tmp_path / "a.tif", labels, ImageInfo("YXC", (3, 4), (0.25, 0.5)))
    tifffile.imwrite(
        tmp_path / "b.tif",
        labels.astype(np.uint8),
        compression="zlib",
        photometric="minisblack",
        metadata={"axes": "YX"},
        resolution=(2e4, 4e4),
        resolutionunit="CENTIMETER",
    )
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_picture(tmp_path: Path) -> None:
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    write_picture(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(iio.imread(tmp_path / "a.png"), picture)


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_pages_that_lead_in_a_circle_are_refused(tmp_path, empty, bigtiff):
    path = tmp_path / "circle.tif"
    with tifffile.TiffWriter(path, bigtiff=bigtiff) as writer:
        for value in (1, 2):
            writer.write(np.full((8, 9), value, np.uint8), metadata=None, contiguous=False)
    with tifffile.TiffFile(path) as tiff:
        first, last = tiff.pages[0].offset, tiff.pages[1]
        form = tiff.tiff
        end = last.offset + form.tagnosize + len(last.tags) * form.tagsize
    content = bytearray(path.read_bytes())
    target = len(content) if empty else first
    content[end : end + form.offsetsize] = struct.pack(form.offsetformat, target)
    if empty:  # a page without a tag that leads to itself
        content += struct.pack(form.tagnoformat, 0) + struct.pack(form.offsetformat, target)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"circle\.tif .*: its pages lead in a circle"):
        read_image(path)


@pytest.mark.parametrize("bigtiff", [False, True])
def test_pages_cut_at_their_very_beginning_are_missed(tmp_path, bigtiff):
    path = tmp_path / "cut.tif"
    with tifffile.TiffWriter(path, bigtiff=bigtiff) as writer:
        for value in (1, 2, 3):
            writer.write(np.full((8, 9), value, np.uint8), metadata=None, contiguous=False)
    with tifffile.TiffFile(path) as tiff:
        last = tiff.pages[2].offset
    os.truncate(path, last + 1)
    with pytest.raises(InputError, match="cut short"):
        read_image(path)


def test_an_interrupt_is_no_fault_of_the_file() -> None:
    class Part:
        def __set_name__(self, owner: type, name: str) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), reading("a.png"):
        type("Reader", (), {"part": Part()})  # Python 3.11 makes a RuntimeError of it


@pytest.mark.parametrize(
    ("axes", "shape", "array", "found"),
    [
        ("TZCYX", (4, 3, 2, 8, 9), (4, 3, 2, 8, 9), "TZCYX"),
        ("TZCYX", (1, 3, 2, 8, 9), (3, 2, 8, 9), "ZCYX"),  # as napari's reader has it
        ("TCYX", (1, 3, 8, 9), (1, 3, 8, 9), "QCYX"),
        ("TCYX", (4, 3, 8, 9), (3, 4, 8, 9), ""),  # someone turned it
        ("TYX", (4, 8, 9), (4, 2, 8, 9), ""),
        ("ZYXS", (4, 8, 9, 3), (4, 8, 9), "ZYX"),
    ],
)
def test_the_axes_of_a_file_as_an_array_of_its_pixels_has_them(
    tmp_path: Path, axes: str, shape: tuple[int, ...], array: tuple[int, ...], found: str
) -> None:
    path = tmp_path / "stack.ome.tif"
    kind = "rgb" if "S" in axes else "minisblack"
    tifffile.imwrite(path, np.zeros(shape, np.uint8), photometric=kind, metadata={"axes": axes})
    assert axes_in_file(path, array) == found


def test_axes_that_a_file_does_not_name_stay_so(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.zeros((4, 8, 9), np.uint8), photometric="minisblack")
    assert axes_in_file(path, (4, 8, 9)) == "QYX"

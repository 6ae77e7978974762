"""A folder's images: listed in natural order, opened whole or plane by plane, or refused."""

import gzip
import os
import shutil

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from skimage import data

from napari_spa.core.plane import Plane
from napari_spa.errors import InputError
from napari_spa.io.images import list_images, open_image, read_label_stack, write_labels
from napari_spa.refine.engine.image_plane import PlaneReader

STACK = np.random.default_rng(0).integers(0, 4000, (5, 40, 30)).astype(np.uint16)
GREY = data.cell()[:60, :50]
COLOURS = data.astronaut()[:60, :50]


def write_nifti(path):
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.Nifti1Image(STACK.T, np.diag([0.002, 0.002, 0.005, 1]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def write_zarr(path):
    zarr = pytest.importorskip("zarr")
    zarr.save(str(path), STACK)


FORMATS = {
    "grey.png": (lambda p: iio.imwrite(p, GREY), GREY, "YX"),
    "colours.png": (lambda p: iio.imwrite(p, COLOURS), COLOURS, "YX"),
    "grey.tif": (lambda p: tifffile.imwrite(p, GREY), GREY, "YX"),
    "packed.tif": (lambda p: tifffile.imwrite(p, STACK, compression="zlib"), STACK, None),
    "stack.tif": (
        lambda p: tifffile.imwrite(p, STACK, imagej=True, metadata={"axes": "ZYX"}),
        STACK,
        "ZYX",
    ),
    "stack.ome.tif": (lambda p: tifffile.imwrite(p, STACK, metadata={"axes": "ZYX"}), STACK, "ZYX"),
    "stack.npy": (lambda p: np.save(p, STACK), STACK, "ZYX"),
    "stack.nii.gz": (write_nifti, STACK, "ZYX"),
    "stack.zarr": (write_zarr, STACK, "ZYX"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_all_the_way_from_a_file_to_its_labels(tmp_path, name):
    write, known, axes = FORMATS[name]
    path = tmp_path / name
    write(path)
    file = open_image(path)
    info = file.info
    if axes is not None:
        assert info.axes == axes
    shape = known.shape[: len(info.axes)]
    assert tuple(file.levels[0].shape) == known.shape
    middle = tuple(n // 2 for n in shape)
    plane = Plane((len(shape) - 2, len(shape) - 1), middle)
    seen = PlaneReader(file.levels[0], plane).read(slice(3, 20), slice(5, 25))
    np.testing.assert_array_equal(seen, known[(*middle[:-2], slice(3, 20), slice(5, 25))])
    labels = (np.indices(shape).sum(axis=0) % 7).astype(np.uint16)
    write_labels(tmp_path / "labels.tif", labels, info)
    np.testing.assert_array_equal(read_label_stack(tmp_path / "labels.tif", shape), labels)


def test_the_pixel_size_of_a_volume_is_kept_in_micrometres(tmp_path):
    write_nifti(tmp_path / "volume.nii")
    info = open_image(tmp_path / "volume.nii").info
    assert info.pixel_size == pytest.approx((2, 2))
    assert info.plane_distance == pytest.approx(5)


def test_images_are_listed_as_a_person_counts(tmp_path):
    for name in ("a10.tif", "a2.png", "a2.tif", "B1.png", "notes.txt", ".hidden.png", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "a2.tif.spa.jsonl").write_text("{}")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "c.png").write_bytes(b"")
    assert [e.name for e in list_images(tmp_path)] == ["a2.png", "a2.tif", "a10.tif", "B1.png"]
    names = [e.name for e in list_images(tmp_path, recursive=True)]
    assert set(names) == {"a2.png", "a2.tif", "a10.tif", "B1.png", "inner/c.png"}


@pytest.fixture
def very_deep(tmp_path):
    """A folder with images 0, 1 and 2100 folders deep; so long a path has no name."""
    top = tmp_path / "top"
    top.mkdir()
    iio.imwrite(top / "a.png", GREY)
    here = os.open(top, os.O_RDONLY)
    for depth in range(2100):
        os.mkdir("d", dir_fd=here)
        here, above = os.open("d", os.O_RDONLY, dir_fd=here), here
        os.close(above)
        if depth in (0, 2099):
            shutil.copyfile(top / "a.png", f"/proc/self/fd/{here}/b.png")
    os.close(here)
    yield top
    while (top / "d").exists():  # from the top: rmtree would go 2100 calls deep
        (top / "d" / "b.png").unlink(missing_ok=True)
        if (top / "d" / "d").exists():
            (top / "d" / "d").rename(top / "rest")
        (top / "d").rmdir()
        if (top / "rest").exists():
            (top / "rest").rename(top / "d")


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="writes through Linux's /proc")
def test_folders_of_any_depth_are_gone_through_as_far_as_paths_go(very_deep):
    assert [e.name for e in list_images(very_deep, recursive=True)] == ["a.png", "d/b.png"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.png", b""),
        ("empty.tif", b""),
        ("broken.tif", b"II*\0nonsense"),
        ("cut.npy", b"\x93NUMPY\x01\x00"),
        ("cut.nii.gz", gzip.compress(b"no volume", mtime=0)),
        ("text.png", b"this is no picture"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_sentence(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=name) as caught:
        open_image(path)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_refused_when_it_is_opened_or_read(tmp_path):
    whole = tmp_path / "whole.png"
    iio.imwrite(whole, COLOURS)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:200])
    with pytest.raises(InputError, match=r"cut\.png"):
        open_image(tmp_path / "cut.png")


def write_series(folder, *, slope=2, intercept=-1000):
    """Write a DICOM series whose files are named against the order of its slices."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir()
    series = generate_uid()
    for number, plane in enumerate(STACK):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"slice{9 - number}.dcm"
        content = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        content.SOPClassUID, content.SOPInstanceUID = CTImageStorage, generate_uid()
        content.SeriesInstanceUID, content.Modality = series, "CT"
        content.Rows, content.Columns = plane.shape
        content.SamplesPerPixel, content.PhotometricInterpretation = 1, "MONOCHROME2"
        content.BitsAllocated = content.BitsStored = 16
        content.HighBit, content.PixelRepresentation = 15, 0
        content.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        content.ImagePositionPatient = [0, 0, 5 * number]
        content.PixelSpacing, content.SliceThickness = [0.5, 0.25], 5
        content.RescaleSlope, content.RescaleIntercept = slope, intercept
        content.PixelData = plane.tobytes()
        pydicom.dcmwrite(path, content, enforce_file_format=True)


def test_a_dicom_series_is_one_volume_in_the_order_of_its_slices(tmp_path):
    write_series(tmp_path / "scan")
    entries = list_images(tmp_path, recursive=True)
    assert len(entries) == 1
    file = open_image(entries[0].path)
    assert file.info.axes == "ZYX"
    assert file.info.pixel_size == pytest.approx((500, 250))
    assert file.info.plane_distance == pytest.approx(5000)
    known = STACK.astype(float) * 2 - 1000
    np.testing.assert_allclose(np.asarray(file.levels[0]), known)
    np.testing.assert_allclose(np.asarray(file.levels[0][2, 3:9, 4:7]), known[2, 3:9, 4:7])


def test_a_folder_inside_that_may_not_be_entered_costs_no_other(strict_folder):
    for name in ("a.png", "inside/b.png"):
        path = strict_folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    (strict_folder / "inside").chmod(0)
    for recursive in (False, True):  # as lost+found on every disk
        assert [entry.name for entry in list_images(strict_folder, recursive=recursive)] == [
            "a.png"
        ]

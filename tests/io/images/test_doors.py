"""The same file is the same image for segment, batch, replay, masks and the docks."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_spa.batch.engine import OpenedImage
from napari_spa.batch.task import BatchTask
from napari_spa.io.images import open_image, open_stack, read_image, read_label_stack
from napari_spa.viewer.folder.reader import read_image_file

STACK = np.random.default_rng(5).integers(0, 200, (4, 24, 20)).astype(np.uint16)
SMALL = STACK[0].astype(np.uint8)


def nifti(path):
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(STACK.T, np.diag([2, 3, 5, 1])), path)


def zarr(path):
    pytest.importorskip("zarr").create_array(str(path), data=STACK)


def nrrd(path):
    itk = pytest.importorskip("SimpleITK")
    itk.WriteImage(itk.GetImageFromArray(STACK), str(path))


def lzw(path):
    planes = [Image.fromarray(plane.astype(np.uint8)) for plane in STACK]
    planes[0].save(path, compression="tiff_lzw", save_all=True, append_images=planes[1:])


FORMATS = {
    "channels.npy": (lambda p: np.save(p, np.stack([SMALL, SMALL + 1], axis=-1)), (1,), SMALL + 1),
    "one.npy": (lambda p: np.save(p, SMALL[..., None]), (), SMALL),
    "stack.npz": (lambda p: np.savez(p, STACK), (2,), STACK[2]),
    "stack.tif": (lambda p: tifffile.imwrite(p, STACK, imagej=True), (2,), STACK[2]),
    "lzw.tif": (lzw, (2,), STACK[2]),
    "stack.nii.gz": (nifti, (2,), STACK[2]),
    "stack.nrrd": (nrrd, (2,), STACK[2]),
    "stack.zarr": (zarr, (2,), STACK[2]),
    "grey.png": (lambda p: Image.fromarray(SMALL).save(p), (), SMALL),
    "opaque.png": (
        lambda p: Image.fromarray(np.dstack([SMALL, SMALL]), "LA").save(p), (), SMALL
    ),
    "colours.png": (
        lambda p: Image.fromarray(np.stack([SMALL, SMALL // 2, SMALL], -1)).save(p),
        (),
        np.stack([SMALL, SMALL // 2, SMALL], -1),
    ),
    "grey.bmp": (lambda p: Image.fromarray(SMALL).save(p), (), SMALL),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_the_same_image_at_every_door(tmp_path, name):
    write, index, expected = FORMATS[name]
    path = tmp_path / name
    write(path)
    segment, info = read_image(path, index=index)
    batch = OpenedImage.open(BatchTask(name, path))
    dock = read_image_file(name, path)
    replay = open_stack(path, dock.shape)
    np.testing.assert_array_equal(segment, expected)
    for levels in (batch.levels, dock.file.levels, replay.levels):
        np.testing.assert_array_equal(np.asarray(levels[0][index]), expected)
        assert levels[0].dtype == segment.dtype
    assert batch.shape == dock.shape == open_image(path).shape
    assert batch.info == dock.file.info == replay.info
    assert info.pixel_size == batch.info.pixel_size
    if expected.ndim == 2:
        np.testing.assert_array_equal(read_label_stack(path, batch.shape)[index], expected)

"""Open an image, whatever it is: the one way in for every command and both docks.

=====================  =====================================================
TIFF, OME-TIFF, ...    read in parts when large (tifffile; imagecodecs)
PNG, JPEG, ...         what Pillow reads, upright; 16-bit colours by imagecodecs
``.npy``, ``.npz``     one array
NIfTI, Analyze, MGH    with nibabel
NRRD, MetaImage        with SimpleITK
OME-Zarr               a folder, with zarr
DICOM                  a series of files, with pydicom (and pylibjpeg)
CZI, LIF, ND2, ...     with bioio and its plugins
=====================  =====================================================
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_spa.errors import ImageWarning, InputError, printable
from napari_spa.io.images import arrays, dicom, tiff, vendor, volumes, zarr_folder
from napari_spa.io.images.faults import reading
from napari_spa.io.images.layout import ImageFile, ImageInfo, RawImage, arranged, with_shape
from napari_spa.io.images.listing import is_dicom, series_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def open_image(path: Path | str) -> ImageFile:
    """Open an image, whatever it is; pixels are read late where the format allows.

    Parameters
    ----------
    path : Path or str
        A file, a Zarr folder, or the folder of a DICOM series.

    Returns
    -------
    ImageFile
        Axes of length one are left out.

    Raises
    ------
    InputError
        When it cannot be read; one sentence.

    Warns
    -----
    ImageWarning
        When the file holds more than is opened, or should hold more than it does; the same
        sentences are the ``notes`` of the result.
    """
    path = Path(path)
    with reading(path):
        file = arranged(path, read_raw(path))
    for note in file.notes:
        warnings.warn(printable(note), ImageWarning, stacklevel=2)
    return file


def open_stack(path: Path, shape: tuple[int, ...]) -> ImageFile:
    """Open an image of known extent; see :func:`open_image`."""
    file = open_image(path)
    fitting = with_shape(file, shape)
    if fitting is None:
        found = extent(file.levels[0].shape)
        raise InputError(f"{path} is of {found} pixels, not {extent(shape)}.")
    return fitting


def read_image(
    path: Path | str, *, index: Sequence[int] | None = None
) -> tuple[NDArray[np.generic], ImageInfo]:
    """Read one plane of an image; see :func:`open_image`.

    Parameters
    ----------
    path : Path or str
        The file or folder.
    index : sequence of int or None
        The slice of a stack: one number for each axis before rows and columns, as
        (time, plane).  Negative numbers count from the end.

    Returns
    -------
    array : ndarray of shape (H, W) or (H, W, C)
        Values and type as stored.
    info : ImageInfo
        Axes and pixel size.

    Raises
    ------
    InputError
        When the file cannot be read, is a stack and no slice was given, or the slice
        does not exist.
    """
    file = open_image(path)
    taken = _checked_index(file, index)
    plane = np.asarray(file.levels[0][taken])
    info = file.info
    axes = "YX" if plane.ndim == 2 else "YXC"
    return plane, ImageInfo(axes, info.shape, info.pixel_size, taken)


def image_parts(path: Path) -> tuple[Path, ...]:
    """Return all files that make up an image, in an order that is always the same."""
    path = Path(path)
    _check_existence(path)
    with reading(path):
        if path.is_dir() and zarr_folder.is_zarr(path):
            return tuple(sorted(part for part in path.rglob("*") if part.is_file()))
        if path.is_dir() or is_dicom(path):
            return series_of(path)
        if path.suffix.lower() in tiff.SUFFIXES:
            parts = [path.parent / name for name in tiff.ome_parts(path)]
            return tuple(part for part in parts if os.path.exists(part)) or (path,)
        return (path, *volumes.data_files(path))


def read_raw(path: Path, *, as_labels: bool = False) -> RawImage:
    """Read a file as it is; called inside :func:`~napari_spa.io.images.faults.reading`."""
    _check_existence(path)
    if path.is_dir():
        if zarr_folder.is_zarr(path):
            return zarr_folder.read_zarr(path)
        return dicom.read_series(path, series_of(path))
    if not path.is_file():
        raise ValueError("it is no file")
    if path.stat().st_size == 0:
        raise ValueError("the file is empty")
    name, suffix = path.name.lower(), path.suffix.lower()
    if suffix in tiff.SUFFIXES:
        return tiff.read_tiff(path, as_labels=as_labels)
    if suffix in arrays.NUMPY_SUFFIXES:
        return arrays.read_numpy(path)
    if name.endswith(volumes.NIFTI_SUFFIXES):
        return volumes.read_nifti(path)
    if suffix in volumes.ITK_SUFFIXES:
        return volumes.read_itk(path)
    if suffix in vendor.VENDOR_SUFFIXES:
        return vendor.read_vendor(path)
    if is_dicom(path):
        return dicom.read_series(path, series_of(path))
    return arrays.read_picture(path, as_labels=as_labels)


def extent(shape: Sequence[int]) -> str:
    """Return a shape in words: ``5 x 40 x 50``."""
    return " x ".join(str(int(n)) for n in shape)


def _check_existence(path: Path) -> None:
    if not os.path.exists(path):
        raise InputError(f"{path} does not exist.")


def _checked_index(file: ImageFile, index: Sequence[int] | None) -> tuple[int, ...]:
    """Return the slice that was asked for, where there is something to choose."""
    sizes, given = file.shape[:-2], tuple(index or ())
    if not sizes and given in ((), (0,)):
        return ()
    if len(given) != len(sizes):
        raise InputError(_stack_sentence(file.path, sizes, given))
    for number, size in zip(given, sizes, strict=True):
        if not -size <= number < size:
            raise InputError(f"{file.path} has slices 0 to {size - 1}, not {number}.")
    return given


def _stack_sentence(path: Path, sizes: tuple[int, ...], given: tuple[int, ...]) -> str:
    if not sizes:
        return f"{path} is a single image; leave the slice out."
    if given:
        return f"{path} is a stack of {extent(sizes)} slices; choose one with {len(sizes)} numbers."
    example = ",".join(str(size // 2) for size in sizes)
    return (
        f"{path} is a stack of {extent(sizes)} slices; choose one, for example --slice {example}."
    )

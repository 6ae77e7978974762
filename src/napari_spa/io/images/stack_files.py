"""Open an image file as napari opens it: all axes, in the order of the file."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.errors import InputError
from napari_spa.io.images.open import ImageInfo, read_image
from napari_spa.io.images.pixel_size import pixel_size

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_TIFF = {".tif", ".tiff"}
_AXES = {2: "YX", 3: "ZYX", 4: "TZYX", 5: "TZCYX"}
# What the readers raise on damaged files.
_FAULTS = (
    OSError,
    ValueError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True, slots=True, eq=False)
class StackFile:
    """An image or stack on disk.

    Attributes
    ----------
    path : Path
        The file or folder.
    levels : tuple of array-like
        Full resolution first; of the logical axes, and perhaps colours after them.
    info : ImageInfo
        Axes (colours left out) and pixel size, for writing labels of the same shape.
    """

    path: Path
    levels: tuple[Any, ...]
    info: ImageInfo


def open_stack(path: Path, shape: tuple[int, ...]) -> StackFile:
    """Open an image of known extent.

    A TIFF file that is not compressed and a ``.npy`` file are mapped, Zarr is read as it
    is asked for; other files are read whole.  What it does not know, or finds of another
    extent, it leaves to :func:`napari_spa.io.images.listing.open_image`.

    Parameters
    ----------
    path : Path
        TIFF, ``.npy``, a Zarr folder, for one plane whatever
        :func:`napari_spa.io.images.open.read_image` reads, or an image of a folder.
    shape : tuple of int
        Of its data, colours left out.

    Returns
    -------
    StackFile

    Raises
    ------
    InputError
        When it cannot be read or is of another shape.
    """
    if _known_elsewhere(path):
        return _fitting(_image_file(path), shape)
    try:
        return _open_stack(path, shape)
    except InputError as error:
        try:
            return _fitting(_image_file(path), shape)
        except InputError:
            raise error from None


def _open_stack(path: Path, shape: tuple[int, ...]) -> StackFile:
    if len(shape) == 2 and not path.is_dir():
        image, info = read_image(path)
        levels: tuple[Any, ...] = (image,)
        info = ImageInfo("YX", info.shape, info.pixel_size)
    else:
        levels, axes, size = _open(path)
        info = ImageInfo(_label_axes(axes, len(shape)), (shape[-2], shape[-1]), size)
    return _fitting(StackFile(path, levels, info), shape)


def _fitting(opened: StackFile, shape: tuple[int, ...]) -> StackFile:
    """Return a file whose extent is as wanted; refuse another."""
    found = tuple(int(n) for n in opened.levels[0].shape)
    named = len(opened.info.axes) or len(shape)
    if found[: len(shape)] != shape or len(found) > len(shape) + 1 or named != len(shape):
        raise InputError(f"{opened.path} is of {_extent(found)} pixels, not {_extent(shape)}.")
    return opened


def _known_elsewhere(path: Path) -> bool:
    from napari_spa.io.images.dicom_files import looks_like_dicom

    return path.name.lower().endswith((".nii", ".nii.gz", ".npz")) or looks_like_dicom(path)


def _image_file(path: Path) -> StackFile:
    from napari_spa.io.images.listing import open_image

    return open_image(path)


def read_label_stack(path: Path, shape: tuple[int, ...]) -> NDArray[np.integer]:
    """Read labels of a known extent; axes of length one may be missing in the file.

    Parameters
    ----------
    path : Path
        As for :func:`open_stack`.
    shape : tuple of int
        Of the labels.

    Returns
    -------
    ndarray of shape ``shape``
        As stored; bool as uint8, whole numbers stored as float as uint32 or int64.

    Raises
    ------
    InputError
        When it cannot be read, is of another shape, or holds no whole numbers.
    """
    levels = _image_file(path).levels if _known_elsewhere(path) else _open(path)[0]
    labels = np.asarray(levels[0])
    if [n for n in labels.shape if n > 1] != [n for n in shape if n > 1]:
        raise InputError(f"{path} is of {_extent(labels.shape)} pixels, not {_extent(shape)}.")
    if labels.dtype.kind == "f" and np.array_equal(labels, np.trunc(labels)):
        labels = _whole_numbers(labels, path)  # as many programs write masks
    if labels.dtype.kind not in "bui":
        raise InputError(f"{path} holds {labels.dtype} values; labels are whole numbers.")
    return labels.reshape(shape).astype(np.uint8 if labels.dtype == bool else labels.dtype)


def _whole_numbers(labels: NDArray[np.floating], path: Path) -> NDArray[np.integer]:
    low, high = (float(labels.min()), float(labels.max())) if labels.size else (0.0, 0.0)
    if not -(2.0**53) <= low <= high <= 2.0**53:
        raise InputError(f"{path} holds values up to {high:g}; labels are at most 2**32 - 1.")
    return labels.astype(np.uint32 if low >= 0 and high < 2**32 else np.int64)


def _extent(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


_Opened = tuple[tuple[Any, ...], str, tuple[float, float] | None]


def _open(path: Path) -> _Opened:
    if not path.exists():
        raise InputError(f"{path} does not exist.")
    try:
        if path.is_dir():
            return _open_zarr(path), "", None
        if path.suffix.lower() in _TIFF:
            return _open_tiff(path)
        if path.suffix.lower() == ".npy":
            return (np.load(path, mmap_mode="r", allow_pickle=False),), "", None
        return (read_image(path)[0],), "", None
    except InputError:
        raise
    except _FAULTS as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
        raise InputError(f"{path} cannot be read as an image: {reason}.") from error


def _open_tiff(path: Path) -> _Opened:
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        if not tiff.series:
            raise ValueError("it holds no image")
        series = tiff.series[0]
        axes, size = str(series.axes), pixel_size(tiff)
        array = None if series.dataoffset is not None else np.asarray(series.asarray())
    if array is None:
        array = tifffile.memmap(path, series=0, mode="r")
    return (array,), axes, size


def _open_zarr(path: Path) -> tuple[Any, ...]:
    """Open an array, or a pyramid as napari does: the arrays of a group, in order."""
    try:
        import zarr
    except ImportError as error:
        raise InputError(f"to read {path}, install napari-spa[batch].") from error
    try:
        opened: Any = zarr.open(str(path), mode="r")
    except (OSError, LookupError, ValueError) as error:
        raise ValueError("it is a folder, and no Zarr array") from error
    if not isinstance(opened, zarr.Group):
        return (opened,)
    groups = sorted(opened.group_keys())
    group: Any = opened[groups[0]] if groups else opened
    levels = tuple(group[name] for name in sorted(group.array_keys()))
    if not levels:
        raise ValueError("it holds no array")
    return levels


def _label_axes(axes: str, count: int) -> str:
    """Name the axes of labels; a file's names count where labels can be written with them."""
    named = axes[:count]
    if len(named) == count and named.endswith("YX") and set(named) <= set("TZCYX"):
        return named
    return _AXES.get(count, "")

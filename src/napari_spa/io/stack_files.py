"""Open an image file as napari opens it: all axes, in the order of the file."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.errors import InputError
from napari_spa.io.images import ImageInfo, read_image
from napari_spa.io.pixel_size import pixel_size

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
    is asked for; other files are read whole.

    Parameters
    ----------
    path : Path
        TIFF, ``.npy``, a Zarr folder, or for one plane whatever
        :func:`napari_spa.io.images.read_image` reads.
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
    if len(shape) == 2 and not path.is_dir():
        image, info = read_image(path)
        levels: tuple[Any, ...] = (image,)
        info = ImageInfo("YX", info.shape, info.pixel_size)
    else:
        levels, axes, size = _open(path)
        info = ImageInfo(_label_axes(axes, len(shape)), (shape[-2], shape[-1]), size)
    found = tuple(int(n) for n in levels[0].shape)
    if found[: len(shape)] != shape or len(found) > len(shape) + 1:
        raise InputError(f"{path} is of {_extent(found)} pixels, not {_extent(shape)}.")
    return StackFile(path, levels, info)


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
        As stored; bool as uint8.

    Raises
    ------
    InputError
        When it cannot be read, is of another shape, or holds no whole numbers.
    """
    levels, _, _ = _open(path)
    labels = np.asarray(levels[0])
    if [n for n in labels.shape if n > 1] != [n for n in shape if n > 1]:
        raise InputError(f"{path} is of {_extent(labels.shape)} pixels, not {_extent(shape)}.")
    if labels.dtype.kind not in "bui":
        raise InputError(f"{path} holds {labels.dtype} values; labels are whole numbers.")
    return labels.reshape(shape).astype(np.uint8 if labels.dtype == bool else labels.dtype)


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

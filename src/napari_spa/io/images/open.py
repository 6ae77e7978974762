"""Read an image from disk, and write the masks that were made on it."""

from __future__ import annotations

import struct
import tokenize
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_spa.errors import InputError
from napari_spa.io.files import atomic_path
from napari_spa.io.images.labels import (
    LARGEST,
    label_dtype,
    needs_bigtiff,
    write_label_stack,
)
from napari_spa.io.images.pixel_size import pixel_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_spa.core.stacks import PlaneStack

_TIFF = {".tif", ".tiff"}
# What the decoders raise on damaged files, besides their own ValueError and OSError.
_FAULTS = (
    OSError,
    ValueError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    TypeError,
    struct.error,
    tokenize.TokenError,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What a file says about its pixels besides their values.

    Attributes
    ----------
    axes : str
        Of the array that was returned: ``"YX"`` or ``"YXC"``; of a stack of labels that
        is to be written, its own, as ``"ZYX"`` or ``"TZCYX"``.
    shape : (int, int)
        Rows and columns.
    pixel_size : (float, float) or None
        Height and width of a pixel in micrometres, where the file says so.
    index : tuple of int
        The slice that was taken from a stack, one number for each stack axis.
    plane_distance : float or None
        Distance between neighbouring planes along Z in micrometres, for writing a stack.
    """

    axes: str
    shape: tuple[int, int]
    pixel_size: tuple[float, float] | None = None
    index: tuple[int, ...] = ()
    plane_distance: float | None = None


def read_image(
    path: Path | str, *, index: Sequence[int] | None = None
) -> tuple[NDArray[np.generic], ImageInfo]:
    """Read one 2D image: TIFF, PNG, JPEG, NumPy and what imageio reads besides.

    Parameters
    ----------
    path : Path or str
        File to read.
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
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give one image file.")
    if not path.exists():
        raise InputError(f"{path} does not exist.")
    try:
        array, axes, size = _read(path)
    except _FAULTS as error:
        raise InputError(f"{path} cannot be read as an image: {_first_line(error)}.") from error
    if array.size == 0:
        raise InputError(f"{path} holds no pixel.")
    if array.dtype.kind not in "biuf":
        raise InputError(f"{path} holds {array.dtype} values; an image holds real numbers.")
    plane, plane_axes, taken = _take_plane(array, axes, index, path)
    height, width = plane.shape[:2]
    return plane, ImageInfo(plane_axes, (height, width), size, taken)


def _first_line(error: BaseException) -> str:
    """Return the first line of an error's text, without its final stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".:")


_Read = tuple[NDArray[np.generic], str, tuple[float, float] | None]


def _read(path: Path) -> _Read:
    suffix = path.suffix.lower()
    if suffix in _TIFF:
        return _read_tiff(path)
    if suffix == ".npy":
        array = np.load(path, allow_pickle=False)
        return array, _guess_axes(array.shape), None
    array = _read_picture(path)
    return array, _guess_axes(array.shape), None


def _read_picture(path: Path) -> NDArray[np.generic]:
    import imageio.v3 as iio
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about size and damage; what matters is raised
        try:
            # The other plugins of imageio are deprecated or need more packages.
            return np.asarray(iio.imread(path, plugin="pillow"))
        except Image.DecompressionBombError as error:
            raise ValueError("it is too large for this format; save it as TIFF") from error


def _guess_axes(shape: tuple[int, ...]) -> str:
    """Name the axes of a file that does not: a short last axis is colour."""
    colour = len(shape) > 2 and shape[-1] <= 4 < min(shape[-3:-1])
    named = "YXC" if colour else "YX"
    return "Q" * (len(shape) - len(named)) + named


def _read_tiff(path: Path) -> _Read:
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        if not tiff.series:
            raise ValueError("it holds no image")
        series = tiff.series[0]
        array = np.asarray(series.asarray())
        axes = series.axes.replace("S", "C")
        return array, axes, pixel_size(tiff)


def _take_plane(
    array: NDArray[np.generic], axes: str, index: Sequence[int] | None, path: Path
) -> tuple[NDArray[np.generic], str, tuple[int, ...]]:
    """Take one YX or YXC plane out of an array with named axes."""
    if array.ndim < 2 or "Y" not in axes or "X" not in axes:
        raise InputError(f"{path} has the shape {array.shape}; an image needs rows and columns.")
    # Axes of length one carry no choice.
    for axis in reversed(range(array.ndim)):
        if array.shape[axis] == 1 and axes[axis] not in "YX":
            array, axes = array.squeeze(axis), axes[:axis] + axes[axis + 1 :]
    stack = [axis for axis, name in enumerate(axes) if name not in "YXC"]
    sizes = tuple(array.shape[axis] for axis in stack)
    given = tuple(index or ())
    if not stack and given in ((), (0,)):
        given = ()
    elif len(given) != len(stack):
        raise InputError(_stack_sentence(path, sizes, given))
    for number, size in zip(given, sizes, strict=True):
        if not -size <= number < size:
            raise InputError(f"{path} has slices 0 to {size - 1}, not {number}.")
    order = [*stack, axes.index("Y"), axes.index("X"), *(i for i, a in enumerate(axes) if a == "C")]
    plane = array.transpose(order)[given]
    return plane, "YX" if plane.ndim == 2 else "YXC", given


def _stack_sentence(path: Path, sizes: tuple[int, ...], given: tuple[int, ...]) -> str:
    if not sizes:
        return f"{path} is a single image; leave the slice out."
    shape = " x ".join(map(str, sizes))
    example = ",".join(str(size // 2) for size in sizes)
    if given:
        return f"{path} is a stack of {shape} slices; choose one with {len(sizes)} numbers."
    return f"{path} is a stack of {shape} slices; choose one, for example --slice {example}."


def write_labels(
    path: Path | str,
    labels: NDArray[np.generic] | PlaneStack,
    info: ImageInfo,
    *,
    highest: int | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> None:
    """Write a label image or stack as a zlib-compressed TIFF, whole or not at all.

    The same labels give the same bytes.  An image is a plain TIFF; a stack is an OME-TIFF
    (BigTIFF where it may need more than 4 GB), read and written plane by plane.

    Parameters
    ----------
    path : Path or str
        File to write; its folder is made if needed.
    labels : ndarray of shape (H, W), or array-like of shape (..., H, W)
        bool (stored as 0 and 1) or non-negative integers; stored in the smallest of
        uint8, uint16 and uint32 that holds them.  A stack may be a numpy, zarr or dask
        array.
    info : ImageInfo
        Of the image; its pixel size is kept.  Of a stack also the axes, ``"ZYX"``,
        ``"TYX"``, ``"TZCYX"``, ..., and the distance of its planes; channels may be
        missing from the labels.
    highest : int or None
        The highest label of a stack, which decides how it is stored; by default the
        planes are read once more to find it.
    progress : callable or None
        Called with the share of a stack that is done and a message; may raise
        ``Cancelled``.

    Raises
    ------
    InputError
        When the labels are not bool or non-negative integers, or are not of the axes.
    DataError
        When the file cannot be written.
    """
    import tifffile

    if len(np.shape(labels)) > 2:
        write_label_stack(Path(path), labels, info, highest=highest, progress=progress)
        return
    array = _as_labels(labels)
    options: dict[str, Any] = {}
    if info.pixel_size is not None:
        height, width = info.pixel_size
        options = {"resolution": (1e4 / width, 1e4 / height), "resolutionunit": "CENTIMETER"}
    with atomic_path(Path(path)) as temporary:
        tifffile.imwrite(
            temporary,
            array,
            bigtiff=needs_bigtiff(array.shape, array.dtype),
            compression="zlib",
            photometric="minisblack",
            metadata={"axes": "YX"},
            **options,
        )


def write_picture(path: Path | str, pixels: NDArray[np.uint8]) -> None:
    """Write a picture for people to look at, whole or not at all.

    Parameters
    ----------
    path : Path or str
        A ``.png`` file.
    pixels : ndarray of shape (H, W) or (H, W, 3)
        uint8.

    Raises
    ------
    DataError
        When the file cannot be written.
    """
    import imageio.v3 as iio

    with atomic_path(Path(path)) as temporary:
        iio.imwrite(temporary, pixels, extension=".png")


def _as_labels(labels: NDArray[np.generic] | PlaneStack) -> NDArray[np.generic]:
    array = np.asarray(labels)
    if array.ndim != 2 or array.dtype.kind not in "bui":
        raise InputError(f"labels must be a 2D array of integers, not {array.shape} {array.dtype}.")
    if array.dtype == bool:
        return array.astype(np.uint8)
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    if low < 0 or high > LARGEST:
        raise InputError(f"labels must be between 0 and 2**32 - 1, not {low} to {high}.")
    return array.astype(label_dtype(high))

"""Write a stack of label planes as OME-TIFF, one plane in memory at a time.

OME-TIFF rather than ImageJ's own kind, which knows neither compression nor 32-bit labels:
tifffile, napari, QuPath and Fiji (Bio-Formats) read its voxel size.  The size of a pixel
stands in the plain TIFF tags as well, for programs that read no OME.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np

from napari_spa.errors import InputError
from napari_spa.io.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_spa.core.stacks import PlaneStack
    from napari_spa.io.images.open import ImageInfo

LARGEST = 0xFFFFFFFF
_NAMESPACE = uuid5(NAMESPACE_URL, "napari-spa/labels")
# Classic TIFF counts bytes in 32 bits; some are for tags and for what zlib cannot shrink.
_CLASSIC_BYTES = 2**32 - 2**25


def write_label_stack(
    path: Path,
    labels: PlaneStack,
    info: ImageInfo,
    *,
    highest: int | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> None:
    """Write the planes of a stack; see :func:`napari_spa.io.images.open.write_labels`.

    Parameters
    ----------
    path : Path
        File to write.
    labels : array-like of shape (..., H, W)
        bool or non-negative integers.
    info : ImageInfo
        Its axes name the stack's; channels and samples may be missing from the labels.
    highest : int or None
        The highest label; found by going through the planes once more when not given.
    progress : callable or None
        Called with the share done and a message; may raise ``Cancelled``.

    Raises
    ------
    InputError
        When the labels or their axes cannot be written.
    DataError
        When the file cannot be written.
    """
    import tifffile

    axes = _label_axes(labels, info.axes)
    report = progress or _silent
    scans = 2 if highest is None and labels.dtype.kind != "b" else 1
    if highest is None:
        highest = _highest(labels, lambda share: report(share / scans, "reading the labels"))
    kept = label_dtype(highest)
    shape = tuple(int(n) for n in labels.shape)
    options: dict[str, Any] = {}
    if info.pixel_size is not None:
        height, width = info.pixel_size
        options = {"resolution": (1e4 / width, 1e4 / height), "resolutionunit": "CENTIMETER"}
    begun = (scans - 1) / scans
    planes = _planes(
        labels, kept, lambda share: report(begun + share / scans, "writing the labels")
    )
    with atomic_path(path) as temporary:
        try:
            tifffile.imwrite(
                temporary,
                planes,
                shape=shape,
                dtype=kept,
                bigtiff=needs_bigtiff(shape, kept),
                ome=True,
                compression="zlib",
                photometric="minisblack",
                metadata=_ome(axes, shape, kept, info),
                **options,
            )
        except tifffile.OmeXmlError as error:
            raise InputError(f"axes {axes} cannot be written as OME-TIFF: {error}.") from error


def label_dtype(highest: int) -> np.dtype[np.unsignedinteger[Any]]:
    """Return the smallest type that holds a label.

    Parameters
    ----------
    highest : int
        The highest label.

    Returns
    -------
    dtype
        uint8, uint16 or uint32.

    Raises
    ------
    InputError
        When no such type holds it.
    """
    if not 0 <= highest <= LARGEST:
        raise InputError(f"labels must be between 0 and 2**32 - 1, not {highest}.")
    if highest <= 0xFF:
        return np.dtype(np.uint8)
    return np.dtype(np.uint16 if highest <= 0xFFFF else np.uint32)


def needs_bigtiff(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Tell whether pixels could outgrow a classic TIFF, should they not compress at all.

    Parameters
    ----------
    shape : tuple of int
        Of the array.
    dtype : dtype
        Of the file.

    Returns
    -------
    bool
    """
    size = dtype.itemsize
    for extent in shape:  # Python's own integers: a product in int64 could run over
        size *= extent
    return size > _CLASSIC_BYTES


def _silent(share: float, message: str) -> None:
    """Report to nobody."""


def _label_axes(labels: PlaneStack, axes: str) -> str:
    """Name the axes of a stack; an image's colours have no labels of their own."""
    shape, dtype = labels.shape, labels.dtype
    named = axes.upper()
    if len(shape) < len(named):
        named = named.replace("C", "").replace("S", "")
    if len(named) != len(shape) or not named.endswith("YX") or dtype.kind not in "bui":
        raise InputError(
            f"labels must be an array of integers with axes {axes}, not {shape} {dtype}."
        )
    if len(set(named)) != len(named) or not named.isalpha():
        raise InputError(f"axes {axes} must name each axis by one letter of its own.")
    if 0 in shape:
        raise InputError(f"labels must be at least one pixel, not {shape}.")
    return named


def _indices(labels: PlaneStack, report: Callable[[float], None]) -> Iterator[tuple[int, ...]]:
    sizes = labels.shape[:-2]
    count = int(np.prod(sizes, dtype=np.int64))
    for number, index in enumerate(np.ndindex(*sizes)):
        report(number / count)
        yield index


def _highest(labels: PlaneStack, report: Callable[[float], None]) -> int:
    if labels.dtype.kind == "b":
        return 1
    highest = 0
    for index in _indices(labels, report):
        plane = np.asarray(labels[index])
        low, high = int(plane.min()), int(plane.max())
        if low < 0:
            raise InputError(f"labels must be between 0 and 2**32 - 1, not {low} to {high}.")
        highest = max(highest, high)
    return highest


def _planes(
    labels: PlaneStack, dtype: np.dtype[np.unsignedinteger[Any]], report: Callable[[float], None]
) -> Iterator[NDArray[np.unsignedinteger[Any]]]:
    most = int(np.iinfo(dtype).max)
    for index in _indices(labels, report):
        plane = np.asarray(labels[index])
        # Again: somebody may paint while it is written, and `highest` was only said.
        low, high = int(plane.min()), int(plane.max())
        if low < 0 or high > most:
            raise InputError(f"labels must be between 0 and {most}, not {low} to {high}.")
        yield np.ascontiguousarray(plane, dtype=dtype)


def _ome(
    axes: str, shape: tuple[int, ...], dtype: np.dtype[Any], info: ImageInfo
) -> dict[str, object]:
    """OME's facts; nothing in them depends on the clock, the machine or a library's version."""
    sizes: dict[str, object] = {}
    lengths = dict(zip("YX", info.pixel_size or (), strict=False))
    if info.plane_distance is not None:
        lengths["Z"] = info.plane_distance
    for axis, length in lengths.items():
        sizes |= {f"PhysicalSize{axis}": float(length), f"PhysicalSize{axis}Unit": "µm"}
    name = f"{axes} {shape} {dtype} {sorted(lengths.items())}"
    return {
        "axes": axes,
        "UUID": str(uuid5(_NAMESPACE, name)),
        "Creator": "napari-spa",
        "Name": "labels",
        **sizes,
    }

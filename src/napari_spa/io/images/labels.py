"""Labels: written as TIFF, an image or a stack, and read from whatever people have.

A stack is an OME-TIFF, one plane in memory at a time: OME-TIFF rather than ImageJ's own kind,
which knows neither compression nor 32-bit labels; tifffile, napari, QuPath and Fiji
(Bio-Formats) read its voxel size.  The size of a pixel stands in the plain TIFF tags as well,
for programs that read no OME.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np

from napari_spa.errors import InputError
from napari_spa.io.files import atomic_path
from napari_spa.io.images.faults import reading
from napari_spa.io.images.layout import ImageInfo, arranged
from napari_spa.io.images.lazy import number_of_values
from napari_spa.io.images.open import extent, read_raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_spa.core.plane import PlaneStack

LARGEST = 0xFFFFFFFF
_NAMESPACE = uuid5(NAMESPACE_URL, "napari-spa/labels")
# Classic TIFF counts bytes in 32 bits; some are for tags and for what zlib cannot shrink.
_CLASSIC_BYTES = 2**32 - 2**25
_WHITE = 255
_RINGING = 64  # how far JPEG takes the values of a black and white mask from 0 and 255
_FEW = 0.02  # the share of pixels that may lie between, on the edges


def write_labels(
    path: Path | str,
    labels: NDArray[np.generic] | PlaneStack,
    info: ImageInfo,
    *,
    highest: int | None = None,
    progress: Callable[[float, str], None] | None = None,
    within: Path | None = None,
) -> None:
    """Write labels of shape (..., H, W) as a zlib-compressed TIFF, whole or not at all.

    They are bool (stored as 0 and 1) or numbers from 0 to 2**32 - 1, stored in the smallest type
    that holds them; the same labels give the same bytes.  An image is a plain TIFF; a stack, which
    may be a zarr or dask array, is an OME-TIFF (BigTIFF where it may need more than 4 GB), read
    and written plane by plane.  ``info`` brings the size of a pixel, and of a stack the axes and
    the distance of planes; channels may be missing from the labels.  A stack's ``highest`` label
    decides how it is stored; where it is not given, the planes are read once more to find it.
    ``progress`` may raise ``Cancelled``; the folder ``within`` has to be there: it is never made.
    """
    import tifffile

    flat, shape = len(labels.shape) == 2, tuple(int(n) for n in labels.shape)
    axes = _label_axes(labels, "YX" if flat else info.axes)
    if flat:  # read once
        labels, highest = np.asarray(labels), None
    report = progress or (lambda share, message: None)
    begun = 0.0
    if highest is None and labels.dtype.kind != "b":
        begun = 0.5
        read = _planes(labels, LARGEST, lambda share: report(share / 2, "reading the labels"))
        highest = max(high for _, high in read)
    kept = label_dtype(1 if highest is None else highest)
    # Looked at again: someone may paint while it is written, and `highest` was only said.
    checked = _planes(
        labels,
        int(np.iinfo(kept).max),
        lambda share: report(begun + share * (1 - begun), "writing the labels"),
    )
    planes = (np.ascontiguousarray(plane, dtype=kept) for plane, _ in checked)
    tags = _tags(shape, kept, info)
    with atomic_path(Path(path), within=within) as temporary:
        if flat:
            tifffile.imwrite(temporary, next(planes), metadata={"axes": axes}, **tags)
            return
        facts = _ome(axes, shape, kept, info)
        try:
            tifffile.imwrite(
                temporary, planes, shape=shape, dtype=kept, ome=True, metadata=facts, **tags
            )
        except tifffile.OmeXmlError as error:
            raise InputError(f"axes {axes} cannot be written as OME-TIFF: {error}.") from error


def write_picture(path: Path | str, pixels: NDArray[np.uint8]) -> None:
    """Write a picture for people to look at, uint8 ``(H, W)`` or ``(H, W, 3)``, as a ``.png``."""
    import imageio.v3 as iio

    with atomic_path(Path(path)) as temporary:
        iio.imwrite(temporary, pixels, extension=".png")


def read_label_stack(path: Path, shape: tuple[int, ...]) -> NDArray[np.integer]:
    """Read labels of a known shape; axes of length one may be missing in the file.

    Palettes count by number, and colours where red, green and blue agree.  Values are as stored;
    bool as uint8, whole numbers stored as float as uint32 or int64.  A black and white mask in a
    lossy format, such as JPEG, is 0 and 255.  ``InputError`` for another shape, for what is no
    whole number, and for more than black and white in a format that changes values.
    """
    path = Path(path)
    with reading(path):
        raw = read_raw(path, as_labels=True)
        if _longer(raw.levels[0].shape) == _longer(shape):  # as it lies there: nothing to guess
            raw = replace(raw, axes=("Q" * len(raw.axes) + "YX")[-len(raw.axes) :])
        file = arranged(path, raw)
        labels = np.asarray(file.levels[0])
    if labels.ndim > len(file.info.axes):
        labels = _without_colours(path, labels)
    if _longer(labels.shape) != _longer(shape):
        found = extent(labels.shape)
        raise InputError(f"{path} is of {found} pixels, not {extent(shape)}.")
    if raw.lossy:
        labels = _black_and_white(path, labels)
    if labels.dtype.kind == "f" and np.array_equal(labels, np.trunc(labels)):
        labels = _whole_numbers(labels, path)  # as many programs write masks
    if labels.dtype.kind not in "bui":
        raise InputError(f"{path} holds {labels.dtype} values; labels are whole numbers.")
    return labels.reshape(shape).astype(np.uint8 if labels.dtype == bool else labels.dtype)


def _longer(shape: Sequence[int]) -> list[int]:
    """Return the extents of a shape without those of one."""
    return [int(n) for n in shape if n > 1]


def _without_colours(path: Path, labels: NDArray[Any]) -> NDArray[Any]:
    """Return grey that was saved as colours; opacity does not count."""
    first = labels[..., 0]
    if all(np.array_equal(first, labels[..., n]) for n in (1, 2)):
        return first
    raise InputError(f"{path} is a picture in colours; save labels as numbers: grey or a palette.")


def _black_and_white(path: Path, labels: NDArray[Any]) -> NDArray[Any]:
    """Return the two values of a mask that was saved as JPEG; refuse more than two."""
    high = int(labels.max()) if labels.size else 0
    between = (labels > _RINGING) & (labels < _WHITE - _RINGING)
    if labels.dtype != np.uint8 or (high and high < _WHITE - _RINGING) or between.mean() > _FEW:
        raise InputError(
            f"{path} is in a format that changes labels, such as JPEG; save it as PNG or TIFF."
        )
    return np.where(labels > _WHITE // 2, _WHITE, 0).astype(np.uint8)


def _whole_numbers(labels: NDArray[np.floating], path: Path) -> NDArray[np.integer]:
    low, high = (float(labels.min()), float(labels.max())) if labels.size else (0.0, 0.0)
    if not -(2.0**53) <= low <= high <= 2.0**53:
        raise InputError(f"{path} holds values up to {high:g}; labels are at most 2**32 - 1.")
    return labels.astype(np.uint32 if low >= 0 and high < 2**32 else np.int64)


def label_dtype(highest: int) -> np.dtype[np.unsignedinteger[Any]]:
    """Return the smallest type that holds a label."""
    if not 0 <= highest <= LARGEST:
        raise InputError(f"labels must be between 0 and 2**32 - 1, not {highest}.")
    if highest <= 0xFF:
        return np.dtype(np.uint8)
    return np.dtype(np.uint16 if highest <= 0xFFFF else np.uint32)


def _tags(shape: tuple[int, ...], dtype: np.dtype[Any], info: ImageInfo) -> dict[str, Any]:
    """Return how pixels are stored, and how large they are in the plain tags."""
    tags: dict[str, Any] = {
        "bigtiff": number_of_values(shape) * dtype.itemsize > _CLASSIC_BYTES,
        "compression": "zlib",
        "photometric": "minisblack",
    }
    if info.pixel_size is not None:
        height, width = info.pixel_size
        tags |= {"resolution": (1e4 / width, 1e4 / height), "resolutionunit": "CENTIMETER"}
    return tags


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
    if 0 in shape:
        raise InputError(f"labels must be at least one pixel, not {shape}.")
    return named


def _planes(
    labels: PlaneStack, most: int, report: Callable[[float], None]
) -> Iterator[tuple[NDArray[np.generic], int]]:
    """Yield each plane with its highest label, which may be ``most``."""
    sizes = labels.shape[:-2]
    count = int(np.prod(sizes, dtype=np.int64))
    for number, index in enumerate(np.ndindex(*sizes)):
        report(number / count)
        plane = np.asarray(labels[index])
        low, high = int(plane.min()), int(plane.max())
        if low < 0 or high > most:
            raise InputError(f"labels must be between 0 and {most}, not {low} to {high}.")
        yield plane, high


def _ome(
    axes: str, shape: tuple[int, ...], dtype: np.dtype[Any], info: ImageInfo
) -> dict[str, object]:
    """OME's facts; nothing in them depends on the clock, the machine or a library's version."""
    sizes: dict[str, object] = {}
    for axis, length in info.lengths.items():
        sizes |= {f"PhysicalSize{axis}": float(length), f"PhysicalSize{axis}Unit": "µm"}
    name = f"{axes} {shape} {dtype} {sorted(info.lengths.items())}"
    return {
        "axes": axes,
        "UUID": str(uuid5(_NAMESPACE, name)),
        "Creator": "napari-spa",
        "Name": "labels",
        **sizes,
    }

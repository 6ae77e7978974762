"""A DICOM series as a stack: sorted by position, rescaled, read plane by plane."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.errors import InputError
from napari_spa.io.images.dicom_files import Instance, read_header
from napari_spa.io.images.layout import Opened, needs_extra
from napari_spa.io.images.lazy import plane_by_plane

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_SAME_PLACE = 1e-3  # millimetres


def read_series(path: Path, files: Sequence[Path]) -> Opened:
    """Open a series.

    Parameters
    ----------
    path : Path
        What it is called in a sentence.
    files : sequence of Path
        Its files.

    Returns
    -------
    Opened
        Values in the unit of the series, such as Hounsfield's: whole numbers where
        rescaling keeps them whole, else float32.

    Raises
    ------
    InputError
        When its images are of several sizes, or a package is missing.
    ValueError, OSError and others
        When a file is damaged.
    """
    instances = [read_header(file) for file in files]
    if not instances:
        raise InputError(f"{path} holds no DICOM image.")
    sizes = sorted({instance.shape for instance in instances})
    if len(sizes) > 1:
        listed = " and ".join(f"{rows} x {columns}" for rows, columns in sizes[:3])
        raise InputError(f"{path} holds images of several sizes ({listed}); sort them apart.")
    if len(instances) == 1 and instances[0].frames > 1:
        return _frames(path, instances[0])
    order, distance = _sorted(instances)
    dtype = _dtype(instances)
    stack = (len(order), len(order[0]))
    first = _decoded(path, order[0][0], None, dtype)  # what it is; a damaged one says so here
    if len(instances) == 1:
        return _described(first, "", instances[0], None)

    def read(at: tuple[int, ...]) -> NDArray[np.generic]:
        time, place = at
        plane = _decoded(path, order[time][place], None, dtype)
        if plane.shape != first.shape:
            raise InputError(f"{order[time][place].path} differs from the rest of its series.")
        return plane.astype(first.dtype, copy=False)

    return _opened(path, (*stack, *first.shape), first.dtype, read, "TZ", instances[0], distance)


def _frames(path: Path, instance: Instance) -> Opened:
    """Open one file of many planes."""
    dtype = _dtype([instance])
    first = _decoded(path, instance, 0, dtype)

    def read(at: tuple[int, ...]) -> NDArray[np.generic]:
        return _decoded(path, instance, at[0], dtype).astype(first.dtype, copy=False)

    axis = "T" if instance.number("FrameTime", 0) > 0 else "Z"
    distance = instance.number("SpacingBetweenSlices", 0) * 1e3 or None
    shape = (instance.frames, *first.shape)
    return _opened(path, shape, first.dtype, read, axis, instance, distance)


def _opened(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    read: Any,  # noqa: ANN401  a function
    stack: str,
    instance: Instance,
    distance: float | None,
) -> Opened:
    colours = len(shape) > len(stack) + 2
    array = plane_by_plane(path, shape, dtype, read, colours=colours)
    return _described(array, stack, instance, distance)


def _described(
    array: Any,  # noqa: ANN401  an array
    stack: str,
    instance: Instance,
    distance: float | None,
) -> Opened:
    axes = stack + ("YXS" if len(array.shape) > len(stack) + 2 else "YX")
    spacing = instance.numbers("PixelSpacing", 2) or instance.numbers("ImagerPixelSpacing", 2)
    size = None
    if spacing is not None and all(math.isfinite(s) and s > 0 for s in spacing):
        size = (spacing[0] * 1e3, spacing[1] * 1e3)  # rows, columns
    return Opened((array,), axes, size, distance)


def _sorted(instances: Sequence[Instance]) -> tuple[list[list[Instance]], float | None]:
    """Return the instances by time and place, and the distance of places in micrometres."""
    placed = [(_place(instance), instance) for instance in instances]
    by_number = sorted(placed, key=lambda p: (p[1].number("InstanceNumber", 0), p[1].path.name))
    if any(place is None for place, _ in placed):
        return [[instance for _, instance in by_number]], _said_distance(instances[0])
    groups: list[tuple[float, list[Instance]]] = []
    for place, instance in sorted(by_number, key=lambda pair: pair[0] or 0.0):
        where = place or 0.0
        if groups and abs(groups[-1][0] - where) < _SAME_PLACE:
            groups[-1][1].append(instance)
        else:
            groups.append((where, [instance]))
    times = {len(group) for _, group in groups}
    if len(times) > 1:  # some places twice: what is twice is no time
        return [[instance for _, group in groups for instance in group]], None
    steps = np.diff([where for where, _ in groups])
    distance = float(np.median(steps)) * 1e3 if len(steps) else _said_distance(instances[0])
    return [[group[time] for _, group in groups] for time in range(times.pop())], distance


def _place(instance: Instance) -> float | None:
    """Return where an image lies along the normal of its plane, in millimetres."""
    position = instance.numbers("ImagePositionPatient", 3)
    sides = instance.numbers("ImageOrientationPatient", 6)
    if position is None or sides is None:
        return None
    return float(np.dot(np.cross(sides[:3], sides[3:]), position))


def _said_distance(instance: Instance) -> float | None:
    distance = instance.number("SpacingBetweenSlices", 0) or instance.number("SliceThickness", 0)
    return distance * 1e3 if math.isfinite(distance) and distance > 0 else None


def _rescale(instance: Instance) -> tuple[float, float]:
    return instance.number("RescaleSlope", 1.0), instance.number("RescaleIntercept", 0.0)


def _dtype(instances: Sequence[Instance]) -> np.dtype[Any] | None:
    """Return the type of rescaled values; None where nothing is rescaled."""
    scales = {_rescale(instance) for instance in instances}
    if scales == {(1.0, 0.0)}:
        return None
    if not all(value.is_integer() for scale in scales for value in scale):
        return np.dtype(np.float32)
    ends = []
    for instance in instances:
        bits = int(instance.number("BitsStored", 16))
        slope, intercept = _rescale(instance)
        low = -(2 ** (bits - 1)) if instance.number("PixelRepresentation", 0) else 0
        ends += [low * slope + intercept, (low + 2**bits - 1) * slope + intercept]
    kinds = [np.min_scalar_type(int(end)) for end in (min(ends), max(ends))]
    return np.result_type(*kinds)


def _decoded(
    path: Path, instance: Instance, frame: int | None, dtype: np.dtype[Any] | None
) -> NDArray[np.generic]:
    """Decode one plane, and rescale it."""
    import pydicom
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data = pydicom.dcmread(instance.path)
            plane: NDArray[Any] = pixel_array(data, index=frame)
            plane = plane.astype(plane.dtype.newbyteorder("="), copy=False)
        except RuntimeError as error:  # pydicom names the decoders that it misses
            if "install" in str(error) or "missing dependencies" in str(error):
                raise needs_extra(path, "pylibjpeg") from error
            raise
        if data.get("PhotometricInterpretation") == "PALETTE COLOR":
            return apply_color_lut(plane, data)
    if dtype is None or plane.ndim > 2:
        return plane
    slope, intercept = _rescale(instance)
    if dtype.kind == "f":
        return (plane.astype(np.float64) * slope + intercept).astype(dtype)
    return (plane.astype(np.int64) * int(slope) + int(intercept)).astype(dtype)

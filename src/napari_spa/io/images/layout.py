"""What a reader gives back, brought into the order that the rest of the package expects.

The one place that guesses axes and knows units of length.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.errors import InputError
from napari_spa.io.images.lazy import LazyArray, in_planes, joined, number_of_values

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_COLOURS = (3, 4)
_MOST_AXES = 5
_MOST_VALUES = 2**60  # what NumPy can count
_FREE = "ZTC"  # what an axis without a name is taken for, in this order from the right
_UNNAMED = {0: "", 1: "Z", 2: "TZ", 3: "TZC"}
_MICROMETRES = {
    "meter": 1e6,
    "centimeter": 1e4,
    "millimeter": 1e3,
    "micrometer": 1.0,
    "nanometer": 1e-3,
    "angstrom": 1e-4,
    "inch": 25400.0,
}
_SHORT = {
    "m": "meter",
    "cm": "centimeter",
    "mm": "millimeter",
    "nm": "nanometer",
    "å": "angstrom",
    **dict.fromkeys(("um", "\u00b5m", "\u03bcm", "micron"), "micrometer"),  # micro sign, Greek mu
}


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What a file says about its pixels besides their values."""

    # Of an image, colours left out: ``"YX"``, ``"ZYX"``, ``"TZCYX"``, ...; of a single plane with
    # colours ``"YXC"``.
    axes: str
    shape: tuple[int, int]  # rows and columns
    # Height and width of a pixel in micrometres, where the file says so.
    pixel_size: tuple[float, float] | None = None
    # The slice that was taken from a stack, one number for each stack axis.
    index: tuple[int, ...] = ()
    # Distance between neighbouring planes along Z in micrometres.
    plane_distance: float | None = None

    @property
    def lengths(self) -> dict[str, float]:
        """Distance of neighbours along Y, X and Z in micrometres, as far as the file says it."""
        lengths = dict(zip("YX", self.pixel_size or (), strict=False))
        return lengths | ({} if self.plane_distance is None else {"Z": self.plane_distance})

    @property
    def pixel_side(self) -> float | None:
        """Side of a square of a pixel's area in micrometres; None where the file does not say."""
        side = 0.0 if self.pixel_size is None else math.sqrt(abs(math.prod(self.pixel_size)))
        return side if 0 < side < math.inf else None


@dataclass(frozen=True, slots=True, eq=False)
class ImageFile:
    """An image or stack on disk."""

    path: Path  # the file or folder
    # Full resolution first; of the axes of ``info``, which end in rows and columns, and perhaps
    # three or four colours after them.  Reading from one raises nothing but ``InputError``.
    levels: tuple[Any, ...]
    info: ImageInfo  # axes (colours left out) and pixel size, for writing labels of the same shape
    # What the file holds besides, or what it should hold and does not: whole sentences.
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent along each of the axes, colours left out."""
        return tuple(int(n) for n in self.levels[0].shape[: len(self.info.axes)])


@dataclass(frozen=True, slots=True, eq=False)
class RawImage:
    """An image as its file has it."""

    levels: tuple[Any, ...]  # full resolution first
    axes: str  # A letter for each axis; colours are ``S``, and ``Q`` is an axis without a name
    pixel_size: tuple[float, float] | None = None  # height and width of a pixel in micrometres
    plane_distance: float | None = None  # along Z, in micrometres
    notes: tuple[str, ...] = ()  # as for :class:`ImageFile`
    lossy: bool = False  # whether the format changes values, as JPEG does


def length(value: object, unit: object) -> float | None:
    """Return a length in micrometres; None unless both say one, whatever they hold."""
    name = re.sub(r"\\u([0-9a-f]{4})", lambda m: chr(int(m[1], 16)), str(unit or "").lower())
    name = name.strip().replace("metre", "meter").removesuffix("s")
    try:
        number = float(value) * _MICROMETRES[_SHORT.get(name, name)]  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def both(height: float | None, width: float | None) -> tuple[float, float] | None:
    """Return the size of a pixel where both sides are known."""
    return None if height is None or width is None else (height, width)


def guess_axes(shape: tuple[int, ...]) -> str:
    """Name the axes of a file that does not."""
    few = len(shape) > 2 and 0 < shape[-1] <= max(_COLOURS) < min(shape[-3:-1])
    named = "YX" if not few else "YXS" if shape[-1] in _COLOURS else "YXC"
    return "Q" * (len(shape) - len(named)) + named


def arranged(path: Path, raw: RawImage) -> ImageFile:
    """Bring rows and columns to the end, colours behind them; drop axes of length one."""
    first = raw.levels[0]
    shape = tuple(int(n) for n in first.shape)
    dtype, axes = np.dtype(first.dtype), raw.axes.upper()
    if len(shape) < 2 or len(axes) != len(shape) or axes.count("Y") != 1 or axes.count("X") != 1:
        raise InputError(f"{path} has the shape {shape}; an image needs rows and columns.")
    if 0 in shape:
        raise InputError(f"{path} holds no pixel.")
    if number_of_values(shape) > _MOST_VALUES:
        raise InputError(f"{path} claims {shape} pixels; it is damaged.")
    if dtype.kind not in "biuf":
        raise InputError(f"{path} holds {dtype} values; an image holds real numbers.")
    if any(len(level.shape) != len(shape) for level in raw.levels):
        raise InputError(f"{path} has levels of different axes.")
    order, names, colour = _order(shape, axes)
    if len(names) > _MOST_AXES:
        raise InputError(f"{path} has {len(names)} axes; at most five can be worked on.")
    levels = tuple(_view(path, level, order, colour) for level in raw.levels)
    rows, columns = (int(n) for n in levels[0].shape[len(names) - 2 : len(names)])
    distance = raw.plane_distance if "Z" in names else None
    info = ImageInfo(names, (rows, columns), raw.pixel_size, plane_distance=distance)
    return ImageFile(path, levels, info, raw.notes)


def with_shape(file: ImageFile, shape: tuple[int, ...]) -> ImageFile | None:
    """Show an image with axes of length one where ``shape`` has them."""
    if file.shape == shape:
        return file
    longer = [n for n in shape[:-2] if n > 1]
    if len(shape) < 2 or file.shape != (*longer, *shape[-2:]):
        return None
    levels = tuple(_with_ones(file, level, shape) for level in file.levels)
    stack = iter(file.info.axes[:-2])
    names = "".join(next(stack) if n > 1 else "Q" for n in shape[:-2])
    free = [letter for letter in _FREE if letter not in names]
    named = "".join(free.pop(0) if a == "Q" and free else a for a in reversed(names))[::-1]
    return replace(file, levels=levels, info=replace(file.info, axes=named + "YX"))


def _with_ones(file: ImageFile, level: Any, shape: tuple[int, ...]) -> Any:  # noqa: ANN401  array
    stack = shape[:-2]
    rest = tuple(int(n) for n in level.shape[len(file.info.axes) - 2 :])
    if isinstance(level, np.ndarray):
        return level.reshape((*stack, *rest))

    def read(at: tuple[int, ...], rows: slice, columns: slice) -> NDArray[np.generic]:
        longer = tuple(i for i, n in zip(at, stack, strict=True) if n > 1)
        return np.asarray(level[(*longer, rows, columns)])

    return in_planes(file.path, (*stack, *rest), level.dtype, read, colours=len(rest) > 2)


def _order(shape: tuple[int, ...], axes: str) -> tuple[tuple[int, ...], str, int | None]:
    """Return the file's axes in our order, our names for them, and the axis of colours."""
    colour = axes.find("S") if axes.count("S") == 1 else -1
    if colour >= 0 and shape[colour] not in _COLOURS:
        if shape[colour] == 2:
            shape = (*shape[:colour], 1, *shape[colour + 1 :])  # grey and opacity: grey counts
        axes = axes.replace("S", "Q" if "C" in axes else "C")
        colour = -1
    stack = tuple(i for i, a in enumerate(axes) if a not in "YX" and i != colour and shape[i] > 1)
    names = _names("".join(axes[i] for i in stack))
    order = (*stack, axes.index("Y"), axes.index("X"))
    return order, names + "YX", (colour if colour >= 0 else None)


def _names(stack: str) -> str:
    if not set(stack) & set("TZC"):
        return _UNNAMED.get(len(stack), stack)
    free = [letter for letter in _FREE if letter not in stack]
    named: list[str] = []
    for axis in reversed(stack):
        known = axis in "TZC" and axis not in named
        named.append(axis if known or not free else free.pop(0))
    return "".join(reversed(named))


def _view(path: Path, level: Any, order: tuple[int, ...], colour: int | None) -> Any:  # noqa: ANN401
    """Show an array with its axes in our order; nothing is read or copied."""
    wanted = order if colour is None else (*order, colour)
    unchanged = wanted == tuple(range(len(level.shape)))
    if isinstance(level, np.ndarray):
        left = [axis for axis in range(level.ndim) if axis not in wanted]
        first: Any = (..., *[0] * len(left))
        return level.transpose([*wanted, *left])[first]
    if unchanged:
        known = isinstance(level, LazyArray)
        return level if known else LazyArray(path, level.shape, level.dtype, level.__getitem__)
    stack = order[:-2]

    def read(at: tuple[int, ...], rows: slice, columns: slice) -> NDArray[np.generic]:
        spans: dict[int, int | slice] = dict(zip(stack, at, strict=True))
        spans |= {order[-2]: rows, order[-1]: columns}
        if colour is not None:
            spans[colour] = slice(None)
        part = np.asarray(level[tuple(spans.get(i, 0) for i in range(len(level.shape)))])
        seen = sorted(axis for axis in wanted if axis not in stack)
        return part.transpose([seen.index(axis) for axis in wanted if axis not in stack])

    shape = tuple(int(level.shape[axis]) for axis in wanted)
    return in_planes(path, shape, np.dtype(level.dtype), read, colours=colour is not None)


def several(path: Path, images: list[RawImage], word: str = "images") -> RawImage:
    """Return what is opened of a file that holds several images, and say what is not."""
    first = images[0]
    if len(images) == 1:
        return first
    kinds = {(tuple(i.levels[0].shape), str(i.levels[0].dtype), i.axes) for i in images}
    if len(kinds) == 1 and len({len(image.levels) for image in images}) == 1:
        levels = tuple(
            joined([image.levels[n] for image in images], path) for n in range(len(first.levels))
        )
        notes = tuple(dict.fromkeys(note for image in images for note in image.notes))
        return replace(first, levels=levels, axes="Q" + first.axes, notes=notes)
    largest = max(images, key=lambda image: number_of_values(image.levels[0].shape))
    extent = " x ".join(str(int(n)) for n in largest.levels[0].shape)
    note = f"{path.name} holds {len(images)} {word}; only the largest ({extent}) is opened."
    return replace(largest, notes=(*largest.notes, note))

"""What a reader gives back, brought into the order that the rest of the package expects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.errors import InputError
from napari_spa.io.images.lazy import PlaneArray
from napari_spa.io.images.open import ImageInfo
from napari_spa.io.images.stack_files import StackFile

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_COLOURS = (3, 4)
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
_SHORT = {"m": "meter", "cm": "centimeter", "mm": "millimeter", "nm": "nanometer"}
_MICRO = {"um", "µm", "\u03bcm", "micron", "microns"}


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """An image as its file has it.

    Attributes
    ----------
    levels : tuple of array-like
        Full resolution first; NumPy, zarr or :class:`~napari_spa.io.images.lazy.PlaneArray`.
    axes : str
        A letter for each axis; colours are ``S``, and ``Q`` is an axis without a name.
    pixel_size : (float, float) or None
        Height and width of a pixel in micrometres.
    plane_distance : float or None
        Along Z, in micrometres.
    """

    levels: tuple[Any, ...]
    axes: str
    pixel_size: tuple[float, float] | None = None
    plane_distance: float | None = None


def needs_extra(path: Path, package: str) -> InputError:
    """Return the sentence for a reader that is not installed."""
    return InputError(f"to read {path}, install {package}: pip install 'napari-spa[formats]'.")


def micrometres(unit: str | None) -> float | None:
    """Return the length of a unit in micrometres; None where it is no known length."""
    name = (unit or "").strip().lower()
    name = "micrometer" if name in _MICRO else _SHORT.get(name, name)
    return _MICROMETRES.get(name.replace("metre", "meter"))


def guess_axes(shape: tuple[int, ...]) -> str:
    """Name the axes of a file that does not: three or four of the last are colours."""
    colour = len(shape) > 2 and shape[-1] in _COLOURS and min(shape[-3:-1]) > max(_COLOURS)
    named = "YXS" if colour else "YX"
    return "Q" * (len(shape) - len(named)) + named


def arranged(path: Path, opened: Opened) -> StackFile:
    """Bring rows and columns to the end, colours behind them; drop axes of length one.

    Parameters
    ----------
    path : Path
        The file or folder.
    opened : Opened
        From a reader.

    Returns
    -------
    StackFile

    Raises
    ------
    InputError
        When it holds no pixels, no real numbers, or too many axes.
    """
    first = opened.levels[0]
    shape = tuple(int(n) for n in first.shape)
    dtype, axes = np.dtype(first.dtype), opened.axes.upper()
    if len(shape) < 2 or axes.count("Y") != 1 or axes.count("X") != 1:
        raise InputError(f"{path} has the shape {shape}; an image needs rows and columns.")
    if 0 in shape:
        raise InputError(f"{path} holds no pixel.")
    if dtype.kind not in "biuf":
        raise InputError(f"{path} holds {dtype} values; an image holds real numbers.")
    order, names, colour = _order(shape, axes)
    if len(names) > 5:
        raise InputError(f"{path} has {len(names)} axes; at most five can be worked on.")
    levels = tuple(_view(level, order, colour) for level in opened.levels)
    rows, columns = (int(n) for n in levels[0].shape[len(names) - 2 : len(names)])
    distance = opened.plane_distance if "Z" in names else None
    info = ImageInfo(names, (rows, columns), opened.pixel_size, plane_distance=distance)
    return StackFile(path, levels, info)


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


def _view(level: Any, order: tuple[int, ...], colour: int | None) -> Any:  # noqa: ANN401  array
    """Show an array with its axes in our order; nothing is read or copied."""
    wanted = order if colour is None else (*order, colour)
    if wanted == tuple(range(len(level.shape))):
        return level
    left = [i for i in range(len(level.shape)) if i not in wanted]
    if isinstance(level, np.ndarray):
        whole = level[tuple(0 if i in left else slice(None) for i in range(level.ndim))]
        kept = [i for i in range(level.ndim) if i not in left]
        return whole.transpose([kept.index(axis) for axis in wanted])
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
    return PlaneArray(shape, np.dtype(level.dtype), read, colours=colour is not None)

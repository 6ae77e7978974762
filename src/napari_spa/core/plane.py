"""Planes of a stack: where things on them lie in its data and in space, read one by one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from napari_spa.core.types import Region
from napari_spa.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Plane:
    """One 2D plane of an array; two planes are equal when they are the same pixels."""

    # The data axes that are rows and columns, in ascending order whatever the order of display,
    # so a transposed view does not transpose what is written.
    axes: tuple[int, int]
    index: tuple[int, ...]  # position along every data axis; always 0 along ``axes``

    def __post_init__(self) -> None:
        index = tuple(0 if i in self.axes else int(p) for i, p in enumerate(self.index))
        object.__setattr__(self, "index", index)

    @property
    def stack_axes(self) -> tuple[int, ...]:
        """The data axes along which one goes from plane to plane."""
        return tuple(axis for axis in range(len(self.index)) if axis not in self.axes)

    @property
    def position(self) -> tuple[int, ...]:
        """Position along each of :attr:`stack_axes`."""
        return tuple(self.index[axis] for axis in self.stack_axes)

    @property
    def slices(self) -> tuple[int | slice, ...]:
        """Index of the plane into an array of the data's dimensions."""
        return tuple(
            slice(None) if axis in self.axes else position
            for axis, position in enumerate(self.index)
        )

    def extent(self, shape: Sequence[int]) -> tuple[int, int]:
        """Return how many rows and columns it has in data of a shape."""
        rows, columns = self.axes
        return shape[rows], shape[columns]

    def at(self, axis: int, position: int) -> Plane:
        """Return the plane that lies elsewhere along one axis."""
        index = tuple(position if i == axis else p for i, p in enumerate(self.index))
        return Plane(self.axes, index)

    def at_level(self, full: Sequence[int], shape: Sequence[int]) -> Plane:
        """Return the plane of a coarser level, of another shape, that shows the same slice."""
        index = tuple(
            min(int((p + 0.5) * shape[axis] / full[axis]), shape[axis] - 1)
            for axis, p in enumerate(self.index)
        )
        return Plane(self.axes, index)

    def region(self, region: Region, along: Sequence[int] = ()) -> tuple[int | slice, ...]:
        """Index of a part of the plane, and all along some axes, into data of its dimensions."""
        spans = dict(zip(self.axes, region.slices, strict=True))
        spans |= dict.fromkeys(along, slice(None))
        return tuple(spans.get(axis, position) for axis, position in enumerate(self.index))

    def across(self, region: Region, axes: tuple[int, int]) -> Iterator[tuple[Plane, Region]]:
        """Yield the planes of other axes that a part of this one crosses, and where on them."""
        spans = [range(position, position + 1) for position in self.index]
        for axis, part in zip(self.axes, region.slices, strict=True):
            spans[axis] = range(part.start, part.stop)
        rows, columns = (spans[axis] for axis in axes)
        there = Region(rows.start, columns.start, len(rows), len(columns))
        others = [range(1) if axis in axes else span for axis, span in enumerate(spans)]
        for index in product(*others):
            yield Plane(axes, index), there

    def points(self, rows_columns: NDArray[np.floating]) -> NDArray[np.float64]:
        """Place ``(N, 2)`` rows and columns of the plane in the data's space, ``(N, ndim)``."""
        points = np.tile(np.asarray(self.index, dtype=np.float64), (len(rows_columns), 1))
        points[:, list(self.axes)] = rows_columns
        return points


_DEFAULT_AXES = {2: "YX", 3: "ZYX", 4: "TZYX", 5: "TZCYX"}


PlaneStack: TypeAlias = Any
"""A numpy, zarr or dask array, of which planes are read one by one."""
PlaneReader: TypeAlias = "Callable[[tuple[int, ...]], NDArray[np.generic]]"
"""Gives the plane, (H, W) or (H, W, C), at a position along the stack's axes."""


@dataclass(frozen=True, slots=True)
class StackGrid:
    """Where the rows, columns and planes of a stack lie, in memory and in space."""

    axes: str  # A letter for each axis; rows are Y and columns X, wherever they stand
    shape: tuple[int, ...]  # extent along each axis
    spacing: tuple[float, ...]  # distance of neighbours along each axis, in units

    @property
    def names(self) -> str:
        """The axes along which one goes from plane to plane."""
        return self.axes.replace("Y", "").replace("X", "")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of planes along each of :attr:`names`."""
        return tuple(self.extent(axis) for axis in self.names)

    @property
    def deep(self) -> bool:
        """Whether an object may reach over planes along Z."""
        return "Z" in self.axes and self.extent("Z") > 1

    def extent(self, axis: str) -> int:
        """Return the number of pixels along an axis."""
        return self.shape[self.axes.index(axis)]

    def step(self, axis: str) -> float:
        """Return the distance of neighbours along an axis, in units."""
        return self.spacing[self.axes.index(axis)]

    def read(self, array: PlaneStack, position: tuple[int, ...]) -> NDArray[np.generic]:
        """Read one plane, and nothing else, of an array with these axes and perhaps channels.

        ``position`` is along each of :attr:`names`; the plane is (H, W) or (H, W, C).
        """
        at = dict(zip(self.names, position, strict=True))
        plane = np.asarray(array[tuple(at.get(axis, slice(None)) for axis in self.axes)])
        return plane if self.axes.index("Y") < self.axes.index("X") else plane.swapaxes(0, 1)


def stack_grid(
    labels: PlaneStack, axes: str | None = None, spacing: Sequence[float] | None = None
) -> StackGrid:
    """Check what is said about a stack of labels."""
    shape = tuple(int(n) for n in labels.shape)
    if labels.dtype.kind not in "bui":
        raise InputError(f"labels must be integers, not {labels.dtype}.")
    named = (axes or _DEFAULT_AXES.get(len(shape), "")).upper()
    if len(set(named)) != len(shape) or len(named) != len(shape) or not {"Y", "X"} <= set(named):
        raise InputError(
            f"labels of {len(shape)} axes need as many letters, Y and X among them, not {axes!r}."
        )
    steps = tuple(float(step) for step in (spacing if spacing is not None else [1] * len(shape)))
    if len(steps) != len(shape):
        raise InputError(f"spacing needs one number for each of the axes {named}.")
    if not all(math.isfinite(step) and step > 0 for step in steps):
        raise InputError(f"spacing must be positive, not {steps}.")
    return StackGrid(named, shape, steps)


def plane_reader(image: PlaneStack | PlaneReader, grid: StackGrid) -> PlaneReader:
    """Return a function that reads one plane of an image beside the labels."""
    if not callable(image):
        shape, ndim = tuple(image.shape), len(grid.shape)
        if shape[:ndim] != grid.shape or len(shape) > ndim + 1:
            raise InputError(
                f"an image of shape {shape} does not fit labels of shape {grid.shape}."
            )

    def read(position: tuple[int, ...]) -> NDArray[np.generic]:
        plane = image(position) if callable(image) else grid.read(image, position)
        plane = np.asarray(plane)
        if plane.shape[:2] != (grid.extent("Y"), grid.extent("X")) or plane.ndim > 3:
            raise InputError(
                f"a plane of shape {plane.shape} does not fit labels of shape {grid.shape}."
            )
        return plane

    return read

"""Measure how masks agree, and labelled objects plane by plane and as wholes.

Masks that are compared are of one shape; others are an ``InputError``.  Two empty masks agree fully
(1.0); an empty mask and another one not at all (0.0).

A table has two kinds of rows, told apart by ``level``.  ``"slice"``: one object in one
plane.  ``"object"``: one object over all planes along Z; time points (and what other axes
there are) keep rows of their own, since nothing adds up over them.  Without planes along Z
both kinds say the same.  ``docs/exports.md`` explains each column.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np

from napari_spa.core.candidates import dice_matrix
from napari_spa.core.plane import PlaneReader, PlaneStack, StackGrid, plane_reader, stack_grid
from napari_spa.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_spa.core.types import BoolArray, DoubleArray, FloatArray


def _overlap(a: BoolArray, b: BoolArray) -> tuple[int, int, int]:
    if a.shape != b.shape:
        raise InputError(f"masks of different shapes {a.shape} and {b.shape} cannot be compared.")
    return int(np.count_nonzero(a & b)), int(np.count_nonzero(a)), int(np.count_nonzero(b))


def dice(a: BoolArray, b: BoolArray) -> float:
    """Dice coefficient ``2 |A and B| / (|A| + |B|)`` of bool arrays of one shape, in [0, 1]."""
    both, first, second = _overlap(a, b)
    return 1.0 if first + second == 0 else 2 * both / (first + second)


def iou(a: BoolArray, b: BoolArray) -> float:
    """Intersection over union of bool arrays of one shape, in [0, 1]."""
    both, first, second = _overlap(a, b)
    union = first + second - both
    return 1.0 if union == 0 else both / union


def pairwise_dice(masks: Sequence[BoolArray]) -> list[float]:
    """Dice of every pair of masks, in the order of ``itertools.combinations``."""
    return [dice(a, b) for a, b in combinations(masks, 2)]


def disagreement(
    probabilities: FloatArray, recommended: BoolArray, shares: DoubleArray | None = None
) -> float:
    """Uncertainty of samples: one minus their mean Dice with the recommendation, in [0, 1].

    They are ``(N, h, w)`` in [0, 1]; ``shares``, (N,), what each counts for, sum 1.
    """
    agreement = dice_matrix(probabilities > 0.5, recommended[None])[:, 0]
    return float(np.clip(1.0 - np.average(agreement, weights=shares), 0.0, 1.0))


def pick_nearest(masks: Sequence[BoolArray], truth: BoolArray) -> int:
    """Pick the mask with the highest Dice, by its index; the first of equals."""
    if len(masks) == 0:
        raise InputError("there is no candidate to pick from.")
    return int(np.argmax([dice(mask, truth) for mask in masks]))


Row: TypeAlias = dict[str, int | float | str | None]

_FEW_LABELS = 0xFFFF  # scikit-image makes a list as long as the highest label


@dataclass(frozen=True, slots=True)
class Measures:
    """A table of measures."""

    # In the order in which they are written; the same with and without rows.
    columns: tuple[str, ...]
    # A value for each column; None where a measure has no meaning.  First the slices in the order
    # of the stack, then the wholes, each by its label.
    rows: tuple[Row, ...]


def measure_objects(
    labels: PlaneStack,
    *,
    axes: str | None = None,
    spacing: Sequence[float] | None = None,
    unit: str = "pixel",
    intensity: PlaneStack | PlaneReader | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> Measures:
    """Measure every object of a label image or stack, with one plane in memory at a time."""
    grid = stack_grid(labels, axes, spacing)
    reader = None if intensity is None else plane_reader(intensity, grid)
    positions = list(np.ndindex(*grid.sizes))
    names = _intensity_names(reader, positions)
    slices: list[Row] = []
    for number, position in enumerate(positions):
        if progress is not None:
            progress(number / len(positions), f"measuring slice {number + 1} of {len(positions)}")
        plane = _checked(grid.read(labels, position))
        if plane.any():
            slices.extend(_measure_plane(plane, position, grid, reader, unit))
    rows = (*slices, *_wholes(slices, grid, names))
    return Measures(_columns(grid, names), rows)


def _intensity_names(
    reader: PlaneReader | None, positions: Sequence[tuple[int, ...]]
) -> tuple[str, ...]:
    if reader is None or not positions:
        return ()
    plane = reader(positions[0])
    channels = [""] if plane.ndim == 2 else [f"_{channel}" for channel in range(plane.shape[2])]
    return tuple(f"intensity_{what}{c}" for what in ("mean", "min", "max") for c in channels)


def _columns(grid: StackGrid, names: tuple[str, ...]) -> tuple[str, ...]:
    z = "Z" in grid.axes
    return (
        *("level", "object"),
        *(f"slice_{axis.lower()}" for axis in grid.names),
        *("slices", "pixels", "area", "volume", "unit"),
        *(["centroid_z"] if z else []),
        *("centroid_row", "centroid_column"),
        *(["position_z"] if z else []),
        *("position_y", "position_x"),
        *(["bbox_z0", "bbox_z1"] if z else []),
        *("bbox_row0", "bbox_row1", "bbox_column0", "bbox_column1"),
        *("equivalent_diameter", "perimeter", "eccentricity", "solidity"),
        *names,
    )


def _checked(plane: NDArray[np.generic]) -> NDArray[np.integer]:
    if plane.dtype == bool:
        return plane.astype(np.uint8)
    labels = cast("NDArray[np.integer]", plane)
    if labels.dtype.kind == "i" and labels.size and labels.min() < 0:
        raise InputError(f"labels must not be negative, as {labels.min()} is.")
    return labels


def _measure_plane(
    plane: NDArray[np.integer],
    position: tuple[int, ...],
    grid: StackGrid,
    reader: PlaneReader | None,
    unit: str,
) -> Iterator[Row]:
    """Measure the objects of one plane that has some."""
    from skimage.measure import regionprops_table
    from skimage.segmentation import relabel_sequential

    original = None
    if plane.max() > _FEW_LABELS:
        plane, _, original = relabel_sequential(plane)
    height, width = grid.step("Y"), grid.step("X")
    square = math.isclose(height, width, rel_tol=1e-6)
    wanted = ["label", "num_pixels", "centroid", "bbox", "eccentricity", "solidity"]
    wanted += ["perimeter_crofton"] if square else []
    image = None if reader is None else reader(position)
    wanted += [f"intensity_{what}" for what in ("mean", "min", "max")] if reader else []
    table = regionprops_table(
        plane, image, wanted, separator="_", spacing=(1.0, 1.0 if square else width / height)
    )
    columns = {name: values.tolist() for name, values in table.items()}
    at = dict(zip(grid.names, position, strict=True))
    for values in zip(*columns.values(), strict=True):
        found = dict(zip(columns, values, strict=True))
        if original is not None:
            found["label"] = int(original[found["label"]])
        if not square:
            found["centroid_1"] *= height / width
        yield _slice_row(found, at, grid, unit)


def _slice_row(found: dict[str, float], at: dict[str, int], grid: StackGrid, unit: str) -> Row:
    """Name what scikit-image found, and give it its units."""
    height, width, square = grid.step("Y"), grid.step("X"), "perimeter_crofton" in found
    area = found["num_pixels"] * height * width
    row: Row = {"level": "slice", "object": found["label"]}
    row |= {f"slice_{axis.lower()}": index for axis, index in at.items()}
    row |= {"slices": 1, "pixels": found["num_pixels"], "area": area, "volume": None, "unit": unit}
    row |= _places(at.get("Z"), found["centroid_0"], found["centroid_1"], grid)
    if "Z" in at:
        row |= {"bbox_z0": at["Z"], "bbox_z1": at["Z"] + 1}
    row |= {
        "bbox_row0": found["bbox_0"],
        "bbox_row1": found["bbox_2"],
        "bbox_column0": found["bbox_1"],
        "bbox_column1": found["bbox_3"],
        "equivalent_diameter": math.sqrt(4 * area / math.pi),
        "perimeter": found["perimeter_crofton"] * height if square else None,
        "eccentricity": found["eccentricity"],
        "solidity": found["solidity"],
    }
    return row | {name: value for name, value in found.items() if name.startswith("intensity")}


def _places(plane: float | None, row: float, column: float, grid: StackGrid) -> Row:
    indices = {"Y": row, "X": column} if plane is None else {"Z": plane, "Y": row, "X": column}
    centroid: Row = {} if plane is None else {"centroid_z": plane}
    centroid |= {"centroid_row": row, "centroid_column": column}
    return centroid | {
        f"position_{axis.lower()}": grid.step(axis) * index for axis, index in indices.items()
    }


def _wholes(slices: Sequence[Row], grid: StackGrid, names: tuple[str, ...]) -> Iterator[Row]:
    """Join the slices of each object, in the order of the other stack axes and the label."""
    kept = [f"slice_{axis.lower()}" for axis in grid.names if not (grid.deep and axis == "Z")]
    parts: dict[tuple[int, ...], list[Row]] = {}
    for row in slices:
        key = tuple(cast("int", row[name]) for name in (*kept, "object"))
        parts.setdefault(key, []).append(row)
    for key in sorted(parts):
        whole = parts[key][0] | {"level": "object"}
        yield whole | (_joined(parts[key], grid, names) if grid.deep else {})


def _joined(rows: Sequence[Row], grid: StackGrid, names: tuple[str, ...]) -> Row:
    """Measures of an object over its planes along Z."""

    def column(name: str) -> list[float]:
        return [cast("float", row[name]) for row in rows]

    counts = column("pixels")
    pixels = sum(counts)

    def mean(name: str) -> float:
        return math.fsum(map(math.prod, zip(counts, column(name), strict=True))) / pixels

    volume = pixels * math.prod(map(grid.step, "ZYX"))
    joined: Row = {"slice_z": None, "slices": len(rows), "pixels": pixels, "area": None}
    joined |= _places(mean("centroid_z"), mean("centroid_row"), mean("centroid_column"), grid)
    for axis in ("z", "row", "column"):
        joined[f"bbox_{axis}0"] = min(column(f"bbox_{axis}0"))
        joined[f"bbox_{axis}1"] = max(column(f"bbox_{axis}1"))
    joined |= {"volume": volume, "equivalent_diameter": math.cbrt(6 * volume / math.pi)}
    joined |= dict.fromkeys(("perimeter", "eccentricity", "solidity"))
    for name in names:
        if name.startswith("intensity_mean"):
            joined[name] = mean(name)
        else:
            joined[name] = (min if "_min" in name else max)(column(name))
    return joined

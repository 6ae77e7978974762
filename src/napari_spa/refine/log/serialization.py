"""Decisions, planes, masks and mixtures as JSON values, and back, exactly.

Floats are written so that they come back bit for bit; arrays as base64 of their
zlib-compressed bytes.  Reading is strict: what does not fit raises ``DataError``.
"""

from __future__ import annotations

import base64
import math
import zlib
from dataclasses import astuple
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from napari_spa.core.plane import Plane
from napari_spa.core.types import (
    Box,
    Click,
    DoubleArray,
    LocalMask,
    MixtureParameters,
    Prompts,
    Region,
    Stroke,
)
from napari_spa.errors import DataError
from napari_spa.refine.session.acts import Act, Decision

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import DTypeLike, NDArray

    from napari_spa.refine.engine.alternatives import Hypothesis
    from napari_spa.refine.engine.view import FieldOfView

Record = dict[str, Any]
_LARGEST_MIXTURE = 2**18  # components times channels; those of our models have some hundreds
_LARGEST_GRID = 4096
_LONGEST_PATH = 2**21  # numbers in the path of a brush stroke, two for each place
_LARGEST_LASSO = 2**26  # pixels in the rectangle around one
_LARGEST_MASK = 2**31  # pixels, where no image says how many there can be
_FARTHEST = 2.0**31  # pixels at which a view can lie
_ACTS = get_args(Act)
DAMAGE = (LookupError, TypeError, ValueError, OverflowError, MemoryError, zlib.error)
"""What reading a damaged record may raise."""


def decision_to_record(decision: Decision) -> Record:
    """Write a decision as JSON values."""
    others = decision.hypotheses
    return {
        "act": decision.act,
        "round": decision.round,
        "seed": decision.seed,
        "entropy": list(decision.entropy),
        "pick": decision.pick,
        "prompts": _prompts_to_record(decision.prompts),
        "offered": [
            {"added": added, "removed": removed, "weight": weight}
            for added, removed, weight in decision.offered
        ],
        "view": list(astuple(decision.view)),
        "mixture": _mixture_to_record(decision.mixture),
        "time": decision.time,
        "hypotheses": None if others is None else [_hypothesis_to_record(o) for o in others],
        "size": decision.size,
    }


def decision_from_record(
    record: Mapping[str, Any], shape: tuple[int, int] | None = None
) -> Decision:
    """Read a decision."""
    try:
        if record["act"] not in _ACTS:
            raise ValueError(record["act"])
        size = _size_from_record(record.get("size"))  # none in older logs
        if record["act"] == "resize" and size is None:
            raise ValueError("a size")
        seed, number = record["entropy"]
        return Decision(
            act=record["act"],
            round=int(record["round"]),
            seed=int(record["seed"]),
            pick=None if record["pick"] is None else int(record["pick"]),
            prompts=_prompts_from_record(record["prompts"], shape),
            offered=tuple(
                (int(o["added"]), int(o["removed"]), float(o["weight"])) for o in record["offered"]
            ),
            mixture=_mixture_from_record(record["mixture"]),
            view=_view_from_record(record["view"]),
            entropy=(int(seed), int(number)),
            time=float(record["time"]),
            hypotheses=_hypotheses_from_record(record.get("hypotheses")),
            size=size,
        )
    except DAMAGE as error:
        raise DataError(f"a decision in the log is damaged ({error!r}).") from error


def _size_from_record(value: float | None) -> float | None:
    """Read where on the size axis a recommendation was held."""
    if value is None:
        return None
    size = float(value)
    if not -1.0 <= size <= 1.0:
        raise ValueError("a size")
    return size


def _hypothesis_to_record(other: Hypothesis) -> Record:
    return {
        "view": list(astuple(other.view)),
        "quality": other.quality,
        "shape": list(other.levels.shape),
        "levels": pack(other.levels),
    }


def _hypotheses_from_record(
    records: list[Mapping[str, Any]] | None,
) -> tuple[Hypothesis, ...] | None:
    """Read what else prompts may mean; None where a log does not say."""
    from napari_spa.refine.engine.alternatives import Hypothesis  # brings torch

    if records is None:
        return None
    found = []
    for record in records:
        height, width = (int(n) for n in record["shape"])
        if not (0 < height <= _LARGEST_GRID and 0 < width <= _LARGEST_GRID):
            raise ValueError("a hypothesis's size")
        levels = unpack(record["levels"], np.uint8, height * width).reshape(height, width)
        view = _view_from_record(record["view"])
        found.append(Hypothesis(view, levels, float(record["quality"])))
    return tuple(found)


def _view_from_record(record: Sequence[float]) -> FieldOfView:
    """Read a field of view; whether it shows any of an image is asked when it is played."""
    from napari_spa.refine.engine.view import FieldOfView  # brings torch

    view = FieldOfView(*(float(v) for v in record))
    if not (max(map(abs, astuple(view))) < _FARTHEST and min(view.height, view.width) > 0):
        raise ValueError("a view's place")
    return view


def plane_to_record(plane: Plane) -> Record:
    """Write a plane as JSON values."""
    return {"axes": list(plane.axes), "index": list(plane.index)}


def plane_from_record(record: Mapping[str, Any]) -> Plane:
    """Read a plane; ``DataError`` when it is damaged."""
    try:
        row, column = (int(axis) for axis in record["axes"])
        index = tuple(int(p) for p in record["index"])
        if not 0 <= row < column < len(index):
            raise ValueError(record)
        return Plane((row, column), index)
    except DAMAGE as error:
        raise DataError(f"a slice in the log is damaged ({error!r}).") from error


def mask_to_record(mask: LocalMask) -> Record:
    """Write a mask as JSON values, a bit a pixel."""
    return {"region": list(astuple(mask.region)), "pixels": pack(np.packbits(mask.pixels))}


def mask_from_record(record: Mapping[str, Any], shape: tuple[int, int] | None = None) -> LocalMask:
    """Read a mask of an image of these rows and columns; ``DataError`` when it is damaged."""
    try:
        region = Region(*(int(v) for v in record["region"]))
        count, (rows, columns) = region.height * region.width, shape or (math.inf, math.inf)
        if (
            min(region.row, region.column, region.height, region.width) < 0
            or region.ends[0] > rows
            or region.ends[1] > columns
        ):
            raise ValueError("its place")
        if count > _LARGEST_MASK:
            raise ValueError("its size")
        packed = unpack(record["pixels"], np.uint8, (count + 7) // 8)
        bits = np.unpackbits(packed, count=count)
        return LocalMask(region, bits.reshape(region.height, region.width).astype(bool))
    except DAMAGE as error:
        raise DataError(f"a mask in the log is damaged ({error!r}).") from error


def pack(array: NDArray[np.generic]) -> str:
    """Compress an array's bytes into text."""
    data = zlib.compress(np.ascontiguousarray(array).tobytes())
    return base64.b64encode(data).decode("ascii")


def unpack(text: str, dtype: DTypeLike, count: int, *, fewer: bool = False) -> NDArray[Any]:
    """Return the flat array of :func:`pack`, which has ``count`` elements, or ``fewer``.

    No more than these are unpacked: a few bytes of a stranger can stand for many gigabytes.  Raises
    ``ValueError`` or ``zlib.error`` for another number of elements and what is no text of it.
    """
    size = count * np.dtype(dtype).itemsize
    reader = zlib.decompressobj()
    data = reader.decompress(base64.b64decode(text, validate=True), size + 1)
    if len(data) > size or not reader.eof or not (fewer or len(data) == size):
        raise ValueError("its size")
    return np.frombuffer(data, dtype=dtype).copy()


def _mixture_to_record(mixture: MixtureParameters) -> Record:
    shape = list(mixture.means.shape)
    values = np.concatenate([mixture.weights, mixture.means.ravel(), mixture.variances.ravel()])
    return {"shape": shape, "values": pack(values.astype("<f8"))}


def _mixture_from_record(record: Mapping[str, Any]) -> MixtureParameters:
    m, d = (int(n) for n in record["shape"])
    if min(m, d) < 0 or m * d > _LARGEST_MIXTURE:
        raise ValueError("the mixture's size")
    values: DoubleArray = unpack(record["values"], "<f8", m + 2 * m * d)
    means, variances = values[m:].reshape(2, m, d)
    return MixtureParameters(values[:m], means, variances)


def _prompts_to_record(prompts: Prompts) -> Record:
    box, anchor = prompts.box, prompts.anchor
    return {
        "points": [[c.row, c.column, c.label] for c in prompts.clicks],
        "box": None if box is None else list(box.edges),
        "mask": None if prompts.mask is None else mask_to_record(prompts.mask),
        "anchor": None if anchor is None else [anchor.row, anchor.column],
        "strokes": [
            {
                "label": stroke.label,
                "path": pack(np.array(stroke.path, dtype="<i4")),
                **({"filled": True} if stroke.filled else {}),
            }
            for stroke in prompts.strokes
        ],
        **({"exact": True} if prompts.exact else {}),
    }


def _prompts_from_record(record: Mapping[str, Any], shape: tuple[int, int] | None) -> Prompts:
    box, mask, anchor = record["box"], record["mask"], record["anchor"]
    return Prompts(
        clicks=tuple(Click(float(r), float(c), int(label)) for r, c, label in record["points"]),
        box=None if box is None else Box(*(float(v) for v in box)),
        mask=None if mask is None else mask_from_record(mask, shape),
        anchor=None if anchor is None else Click(float(anchor[0]), float(anchor[1])),
        strokes=tuple(
            _stroke_from_record(stroke)
            for stroke in record.get("strokes", ())  # none in logs of version 0.1
        ),
        exact=mask is not None and bool(record.get("exact", False)),
    )


def _stroke_from_record(record: Mapping[str, Any]) -> Stroke:
    path = unpack(record["path"], "<i4", _LONGEST_PATH, fewer=True).reshape(-1, 2)
    if not len(path):
        raise ValueError("a stroke's path")
    filled = bool(record.get("filled", False))
    if filled and np.ptp(path.astype(np.int64), axis=0).prod() > _LARGEST_LASSO:
        raise ValueError("a lasso's size")
    return Stroke(tuple((int(r), int(c)) for r, c in path), int(record["label"]), filled)

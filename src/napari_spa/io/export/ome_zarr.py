"""OME-Zarr label images: axes, sizes, colours, classes, and a pyramid of labels."""

from __future__ import annotations

import os
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.errors import DataError, InputError
from napari_spa.io.files import atomic_folder
from napari_spa.io.strict_json import JsonError, read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from napari_spa.io.images import ImageFile, ImageInfo
    from napari_spa.io.projects.classes import ObjectNote

    Colour = Callable[[int], tuple[int, int, int, int]]

_VERSION = "0.4"
_ORDER = "TCZYX"  # the format's: time, channels, space
_KINDS = {"T": "time", "C": "channel"}
_CHUNK, _COARSEST = 512, 256


def need_zarr() -> None:
    """Refuse to go on where zarr is not installed."""
    try:
        import zarr  # noqa: F401  only to see whether it is there
    except ImportError as error:
        raise InputError(
            "OME-Zarr needs zarr; install it with: pip install 'napari-spa[formats]'."
        ) from error


def write_label_zarr(
    path: Path,
    labels: ImageFile,
    colour: Colour | None = None,
    notes: Mapping[int, ObjectNote] = MappingProxyType({}),
) -> None:
    """Write labels as an OME-Zarr label image, whole or not at all.

    Each level has every second row and column of the finer one, so labels stay labels and
    the first pixel stays where it is; the stack is not thinned out.
    """
    need_zarr()
    if os.path.lexists(path) and not _is_label_zarr(path):
        raise InputError(f"{path} is there already and is no label image; choose another folder.")
    import zarr
    from numcodecs import Blosc  # type: ignore[import-untyped]

    info, shape = labels.info, tuple(int(n) for n in labels.levels[0].shape)
    order = sorted(range(len(shape)), key=lambda axis: _ORDER.index(info.axes[axis]))
    shapes = _pyramid(tuple(shape[axis] for axis in order))
    used: set[int] = set()
    with atomic_folder(path) as folder:
        group = zarr.create_group(str(folder), zarr_format=2, overwrite=True)
        levels = [
            group.create_array(
                str(number),
                shape=extent,
                chunks=(*[1] * (len(extent) - 2), *(min(n, _CHUNK) for n in extent[-2:])),
                dtype=labels.levels[0].dtype,
                compressors=Blosc(),  # LZ4, which every reader knows
                chunk_key_encoding={"name": "v2", "separator": "/"},
                fill_value=0,
            )
            for number, extent in enumerate(shapes)
        ]
        for index in np.ndindex(*shape[:-2]):
            plane = np.asarray(labels.levels[0][index])
            used.update(np.unique(plane).tolist())
            there = tuple(index[axis] for axis in order[:-2])
            for number, level in enumerate(levels):
                step = 2**number
                level[there] = plane[::step, ::step]
        axes = "".join(info.axes[axis] for axis in order)
        group.attrs.update(_facts(axes, info, path.stem, len(shapes)))
        numbers = sorted(used - {0})
        said = _properties(numbers, notes)
        group.attrs["image-label"] = {"version": _VERSION} | _colours(numbers, colour) | said


def _is_label_zarr(path: Path) -> bool:
    try:
        content = read_json(path / ".zattrs")
    except (OSError, DataError, JsonError):
        return False
    return isinstance(content, dict) and "image-label" in content


def _pyramid(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the shape of each level, finest first."""
    shapes = [shape]
    while max(shapes[-1][-2:]) > _COARSEST:
        *stack, rows, columns = shapes[-1]
        shapes.append((*stack, -(-rows // 2), -(-columns // 2)))
    return shapes


def _facts(axes: str, info: ImageInfo, name: str, levels: int) -> dict[str, Any]:
    """Describe the axes, and how far pixels of each level are apart."""
    lengths = dict(zip("YX", info.pixel_size or (), strict=False))
    if info.plane_distance is not None:
        lengths["Z"] = info.plane_distance
    described = []
    for axis in axes:
        fact = {"name": axis.lower(), "type": _KINDS.get(axis, "space")}
        described.append(fact | ({"unit": "micrometer"} if axis in lengths else {}))
    datasets = []
    for number in range(levels):
        steps = [
            float(lengths.get(axis, 1.0)) * (2**number if axis in "YX" else 1) for axis in axes
        ]
        transforms = [{"type": "scale", "scale": steps}]
        datasets.append({"path": str(number), "coordinateTransformations": transforms})
    multiscale = {
        "version": _VERSION,
        "name": name,
        "axes": described,
        "datasets": datasets,
        "type": "nearest",
    }
    return {"multiscales": [multiscale]}


def _colours(numbers: Sequence[int], colour: Colour | None) -> dict[str, Any]:
    if colour is None or not numbers:
        return {}
    return {"colors": [{"label-value": n, "rgba": list(colour(n))} for n in numbers]}


def _properties(numbers: Sequence[int], notes: Mapping[int, ObjectNote]) -> dict[str, Any]:
    """Return the class and name of each object, as the format keeps what is known of labels."""
    said = [
        {"label-value": n, "class": notes[n].class_name, "name": notes[n].name}
        for n in numbers
        if n in notes
    ]
    return {"properties": said} if said else {}

"""Zarr folders: OME-Zarr (NGFF 0.4 and 0.5) with its levels, or a plain array."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from napari_spa.io.images.layout import Opened, guess_axes, micrometres, needs_extra

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MARKS = (".zgroup", ".zarray", "zarr.json")


def is_zarr(folder: Path) -> bool:
    """Tell whether a folder is a Zarr array or group, or is called so."""
    return folder.suffix.lower() == ".zarr" or any((folder / mark).exists() for mark in _MARKS)


def read_zarr(path: Path) -> Opened:
    """Open a Zarr folder; pixels are read as they are asked for.

    Parameters
    ----------
    path : Path
        The folder.

    Returns
    -------
    Opened

    Raises
    ------
    InputError
        When zarr is not installed.
    OSError, ValueError and others
        When the folder holds no image.
    """
    try:
        import zarr
    except ImportError as error:
        raise needs_extra(path, "zarr") from error
    try:
        opened: Any = zarr.open(str(path), mode="r")
    except (OSError, LookupError, ValueError) as error:
        raise ValueError("it is a folder, and no Zarr array") from error
    if not isinstance(opened, zarr.Group):
        names = _dimension_names(opened)
        return Opened((opened,), names or guess_axes(opened.shape))
    group: Any = opened
    facts = _multiscale(group)
    if facts is None:  # a wrapper: the image is one of its groups
        inner = sorted(name for name in group.group_keys() if name not in ("labels", "OME"))
        group = group[inner[0]] if inner else group
        facts = _multiscale(group)
    if facts is not None:
        return _ngff(group, facts)
    levels = tuple(group[name] for name in sorted(group.array_keys(), key=_number))
    if not levels:
        raise ValueError("it holds no array")
    return Opened(levels, _dimension_names(levels[0]) or guess_axes(levels[0].shape))


def _number(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isascii() and name.isdigit() else (-1, name)


def _multiscale(group: Any) -> Mapping[str, Any] | None:  # noqa: ANN401  a zarr group
    attributes = dict(group.attrs)
    facts = attributes.get("ome", attributes)
    found = facts.get("multiscales") if isinstance(facts, dict) else None
    first = found[0] if isinstance(found, list) and found else None
    return first if isinstance(first, dict) and first.get("datasets") else None


def _ngff(group: Any, facts: Mapping[str, Any]) -> Opened:  # noqa: ANN401  a zarr group
    datasets = facts["datasets"]
    levels = tuple(group[str(dataset["path"])] for dataset in datasets)
    count = len(levels[0].shape)
    named = facts.get("axes") or list("tczyx")[-count:]
    axes = [axis if isinstance(axis, dict) else {"name": str(axis)} for axis in named]
    letters = "".join(_letter(axis) for axis in axes)
    if len(letters) != count:
        raise ValueError(f"it names {len(letters)} axes and has {count}")
    lengths = _lengths(letters, axes, _scale(datasets[0], facts, count))
    size = (lengths["Y"], lengths["X"]) if {"Y", "X"} <= set(lengths) else None
    return Opened(levels, letters, size, lengths.get("Z"))


def _letter(axis: Mapping[str, Any]) -> str:
    name, kind = str(axis.get("name", "")).lower(), str(axis.get("type", ""))
    if name in set("tczyx"):
        return name.upper()
    return {"channel": "C", "time": "T"}.get(kind, "Q")


def _scale(dataset: Mapping[str, Any], facts: Mapping[str, Any], count: int) -> list[float]:
    """Return how far neighbours are apart along each axis; the transforms multiply."""
    scale = [1.0] * count
    given = [*(dataset.get("coordinateTransformations") or ())]
    given += facts.get("coordinateTransformations") or ()
    for transform in given:
        steps = transform.get("scale") if transform.get("type") == "scale" else None
        if isinstance(steps, list) and len(steps) == count:
            scale = [a * float(b) for a, b in zip(scale, steps, strict=True)]
    return scale


def _lengths(letters: str, axes: list[dict[str, Any]], scale: list[float]) -> dict[str, float]:
    lengths = {}
    for letter, axis, step in zip(letters, axes, scale, strict=True):
        unit = micrometres(axis.get("unit"))
        if letter in "ZYX" and unit is not None and math.isfinite(step) and step > 0:
            lengths[letter] = step * unit
    return lengths


def _dimension_names(array: Any) -> str:  # noqa: ANN401  a zarr array
    """Return the axes that a Zarr 3 array names by single letters, if it does."""
    names = getattr(getattr(array, "metadata", None), "dimension_names", None) or ()
    letters = "".join(str(name).upper() for name in names if name)
    fits = len(letters) == len(array.shape) and set(letters) <= set("TZCYX")
    return letters if fits and {"Y", "X"} <= set(letters) else ""

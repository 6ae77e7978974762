"""Values of a profile's JSON, read strictly: one sentence for whatever is something else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_spa.errors import ProfileError
from napari_spa.io.profiles.versions import check_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_spa.core.types import DoubleArray


def mapping(content: Mapping[str, object], name: str, expected: set[str]) -> Mapping[str, object]:
    """Return a mapping that has exactly the expected names."""
    value = content[name]
    if not isinstance(value, dict):
        raise ProfileError(f"its {name} is damaged.")
    check_names(value, expected, f"its {name}")
    return value


def text(content: Mapping[str, object], name: str) -> str:
    """Return a text."""
    value = content[name]
    if not isinstance(value, str):
        raise ProfileError(f"its {name} is not text.")
    return value


def count(content: Mapping[str, object], name: str) -> int:
    """Return a whole number, 0 or more."""
    value = content[name]
    if type(value) is not int or not 0 <= value < 2**53:
        raise ProfileError(f"its {name} is not a count.")
    return value


def counts(content: Mapping[str, object], name: str) -> Mapping[str, int]:
    """Return whole numbers, 0 or more, by name."""
    value = content[name]
    if not isinstance(value, dict):
        raise ProfileError(f"its {name} is damaged.")
    return {key: count(value, key) for key in value}


def number(content: Mapping[str, object], name: str) -> float:
    """Return a number; finite or not is for others to see."""
    value = content[name]
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ProfileError(f"its {name} is not a number.")
    try:
        return float(value)
    except OverflowError as error:
        raise ProfileError(f"its {name} is not finite.") from error


def numbers(content: Mapping[str, object], name: str, ndim: int) -> DoubleArray:
    """Return numbers as float64 of so many axes; empty where the shape differs."""
    value = content[name]
    if not _all_numbers(value, ndim):
        raise ProfileError(f"the mixture's {name} are not numbers.")
    try:
        array = np.array(value, dtype=np.float64)
    except (ValueError, OverflowError) as error:  # ragged rows, or an integer without end
        raise ProfileError(f"the mixture's {name} have no shape.") from error
    return array.reshape(array.shape if array.ndim == ndim else (0,) * ndim)


def _all_numbers(value: object, ndim: int) -> bool:
    if not isinstance(value, list):
        return False
    fits: Callable[[object], bool] = (
        (lambda item: type(item) in (int, float))
        if ndim == 1
        else (lambda item: _all_numbers(item, ndim - 1))
    )
    return all(map(fits, value))

"""The one way in which JSON is read: bounded in size and depth, with finite numbers only.

A file may come from a stranger, or from a disk that lost half of it.  What this returns can
be written again, fits into memory, and can be walked without running out of stack; which
names and types it holds is for the reader of each kind of file to check.
"""

from __future__ import annotations

import json
import math
import os
from typing import TYPE_CHECKING, Any

from napari_spa.errors import DataError
from napari_spa.io.files import open_file

if TYPE_CHECKING:
    from pathlib import Path

LARGEST_FILE = 256 * 2**20
"""Bytes; a manifest of 100,000 images has some 50 MiB."""
_DEEPEST = 64
_LARGEST_NUMBER = 2**64
_MOST_DIGITS = 21


class JsonError(ValueError):
    """What stands there is not JSON that we read; the text says why, in a few words."""


def parse_json(text: str | bytes, *, unknown_as_null: bool = False) -> Any:  # noqa: ANN401  any JSON value
    """Read JSON."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")

    def unknown() -> None:
        if not unknown_as_null:
            raise JsonError("a number in it is not finite, or too large")

    def real(digits: str) -> float | None:
        value = float(digits)
        if math.isfinite(value):
            return value
        unknown()
        return None

    def whole(digits: str) -> int | None:
        # Length first: turning digits into a number takes the square of their count.
        if len(digits) <= _MOST_DIGITS and abs(value := int(digits)) < _LARGEST_NUMBER:
            return value
        unknown()
        return None

    try:
        content = json.loads(
            text, parse_constant=lambda _: unknown(), parse_float=real, parse_int=whole
        )
    except JsonError:
        raise
    except RecursionError as error:
        raise JsonError("it is nested too deeply") from error
    except ValueError as error:
        raise JsonError("it is no JSON") from error
    if _deeper_than(content, _DEEPEST):
        raise JsonError("it is nested too deeply")
    return content


def read_json(path: Path, *, largest: int = LARGEST_FILE, unknown_as_null: bool = False) -> Any:  # noqa: ANN401  any JSON value
    """Read a file of JSON: :func:`read_small`, then :func:`parse_json`."""
    return parse_json(read_small(path, largest), unknown_as_null=unknown_as_null)


def read_small(path: Path, largest: int = LARGEST_FILE) -> bytes:
    """Read a file whole that should not be large."""
    try:
        with open_file(path) as stream:
            # The size first: a buffer for the largest that may be would be made for each.
            content = stream.read(min(os.fstat(stream.fileno()).st_size, largest) + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}.") from error
    except ValueError as error:  # a null byte in the name
        raise DataError(f"{str(path)!r} is no name of a file.") from error
    if len(content) > largest:
        raise DataError(f"{path} is larger than {largest / 2**20:g} MiB; it is not ours.")
    return content


def _deeper_than(content: object, levels: int) -> bool:
    """Walk level by level: recursion is what a deep file would exhaust."""
    level = [content]
    for _ in range(levels):
        level = [
            item
            for value in level
            if isinstance(value, dict | list)
            for item in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return False
    return True

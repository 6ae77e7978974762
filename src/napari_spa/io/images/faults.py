"""What may go wrong while a file is read: damage, a missing package, too many bytes.

Readers stand on a dozen libraries, and each raises what it likes.  So there is no list of
their exceptions: :func:`reading` turns whatever comes out of a reader into one sentence.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_spa.errors import InputError, SpaError, was_interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT_VARIABLE = "NAPARI_SPA_MAX_IMAGE_GB"
"""Environment variable: the most gigabytes that are unpacked into memory at once."""

_DEFAULT_LIMIT_GB = 4.0
_LONGEST_REASON = 160

# Which extra brings a package that a sentence advises; held true by a test.
EXTRAS = {
    "imagecodecs": "formats",
    "nibabel": "formats",
    "pydicom": "formats",
    "pylibjpeg": "formats",
    "SimpleITK": "formats",
    "zarr": "formats",
    "bioio": "vendors",
}

# What libraries say, in words that help.
_PLAIN = {
    "enough data": "it is cut short",
    "is not full": "it is cut short",
    "mmap length": "it is cut short",
    "requires a buffer": "it is cut short",
    "truncated": "it is cut short",
    "corrupted IFD": "it is cut short, or damaged",
    "cannot identify image file": "it is no picture, or damaged",
    "ot a TIFF": "it is no TIFF file, or damaged",
    "not a zip file": "it is no .npz file, or damaged",
    "pickle": "it holds Python objects, or is damaged",
    "Python objects": "it holds Python objects",
    "all available plugins": "its compressed pixels cannot be decoded",
}


@contextmanager
def reading(name: object) -> Iterator[None]:
    """Turn whatever a reader raises into one sentence that names the file."""
    try:
        yield
    except SpaError:
        raise
    except Exception as error:
        if was_interrupted(error):
            raise KeyboardInterrupt from error
        raise InputError(f"{name} cannot be read as an image: {reason(error)}.") from error


def reason(error: BaseException) -> str:
    """Return an error in a few words, without a final stop."""
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    if isinstance(error, RecursionError):
        return "it is nested too deeply, or damaged"
    text = str(getattr(error, "strerror", None) or error)
    line = next(iter(text.strip().splitlines()), "") or type(error).__name__
    known = (words for sign, words in _PLAIN.items() if sign in line)
    return next(known, line[:_LONGEST_REASON].rstrip(".: "))


def needs_extra(path: Path, package: str) -> InputError:
    """Return the sentence for a package that is not installed."""
    remedy = f"pip install 'napari-spa[{EXTRAS[package]}]'"
    return InputError(f"to read {path}, install {package}: {remedy}.")


def import_extra(path: Path, package: str) -> Any:  # noqa: ANN401  a module
    """Import a package that an extra brings, or say how to install it."""
    try:
        return import_module(package)
    except ImportError as error:
        raise needs_extra(path, package) from error


def check_size(nbytes: int) -> None:
    """Refuse to unpack more than the limit; called before anything is unpacked."""
    try:
        limit = float(os.environ.get(LIMIT_VARIABLE, ""))
    except ValueError:
        limit = 0.0
    limit = limit if limit > 0 else _DEFAULT_LIMIT_GB
    if nbytes > limit * 1e9:
        raise ValueError(
            f"its pixels take {nbytes / 1e9:.1f} GB and the limit is {limit:g} GB "
            f"(set {LIMIT_VARIABLE} to raise it)"
        )

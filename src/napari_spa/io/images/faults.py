"""What the readers raise on damaged files, and how it is said."""

from __future__ import annotations

import struct
import zlib
from tokenize import TokenError
from zipfile import BadZipFile

FAULTS = (
    OSError,
    ValueError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    TypeError,
    struct.error,
    BadZipFile,
    TokenError,
    zlib.error,
)

# What libraries say, in words that help a person.
_PLAIN = {
    "enough data": "it is cut short",
    "mmap length": "it is cut short",
    "requires a buffer": "it is cut short",
    "truncated stream": "it is cut short",
    "corrupted IFD": "it is cut short, or damaged",
    "`pillow`": "it is no picture, or damaged",
    "not a zip file": "it is no .npz file, or damaged",
    "pickle": "it holds Python objects, or is damaged",
    "Python objects": "it holds Python objects",
    "all available plugins": "its compressed pixels cannot be decoded",
}


def reason(error: BaseException) -> str:
    """Return an error in a few words, without a final stop."""
    text = str(getattr(error, "strerror", None) or error)
    lines = text.strip().splitlines() or [type(error).__name__]
    known = (words for sign, words in _PLAIN.items() if sign in lines[0])
    return next(known, lines[0].rstrip(".:"))

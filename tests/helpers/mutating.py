"""Damage files as disks, transfers and strangers do: a seed gives the same damage again."""

from __future__ import annotations

import re
import struct

import numpy as np

_EDGES = (
    0,
    1,
    2,
    3,
    4,
    127,
    128,
    255,
    256,
    32767,
    32768,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32 - 1,
)
_WORDS = (b"null", b"-1", b"1e400", b"NaN", b"[]", b"{}", b'""', b"9" * 40, b"true", b"../x", b"\0")


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Return bytes with one to four faults in them."""
    for _ in range(int(rng.integers(1, 5))):
        content = _FAULTS[int(rng.integers(len(_FAULTS)))](content, rng)
    return content


def _place(content: bytes, rng: np.random.Generator) -> int:
    """Choose a place; headers are hit as often as all the pixels after them."""
    most = len(content) if rng.random() < 0.5 else min(len(content), 400)
    return int(rng.integers(0, most)) if most else 0


def _flip(content: bytes, rng: np.random.Generator) -> bytes:
    at = _place(content, rng)
    return content[:at] + bytes(b ^ (1 << int(rng.integers(8))) for b in content[at : at + 1]) + content[at + 1 :]  # fmt: skip  # noqa: E501


def _noise(content: bytes, rng: np.random.Generator) -> bytes:
    at, count = _place(content, rng), int(rng.integers(1, 17))
    return content[:at] + rng.bytes(count) + content[at + count :]


def _edge(content: bytes, rng: np.random.Generator) -> bytes:
    """Put a number in that programs stumble over, in one of its widths and byte orders."""
    at, number = _place(content, rng), _EDGES[int(rng.integers(len(_EDGES)))]
    kind = ("<H", ">H", "<I", ">I", "<Q")[int(rng.integers(5))]
    value = struct.pack(kind, number & (256 ** struct.calcsize(kind) - 1))
    return content[:at] + value + content[at + len(value) :]


def _cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: _place(content, rng)]


def _remove(content: bytes, rng: np.random.Generator) -> bytes:
    at, count = _place(content, rng), int(rng.integers(1, 65))
    return content[:at] + content[at + count :]


def _repeat(content: bytes, rng: np.random.Generator) -> bytes:
    at, count = _place(content, rng), int(rng.integers(1, 65))
    return content[: at + count] + content[at : at + count] + content[at + count :]


def _word(content: bytes, rng: np.random.Generator) -> bytes:
    """Replace a number or a word of a text by another."""
    found = list(re.finditer(rb"[0-9.]+|\"[^\"]*\"|'[^']*'|[A-Za-z]{3,}", content[:20000]))
    if not found:
        return _noise(content, rng)
    one = found[int(rng.integers(len(found)))]
    return content[: one.start()] + _WORDS[int(rng.integers(len(_WORDS)))] + content[one.end() :]


_FAULTS = (_flip, _noise, _edge, _edge, _cut, _remove, _repeat, _word)

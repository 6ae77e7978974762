"""Words that sentences are made of."""

from __future__ import annotations

import re

_LONGEST_NAME = 100
_UNNAMEABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


def clean_name(text: str) -> str:
    """Return a name that a user gave as it is kept: one line, no spaces around it, not endless."""
    return _UNNAMEABLE.sub(" ", text).strip()[:_LONGEST_NAME].strip()


def counted(number: int, noun: str) -> str:
    """Say how many of something there are."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def capitalised(sentence: str) -> str:
    """Begin a sentence with a capital, unless it begins with what may be a file's name."""
    first = sentence.partition(" ")[0].rstrip(",:;.")
    return sentence[:1].upper() + sentence[1:] if first.isalpha() else sentence

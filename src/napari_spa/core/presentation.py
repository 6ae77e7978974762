"""How results are shown: small pictures of a candidate, and the words of sentences."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from napari_spa.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_spa.core.types import BoolArray, Candidate, FloatArray
ADDED_COLOUR = (0, 145, 255)
REMOVED_COLOUR = (255, 221, 0)
OUTLINE_COLOUR = (255, 255, 255)
"""Blue, yellow and white: told apart with any kind of colour vision.  Of the pairs of which that
holds, these two stand out most from fundus, skin, stained tissue, CT and fluorescence alike."""

_DARKEST, _LIGHTEST = 0.05, 0.75  # the range of the grey image: white is for the outline alone
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)

SAME, PART, WHOLE = 0.03, 0.35, 2.5
"""Up to which change of area a candidate is nearly the recommendation; below and above which
ratio of the areas it is a part of it, or what it is a part of."""
_ELSEWHERE = 0.1  # a mask that shares less of itself with the recommendation is another object
_ONE_SIDED = 0.5  # from which agreement in direction on a difference lies on one side
_SIDES = ("on the right", "at the bottom", "on the left", "at the top")


def difference_picture(
    window: FloatArray,
    mask: BoolArray,
    recommended: BoolArray,
    *,
    opacity: float = 0.75,
    line: int = 1,
) -> NDArray[np.uint8]:
    """Draw what a mask would change into the image made grey, and its outline.

    The outline, so many pixels wide, leaves the differences free: a ring of one pixel would be
    under it.  The window is (h, w, 3) in [0, 1].
    """
    picture = _grey(window)
    added, removed = mask & ~recommended, recommended & ~mask
    for part, colour in ((added, ADDED_COLOUR), (removed, REMOVED_COLOUR)):
        picture[part] = (1 - opacity) * picture[part] + opacity * np.array(colour)
    picture[outline(mask, line) & ~added] = OUTLINE_COLOUR
    return picture.astype(np.uint8)


def outline_picture(window: FloatArray, mask: BoolArray, *, line: int = 1) -> NDArray[np.uint8]:
    """Draw a mask's outline into the image made grey, and nothing that depends on another mask."""
    picture = _grey(window)
    picture[outline(mask, line)] = ADDED_COLOUR
    return picture.astype(np.uint8)


def draw_frame(
    picture: NDArray[np.uint8], top: int, left: int, bottom: int, right: int, line: int = 1
) -> None:
    """Draw a dashed rectangle into a picture, in place; what is outside it is left out."""
    height, width = picture.shape[:2]
    dash = np.arange(max(height, width)) // (4 * line) % 2 == 0
    rows, columns = (slice(max(a, 0), max(b, 0)) for a, b in ((top, bottom), (left, right)))
    for edge in (top, bottom - line):
        if 0 <= edge < height:
            band = picture[edge : edge + line, columns]
            band[:, dash[: band.shape[1]]] = OUTLINE_COLOUR
    for edge in (left, right - line):
        if 0 <= edge < width:
            band = picture[rows, edge : edge + line]
            band[dash[: band.shape[0]]] = OUTLINE_COLOUR


def _grey(window: FloatArray) -> FloatArray:
    """Return the image in grey, (h, w, 3) in [0, 255], its contrast stretched."""
    light = window @ _LUMINANCE
    low, high = np.percentile(light, [0.5, 99.5])
    share = np.clip((light - low) / max(float(high - low), 1e-6), 0, 1)
    grey = 255 * (_DARKEST + (_LIGHTEST - _DARKEST) * share)
    return np.repeat(grey[..., None], 3, axis=2)


def outline(mask: BoolArray, line: int = 1) -> BoolArray:
    """Return the pixels just inside a mask's border, ``line`` pixels deep."""
    from scipy import ndimage  # the command line needs only the words

    inner = ndimage.binary_erosion(mask, iterations=line, border_value=1)
    return mask & ~inner


def describe_difference(candidate: Candidate) -> str:
    """Say in a few words what a candidate would change, such as "smaller, -57 %"."""
    added, removed = candidate.local_added, candidate.local_removed
    before, now = int(candidate.local_recommended.sum()), int(candidate.local_mask.sum())
    more, less = int(added.sum()), int(removed.sum())
    if not before or now - more < _ELSEWHERE * now:
        return f"another object, {now:,} px"
    change = signed_percent(now / before - 1)
    if max(more, less) <= SAME * before:
        return f"nearly the same, {change}"
    if less <= SAME * before:
        if now >= WHOLE * before:
            return f"the whole around it, {change}"
        side = _side(added, candidate.local_recommended)
        return f"more {side}, {change}" if side else f"larger, {change}"
    if more <= SAME * before:
        if now <= PART * before:
            return f"only a part, {change}"
        side = _side(removed, candidate.local_recommended)
        return f"less {side}, {change}" if side else f"smaller, {change}"
    return f"other shape, {signed_percent(more / before)} {signed_percent(-less / before)}"


def signed_percent(share: float) -> str:
    """Write a change of area: "+12 %", with a true minus sign."""
    if share >= 0:
        return f"+{100 * share:,.0f} %"
    percent = 100 if share <= -1 else min(99, round(-100 * share))  # 100: nothing is left
    return f"\N{MINUS SIGN}{percent} %"


def _side(part: BoolArray, around: BoolArray) -> str:
    """Say on which side of a mask a difference lies; empty when on several."""
    middle = np.argwhere(around).mean(axis=0)
    away = np.argwhere(part) - middle
    away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)
    down, right = away.mean(axis=0)
    if np.hypot(down, right) < _ONE_SIDED:
        return ""
    return _SIDES[round(np.degrees(np.arctan2(down, right)) / 90) % 4]


_LONGEST_NAME = 100
_UNNAMEABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


def clean_name(text: str) -> str:
    """Return a name that a user gave as it is kept: one line, no spaces around it, not endless."""
    return _UNNAMEABLE.sub(" ", text).strip()[:_LONGEST_NAME].strip()


def checked_name(text: str) -> str:
    """Return a name that a user gives now as it is kept; ``InputError`` for one too long."""
    letters = len(_UNNAMEABLE.sub(" ", text).strip())
    if letters > _LONGEST_NAME:
        raise InputError(
            f"a name has at most {_LONGEST_NAME} letters, not {letters:,}; choose a shorter one."
        )
    return clean_name(text)


def counted(number: int, noun: str) -> str:
    """Say how many of something there are."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def first_of(names: Sequence[str], most: int = 3) -> str:
    """Name the first of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def capitalised(sentence: str) -> str:
    """Begin a sentence with a capital, unless it begins with what may be a file's name."""
    first = sentence.partition(" ")[0].rstrip(",:;.")
    return sentence[:1].upper() + sentence[1:] if first.isalpha() else sentence

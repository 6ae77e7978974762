"""Small pictures of a candidate: the image with what would be added and removed drawn in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_spa.core.types import BoolArray, Candidate, FloatArray

ADDED_COLOUR = (0, 145, 255)
REMOVED_COLOUR = (220, 38, 127)
OUTLINE_COLOUR = (255, 255, 255)
"""Blue, magenta and white: told apart with any kind of colour vision."""


def difference_picture(
    window: FloatArray, mask: BoolArray, recommended: BoolArray, *, opacity: float = 0.55
) -> NDArray[np.uint8]:
    """Draw what a mask would change into the image, and its outline.

    Parameters
    ----------
    window : ndarray of shape (h, w, 3)
        float32 in [0, 1], the image.
    mask : ndarray of shape (h, w)
        bool, the candidate.
    recommended : ndarray of shape (h, w)
        bool, what it is compared with.
    opacity : float
        Of the two colours.

    Returns
    -------
    ndarray of shape (h, w, 3)
        uint8.
    """
    picture = _stretched(window)
    for part, colour in (
        (mask & ~recommended, ADDED_COLOUR),
        (recommended & ~mask, REMOVED_COLOUR),
    ):
        picture[part] = (1 - opacity) * picture[part] + opacity * np.array(colour)
    picture[outline(mask)] = OUTLINE_COLOUR
    drawn: NDArray[np.uint8] = picture.astype(np.uint8)
    return drawn


def outline_picture(window: FloatArray, mask: BoolArray) -> NDArray[np.uint8]:
    """Draw a mask's outline into the image, and nothing that depends on another mask.

    Parameters
    ----------
    window : ndarray of shape (h, w, 3)
        float32 in [0, 1], the image.
    mask : ndarray of shape (h, w)
        bool.

    Returns
    -------
    ndarray of shape (h, w, 3)
        uint8.
    """
    picture = _stretched(window)
    picture[outline(mask)] = ADDED_COLOUR
    drawn: NDArray[np.uint8] = picture.astype(np.uint8)
    return drawn


def _stretched(window: FloatArray) -> FloatArray:
    """Return the image in [0, 255], with its contrast stretched."""
    low, high = np.percentile(window, [0.5, 99.5])
    grey: FloatArray = np.clip((window - low) / max(float(high - low), 1e-6), 0, 1) * 255
    return grey


def outline(mask: BoolArray) -> BoolArray:
    """Return the pixels just inside a mask's border.

    Parameters
    ----------
    mask : ndarray of shape (H, W)
        bool.

    Returns
    -------
    ndarray of shape (H, W)
        bool.
    """
    border: BoolArray = mask & ~ndimage.binary_erosion(mask, border_value=1)
    return border


def describe_difference(candidate: Candidate) -> str:
    """Say in words what a candidate would change."""
    parts = []
    if candidate.added_area:
        parts.append(f"+{candidate.added_area:,} px")
    if candidate.removed_area:
        parts.append(f"\N{MINUS SIGN}{candidate.removed_area:,} px")
    change = ", ".join(parts) or "no change"
    return f"{change} · {100 * candidate.weight:.0f} %"

"""Procedural images of one target object, outlined by several synthetic raters.

``generate`` builds a scene of one of the ``KINDS`` (what is there), paints it in one of
the ``LOOKS`` (how it is imaged), degrades it, and lets raters of different styles outline
the same object. Everything random comes from the generator that is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_spa.train.synthetic.kinds import cells, coins, disc, folded, lesion, nuclei, tissue
from napari_spa.train.synthetic.looks import PALETTES, compose, degrade, perceivable
from napari_spa.train.synthetic.raters import RaterStyle, random_panel, random_style, rater_mask
from napari_spa.train.synthetic.scene import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_spa.train.synthetic.shapes import Target

__all__ = [
    "KINDS",
    "LOOKS",
    "RaterStyle",
    "SyntheticSample",
    "generate",
    "random_panel",
    "random_style",
]

_SCENES: dict[str, Callable[[Stage], Target]] = {
    "nuclei": nuclei,
    "cells": cells,
    "disc": disc,
    "lesion": lesion,
    "folded": folded,
    "coins": coins,
    "tissue": tissue,
}
_SHARES = {
    "nuclei": 0.18,
    "cells": 0.2,
    "disc": 0.14,
    "lesion": 0.19,
    "folded": 0.1,
    "coins": 0.08,
    "tissue": 0.11,
}
_NATURAL: dict[str, tuple[str, ...]] = {
    "nuclei": ("fluorescence", "fluorescence", "grey"),
    "cells": ("phase", "phase", "em", "fluorescence"),
    "disc": ("fundus",),
    "lesion": ("ct",),
    "folded": ("ct", "grey", "stained"),
    "coins": ("grey", "colour"),
    "tissue": ("stained",),
}
_DIAMETERS: dict[str, tuple[float, float]] = {
    "tissue": (0.10, 0.45),
    "folded": (0.30, 0.80),
    "coins": (0.12, 0.70),
    "disc": (0.12, 0.80),
}

KINDS: tuple[str, ...] = tuple(_SCENES)
"""What a sample shows."""

LOOKS: tuple[str, ...] = tuple(PALETTES)
"""How a sample is imaged."""


@dataclass(frozen=True, slots=True)
class SyntheticSample:
    """One image and the outlines of one object by several raters.

    Attributes
    ----------
    image : float32 array, shape (size, size, 3)
        Values in [0, 1]; grey looks have three equal channels.
    masks : bool array, shape (raters, size, size)
        The same object as each rater sees it; none is empty.
    kind : str
        One of `KINDS`.
    look : str
        One of `LOOKS`.
    """

    image: NDArray[np.float32]
    masks: NDArray[np.bool_]
    kind: str
    look: str


def _stage(rng: np.random.Generator, size: int, kind: str) -> Stage:
    """Choose the place and the size of the target."""
    low, high = _DIAMETERS.get(kind, (0.10, 0.80))
    radius = 0.5 * size * float(np.exp(rng.uniform(np.log(low), np.log(high))))
    spread = 0.07 if rng.random() < 0.7 else 0.25
    middle = 0.5 * (size - 1) + spread * size * rng.standard_normal(2)
    margin = min(0.45 * size, (0.4 if rng.random() < 0.2 else 0.9) * radius)
    centre = np.clip(middle, margin, size - 1 - margin)
    return Stage(rng, size, (float(centre[0]), float(centre[1])), radius)


def _choose(rng: np.random.Generator, kind: str | None, look: str | None) -> tuple[str, str]:
    """Check what was asked for and draw what was not."""
    if kind is None:
        kind = KINDS[int(rng.choice(len(KINDS), p=[_SHARES[name] for name in KINDS]))]
    elif kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}")
    if look is None:
        names = _NATURAL[kind] if rng.random() < 0.55 else LOOKS
        look = names[int(rng.integers(len(names)))]
    elif look not in LOOKS:
        raise ValueError(f"look must be one of {LOOKS}, got {look!r}")
    return kind, look


def generate(
    rng: np.random.Generator,
    *,
    size: int = 192,
    kind: str | None = None,
    look: str | None = None,
    raters: Sequence[RaterStyle] | None = None,
) -> SyntheticSample:
    """Make one sample.

    Parameters
    ----------
    rng : numpy.random.Generator
        The only source of randomness; the same state gives the same sample.
    size : int, optional
        Side of the image in pixels, at least 32 and even.
    kind : str, optional
        One of `KINDS`; random by default.
    look : str, optional
        One of `LOOKS`; by default usually one that suits the kind, otherwise any.
    raters : sequence of RaterStyle, optional
        Who outlines the object; 4 to 7 random styles by default.

    Returns
    -------
    SyntheticSample

    Raises
    ------
    ValueError
        If `size`, `kind` or `look` is not valid, or `raters` is empty.
    """
    if size < 32 or size % 2:
        raise ValueError(f"size must be even and at least 32, got {size}")
    if raters is not None and len(raters) == 0:
        raise ValueError("raters must not be empty")
    kind, look = _choose(rng, kind, look)
    stage = _stage(rng, size, kind)
    target = _SCENES[kind](stage)
    palette = PALETTES[look](rng)
    least = float(rng.uniform(0.06, 0.16))
    canvas = perceivable(compose(stage.layers, palette, size), target, least)
    contrast = max(least, float(palette.shade.max()))
    picture = degrade(rng, canvas, contrast, target.radius)
    image = np.ascontiguousarray(np.broadcast_to(picture, (3, size, size)).transpose(1, 2, 0))
    panel = random_panel(rng) if raters is None else raters
    masks = np.stack([rater_mask(rng, target, style) for style in panel])
    return SyntheticSample(image, masks, kind, look)

"""Procedural images of one target object, outlined by several synthetic raters.

``generate`` builds a scene of one of the ``KINDS`` (what is there), paints it in one of
the ``LOOKS`` (how it is imaged), degrades it, and lets raters of different styles outline
the same object. Everything random comes from the generator that is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage

from napari_spa.train.synthetic.kinds import cells, coins, disc, folded, lesion, nuclei, tissue
from napari_spa.train.synthetic.scene import (
    LOOKS,
    Stage,
    Target,
    blur,
    compose,
    degrade,
    draw_palette,
    noise,
    perceivable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray


class _Kind(NamedTuple):
    """What a sample may show."""

    scene: Callable[[Stage], Target]
    share: float  # of the samples
    looks: tuple[str, ...]  # that suit it
    diameters: tuple[float, float] = (0.10, 0.80)  # of the target, in sides of the image


_KINDS = {
    "nuclei": _Kind(nuclei, 0.18, ("fluorescence", "fluorescence", "grey")),
    "cells": _Kind(cells, 0.2, ("phase", "phase", "em", "fluorescence")),
    "disc": _Kind(disc, 0.14, ("fundus",), (0.12, 0.80)),
    "lesion": _Kind(lesion, 0.19, ("ct",)),
    "folded": _Kind(folded, 0.1, ("ct", "grey", "stained"), (0.30, 0.80)),
    "coins": _Kind(coins, 0.08, ("grey", "colour"), (0.12, 0.70)),
    "tissue": _Kind(tissue, 0.11, ("stained",), (0.10, 0.45)),
}

KINDS: tuple[str, ...] = tuple(_KINDS)  # what a sample shows


@dataclass(frozen=True, slots=True)
class SyntheticSample:
    """One image and the outlines of one object by several raters."""

    image: NDArray[np.float32]  # (size, size, 3) in [0, 1]; grey looks have three equal channels
    masks: NDArray[np.bool_]  # (raters, size, size), as each rater sees it; none is empty
    kind: str  # one of `KINDS`
    look: str  # one of `LOOKS`


def _stage(rng: np.random.Generator, size: int, kind: str) -> Stage:
    """Choose the place and the size of the target."""
    low, high = _KINDS[kind].diameters
    radius = 0.5 * size * float(np.exp(rng.uniform(np.log(low), np.log(high))))
    spread = 0.07 if rng.random() < 0.7 else 0.25
    middle = 0.5 * (size - 1) + spread * size * rng.standard_normal(2)
    margin = min(0.45 * size, (0.4 if rng.random() < 0.2 else 0.9) * radius)
    centre = np.clip(middle, margin, size - 1 - margin)
    return Stage(rng, size, (float(centre[0]), float(centre[1])), radius)


def _choose(rng: np.random.Generator, kind: str | None, look: str | None) -> tuple[str, str]:
    """Check what was asked for and draw what was not."""
    if kind is None:
        kind = KINDS[int(rng.choice(len(KINDS), p=[each.share for each in _KINDS.values()]))]
    elif kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}")
    if look is None:
        names = _KINDS[kind].looks if rng.random() < 0.55 else LOOKS
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
    """Make one sample; the same state of the generator gives the same one.

    ``size``, the side in pixels, is even and at least 32.  ``kind`` is one of `KINDS`, random by
    default; ``look`` one of `LOOKS`, by default usually one that suits the kind, otherwise any;
    ``raters`` outline the object, by default 4 to 7 of random styles.
    """
    if size < 32 or size % 2:
        raise ValueError(f"size must be even and at least 32, got {size}")
    if raters is not None and len(raters) == 0:
        raise ValueError("raters must not be empty")
    kind, look = _choose(rng, kind, look)
    stage = _stage(rng, size, kind)
    target = _KINDS[kind].scene(stage)
    palette = draw_palette(rng, look)
    least = float(rng.uniform(0.06, 0.16))
    canvas = perceivable(compose(stage.layers, palette, size), target, least)
    contrast = max(least, float(palette.shade.max()))
    picture = degrade(rng, canvas, contrast, target.radius)
    image = np.ascontiguousarray(np.broadcast_to(picture, (3, size, size)).transpose(1, 2, 0))
    panel = random_panel(rng) if raters is None else raters
    masks = np.stack([rater_mask(rng, target, style) for style in panel])
    return SyntheticSample(image, masks, kind, look)


@dataclass(frozen=True, slots=True)
class RaterStyle:
    """How one rater outlines objects; the same style means the same habit on every image."""

    offset: float = 0.0  # shift of the outline outwards, as a share of the radius of the object
    # Share of a soft zone around the core that is counted in, 0 to 1.
    includes_penumbra: float = 0.5
    fills_holes: bool = True  # whether holes and lumens belong to the object
    smoothness: float = 0.1  # 0 follows every bump, 1 draws a plain outline
    keeps_satellites: bool = False  # whether detached parts belong to the object
    jitter: float = 0.02  # random deviation per object, as a share of the radius


def random_style(rng: np.random.Generator) -> RaterStyle:
    """Draw a style from the wide population."""
    return RaterStyle(
        offset=float(rng.uniform(-0.25, 0.28)),
        includes_penumbra=float(rng.beta(0.8, 0.8)),
        fills_holes=bool(rng.random() < 0.6),
        smoothness=float(rng.beta(0.8, 1.6)),
        keeps_satellites=bool(rng.random() < 0.4),
        jitter=float(rng.uniform(0.01, 0.08)),
    )


def random_panel(rng: np.random.Generator) -> list[RaterStyle]:
    """Draw 4 to 7 styles; in 30 % of the panels the raters nearly agree."""
    count = int(rng.integers(4, 8))
    if rng.random() >= 0.3:
        return [random_style(rng) for _ in range(count)]
    lead = random_style(rng)
    return [
        RaterStyle(
            offset=0.3 * lead.offset + float(rng.normal(0.0, 0.018)),
            includes_penumbra=float(np.clip(rng.normal(lead.includes_penumbra, 0.08), 0, 1)),
            fills_holes=lead.fills_holes,
            smoothness=float(np.clip(rng.normal(0.5 * lead.smoothness, 0.05), 0, 1)),
            keeps_satellites=lead.keeps_satellites,
            jitter=float(rng.uniform(0.005, 0.02)),
        )
        for _ in range(count)
    ]


def rater_mask(rng: np.random.Generator, target: Target, style: RaterStyle) -> NDArray[np.bool_]:
    """Outline a target in a style: bool, never empty, always over some of the target's core."""
    radius, size = target.radius, target.sdf.shape[0]
    deviation = style.jitter * float(np.clip(rng.standard_normal(), -2, 2))
    level = radius * (style.offset + deviation)
    level += style.includes_penumbra * target.penumbra
    level = max(level, 0.5 * float(target.sdf.min()))
    distance = target.sdf
    if style.smoothness > 0.1:
        share = float((distance < level).mean())
        distance = blur(distance, 0.25 * style.smoothness * radius)
        level = float(np.quantile(distance[::2, ::2], min(share, 0.98), method="nearest"))
    wobble = 0.7 * style.jitter * radius * noise(rng, size, max(4.0, 0.7 * radius))
    parts = ndimage.label(distance + wobble < level)[0]
    areas = np.bincount(parts[parts > 0], minlength=1)
    mask: NDArray[np.bool_] = (parts > 0) & (parts == areas.argmax())
    if target.satellites is not None and style.keeps_satellites:
        mask |= target.satellites < 0.3 * style.offset * radius
    if target.holes is not None and not style.fills_holes:
        mask &= target.holes > 0.2 * style.offset * radius
    core = target.sdf < 0
    if not core.any():
        core = target.sdf <= target.sdf.min()
    if (mask & core).sum() < 0.12 * core.sum():
        mask = core if target.holes is None else core & (target.holes > 0)
    return mask if mask.any() else core

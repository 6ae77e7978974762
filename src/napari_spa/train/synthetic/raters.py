"""Rater styles and the masks that they draw from a soft object definition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_spa.train.synthetic.shapes import blur, noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_spa.train.synthetic.shapes import Target


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


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the largest connected part, shape (size, size)."""
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    kept: NDArray[np.bool_] = parts == areas.argmax()
    return kept


def rater_mask(rng: np.random.Generator, target: Target, style: RaterStyle) -> NDArray[np.bool_]:
    """Outline a target in a style: bool, never empty, always over some of the target's core."""
    radius, size = target.radius, target.sdf.shape[0]
    deviation = style.jitter * float(np.clip(rng.standard_normal(), -2, 2))
    level = radius * (style.offset + deviation)
    level += style.includes_penumbra * target.penumbra
    level = max(level, 0.5 * float(target.sdf.min()))
    distance = target.sdf
    if style.smoothness > 0.1:
        share = float((distance < np.float32(level)).mean())
        distance = blur(distance, 0.25 * style.smoothness * radius)
        level = float(np.quantile(distance[::2, ::2], min(share, 0.98), method="nearest"))
    wobble = noise(rng, size, max(4.0, 0.7 * radius)) * np.float32(0.7 * style.jitter * radius)
    mask: NDArray[np.bool_] = distance + wobble < np.float32(level)
    mask = _largest(mask)
    if target.satellites is not None and style.keeps_satellites:
        mask |= target.satellites < np.float32(0.3 * style.offset * radius)
    if target.holes is not None and not style.fills_holes:
        mask &= target.holes > np.float32(0.2 * style.offset * radius)
    core = target.sdf < np.float32(0.0)
    if not core.any():
        core = target.sdf <= target.sdf.min()
    if (mask & core).sum() < 0.12 * core.sum():
        mask = core if target.holes is None else core & (target.holes > 0)
    return mask if mask.any() else core

"""Common parts of synthetic scenes: layers, the stage, crowds and clutter."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from napari_spa.train.synthetic.shapes import (
    Field,
    Target,
    curves,
    ellipse,
    noise,
    polygon,
    ramp,
    renormalise,
    texture,
    tubes,
    warped,
    waves,
)


@dataclass(frozen=True, slots=True)
class Layer:
    """One sheet of paint."""

    alpha: Field  # coverage, 0 to 1
    role: str  # which colour of the palette it takes
    shade: Field | None = None  # added tone, in units of the object contrast, shape (size, size)


@dataclass(slots=True)
class Stage:
    """What a scene is built on: randomness, the place of the target, the paint so far."""

    rng: np.random.Generator
    size: int  # side of the image
    centre: tuple[float, float]  # row and column of the target
    radius: float  # equivalent radius of the target
    layers: list[Layer] = field(default_factory=list)  # paint, from the bottom up

    def add(self, alpha: Field, role: str, shade: Field | None = None) -> None:
        """Paint one more layer on top."""
        self.layers.append(Layer(alpha, role, shade))

    def ground(self, shade: Field) -> None:
        """Cover everything with the textured background."""
        self.add(np.ones((self.size, self.size), np.float32), "bg", shade)

    def beside(self, distance: float, bearing: float) -> tuple[float, float]:
        """Row and column at a distance from the target's centre, in a direction."""
        row, column = self.centre
        return float(row + distance * np.sin(bearing)), float(column + distance * np.cos(bearing))

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return bool(self.rng.random() < probability)

    def uniform(self, low: float, high: float) -> float:
        """Draw a uniform number."""
        return float(self.rng.uniform(low, high))

    def log_uniform(self, low: float, high: float) -> float:
        """Draw a log-uniform number."""
        return float(np.exp(self.rng.uniform(np.log(low), np.log(high))))

    def axes(self, most: float) -> tuple[float, float]:
        """Half axes of an ellipse of the target's area, elongated at most ``most`` times."""
        ratio = np.sqrt(self.log_uniform(1.0, most))
        return float(self.radius * ratio), float(self.radius / ratio)


def surface(stage: Stage, coarse: float, strength: float) -> Field:
    """Random texture of a surface: multi-scale noise, sometimes stripes."""
    field_ = texture(stage.rng, stage.size, max(coarse, 3.0))
    if stage.chance(0.06):
        period = stage.log_uniform(4.0, 24.0)
        field_ = 0.5 * field_ + waves(stage.rng, stage.size, period, stage.uniform(0.1, 1.0))
    shade: Field = np.float32(strength) * field_
    return shade


def window(centre: tuple[float, float], reach: int) -> tuple[slice, slice]:
    """Rows and columns within a reach of a place, cut at the upper left border."""
    row, column = int(centre[0]), int(centre[1])
    return (
        slice(max(0, row - reach), max(0, row + reach + 1)),
        slice(max(0, column - reach), max(0, column + reach + 1)),
    )


def crowd(
    stage: Stage,
    coordinates: tuple[Field, Field],
    count: int,
    radius: float,
    elongation: float,
    keep_off: Field | None = None,
) -> tuple[Field, Field, Field]:
    """Many ellipses in warped coordinates."""
    size, rng = stage.size, stage.rng
    yy, xx = coordinates
    sdf = np.full((size, size), np.float32(size), np.float32)
    tone = np.zeros((size, size), np.float32)
    lean = rng.uniform(0, np.pi)
    spread = 3.0 if stage.chance(0.6) else 0.3
    soft = stage.uniform(0.6, 1.5)
    for _ in range(count):
        r = radius * float(rng.lognormal(0.0, 0.2))
        cy, cx = rng.uniform(-0.5 * r, size - 1 + 0.5 * r, 2)
        seat = (int(np.clip(cy, 0, size - 1)), int(np.clip(cx, 0, size - 1)))
        if keep_off is not None and keep_off[seat] < 0.7 * r:
            continue
        stretch = float(np.sqrt(rng.uniform(1.0, elongation)))
        part = window((cy, cx), int(1.35 * r * stretch) + 4)
        angle = lean + spread * rng.standard_normal()
        own = ellipse(yy[part], xx[part], (cy, cx), (r * stretch, r / stretch), angle)
        np.copyto(tone[part], np.float32(rng.standard_normal()), where=own < soft)
        np.minimum(sdf[part], own, out=sdf[part])
    return sdf, tone, ramp(sdf, -soft, soft)


def soft_body(stage: Stage, target: Target, shade: Field | None, role: str = "object") -> Field:
    """Paint the target: full inside the core, fading over its penumbra."""
    soft = stage.log_uniform(0.7, 2.5)
    alpha = ramp(target.sdf, -soft - 0.15 * target.penumbra, soft + 1.15 * target.penumbra)
    if target.satellites is not None:
        alpha = np.maximum(alpha, np.float32(0.9) * ramp(target.satellites, -soft, soft))
    if target.holes is not None:
        alpha = alpha * (1 - np.float32(0.95) * ramp(target.holes, -soft, soft))
    stage.add(alpha, role, shade)
    return alpha


def _marks(stage: Stage) -> Field:
    """Text-like rows of short strokes, shape (size, size)."""
    rng, size = stage.rng, stage.size
    count, height = int(rng.integers(3, 9)), stage.uniform(4, 12)
    row, column = rng.uniform(0.03, 0.95) * size, rng.uniform(0.0, 0.7) * size
    slots = column + height * np.arange(count) * 0.9
    starts = np.stack([np.full(2 * count, row), np.repeat(slots, 2)], axis=1)
    starts += rng.uniform(-0.4, 0.4, starts.shape) * height
    strokes = curves(rng, starts, rng.uniform(0, 2 * np.pi, 2 * count), height, 0.8)
    return tubes(strokes, size, stage.uniform(0.5, 1.2))


def clutter(stage: Stage) -> None:
    """Paint random distractors: lines, blobs, specks, polygons, text-like marks."""
    rng, size = stage.rng, stage.size
    if stage.chance(0.25):
        count = int(rng.integers(1, 12))
        lines = curves(
            rng,
            rng.uniform(0, size, (count, 2)),
            rng.uniform(0, 2 * np.pi, count),
            stage.uniform(0.2, 1.2) * size,
            stage.uniform(0.05, 0.7),
        )
        stage.add(stage.uniform(0.3, 1.0) * tubes(lines, size, stage.log_uniform(0.6, 4)), "line")
    if stage.chance(0.25):
        radius = stage.log_uniform(0.02, 0.2) * size
        yy, xx = grid_warp(stage, 0.3 * radius, 2 * radius)
        _, tone, alpha = crowd(stage, (yy, xx), int(rng.integers(1, 10)), radius, 3.0)
        stage.add(stage.uniform(0.4, 1.0) * alpha, "other", 0.3 * tone)
    if stage.chance(0.2):
        specks = rng.uniform(0, size, (int(rng.integers(10, 150)), 1, 2))
        stage.add(tubes(specks, size, stage.log_uniform(0.6, 2.0)), "rim")
    if stage.chance(0.1):
        centre = (stage.uniform(0, size), stage.uniform(0, size))
        yy, xx = grid_warp(stage, 0.0, 1.0)
        shape = polygon(
            yy,
            xx,
            centre,
            stage.uniform(0.05, 0.25) * size,
            int(rng.integers(3, 7)),
            rng.uniform(0, 6),
        )
        stage.add(ramp(shape, -0.7, 0.7), "other")
    if stage.chance(0.07):
        stage.add(_marks(stage), "rim")


def grid_warp(stage: Stage, amount: float, scale: float) -> tuple[Field, Field]:
    """Coordinates of the stage, displaced by smooth noise (see ``shapes.warped``)."""
    return warped(stage.rng, stage.size, amount, scale)


def uneven(stage: Stage, strength: float) -> Field:
    """Slow tone changes of a background, shape (size, size)."""
    slow: Field = np.float32(strength) * noise(
        stage.rng, stage.size, stage.uniform(0.3, 1.0) * stage.size
    )
    return slow


def towards(stage: Stage, bearing: float, reach: float) -> Field:
    """Ramp from 0 to 1 across the target in a direction, shape (size, size)."""
    yy, xx = grid_warp(stage, 0.0, 1.0)
    along = (yy - stage.centre[0]) * np.sin(bearing) + (xx - stage.centre[1]) * np.cos(bearing)
    start = stage.uniform(-0.6, 0.2) * reach
    share: Field = np.clip((along - start) / (0.6 * reach), 0, 1).astype(np.float32)
    return share


def oval(
    stage: Stage, place: tuple[float, float], radius: float, ratio: float, angle: float
) -> Field:
    """Signed distance of a slightly uneven ellipse, shape (size, size)."""
    yy, xx = grid_warp(stage, 0.055 * radius, 0.8 * radius)
    root = float(np.sqrt(ratio))
    return renormalise(ellipse(yy, xx, place, (radius * root, radius / root), angle))

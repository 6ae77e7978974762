"""What synthetic scenes are made of: smooth fields, distances, layers of paint, the stage."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from math import cos, exp, log, pi, sin, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import BSpline

Field = NDArray[np.floating]  # an image plane, shape ``(size, size)`` unless stated otherwise
Place = tuple[float, float]  # row and column


@lru_cache(maxsize=128)
def _splines(size: int, cells: int) -> Field:
    """Cubic B-splines over ``cells`` equal cells, shape ``(size, cells + 3)``."""
    place = (np.arange(size) + 0.5) * cells / size
    matrix = BSpline.design_matrix(place, np.arange(-3.0, cells + 4), 3).toarray()
    return np.asarray(matrix, np.float32)


def blur(plane: Field, sigma: float) -> Field:
    """Gaussian blur of the last two axes."""
    return np.asarray(ndimage.gaussian_filter(plane, sigma, axes=(-2, -1)), np.float32)


def noise(rng: np.random.Generator, size: int, scale: float, stretch: float = 1.0) -> Field:
    """Return a smooth field of zero mean and about unit variance, of features of about ``scale``.

    ``stretch`` is the ratio of their horizontal to their vertical size.
    """
    rows, columns = np.clip(np.rint(size / scale / np.array([1, stretch])), 1, size // 2)
    control = rng.standard_normal((int(rows) + 3, int(columns) + 3), dtype=np.float32)
    plane: Field = 2.09 * _splines(size, int(rows)) @ control @ _splines(size, int(columns)).T
    return plane


def ramp(plane: Field, low: float, high: float) -> Field:
    """Smooth step from 1 at ``plane <= low`` to 0 at ``plane >= high``."""
    t = np.clip((high - plane) / max(high - low, 1e-3), 0, 1)
    step: Field = t * t * (3 - 2 * t)
    return step


def as_column(place: Place) -> Field:
    """Make a place fit coordinates, shape (2, 1, 1)."""
    return np.array(place, np.float32)[:, None, None]


def ellipse(yx: Field, centre: Place, axes: tuple[float, float], angle: float = 0.0) -> Field:
    """Signed distance to an ellipse (first order), of coordinates of shape (2, rows, columns)."""
    (dy, dx), turn = yx - as_column(centre), (cos(angle), sin(angle))
    u, v = (dx * turn[0] + dy * turn[1]) / axes[0], (dy * turn[0] - dx * turn[1]) / axes[1]
    level = np.hypot(u, v) + 1e-4
    slope = np.hypot(u / axes[0], v / axes[1]) + 1e-4 / min(axes)
    # Near the middle the slope vanishes: the distance there is the short axis.
    inside = np.minimum(level, 1) ** 2
    distance: Field = (level - 1) * (min(axes) * (1 - inside) + level / slope * inside)
    return distance


def polygon(yx: Field, centre: Place, radius: float, sides: int, angle: float) -> Field:
    """Signed distance to a regular polygon (exact at its sides)."""
    dy, dx = yx - as_column(centre)
    turns = angle + 2 * pi * np.arange(sides) / sides
    distance: Field = np.max([dx * cos(a) + dy * sin(a) - radius for a in turns], axis=0)
    return distance


def renormalise(plane: Field) -> Field:
    """Turn a level-set function into about a signed distance near its edge."""
    distance: Field = plane / np.clip(np.hypot(*np.gradient(plane)), 0.5, 1.8)
    return distance


def union(first: Field, second: Field, width: float) -> Field:
    """Smooth union of two signed distances."""
    h = np.clip(0.5 + 0.5 * (second - first) / width, 0, 1)
    joined: Field = second * (1 - h) + first * h - width * h * (1 - h)
    return joined


@dataclass(frozen=True, slots=True)
class Target:
    """The object that the raters outline."""

    sdf: Field  # signed distance to the edge of the core, negative inside
    radius: float  # equivalent radius of the core in pixels
    penumbra: float = 0.0  # width in pixels of the soft zone outside the core
    holes: Field | None = None  # signed distance to holes (negative in a hole)
    satellites: Field | None = None  # signed distance to detached parts


@dataclass(frozen=True, slots=True)
class Layer:
    """One sheet of paint."""

    alpha: Field  # coverage, 0 to 1
    role: str  # which colour of the palette it takes
    shade: Field | None = None  # added tone, in units of the object contrast


@dataclass(slots=True)
class Stage:
    """What a scene is built on: randomness, the place of the target, the paint so far."""

    rng: np.random.Generator
    size: int  # side of the image
    centre: Place  # of the target
    radius: float  # equivalent radius of the target
    layers: list[Layer] = field(default_factory=list)  # paint, from the bottom up

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return bool(self.rng.random() < probability)

    def uniform(self, low: float, high: float) -> float:
        """Draw a uniform number."""
        return float(self.rng.uniform(low, high))

    def log_uniform(self, low: float, high: float) -> float:
        """Draw a log-uniform number."""
        return exp(self.uniform(log(low), log(high)))

    def angle(self) -> float:
        """Draw a direction."""
        return self.uniform(0, 2 * pi)

    def axes(self, most: float, radius: float | None = None) -> tuple[float, float]:
        """Half axes of an ellipse of a radius (the target's), elongated ``most`` times at most."""
        radius, ratio = radius or self.radius, sqrt(self.log_uniform(1.0, most))
        return radius * ratio, radius / ratio

    def anywhere(self) -> Place:
        """Draw a place in the image."""
        return self.uniform(0, self.size), self.uniform(0, self.size)

    def beside(self, distance: float, bearing: float) -> Place:
        """Place at a distance from the target's centre, in a direction."""
        return self.centre[0] + distance * sin(bearing), self.centre[1] + distance * cos(bearing)

    def far(self, place: Place, distance: float) -> bool:
        """Tell whether a place is further than this from the target's centre."""
        return float(np.hypot(*np.subtract(place, self.centre))) > distance

    def grid(self, amount: float = 0.0, scale: float = 1.0) -> Field:
        """Pixel coordinates, (2, size, size), displaced by noise of features of about ``scale``.

        ``amount`` is the deviation of the displacement, kept so small against ``scale`` that the
        plane does not fold over itself.
        """
        yx = np.indices((self.size, self.size), np.float32)
        if amount > 0:
            shift = min(amount, 0.26 * scale)
            yx += shift * np.stack([self.noise(scale), self.noise(scale)])
        return yx

    def noise(self, scale: float) -> Field:
        """Draw a smooth field of about unit variance."""
        return noise(self.rng, self.size, max(scale, 2.0))

    def texture(self, coarse: float, strength: float = 1.0) -> Field:
        """Noise at three scales, the first of which is ``coarse``; sometimes stripes as well."""
        weights = self.rng.uniform(0.2, 1.0, 3)
        weights *= strength / np.linalg.norm(weights)
        planes = [w * self.noise(coarse / 2.3**k) for k, w in enumerate(weights.tolist())]
        if self.chance(0.06):
            planes.append(strength * self.waves(self.log_uniform(4, 24), self.uniform(0.1, 1)))
        total: Field = np.sum(planes, axis=0, dtype=np.float32)
        return total

    def waves(self, period: float, wobble: float) -> Field:
        """Warped stripes in a random direction, values in [-1, 1]; ``wobble`` in periods."""
        (yy, xx), angle = self.grid(), self.angle()
        along = (xx * cos(angle) + yy * sin(angle)) / period + wobble * self.noise(3 * period)
        stripes: Field = np.sin(2 * pi * along)
        return stripes

    def add(self, alpha: Field, role: str, shade: Field | None = None) -> None:
        """Paint one more layer on top."""
        self.layers.append(Layer(alpha, role, shade))

    def ground(self, coarse: float, strength: float, uneven: float = 0.0) -> None:
        """Cover everything with a textured background of slowly changing tone."""
        slow = uneven * self.noise(self.uniform(0.3, 1.0) * self.size)
        self.add(np.ones_like(slow), "bg", self.texture(coarse, strength) + slow)

    def body(self, target: Target, shade: Field, role: str = "object") -> None:
        """Paint the target: full inside the core, fading over its penumbra."""
        soft = self.log_uniform(0.7, 2.5)
        alpha = ramp(target.sdf, -soft - 0.15 * target.penumbra, soft + 1.15 * target.penumbra)
        if target.satellites is not None:
            alpha = np.maximum(alpha, 0.9 * ramp(target.satellites, -soft, soft))
        if target.holes is not None:
            alpha = alpha * (1 - 0.95 * ramp(target.holes, -soft, soft))
        self.add(alpha, role, shade)

    def lines(
        self,
        starts: NDArray[np.floating],
        angles: NDArray[np.floating],
        length: float,
        wiggle: float,
    ) -> Field:
        """Smooth curves of a point per pixel, shape (n, length, 2).

        They begin at ``starts``, (n, 2), in the directions ``angles``, (n,), which spread by
        ``wiggle`` radians on the way.
        """
        steps = max(2, int(length))
        cells = max(2, steps // 25)
        bends = wiggle * self.rng.standard_normal((len(angles), cells + 3))
        turn = bends @ _splines(steps, cells).T
        heading = angles[:, None] + 1.7 * (turn - turn[:, :1])
        moves = np.stack([np.sin(heading), np.cos(heading)], axis=-1)
        points: Field = (starts[:, None] + np.cumsum(moves, axis=1)).astype(np.float32)
        return points

    def scattered(self, fewest: int, most: int, length: float, wiggle: float) -> Field:
        """Smooth curves that begin anywhere, in any direction (see `lines`)."""
        count = int(self.rng.integers(fewest, most))
        starts = self.rng.uniform(0, self.size, (count, 2))
        return self.lines(starts, self.rng.uniform(0, 2 * pi, count), length, wiggle)

    def tubes(self, points: Field, sigma: float, taper: float = 0.0) -> Field:
        """Coverage of curves, (n, length, 2), drawn as soft tubes of half width ``sigma``.

        They fade from their start by the share ``taper``: 0 not at all, 1 to nothing.
        """
        strength = np.broadcast_to(np.linspace(1, 1 - taper, points.shape[1]), points.shape[:2])
        edges = np.arange(self.size + 1) - 0.5
        rows, columns = points[..., 0].ravel(), points[..., 1].ravel()
        drawn = np.histogram2d(rows, columns, [edges, edges], weights=strength.ravel())[0]
        sigma = max(sigma, 0.5)
        level: Field = np.clip(3.3 * sigma * blur(drawn.astype(np.float32), sigma), 0, 1)
        return level

    def lattice(self, spacing: float, wander: float, turn: float) -> Field:
        """Places on a jittered lattice turned about the target's centre, shape (n, 2).

        The target's own place comes first.
        """
        reach = int(1.2 * self.size / spacing) + 2
        rows, columns = np.indices((2 * reach + 1, 2 * reach + 1)).reshape(2, -1) - reach
        brick = 0.5 * (rows % 2) if self.chance(0.5) else 0.0 * rows
        spin = np.array([[cos(turn), -sin(turn)], [sin(turn), cos(turn)]])
        seeds = spacing * np.stack([rows, columns + brick], axis=1) @ spin
        seeds = seeds[np.argsort(np.hypot(*seeds.T))]
        seeds[1:] += wander * spacing * self.rng.standard_normal((len(seeds) - 1, 2))
        seeds += self.centre
        near = ((seeds > -spacing) & (seeds < self.size + spacing)).all(axis=1)
        places: Field = seeds[near].astype(np.float32)
        return places

    def crowd(
        self, yx: Field, seeds: NDArray[np.floating], radius: float, elongation: float
    ) -> tuple[Field, Field]:
        """Ellipses of about a radius at many places: signed distance, and a tone for each."""
        sdf = np.full(yx.shape[1:], self.size, np.float32)
        tone = np.zeros_like(sdf)
        lean, spread = self.angle(), 3.0 if self.chance(0.6) else 0.3
        for row, column in seeds.tolist():
            axes = self.axes(elongation, radius * float(self.rng.lognormal(0.0, 0.15)))
            reach = int(1.35 * axes[0]) + 4
            part = tuple(
                slice(max(0, int(c) - reach), max(0, int(c) + reach)) for c in (row, column)
            )
            own = ellipse(yx[:, *part], (row, column), axes, self.rng.normal(lean, spread))
            np.copyto(tone[part], np.float32(self.rng.standard_normal()), where=own < 1)
            np.minimum(sdf[part], own, out=sdf[part])
        return sdf, tone


def clutter(stage: Stage) -> None:
    """Paint random distractors: lines, blobs, specks, polygons."""
    size = stage.size
    if stage.chance(0.25):
        length, wiggle = stage.uniform(0.2, 1.2) * size, stage.uniform(0.05, 0.7)
        lines = stage.scattered(1, 12, length, wiggle)
        sheet = stage.tubes(lines, stage.log_uniform(0.6, 4))
        stage.add(stage.uniform(0.3, 1.0) * sheet, "line")
    if stage.chance(0.25):
        radius = stage.log_uniform(0.02, 0.2) * size
        seeds = stage.rng.uniform(0, size, (int(stage.rng.integers(1, 10)), 2))
        blobs, tone = stage.crowd(stage.grid(0.3 * radius, 2 * radius), seeds, radius, 3.0)
        stage.add(stage.uniform(0.4, 1.0) * ramp(blobs, -1, 1), "other", 0.3 * tone)
    if stage.chance(0.2):
        stage.add(stage.tubes(stage.scattered(10, 150, 2, 0), stage.log_uniform(0.6, 2)), "rim")
    if stage.chance(0.1):
        sides, radius = int(stage.rng.integers(3, 7)), stage.uniform(0.05, 0.25) * size
        shape = polygon(stage.grid(), stage.anywhere(), radius, sides, stage.angle())
        stage.add(ramp(shape, -0.7, 0.7), "other")

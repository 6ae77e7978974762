"""What synthetic scenes are made of: smooth fields, shapes, layers, the stage, clutter."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Field = NDArray[np.float32]  # a float32 image plane, shape ``(size, size)`` unless stated otherwise


@lru_cache(maxsize=64)
def _spline_matrix(size: int, cells: int) -> Field:
    """Cubic B-spline matrix, shape ``(size, cells + 3)``."""
    position = (np.arange(size) + 0.5) * cells / size
    base = np.minimum(position.astype(int), cells - 1)
    t = position - base
    weights = np.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1
    )
    matrix = np.zeros((size, cells + 3), np.float32)
    for k in range(4):
        matrix[np.arange(size), base + k] = weights[:, k] / 6.0
    return matrix


@lru_cache(maxsize=128)
def _blur_matrix(size: int, quarter_sigma: int) -> Field:
    """Row-normalised Gaussian matrix, shape ``(size, size)``, for ``sigma = quarter_sigma / 4``."""
    offsets = np.arange(size)
    sigma = quarter_sigma / 4.0
    matrix = np.exp(-0.5 * ((offsets[:, None] - offsets[None, :]) / sigma) ** 2)
    matrix[matrix < 1e-6] = 0.0  # denormal numbers would make products several times slower
    normalised: Field = (matrix / matrix.sum(axis=1, keepdims=True)).astype(np.float32)
    return normalised


@lru_cache(maxsize=8)
def grid(size: int) -> tuple[Field, Field]:
    """Pixel coordinates."""
    axis = np.arange(size, dtype=np.float32)
    yy, xx = np.meshgrid(axis, axis, indexing="ij")
    return yy, xx


def blur(field: Field, sigma: float) -> Field:
    """Gaussian blur of the last two axes."""
    quarter = round(4 * sigma)
    if sigma < 0.2 or quarter < 1:
        return field
    matrix = _blur_matrix(field.shape[-1], min(quarter, 4 * field.shape[-1]))
    result: Field = (matrix @ field @ matrix.T).astype(np.float32, copy=False)
    return result


def noise(rng: np.random.Generator, size: int, scale: float, stretch: float = 1.0) -> Field:
    """Return a smooth field of zero mean and about unit variance, of features of about ``scale``.

    ``stretch`` is the ratio of their horizontal to their vertical size.
    """
    rows = int(np.clip(round(size / scale), 1, size // 2))
    columns = int(np.clip(round(size / (scale * stretch)), 1, size // 2))
    control = rng.standard_normal((rows + 3, columns + 3), dtype=np.float32) * np.float32(2.09)
    field: Field = _spline_matrix(size, rows) @ control @ _spline_matrix(size, columns).T
    return field


def texture(rng: np.random.Generator, size: int, coarse: float, octaves: int = 3) -> Field:
    """Return noise of about unit variance at several scales: ``coarse``, and by 2.3 finer each."""
    weights = rng.uniform(0.2, 1.0, octaves)
    weights /= np.sqrt((weights**2).sum())
    total: Field = np.zeros((size, size), np.float32)
    for k in range(octaves):
        scale = max(2.0, coarse / 2.3**k)
        total += np.float32(weights[k]) * noise(rng, size, scale)
    return total


def waves(rng: np.random.Generator, size: int, period: float, wobble: float = 0.3) -> Field:
    """Return warped stripes in a random direction, values in [-1, 1]; ``wobble`` in periods."""
    yy, xx = grid(size)
    angle = rng.uniform(0, np.pi)
    along = (xx * np.float32(np.cos(angle)) + yy * np.float32(np.sin(angle))) / np.float32(period)
    along = along + np.float32(wobble) * noise(rng, size, 3.0 * period)
    field: Field = np.sin(np.float32(2 * np.pi) * along)
    return field


def ramp(field: Field, low: float, high: float) -> Field:
    """Smooth step from 1 at ``field <= low`` to 0 at ``field >= high``."""
    t = np.clip((np.float32(high) - field) * np.float32(1.0 / max(high - low, 1e-3)), 0, 1)
    step: Field = t * t * (3 - 2 * t)
    return step


def curves(
    rng: np.random.Generator,
    starts: NDArray[np.floating],
    angles: NDArray[np.floating],
    length: float,
    wiggle: float,
) -> Field:
    """Return smooth curves of a point per pixel, ``(n, length, 2)``, row and column.

    They begin at ``starts`` (``(n, 2)``) in the directions ``angles`` (``(n,)``), which spread by
    ``wiggle`` on the way; angles in radians.
    """
    steps = max(2, int(length))
    knots = max(2, steps // 25) + 3
    bends = rng.standard_normal((len(angles), knots)).astype(np.float32) * np.float32(wiggle)
    turn = bends @ _spline_matrix(steps, knots - 3).T
    heading = angles[:, None] + 1.7 * (turn - turn[:, :1])
    moves = np.stack([np.sin(heading), np.cos(heading)], axis=-1)
    points: Field = (starts[:, None, :] + np.cumsum(moves, axis=1)).astype(np.float32)
    return points


def tubes(points: NDArray[np.floating], size: int, sigma: float, taper: float = 0.0) -> Field:
    """Draw curves, ``(n, length, 2)``, as soft tubes of half width ``sigma``, values in [0, 1].

    They fade from their start by the share ``taper``: 0 not at all, 1 to nothing.
    """
    place = np.rint(points).astype(np.intp)
    strength = np.broadcast_to(
        np.linspace(1.0, 1.0 - taper, points.shape[1]), points.shape[:2]
    ).ravel()
    flat = place.reshape(-1, 2)
    inside = ((flat >= 0) & (flat < size)).all(axis=1)
    index = flat[inside, 0] * size + flat[inside, 1]
    drawn = np.bincount(index, strength[inside], size * size).reshape(size, size)
    spread = blur(drawn.astype(np.float32), max(sigma, 0.5))
    level: Field = np.clip(spread * np.float32(3.3 * max(sigma, 0.5)), 0, 1)
    return level


@dataclass(frozen=True, slots=True)
class Target:
    """The object that the raters outline."""

    sdf: Field  # signed distance to the edge of the core, negative inside
    radius: float  # equivalent radius of the core in pixels
    penumbra: float = 0.0  # width in pixels of the soft zone outside the core
    holes: Field | None = None  # signed distance to holes (negative in a hole), shape (size, size)
    satellites: Field | None = None  # signed distance to detached parts, shape (size, size)


def warped(rng: np.random.Generator, size: int, amount: float, scale: float) -> tuple[Field, Field]:
    """Return pixel coordinates displaced by smooth noise of features of about ``scale``.

    ``amount`` is the deviation of the displacement, kept so small against ``scale`` that the plane
    does not fold over itself.
    """
    yy, xx = grid(size)
    if amount <= 0:
        return yy, xx
    shift = np.float32(min(amount, 0.26 * scale))
    return yy + shift * noise(rng, size, scale), xx + shift * noise(rng, size, scale)


def ellipse(
    yy: Field, xx: Field, centre: tuple[float, float], axes: tuple[float, float], angle: float
) -> Field:
    """Signed distance to an ellipse (first order)."""
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    dy, dx = yy - np.float32(centre[0]), xx - np.float32(centre[1])
    u = (dx * cos + dy * sin) / np.float32(axes[0])
    v = (dy * cos - dx * sin) / np.float32(axes[1])
    level = np.sqrt(u * u + v * v) + np.float32(1e-4)
    slope = np.sqrt((u / np.float32(axes[0])) ** 2 + (v / np.float32(axes[1])) ** 2)
    slope += np.float32(1e-4 / min(axes))
    short = np.float32(min(axes))
    inner = np.minimum(level, 1)
    reach = short + (level / slope - short) * (inner * inner)
    distance: Field = (level - 1) * reach
    return distance


def polygon(
    yy: Field, xx: Field, centre: tuple[float, float], radius: float, sides: int, angle: float
) -> Field:
    """Signed distance to a regular polygon (exact at its sides)."""
    dy, dx = yy - np.float32(centre[0]), xx - np.float32(centre[1])
    distance: Field = np.full(yy.shape, -radius, np.float32)
    for k in range(sides):
        a = angle + 2 * np.pi * k / sides
        side = dx * np.float32(np.cos(a)) + dy * np.float32(np.sin(a)) - np.float32(radius)
        np.maximum(distance, side, out=distance)
    return distance


def renormalise(field: Field) -> Field:
    """Turn a level-set function into about a signed distance near its edge."""
    dy = np.empty_like(field)
    dx = np.empty_like(field)
    dy[1:-1] = (field[2:] - field[:-2]) * np.float32(0.5)
    dx[:, 1:-1] = (field[:, 2:] - field[:, :-2]) * np.float32(0.5)
    dy[0], dy[-1], dx[:, 0], dx[:, -1] = dy[1], dy[-2], dx[:, 1], dx[:, -2]
    distance: Field = field / np.clip(np.sqrt(dy * dy + dx * dx), 0.5, 1.8)
    return distance


def exact_distance(inside: NDArray[np.bool_]) -> Field:
    """Signed Euclidean distance to the edge of a mask of even side, computed at half resolution."""
    half = inside[::2, ::2]
    if not half.any() or half.all():
        return np.where(inside, np.float32(-1.0), np.float32(inside.shape[0]))
    outer = np.asarray(ndimage.distance_transform_edt(~half), np.float32)
    inner = np.asarray(ndimage.distance_transform_edt(half), np.float32)
    coarse = 2 * (outer - inner)
    distance: Field = ndimage.zoom(coarse, inside.shape[0] / half.shape[0], order=1)
    return distance


def merge(first: Field, second: Field, width: float) -> Field:
    """Smooth union of two signed distances."""
    w = np.float32(max(width, 1e-3))
    h = np.clip(0.5 + 0.5 * (second - first) / w, 0, 1).astype(np.float32)
    union: Field = second * (1 - h) + first * h - w * h * (1 - h)
    return union


def doubled(field: Field, size: int) -> Field:
    """Repeat every pixel twice and smooth, to shape (size, size)."""
    return blur(np.repeat(np.repeat(field, 2, axis=0), 2, axis=1)[:size, :size], 1.0)


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

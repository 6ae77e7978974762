"""What synthetic scenes are made of: fields, distances, layers, the stage; and how they look."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from math import cos, exp, log, pi, sin, sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.fft import dctn, idctn
from scipy.interpolate import BSpline

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    """Smooth field of zero mean and unit variance, features of ``scale``, stretched sideways."""
    rows, columns = np.clip(np.rint(size / scale / np.array([1, stretch])), 1, size // 2)
    control = rng.standard_normal((int(rows) + 3, int(columns) + 3), dtype=np.float32)
    return 2.09 * _splines(size, int(rows)) @ control @ _splines(size, int(columns)).T


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
    return second * (1 - h) + first * h - width * h * (1 - h)


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
        """Places on a jittered, turned lattice, (n, 2), the target's own first."""
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


ROLES = ("bg", "object", "peer", "inner", "other", "line", "wall", "rim", "void")
LOOKS = ("fluorescence", "phase", "stained", "ct", "fundus", "em", "grey", "colour")

Colour = NDArray[np.floating]  # one grey value, shape ``(1,)``, or one RGB colour, shape ``(3,)``


class Palette(NamedTuple):
    """Colours of one image."""

    colours: dict[str, Colour]  # colour of every role
    shade: Colour  # direction and size in colour space of one unit of shade


# The range of the ground's grey value, then of what other roles add to it; roles that are not
# named are of any value.
_GREY: dict[str, dict[str, tuple[float, float]]] = {
    "fluorescence": {
        "bg": (0.0, 0.25),
        "object": (0.12, 0.8),
        "inner": (0.05, 0.9),
        "other": (0.02, 0.3),
        "line": (0.05, 0.4),
        "wall": (0.1, 0.6),
        "rim": (0.2, 0.7),
        "void": (-0.25, 0.0),
    },
    "phase": {
        "bg": (0.2, 0.65),
        "object": (0.05, 0.25),
        "inner": (-0.25, 0.0),
        "other": (-0.2, 0.2),
        "line": (-0.2, 0.2),
        "wall": (-0.3, 0.3),
        "rim": (0.2, 0.6),
        "void": (-0.5, -0.2),
    },
    "ct": {
        "bg": (0.0, 0.45),
        "object": (0.12, 0.55),
        "other": (0.1, 0.6),
        "line": (0.1, 0.6),
        "wall": (0.3, 0.9),
        "void": (-0.4, -0.3),
    },
    "em": {
        "bg": (0.5, 0.8),
        "object": (0.05, 0.25),
        "inner": (-0.4, -0.1),
        "other": (-0.3, 0.0),
        "line": (-0.45, -0.1),
        "wall": (-0.5, -0.2),
        "rim": (-0.6, -0.3),
    },
    "grey": {"bg": (0.05, 0.95), "object": (0.07, 0.6)},
}
_DARKER = {"phase": 0.5, "ct": 0.25, "em": 0.5, "grey": 0.5}  # chance that the object is so

# What a stain may look like; a role takes one of its colours.
_STAINED = {
    "bg": [(0.88, 0.66, 0.78), (0.94, 0.92, 0.93), (0.78, 0.7, 0.85), (0.85, 0.8, 0.74)],
    "object": [(0.35, 0.22, 0.5), (0.45, 0.28, 0.16), (0.42, 0.48, 0.65), (0.5, 0.3, 0.55)],
    "wall": [(0.35, 0.22, 0.5), (0.45, 0.28, 0.16), (0.42, 0.48, 0.65), (0.5, 0.3, 0.55)],
    "other": [(0.88, 0.66, 0.78), (0.94, 0.92, 0.93), (0.78, 0.7, 0.85)],
    "line": [(0.85, 0.55, 0.7), (0.8, 0.72, 0.66), (0.7, 0.6, 0.8)],
    "inner": [(0.8, 0.6, 0.75), (0.7, 0.52, 0.36), (0.94, 0.92, 0.93)],
    "rim": [(0.25, 0.18, 0.35)],
    "void": [(0.97, 0.97, 0.97)],
}


def _stained(rng: np.random.Generator) -> dict[str, Colour]:
    values = {role: np.array(rng.choice(choices)) for role, choices in _STAINED.items()}
    fade, ground = rng.uniform(0.35, 1.0), values["bg"]
    return {role: ground + fade * (value - ground) for role, value in values.items()}


def _fundus(rng: np.random.Generator) -> dict[str, Colour]:
    ground = rng.uniform((0.45, 0.15, 0.02), (0.85, 0.42, 0.15))
    pale = rng.uniform((0.85, 0.6, 0.2), (1.0, 0.9, 0.65)) - ground
    share = rng.uniform(0.35, 0.9)
    return {
        "bg": ground,
        "object": ground + share * pale,
        "inner": ground + min(1.15, share + rng.uniform(-0.15, 0.4)) * pale,
        "other": ground * rng.uniform(0.6, 1.25),
        "line": ground * (0.85, 0.45, 0.7) * rng.uniform(0.7, 1.05),
        "wall": ground * 0.6,
        "rim": ground + 0.5 * pale,
        "void": np.zeros(3),
    }


def _colour(rng: np.random.Generator) -> dict[str, Colour]:
    ground, change = rng.uniform(0.05, 0.95, 3), rng.standard_normal(3)
    change *= rng.uniform(0.15, 0.7) / np.linalg.norm(change)
    return {"bg": ground, "object": np.clip(ground + change, 0, 1)}


def draw_palette(rng: np.random.Generator, look: str) -> Palette:
    """Draw the colours of an image of one of the ``LOOKS``."""
    if look in _GREY:
        drawn = {role: rng.uniform(*span, 1) for role, span in _GREY[look].items()}
        ground = drawn.pop("bg")
        dark = ground > 0.8 or (ground > 0.2 and rng.random() < _DARKER.get(look, 0))
        drawn["object"] *= -1 if dark else 1
        values: dict[str, Colour] = {
            "bg": ground,
            **{role: ground + added for role, added in drawn.items()},
        }
    else:
        values = {"stained": _stained, "fundus": _fundus, "colour": _colour}[look](rng)
        # Two images of one stain differ.
        values = {role: value + rng.normal(0, 0.03, 3) for role, value in values.items()}
    channels = len(values["bg"])
    values["peer"] = values["object"] + rng.normal(0, 0.02, channels)
    colours = {
        role: np.clip(values.get(role, rng.uniform(0, 1, channels)), 0, 1).astype(np.float32)
        for role in ROLES
    }
    change = np.abs(colours["object"] - colours["bg"])
    shade = 0.6 * change.mean() + 0.4 * change
    if look == "fluorescence" and rng.random() < 0.3:  # shown in one colour
        tint = rng.permutation([1.0, rng.uniform(0.1, 1), 0.1]).astype(np.float32)
        return Palette({role: colour * tint for role, colour in colours.items()}, shade * tint)
    return Palette(colours, shade)


def compose(layers: Sequence[Layer], palette: Palette, size: int) -> Field:
    """Lay the paint down, shape (channels, size, size)."""
    canvas = np.zeros((len(palette.shade), size, size), np.float32)
    for layer in layers:
        paint = palette.colours[layer.role][:, None, None]
        if layer.shade is not None:
            paint = paint + palette.shade[:, None, None] * layer.shade
        canvas += layer.alpha * (paint - canvas)
    return np.clip(canvas, 0, 1)


def perceivable(canvas: Field, target: Target, least: float) -> Field:
    """Strengthen a target whose edge can hardly be seen."""
    width = max(2.5, 0.1 * target.radius)
    gap = target.sdf - target.penumbra
    inside = (target.sdf < 0) & (target.sdf > -width)
    outside = (gap > 0) & (gap < width)
    if not inside.any() or not outside.any():
        return canvas
    ground = canvas[:, outside].mean(axis=1)
    change = canvas[:, inside].mean(axis=1) - ground
    amount = np.abs(change).max()
    if amount >= least:
        return canvas
    if amount < 0.02 or not 0.15 < ground.mean() < 0.85:
        change, amount = np.full_like(change, 0.01 if ground.mean() < 0.5 else -0.01), 0.01
    alpha = ramp(target.sdf, -1.0, 1.0 + target.penumbra)
    if target.holes is not None:
        alpha = alpha * (1 - ramp(target.holes, -1.0, 1.0))
    stronger: Field = canvas + ((least / amount - 1) * change)[:, None, None] * alpha
    return stronger


def _lit(rng: np.random.Generator, image: Field) -> Field:
    """Light an image unevenly: from one side, or by a smooth field."""
    size = image.shape[-1]
    if rng.random() < 0.5:
        slopes = rng.uniform(-0.5, 0.5, 2)
        axis = np.linspace(-0.5, 0.5, size, dtype=np.float32)
        light = 1 + slopes[0] * axis[:, None] + slopes[1] * axis
    else:
        light = 1 + rng.uniform(0.05, 0.2) * noise(rng, size, rng.uniform(0.3, 1.0) * size)
    lit: Field = image * np.clip(light, 0.1, 2.0)
    return lit


def _grainy(rng: np.random.Generator, image: Field, contrast: float) -> Field:
    """Add noise whose strength follows the contrast of the object."""
    channels = len(image) if rng.random() < 0.5 else 1
    grain = rng.standard_normal((channels, *image.shape[1:]), dtype=np.float32)
    if rng.random() < 0.45:
        sigma = rng.uniform(0.5, 1.4)
        grain = 3 * sigma * blur(grain, sigma)
    strength = min(0.16, contrast * np.exp(rng.uniform(np.log(0.02), np.log(0.7))))
    # Of the grey value: none, as in shot noise, as in speckle.
    power = rng.choice([0, 0.5, 1], p=[0.6, 0.25, 0.15])
    noisy: Field = image + 1.5**power * strength * grain * np.clip(image, 0.02, 1) ** power
    return noisy


def _blocky(image: Field, step: float) -> Field:
    """Quantise 8 x 8 blocks as JPEG does."""
    used = image.shape[-1] // 8 * 8
    tiles = image[:, :used, :used].reshape(len(image), used // 8, 8, used // 8, 8)
    table = step * (1 + 0.6 * np.add.outer(np.arange(8), np.arange(8)))[:, None]
    spectrum = np.rint(dctn(tiles, axes=(2, 4), norm="ortho") / table) * table
    blocks = idctn(spectrum, axes=(2, 4), norm="ortho").reshape(len(image), used, used)
    return np.pad(blocks, ((0, 0), *[(0, image.shape[-1] - used)] * 2), mode="edge")


def degrade(rng: np.random.Generator, image: Field, contrast: float, radius: float) -> Field:
    """Change light, sharpness, noise, coding and tone of an image, ``(channels, size, size)``.

    ``contrast`` is the colour difference between the object and its surroundings; its ``radius``
    in pixels bounds the blur.  The result is in [0, 1].
    """
    if rng.random() < 0.45:
        image = _lit(rng, image)
    image = np.clip(image, 0, 1)
    draw = rng.random()
    if draw < 0.75:
        most = 1.3 if draw < 0.5 else min(5.0, 0.13 * radius)
        image = blur(image, rng.uniform(0.3, max(0.5, most)))
    if rng.random() < 0.85:
        image = _grainy(rng, image, contrast)
    if rng.random() < 0.2:
        image = _blocky(image, rng.uniform(0.01, 0.06) * min(1.0, 3 * contrast))
    image = np.clip(image, 0, 1)
    if rng.random() < 0.35:
        image = image ** np.exp(rng.normal(0, 0.35))
    draw = rng.random()
    if draw < 0.12:
        image = 1 - image
    elif draw < 0.3:
        span = rng.uniform(0.3, 1.0)
        image = span * image + rng.uniform(0, 1 - span)
    elif draw < 0.5:
        low, high = image.min(), image.max()
        image = (image - low) / max(high - low, 1e-3)
    return np.clip(image, 0, 1).astype(np.float32)

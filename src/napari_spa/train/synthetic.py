"""Procedural images of one target object, outlined by several synthetic raters.

``generate`` paints a scene of one of the ``KINDS`` (what is there) in the colours of one of
the ``LOOKS`` (how it is imaged), degrades it, and lets raters of different styles outline
the same object. Everything random comes from the generator that is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import pi
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.interpolate import BSpline
from skimage.segmentation import find_boundaries

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Field = NDArray[np.floating]  # an image plane, shape ``(size, size)`` unless stated otherwise
Mask = NDArray[np.bool_]  # the same


@dataclass(frozen=True, slots=True)
class SyntheticSample:
    """One image and the outlines of one object by several raters."""

    image: NDArray[np.float32]  # (size, size, 3) in [0, 1]
    masks: NDArray[np.bool_]  # (raters, size, size), as each rater sees it; none is empty
    kind: str  # one of `KINDS`
    look: str  # one of `LOOKS`


class _Target(NamedTuple):
    """The object that the raters outline."""

    sdf: Field  # signed distance to the edge of the core in pixels, negative inside
    radius: float  # of the core, about
    penumbra: float  # width in pixels of the soft zone outside the core
    holes: Mask | None = None  # in the core
    satellites: Mask | None = None  # detached parts


_Span = tuple[float | list[float], float | list[float]]  # lowest and highest, grey or RGB
_ROLES = ("object", "inner", "other", "line")  # inner: nucleus, cup, hole; line: also membranes

_BIPOLAR = ([-0.6] * 3, [0.6] * 3)
# The colours of the ground, and what is added to them in each role.
_LOOKS: dict[str, tuple[_Span, ...]] = {
    "fluorescence": ((0.0, 0.25), (0.12, 0.7), (0.05, 0.75), (0.02, 0.3), (0.05, 0.6)),
    "phase": ((0.25, 0.65), (-0.25, 0.25), (-0.25, 0.0), (-0.2, 0.2), (0.1, 0.5)),
    "stained": (
        ([0.8, 0.66, 0.74], [0.96, 0.94, 0.95]),
        ([-0.55, -0.5, -0.4], [-0.25, -0.25, -0.05]),
        ([-0.1, -0.2, -0.2], [0.1, 0.1, 0.05]),
        ([-0.1, -0.3, -0.2], [0.1, 0.1, 0.1]),
        ([-0.25, -0.35, -0.25], [0.0, -0.05, 0.0]),
    ),
    "ct": ((0.0, 0.45), (-0.2, 0.55), (-0.3, 0.3), (0.1, 0.6), (0.1, 0.6)),
    "fundus": (
        ([0.45, 0.15, 0.02], [0.85, 0.42, 0.15]),
        ([0.08, 0.2, 0.08], [0.3, 0.45, 0.4]),
        ([0.1, 0.25, 0.15], [0.45, 0.6, 0.6]),
        ([-0.15, -0.1, -0.03], [0.1, 0.1, 0.03]),
        ([-0.2, -0.2, -0.05], [-0.03, -0.08, 0.0]),
    ),
    "em": ((0.5, 0.8), (-0.25, 0.25), (-0.4, -0.1), (-0.3, 0.0), (-0.5, -0.2)),
    "grey": ((0.05, 0.95), (-0.6, 0.6), (-0.5, 0.5), (-0.3, 0.3), (-0.4, 0.4)),
    "colour": (([0.05] * 3, [0.95] * 3), _BIPOLAR, _BIPOLAR, _BIPOLAR, _BIPOLAR),
}

LOOKS: tuple[str, ...] = tuple(_LOOKS)  # how it is imaged


def _palette(rng: np.random.Generator, look: str) -> dict[str, NDArray[np.floating]]:
    """Draw the colour ``(3,)`` of each role; ``shade`` is what one unit of texture adds."""
    ground, *spans = _LOOKS[look]
    base = rng.uniform(*ground) + np.zeros(3)
    colours = {"ground": base, "void": np.zeros(3)}
    for role, span in zip(_ROLES, spans, strict=True):
        colours[role] = np.clip(base + rng.uniform(*span), 0, 1)
    change = np.abs(colours["object"] - base)
    colours["shade"] = 0.6 * change.mean() + 0.4 * change + 0.03
    tint = np.ones(3)
    if look == "fluorescence" and rng.random() < 0.3:  # shown in one colour
        tint = rng.permutation([1.0, rng.uniform(0.1, 1), 0.1])
    return {role: colour * tint for role, colour in colours.items()}


@lru_cache(maxsize=128)
def _splines(size: int, cells: int) -> Field:
    """Cubic B-splines over ``cells`` equal cells, shape ``(size, cells + 3)``."""
    place = (np.arange(size) + 0.5) * cells / size
    matrix = BSpline.design_matrix(place, np.arange(-3.0, cells + 4), 3).toarray()
    return np.asarray(matrix, np.float32)


def _noise(rng: np.random.Generator, size: int, scale: float) -> Field:
    """Smooth field of zero mean and unit variance, features of ``scale`` pixels."""
    cells = int(np.clip(round(size / scale), 1, size // 2))
    control = rng.standard_normal((cells + 3, cells + 3), dtype=np.float32)
    return 2.09 * _splines(size, cells) @ control @ _splines(size, cells).T


def _blur(plane: NDArray[np.generic], sigma: float) -> Field:
    """Gaussian blur of the first two axes."""
    return np.asarray(ndimage.gaussian_filter(plane.astype(np.float32), sigma, axes=(0, 1)))


def _distance(inside: Mask) -> Field:
    """Signed distance to the edge of a mask, negative inside."""
    outer, inner = (ndimage.distance_transform_edt(each) for each in (~inside, inside))
    return _blur(np.subtract(outer, inner), 0.6)


def _ramp(plane: Field, low: float, high: float) -> Field:
    """Smooth step from 1 at ``plane <= low`` to 0 at ``plane >= high``."""
    t = np.clip((high - plane) / max(high - low, 1e-3), 0, 1)
    step: Field = t * t * (3 - 2 * t)
    return step


class _Scene:
    """A canvas, the place of the target on it, and a palette; places are (row, column)."""

    def __init__(self, rng: np.random.Generator, size: int, look: str, radius: float) -> None:
        self.rng, self.size, self.radius = rng, size, radius
        spread = 0.07 if self.chance(0.7) else 0.25
        margin = min(0.45 * size, (0.4 if self.chance(0.2) else 0.9) * radius)
        middle = 0.5 * (size - 1) + spread * size * rng.standard_normal(2)
        self.centre = np.clip(middle, margin, size - 1 - margin)
        self.colours = _palette(rng, look)
        self.canvas = np.zeros((size, size, 3), np.float32)
        uneven = self.uniform(0, 0.3) * _noise(rng, size, self.uniform(0.3, 1.0) * size)
        fine = self.texture(self.uniform(0.02, 0.2) * size, self.uniform(0.02, 0.2))
        self.paint(np.ones_like(fine), "ground", uneven + fine)

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def uniform(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def texture(self, coarse: float, strength: float) -> Field:
        """Draw noise at three scales, the first of which is ``coarse``; sometimes stripes."""
        weights = strength * self.rng.dirichlet(np.ones(3)) ** 0.5
        scales = np.maximum(coarse / np.array([1, 2.3, 5.3]), 2.0)
        shade = sum(
            w * _noise(self.rng, self.size, s) for w, s in zip(weights, scales, strict=True)
        )
        return np.asarray(shade)

    def around(self, distance: float, angle: ArrayLike) -> Field:
        """Return places at a distance from the target's centre: (2,), or (n, 2) of n angles."""
        return self.centre + distance * np.stack([np.sin(angle), np.cos(angle)], axis=-1)

    def crowd(
        self, seeds: Field, radius: float, elongation: float, warp: float
    ) -> tuple[NDArray[np.intp], Mask]:
        """Share the plane among seeds (n, 2), each in the middle of an ellipse of about a radius.

        Return whose each pixel is, and whether it is in that one's ellipse.  ``warp`` is how
        uneven their outlines are, as a share of the radius.
        """
        yx = np.moveaxis(np.indices((self.size, self.size), np.float32), 0, -1)
        scale = max(self.uniform(0.6, 1.6) * radius, 4.0)
        shifts = [_noise(self.rng, self.size, scale) for _ in range(2)]
        yx += min(warp * radius, 0.26 * scale) * np.stack(shifts, axis=-1)
        which = ((seeds**2).sum(axis=1) - 2 * yx @ seeds.T.astype(np.float32)).argmin(axis=-1)
        count = len(seeds)
        half = radius * np.exp(self.rng.normal(0, 0.15, count) * (np.arange(count) > 0))
        ratio = elongation ** self.rng.uniform(0, 0.5, count)
        turn = self.uniform(0, 7) + self.rng.normal(0, self.rng.choice([0.3, 3.0]), count)
        sin, cos = np.sin(turn)[which], np.cos(turn)[which]
        rows, columns = np.moveaxis(yx - seeds[which], -1, 0)
        along, across = rows * sin + columns * cos, rows * cos - columns * sin
        return which, np.hypot(along / (half * ratio)[which], across / (half / ratio)[which]) < 1

    def blob(self, centre: Field, radius: float, elongation: float, warp: float = 0.05) -> Mask:
        """Draw one uneven ellipse, as of :meth:`crowd`."""
        return self.crowd(centre[None], radius, elongation, warp)[1]

    def strokes(self, starts: Field, angles: Field, length: float, width: float) -> Field:
        """Draw the coverage of bent lines from places (n, 2) in directions (n,)."""
        steps = max(2, int(length))
        bends = self.rng.standard_normal((len(angles), steps // 25 + 5))
        turn = 0.6 * bends @ _splines(steps, steps // 25 + 2).T
        heading = angles[:, None] + turn - turn[:, :1]
        moves = np.stack([np.sin(heading), np.cos(heading)], axis=-1)
        places = np.rint(starts[:, None] + np.cumsum(moves, axis=1)).astype(int).reshape(-1, 2)
        places = places[((places >= 0) & (places < self.size)).all(axis=1)]
        free = np.ones((self.size, self.size), bool)
        free[*places.T] = False
        if free.all():
            return np.zeros(free.shape)
        away: Field = ndimage.distance_transform_edt(free)
        return _ramp(away, width - 1, width + 1)

    def scattered(self, most: int, length: float, width: float) -> Field:
        """Draw the coverage of bent lines that begin anywhere."""
        count = int(self.rng.integers(1, most + 1))
        starts = self.rng.uniform(0, self.size, (count, 2))
        return self.strokes(starts, self.rng.uniform(0, 7, count), length, width)

    def paint(self, alpha: Field, role: str, shade: Field | float = 0.0) -> None:
        """Paint a colour on top, and ``shade`` on it, in units of the object's contrast."""
        tone = np.asarray(shade)[..., None] * self.colours["shade"]
        self.canvas += alpha[..., None] * (self.colours[role] + tone - self.canvas)

    def body(self, target: _Target, shade: Field, role: str = "object") -> None:
        """Paint the target: full inside the core, fading over its penumbra."""
        soft = self.uniform(0.7, 2.0)
        alpha = _ramp(target.sdf, -soft - 0.15 * target.penumbra, soft + 1.15 * target.penumbra)
        if target.satellites is not None:
            alpha = np.maximum(alpha, _blur(target.satellites, 0.7))
        self.paint(alpha, role, shade)
        if target.holes is not None:
            self.paint(alpha * _blur(target.holes, 0.7), "inner")

    def clutter(self) -> None:
        """Paint distractors: lines, blobs, specks."""
        size = self.size
        if self.chance(0.3):
            length, width = self.uniform(0.2, 1) * size, self.uniform(0.7, 4)
            self.paint(self.scattered(11, length, width), "line")
        if self.chance(0.3):
            seeds = self.rng.uniform(0, size, (int(self.rng.integers(1, 10)), 2))
            blobs = self.crowd(seeds, self.uniform(0.02, 0.15) * size, 3.0, 0.2)[1]
            self.paint(self.uniform(0.4, 1.0) * _blur(blobs, 0.8), "other", self.texture(20, 0.2))
        if self.chance(0.25):
            self.paint(self.scattered(150, 2, self.uniform(0.6, 2)), "line")


def _nuclei(scene: _Scene) -> _Target:
    """Paint a nucleus (or a coin, a fruit) on plain ground or on fibrous tissue."""
    scene.clutter()
    if scene.chance(0.3):
        scene.paint(0.6 * scene.scattered(60, 0.5 * scene.size, scene.uniform(0.7, 2.5)), "line")
    return _peers(scene, packed=False)


def _peers(scene: _Scene, *, packed: bool) -> _Target:
    """Paint alike objects, the target in their middle: some touch, or membranes divide them."""
    radius, rng = scene.radius, scene.rng
    spacing = radius * (1.8 if packed else scene.uniform(1.7, 4.0))
    reach = int(scene.size / spacing) + 2
    steps = sorted(range(-reach, reach + 1), key=abs)  # the target's own first
    lattice = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    wander = scene.uniform(0.05, 0.25) * rng.standard_normal(lattice.shape)
    seeds = scene.centre + spacing * (lattice + wander * lattice.any(axis=1, keepdims=True))
    kept = rng.random(len(seeds)) < (2.0 if packed else scene.uniform(0, 1.3))
    kept[0] = True
    elongation = 1.0 if packed else scene.uniform(1.1, 3.0)
    which, inside = scene.crowd(seeds[kept], radius, elongation, scene.uniform(0.0, 0.25))
    border = find_boundaries(which)
    if packed:
        scene.paint(np.ones(border.shape), "line")
        width = scene.uniform(0.8, 0.06 * radius + 1.6)
        inside = np.asarray(ndimage.distance_transform_edt(~border) > width)
    elif scene.chance(0.7):
        inside &= ~border
    every = _distance(inside)
    shade = scene.texture(scene.uniform(0.2, 0.9) * radius, scene.uniform(0.03, 0.35))
    if scene.chance(0.25):  # an embossed pattern, lit from one side
        relief = ndimage.sobel(shade, int(scene.chance(0.5)))
        shade = shade + scene.uniform(0.1, 0.5) * relief / (relief.std() + 1e-6)
    if scene.chance(0.2):  # darker in the middle, brighter at the edge
        shade = shade + 0.3 - 0.7 * np.clip(-every / (0.35 * radius), 0, 1)
    if scene.chance(0.3):  # out of focus
        scene.paint(scene.uniform(0, 0.6) * _ramp(every, 0, 0.5 * radius), "object")
    tone = scene.uniform(0, 0.4) * rng.standard_normal(len(seeds))[which]
    scene.paint(_blur(inside & (which > 0), 0.7), "object", shade + tone)
    soft = scene.uniform(0.05, 0.3) if scene.chance(0.3) else 0.03
    target = _Target(_distance(inside & (which == 0)), radius, soft * radius)
    scene.body(target, shade)
    if scene.chance(0.2):
        scene.paint(_ramp(np.abs(every), 0, scene.uniform(1.5, 3.5)), "line")
    return target


def _cells(scene: _Scene) -> _Target:
    """Paint an irregular cell with halo and nucleus, or cells packed as in epithelium."""
    if scene.chance(0.3):
        return _peers(scene, packed=True)
    scene.clutter()
    inner = scene.chance(0.3)  # whether the nucleus is the target
    radius = scene.radius * (scene.uniform(1.6, 2.6) if inner else 1.0)
    bearings = scene.uniform(0, pi) + pi * scene.rng.integers(0, 2, 4) + scene.rng.normal(0, 0.7, 4)
    bearings = bearings[: int(scene.rng.integers(0, 5))]
    width, length = scene.uniform(0.1, 0.25) * radius + 1, scene.uniform(0.9, 1.6) * radius
    starts = np.repeat(scene.centre[None], len(bearings), axis=0)
    arms = scene.strokes(starts, bearings, length, width) > 0.5
    body = scene.blob(scene.centre, scene.uniform(0.75, 0.95) * radius, 3.0, 0.2)
    sdf = _distance(_blur(body | arms, 0.06 * radius) > 0.4)
    if scene.chance(0.6):
        halo = _ramp(sdf, 0, scene.uniform(0.1, 0.5) * radius + 2)
        scene.paint(scene.uniform(0.3, 0.9) * halo, "line")
    shade = scene.texture(scene.uniform(0.1, 0.6) * radius, scene.uniform(0.05, 0.4))
    cell = _Target(sdf, radius, scene.uniform(0.02, 0.15) * radius, None, _satellite(scene, sdf))
    scene.body(cell, shade, "inner" if inner else "object")
    own = scene.radius * (1.0 if inner else scene.uniform(0.25, 0.5))
    shape = _distance(scene.blob(scene.centre, own, 1.8, 0.08))
    nucleus = _Target(shape, own, own * scene.uniform(0.02, 0.2))
    if inner or scene.chance(0.6):
        scene.body(nucleus, scene.texture(0.6 * own, 0.15), "object" if inner else "inner")
    return nucleus if inner else cell


def _satellite(scene: _Scene, sdf: Field) -> Mask | None:
    """Draw a small part that lies beside a target, in one of six images."""
    if scene.chance(0.83):
        return None
    place = scene.around(scene.uniform(1.3, 1.8) * scene.radius, scene.uniform(0, 7))
    return scene.blob(place, 0.24 * scene.radius, 1.5) & (sdf > 3)


def _disc(scene: _Scene) -> _Target:
    """Paint a bright disc with a cup inside, crossed by vessels (optic nerve head)."""
    rng, size = scene.rng, scene.size
    cup_asked = scene.chance(0.15)
    radius = scene.radius / (scene.uniform(0.35, 0.8) if cup_asked else 1.0)
    small = scene.radius * (1.0 if cup_asked else scene.uniform(0.3, 0.75))
    shift = 0.0 if cup_asked else scene.uniform(0, 0.7) * (radius - small)
    inside = scene.blob(scene.centre, radius, 1.25)
    within = scene.blob(scene.around(shift, scene.uniform(0, 7)), small, 1.25) & inside
    whole = _Target(_distance(inside), radius, radius * scene.uniform(0.02, 0.15))
    cup = _Target(_distance(within), small, small * scene.uniform(0.05, 0.45))
    scene.body(whole, scene.texture(0.4 * radius, 0.08))
    pallor = 1.0 if cup_asked else scene.uniform(0.0, 1.0)
    scene.paint(pallor * _ramp(cup.sdf, -0.2 * small, 1.1 * cup.penumbra + 1), "inner")
    if scene.chance(0.9):  # vessels leave upwards and downwards, and fork
        count, width = int(rng.integers(4, 11)), scene.uniform(0.018, 0.05) * radius + 0.8
        angles = pi / 2 * rng.choice([-1, 1], count) + rng.normal(0, 0.5, count)
        starts = scene.centre + rng.normal(0, 0.18 * radius, (count, 2))
        cover, length = scene.uniform(0.4, 0.95), scene.uniform(0.6, 1.2) * size
        scene.paint(cover * scene.strokes(starts, angles, length, width), "line")
        twigs = np.repeat(angles, 2) + rng.normal(0, 0.7, 2 * count)
        starts = np.repeat(starts, 2, axis=0)
        scene.paint(cover * scene.strokes(starts, twigs, 0.7 * length, 0.5 * width), "line")
    if scene.chance(0.25):  # black beyond the round field of view
        reach = max(scene.uniform(0.42, 0.6) * size, 1.2 * radius)
        seen = scene.blob(0.3 * size + 0.4 * scene.centre, reach, 1.0, 0.0)
        scene.paint(_blur(~seen, 1.0), "void")
    return cup if cup_asked else whole


def _lesion(scene: _Scene) -> _Target:
    """Paint a soft lesion with penumbra and spiculations in a CT- or MR-like background."""
    radius, size = scene.radius, scene.size
    scene.paint(scene.scattered(25, 0.6 * size, scene.uniform(0.8, 3.5)), "line")
    if scene.chance(0.6):  # a wall or an organ nearby
        reach = scene.uniform(0.1, 2.0) * size
        away = scene.around(reach + radius * scene.uniform(1.2, 2.5), scene.uniform(0, 7))
        wall = _distance(scene.blob(away, reach, 1.2))
        scene.paint(_ramp(wall, -1.2, 1.2), "other", scene.texture(20.0, 0.08))
        depth = scene.uniform(0.04, 0.15) * size
        scene.paint(_ramp(np.abs(wall + depth), 0.2 * depth, 0.3 * depth + 1), "line")
    scene.clutter()
    inside = scene.blob(scene.centre, radius, 1.9, scene.uniform(0.04, 0.25))
    if scene.chance(0.35):
        bud = scene.around(0.8 * radius, scene.uniform(0, 7))
        inside |= scene.blob(bud, 0.55 * radius, 1.2)
    sdf = _distance(inside)
    soft = scene.uniform(0.12, 0.6) if scene.chance(0.6) else scene.uniform(0.02, 0.12)
    if scene.chance(0.35):
        soft, angles = max(soft, 0.2), scene.rng.uniform(0, 7, int(scene.rng.integers(5, 16)))
        length, width = scene.uniform(0.6, 1.2) * radius, 0.02 * radius + 0.6
        spikes = scene.strokes(scene.around(0.7 * radius, angles), angles, length, width)
        scene.paint(0.7 * spikes, "object")
    shade = scene.texture(scene.uniform(0.2, 0.9) * radius, scene.uniform(0.03, 0.25))
    target = _Target(sdf, radius, soft * radius, None, _satellite(scene, sdf))
    scene.body(target, shade)
    return target


def _folded(scene: _Scene) -> _Target:
    """Paint a large folded or lobed region with holes (glands), or a folded band (cortex)."""
    radius, rng = scene.radius, scene.rng
    scene.clutter()
    inside = scene.blob(scene.centre, radius, 1.6, scene.uniform(0.05, 0.16))
    if scene.chance(0.5):  # a rind around it
        rind, role = scene.uniform(0.03, 0.2) * radius, str(rng.choice(["line", "other"]))
        scene.paint(_ramp(_distance(inside), rind - 1, rind + 1), role, scene.texture(10.0, 0.1))
    if scene.chance(0.5):  # folds enter from outside
        angles = np.linspace(0, 2 * pi, 12, endpoint=False) + rng.normal(0, 0.2, 12)
        starts, depth = scene.around(1.1 * radius, angles), scene.uniform(0.2, 0.6) * radius
        inside &= scene.strokes(starts, angles + pi, depth, 0.02 * radius + 0.8) < 0.5
    band = scene.chance(0.5)
    if band:  # along the edge of a core that is no part of it, all around or open somewhere
        radius *= scene.uniform(0.12, 0.45)  # from here on the band's width
        core = _distance(inside) + 0.2 * radius * _noise(rng, scene.size, 2 * radius) < -radius
        scene.paint(_blur(core, 0.7), str(rng.choice(["inner", "other"])), scene.texture(20.0, 0.2))
        inside &= ~core
        if scene.chance(0.5):
            angle, depth = np.array([scene.uniform(0, 2 * pi)]), 1.3 * scene.radius
            start, width = scene.around(depth, angle), scene.uniform(0.05, 0.4) * radius + 1.5
            inside &= scene.strokes(start, angle + pi, depth, width) < 0.5
    sdf, holes = _distance(inside), None
    shade = scene.texture(scene.uniform(0.2, 0.6) * radius, scene.uniform(0.05, 0.25))
    if not band and scene.chance(0.6):
        rough = _noise(rng, scene.size, scene.uniform(0.25, 0.6) * radius)
        holes = (rough > scene.uniform(1.0, 1.6)) & (sdf < -0.12 * radius)
    target = _Target(sdf, 0.9 * radius, radius * scene.uniform(0.01, 0.06), holes)
    scene.body(target, shade)
    return target


# What a sample may show, its share of the samples, the looks that suit it, and the smallest and
# largest diameter of the target in sides of the image.
_KINDS: dict[str, tuple[Callable[[_Scene], _Target], float, tuple[str, ...], _Span]] = {
    "nuclei": (_nuclei, 0.35, ("fluorescence", "stained", "grey", "colour"), (0.1, 0.7)),
    "cells": (_cells, 0.2, ("phase", "phase", "em", "fluorescence"), (0.1, 0.8)),
    "disc": (_disc, 0.15, ("fundus",), (0.12, 0.8)),
    "lesion": (_lesion, 0.2, ("ct",), (0.1, 0.8)),
    "folded": (_folded, 0.1, ("ct", "grey", "stained"), (0.3, 0.8)),
}

KINDS: tuple[str, ...] = tuple(_KINDS)  # what a sample shows


def generate(
    rng: np.random.Generator,
    *,
    size: int = 192,
    kind: str | None = None,
    look: str | None = None,
    raters: Sequence[RaterStyle] | None = None,
) -> SyntheticSample:
    """Make one sample; the same state of the generator gives the same one.

    ``size`` is the side in pixels, at least 32.  ``kind`` is one of `KINDS`, random by default;
    ``look`` one of `LOOKS`, by default usually one that suits the kind, otherwise any; ``raters``
    outline the object, by default 4 to 7 of random styles.
    """
    for name, value, known in (("kind", kind, KINDS), ("look", look, LOOKS)):
        if value is not None and value not in known:
            raise ValueError(f"{name} must be one of {known}, got {value!r}")
    kind = kind or str(rng.choice(KINDS, p=[share for _, share, *_ in _KINDS.values()]))
    paint, _, looks, diameters = _KINDS[kind]
    look = look or str(rng.choice(looks if rng.random() < 0.55 else LOOKS))
    radius = 0.5 * size * float(np.exp(rng.uniform(*np.log(diameters))))
    scene = _Scene(rng, size, look, radius)
    target = paint(scene)
    if not 0 < np.count_nonzero(target.sdf < 0) < 0.9 * size**2:  # too small, or all there is
        return generate(rng, size=size, kind=kind, look=look, raters=raters)
    contrast = _make_perceivable(scene, target, float(rng.uniform(0.06, 0.16)))
    image = _degrade(rng, np.clip(scene.canvas, 0, 1), contrast, target.radius)
    masks = [_outline(rng, target, style) for style in raters or random_panel(rng)]
    return SyntheticSample(image, np.stack(masks), kind, look)


def _make_perceivable(scene: _Scene, target: _Target, least: float) -> float:
    """Strengthen a target whose edge can hardly be seen; return its contrast."""
    depth, width = target.sdf, max(2.5, 0.1 * target.radius)
    outside = scene.canvas[(depth >= 0) & (depth < target.penumbra + width)].mean(axis=0)
    inside = scene.canvas[(depth < 0) & (depth > -width)].mean(axis=0)
    contrast = float(np.abs(inside - outside).max())
    if contrast < least:
        alpha = _ramp(target.sdf, -1.0, 1.0 + target.penumbra)
        brighter = 1 if outside.mean() < 0.5 else -1
        scene.canvas += brighter * 1.5 * least * alpha[..., None]
    return max(contrast, least)


def _degrade(rng: np.random.Generator, image: Field, contrast: float, radius: float) -> Field:
    """Change light, sharpness, noise and tone of an image ``(size, size, 3)``, to [0, 1].

    The object's ``contrast`` bounds the noise, its ``radius`` in pixels the blur.
    """
    size = len(image)
    if rng.random() < 0.45:
        strength, scale = rng.uniform(0.05, 0.25), rng.uniform(0.3, 2.0) * size
        image = image * (1 + strength * _noise(rng, size, scale).clip(-3, 3))[..., None]
    if rng.random() < 0.75:
        most = 1.3 if rng.random() < 0.66 else min(5.0, 0.13 * radius)
        image = _blur(image, rng.uniform(0.3, max(0.5, most)))
    if rng.random() < 0.85:
        grain: Field = rng.standard_normal((size, size, int(rng.choice([1, 3]))))
        if rng.random() < 0.45:
            sigma = rng.uniform(0.5, 1.4)
            grain = 3 * sigma * _blur(grain, sigma)
        power = rng.choice([0, 0.5, 1], p=[0.6, 0.25, 0.15])  # plain, as shot noise, as speckle
        strength = min(0.16, contrast * np.exp(rng.uniform(-4, -0.4)))
        image = image + 1.5**power * strength * grain * np.clip(image, 0.02, 1) ** power
    image = np.clip(image, 0, 1) ** np.exp(rng.normal(0, 0.2))
    if rng.random() < 0.3:
        low, high = rng.uniform(0.0, 0.4), rng.uniform(0.6, 1.0)
        low, high = (low, high) if rng.random() < 0.6 else (high, low)
        image = low + (high - low) * image
    return image.astype(np.float32)


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
    lead = replace(random_style(rng), jitter=0.012)
    offsets = 0.3 * lead.offset + rng.normal(0.0, 0.018, count)
    return [replace(lead, offset=float(offset)) for offset in offsets]


def _outline(rng: np.random.Generator, target: _Target, style: RaterStyle) -> Mask:
    """Outline a target in a style: never empty, always over some of the target's core."""
    radius, distance = target.radius, target.sdf
    deviation = style.jitter * float(np.clip(rng.standard_normal(), -2, 2))
    level = radius * (style.offset + deviation) + style.includes_penumbra * target.penumbra
    level = max(level, 0.5 * float(distance.min()))
    if style.smoothness > 0.1:  # a plainer outline around as many pixels
        share = float((distance < level).mean())
        distance = _blur(distance, 0.25 * style.smoothness * radius)
        level = float(np.quantile(distance, min(share, 0.98)))
    wobble = 0.7 * style.jitter * radius * _noise(rng, len(distance), max(4.0, 0.7 * radius))
    parts = ndimage.label(distance + wobble < level)[0]
    mask = (parts > 0) & (parts == np.bincount(parts[parts > 0], minlength=1).argmax())
    if target.satellites is not None and style.keeps_satellites:
        mask |= target.satellites
    if target.holes is not None and not style.fills_holes:
        mask &= ~target.holes
    core = target.sdf < 0
    if (mask & core).sum() < 0.12 * core.sum():
        mask = core if target.holes is None else core & ~target.holes
    return mask if mask.any() else core

"""How a scene is imaged: palettes of many kinds of microscope and scanner, then their faults."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_spa.train.synthetic.scene import Field, Target, blur, grid, noise, ramp, waves

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_spa.train.synthetic.scene import Layer

Colour = NDArray[np.float32]  # one grey value, shape ``(1,)``, or one RGB colour, shape ``(3,)``

ROLES = ("bg", "object", "peer", "inner", "other", "line", "wall", "rim", "void")


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of one image."""

    colours: dict[str, Colour]  # colour of every role, shape ``(channels,)``, channels 1 or 3
    shade: Colour  # direction and size in colour space of one unit of shade, shape ``(channels,)``


def _grey(rng: np.random.Generator, **values: float) -> Palette:
    """Grey palette; roles without a value get one near a random other role."""
    for role in ROLES:
        if role not in values:
            values[role] = float(np.clip(rng.uniform(0, 1), 0, 1))
    values["peer"] = values["object"] + float(rng.normal(0, 0.05)) * (
        values["object"] - values["bg"]
    )
    colours = {role: np.array([values[role]], np.float32) for role in ROLES}
    return Palette(colours, np.abs(colours["object"] - colours["bg"]))


def _rgb(
    rng: np.random.Generator, values: dict[str, Sequence[float]], spread: float = 0.05
) -> Palette:
    """Colour palette with random deviations; missing roles get random colours."""
    colours: dict[str, Colour] = {}
    for role in ROLES:
        base = np.asarray(values.get(role, rng.uniform(0, 1, 3)), np.float32)
        deviation = rng.normal(0, spread, 3).astype(np.float32)
        colours[role] = np.clip(base + (0 if role == "void" else deviation), 0, 1).astype(
            np.float32
        )
    if "peer" not in values:
        colours["peer"] = colours["object"] + rng.normal(0, 0.02, 3).astype(np.float32)
    change = np.abs(colours["object"] - colours["bg"])
    shade = np.full(3, 0.6 * change.mean(), np.float32) + np.float32(0.4) * change
    return Palette(colours, shade.astype(np.float32))


def _tinted(rng: np.random.Generator, palette: Palette) -> Palette:
    """Show a grey palette in one fluorescence colour."""
    tints = (
        (0.1, 1, 0.1),
        (0.15, 0.3, 1),
        (1, 0.1, 0.1),
        (0.1, 0.9, 1),
        (1, 0.9, 0.1),
        (1, 0.1, 0.9),
    )
    tint = np.asarray(tints[int(rng.integers(len(tints)))], np.float32)
    colours = {role: colour * tint for role, colour in palette.colours.items()}
    return Palette(colours, palette.shade * tint)


def _fluorescence(rng: np.random.Generator) -> Palette:
    dark = float(rng.beta(1, 5)) * 0.4
    bright = dark + float(rng.uniform(0.12, 0.9))
    span = bright - dark
    palette = _grey(
        rng,
        bg=dark,
        object=bright,
        inner=dark + span * float(rng.uniform(0.2, 1.8)),
        other=dark + span * float(rng.uniform(0.05, 0.5)),
        line=dark + span * float(rng.uniform(0.1, 0.7)),
        wall=dark + span * float(rng.uniform(0.2, 1.2)),
        rim=dark + span * float(rng.uniform(0.5, 1.3)),
        void=0.0,
    )
    return _tinted(rng, palette) if rng.random() < 0.3 else palette


def _phase(rng: np.random.Generator) -> Palette:
    mid = float(rng.uniform(0.2, 0.65))
    sign = float(rng.choice([-1, 1]))
    return _grey(
        rng,
        bg=mid,
        object=mid + sign * float(rng.uniform(0.05, 0.25)),
        inner=mid - sign * float(rng.uniform(0.0, 0.25)),
        other=mid + float(rng.normal(0, 0.12)),
        line=mid + float(rng.normal(0, 0.12)),
        wall=mid + float(rng.normal(0, 0.2)),
        rim=min(1.0, mid + float(rng.uniform(0.2, 0.6))),
        void=float(rng.uniform(0, 0.2)),
    )


def _stained(rng: np.random.Generator) -> Palette:
    pink, white, lilac = (0.88, 0.66, 0.78), (0.94, 0.92, 0.93), (0.78, 0.7, 0.85)
    purple, brown, blue = (0.35, 0.22, 0.5), (0.45, 0.28, 0.16), (0.42, 0.48, 0.65)
    grounds = (pink, white, lilac, (0.85, 0.8, 0.74))
    objects = (purple, brown, blue, (0.5, 0.3, 0.55))
    values: dict[str, Sequence[float]] = {
        "bg": grounds[int(rng.integers(4))],
        "object": objects[int(rng.integers(4))],
        "wall": objects[int(rng.integers(4))],
        "other": ((*grounds, white))[int(rng.integers(5))],
        "line": ((0.85, 0.55, 0.7), (0.8, 0.72, 0.66), (0.7, 0.6, 0.8))[int(rng.integers(3))],
        "inner": ((0.8, 0.6, 0.75), (0.7, 0.52, 0.36), white)[int(rng.integers(3))],
        "rim": (0.25, 0.18, 0.35),
        "void": (0.97, 0.97, 0.97),
    }
    fade = np.float32(rng.uniform(0.35, 1.0))
    ground = np.asarray(values["bg"])
    values = {role: ground + fade * (np.asarray(v) - ground) for role, v in values.items()}
    return _rgb(rng, values, 0.05)


def _ct(rng: np.random.Generator) -> Palette:
    dark = float(rng.uniform(0.0, 0.45))
    bright = dark + float(rng.uniform(0.12, 0.55)) * (
        -1 if dark > 0.2 and rng.random() < 0.4 else 1
    )
    body = max(dark, bright) + float(rng.normal(0, 0.08))
    return _grey(
        rng,
        bg=dark,
        object=bright,
        inner=float(rng.uniform(0, 1)),
        other=body,
        line=max(dark, bright) * float(rng.uniform(0.7, 1.2)),
        wall=min(1.0, body + float(rng.uniform(0.15, 0.5))),
        rim=float(rng.uniform(0.4, 1.0)),
        void=float(rng.uniform(0.0, 0.06)),
    )


def _fundus(rng: np.random.Generator) -> Palette:
    ground = np.asarray((rng.uniform(0.45, 0.85), rng.uniform(0.15, 0.42), rng.uniform(0.02, 0.15)))
    pale = np.asarray((rng.uniform(0.85, 1.0), rng.uniform(0.6, 0.9), rng.uniform(0.2, 0.65)))
    share = float(rng.uniform(0.35, 0.9))
    values: dict[str, Sequence[float]] = {
        "bg": ground.tolist(),
        "object": (ground + share * (pale - ground)).tolist(),
        "inner": (
            ground + min(1.15, share + float(rng.uniform(-0.15, 0.4))) * (pale - ground)
        ).tolist(),
        "other": (ground * rng.uniform(0.6, 1.25)).tolist(),
        "line": (ground * np.asarray((0.85, 0.45, 0.7)) * rng.uniform(0.7, 1.05)).tolist(),
        "wall": (ground * 0.6).tolist(),
        "rim": (ground + 0.5 * (pale - ground)).tolist(),
        "void": (0.0, 0.0, 0.0),
    }
    return _rgb(rng, values, 0.02)


def _em(rng: np.random.Generator) -> Palette:
    light = float(rng.uniform(0.5, 0.8))
    return _grey(
        rng,
        bg=light,
        object=light + float(rng.choice([-1, 1])) * float(rng.uniform(0.05, 0.25)),
        inner=light - float(rng.uniform(0.1, 0.4)),
        other=light - float(rng.uniform(0.0, 0.3)),
        line=light - float(rng.uniform(0.1, 0.45)),
        wall=light - float(rng.uniform(0.2, 0.5)),
        rim=light - float(rng.uniform(0.3, 0.6)),
    )


def _random_grey(rng: np.random.Generator) -> Palette:
    ground = float(rng.uniform(0.05, 0.95))
    contrast = float(rng.uniform(0.07, 0.6)) * (1 if ground < rng.uniform(0.2, 0.8) else -1)
    return _grey(rng, bg=ground, object=float(np.clip(ground + contrast, 0, 1)))


def _colour(rng: np.random.Generator) -> Palette:
    ground = rng.uniform(0.05, 0.95, 3)
    change = rng.standard_normal(3)
    change *= rng.uniform(0.15, 0.7) / np.linalg.norm(change)
    return _rgb(
        rng, {"bg": ground.tolist(), "object": np.clip(ground + change, 0, 1).tolist()}, 0.03
    )


PALETTES: dict[str, Callable[[np.random.Generator], Palette]] = {
    "fluorescence": _fluorescence,
    "phase": _phase,
    "stained": _stained,
    "ct": _ct,
    "fundus": _fundus,
    "em": _em,
    "grey": _random_grey,
    "colour": _colour,
}


def compose(layers: Sequence[Layer], palette: Palette, size: int) -> Field:
    """Lay the paint down."""
    colours = palette.colours
    canvas = np.empty((len(palette.shade), size, size), np.float32)
    canvas[:] = colours["bg"][:, None, None]
    for layer in layers:
        paint = colours[layer.role][:, None, None]
        if layer.shade is not None:
            paint = paint + palette.shade[:, None, None] * layer.shade
        canvas += layer.alpha * (paint - canvas)
    return canvas


def perceivable(canvas: Field, target: Target, least: float) -> Field:
    """Strengthen a target whose edge can hardly be seen."""
    width = max(2.5, 0.1 * target.radius)
    np.clip(canvas, 0, 1, out=canvas)
    inside = (target.sdf < 0) & (target.sdf > -width)
    gap = target.sdf - np.float32(target.penumbra)
    outside = (gap > 0) & (gap < width)
    if not inside.any() or not outside.any():
        return canvas
    change = canvas[:, inside].mean(axis=1) - canvas[:, outside].mean(axis=1)
    amount = float(np.abs(change).max())
    if amount < least:
        level = float(canvas[:, outside].mean())
        direction = change / (amount + 1e-6)
        if amount < 0.02 or not 0.15 < level < 0.85:
            direction = np.full_like(change, 1.0 if level < 0.5 else -1.0)
            amount = 0.0
        alpha = ramp(target.sdf, -1.0, 1.0 + target.penumbra)
        if target.holes is not None:
            alpha = alpha * (1 - ramp(target.holes, -1.0, 1.0))
        canvas += ((least - amount) * direction)[:, None, None].astype(np.float32) * alpha
    return canvas


@lru_cache(maxsize=1)
def _cosines() -> Field:
    """Orthonormal 8-point DCT matrix, shape (8, 8)."""
    k, n = np.meshgrid(np.arange(8), np.arange(8), indexing="ij")
    matrix = np.cos(np.pi * (n + 0.5) * k / 8) * 0.5
    matrix[0] *= np.sqrt(0.5)
    cosines: Field = matrix.astype(np.float32)
    return cosines


def blocky(image: Field, step: float) -> Field:
    """Quantise 8 x 8 blocks as JPEG does."""
    channels, size, _ = image.shape
    blocks = size // 8
    used = 8 * blocks
    cosines = _cosines()
    tiles = image[:, :used, :used].reshape(channels, blocks, 8, blocks, 8).swapaxes(2, 3)
    spectrum = cosines @ tiles @ cosines.T
    order = np.add.outer(np.arange(8), np.arange(8)).astype(np.float32)
    table = np.float32(step) * (1 + np.float32(0.6) * order)
    tiles = cosines.T @ (np.rint(spectrum / table) * table) @ cosines
    result = image.copy()
    result[:, :used, :used] = tiles.swapaxes(2, 3).reshape(channels, used, used)
    return result


def illuminate(rng: np.random.Generator, image: Field) -> Field:
    """Light an image, ``(channels, size, size)``, unevenly: gradient, smooth field or vignette."""
    size = image.shape[-1]
    yy, xx = grid(size)
    choice = rng.random()
    if choice < 0.4:
        angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.7)
        light = (yy * np.float32(np.sin(angle)) + xx * np.float32(np.cos(angle))) / size
        light = 1 + np.float32(strength) * (light - light.mean())
    elif choice < 0.7:
        cy, cx = rng.uniform(0.25, 0.75, 2) * size
        far = ((yy - np.float32(cy)) ** 2 + (xx - np.float32(cx)) ** 2) / np.float32(size * size)
        light = 1 - np.float32(rng.uniform(0.3, 1.2)) * far
    else:
        light = 1 + np.float32(rng.uniform(0.05, 0.2)) * noise(
            rng, size, rng.uniform(0.3, 1.0) * size
        )
    lit: Field = image * np.clip(light, 0.1, 2.0)
    return lit


def _grain(rng: np.random.Generator, image: Field, contrast: float) -> Field:
    """Add noise whose strength follows the contrast of the object."""
    size = image.shape[-1]
    shape = image.shape if rng.random() < 0.5 else (1, size, size)
    grain = rng.standard_normal(shape, dtype=np.float32)
    if rng.random() < 0.45:
        sigma = float(rng.uniform(0.5, 1.4))
        grain = blur(grain, sigma) * np.float32(3.0 * max(sigma, 0.5))
    strength = np.float32(
        min(0.16, contrast * float(np.exp(rng.uniform(np.log(0.02), np.log(0.7)))))
    )
    style = rng.random()
    if style < 0.25:
        grain = grain * np.sqrt(np.clip(image, 0.02, 1)) * np.float32(1.4)
    elif style < 0.4:
        grain = grain * np.clip(image, 0.05, 1) * np.float32(1.6)
    noisy: Field = image + strength * grain
    return noisy


def degrade(rng: np.random.Generator, image: Field, contrast: float, radius: float) -> Field:
    """Change light, sharpness, noise, coding and tone of an image, ``(channels, size, size)``.

    ``contrast`` is the colour difference between the object and its surroundings; its ``radius``
    in pixels bounds the blur.  The result is in [0, 1].
    """
    size = image.shape[-1]
    if rng.random() < 0.45:
        image = illuminate(rng, image)
    image = np.clip(image, 0, 1)
    draw = rng.random()
    if draw < 0.75:
        most = 1.3 if draw < 0.5 else min(5.0, 0.13 * radius)
        image = blur(image, float(rng.uniform(0.3, max(0.5, most))))
    if rng.random() < 0.85:
        image = _grain(rng, image, contrast)
    if rng.random() < 0.03:
        image = image + np.float32(0.15 * contrast) * waves(
            rng, size, float(rng.uniform(2.5, 12)), 0.02
        )
    if rng.random() < 0.2:
        image = blocky(image, float(rng.uniform(0.01, 0.06)) * min(1.0, 3 * contrast))
    image = np.clip(image, 0, 1)
    if rng.random() < 0.35:
        image = image ** np.float32(np.exp(rng.normal(0, 0.35)))
    draw = rng.random()
    if draw < 0.12:
        image = 1 - image
    elif draw < 0.3:
        span = rng.uniform(0.3, 1.0)
        image = np.float32(span) * image + np.float32(rng.uniform(0, 1 - span))
    elif draw < 0.5:
        low, high = image.min(), image.max()
        image = (image - low) / max(float(high - low), 1e-3)
    clipped: Field = np.clip(image, 0, 1).astype(np.float32)
    return clipped

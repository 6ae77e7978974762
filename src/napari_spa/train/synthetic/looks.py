"""How a scene is imaged: palettes of many kinds of microscope and scanner, then their faults."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn, idctn

from napari_spa.train.synthetic.scene import Field, Target, blur, noise, ramp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_spa.train.synthetic.scene import Layer

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

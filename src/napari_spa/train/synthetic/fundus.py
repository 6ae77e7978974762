"""Scenes of the eye: the optic disc, its cup and the vessels."""

from __future__ import annotations

import numpy as np

from napari_spa.train.synthetic.fields import Field, curves, ramp, tubes
from napari_spa.train.synthetic.scene import Stage, grid_warp, soft_body, surface, uneven
from napari_spa.train.synthetic.shapes import Target, ellipse, renormalise


def _vessels(stage: Stage, disc_radius: float, count: int) -> list[Field]:
    """Coverage of thick and thin vessels that leave a disc."""
    rng, size = stage.rng, stage.size
    vertical = rng.choice([-1.0, 1.0], count) * np.pi / 2
    angles = vertical + rng.normal(0, 0.5, count)
    starts = np.asarray(stage.centre) + rng.normal(0, 0.18 * disc_radius, (count, 2))
    trunks = curves(rng, starts, angles, stage.uniform(0.6, 1.2) * size, 0.35)
    thick = stage.uniform(0.018, 0.06) * disc_radius + 0.5
    sheets = [tubes(trunks, size, thick, 0.3)]
    picks = rng.integers(0, count, 2 * count)
    along = rng.integers(int(0.1 * trunks.shape[1]), trunks.shape[1] // 2, 2 * count)
    forks = trunks[picks, along]
    turn = angles[picks] + rng.choice([-1.0, 1.0], 2 * count) * rng.uniform(0.4, 1.1, 2 * count)
    twigs = curves(rng, forks, turn, 0.5 * size, 0.4)
    sheets.append(np.float32(0.8) * tubes(twigs, size, 0.55 * thick, 0.6))
    return sheets


def disc(stage: Stage) -> Target:
    """Bright disc with a cup inside, crossed by vessels (optic nerve head)."""
    rng, size, radius = stage.rng, stage.size, stage.radius
    cup_asked = stage.chance(0.15)
    disc_radius = radius / stage.uniform(0.35, 0.8) if cup_asked else radius
    cup_radius = radius if cup_asked else radius * stage.uniform(0.3, 0.75)
    stage.ground(
        surface(stage, 0.15 * size, 0.08) + uneven(stage, 0.2),
    )
    angle = rng.uniform(0, np.pi)
    sdf = _oval(stage, stage.centre, disc_radius, stage.uniform(1.0, 1.25), angle)
    temporal = rng.uniform(0, 2 * np.pi)
    shift = 0.0 if cup_asked else stage.uniform(-0.1, 0.7) * (disc_radius - cup_radius)
    place = stage.beside(shift, temporal)
    cup_sdf = _oval(stage, place, cup_radius, stage.uniform(0.9, 1.25), angle)
    if stage.chance(0.3):
        stage.add(
            np.float32(0.35) * ramp(sdf, 0.05 * disc_radius, stage.uniform(0.2, 0.6) * disc_radius),
            "other",
        )
    whole = Target(sdf, disc_radius, disc_radius * stage.uniform(0.02, 0.15))
    cup = Target(cup_sdf, cup_radius, cup_radius * stage.uniform(0.05, 0.45))
    skin = surface(stage, 0.4 * disc_radius, 0.08)
    if cup_asked and stage.chance(0.75):
        pale = stage.uniform(0.4, 0.75)
        stage.add(np.float32(pale) * ramp(sdf, -1.5, 1.5 + whole.penumbra), "object", skin)
    elif not cup_asked and stage.chance(0.6):
        # The nasal rim is pink, near the background's colour, under the vessels' trunk.
        rim = np.float32(stage.uniform(0.25, 0.7)) + _towards(stage, temporal, disc_radius)
        edge = ramp(sdf, -1.5, 1.5 + whole.penumbra)
        stage.add(np.minimum(rim, np.float32(1)) * edge, "object", skin)
    else:
        soft_body(stage, whole, skin, "inner" if cup_asked else "object")
    strength = 1.0 if cup_asked else stage.uniform(0.0, 1.0)
    deep = ramp(cup_sdf, -0.2 * cup_radius - 0.2 * cup.penumbra, 1.1 * cup.penumbra + 1)
    stage.add(np.float32(strength) * deep, "object" if cup_asked else "inner")
    if stage.chance(0.9):
        cover = np.float32(stage.uniform(0.4, 0.95))
        for sheet in _vessels(stage, disc_radius, int(rng.integers(4, 11))):
            stage.add(cover * sheet, "line")
    if stage.chance(0.25):
        _round_field(stage)
    return cup if cup_asked else whole


def _towards(stage: Stage, bearing: float, reach: float) -> Field:
    """Ramp from 0 to 1 across the target in a direction, shape (size, size)."""
    yy, xx = grid_warp(stage, 0.0, 1.0)
    along = (yy - stage.centre[0]) * np.sin(bearing) + (xx - stage.centre[1]) * np.cos(bearing)
    start = stage.uniform(-0.6, 0.2) * reach
    share: Field = np.clip((along - start) / (0.6 * reach), 0, 1).astype(np.float32)
    return share


def _oval(
    stage: Stage, place: tuple[float, float], radius: float, ratio: float, angle: float
) -> Field:
    """Signed distance of a slightly uneven ellipse, shape (size, size)."""
    yy, xx = grid_warp(stage, 0.055 * radius, 0.8 * radius)
    root = float(np.sqrt(ratio))
    return renormalise(ellipse(yy, xx, place, (radius * root, radius / root), angle))


def _round_field(stage: Stage) -> None:
    """Black out everything beyond the round field of view."""
    rng, size = stage.rng, stage.size
    reach = max(stage.uniform(0.42, 0.6) * size, stage.radius * 1.2)
    middle = 0.5 * size + rng.normal(0, 0.05 * size, 2)
    middle = 0.6 * middle + 0.4 * np.asarray(stage.centre)
    yy, xx = grid_warp(stage, 0.0, 1.0)
    edge = ellipse(yy, xx, (float(middle[0]), float(middle[1])), (reach, reach), 0.0)
    stage.add(1 - ramp(edge, -2, 2), "void")

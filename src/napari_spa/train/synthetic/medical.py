"""Scenes of CT, MR and similar images: lesions and large folded regions."""

from __future__ import annotations

import numpy as np

from napari_spa.train.synthetic.fields import Field, curves, noise, ramp, tubes
from napari_spa.train.synthetic.scene import Stage, clutter, grid_warp, soft_body, surface
from napari_spa.train.synthetic.shapes import (
    Target,
    ellipse,
    exact_distance,
    merge,
    renormalise,
)


def _lung(stage: Stage) -> None:
    """Dark field with bright vessels, walls and ribs."""
    rng, size = stage.rng, stage.size
    stage.ground(surface(stage, 16.0, stage.uniform(0.03, 0.12)))
    count = int(rng.integers(4, 25))
    starts = rng.uniform(0, size, (count, 2))
    for width, length in ((stage.log_uniform(0.8, 3.5), 0.6), (0.7, 0.3)):
        lines = curves(rng, starts, rng.uniform(0, 2 * np.pi, count), length * size, 0.5)
        stage.add(np.float32(stage.uniform(0.3, 0.9)) * tubes(lines, size, width, 0.7), "line")
    dots = rng.uniform(0, size, (int(rng.integers(3, 20)), 1, 2))
    stage.add(tubes(dots, size, stage.log_uniform(0.8, 2.5)), "line")
    if stage.chance(0.75):
        bearing = rng.uniform(0, 2 * np.pi)
        reach, gap = stage.uniform(0.5, 2.0) * size, stage.radius * stage.uniform(0.75, 2.5)
        away = (
            stage.centre[0] + (gap + reach) * np.sin(bearing),
            stage.centre[1] + (gap + reach) * np.cos(bearing),
        )
        yy, xx = grid_warp(stage, 0.03 * size, 0.4 * size)
        wall = ellipse(yy, xx, away, (reach, reach * stage.uniform(0.9, 1.1)), 0.0)
        stage.add(ramp(wall, -1.2, 1.2), "other", surface(stage, 20.0, 0.08))
        depth = stage.uniform(0.06, 0.2) * size
        ribs = np.maximum(
            np.abs(wall + depth) - 0.25 * depth, np.float32(3) * noise(rng, size, 0.25 * size)
        )
        stage.add(ramp(ribs, -1.5, 1.5), "wall", surface(stage, 8.0, 0.1))
        if stage.chance(0.4):
            stage.add(ramp(wall, -2.6 * depth, -2.2 * depth), "bg")


def _organ(stage: Stage) -> None:
    """Grainy organ with vessels, or a head with skull and ventricles."""
    rng, size = stage.rng, stage.size
    stage.ground(
        surface(stage, stage.uniform(6, 30), stage.uniform(0.1, 0.3)),
    )
    count = int(rng.integers(0, 14))
    if count:
        lines = curves(
            rng, rng.uniform(0, size, (count, 2)), rng.uniform(0, 6.3, count), 0.5 * size, 0.4
        )
        stage.add(np.float32(0.6) * tubes(lines, size, stage.log_uniform(1.0, 4.0), 0.6), "line")
    yy, xx = grid_warp(stage, 0.03 * size, 0.3 * size)
    middle = (0.5 * size, 0.5 * size)
    if stage.chance(0.5):
        for _ in range(int(rng.integers(1, 4))):
            place = (stage.uniform(0, size), stage.uniform(0, size))
            if (
                np.hypot(place[0] - stage.centre[0], place[1] - stage.centre[1])
                > 1.3 * stage.radius
            ):
                axes = (stage.uniform(0.05, 0.2) * size, stage.uniform(0.03, 0.1) * size)
                stage.add(ramp(ellipse(yy, xx, place, axes, rng.uniform(0, 3)), -2, 2), "other")
    if stage.chance(0.5) and stage.radius < 0.3 * size:
        reach = stage.uniform(0.42, 0.6) * size
        outward = np.hypot(stage.centre[0] - middle[0], stage.centre[1] - middle[1]) + stage.radius
        reach = max(reach, float(outward) + 4)
        edge = ellipse(
            yy, xx, middle, (reach * stage.uniform(1.0, 1.2), reach), rng.uniform(0, np.pi)
        )
        stage.add(1 - ramp(edge, -1.5, 1.5), "void")
        stage.add(ramp(np.abs(edge - 2), 0, stage.uniform(2, 8)), "wall")


def _spikes(stage: Stage) -> None:
    """Fading lines that leave the lesion all around."""
    rng, radius = stage.rng, stage.radius
    angles = rng.uniform(0, 2 * np.pi, int(rng.integers(5, 16)))
    outwards = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    starts = np.asarray(stage.centre) + 0.7 * radius * outwards
    lines = curves(rng, starts, angles, stage.uniform(0.6, 1.4) * radius, 0.2)
    stage.add(np.float32(0.8) * tubes(lines, stage.size, 0.03 * radius + 0.6, 1.0), "object")


def lesion(stage: Stage) -> Target:
    """Soft lesion with penumbra and spiculations in a CT- or MR-like background."""
    rng, _size, radius = stage.rng, stage.size, stage.radius
    if stage.chance(0.6):
        _lung(stage)
    else:
        _organ(stage)
    if stage.chance(0.2):
        clutter(stage)
    yy, xx = grid_warp(stage, stage.uniform(0.04, 0.25) * radius, stage.uniform(0.4, 1.2) * radius)
    shape = ellipse(yy, xx, stage.centre, stage.axes(1.9), rng.uniform(0, np.pi))
    if stage.chance(0.35):
        bearing = rng.uniform(0, 2 * np.pi)
        bud = ellipse(
            yy, xx, stage.beside(0.8 * radius, bearing), (0.6 * radius, 0.5 * radius), bearing
        )
        shape = merge(shape, bud, 0.4 * radius)
    sdf = renormalise(shape)
    satellites = None
    if stage.chance(0.15):
        place = stage.beside(stage.uniform(1.4, 1.8) * radius, rng.uniform(0, 2 * np.pi))
        satellites = np.maximum(ellipse(yy, xx, place, (0.3 * radius, 0.25 * radius), 0.0), 3 - sdf)
    soft = stage.uniform(0.12, 0.6) if stage.chance(0.6) else stage.uniform(0.02, 0.12)
    penumbra = soft * radius
    if stage.chance(0.35):
        _spikes(stage)
        penumbra = max(penumbra, 0.2 * radius)
    target = Target(sdf, radius, penumbra, None, satellites)
    shade = surface(stage, stage.uniform(0.2, 0.9) * radius, stage.uniform(0.03, 0.25))
    if stage.chance(0.2):
        shade += np.float32(rng.choice([-0.8, 0.5])) * ramp(sdf, -0.7 * radius, -0.3 * radius)
    soft_body(stage, target, shade)
    return target


def folded(stage: Stage) -> Target:
    """Large folded or lobed region with holes (cortex, glands)."""
    rng, size, radius = stage.rng, stage.size, stage.radius
    plain = stage.chance(0.5)
    stage.ground(surface(stage, 30.0, 0.02 if plain else 0.15))
    if not plain:
        clutter(stage)
    amount = stage.uniform(0.05, 0.16) * radius
    yy, xx = grid_warp(stage, amount, stage.uniform(0.22, 0.5) * radius)
    axes = stage.axes(1.6)
    turn = rng.uniform(0, np.pi)
    shape = ellipse(yy, xx, stage.centre, axes, turn)
    if stage.chance(0.5):
        shape = np.maximum(shape, _cuts(stage))
    sdf = exact_distance(shape < 0)
    if stage.chance(0.55):
        _rind(stage, axes, turn)
    shade = surface(stage, stage.uniform(0.2, 0.6) * radius, stage.uniform(0.05, 0.25))
    if stage.chance(0.5):
        shade += np.float32(stage.uniform(-0.6, 0.6)) * ramp(sdf, -0.3 * radius, -0.15 * radius)
    holes = None
    if stage.chance(0.6):
        blobs = noise(rng, size, stage.uniform(0.25, 0.6) * radius)
        blobs += np.float32(stage.uniform(1.1, 1.7))
        inside = np.maximum(blobs * np.float32(0.2 * radius), sdf + np.float32(0.15 * radius))
        holes = renormalise(inside)
    target = Target(sdf, 0.85 * radius, radius * stage.uniform(0.01, 0.06), holes)
    soft_body(stage, target, shade)
    if holes is not None:
        stage.add(ramp(holes, -1.5, 1.0), "inner")
    if stage.chance(0.25):
        edge = ramp(np.abs(sdf), 0.5, stage.uniform(1.5, 5.0))
        stage.add(np.float32(0.7) * edge, "wall")
    return target


def _cuts(stage: Stage, count: int = 12) -> Field:
    """Folds that enter the region from outside: positive in a fold, shape (size, size)."""
    radius = stage.radius
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False) + stage.rng.normal(0, 0.2, count)
    ring = 1.1 * radius * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    starts = np.asarray(stage.centre) + ring
    folds = curves(stage.rng, starts, angles + np.pi, stage.uniform(0.2, 0.55) * radius, 0.5)
    drawn = tubes(folds, stage.size, 0.02 * radius + 0.7)
    cuts: Field = np.float32(0.12 * radius) * (2 * drawn - 1)
    return cuts


def _rind(stage: Stage, axes: tuple[float, float], turn: float) -> None:
    """Smooth envelope around a folded region, sometimes with a bright shell."""
    radius = stage.radius
    yy, xx = grid_warp(stage, 0.03 * radius, radius)
    smooth = ellipse(yy, xx, stage.centre, (axes[0] * 1.08, axes[1] * 1.08), turn)
    rind = stage.uniform(0.03, 0.12) * radius
    mixed = stage.chance(0.5)
    cover = np.float32(stage.uniform(0.15, 0.6) if mixed else 1.0)
    role = "object" if mixed else str(stage.rng.choice(["rim", "other"]))
    stage.add(cover * ramp(smooth, rind - 1, rind + 1), role, surface(stage, 10.0, 0.1))
    if stage.chance(0.5):
        stage.add(ramp(np.abs(smooth - 1.6 * rind), 0.3 * rind, 0.6 * rind + 1), "wall")

"""Scenes of solid objects with internal relief on a table."""

from __future__ import annotations

import numpy as np

from napari_spa.train.synthetic.fields import Field, blur, noise, ramp, texture, waves
from napari_spa.train.synthetic.scene import (
    Stage,
    clutter,
    grid_warp,
    soft_body,
    surface,
    uneven,
    window,
)
from napari_spa.train.synthetic.shapes import Target, ellipse, polygon


def _relief(stage: Stage, radius: float) -> Field:
    """Embossed pattern lit from one side, shape (size, size), about unit amplitude."""
    rng, size = stage.rng, stage.size
    height = blur(texture(rng, size, 0.7 * radius), 0.02 * radius)
    height = np.tanh(2 * height) + np.float32(0.4) * texture(rng, size, 0.25 * radius)
    if stage.chance(0.3):
        height += np.float32(0.6) * waves(rng, size, max(4.0, 0.3 * radius), 0.2)
    angle = rng.uniform(0, 2 * np.pi)
    lit = np.zeros_like(height)
    lit[1:, 1:] = np.float32(np.sin(angle)) * (height[1:, 1:] - height[:-1, 1:])
    lit[1:, 1:] += np.float32(np.cos(angle)) * (height[1:, 1:] - height[1:, :-1])
    relief: Field = lit / (lit.std() + np.float32(1e-6))
    return relief


def _places(stage: Stage, spacing: float) -> Field:
    """Centres of the other objects: a turned grid around the target, shape (n, 2)."""
    rng, size = stage.rng, stage.size
    reach = int(1.2 * size / spacing) + 1
    rows, columns = np.meshgrid(
        np.arange(-reach, reach + 1), np.arange(-reach, reach + 1), indexing="ij"
    )
    brick = 0.5 * (rows % 2) if stage.chance(0.4) else np.zeros(rows.shape)
    lattice = spacing * np.stack([rows, columns + brick], axis=-1).reshape(-1, 2)
    lattice = lattice[(lattice != 0).any(axis=1)]
    turn = rng.normal(0, 0.04) if stage.chance(0.5) else rng.uniform(0, np.pi)
    lattice = lattice @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    wander = spacing * (0.03 if stage.chance(0.5) else 0.16)
    places = np.asarray(stage.centre) + lattice + rng.normal(0, wander, lattice.shape)
    if stage.chance(0.4):
        places = places[rng.random(len(places)) < stage.uniform(0.2, 0.8)]
    near = ((places > -0.5 * spacing) & (places < size + 0.5 * spacing)).all(axis=1)
    kept: Field = places[near].astype(np.float32)
    return kept


def coins(stage: Stage) -> Target:
    """Nearly round or polygonal solid objects with strong internal relief."""
    rng, size, radius = stage.rng, stage.size, stage.radius
    stage.ground(
        surface(stage, 0.2 * size, 0.12) + uneven(stage, 0.35),
    )
    if stage.chance(0.3):
        clutter(stage)
    yy, xx = grid_warp(stage, stage.uniform(0, 0.02) * radius, 0.8 * radius)
    if stage.chance(0.25):
        sdf = polygon(
            yy, xx, stage.centre, 0.95 * radius, int(rng.integers(3, 9)), rng.uniform(0, 6)
        )
    else:
        sdf = ellipse(yy, xx, stage.centre, stage.axes(1.25), rng.uniform(0, np.pi))
    spacing = radius * stage.uniform(2.1, 3.2)
    relief = _relief(stage, radius) * np.float32(stage.uniform(0.1, 0.5))
    others = np.full((size, size), np.float32(size), np.float32)
    if stage.chance(0.8):
        for cy, cx in _places(stage, spacing):
            r = radius * float(np.clip(rng.normal(0.9, 0.12), 0.6, 1.05))
            _stamp(others, (yy, xx), (float(cy), float(cx)), r)
        others = np.maximum(others, np.float32(0.03 * radius) - sdf)
    both = np.minimum(others, sdf)
    if stage.chance(0.4):
        step = max(1, int(0.08 * radius))
        stage.add(
            np.float32(0.5) * ramp(np.roll(both, (step, step), (0, 1)), -1, 0.15 * radius), "line"
        )
    tone = np.float32(stage.uniform(0.0, 0.3)) * noise(rng, size, spacing)
    stage.add(ramp(others, -0.8, 0.8), "peer", relief + tone)
    lip = ramp(np.abs(sdf + 0.1 * radius), 0.02 * radius, 0.05 * radius + 1)
    shade = relief + np.float32(stage.uniform(-0.5, 0.5)) * lip
    target = Target(sdf, radius, radius * stage.uniform(0.01, 0.06))
    soft_body(stage, target, shade)
    return target


def _stamp(
    others: Field, coordinates: tuple[Field, Field], place: tuple[float, float], radius: float
) -> None:
    """Add one disc to a signed distance, in place."""
    part = window(place, int(radius) + 8)
    yy, xx = coordinates
    if others[part].size:
        own = ellipse(yy[part], xx[part], place, (radius, radius), 0.0)
        np.minimum(others[part], own, out=others[part])

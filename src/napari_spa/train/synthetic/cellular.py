"""Scenes of microscopy: nuclei, cells, packed membranes, stained tissue."""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

from napari_spa.train.synthetic.fields import Field, blur, curves, grid, noise, ramp, tubes
from napari_spa.train.synthetic.scene import (
    Stage,
    clutter,
    crowd,
    grid_warp,
    soft_body,
    surface,
    uneven,
)
from napari_spa.train.synthetic.shapes import Target, ellipse, merge, renormalise


def nuclei(stage: Stage) -> Target:
    """Blob-like nuclei among many neighbours of the same look."""
    rng, size, radius = stage.rng, stage.size, stage.radius
    stage.add(np.zeros((size, size), np.float32), "bg")
    stage.ground(
        surface(stage, 0.3 * size, 0.08) + uneven(stage, 0.1),
    )
    if stage.chance(0.5):
        clutter(stage)
    coordinates = grid_warp(
        stage, stage.uniform(0.02, 0.22) * radius, stage.uniform(0.8, 2.0) * radius
    )
    sdf = renormalise(ellipse(*coordinates, stage.centre, stage.axes(2.2), rng.uniform(0, np.pi)))
    density = stage.uniform(0.0, 1.3)
    count = int(np.clip(density * size**2 / (4.0 * radius**2), 0, 70))
    others, tone, alpha = crowd(
        stage, coordinates, count, radius * stage.uniform(0.8, 1.1), 2.2, sdf
    )
    ring = stage.chance(0.15)
    shade = surface(stage, stage.uniform(0.2, 0.9) * radius, stage.uniform(0.03, 0.3))
    if stage.chance(0.35):
        spots = ramp(noise(rng, size, max(4.0, 0.45 * radius)), -2.4, -1.3)
        shade += np.float32(stage.uniform(0.2, 0.6) * rng.choice([-1, 1])) * spots
    if not stage.chance(0.25):
        alpha = alpha * ramp(-sdf, -stage.uniform(0.5, 3.0), 0.0)
    glow = stage.uniform(0.0, 0.5) if stage.chance(0.4) else 0.0
    if glow:
        halo = np.exp(-np.clip(np.minimum(sdf, others), 0, None) / np.float32(0.35 * radius))
        stage.add(np.float32(glow) * halo, "object")
    stage.add(
        alpha, "peer", np.float32(0.22) * tone + shade + (_rim(others, radius) if ring else 0)
    )
    penumbra = radius * (stage.uniform(0.05, 0.3) if stage.chance(0.4) else 0.03)
    target = Target(sdf, radius, penumbra)
    soft_body(stage, target, shade + (_rim(sdf, radius) if ring else 0))
    if stage.chance(0.12):
        stage.add(ramp(np.abs(np.minimum(sdf, others)), 0.0, stage.uniform(1.5, 3.5)), "rim")
    return target


def _rim(sdf: Field, radius: float) -> Field:
    """Shade of a ring-like object: darker in the middle, brighter at the edge."""
    depth: Field = np.clip(-sdf / np.float32(0.35 * radius), 0, 1)
    return np.float32(0.3) - np.float32(0.7) * depth


def _cell_shape(stage: Stage, centre: tuple[float, float], radius: float) -> Field:
    """Signed distance of an irregular cell with protrusions, shape (size, size)."""
    rng = stage.rng
    yy, xx = grid_warp(stage, stage.uniform(0.05, 0.3) * radius, stage.uniform(0.5, 1.2) * radius)
    ratio = np.sqrt(stage.log_uniform(1.0, 3.5))
    body_radius = radius * stage.uniform(0.75, 0.95)
    angle = rng.uniform(0, np.pi)
    shape = ellipse(yy, xx, centre, (body_radius * ratio, body_radius / ratio), angle)
    for _ in range(int(rng.integers(0, 5))):
        bearing = angle + rng.choice([0.0, np.pi]) + rng.normal(0, 0.7)
        length, width = stage.uniform(0.4, 1.1) * radius, max(2.5, stage.uniform(0.1, 0.3) * radius)
        reach = body_radius * 0.7 + 0.5 * length
        arm = (centre[0] + reach * np.sin(bearing), centre[1] + reach * np.cos(bearing))
        shape = merge(shape, ellipse(yy, xx, arm, (length, width), bearing), 0.4 * radius)
    return renormalise(shape)


def _other_cells(stage: Stage, sdf: Field, radius: float) -> Field:
    """Paint up to three more cells; signed distance to all, the target's included."""
    far = sdf
    for _ in range(int(stage.rng.integers(0, 4))):
        place = (stage.uniform(0, stage.size), stage.uniform(0, stage.size))
        if np.hypot(place[0] - stage.centre[0], place[1] - stage.centre[1]) < 1.8 * radius:
            continue
        other = np.maximum(_cell_shape(stage, place, radius), 3 - sdf)
        stage.add(ramp(other, -1, 1), "peer", surface(stage, 0.3 * radius, 0.2))
        far = np.minimum(far, other)
    return far


def cells(stage: Stage) -> Target:
    """Irregular cells with halo and nucleus, or cells packed in a membrane mesh."""
    if stage.chance(0.3):
        return _packed(stage)
    rng, size, radius = stage.rng, stage.size, stage.radius
    stage.ground(
        surface(stage, stage.uniform(4, 40), 0.2) + uneven(stage, 0.2),
    )
    clutter(stage)
    inner = stage.chance(0.3)
    cell_radius = radius * stage.uniform(1.6, 2.6) if inner else radius
    sdf = _cell_shape(stage, stage.centre, cell_radius)
    far = _other_cells(stage, sdf, cell_radius)
    halo = stage.uniform(0.05, 0.22) * cell_radius
    if stage.chance(0.6):
        bright = np.exp(-((far - np.float32(halo)) ** 2) / np.float32(0.8 * halo**2 + 1))
        stage.add(np.float32(stage.uniform(0.3, 0.9)) * bright, "rim")
    shade = surface(stage, stage.uniform(0.1, 0.6) * cell_radius, stage.uniform(0.05, 0.4))
    if stage.chance(0.5):
        shade -= np.float32(stage.uniform(0.2, 0.7)) * ramp(
            np.abs(sdf + 0.06 * cell_radius), 0, 0.12 * cell_radius + 1
        )
    satellites = None
    if not inner and stage.chance(0.2):
        bearing = rng.uniform(0, 2 * np.pi)
        place = stage.beside(stage.uniform(1.3, 1.7) * radius, bearing)
        bleb = ellipse(*grid(size), place, (0.25 * radius, 0.18 * radius), bearing)
        satellites = np.maximum(bleb, 3 - sdf)
    penumbra = cell_radius * stage.uniform(0.02, 0.15)
    cell = Target(sdf, cell_radius, penumbra, None, satellites)
    soft_body(stage, cell, shade, "inner" if inner else "object")
    if not inner and not stage.chance(0.6):
        return cell
    return _nucleus(stage, cell, inner)


def _nucleus(stage: Stage, cell: Target, inner: bool) -> Target:
    """Paint the nucleus of a cell; return it, or the cell when the cell is the target."""
    rng, radius = stage.rng, stage.radius
    own = radius if inner else radius * stage.uniform(0.25, 0.5)
    place = (
        stage.centre
        if inner
        else tuple(c + 0.2 * own * rng.standard_normal() for c in stage.centre)
    )
    yy, xx = grid_warp(stage, 0.08 * own, own)
    ratio = np.sqrt(stage.log_uniform(1.0, 1.8))
    sdf = ellipse(yy, xx, (place[0], place[1]), (own * ratio, own / ratio), rng.uniform(0, np.pi))
    nucleus = Target(sdf, own, own * stage.uniform(0.02, 0.2))
    soft_body(stage, nucleus, surface(stage, 0.6 * own, 0.15), "object" if inner else "inner")
    return nucleus if inner else cell


def _seeds(stage: Stage, spacing: float) -> Field:
    """Jittered lattice of cell centres, the target's first, shape (n, 2)."""
    rng, size = stage.rng, stage.size
    reach = int(np.ceil(size / spacing)) + 1
    rows, columns = np.meshgrid(
        np.arange(-reach, reach + 1), np.arange(-reach, reach + 1), indexing="ij"
    )
    brick = 0.5 * (rows % 2) if stage.chance(0.6) else np.zeros(rows.shape)
    lattice = np.stack([rows, columns + brick], axis=-1).reshape(-1, 2) * spacing
    lattice = lattice + rng.normal(0, stage.uniform(0.06, 0.22) * spacing, lattice.shape)
    turn = rng.uniform(0, np.pi)
    spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    lattice = lattice @ spin
    lattice -= lattice[np.argmin((lattice**2).sum(axis=1))]
    seeds = lattice + np.asarray(stage.centre)
    near = ((seeds > -1.2 * spacing) & (seeds < size + 1.2 * spacing)).all(axis=1)
    seeds = seeds[near]
    order = np.argsort(((seeds - np.asarray(stage.centre)) ** 2).sum(axis=1))
    sorted_seeds: Field = seeds[order].astype(np.float32)
    return sorted_seeds


def _packed(stage: Stage) -> Target:
    """Cells that fill the plane, divided by membranes (epithelium, electron microscopy)."""
    rng, size, radius = stage.rng, stage.size, stage.radius
    yy, xx = grid_warp(stage, stage.uniform(0.0, 0.3) * radius, stage.uniform(0.6, 1.5) * radius)
    spacing = 1.8 * radius
    seeds = _seeds(stage, spacing)
    half = yy[::2, ::2].shape
    coarse = np.stack([yy[::2, ::2], xx[::2, ::2]], axis=-1).reshape(-1, 2)
    found = KDTree(seeds).query(coarse, k=2)
    squared = np.asarray(found[0], np.float32) ** 2
    which = np.asarray(found[1], np.intp)
    own = ((coarse - seeds[0]) ** 2).sum(axis=1)
    rival = np.where(which[:, 0] == 0, squared[:, 1], squared[:, 0])
    width = stage.uniform(0.8, 0.06 * radius + 1.6)
    scale = np.float32(2 * spacing)
    edge = _double((squared[:, 1] - squared[:, 0]).reshape(half) / scale, size)
    sdf = renormalise(_double((own - rival).reshape(half) / scale, size)) + np.float32(width)
    tones = rng.standard_normal(len(seeds)).astype(np.float32)
    tone = _double(tones[which[:, 0]].reshape(half), size)
    shade = surface(stage, stage.uniform(0.2, 0.8) * radius, stage.uniform(0.05, 0.35))
    varied = np.float32(stage.uniform(0, 0.5)) * tone + shade
    stage.add(np.ones((size, size), np.float32), "peer", varied)
    organelles = np.float32(0.7) * ramp(noise(rng, size, max(4.0, 0.35 * radius)), -2.6, -1.8)
    target = Target(sdf, radius, 1.5 * width)
    soft_body(stage, target, varied if stage.chance(0.5) else shade)
    if stage.chance(0.6):
        stage.add(organelles, "inner")
    stage.add(ramp(edge, 0.6 * width, 1.6 * width), "rim")
    return target


def _double(field: Field, size: int) -> Field:
    """Repeat every pixel twice and smooth, to shape (size, size)."""
    return blur(np.repeat(np.repeat(field, 2, axis=0), 2, axis=1)[:size, :size], 1.0)


def tissue(stage: Stage) -> Target:
    """Stained nuclei, small and dense, on fibrous tissue."""
    rng, size, radius = stage.rng, stage.size, stage.radius
    stage.ground(surface(stage, 0.2 * size, 0.2))
    stroma = noise(rng, size, stage.uniform(0.1, 0.4) * size, stage.log_uniform(0.4, 2.5))
    stage.add(ramp(stroma, -0.6, stage.uniform(-0.2, 1.0)), "other", surface(stage, 12.0, 0.2))
    if stage.chance(0.6):
        count, lean = int(rng.integers(10, 60)), rng.uniform(0, np.pi)
        fibres = curves(
            rng, rng.uniform(0, size, (count, 2)), rng.normal(lean, 0.4, count), 0.5 * size, 0.3
        )
        stage.add(
            np.float32(stage.uniform(0.1, 0.6)) * tubes(fibres, size, stage.log_uniform(0.7, 3.0)),
            "line",
        )
    coordinates = grid_warp(
        stage, stage.uniform(0.08, 0.25) * radius, stage.uniform(0.7, 1.6) * radius
    )
    sdf = renormalise(ellipse(*coordinates, stage.centre, stage.axes(3.0), rng.uniform(0, np.pi)))
    count = int(np.clip(stage.uniform(0.2, 1.2) * size**2 / (4.0 * radius**2), 0, 60))
    others, tone, alpha = crowd(
        stage, coordinates, count, radius * stage.uniform(0.75, 1.1), 3.0, sdf
    )
    shade = surface(stage, 0.6 * radius, stage.uniform(0.1, 0.35))
    alpha = alpha * ramp(-sdf, -stage.uniform(0.5, 2.0), 0.0)
    if stage.chance(0.4):
        cover = np.float32(stage.uniform(0.2, 0.6))
        stage.add(cover * ramp(np.minimum(others, sdf), 0.1 * radius, 0.8 * radius), "inner")
    second = ramp(tone, 0.2, 0.3) if stage.chance(0.4) else np.zeros_like(tone)
    stage.add(alpha * (1 - second), "peer", np.float32(0.2) * tone + shade)
    stage.add(alpha * second, "wall", shade)
    target = Target(sdf, radius, radius * stage.uniform(0.03, 0.25))
    soft_body(stage, target, shade)
    if stage.chance(0.4):
        stage.add(np.float32(stage.uniform(0.3, 0.8)) * ramp(np.abs(sdf + 1), 0.0, 2.0), "rim")
    return target

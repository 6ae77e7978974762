"""What is there: nuclei and cells, the optic disc, lesions and folded tissue, coins."""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

from napari_spa.train.synthetic.scene import (
    Field,
    Stage,
    Target,
    blur,
    clutter,
    crowd,
    curves,
    doubled,
    ellipse,
    exact_distance,
    grid,
    grid_warp,
    merge,
    noise,
    oval,
    polygon,
    ramp,
    renormalise,
    soft_body,
    surface,
    texture,
    towards,
    tubes,
    uneven,
    waves,
    window,
)


def nuclei(stage: Stage) -> Target:
    """Blob-like nuclei among many neighbours of the same look."""
    rng, size, radius = stage.rng, stage.size, stage.radius
    stage.add(np.zeros((size, size), np.float32), "bg")
    stage.ground(surface(stage, 0.3 * size, 0.08) + uneven(stage, 0.1))
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
    stage.ground(surface(stage, stage.uniform(4, 40), 0.2) + uneven(stage, 0.2))
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
    baseline = np.where(which[:, 0] == 0, squared[:, 1], squared[:, 0])
    width = stage.uniform(0.8, 0.06 * radius + 1.6)
    scale = np.float32(2 * spacing)
    edge = doubled((squared[:, 1] - squared[:, 0]).reshape(half) / scale, size)
    sdf = renormalise(doubled((own - baseline).reshape(half) / scale, size)) + np.float32(width)
    tones = rng.standard_normal(len(seeds)).astype(np.float32)
    tone = doubled(tones[which[:, 0]].reshape(half), size)
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
    stage.ground(surface(stage, 0.15 * size, 0.08) + uneven(stage, 0.2))
    angle = rng.uniform(0, np.pi)
    sdf = oval(stage, stage.centre, disc_radius, stage.uniform(1.0, 1.25), angle)
    temporal = rng.uniform(0, 2 * np.pi)
    shift = 0.0 if cup_asked else stage.uniform(-0.1, 0.7) * (disc_radius - cup_radius)
    place = stage.beside(shift, temporal)
    cup_sdf = oval(stage, place, cup_radius, stage.uniform(0.9, 1.25), angle)
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
        rim = np.float32(stage.uniform(0.25, 0.7)) + towards(stage, temporal, disc_radius)
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


def _round_field(stage: Stage) -> None:
    """Black out everything beyond the round field of view."""
    rng, size = stage.rng, stage.size
    reach = max(stage.uniform(0.42, 0.6) * size, stage.radius * 1.2)
    middle = 0.5 * size + rng.normal(0, 0.05 * size, 2)
    middle = 0.6 * middle + 0.4 * np.asarray(stage.centre)
    yy, xx = grid_warp(stage, 0.0, 1.0)
    edge = ellipse(yy, xx, (float(middle[0]), float(middle[1])), (reach, reach), 0.0)
    stage.add(1 - ramp(edge, -2, 2), "void")


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
    stage.ground(surface(stage, stage.uniform(6, 30), stage.uniform(0.1, 0.3)))
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
    stage.ground(surface(stage, 0.2 * size, 0.12) + uneven(stage, 0.35))
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

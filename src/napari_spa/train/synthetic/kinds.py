"""What is there: nuclei and cells, the optic disc, lesions and folded tissue, coins."""

from __future__ import annotations

from math import pi

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from napari_spa.train.synthetic.scene import (
    Field,
    Place,
    Stage,
    Target,
    as_column,
    clutter,
    ellipse,
    polygon,
    ramp,
    renormalise,
    union,
)


def nuclei(stage: Stage) -> Target:
    """Blob-like nuclei among many neighbours of the same look."""
    stage.ground(0.3 * stage.size, 0.08, 0.1)
    if stage.chance(0.5):
        clutter(stage)
    penumbra = stage.uniform(0.05, 0.3) if stage.chance(0.4) else 0.03
    return _among_peers(stage, stage.uniform(0.0, 1.3), 2.2, penumbra)


def tissue(stage: Stage) -> Target:
    """Stained nuclei, small and dense, on fibrous tissue."""
    size = stage.size
    stage.ground(0.2 * size, 0.2)
    stroma = stage.noise(stage.uniform(0.1, 0.4) * size)
    stage.add(ramp(stroma, -0.6, stage.uniform(-0.2, 1.0)), "other", stage.texture(12.0, 0.2))
    if stage.chance(0.6):
        count, lean = int(stage.rng.integers(10, 60)), stage.angle()
        starts = stage.rng.uniform(0, size, (count, 2))
        fibres = stage.lines(starts, stage.rng.normal(lean, 0.4, count), 0.5 * size, 0.3)
        sheet = stage.tubes(fibres, stage.log_uniform(0.7, 3.0))
        stage.add(stage.uniform(0.1, 0.6) * sheet, "line")
    return _among_peers(stage, stage.uniform(0.2, 1.2), 3.0, stage.uniform(0.03, 0.25))


def _among_peers(stage: Stage, density: float, elongation: float, penumbra: float) -> Target:
    """Paint a nucleus and its neighbours; ``penumbra`` in radii."""
    radius, size = stage.radius, stage.size
    yx = stage.grid(stage.uniform(0.02, 0.24) * radius, stage.uniform(0.8, 2.0) * radius)
    sdf = renormalise(ellipse(yx, stage.centre, stage.axes(elongation), stage.angle()))
    count = int(np.clip(density * size**2 / (4.0 * radius**2), 0, 70))
    seeds = stage.rng.uniform(0, size - 1, (count, 2))
    seeds = seeds[sdf[*seeds.astype(int).T] > 0.7 * radius]
    others, tone = stage.crowd(yx, seeds, radius * stage.uniform(0.8, 1.1), elongation)
    shade = stage.texture(stage.uniform(0.2, 0.9) * radius, stage.uniform(0.03, 0.3))
    if stage.chance(0.35):
        spots = ramp(stage.noise(max(4.0, 0.45 * radius)), -2.4, -1.3)
        shade += stage.uniform(-0.6, 0.6) * spots
    every = np.minimum(sdf, others)
    if stage.chance(0.15):  # darker in the middle, brighter at the edge
        shade += 0.3 - 0.7 * np.clip(-every / (0.35 * radius), 0, 1)
    if stage.chance(0.4):
        glow = np.exp(-np.clip(every, 0, None) / (0.35 * radius))
        stage.add(stage.uniform(0.0, 0.6) * glow, str(stage.rng.choice(["object", "inner"])))
    alpha = ramp(others, -1, 1)
    if not stage.chance(0.25):
        alpha = alpha * ramp(-sdf, -stage.uniform(0.5, 3.0), 0.0)
    second = ramp(tone, 0.2, 0.3) if stage.chance(0.2) else np.zeros_like(tone)
    stage.add(alpha * (1 - second), "peer", 0.22 * tone + shade)
    stage.add(alpha * second, "wall", shade)
    target = Target(sdf, radius, penumbra * radius)
    stage.body(target, shade)
    if stage.chance(0.2):
        edge = ramp(np.abs(every), 0.0, stage.uniform(1.5, 3.5))
        stage.add(stage.uniform(0.4, 1.0) * edge, "rim")
    return target


def cells(stage: Stage) -> Target:
    """Irregular cells with halo and nucleus, or cells packed in a membrane mesh."""
    if stage.chance(0.3):
        return _packed(stage)
    stage.ground(stage.uniform(4, 40), 0.2, 0.2)
    clutter(stage)
    inner = stage.chance(0.3)  # whether the nucleus is the target
    radius = stage.radius * (stage.uniform(1.6, 2.6) if inner else 1.0)
    sdf = far = _cell(stage, stage.centre, radius)
    for _ in range(int(stage.rng.integers(0, 4))):
        place = stage.anywhere()
        if stage.far(place, 1.8 * radius):
            other = np.maximum(_cell(stage, place, radius), 3 - sdf)
            stage.add(ramp(other, -1, 1), "peer", stage.texture(0.3 * radius, 0.2))
            far = np.minimum(far, other)
    if stage.chance(0.6):
        halo = stage.uniform(0.05, 0.22) * radius
        bright = np.exp(-((far - halo) ** 2) / (0.8 * halo**2 + 1))
        stage.add(stage.uniform(0.3, 0.9) * bright, "rim")
    shade = stage.texture(stage.uniform(0.1, 0.6) * radius, stage.uniform(0.05, 0.4))
    if stage.chance(0.5):
        lip = ramp(np.abs(sdf + 0.06 * radius), 0, 0.12 * radius + 1)
        shade -= stage.uniform(0.2, 0.7) * lip
    satellites = _satellite(stage, sdf) if not inner and stage.chance(0.2) else None
    cell = Target(sdf, radius, radius * stage.uniform(0.02, 0.15), None, satellites)
    stage.body(cell, shade, "inner" if inner else "object")
    if not inner and not stage.chance(0.6):
        return cell
    own = stage.radius * (1.0 if inner else stage.uniform(0.25, 0.5))
    shape = ellipse(stage.grid(0.08 * own, own), stage.centre, stage.axes(1.8, own), stage.angle())
    nucleus = Target(shape, own, own * stage.uniform(0.02, 0.2))
    stage.body(nucleus, stage.texture(0.6 * own, 0.15), "object" if inner else "inner")
    return nucleus if inner else cell


def _cell(stage: Stage, centre: Place, radius: float) -> Field:
    """Signed distance of an irregular cell with protrusions."""
    yx = stage.grid(stage.uniform(0.05, 0.3) * radius, stage.uniform(0.5, 1.2) * radius)
    body, angle = radius * stage.uniform(0.75, 0.95), stage.angle()
    shape = ellipse(yx, centre, stage.axes(3.5, body), angle)
    for _ in range(int(stage.rng.integers(0, 5))):
        bearing = angle + stage.rng.choice([0.0, pi]) + stage.rng.normal(0, 0.7)
        length, width = stage.uniform(0.4, 1.1) * radius, max(2.5, stage.uniform(0.1, 0.3) * radius)
        reach = body * 0.7 + 0.5 * length
        arm = (centre[0] + reach * np.sin(bearing), centre[1] + reach * np.cos(bearing))
        shape = union(shape, ellipse(yx, arm, (length, width), bearing), 0.4 * radius)
    return renormalise(shape)


def _satellite(stage: Stage, sdf: Field) -> Field:
    """Signed distance of a small part that lies beside the target."""
    bearing, radius = stage.angle(), stage.radius
    place = stage.beside(stage.uniform(1.3, 1.8) * radius, bearing)
    bleb = ellipse(stage.grid(), place, (0.27 * radius, 0.2 * radius), bearing)
    return np.maximum(bleb, 3 - sdf)


def _packed(stage: Stage) -> Target:
    """Cells that fill the plane, divided by membranes (epithelium, electron microscopy)."""
    radius, spacing = stage.radius, 1.8 * stage.radius
    yx = stage.grid(stage.uniform(0.0, 0.3) * radius, stage.uniform(0.6, 1.5) * radius)
    seeds = stage.lattice(spacing, stage.uniform(0.06, 0.22), stage.angle())
    distance, which = map(np.asarray, KDTree(seeds).query(np.moveaxis(yx, 0, -1), k=2))
    squared = np.asarray(distance, np.float32) ** 2
    # A bisector between two seeds is a straight line: differences of squares are exact there.
    edge = (squared[..., 1] - squared[..., 0]) / (2 * spacing)
    own = ((yx - as_column(stage.centre)) ** 2).sum(axis=0)
    rival = np.where(which[..., 0] == 0, squared[..., 1], squared[..., 0])
    width = stage.uniform(0.8, 0.06 * radius + 1.6)
    target = Target(renormalise((own - rival) / (2 * spacing)) + width, radius, 1.5 * width)
    tone = stage.rng.standard_normal(len(seeds), dtype=np.float32)[which[..., 0]]
    shade = stage.texture(stage.uniform(0.2, 0.8) * radius, stage.uniform(0.05, 0.35))
    varied = stage.uniform(0, 0.5) * tone + shade
    stage.add(np.ones_like(tone), "peer", varied)
    stage.body(target, varied if stage.chance(0.5) else shade)
    if stage.chance(0.6):
        organelles = ramp(stage.noise(max(4.0, 0.35 * radius)), -2.6, -1.8)
        stage.add(0.7 * organelles, "inner")
    stage.add(ramp(edge, 0.6 * width, 1.6 * width), "rim")
    return target


def disc(stage: Stage) -> Target:
    """Bright disc with a cup inside, crossed by vessels (optic nerve head)."""
    radius = stage.radius
    cup_asked = stage.chance(0.15)
    disc_radius = radius / stage.uniform(0.35, 0.8) if cup_asked else radius
    cup_radius = radius if cup_asked else radius * stage.uniform(0.3, 0.75)
    stage.ground(0.15 * stage.size, 0.08, 0.2)
    temporal = stage.angle()
    shift = 0.0 if cup_asked else stage.uniform(-0.1, 0.7) * (disc_radius - cup_radius)
    sdf = _oval(stage, stage.centre, disc_radius)
    cup_sdf = _oval(stage, stage.beside(shift, temporal), cup_radius)
    whole = Target(sdf, disc_radius, disc_radius * stage.uniform(0.02, 0.15))
    cup = Target(cup_sdf, cup_radius, cup_radius * stage.uniform(0.05, 0.45))
    if stage.chance(0.3):
        atrophy = ramp(sdf, 0.05 * disc_radius, stage.uniform(0.2, 0.6) * disc_radius)
        stage.add(0.35 * atrophy, "other")
    skin = stage.texture(0.4 * disc_radius, 0.08)
    edge = ramp(sdf, -1.5, 1.5 + whole.penumbra)
    if cup_asked:
        stage.add(stage.uniform(0.4, 1.0) * edge, "object", skin)
    elif stage.chance(0.6):
        # The nasal rim is pink, near the background's colour, under the vessels' trunk.
        dy, dx = stage.grid() - as_column(stage.centre)
        along = dy * np.sin(temporal) + dx * np.cos(temporal) - stage.uniform(-0.6, 0.2) * radius
        rim = stage.uniform(0.25, 0.7) + np.clip(along / (0.6 * radius), 0, 1)
        stage.add(np.minimum(rim, 1) * edge, "object", skin)
    else:
        stage.body(whole, skin)
    deep = ramp(cup_sdf, -0.2 * cup_radius - 0.2 * cup.penumbra, 1.1 * cup.penumbra + 1)
    pallor = 1.0 if cup_asked else stage.uniform(0.0, 1.0)
    stage.add(pallor * deep, "object" if cup_asked else "inner")
    if stage.chance(0.9):
        _vessels(stage, disc_radius)
    if stage.chance(0.25):  # black beyond the round field of view
        reach = max(stage.uniform(0.42, 0.6) * stage.size, 1.2 * radius)
        middle = 0.5 * stage.size + stage.rng.normal(0, 0.05 * stage.size, 2)
        row, column = 0.6 * middle + 0.4 * np.asarray(stage.centre)
        stage.add(1 - ramp(ellipse(stage.grid(), (row, column), (reach, reach)), -2, 2), "void")
    return cup if cup_asked else whole


def _oval(stage: Stage, place: Place, radius: float) -> Field:
    """Signed distance of a slightly uneven ellipse."""
    yx = stage.grid(0.055 * radius, 0.8 * radius)
    return renormalise(ellipse(yx, place, stage.axes(1.25, radius), stage.angle()))


def _vessels(stage: Stage, disc_radius: float) -> None:
    """Paint thick and thin vessels that leave the disc upwards and downwards."""
    rng, size, count = stage.rng, stage.size, int(stage.rng.integers(4, 11))
    angles = rng.choice([-1.0, 1.0], count) * pi / 2 + rng.normal(0, 0.5, count)
    starts = np.asarray(stage.centre) + rng.normal(0, 0.18 * disc_radius, (count, 2))
    trunks = stage.lines(starts, angles, stage.uniform(0.6, 1.2) * size, 0.35)
    picks = rng.integers(0, count, 2 * count)
    forks = trunks[picks, rng.integers(trunks.shape[1] // 10, trunks.shape[1] // 2, 2 * count)]
    turn = rng.choice([-1.0, 1.0], 2 * count) * rng.uniform(0.4, 1.1, 2 * count)
    twigs = stage.lines(forks, angles[picks] + turn, 0.5 * size, 0.4)
    thick, cover = stage.uniform(0.018, 0.06) * disc_radius + 0.5, stage.uniform(0.4, 0.95)
    stage.add(cover * stage.tubes(trunks, thick, 0.3), "line")
    stage.add(0.8 * cover * stage.tubes(twigs, 0.55 * thick, 0.6), "line")


def lesion(stage: Stage) -> Target:
    """Soft lesion with penumbra and spiculations in a CT- or MR-like background."""
    radius = stage.radius
    if stage.chance(0.6):
        _lung(stage)
    else:
        _organ(stage)
    if stage.chance(0.2):
        clutter(stage)
    yx = stage.grid(stage.uniform(0.04, 0.25) * radius, stage.uniform(0.4, 1.2) * radius)
    shape = ellipse(yx, stage.centre, stage.axes(1.9), stage.angle())
    if stage.chance(0.35):
        bearing = stage.angle()
        place = stage.beside(0.8 * radius, bearing)
        bud = ellipse(yx, place, (0.6 * radius, 0.5 * radius), bearing)
        shape = union(shape, bud, 0.4 * radius)
    sdf = renormalise(shape)
    satellites = _satellite(stage, sdf) if stage.chance(0.15) else None
    soft = stage.uniform(0.12, 0.6) if stage.chance(0.6) else stage.uniform(0.02, 0.12)
    if stage.chance(0.35):
        soft = max(soft, 0.2)
        angles = stage.rng.uniform(0, 2 * pi, int(stage.rng.integers(5, 16)))
        outwards = np.stack([np.sin(angles), np.cos(angles)], axis=1)
        starts = np.asarray(stage.centre) + 0.7 * radius * outwards
        spikes = stage.lines(starts, angles, stage.uniform(0.6, 1.4) * radius, 0.2)
        stage.add(0.8 * stage.tubes(spikes, 0.03 * radius + 0.6, 1.0), "object")
    target = Target(sdf, radius, soft * radius, None, satellites)
    shade = stage.texture(stage.uniform(0.2, 0.9) * radius, stage.uniform(0.03, 0.25))
    if stage.chance(0.2):
        shade += stage.uniform(-0.8, 0.5) * ramp(sdf, -0.7 * radius, -0.3 * radius)
    stage.body(target, shade)
    return target


def _lung(stage: Stage) -> None:
    """Dark field with bright vessels, walls and ribs."""
    size = stage.size
    stage.ground(16.0, stage.uniform(0.03, 0.12))
    for width, length in ((stage.log_uniform(0.8, 3.5), 0.6 * size), (0.7, 0.3 * size), (1.5, 2)):
        lines = stage.scattered(4, 25, length, 0.5)
        stage.add(stage.uniform(0.3, 0.9) * stage.tubes(lines, width, 0.7), "line")
    if stage.chance(0.75):
        reach = stage.uniform(0.5, 2.0) * size
        away = stage.beside(reach + stage.radius * stage.uniform(0.75, 2.5), stage.angle())
        wall = ellipse(stage.grid(0.03 * size, 0.4 * size), away, stage.axes(1.1, reach))
        stage.add(ramp(wall, -1.2, 1.2), "other", stage.texture(20.0, 0.08))
        depth = stage.uniform(0.06, 0.2) * size
        ribs = np.maximum(np.abs(wall + depth) - 0.25 * depth, 3 * stage.noise(0.25 * size))
        stage.add(ramp(ribs, -1.5, 1.5), "wall", stage.texture(8.0, 0.1))


def _organ(stage: Stage) -> None:
    """Grainy organ with vessels, or a head with its skull."""
    size, radius = stage.size, stage.radius
    stage.ground(stage.uniform(6, 30), stage.uniform(0.1, 0.3))
    lines = stage.scattered(0, 14, 0.5 * size, 0.4)
    stage.add(0.6 * stage.tubes(lines, stage.log_uniform(1.0, 4.0), 0.6), "line")
    yx = stage.grid(0.03 * size, 0.3 * size)
    for _ in range(int(stage.rng.integers(0, 3))):
        place, axes = stage.anywhere(), stage.axes(3.0, stage.uniform(0.04, 0.14) * size)
        if stage.far(place, 1.3 * radius):
            stage.add(ramp(ellipse(yx, place, axes, stage.angle()), -2, 2), "other")
    if stage.chance(0.5) and radius < 0.3 * size:
        middle = (0.5 * size, 0.5 * size)
        outward = float(np.hypot(*np.subtract(stage.centre, middle))) + radius + 4
        reach = max(stage.uniform(0.42, 0.6) * size, outward)
        head = ellipse(yx, middle, (reach * stage.uniform(1.0, 1.2), reach), stage.angle())
        stage.add(1 - ramp(head, -1.5, 1.5), "void")
        stage.add(ramp(np.abs(head - 2), 0, stage.uniform(2, 8)), "wall")


def folded(stage: Stage) -> Target:
    """Large folded or lobed region with holes (cortex, glands)."""
    radius, plain = stage.radius, stage.chance(0.5)
    stage.ground(30.0, 0.02 if plain else 0.15)
    if not plain:
        clutter(stage)
    yx = stage.grid(stage.uniform(0.05, 0.16) * radius, stage.uniform(0.22, 0.5) * radius)
    axes, turn = stage.axes(1.6), stage.angle()
    inside = ellipse(yx, stage.centre, axes, turn) < 0
    if stage.chance(0.5):
        inside &= ~_folds(stage)
    outer, inner = (ndimage.distance_transform_edt(each) for each in (~inside, inside))
    sdf = np.asarray(outer - inner, np.float32)
    if stage.chance(0.55):
        _rind(stage, axes, turn)
    shade = stage.texture(stage.uniform(0.2, 0.6) * radius, stage.uniform(0.05, 0.25))
    if stage.chance(0.5):
        shade += stage.uniform(-0.6, 0.6) * ramp(sdf, -0.3 * radius, -0.15 * radius)
    holes = None
    if stage.chance(0.6):
        blobs = stage.noise(stage.uniform(0.25, 0.6) * radius) + stage.uniform(1.1, 1.7)
        holes = renormalise(np.maximum(0.2 * radius * blobs, sdf + 0.15 * radius))
        stage.add(ramp(holes, -1.5, 1.0), "inner")
    target = Target(sdf, 0.85 * radius, radius * stage.uniform(0.01, 0.06), holes)
    stage.body(target, shade)
    if stage.chance(0.25):
        stage.add(0.7 * ramp(np.abs(sdf), 0.5, stage.uniform(1.5, 5.0)), "wall")
    return target


def _folds(stage: Stage) -> np.ndarray:
    """Folds that enter the region from outside, bool, shape (size, size)."""
    radius = stage.radius
    angles = np.linspace(0, 2 * pi, 12, endpoint=False) + stage.rng.normal(0, 0.2, 12)
    starts = stage.centre + 1.1 * radius * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    folds = stage.lines(starts, angles + pi, stage.uniform(0.2, 0.55) * radius, 0.5)
    return stage.tubes(folds, 0.02 * radius + 0.7) > 0.5


def _rind(stage: Stage, axes: tuple[float, float], turn: float) -> None:
    """Smooth envelope around a folded region, sometimes with a bright shell."""
    radius = stage.radius
    outer = (1.08 * axes[0], 1.08 * axes[1])
    smooth = ellipse(stage.grid(0.03 * radius, radius), stage.centre, outer, turn)
    rind, mixed = stage.uniform(0.03, 0.12) * radius, stage.chance(0.5)
    role = "object" if mixed else str(stage.rng.choice(["rim", "other"]))
    cover = stage.uniform(0.15, 0.6) if mixed else 1.0
    stage.add(cover * ramp(smooth, rind - 1, rind + 1), role, stage.texture(10.0, 0.1))
    if stage.chance(0.5):
        stage.add(ramp(np.abs(smooth - 1.6 * rind), 0.3 * rind, 0.6 * rind + 1), "wall")


def coins(stage: Stage) -> Target:
    """Nearly round or polygonal solid objects with strong internal relief."""
    radius = stage.radius
    stage.ground(0.2 * stage.size, 0.12, 0.35)
    if stage.chance(0.3):
        clutter(stage)
    yx = stage.grid(stage.uniform(0, 0.02) * radius, 0.8 * radius)
    if stage.chance(0.25):
        sides = int(stage.rng.integers(3, 9))
        sdf = polygon(yx, stage.centre, 0.95 * radius, sides, stage.angle())
    else:
        sdf = ellipse(yx, stage.centre, stage.axes(1.25), stage.angle())
    spacing = radius * stage.uniform(2.1, 3.2)
    turn = stage.uniform(-0.06, 0.06) if stage.chance(0.5) else stage.angle()
    seeds = stage.lattice(spacing, 0.03 if stage.chance(0.5) else 0.16, turn)[1:]
    if stage.chance(0.5):
        seeds = seeds[stage.rng.random(len(seeds)) < stage.uniform(0.0, 0.8)]
    others, _ = stage.crowd(yx, seeds, 0.85 * radius, 1.1)
    others = np.maximum(others, 0.03 * radius - sdf)
    if stage.chance(0.4):
        step = max(1, int(0.08 * radius))
        shadow = np.roll(np.minimum(others, sdf), (step, step), (0, 1))
        stage.add(0.5 * ramp(shadow, -1, 0.15 * radius), "line")
    # An embossed pattern is lit from one side.
    height = np.tanh(2 * stage.texture(0.7 * radius)) + stage.texture(0.25 * radius, 0.4)
    light = stage.angle()
    dy, dx = np.gradient(height)
    lit = np.sin(light) * dy + np.cos(light) * dx
    relief = stage.uniform(0.1, 0.5) * lit / (lit.std() + 1e-6)
    tone = stage.uniform(0.0, 0.3) * stage.noise(spacing)
    stage.add(ramp(others, -0.8, 0.8), "peer", relief + tone)
    lip = ramp(np.abs(sdf + 0.1 * radius), 0.02 * radius, 0.05 * radius + 1)
    target = Target(sdf, radius, radius * stage.uniform(0.01, 0.06))
    stage.body(target, relief + stage.uniform(-0.5, 0.5) * lip)
    return target

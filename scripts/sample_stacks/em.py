"""A stack that looks like serial sections of neuropil in the electron microscope."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

from sample_stacks.em_neurites import SHAPE, Neurites, grow_neurites
from sample_stacks.fields import Field, detector_noise, smooth_noise, step, union
from sample_stacks.stack import SampleStack, innermost

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCALE = (30.0, 8.0, 8.0)
_ASPECT = SCALE[0] / SCALE[1]
_STRETCH = (_ASPECT, 1, 1)  # from voxels to pixels of a section
_SPANS = (  # of each mitochondrion: middle slice, half its length in slices, most radius
    (14, 10.4, 19.0),
    (18, 3.6, 15.0),
    (4, 9.0, 17.0),
    (26, 9.0, 17.0),
    (12, 5.0, 14.0),
    (20, 12.0, 16.0),
    (9, 7.0, 13.0),
)
_MEMBRANE, _CYTOPLASM, _MATRIX = 62.0, 172.0, 128.0


def em_stack(seed: int = 0) -> SampleStack:
    """Make a stack of 30 sections of neuropil with its mitochondria known."""
    rng = np.random.default_rng(seed)
    tissue = grow_neurites(rng)
    body, labels = _mitochondria(rng, tissue)
    grey = _neuropil(rng, tissue)
    _synapses(rng, tissue, labels, grey)
    _paint_mitochondria(rng, body, labels, grey, tissue)
    return SampleStack(
        image=_section(rng, grey),
        labels=labels,
        names={n: f"mitochondrion {n}" for n in range(1, len(_SPANS) + 1)},
        scale=SCALE,
        units="nm",
        contrast_limits=(0.0, 255.0),
        first_click=innermost(labels, 1),
    )


def _mitochondria(rng: np.random.Generator, tissue: Neurites) -> tuple[Field, NDArray[np.uint8]]:
    """Signed distance to the nearest mitochondrion, and its number, both (Z, Y, X)."""
    body = np.full(SHAPE, 99, np.float32)
    labels = np.zeros(SHAPE, np.uint8)
    lobes = np.float32(2.2) * smooth_noise(rng, SHAPE, (5, 12, 12))
    free = np.ones(SHAPE[1:], bool)
    for number, (middle, half, radius) in enumerate(_SPANS, start=1):
        margin = 45 if number == 1 else 20
        room = tissue.depth[middle] * free
        room[:margin] = room[-margin:] = room[:, :margin] = room[:, -margin:] = 0
        at = np.unravel_index(int(room.argmax()), room.shape)
        centre = np.array([tissue.y[middle][at], tissue.x[middle][at]])
        owner, size = tissue.owner[middle][at], min(radius, 0.9 * float(room[at]) + 6)
        free &= tissue.owner[middle] != owner
        angle, stretch = rng.uniform(0, np.pi), rng.uniform(1.15, 1.5)
        path = centre + tissue.drift - tissue.drift[middle]
        for z in range(max(0, int(middle - half)), min(SHAPE[0], int(middle + half) + 2)):
            share = 1 - ((z - middle) / half) ** 2
            if share <= 0:
                continue
            rows, columns = (slice(max(0, int(p) - 46), max(0, int(p) + 46)) for p in path[z])
            box = (z, rows, columns)
            y, x = tissue.y[box] - np.float32(path[z, 0]), tissue.x[box] - np.float32(path[z, 1])
            turn = angle + 0.04 * (z - middle)
            cos, sin = np.float32(np.cos(turn) / stretch), np.float32(np.sin(turn) / stretch)
            square = np.float32(stretch**2)
            near = np.hypot(y * cos + x * sin, (x * cos - y * sin) * square) + lobes[box]
            near -= np.float32(size * share**0.35)
            # It bends to the neurite it is in, and keeps off its membrane.
            near = -union(-near, tissue.depth[box] - np.float32(5.5), 6)
            near = np.where(tissue.owner[box] == owner, near, np.float32(99))
            labels[box][near < 0] = number
            body[box] = np.minimum(body[box], near)
    return body, labels


def _neuropil(rng: np.random.Generator, tissue: Neurites) -> Field:
    """Cytoplasm and membranes."""
    tone = rng.normal(0, 9, 256).astype(np.float32)
    grey: Field = np.float32(_CYTOPLASM) + tone[tissue.owner]
    grey += np.float32(7) * smooth_noise(rng, SHAPE, (12, 50, 50))
    specks = smooth_noise(rng, SHAPE, (24, 90, 90))
    grey += np.float32(9) * specks - np.float32(26) * np.clip(specks - np.float32(1.5), 0, 1.5)
    # Cisterns of the endoplasmic reticulum: pairs of thin lines here and there.
    sheet = np.abs(smooth_noise(rng, SHAPE, (5, 14, 14))) * 14
    where = np.clip(smooth_noise(rng, SHAPE, (4, 8, 8)) * 3 - 2.4, 0, 1)
    where *= np.clip(tissue.depth * np.float32(0.2) - 1, 0, 1)
    line = np.exp(-np.square((sheet - np.float32(2.1)) * np.float32(1.1)))
    grey -= np.float32(78) * line * where
    grey += np.float32(18) * (sheet < 1.5) * where
    # A membrane cut at a slant is a broad grey smear.
    slant = np.clip(smooth_noise(rng, SHAPE, (8, 10, 10)) - np.float32(0.9), 0, 1.5)
    dark = step(tissue.depth - np.float32(1.9) - slant, 1.6) / (1 + np.float32(0.5) * slant)
    cleft = step(tissue.depth - np.float32(0.5), 0.9)
    membrane = np.float32(_MEMBRANE) + np.float32(74) * cleft
    grey += dark * (membrane - grey)
    return grey


def _synapses(
    rng: np.random.Generator, tissue: Neurites, labels: NDArray[np.uint8], grey: Field
) -> None:
    """Fill some neurites with vesicles, and thicken the membrane they crowd at."""
    full = rng.permutation(np.unique(tissue.owner[SHAPE[0] // 2]))[:6]
    inside = np.isin(tissue.owner, full)
    rim = np.argwhere(inside & (tissue.depth < 2))
    spots = rim[rng.choice(len(rim), 9, replace=False)]
    for spot in spots:
        reach = np.array((7, 26, 26))
        low, high = np.maximum(spot - reach, 0), np.minimum(spot + reach, SHAPE)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        z, y, x = np.ogrid[box]
        gap = np.hypot(np.hypot(y - spot[1], x - spot[2]), (z - spot[0]) * _ASPECT)
        thick = step(gap.astype(np.float32) - 17, 8)
        side = np.where(inside[box], np.float32(2), np.float32(4.5))  # thicker beyond the cleft
        thick *= step(tissue.depth[box] - side, 2.5)
        grey[box] += thick * (np.float32(52) - grey[box])
    centres = rng.uniform((0, 0, 0), SHAPE, (80000, 3))
    distance, _ = KDTree(spots * _STRETCH).query(centres * _STRETCH)
    at = tuple(centres.astype(np.intp).T)
    chance = (0.02 + 1.5 * np.exp(-np.square(distance / 38))) * inside[at] * (labels[at] == 0)
    chosen = (rng.random(len(centres)) < chance) & (tissue.depth[at] > 5.5)
    _stamp(rng, _apart(centres[chosen] * _STRETCH) / _STRETCH, grey)


def _apart(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave out points nearer than a vesicle to an earlier one; shape (n, 3)."""
    pairs = KDTree(points).query_pairs(6.2, output_type="ndarray")
    keep = np.ones(len(points), bool)
    for early, late in pairs[np.argsort(pairs[:, 1], kind="stable")]:
        if keep[early]:
            keep[late] = False
    return points[keep]


def _stamp(rng: np.random.Generator, centres: NDArray[np.float64], grey: Field) -> None:
    """Draw vesicles: dark rings around a light core."""
    offsets = np.stack(np.meshgrid(*[np.arange(-5, 6)] * 2, indexing="ij"), -1).reshape(-1, 2)
    radius = rng.normal(2.7, 0.25, (len(centres), 1)).astype(np.float32)
    place = centres[:, None, 1:] + rng.uniform(-0.5, 0.5, (len(centres), 1, 2))
    pixel = np.rint(place).astype(np.intp) + offsets
    distance = np.hypot(*np.moveaxis(pixel - place, -1, 0)).astype(np.float32)
    ring = np.exp(-np.square((distance - radius) * np.float32(1.05)))
    core = step(distance - radius, 1.5)
    level = np.broadcast_to(centres[:, :1].astype(np.intp), ring.shape)
    seen = ((pixel >= 0) & (pixel < SHAPE[1:])).all(axis=-1) & (core + ring > 0.05)
    index = (level[seen], pixel[seen][:, 0], pixel[seen][:, 1])
    value = grey[index] + core[seen] * (np.float32(185) - grey[index])
    grey[index] = value + ring[seen] * (np.float32(84) - value)


def _paint_mitochondria(
    rng: np.random.Generator,
    body: Field,
    labels: NDArray[np.uint8],
    grey: Field,
    tissue: Neurites,
) -> None:
    """Draw matrix, cristae and the two membranes."""
    near = body < 4
    body, under = body[near], grey[near]
    bend = smooth_noise(rng, SHAPE, (7, 20, 20))[near]
    whole = smooth_noise(rng, SHAPE, (10, 24, 24))[near]
    tilt = rng.uniform(0, np.pi, 256).astype(np.float32)[labels[near]]
    along = tissue.y[near] * np.cos(tilt) + tissue.x[near] * np.sin(tilt)
    phase = np.mod(along * np.float32(1 / 7.5) + np.float32(0.45) * bend, 1)
    fold = np.abs(phase - np.float32(0.5)) * np.float32(7.5)
    crista = np.exp(-np.square(fold * np.float32(0.75)))
    crista *= np.clip(whole * 2 + np.float32(3.4), 0, 1)
    inner = np.float32(_MATRIX) + np.float32(6) * bend - np.float32(54) * crista
    under += step(body, 1.4) * (inner - under)
    for depth, strength in ((0.0, 0.9), (3.0, 0.6)):
        line = np.exp(-np.square((body + np.float32(depth)) * np.float32(0.8)))
        under += np.float32(strength) * line * (np.float32(_MEMBRANE) - under)
    grey[near] = under


def _section(rng: np.random.Generator, grey: Field) -> NDArray[np.uint8]:
    """Take the picture: each section a little brighter or darker, with noise."""
    slices = SHAPE[0]
    gain = rng.normal(1, 0.035, (slices, 1, 1)).astype(np.float32)
    grey = (grey - np.float32(128)) * gain + np.float32(128)
    grey += rng.normal(0, 4, (slices, 1, 1)).astype(np.float32)
    grey += np.float32(5) * smooth_noise(rng, SHAPE, (slices, 2, 2))
    grey += np.float32(9) * detector_noise(rng, SHAPE, 0.0, 0.42)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)

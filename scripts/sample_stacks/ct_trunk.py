"""The trunk of the CT stack: skin, fat, muscle, spine, ribs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sample_stacks.fields import (
    LONG,
    NOWHERE,
    Field,
    capsule,
    ellipsoid,
    union,
)

if TYPE_CHECKING:
    from sample_stacks.ct_volume import Volume, Window

MIDLINE, SPINE = 179.0, 203.0  # column, and row of the vertebral bodies, in mm
_CENTRE, _AXES = (178.0, MIDLINE), (108.0, 158.0)  # of the trunk: row, column; half axes
_WALL = 13.0  # thickness of the muscles around the cavity
_VERTEBRA, _DISC = 37.0, 8.0  # height with and of the disc


@dataclass(frozen=True, slots=True, eq=False)
class Trunk:
    """Where the layers of the trunk are."""

    window: Window  # the whole volume
    depth: Field  # float32, mm under the skin
    inside: Field  # float32, signed distance to the cavity inside the muscles, in mm


def paint_trunk(volume: Volume) -> Trunk:
    """Paint the skin, the fat and the muscles of the wall."""
    window = volume.whole()
    dy, dx = window.y - np.float32(_CENTRE[0]), window.x - np.float32(_CENTRE[1])
    outline = ellipsoid(NOWHERE, dy, dx, (LONG, *_AXES))
    depth = -np.maximum(outline, dy - np.float32(101))  # it lies on its back
    texture = volume.texture(window)
    volume.paint(window, -depth, 30.0)
    volume.paint(window, 2.6 - depth, -106 + 6 * texture)
    side = np.abs(dx) * np.float32(1 / _AXES[1])
    # The fat is thickest at the sides, the muscle thinnest at the front's midline.
    wall = 15 + 9 * np.square(side) + 3 * volume.noise(window, 60) - depth
    seam = np.exp(-np.square(dx * np.float32(1 / 9))) * (dy < 0)
    layers = np.abs(np.mod(wall + np.float32(0.5) * texture, np.float32(4.3)) - 2)
    planes = np.clip(layers - np.float32(1.4), 0, 1) * np.clip(side * 4 - 1, 0, 1)
    volume.paint(window, wall, 58 + 6 * texture - 75 * planes)
    inside = wall + np.float32(_WALL) - 3 * seam
    volume.paint(window, inside, -103 + 6 * texture)
    return Trunk(window, depth, inside)


def paint_back(volume: Volume, trunk: Trunk) -> None:
    """Paint the muscles beside the spine, and the spine."""
    for side in (-1.0, 1.0):
        for offset, back, axes, grow in (
            (33.0, 8.0, (14.0, 12.0), 0.07),  # psoas: grows from head to foot
            (62.0, 39.0, (7.0, 19.0), 0.02),  # quadratus lumborum
            (31.0, 50.0, (17.0, 27.0), 0.0),  # erector spinae
        ):
            window = volume.box(
                (-1e3, SPINE + back - 40, MIDLINE + side * offset - 45),
                (1e3, SPINE + back + 40, MIDLINE + side * offset + 45),
            )
            swell = np.float32(grow) * (window.z - 110)
            dy = window.y - np.float32(SPINE + back)
            dx = window.x - np.float32(MIDLINE + side * offset) - np.float32(side) * swell
            distance = ellipsoid(NOWHERE, dy, dx, (LONG, *axes)) - swell
            distance = np.maximum(distance, 9 - trunk.depth[window.index])
            grain = volume.texture(window)
            volume.paint(window, distance, 60 + 5 * grain - 60 * np.clip(grain - 1.6, 0, 1))
    _spine(volume)


def _spine(volume: Volume) -> None:
    window = volume.around((97, SPINE + 25, MIDLINE), (1e3, 62, 55))
    dy, dx = window.y - np.float32(SPINE), window.x - np.float32(MIDLINE)
    phase = np.mod(window.z + np.float32(0.12) * dy + 9, np.float32(_VERTEBRA))
    waist = np.float32(2.2) * np.sin(phase * np.float32(np.pi / _VERTEBRA))
    body = ellipsoid(NOWHERE, dy, dx, (LONG, 17, 24)) + waist
    body = np.maximum(body, dy - 14)
    disc = np.abs(phase - _DISC / 2) - np.float32(_DISC / 2)
    bone = np.maximum(body, -disc)
    trabeculae = volume.texture(window)
    level = np.broadcast_to(phase - np.float32(_DISC), window.shape)
    arch = _arch(window, level)
    volume.paint(window, np.maximum(body + 0.5, disc), 92.0)
    for shape, core in ((arch, 260.0), (bone, 205.0)):
        volume.paint(window, shape, 560 + 60 * trabeculae)
        volume.paint(window, shape + np.float32(2.4), core + 45 * trabeculae, blur=2.6)
    canal = ellipsoid(NOWHERE, dy - 25, dx, (LONG, 8.5, 11))
    volume.paint(window, canal, -20.0)
    volume.paint(window, canal + np.float32(2.5), 32.0)


def _arch(window: Window, level: Field) -> Field:
    """Signed distance to pedicles, laminae and processes; ``level`` is mm under the disc."""
    dy, dx = window.y - np.float32(SPINE), np.abs(window.x - np.float32(MIDLINE))
    pedicle = capsule(level, dy, dx, ((8, 10, 15), (9, 26, 16)), 4.8)
    process = capsule(level, dy, dx, ((9, 25, 16), (11, 29, 44)), 3.4)
    lamina = capsule(level, dy, dx, ((14, 29, 15), (20, 41, 1)), 4.0)
    spinous = capsule(level, dy, dx, ((19, 42, 0), (25, 64, 0)), 3.9)
    facet = capsule(level, dy, dx, ((-6, 30, 15), (5, 31, 16)), 6.0)
    facet = np.minimum(facet, capsule(level, dy, dx, ((24, 31, 16), (33, 30, 15)), 6.0))
    joined = union(union(pedicle, process, 3), union(lamina, spinous, 4), 3)
    return union(joined, facet, 3)


def paint_ribs(volume: Volume, trunk: Trunk) -> None:
    """Paint the ribs: tubes that run down and forward within the wall."""
    window = trunk.window
    dy, dx = window.y - np.float32(_CENTRE[0]), window.x - np.float32(_CENTRE[1])
    turn = np.arctan2(np.abs(dx), dy)  # 0 at the back, pi in front
    offset = trunk.inside - np.float32(6.0)
    shell = np.abs(offset) < 9
    forward, across = turn[shell], offset[shell]
    height = np.broadcast_to(window.z, window.shape)[shell]
    distance = np.full(window.shape, 99, np.float32)
    near = np.full(forward.shape, 99, np.float32)
    for number in range(6):
        # The lowest ribs are short: they end at the side and not in front.
        end = (2.5, 2.3, 2.1, 1.9, 1.6, 1.1)[number]
        middle = np.float32(-62 + 31 * number) + np.float32(52) * forward
        tube = np.hypot((height - middle) * np.float32(0.8 / 6.0), across * np.float32(1 / 4.0))
        past = np.maximum(np.abs(forward - np.float32((end + 0.4) / 2)) - (end - 0.4) / 2, 0)
        np.minimum(near, (tube - 1) * np.float32(4.0) + np.float32(90) * past, out=near)
    distance[shell] = near
    volume.paint(window, distance, 480.0)
    volume.paint(window, distance + np.float32(2.0), 170.0)

"""The organs of the CT stack, and what is wrong with two of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from sample_stacks.ct_trunk import MIDLINE, SPINE
from sample_stacks.fields import LONG, NOWHERE, capsule, ellipsoid, step, union

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sample_stacks.ct_trunk import Trunk
    from sample_stacks.ct_volume import Volume

KIDNEY, LIVER, METASTASIS, CYST = range(1, 5)
NAMES = {
    KIDNEY: "right kidney",
    LIVER: "liver",
    METASTASIS: "liver metastasis",
    CYST: "renal cyst",
}


@dataclass(frozen=True, slots=True)
class Bowel:
    """What a piece of bowel is like: radius in mm, and whether it holds gas and stool."""

    radius: float
    gas: bool = True
    stool: bool = False


_LARGE: tuple[tuple[tuple[tuple[int, int, int], ...], Bowel], ...] = (
    (((126, 178, 82), (160, 190, 78), (205, 192, 80)), Bowel(19.0, stool=True)),  # ascending
    (  # transverse colon
        ((122, 160, 84), (112, 116, 104), (128, 96, 150), (116, 96, 205), (100, 112, 250)),
        Bowel(15.5, stool=True),
    ),
    (((-10, 172, 240), (25, 156, 242), (58, 130, 232), (78, 112, 190)), Bowel(32.0)),  # stomach
)
"""Paths (z, y, x) of the large pieces in mm; the later ones lie over the earlier ones."""


def paint_bowel(volume: Volume, trunk: Trunk) -> None:
    """Paint mesenteric vessels, small bowel, colon and stomach into the cavity's fat."""
    window = volume.box((-1e3, 70, 60), (1e3, 240, 300))
    threads = np.hypot(volume.noise(window, 24), volume.noise(window, 24))
    threads = np.maximum((threads - np.float32(0.2)) * 12, trunk.inside[window.index] + 5)
    volume.paint(window, threads, 110.0, blur=3)
    rng = volume.rng
    low, high = (88, 98, 92), (215, 168, 232)  # where the small bowel lies
    for number in range(16):
        steps = np.vstack([rng.uniform(low, high), rng.normal(0, 1, (3, 3)) * (11, 12, 24)])
        _loop(
            volume,
            trunk,
            np.clip(steps.cumsum(axis=0), low, high),
            Bowel(rng.uniform(9.5, 12.5), gas=number % 4 == 0),
        )
    for path, bowel in _LARGE:
        _loop(volume, trunk, np.array(path), bowel)


def _loop(volume: Volume, trunk: Trunk, path: NDArray[np.float64], bowel: Bowel) -> None:
    """Paint a tube along points (n, 3) with its wall, its content and its gas."""
    reach, radius = bowel.radius + 4, bowel.radius
    window = volume.box((path.min(axis=0) - reach).tolist(), (path.max(axis=0) + reach).tolist())
    if 0 in window.shape:
        return
    tube = np.full(window.shape, 99, np.float32)
    for ends in pairwise(path.tolist()):
        tube = union(tube, capsule(window.z, window.y, window.x, ends, radius), 5)
    tube += np.float32(0.11 * radius) * volume.noise(window, 1.3 * radius)
    tube = np.maximum(tube, trunk.inside[window.index] + np.float32(2))
    volume.paint(window, tube, 82.0)
    texture = volume.texture(window)
    content = (-60 + 95 * texture) if bowel.stool else (18 + 7 * texture)
    lumen = tube + np.float32(2.6)
    volume.paint(window, lumen, np.maximum(content, -600))
    if bowel.gas:  # it rises to the front, and its lower border is level
        middle = volume.rng.uniform(path[:, 1].min(), path[:, 1].mean())
        row = volume.axes[1][window.index[1]][:, None]
        level = row - np.float32(middle - 0.25 * radius)
        volume.paint(window, np.maximum(lumen + np.float32(0.6), level), -950.0)


def paint_upper_organs(volume: Volume, trunk: Trunk) -> None:
    """Paint liver, gall bladder, pancreas and the tip of the lung."""
    _liver(volume, trunk)
    window = volume.box((60, 90, 70), (150, 190, 160))
    gall = ellipsoid(*window.about((106, 128, 122)), (26, 17, 13))
    volume.paint(window, gall, 62.0)
    volume.paint(window, gall + np.float32(1.6), 8.0)
    window = volume.box((55, 130, 130), (125, 200, 270))
    head = capsule(window.z, window.y, window.x, ((96, 158, 166), (84, 150, 200)), 9)
    tail = capsule(window.z, window.y, window.x, ((84, 150, 200), (72, 176, 250)), 8)
    pancreas = union(head, tail, 5) + np.float32(1.8) * volume.noise(window, 8)
    volume.paint(window, pancreas, 96 + 12 * volume.texture(window), blur=3)
    window = volume.box((-1e3, 60, 20), (60, 300, 340))
    inside = trunk.inside[window.index]
    recess = np.float32(21) * np.clip(1 - window.z * np.float32(1 / 46), 0, 1) - np.float32(2)
    recess = recess * np.clip((window.y - 110) * np.float32(1 / 90), 0, 1)
    beside = np.float32(34) - np.abs(window.x - np.float32(MIDLINE))
    lung = np.maximum(np.maximum(inside + 2, -(inside + 2 + recess)), beside)
    volume.paint(window, lung, -860 + 30 * volume.texture(window))


def _liver(volume: Volume, trunk: Trunk) -> None:
    window = volume.box((-1e3, 60, 20), (165, 290, 250))
    right = ellipsoid(*window.about((35, 165, 78)), (122, 92, 82))
    left = ellipsoid(*window.about((18, 122, 168)), (68, 40, 74))
    liver = union(right, left, 22) + np.float32(2.0) * volume.noise(window, 40)
    liver = np.maximum(liver, trunk.inside[window.index] + np.float32(3))
    hollow = ellipsoid(*window.about((60, 196, 172)), (LONG, 38, 52))  # for spine and vessels
    liver = -union(-liver, hollow, 8)
    volume.paint(window, liver, 118 + 4 * volume.texture(window), label=LIVER)
    vessels = np.hypot(volume.noise(window, 38), volume.noise(window, 38))
    vessels = np.maximum((vessels - np.float32(0.22)) * 20, liver + 9)
    volume.paint(window, vessels, 172.0, label=None, blur=3)


def paint_kidney(volume: Volume) -> None:
    """Paint the right kidney in its fat, with its pelvis and vessels."""
    centre = (127.0, SPINE + 3, MIDLINE - 72)
    window = volume.around(centre, (72, 55, 55))
    dz, dy, dx = window.about(centre)
    # The upper pole is nearer to the spine, and further back.
    dx = -dx - np.float32(0.2) * dz
    dy = dy + np.float32(0.14) * dz
    cos, sin = np.float32(0.82), np.float32(0.57)
    u, v = dx * cos + dy * sin, dy * cos - dx * sin  # u: away from the hilum
    body = ellipsoid(dz, v, u, (54, 30, 24)) + np.float32(1.2) * volume.noise(window, 20)
    sinus = ellipsoid(dz, v, u + 21, (24, 7, 16)) + np.float32(1.6) * volume.noise(window, 11)
    kidney = -union(-body, sinus, 5)
    volume.paint(window, body - np.float32(9), -104 + 6 * volume.texture(window), blur=5)
    pyramids = np.clip(volume.noise(window, 13) + np.float32(0.2), 0, 1)
    pyramids *= step(kidney + np.float32(7), 3)
    volume.paint(window, kidney, 196 - 46 * pyramids, label=KIDNEY)
    inner = np.maximum(sinus + np.float32(2), body)
    pelvis = ellipsoid(dz - 4, v, u + 19, (15, 4.5, 11))
    volume.paint(window, np.maximum(inner, pelvis), 26.0)
    artery = capsule(dz, v, u, ((-9, 2, -6), (-7, 3, -42)), 3.4)
    vein = capsule(dz, v, u, ((3, -4, -8), (0, -6, -40)), 4.2)
    volume.paint(window, np.minimum(artery, vein), 186.0, label=None)


def paint_vessels(volume: Volume) -> None:
    """Paint aorta, inferior vena cava, the portal and the mesenteric vessels."""
    window = volume.around((97, 178, MIDLINE), (1e3, 45, 45))
    dz, dy, dx = window.about((97, SPINE - 26, MIDLINE + 9))
    aorta = np.hypot(dy, dx) - np.float32(10.5) + np.float32(0.012) * dz
    cava = ellipsoid(NOWHERE, dy - 2, dx + 30, (LONG, 9.5, 12.5))
    volume.paint(window, cava, 158.0)
    volume.paint(window, aorta, 226.0)
    plaque = np.maximum(np.abs(aorta + 1) - np.float32(1.1), 13 - 10 * volume.noise(window, 12))
    volume.paint(window, plaque, 640.0)
    artery = capsule(dz, dy, dx, ((-38, -10, 0), (-20, -23, -1)), 3.9)
    artery = np.minimum(artery, capsule(dz, dy, dx, ((-20, -23, -1), (110, -34, -3)), 3.6))
    vein = capsule(dz, dy, dx, ((-22, -27, -12), (110, -36, -15)), 5.2)
    splenic = capsule(dz, dy, dx, ((-22, -27, -12), (-34, -26, 36)), 4.4)
    volume.paint(window, np.minimum(vein, splenic), 176.0)
    volume.paint(window, artery, 214.0)


def paint_lesions(volume: Volume) -> None:
    """Paint a metastasis in the liver and a cyst on the right kidney, seven slices each."""
    centre = (65.0, 176.0, 74.0)
    window = volume.around(centre, (24, 30, 30))
    ball = ellipsoid(*window.about(centre), (17.5, 19, 17)) + volume.noise(window, 11)
    core = step(ball + np.float32(6), 8)
    value = 50 - 16 * core + 5 * volume.texture(window)
    volume.paint(window, ball, value, label=METASTASIS, blur=2.5)
    centre = (140.0, SPINE + 17, MIDLINE - 96)
    window = volume.around(centre, (24, 30, 30))
    ball = ellipsoid(*window.about(centre), (17.5, 15, 16))
    ball += np.float32(0.7) * volume.noise(window, 14)
    volume.paint(window, ball, 7.0, label=CYST)

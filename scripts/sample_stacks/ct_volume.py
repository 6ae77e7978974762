"""A volume in millimetres that shapes are painted into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sample_stacks.fields import Field, smooth_noise, step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SHAPE = (40, 208, 192)
SCALE = (5.0, 1.0, 1.0)
_CORNER = (0.0, 76.0, 13.0)  # the first voxel in the trunk, in mm
_BLUR = 1.9  # width of a painted edge in mm: partial volume and the scanner's blur
_WARP = 9.0  # no point of the anatomy is moved further than this, in mm


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A box of the volume."""

    index: tuple[slice, slice, slice]  # where it lies in the volume
    z: Field  # float32, coordinates of the anatomy in mm; they broadcast to the box
    y: Field  # float32, coordinates of the anatomy in mm; they broadcast to the box
    x: Field  # float32, coordinates of the anatomy in mm; they broadcast to the box

    @property
    def shape(self) -> tuple[int, int, int]:
        """Planes, rows, columns."""
        planes, rows, columns = (s.stop - s.start for s in self.index)
        return planes, rows, columns

    def about(self, centre: Sequence[float]) -> tuple[Field, Field, Field]:
        """Return z, y, x from a centre (z, y, x)."""
        z, y, x = (np.float32(c) for c in centre)
        return self.z - z, self.y - y, self.x - x


class Volume:
    """Hounsfield units and labels, in slices as thin as a plane.

    The anatomy is drawn in coordinates (z from head to foot, y from front to back, x from
    the patient's right to left, all in mm from the corner) that bend smoothly, so no
    shape in it is quite regular.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.hu: Field = np.full(SHAPE, -1000, np.float32)
        self.labels: NDArray[np.uint8] = np.zeros(SHAPE, np.uint8)
        self.axes = tuple(
            np.arange(n, dtype=np.float32) * np.float32(step) + np.float32(start)
            for n, step, start in zip(SHAPE, SCALE, _CORNER, strict=True)
        )
        self._z = self.axes[0][:, None, None]
        self._y = self.axes[1][:, None] + self._bend()
        self._x = self.axes[2][None, :] + self._bend()
        self._texture = smooth_noise(rng, self.hu.shape, (20, 42, 38))

    def _bend(self) -> Field:
        """Draw a displacement in mm, of the volume's shape."""
        bend = smooth_noise(self.rng, self.hu.shape, (3, 4, 4))
        bend *= np.float32(2.4)
        bend += np.float32(0.6) * smooth_noise(self.rng, self.hu.shape, (8, 12, 12))
        return np.clip(bend, -_WARP, _WARP, out=bend)

    def whole(self) -> Window:
        """Return the whole volume as a window."""
        return self.box((-1e3, -1e3, -1e3), (1e3, 1e3, 1e3))

    def box(self, low: Sequence[float], high: Sequence[float]) -> Window:
        """Return the part of the volume that holds all anatomy of a box."""
        margins = (0.0, _WARP, _WARP)
        spans = []
        for axis, a, b, m in zip(self.axes, low, high, margins, strict=True):
            start, stop = np.searchsorted(axis, [a - m - _BLUR, b + m + _BLUR])
            spans.append(slice(int(start), int(stop)))
        index = (spans[0], spans[1], spans[2])
        return Window(index, self._z[index[0]], self._y[index], self._x[index])

    def around(self, centre: Sequence[float], reach: Sequence[float]) -> Window:
        """Return a window by its centre and its reach along z, y, x, in mm."""
        return self.box(np.subtract(centre, reach).tolist(), np.add(centre, reach).tolist())

    def paint(
        self,
        window: Window,
        distance: Field,
        value: Field | float,
        *,
        label: int | None = 0,
        blur: float = _BLUR,
    ) -> None:
        """Put a shape over what is there."""
        under = self.hu[window.index]
        under += step(distance, blur) * (value - under)
        if label is not None:
            self.labels[window.index][distance < 0] = label

    def texture(self, window: Window) -> Field:
        """Return the grain that all tissue shares: features of 5 mm, mean 0, variance 1."""
        return self._texture[window.index]

    def noise(self, window: Window, size: float) -> Field:
        """Draw a smooth field over a window."""
        cells = [max(1, round(n * v / size)) for n, v in zip(window.shape, SCALE, strict=True)]
        return smooth_noise(self.rng, window.shape, cells)

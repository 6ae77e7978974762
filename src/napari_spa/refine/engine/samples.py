"""The masks that a round samples over a view, and how they stand to the image and prompts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from napari_spa.core.measures import dice
from napari_spa.core.obedience import box_pixels, log_likelihood
from napari_spa.core.types import BoolArray, Box, Click, DoubleArray, FloatArray, LocalMask, Region

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_spa.model.spa import SpaConfig
    from napari_spa.refine.engine.view import FieldOfView


SIZE_REACH = 1.2  # the boundary offset of the ends of the size axis, in units of the logits' spread
_HALVINGS, _NOISE = 6, 0.005
"""A shift of the boundary is looked for by so many halvings; it counts from so much Dice on."""
_ENOUGH_PIXELS = 4096
"""So many pixels around an object tell how large it is."""


@dataclass(frozen=True, slots=True, eq=False)
class Reach:
    """What the samples of a view can say at all."""

    view: FieldOfView  # where they lie
    on: BoolArray  # (h, w), where some sample is object, and where some is background
    off: BoolArray

    def allows(self, click: Click) -> bool:
        """Whether some sample says what a click does, or nearly there: within one pixel.

        Beyond the view is background.
        """
        size = self.on.shape[0]
        x, y = self.view.to_model(click.row, click.column, size)
        row, column = round(y), round(x)
        if not (0 <= row < size and 0 <= column < size):
            return click.label == 0
        said = self.on if click.label == 1 else self.off
        near = said[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        return bool(near.any())


@dataclass(frozen=True, slots=True, eq=False)
class Lead:
    """A mask that leads the recommendation: the network's own answer to a click, or a pick."""

    logits: FloatArray  # (4h, 4w), over the samples' view
    share: float  # what it counts for in the mean, rather than all samples together


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """The masks that were sampled over a view."""

    view: FieldOfView  # where they lie
    logits: FloatArray  # (N, 4h, 4w)
    probabilities: FloatArray
    shares: DoubleArray  # (N,), what each counts for, sum 1
    quality: FloatArray  # (N,), the IoU that the network itself expects of each
    spread: FloatArray  # (N,), of each the unit of a boundary offset, in logits
    lead: Lead | None = None  # what counts beside the samples

    def grown(self, shift: float) -> Samples:
        """Return the same samples with their boundaries so much further out."""
        by = shift * self.spread
        logits = self.logits + by.astype(np.float32)[:, None, None]
        lead = self.lead
        if lead is not None:
            lead = replace(lead, logits=lead.logits + np.float32(self.shares @ by))
        return replace(self, logits=logits, probabilities=expit(logits), lead=lead)

    def shift_to(self, wanted: LocalMask, config: SpaConfig, near: Region, most: float) -> float:
        """Return how far out the boundaries lie where the recommendation is most like a mask.

        The shift in [-most, most] at which the mask of the mean has the greatest Dice with
        ``wanted`` inside a rectangle of the image; 0 where no shift brings it nearer.  A part that
        was cut off, or added at one place, is no reason to move the boundary everywhere.
        """
        part, places = self._inside(near)
        rows, columns = (np.clip(np.round(at).astype(int), 0, None) for at in places)
        low, high = (near.row, near.column), near.ends
        rows, columns = np.clip(rows, low[0], high[0] - 1), np.clip(columns, low[1], high[1] - 1)
        target = wanted.within(near)[np.ix_(rows - low[0], columns - low[1])]

        def loss(shift: float) -> tuple[float, float]:
            mean, threshold = part.grown(shift).mean(config)
            return 1.0 - dice(mean > threshold, target), abs(shift)

        best = min((-most, -most / 2, 0.0, most / 2, most), key=loss)
        step = most / 2
        for _ in range(_HALVINGS):
            step /= 2
            around = (best, best - step, best + step)
            best = min((shift for shift in around if abs(shift) <= most), key=loss)
        return best if loss(best)[0] < loss(0.0)[0] - _NOISE else 0.0

    def _inside(self, near: Region) -> tuple[Samples, tuple[DoubleArray, DoubleArray]]:
        """Return what lies in a rectangle of the image; of many pixels every few.

        With it come the rows and the columns of the image at which its rows and columns lie.
        """
        size = self.logits.shape[-1]
        rows, columns = box_pixels(SampleGrid(self.view, size).box(near.box), (size, size))
        height, width = (s.stop - s.start for s in (rows, columns))
        step = max(1, math.isqrt(height * width // _ENOUGH_PIXELS))
        cut = (slice(None), *(slice(s.start, s.stop, step) for s in (rows, columns)))
        lead = self.lead
        if lead is not None:
            lead = replace(lead, logits=lead.logits[cut[1:]])
        part = replace(
            self, logits=self.logits[cut], probabilities=self.probabilities[cut], lead=lead
        )
        view, every = self.view, np.arange(size) + 0.5
        places = (
            every[cut[1]] / size * view.height + view.row - 0.5,
            every[cut[2]] / size * view.width + view.column - 0.5,
        )
        return part, places

    @property
    def reach(self) -> Reach:
        """What some sample says, pixel by pixel."""
        highest, lowest = self.probabilities.max(axis=0), self.probabilities.min(axis=0)
        return Reach(self.view, highest > 0.5, lowest <= 0.5)

    def mean(self, config: SpaConfig) -> tuple[FloatArray, float]:
        """Return the mean that a model recommends by, in [0, 1], and its threshold."""
        if config.rules.mean_of == "logit":
            # A threshold on the mean logit is one on its sigmoid: the map stays in [0, 1].
            mean = expit(np.tensordot(self.shares, self.logits, axes=1))
            return mean.astype(np.float32), float(expit(config.rules.threshold))
        mean = np.tensordot(self.shares, self.probabilities, axes=1)
        if self.lead is not None:
            mean += self.lead.share * (expit(self.lead.logits) - mean)
        return mean.astype(np.float32), config.rules.threshold


def prompt_likelihood(
    probabilities: FloatArray, view: FieldOfView, clicks: Sequence[Click], box: Box | None
) -> DoubleArray:
    """How likely masks ``(N, 4h, 4w)`` over a view are at the prompts, as a logarithm, ``(N,)``.

    Clicks and box are in image pixels; zeros without any.
    """
    grid = SampleGrid(view, probabilities.shape[-1])
    places = grid.places(np.array([(c.row, c.column) for c in clicks]).reshape(-1, 2))
    labels = np.array([c.label == 1 for c in clicks], dtype=bool)
    return log_likelihood(probabilities, places, labels, None if box is None else grid.box(box))


class SampleGrid:
    """Where image pixels lie on the samples' grid over a view."""

    def __init__(self, view: FieldOfView, size: int) -> None:
        self._scale = np.array([size / view.height, size / view.width])
        self._corner = np.array([view.row, view.column])

    def places(self, pixels: NDArray[np.int64] | DoubleArray) -> DoubleArray:
        """Bring positions to the grid; pixel centres are whole numbers on both."""
        places: DoubleArray = (pixels + 0.5 - self._corner) * self._scale - 0.5
        return places

    def box(self, box: Box) -> Box:
        """Bring a box to the grid."""
        corners = np.array([[box.row0, box.column0], [box.row1, box.column1]])
        (row0, column0), (row1, column1) = (corners - self._corner) * self._scale
        return Box(float(row0), float(column0), float(row1), float(column1))

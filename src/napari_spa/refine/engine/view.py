"""Fields of view: square windows of an image that a model looks at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from napari_spa.core.transforms import IntensityRange, standardise, stretch
from napari_spa.core.types import Box, Click, FloatArray, Prompts, Region
from napari_spa.refine.engine.image_plane import ImagePlane

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


_MOST_READ = 8
_GRID, _KEPT_BYTES = 512, 64 * 2**20
_ROOM, _SPECK = 0.03, 0.1
"""A box has this share of the view around it, and its longer side is at least this of it."""
LARGEST_VIEW = 4096.0
"""Side of the largest window of an image that is too large to be read whole, in pixels."""


@dataclass(frozen=True, slots=True)
class FieldOfView:
    """A rectangle of the image that fills a model's square input.

    It may reach over the image's edge.  Square for windows; a whole image that is
    squashed or padded into the input is a view too.
    """

    row: float  # upper left corner, in pixels from the image's corner (a pixel is 1 x 1)
    column: float
    height: float  # extent in image pixels
    width: float

    @classmethod
    def around(cls, row: float, column: float, side: float) -> FieldOfView:
        """Return the square window of a side around a centre."""
        return cls(row - side / 2, column - side / 2, side, side)

    @property
    def centre(self) -> tuple[float, float]:
        """Row and column of its middle, in pixels from the image's corner."""
        return self.row + self.height / 2, self.column + self.width / 2

    def inside(self, shape: tuple[int, int]) -> FieldOfView:
        """Shift into the image where it fits; centre over the image where it does not."""

        def shift(start: float, extent: float, limit: int) -> float:
            if extent >= limit:
                return (limit - extent) / 2
            return float(np.clip(start, 0, limit - extent))

        return FieldOfView(
            shift(self.row, self.height, shape[0]),
            shift(self.column, self.width, shape[1]),
            self.height,
            self.width,
        )

    def region(self, shape: tuple[int, int]) -> Region:
        """Return the whole pixels of the image that the view touches."""
        top, left = max(0, int(np.floor(self.row))), max(0, int(np.floor(self.column)))
        bottom = min(shape[0], int(np.ceil(self.row + self.height)))
        right = min(shape[1], int(np.ceil(self.column + self.width)))
        return Region(top, left, bottom - top, right - left)

    def inner_sides(self, shape: tuple[int, int]) -> tuple[bool, bool, bool, bool]:
        """Tell beyond which sides the image goes on: top, bottom, left and right."""
        bottom, right = self.row + self.height, self.column + self.width
        return self.row > 0, bottom < shape[0], self.column > 0, right < shape[1]

    def to_model(self, row: float, column: float, size: int) -> tuple[float, float]:
        """Map an image position to (x, y) in model pixels, pixel centres at whole numbers."""
        x = (column + 0.5 - self.column) / self.width * size - 0.5
        y = (row + 0.5 - self.row) / self.height * size - 0.5
        return x, y

    def to_image(self, x: float, y: float, size: int) -> tuple[float, float]:
        """Map (x, y) in model pixels to an image position (row, column)."""
        row = (y + 0.5) / size * self.height + self.row - 0.5
        column = (x + 0.5) / size * self.width + self.column - 0.5
        return row, column

    def contains(self, row: float, column: float, *, margin: float = 0.0) -> bool:
        """Whether a position lies in the view, a share of its extent from the edge."""
        rows, columns = margin * self.height, margin * self.width
        return (
            self.row + rows <= row + 0.5 <= self.row + self.height - rows
            and self.column + columns <= column + 0.5 <= self.column + self.width - columns
        )

    def shows(self, click: Click) -> bool:
        """Whether a click lies in the view, and so does the pixel that it means."""
        row, column = click.pixel
        return (
            self.contains(click.row, click.column)
            and row < self.row + self.height
            and column < self.column + self.width
        )


class ImageSampler:
    """An image that is read window by window at the model's resolution.

    It is (H, W) or (H, W, C) of any real type, kept by reference and never changed; ``InputError``
    when it is empty, not 2D, not real or without a finite pixel.
    """

    def __init__(self, image: ArrayLike | ImagePlane) -> None:
        image_plane = ImagePlane.of(image)
        # Of a plane on disk each window would be read again; all of it is quicker.
        self.image_plane = image_plane.loaded() if image_plane.small else image_plane
        self.intensity: IntensityRange = self.image_plane.intensity()
        self.shape: tuple[int, int] = self.image_plane.shape
        self._blocks: dict[int, tuple[Region, NDArray[np.generic]]] = {}  # read last, by level

    def shows(self, image_plane: ImagePlane) -> bool:
        """Whether it shows the very same as another picture, as far as that is read whole.

        Of one that is too large the arrays have to be the same, too.
        """
        own, other = self.image_plane, image_plane
        for name in ("shape", "channels", "limits", "shown"):
            if getattr(own, name) != getattr(other, name):
                return False
        if [*map(len, own.levels)] != [*map(len, other.levels)]:
            return False
        pairs = zip(own.levels[0], other.levels[0], strict=True)
        same = other.small or all(a.array is b.array and a.plane == b.plane for a, b in pairs)
        return same and self.fingerprint == other.fingerprint()

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the pixels; see :meth:`ImagePlane.fingerprint`."""
        return self.image_plane.fingerprint()

    @property
    def largest_view(self) -> float:
        """Side of the largest window that may be read without waiting, in pixels."""
        side = float(max(self.shape))
        return side if self.image_plane.small else min(side, LARGEST_VIEW)

    def read(self, view: FieldOfView, size: int) -> FloatArray:
        """Read a view as (S, S, 3) float32 in [0, 1]; the edge is repeated outside.

        Bytes and what a user limits keep their range; all else is stretched by what the view
        holds, so that an object looks the same whatever else there is in the image.
        """
        # A far view is read from a coarser level or with a stride, then averaged down to
        # between one and two times the size, then sampled bilinearly: as in training.
        level = self.image_plane.level_for(view.height, view.width, size)
        row_factor, column_factor = self.image_plane.factors(level)
        view = FieldOfView(
            view.row / row_factor,
            view.column / column_factor,
            view.height / row_factor,
            view.width / column_factor,
        )
        shape = self.image_plane.levels[level][0].shape
        rows, row_step = _positions(view.row, view.height, size, shape[0])
        columns, column_step = _positions(view.column, view.width, size, shape[1])
        top, left = int(rows[0]), int(columns[0])
        region = Region.between(top, left, int(rows[-1]) + 1, int(columns[-1]) + 1)
        block = self._block(level, region)
        for axis, (places, step) in enumerate(((rows, row_step), (columns, column_step))):
            if step > 1 or len(places) != block.shape[axis]:  # repeated beyond the image's edge
                block = block.take(places - places[0], axis=axis)
        pixels = self.intensity.scale(block)
        stack = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
        factors = (max(1, len(rows) // size), max(1, len(columns) // size))
        h, w = len(rows) // factors[0] * factors[0], len(columns) // factors[1] * factors[1]
        stack = functional.avg_pool2d(stack[..., :h, :w], factors)
        steps = (torch.arange(size, dtype=torch.float64) + 0.5) / size
        y = (view.row + steps * view.height - float(rows_start(view.row))) / (row_step * h) * 2 - 1
        first = float(rows_start(view.column))
        x = (view.column + steps * view.width - first) / (column_step * w) * 2 - 1
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)[None].float()
        out = functional.grid_sample(stack, grid, padding_mode="border", align_corners=False)
        result: FloatArray = out[0].permute(1, 2, 0).contiguous().numpy()
        if self.intensity.fixed:
            return result
        return stretch(result, each=len(self.image_plane.levels[0]) > 1)

    def _block(self, level: int, region: Region) -> NDArray[np.generic]:
        """Read a rectangle, or take it from the last one of its level that holds it.

        The windows around a click lie within each other.  An image in chunks reads and
        unpacks whole ones for each, so there what surrounds a window is read along with it.
        """
        if self.image_plane.in_memory:
            return self.image_plane.read(*region.slices, level)
        block, pixels = self._blocks.get(level, (Region(0, 0, 0, 0), np.empty(0)))
        if block.with_all_of(region) != block:
            reader = self.image_plane.levels[level][0]
            grid = _GRID if hasattr(reader.array, "chunks") else 1
            top, left = region.row // grid * grid, region.column // grid * grid
            bottom, right = (-(-end // grid) * grid for end in region.ends)
            whole = Region(0, 0, *reader.shape)
            block = Region.between(top, left, bottom, right).common(whole)
            pixels = self.image_plane.read(*block.slices, level)
            if pixels.nbytes <= _KEPT_BYTES:
                self._blocks[level] = block, pixels
        return pixels[region.slices_in(block)]

    def pixels(self, view: FieldOfView, size: int) -> FloatArray:
        """Read a view and standardise it, ``(S, S, 3)`` float32."""
        return standardise(self.read(view, size))


def _positions(start: float, extent: float, size: int, limit: int) -> tuple[NDArray[np.int64], int]:
    first = rows_start(start)
    last = int(np.ceil(start + extent)) + 1
    step = max(1, int(extent / (_MOST_READ * size)))
    positions = np.arange(first, max(last, first + 1), step, dtype=np.int64)
    return np.clip(positions + step // 2, 0, limit - 1), step


def rows_start(start: float) -> int:
    """Return the first whole pixel that bilinear sampling of a view touches."""
    return int(np.floor(start)) - 1


def view_around(
    sampler: ImageSampler, region: Box | Region, *, context: float, smallest: float
) -> FieldOfView:
    """Return the window that shows a box, or a mask's rectangle, with its surroundings.

    ``context`` times as wide and at least ``smallest`` pixels; moved into the image, and not
    larger than may be read.
    """
    region = region.box if isinstance(region, Region) else region
    extent = max(region.row1 - region.row0, region.column1 - region.column0)
    side = max(smallest, context * min(extent, sampler.largest_view))
    row, column = (region.row0 + region.row1) / 2, (region.column0 + region.column1) / 2
    return FieldOfView.around(row, column, side).inside(sampler.shape)


def fits(view: FieldOfView, box: Box, shape: tuple[int, int]) -> bool:
    """Whether a view shows a box with some of its surroundings, and not as a speck."""
    whole = FieldOfView(0.0, 0.0, float(shape[0]), float(shape[1]))
    for row, column in box.corners:
        # Where the image ends there are no surroundings to show.
        inner = whole.contains(row, column, margin=_ROOM)
        if not view.contains(row, column, margin=_ROOM if inner else 0.0):
            return False
    extent = max(box.row1 - box.row0, box.column1 - box.column0)
    return extent >= _SPECK * view.height


def holding(view: FieldOfView, prompts: Prompts) -> FieldOfView:
    """Grow a view until it holds every click with a small margin."""
    if not prompts.clicks:
        return view
    rows = [c.row + 0.5 for c in prompts.clicks]
    columns = [c.column + 0.5 for c in prompts.clicks]
    row, column = view.centre
    reach = max(max(abs(r - row) for r in rows), max(abs(c - column) for c in columns))
    return FieldOfView.around(row, column, max(view.height, 2.2 * reach))


def widen(view: FieldOfView, prompts: Prompts, shape: tuple[int, int]) -> FieldOfView:
    """Return a view that also holds the latest prompts; the same one when it already does.

    There is at least one click, or a box; ``shape`` are rows and columns of the image.
    """
    corners = [(float(r), float(c)) for stroke in prompts.strokes for r, c in stroke.path]
    if prompts.box is not None:
        corners += prompts.box.corners
    if all(map(view.shows, prompts.clicks)) and all(view.contains(*place) for place in corners):
        return view
    corners += [(c.row, c.column) for c in prompts.clicks]
    rows = [view.row, view.row + view.height, *(r + 0.5 for r, _ in corners)]
    columns = [view.column, view.column + view.width, *(c + 0.5 for _, c in corners)]
    side = 1.1 * max(max(rows) - min(rows), max(columns) - min(columns))
    centre = ((max(rows) + min(rows)) / 2, (max(columns) + min(columns)) / 2)
    return FieldOfView.around(*centre, side).inside(shape)

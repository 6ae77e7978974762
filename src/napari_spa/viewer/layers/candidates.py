"""The four candidates as Shapes layers: their differences from the recommendation, as polygons."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Shapes
from psygnal import Signal

from napari_spa.core.presentation import ADDED_COLOUR, REMOVED_COLOUR
from napari_spa.viewer.layers.mask import add_quietly, place_layer, space_on_show
from napari_spa.viewer.layers.planes import zoom_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_spa.core.plane import Plane
    from napari_spa.core.types import BoolArray, Candidate, DoubleArray

_logger = logging.getLogger(__name__)

# How far a border may lie from the pixels' edges, in rows.  Less than a half: so it passes
# every pixel's centre on the right side, and the borders of a piece do not cross.
_TOLERANCE = 0.45
_PIECE = 60  # vertices that take napari as long as one polygon more
_FEWEST = 100
_LONGEST = 4000  # vertices of a candidate's border, beyond which some are left out


def mask_polygons(
    mask: BoolArray, origin: tuple[int, int] = (0, 0), *, most: int | None = None, axis: int = 1
) -> list[DoubleArray]:
    """Outline a mask, (H, W), as polygons without holes, (N, 2) float64 (row, column) each.

    Pixel centres are at whole numbers, ``origin`` is that of the mask's first pixel.  The polygons
    overlap nowhere, and each column (each row for axis 0, the one that runs across the screen of a
    transposed view) meets each of them in one stretch at most: forks and holes are where
    triangulations go wrong.  Exactly the pixels of the mask have their centres inside; but where
    there were more than ``most`` vertices (and 100; a polygon counts as 60 more), pixels are merged
    until there are not.
    """
    if axis == 0:
        turned = mask_polygons(mask.T, origin[::-1], most=most)
        return [polygon[:, ::-1] for polygon in turned]
    block, merged = 1, mask
    while True:
        polygons = [_outline(*piece) * block + (block - 1) / 2 for piece in _pieces(merged)]
        effort = sum(len(polygon) + _PIECE for polygon in polygons)
        if most is None or effort <= max(most, _FEWEST) or merged.size == 1:
            return [polygon + np.array(origin, dtype=float) for polygon in polygons]
        # Noise has a fourth of the vertices when its blocks are twice as large.
        block = max(block + 1, int(block * np.sqrt(effort / max(most, _FEWEST))))
        merged = _merged(mask, block)


def border_lines(
    mask: BoolArray, other: BoolArray, origin: tuple[int, int] = (0, 0)
) -> tuple[list[DoubleArray], list[bool]]:
    """Return a mask's border as lines, without the parts that are another mask's border too.

    Both masks are (H, W), ``origin`` is their first pixel's place in the image.  A line is (N, 2)
    float64 (row, column), N of 2 or more, and passes between pixels' centres; with it comes whether
    it lies inside of the other mask.
    """
    from skimage.measure import find_contours

    lines: list[DoubleArray] = []
    inside: list[bool] = []
    contours = find_contours(np.pad(mask, 1).astype(np.uint8), 0.5)
    step = 1 + sum(map(len, contours)) // _LONGEST
    around = np.pad(other, 1)
    for contour in contours:
        # Each vertex lies half way between two neighbours, one of them in the mask.
        low, high = np.floor(contour).astype(int), np.ceil(contour).astype(int)
        first, second = around[low[:, 0], low[:, 1]], around[high[:, 0], high[:, 1]]
        kind = np.where(first != second, 2, first)  # 2 where both masks end
        stops = np.flatnonzero(np.diff(kind)) + 1
        for start, stop in pairwise([0, *stops.tolist(), len(kind)]):
            if kind[start] == 2:
                continue
            line = contour[max(start - 1, 0) : stop + 1]  # up to the border of both
            line = _corners(line)
            line = line[[*range(0, len(line) - 1, step), -1]]
            lines.append(line + np.array(origin, dtype=float) - 1)
            inside.append(bool(kind[start]))
    return lines, inside


def _corners(line: DoubleArray) -> DoubleArray:
    """Leave out what lies on a straight line between its neighbours."""
    steps = np.diff(line, axis=0)
    turns = np.flatnonzero((np.diff(steps, axis=0) != 0).any(axis=1)) + 1
    kept: DoubleArray = line[[0, *turns.tolist(), len(line) - 1]]
    return kept


def _pieces(mask: BoolArray) -> list[tuple[int, NDArray[np.intp]]]:
    """Cut a mask into chains of runs of pixels along columns, one run a column.

    Of each: the first column, and each column's first row and the one after its last, (N, 2).
    """
    padded = np.zeros((mask.shape[1], mask.shape[0] + 2), dtype=np.int8)
    padded[:, 1:-1] = mask.T
    change = np.diff(padded, axis=1)
    column, first = np.nonzero(change == 1)
    runs = np.stack([first, np.nonzero(change == -1)[1]], axis=1)
    # Where each run begins and ends if all columns are put one after another: of the column
    # before, and of the one after, the runs from one number up to another share a row with it.
    height = mask.shape[0] + 1
    starts, stops = (runs + column[:, None] * height).T
    before, after = (
        (np.searchsorted(stops, starts + by, "right"), np.searchsorted(starts, stops + by))
        for by in (-height, height)
    )
    forks = after[1] - after[0] != 1
    piece = np.arange(len(runs))  # by the run that begins it
    for run in np.flatnonzero(before[1] - before[0] == 1):
        if not forks[before[0][run]]:
            piece[run] = piece[before[0][run]]
    order = np.argsort(piece, kind="stable")
    chains = np.split(order, np.flatnonzero(np.diff(piece[order])) + 1) if len(runs) else []
    return [(int(column[chain[0]]), runs[chain]) for chain in chains]


def _outline(start: int, chain: NDArray[np.intp]) -> DoubleArray:
    """Walk around a chain of runs with few vertices, (N, 2) float64."""
    columns = [start - 0.5, *map(float, range(start, start + len(chain))), start + len(chain) - 0.5]
    upper, lower = (_straightened(columns, (chain[:, side] - 0.5).tolist()) for side in (0, 1))
    return np.array(upper + lower[::-1])


def _straightened(columns: list[float], rows: list[float]) -> list[tuple[float, float]]:
    """Replace a border by few straight lines that pass near it at every column.

    From each vertex, the directions that pass all columns so far lie between a lower and a
    higher one; where none is left, the next vertex is set.
    """
    rows = [rows[0], *rows, rows[-1]]
    row, column = rows[0], columns[0]
    vertices = [(row, column)]
    low, high, reached = -np.inf, np.inf, column
    for near, here in zip(rows[1:], columns[1:], strict=True):
        wide = here - column
        down, up = (near - _TOLERANCE - row) / wide, (near + _TOLERANCE - row) / wide
        if max(low, down) > min(high, up):
            row += (low + high) / 2 * (reached - column)
            column = reached
            vertices.append((row, column))
            wide = here - column
            low, high = (near - _TOLERANCE - row) / wide, (near + _TOLERANCE - row) / wide
        else:
            low, high = max(low, down), min(high, up)
        reached = here
    vertices.append((row + (low + high) / 2 * (reached - column), reached))
    return vertices


def _merged(mask: BoolArray, block: int) -> BoolArray:
    """Merge blocks of pixels; a block belongs to the mask when half of it does."""
    height, width = (-(-extent // block) for extent in mask.shape)
    padded = np.zeros((height * block, width * block), dtype=np.float32)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    share: NDArray[np.float32] = padded.reshape(height, block, width, block).mean(axis=(1, 3))
    merged: BoolArray = share >= min(0.5, float(share.max()))
    return merged


def fill_layer(layer: Shapes, drawn: Drawing, *, line: float = 0.0) -> None:
    """Replace all that a layer holds, in one go.

    napari draws a visible layer again at each step of this, so it is not visible meanwhile.
    And it tells the viewer, which then works out for some milliseconds what its sliders
    span: shapes inside the image change nothing about that, so no one is told.
    """
    if not drawn.shapes and not layer.data:
        return
    visible = layer.visible
    with ExitStack() as quiet:
        for event in (layer.events.data, layer.events.features, layer.events.visible):
            quiet.enter_context(event.blocker())
        if not layer.selected_data:  # nothing is highlighted, and each change is compiled again
            quiet.enter_context(layer.events.highlight.blocker())
        layer.visible = False
        layer.data = []
        try:
            if drawn.shapes:
                # In the 3D view napari makes tubes of paths: of one there and back, NaNs.
                with np.errstate(divide="ignore", invalid="ignore"):
                    layer.add(drawn.shapes, **drawn.style(line))
        except RuntimeError:  # a triangulation that a user chose in napari's Preferences
            _logger.exception("napari cannot draw the shapes of %r", layer.name)
            layer.data = []
        layer.visible = visible  # draws it, once
    if not drawn.shapes:  # napari leaves what it last drew of a hidden layer
        layer.thumbnail = np.zeros_like(layer.thumbnail)


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """Polygons to be filled, or lines to be drawn in their place.

    Those of a candidate are float64 (row, column) in image pixels: its difference, and its own
    outline where it differs.  Blue is what it adds, yellow what it removes.
    """

    polygons: Sequence[DoubleArray]  # (N, D) float64 each, not closed; they overlap nowhere
    lines: Sequence[DoubleArray]  # (N, D) float64 each, open
    colours: DoubleArray  # of the polygons, then of the lines, (K, 4) float64, RGBA in [0, 1]
    candidate: Candidate | None = None  # to draw it again in a transposed view

    @property
    def shapes(self) -> list[DoubleArray]:
        """The polygons, and then the lines, there and back so that no one can fill them."""
        return [*self.polygons, *(np.concatenate([line, line[-2::-1]]) for line in self.lines)]

    def style(self, line: float) -> dict[str, Any]:
        """Return how napari is to draw the shapes: lines of a width, or filled polygons."""
        faces = self.colours * [1.0, 1.0, 1.0, float(not line)]
        faces[len(self.polygons) :] = 0
        return {
            "shape_type": ["polygon"] * len(self.polygons) + ["path"] * len(self.lines),
            "edge_width": self.widths(line),
            "edge_color": self.colours,
            "face_color": faces,
        }

    def widths(self, line: float) -> list[float]:
        """Return the width of each shape's edge."""
        return [0.0] * len(self.polygons) + [line] * len(self.lines)


CANDIDATE_NAME = "{}: candidate {}"
CANDIDATES = 4
_LINE = 1.5
"""Width of outlines in pixels of the screen."""

MOST_VERTICES = 16000
"""Vertices of one colour: bermuda, napari's compiled triangulation, takes 3 us for each."""


def draw_candidate(candidate: Candidate, *, axis: int = 1) -> Drawing:
    """Draw what a candidate would change; for the worker."""
    corner = (candidate.region.row, candidate.region.column)
    added, removed = (
        mask_polygons(mask, corner, most=MOST_VERTICES, axis=axis)
        for mask in (candidate.local_added, candidate.local_removed)
    )
    lines, inside = border_lines(candidate.local_mask, candidate.local_recommended, corner)
    removes = np.array([*[False] * len(added), *[True] * len(removed), *inside], dtype=int)
    return Drawing([*added, *removed], lines, _SHADES[removes], candidate)


_SHADES = np.array([(*colour, 255) for colour in (ADDED_COLOUR, REMOVED_COLOUR)]) / 255
_NOTHING = Drawing((), (), np.empty((0, 4)))


class CandidateShapes:
    """The layers of the candidates; held by reference, whatever a user does to them.

    A layer that was deleted is made again when there is something to show.  Whether a
    candidate is shown is one thing, whoever said so last: :meth:`set_visible`, or a user
    with napari's eye icon.  It holds for later rounds, and for a layer that is made again.
    Several that are shown at once are thin outlines; one that is shown alone is filled.
    """

    toggled = Signal(int, bool)  # A user showed or hid a candidate with napari's eye icon

    def __init__(
        self,
        viewer: ViewerModel,
        image: Image,
        *,
        under: Callable[[], object] = lambda: None,
    ) -> None:
        self._viewer, self._image = viewer, image
        self._under = under  # the layer that new ones are put under, if it is there
        self._layers: list[Shapes | None] = [None] * CANDIDATES
        self._drawn: list[Drawing] = [_NOTHING] * CANDIDATES
        self._wanted = [True] * CANDIDATES
        self._lines = [0.0] * CANDIDATES  # the width that outlines were drawn with
        self._opacity: list[float | None] = [None] * CANDIDATES  # of those that are dimmed
        self._solo: int | None = None
        self._hidden = False
        self._ours = False

    @property
    def layers(self) -> tuple[Shapes | None, ...]:
        """The layers in order, None where one is not in the viewer."""
        there = self._viewer.layers
        return tuple(layer if layer in there else None for layer in self._layers)

    @property
    def visible(self) -> tuple[bool, ...]:
        """Which candidates are to be shown when none is shown alone."""
        return tuple(self._wanted)

    def owns(self, layer: object) -> bool:
        """Tell whether a layer is one of these."""
        return layer is not None and any(layer is mine for mine in self._layers)

    def take_over(self, others: CandidateShapes) -> None:
        """Use the layers of an image that was left; what a user did to them holds."""
        self._wanted = list(others.visible)
        others.solo(None)
        for index, layer in enumerate(others.layers):
            others.let_go(index)
            if layer is not None:
                place_layer(layer, space_on_show(self._viewer, self._image))
                self._listen(index, layer)
        self._apply()

    def place(self) -> None:
        """Put the layers where the image is, in the channel on show."""
        for layer in self.layers:
            if layer is not None:
                place_layer(layer, space_on_show(self._viewer, self._image))
        self.fit_lines()

    def let_go(self, index: int) -> None:
        """Listen to a layer no more; it stays in the viewer."""
        layer = self._layers[index]
        if layer is not None:
            layer.events.visible.disconnect(self._on_visible)
        self._layers[index] = self._opacity[index] = None

    def make(self) -> Iterator[None]:
        """Add the layers that are not there, one a step, and draw it in the next.

        napari takes its time for each.  It is shown also where the next step does not come:
        the iterator has to be closed.
        """
        for index in range(CANDIDATES):
            if self.layers[index] is None:
                self._make(index, visible=False)
                try:
                    yield
                finally:
                    self._apply()
                yield

    def steps(self, plane: Plane, drawn: Sequence[Drawing]) -> Iterator[None]:
        """Show a round, layer by layer; in between, the window may live."""
        for index in range(CANDIDATES):
            layer = self.layers[index]
            if layer is None and index < len(drawn):
                layer = self._make(index)
            if layer is not None:
                there = index < len(drawn)
                shown = _placed(plane, drawn[index], self._transposed) if there else _NOTHING
                self._fill(index, layer, shown)
            yield

    def clear(self) -> None:
        """Empty the layers; they stay, as making one takes much longer than filling it."""
        for index, layer in enumerate(self.layers):
            if layer is not None:
                self._fill(index, layer, _NOTHING)

    def remove(self) -> None:
        """Take the layers out of the viewer; what is to be shown is remembered."""
        for layer in self.layers:
            if layer is not None:
                self._viewer.layers.remove(layer)
        for index in range(CANDIDATES):
            self.let_go(index)

    def set_visible(self, index: int, visible: bool) -> None:
        """Show or hide a candidate, in later rounds too."""
        self._wanted[index] = visible
        self._apply()

    def solo(self, index: int | None) -> None:
        """Show one candidate alone for now, say while the mouse is over its card."""
        self._solo = index
        self._apply()

    def set_hidden(self, hidden: bool) -> None:
        """Show none for now, whichever are to be shown."""
        self._hidden = hidden
        self._apply()

    def fit_lines(self) -> None:
        """Draw outlines as wide as they are to be on the screen now."""
        line = self._wanted_line()
        for index, (layer, drawn) in enumerate(zip(self.layers, self._drawn, strict=True)):
            before = self._lines[index]
            if layer is None or not self._shown(index) or line == before:
                continue
            self._lines[index] = line
            # Where a user changed the shapes, they stay as they are.
            if drawn.shapes and len(layer.data) == len(drawn.shapes):
                layer.edge_width = drawn.widths(line)
                if bool(before) != bool(line):
                    layer.face_color = drawn.style(line)["face_color"]
                else:
                    layer.events.edge_width()  # napari draws it again only when told

    @property
    def _transposed(self) -> bool:
        displayed = self._viewer.dims.displayed
        return bool(displayed[-2] > displayed[-1])

    def _make(self, index: int, *, visible: bool = True) -> Shapes:
        self.let_go(index)  # one that a user deleted
        layer = Shapes(
            ndim=self._image.ndim,
            name=CANDIDATE_NAME.format(self._image.name, index + 1),
            opacity=0.8,
            visible=visible and self._shown(index),
            **space_on_show(self._viewer, self._image),
        )
        self._listen(index, layer)
        self._dim(index, layer)
        add_quietly(self._viewer, layer, under=self._under())
        return layer

    def _fill(self, index: int, layer: Shapes, drawn: Drawing) -> None:
        self._drawn[index], self._lines[index] = drawn, self._wanted_line()
        fill_layer(layer, drawn, line=self._lines[index])

    def _wanted_line(self) -> float:
        """Return the width of outlines in the data's pixels now; 0 for one that is filled."""
        if sum(map(self._shown, range(CANDIDATES))) == 1:
            return 0.0
        scale = np.abs(self._image.scale[-2:]).min()
        return float(_LINE / (zoom_of(self._viewer, self._image.units) * scale))

    def _listen(self, index: int, layer: Shapes) -> None:
        layer.events.visible.connect(self._on_visible)
        self._layers[index] = layer

    def _shown(self, index: int) -> bool:
        if self._hidden:
            return False
        return self._wanted[index] if self._solo is None else self._solo == index

    def _apply(self) -> None:
        self._ours = True
        try:
            self.fit_lines()
            for index, layer in enumerate(self.layers):
                if layer is None:
                    continue
                # One that another is shown alone in place of is only made transparent: when
                # layers come and go napari builds its scene again.
                there = self._wanted[index] or self._solo == index
                if layer.visible != (there and not self._hidden):
                    layer.visible = there and not self._hidden
                self._dim(index, layer)
        finally:
            self._ours = False

    def _dim(self, index: int, layer: Shapes) -> None:
        """Make a layer transparent while another one is shown alone."""
        dimmed = self._solo not in (None, index)
        if dimmed and self._opacity[index] is None:
            self._opacity[index], layer.opacity = layer.opacity, 0.0
        elif not dimmed and (before := self._opacity[index]) is not None:
            self._opacity[index], layer.opacity = None, before

    def _on_visible(self, event: Any) -> None:
        """Remember what a user wants to see."""
        if not self._ours:
            for index, layer in enumerate(self._layers):
                if layer is not None and layer is event.source:
                    self._wanted[index] = layer.visible
                    self.fit_lines()
                    self.toggled.emit(index, layer.visible)


def _placed(plane: Plane, drawn: Drawing, transposed: bool) -> Drawing:
    """Place polygons and lines in the data's space."""
    if transposed and drawn.candidate is not None:
        # Columns on screen are rows of the plane, so the pieces must not fork along rows.
        drawn = draw_candidate(drawn.candidate, axis=0)
    everything = [*drawn.polygons, *drawn.lines]
    if not everything:
        return _NOTHING
    stops = np.cumsum([len(shape) for shape in everything])[:-1]
    placed = np.split(plane.points(np.concatenate(everything)), stops)
    count = len(drawn.polygons)
    return Drawing(placed[:count], placed[count:], drawn.colours)

"""The four candidates as Shapes layers: their differences from the recommendation."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes
from psygnal import Signal

from napari_spa.core.presentation import ADDED_COLOUR, REMOVED_COLOUR
from napari_spa.viewer.layers.mask import add_quietly, place_layer, rename_layer
from napari_spa.viewer.layers.planes import zoom_of
from napari_spa.viewer.layers.polygons import border_lines, mask_polygons

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from napari.components import ViewerModel

    from napari_spa.core.plane import Plane
    from napari_spa.core.types import Candidate, DoubleArray


_logger = logging.getLogger(__name__)
_NO_COLOURS = np.empty((0, 4))


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
        if drawn.shapes:
            # In the 3D view napari makes tubes of paths: of one that goes there and back, NaNs.
            with np.errstate(divide="ignore", invalid="ignore"):
                layer.add(drawn.shapes, **drawn.style(line))
        layer.visible = visible  # draws it, once
    if not drawn.shapes:  # napari leaves what it last drew of a hidden layer
        layer.thumbnail = np.zeros_like(layer.thumbnail)


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """Polygons to be filled, or lines to be drawn in their place."""

    polygons: Sequence[DoubleArray]  # (N, D) float64 each
    colours: DoubleArray  # (len(polygons), 4) float64, RGBA in [0, 1]
    lines: Sequence[DoubleArray] = ()  # (N, D) float64 each, open
    # (len(lines), 4) float64, RGBA in [0, 1]
    line_colours: DoubleArray = field(default_factory=lambda: _NO_COLOURS)

    @property
    def shapes(self) -> list[DoubleArray]:
        """The polygons, and then the lines, there and back so that no one can fill them."""
        return [*self.polygons, *(np.concatenate([line, line[-2::-1]]) for line in self.lines)]

    def style(self, line: float) -> dict[str, Any]:
        """Return how napari is to draw the shapes: lines of a width, or filled polygons."""
        faces = self.colours * [1.0, 1.0, 1.0, float(not line)]
        return {
            "shape_type": ["polygon"] * len(self.polygons) + ["path"] * len(self.lines),
            "edge_width": self.widths(line),
            "edge_color": np.concatenate([self.colours, self.line_colours]),
            "face_color": np.concatenate([faces, 0 * self.line_colours]),
        }

    def widths(self, line: float) -> list[float]:
        """Return the width of each shape's edge."""
        return [0.0] * len(self.polygons) + [line] * len(self.lines)


CANDIDATE_NAME = "{}: candidate {}"
CANDIDATES = 4
_LINE = 1.5
"""Width of outlines in pixels of the screen."""

_MOST = 16000
"""Vertices of one colour: bermuda, napari's compiled triangulation, takes 3 us for each."""


@dataclass(frozen=True, slots=True, eq=False)
class DrawnCandidate(Drawing):
    """A candidate's difference as polygons, and its own outline where it differs.

    All is float64 (row, column) in image pixels.  Polygons are not closed and overlap nowhere;
    around a hole lie several.  Blue is what the candidate adds, yellow what it removes.
    """

    candidate: Candidate | None = None  # to draw it again in a transposed view


def draw_candidate(candidate: Candidate, *, axis: int = 1) -> DrawnCandidate:
    """Draw what a candidate would change; for the worker."""
    corner = (candidate.region.row, candidate.region.column)
    polygons: list[DoubleArray] = []
    colours: list[tuple[int, ...]] = []
    for mask, colour in (
        (candidate.local_added, ADDED_COLOUR),
        (candidate.local_removed, REMOVED_COLOUR),
    ):
        drawn = mask_polygons(mask, corner, most=_MOST, axis=axis)
        polygons += drawn
        colours += [(*colour, 255)] * len(drawn)
    lines, removed = border_lines(candidate.local_mask, candidate.local_recommended, corner)
    of_lines = [(*(REMOVED_COLOUR if its else ADDED_COLOUR), 255) for its in removed]
    return DrawnCandidate(polygons, _shades(colours), lines, _shades(of_lines), candidate=candidate)


def _shades(colours: Sequence[tuple[int, ...]]) -> DoubleArray:
    return np.array(colours, dtype=float).reshape(-1, 4) / 255


_NOTHING = Drawing((), _NO_COLOURS)


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
        *,
        ndim: int,
        space: Mapping[str, Any],
        owner: str,
        under: Callable[[], object] = lambda: None,
    ) -> None:
        self._viewer, self._ndim, self._space, self.owner = viewer, ndim, dict(space), owner
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
                before, after = (
                    CANDIDATE_NAME.format(owner, index + 1) for owner in (others.owner, self.owner)
                )
                rename_layer(layer, before, after)
                place_layer(layer, self._space)
                self._listen(index, layer)
        self._apply()

    def place(self, space: Mapping[str, Any]) -> None:
        """Put the layers elsewhere in the world."""
        self._space = dict(space)
        for layer in self.layers:
            if layer is not None:
                place_layer(layer, space)
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

    def show(self, plane: Plane, drawn: Sequence[DrawnCandidate]) -> None:
        """Show a round."""
        for _ in self.steps(plane, drawn):
            pass

    def steps(self, plane: Plane, drawn: Sequence[DrawnCandidate]) -> Iterator[None]:
        """Do what :meth:`show` does layer by layer; in between, the window may live."""
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
            ndim=self._ndim,
            name=CANDIDATE_NAME.format(self.owner, index + 1),
            opacity=0.8,
            visible=visible and self._shown(index),
            **self._space,
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
        scale = np.abs(np.ravel(self._space.get("scale", 1.0))[-2:]).min()
        return float(_LINE / (zoom_of(self._viewer, self._space.get("units", ())) * scale))

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


def _placed(plane: Plane, drawn: DrawnCandidate, transposed: bool) -> Drawing:
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
    return Drawing(placed[:count], drawn.colours, placed[count:], drawn.line_colours)

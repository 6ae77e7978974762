"""The four candidates as Shapes layers: their differences from the recommendation, filled."""

from __future__ import annotations

import logging
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes
from napari.utils.triangulation_backend import TriangulationBackend, get_backend
from psygnal import Signal

from napari_spa.core.pictures import ADDED_COLOUR, REMOVED_COLOUR
from napari_spa.viewer.layers.mask import add_quietly, place_layer, rename_layer
from napari_spa.viewer.layers.polygons import mask_polygons

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari.components import ViewerModel

    from napari_spa.core.plane import Plane
    from napari_spa.core.types import Candidate, DoubleArray


_logger = logging.getLogger(__name__)


def fill_layer(layer: Shapes, polygons: Sequence[DoubleArray], colours: DoubleArray) -> None:
    """Replace all that a layer holds by polygons, in one go.

    napari draws a visible layer again at each step of this, so it is not visible meanwhile.
    And it tells the viewer, which then works out for some milliseconds what its sliders
    span: polygons inside the image change nothing about that, so no one is told.

    Parameters
    ----------
    layer : Shapes
        Which layer.
    polygons : sequence of ndarray of shape (N, layer.ndim)
        float64, in the data's space; none empties the layer.
    colours : ndarray of shape (len(polygons), 4)
        float64 RGBA in [0, 1], of the faces; edges are not drawn.

    Notes
    -----
    A polygon for which napari's triangulation raises is left out, and logged.
    """
    if not len(polygons) and not layer.data:
        return
    visible = layer.visible
    with ExitStack() as quiet:
        for event in (layer.events.data, layer.events.features, layer.events.visible):
            quiet.enter_context(event.blocker())
        layer.visible = False
        layer.data = []
        if len(polygons):
            _add(layer, list(polygons), colours)
        layer.visible = visible  # draws it, once
    if not len(polygons):  # napari leaves what it last drew of a hidden layer
        layer.thumbnail = np.zeros_like(layer.thumbnail)


def _add(layer: Shapes, polygons: list[DoubleArray], colours: DoubleArray) -> None:
    style: dict[str, Any] = {"shape_type": "polygon", "edge_width": 0}
    try:
        layer.add(polygons, face_color=colours, **style)
    except RuntimeError:
        layer.data = []
        good = [number for number, polygon in enumerate(polygons) if _can_be_filled(polygon)]
        _logger.warning(
            "napari cannot fill %d of %d polygons of %r",
            len(polygons) - len(good),
            len(polygons),
            layer.name,
        )
        if good:
            layer.add([polygons[k] for k in good], face_color=colours[good], **style)


def _can_be_filled(polygon: DoubleArray) -> bool:
    try:
        Shapes([polygon], shape_type="polygon")
    except RuntimeError:
        return False
    return True


CANDIDATE_NAME = "{}: candidate {}"
CANDIDATES = 4

# The most vertices of one colour: filling a polygon takes 3 us a vertex with a compiled
# triangulation, and 300 us without.
_COMPILED, _PLAIN = 16000, 1500
_TRIANGULATIONS = {
    TriangulationBackend.bermuda: "bermuda",
    TriangulationBackend.partsegcore: "PartSegCore_compiled_backend",
    TriangulationBackend.triangle: "triangle",
}


@dataclass(frozen=True, slots=True, eq=False)
class DrawnCandidate:
    """A candidate's difference as polygons; around a hole lie several.

    Attributes
    ----------
    polygons : tuple of ndarray of shape (N, 2)
        float64 (row, column) in image pixels, not closed; they overlap nowhere.
    colours : ndarray of shape (len(polygons), 4)
        float64 RGBA in [0, 1]: blue where the candidate adds, magenta where it removes.
    candidate : Candidate or None
        To draw it again in a transposed view.
    """

    polygons: tuple[DoubleArray, ...]
    colours: DoubleArray
    candidate: Candidate | None = None


def draw_candidate(candidate: Candidate, *, axis: int = 1) -> DrawnCandidate:
    """Draw what a candidate would change; for the worker.

    Parameters
    ----------
    candidate : Candidate
        Which one.
    axis : {0, 1}
        Of the image, across the screen.
    """
    most = _COMPILED if _compiled() else _PLAIN
    corner = (candidate.region.row, candidate.region.column)
    polygons: list[DoubleArray] = []
    colours: list[tuple[int, ...]] = []
    for mask, colour in (
        (candidate.local_added, ADDED_COLOUR),
        (candidate.local_removed, REMOVED_COLOUR),
    ):
        drawn = mask_polygons(mask, corner, most=most, axis=axis)
        polygons += drawn
        colours += [(*colour, 255)] * len(drawn)
    shades = np.array(colours, dtype=float).reshape(-1, 4) / 255
    return DrawnCandidate(tuple(polygons), shades, candidate)


def _compiled() -> bool:
    """Tell whether napari has a compiled triangulation and uses it."""
    chosen = get_backend()
    if chosen is TriangulationBackend.fastest_available:
        return any(name in sys.modules for name in _TRIANGULATIONS.values())
    return _TRIANGULATIONS.get(chosen, "") in sys.modules


_NOTHING = DrawnCandidate((), np.empty((0, 4)))


class CandidateShapes:
    """The layers of the candidates; held by reference, whatever a user does to them.

    A layer that was deleted is made again when there is something to show.  Whether a
    candidate is shown is one thing, whoever said so last: :meth:`set_visible`, or a user
    with napari's eye icon.  It holds for later rounds, and for a layer that is made again.
    """

    toggled = Signal(int, bool)  # A user showed or hid a candidate with napari's eye icon

    def __init__(
        self, viewer: ViewerModel, *, ndim: int, space: Mapping[str, Any], owner: str
    ) -> None:
        self._viewer, self._ndim, self._space, self._owner = viewer, ndim, dict(space), owner
        self._layers: list[Shapes | None] = [None] * CANDIDATES
        self._wanted = [False] * CANDIDATES
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
        for index, layer in enumerate(others.layers):
            others.let_go(index)
            if layer is not None:
                before, after = (
                    CANDIDATE_NAME.format(owner, index + 1)
                    for owner in (others._owner, self._owner)
                )
                rename_layer(layer, before, after)
                place_layer(layer, self._space)
                self._listen(index, layer)
        self._apply()

    def let_go(self, index: int) -> None:
        """Listen to a layer no more; it stays in the viewer."""
        layer = self._layers[index]
        if layer is not None:
            layer.events.visible.disconnect(self._on_visible)
        self._layers[index] = None

    def make(self) -> Iterator[None]:
        """Add the layers that are not there, one a step: napari takes its time for each."""
        for index in range(CANDIDATES):
            if self.layers[index] is None:
                self._make(index)
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
                shown = drawn[index] if index < len(drawn) else _NOTHING
                fill_layer(layer, *_placed(plane, shown, self._transposed))
            yield

    def clear(self) -> None:
        """Empty the layers; they stay, as making one takes much longer than filling it."""
        for layer in self.layers:
            if layer is not None:
                fill_layer(layer, [], _NOTHING.colours)

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

    # ------------------------------------------------------------------ how it does it

    @property
    def _transposed(self) -> bool:
        displayed = self._viewer.dims.displayed
        return bool(displayed[-2] > displayed[-1])

    def _make(self, index: int) -> Shapes:
        self.let_go(index)  # one that a user deleted
        layer = Shapes(
            ndim=self._ndim,
            name=CANDIDATE_NAME.format(self._owner, index + 1),
            opacity=0.8,
            visible=self._shown(index),
            **self._space,
        )
        self._listen(index, layer)
        add_quietly(self._viewer, layer)
        return layer

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
            for index, layer in enumerate(self.layers):
                if layer is not None and layer.visible != self._shown(index):
                    layer.visible = self._shown(index)
        finally:
            self._ours = False

    def _on_visible(self, event: Any) -> None:
        """Remember what a user wants to see."""
        if not self._ours:
            for index, layer in enumerate(self._layers):
                if layer is not None and layer is event.source:
                    self._wanted[index] = layer.visible
                    self.toggled.emit(index, layer.visible)


def _placed(
    plane: Plane, drawn: DrawnCandidate, transposed: bool
) -> tuple[list[DoubleArray], DoubleArray]:
    """Place polygons in the data's space, with their colours."""
    if transposed and drawn.candidate is not None:
        # Columns on screen are rows of the plane, so the pieces must not fork along rows.
        drawn = draw_candidate(drawn.candidate, axis=0)
    polygons, colours = drawn.polygons, drawn.colours
    if not polygons:
        return [], colours
    stops = np.cumsum([len(polygon) for polygon in polygons])[:-1]
    return np.split(plane.points(np.concatenate(polygons)), stops), colours

"""The adapter that owns our layers; the only code that adds, writes or removes them.

Layers are held by reference and never looked up by name, so a person may rename, reorder
or delete any of them at any time; what is missing is made again when it is needed.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Points, Shapes
from napari.utils.colormaps import label_colormap

from napari_spa.core.pictures import ADDED_COLOUR, REMOVED_COLOUR
from napari_spa.viewer.planes import Plane, spatial_shape
from napari_spa.viewer.polygons import mask_outline

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image
    from numpy.typing import NDArray

    from napari_spa.core.types import BoolArray, Candidate, Prompts, Proposal

_logger = logging.getLogger(__name__)

MASK_NAME, PROMPTS_NAME, CANDIDATE_NAME = "SPA mask", "SPA prompts", "SPA candidate {}"
_VERTICES = (400, 200, 100, 50, 25)  # a coarser outline is tried where napari refuses one
_LABEL_SEED = 0.95522  # the first objects are green, violet and pink: seen on most images
_POSITIVE, _NEGATIVE = "#0072b2", "#d55e00"


class ObjectLayers:
    """The layers of one image: the mask, the prompts and up to four candidates.

    Parameters
    ----------
    viewer : ViewerModel
        Where the layers live.
    image : Image
        The image that is annotated; every layer of ours has its scale, translate,
        rotate, shear, affine and units.
    """

    def __init__(self, viewer: ViewerModel, image: Image) -> None:
        self._viewer, self.image = viewer, image
        self._labels: Labels | None = None
        self._prompts: Points | None = None
        self._candidates: list[Shapes | None] = [None] * 4
        self._preview: tuple[tuple[Any, ...], NDArray[Any]] | None = None
        self._visible = [False] * 4

    @property
    def labels(self) -> Labels:
        """The mask layer; made again when it was deleted."""
        if self._labels is None or self._labels not in self._viewer.layers:
            self._preview = None
            data = np.zeros(spatial_shape(self.image), dtype=np.uint16)
            layer = Labels(
                data,
                name=MASK_NAME,
                opacity=0.45,
                colormap=label_colormap(49, seed=_LABEL_SEED, background_value=0),
                **self._space(),
            )
            self._labels = self._add(layer)
        return self._labels

    def owns(self, layer: object) -> bool:
        """Tell whether a layer is one of ours."""
        mine = (self._labels, self._prompts, *self._candidates)
        return any(layer is one for one in mine if one is not None)

    def next_id(self) -> int:
        """Return the next free object number."""
        self._restore()
        return int(self.labels.data.max(initial=0)) + 1

    def show(self, plane: Plane, proposal: Proposal, prompts: Prompts) -> None:
        """Show a round: the recommendation as a preview, prompts and differences.

        Pixels of earlier objects stay theirs.

        Parameters
        ----------
        plane : Plane
            Where in the image's data.
        proposal : Proposal
            What to show.
        prompts : Prompts
            Clicks to mark.
        """
        number = self.next_id()
        region = self._region_index(plane, proposal)
        data = self.labels.data
        self._preview = (region, data[region].copy())
        patch = data[region]
        patch[proposal.local_mask & (patch == 0)] = number
        self.labels.refresh()
        self._show_prompts(plane, prompts)
        for k in range(4):
            candidate = proposal.candidates[k] if k < len(proposal.candidates) else None
            self._show_candidate(k, plane, candidate)

    def commit(self, plane: Plane, proposal: Proposal) -> int:
        """Write the recommendation as a new object, with napari's own undo.

        Parameters
        ----------
        plane : Plane
            Where in the image's data.
        proposal : Proposal
            Whose mask to write.

        Returns
        -------
        int
            The object's number.
        """
        number = self.next_id()
        region = self._region_index(plane, proposal)
        free = proposal.local_mask & (self.labels.data[region] == 0)
        rows, columns = np.nonzero(free)
        corner = (proposal.region.row, proposal.region.column)
        where = np.stack([rows, columns], axis=1).astype(np.float64) + corner
        if len(where):
            indices = plane.points(where).astype(np.intp)
            self.labels.data_setitem(tuple(indices.T), number)
        self.clear()
        return number

    def clear(self) -> None:
        """Take the preview, the prompts and the candidates away; objects stay."""
        self._restore()
        for layer in (self._prompts, *self._candidates):
            if layer is not None and layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        self._prompts, self._candidates = None, [None] * 4

    def set_candidate_visible(self, index: int, visible: bool) -> None:
        """Show or hide a candidate's shapes; remembered for the next round."""
        self._visible[index] = visible
        layer = self._candidates[index]
        if layer is not None:
            layer.visible = visible

    # ------------------------------------------------------------------ how it does it

    def _restore(self) -> None:
        if self._preview is None:
            return
        if self._labels is not None and self._labels in self._viewer.layers:
            region, before = self._preview
            self._labels.data[region] = before
            self._labels.refresh()
        self._preview = None

    @staticmethod
    def _region_index(plane: Plane, proposal: Proposal) -> tuple[int | slice, ...]:
        spans = dict(zip(plane.axes, proposal.region.slices, strict=True))
        return tuple(spans.get(axis, position) for axis, position in enumerate(plane.index))

    def _show_prompts(self, plane: Plane, prompts: Prompts) -> None:
        clicks = np.array([(c.row, c.column) for c in prompts.clicks], dtype=float).reshape(-1, 2)
        colours = [_POSITIVE if c.label else _NEGATIVE for c in prompts.clicks]
        if self._prompts is None or self._prompts not in self._viewer.layers:
            layer = Points(ndim=self.image.ndim, name=PROMPTS_NAME, **self._space())
            self._prompts = self._add(layer)
        layer = self._prompts
        layer.selected_data = set(range(len(layer.data)))
        layer.remove_selected()
        if len(clicks):
            layer.add(plane.points(clicks))
            layer.face_color = colours
            layer.border_color = "white"
            layer.size = self._point_size(plane)
        layer.selected_data = set()

    def _point_size(self, plane: Plane) -> float:
        shape = spatial_shape(self.image)
        return float(np.clip(max(shape[a] for a in plane.axes) / 100, 1.5, 20))

    def _show_candidate(self, index: int, plane: Plane, candidate: Candidate | None) -> None:
        layer = self._candidates[index]
        if layer is None or layer not in self._viewer.layers:
            if candidate is None:
                return
            name = CANDIDATE_NAME.format(index + 1)
            layer = Shapes(ndim=self.image.ndim, name=name, opacity=0.75, **self._space())
            self._candidates[index] = self._add(layer)
        layer.selected_data = set()
        layer.data = []
        layer.visible = self._visible[index]
        if candidate is None:
            return
        corner = (candidate.region.row, candidate.region.column)
        for mask, colour in (
            (candidate.local_added, ADDED_COLOUR),
            (candidate.local_removed, REMOVED_COLOUR),
        ):
            self._add_polygon(layer, plane, mask, corner, colour)

    @staticmethod
    def _add_polygon(
        layer: Shapes,
        plane: Plane,
        mask: BoolArray,
        corner: tuple[int, int],
        colour: tuple[int, int, int],
    ) -> None:
        rgb = np.array([*colour, 255]) / 255
        for most in _VERTICES:
            outline = mask_outline(mask, corner, most_vertices=most)
            if outline is None:
                return
            try:
                layer.add_polygons([plane.points(outline)], face_color=rgb, edge_width=0)
            except RuntimeError:  # napari's triangulation gives up on some ragged outlines
                continue
            return
        _logger.warning("one difference could not be drawn in the image; its picture shows it")

    def _add(self, layer: Any) -> Any:
        """Add a layer of ours without taking the selection away from the person's."""
        selected = self._viewer.layers.selection.active
        self._viewer.add_layer(layer)
        if selected is not None and selected in self._viewer.layers:
            self._viewer.layers.selection.active = selected
        return layer

    def _space(self) -> dict[str, Any]:
        image = self.image
        return {
            "scale": image.scale,
            "translate": image.translate,
            "rotate": image.rotate,
            "shear": image.shear,
            "affine": image.affine,
            "units": image.units,
        }

"""The Labels layer of one image: the surface that objects are written to."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import CyclicLabelColormap, DirectLabelColormap, label_colormap
from napari.utils.transforms import Affine
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_spa.core.plane import Plane
from napari_spa.core.presentation import ADDED_COLOUR, REMOVED_COLOUR
from napari_spa.core.types import Region
from napari_spa.viewer.compat import (
    next_in_history,
    quick_contours,
    refresh_parts,
    replay,
    unselected,
)
from napari_spa.viewer.keys import UNDO_KEYS, KeyBindings
from napari_spa.viewer.layers.label_storage import LabelStore, StoreSurface, make_label_store
from napari_spa.viewer.layers.planes import (
    channel_axis,
    plane_on_slider,
    shown_channel,
    spatial_shape,
    zoom_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_spa.core.types import BoolArray

_Stroke = tuple[tuple[Any, ...], dict[Plane, Region]]
MASK_NAME = "{}: objects"
_LINE = 2.0
"""Of outlines, in pixels of the screen, but for a pixel of the image at least."""
_THICKEST = 8
_OPACITY = {True: 0.45, False: 0.9}  # by whether objects are filled
_SEED = 0.14  # of napari's colours that are told apart well, among which the order is chosen
_SEEN_IN_LINES = np.array([1.0, 0.5, 0.25])
"""How much lightness, red to green and blue to yellow count in a thin line, as the eye sees it:
a dark violet is far from brown in CIELAB, and is not seen on it."""
_DARKEST = 38.0  # in lightness, of 100: darker lines are not seen on black
_RECENT, _DISTINCT = 4, 40.0
"""A colour differs from those of so many objects before it, and of candidates, by so much."""


class MaskLayer(StoreSurface):
    """A `Surface` that a user sees and may paint on.

    The layer is held by reference: renaming, hiding and moving it changes nothing.  When it
    was deleted it is put back, labels and all, the next time it is needed.
    """

    painted = Signal(object)  # A user painted: in which ``Region`` of each ``Plane``, a dict
    undo_wanted = Signal(bool)  # napari's own key for undo was pressed on it; True: for redo
    # Labels on the plane on show may have changed otherwise, by napari's undo for one.
    touched = Signal()
    replaced = Signal(object)  # someone gave the layer other data: the planes that hold labels now

    def __init__(self, viewer: ViewerModel, image: Image, axes: tuple[int, int]) -> None:
        super().__init__(make_label_store(spatial_shape(image), axes=axes))
        self._viewer, self._image, self._axes = viewer, image, axes
        self._layer: Labels | None = None
        self._ours = 0
        self._written: dict[tuple[Plane, Region], None] = {}  # and not shown yet
        self.changes = 0  # how often labels were written, painted or exchanged
        self._keys: KeyBindings | None = None
        self._filled = False
        self._class_colours: Mapping[int, str] | None = None
        # Strokes that a user painted, and took back: pieces in napari's history, and planes.
        self._strokes: list[_Stroke] = []
        self._unpainted: list[_Stroke] = []
        self.used = False  # whether a user painted on it, or gave it other labels
        self.share()

    @property
    def layer(self) -> Labels:
        """The layer; made, or put back into the viewer, when it is not there."""
        layer = self._made()
        if layer not in self._viewer.layers:
            add_quietly(self._viewer, layer)
        return layer

    def _made(self) -> Labels:
        self.store.fix()
        if self._layer is None:
            self._layer = Labels(
                self.store.data,
                multiscale=self.store.multiscale,
                name=MASK_NAME.format(self._image.name),
                opacity=_OPACITY[True],
                colormap=mask_colours(self._image),
                **space_of(self._image),
            )
            quick_contours(self._layer)
            self.draw(filled=self._filled)
            self._listen()
        return self._layer

    def take_over(self, other: MaskLayer) -> None:
        """Show these labels in the layer of an image that was left, unless either is a pyramid."""
        layer = other.let_go()
        if layer is None:
            return
        if self.store.multiscale or other.store.multiscale:
            self._viewer.layers.remove(layer)
            return
        layer.editable = False  # napari's own undo must not reach back to the other image
        self.store.fix()
        layer.data = self.store.data
        layer.editable = layer.visible = True
        # Not with the data: in one batch of changes napari draws with a texture that is gone.
        QTimer.singleShot(0, partial(self._recolour, layer))
        self._layer, self._filled = layer, other._filled
        self.place()
        self._listen()

    def _recolour(self, layer: Labels) -> None:
        """Draw a layer that was taken over in the colours of the image."""
        if self.owns(layer) and self._class_colours is None:
            layer.colormap = mask_colours(self._image)

    def take_back(self, layer: Labels) -> bool:
        """Show these labels in the layer of a dock that was closed, where it is and fits.

        What was painted on it since counts as painted now.
        """
        self.store.fix()
        painted: Any = layer.data
        fits = isinstance(painted, np.ndarray) and not self.store.multiscale
        if not fits or layer not in self._viewer.layers or painted.shape != self.store.shape:
            return False
        made = self.let_go()
        if made is not None:
            self._viewer.layers.remove(made)
        layer.data = self.store.data
        self._layer = layer
        self._listen()
        self.place()
        if not np.array_equal(painted, self.store.data):
            layer.data = painted
        return True

    def place(self) -> None:
        """Put the layer where the image is; outlines stay as wide on the screen."""
        if self._layer is not None:
            place_layer(self._layer, space_of(self._image))
            self.draw(filled=self._filled)

    def let_go(self) -> Labels | None:
        """Listen to the layer no more, and return it where it is in the viewer."""
        layer = self._layer if self.shown else None
        self.release()
        self._layer = None
        return layer

    def draw(self, *, filled: bool) -> None:
        """Fill the objects, or draw outlines that are as wide on the screen at any zoom."""
        self._filled = filled
        layer = self._layer
        if layer is None:
            return
        if bool(layer.contour) == filled:
            layer.opacity = _OPACITY[filled]
        # A pyramid's labels are read with about a pixel of the screen each.
        pixel = 1.0 if self.store.multiscale else float(np.abs(layer.scale[-2:]).min())
        zoom = 1.0 if self.store.multiscale else zoom_of(self._viewer, layer.units)
        line = 0 if filled else int(np.clip(np.ceil(_LINE / (zoom * pixel)), 1, _THICKEST))
        if layer.contour != line:
            layer.contour = line

    def make(self) -> None:
        """Add the layer, or put it back, where it is not in the viewer."""
        _ = self.layer

    def steps(self) -> Iterator[None]:
        """Do what :meth:`make` does in steps: napari takes its time for each."""
        if not self.shown:
            yield from add_slowly(self._viewer, self._made())
            yield

    @property
    def shown(self) -> bool:
        """Whether the layer is in the viewer."""
        return self._layer is not None and self._layer in self._viewer.layers

    @property
    def known(self) -> Labels | None:
        """The layer, if it was made; nothing is made here."""
        return self._layer

    def owns(self, layer: object) -> bool:
        """Tell whether a layer is this one."""
        return layer is not None and layer is self._layer

    def whole(self, plane: Plane) -> Region:
        """Return all of a plane."""
        return Region(0, 0, *plane.extent(self.store.shape))

    def read_plane(self, plane: Plane) -> NDArray[np.integer]:
        """Return a copy of a whole plane, (H, W)."""
        return self.store.read(plane.slices)

    @property
    def paintable(self) -> bool:
        """Whether a user can paint on it, which napari allows on one resolution only."""
        return not self.store.multiscale

    def share(self) -> None:
        """Give the image's channels the labels of the first of them."""
        axis = channel_axis(self._image)
        if axis not in (None, self.store.shared):
            self.adopt(self.store.sharing(axis))

    def adopt(self, store: LabelStore) -> None:
        """Show other labels of the same image, made by :func:`make_label_store`."""
        self.store = store
        self.changes += 1
        if self._layer is not None:
            store.fix()
            with self._writing():
                self._layer.data = store.data

    def make_room(self, label: int) -> None:
        """Hold a label too, in a wider type where it needs one."""
        store = self.store.with_room(label)
        if store is not None:
            self.adopt(store)
            self.forget_strokes()

    def write(
        self, plane: Plane, region: Region, pixels: BoolArray, values: NDArray[np.integer]
    ) -> None:
        """Give the pixels of a region that are true the values; shown by :meth:`refresh`."""
        with self._writing():
            super().write(plane, region, pixels, values)
            self._written[plane, region] = None
            self.changes += 1

    def forget_strokes(self, *, but: int = 0) -> None:
        """Let napari's own undo alone take back what was painted, but so many of the latest."""
        self._strokes = self._strokes[len(self._strokes) - but :]
        self._unpainted.clear()

    @property
    def strokes(self) -> int:
        """How many strokes may be there to take back."""
        return len(self._strokes)

    def stroke(self, *, redo: bool = False) -> dict[Plane, Region]:
        """Return where the stroke is that :meth:`unpaint` takes back; nowhere without one."""
        strokes = self._unpainted if redo else self._strokes
        if not strokes or not self.shown or not self.paintable:
            return {}
        there = {*map(id, next_in_history(self.layer, redo=redo))}
        # A user may have taken later ones back with napari's own undo.
        while strokes and {*map(id, strokes[-1][0])} != there:
            strokes.pop()
        return strokes[-1][1] if strokes else {}

    def painted_with(self, number: int) -> bool:
        """Tell whether the latest stroke gave pixels to a label, or took some of it."""
        atoms = self._strokes[-1][0] if self._strokes else ()
        return any(np.any(np.asarray(v) == number) for old_new in atoms for v in old_new[-2:])

    def unpaint(self, *, redo: bool = False) -> dict[Plane, Region]:
        """Take the latest stroke back, or paint it again; return where it is."""
        planes = self.stroke(redo=redo)
        if planes:
            to, strokes = self._strokes, self._unpainted
            to, strokes = (to, strokes) if redo else (strokes, to)
            to.append(strokes.pop())
            self.changes += 1
            self._written.update(dict.fromkeys(planes.items()))
            replay(self.layer, redo=redo)
            self.refresh()
        return planes

    def refresh(self) -> None:
        """Show what was written."""
        if self._written and self.shown:
            written, self._written = self._written, {}
            axis = () if self.store.shared is None else (self.store.shared,)
            with self._writing():
                refresh_parts(self.layer, [plane.region(r, along=axis) for plane, r in written])

    def colour(self, number: int) -> tuple[float, float, float, float] | None:
        """Return the colour of an object, RGBA in [0, 1]."""
        if self._layer is None:
            return None
        red, green, blue, alpha = (float(v) for v in self._layer.get_color(number))
        return red, green, blue, alpha

    def colour_by(self, colours: Mapping[int, str] | None) -> bool:
        """Draw objects in colours ("#rrggbb"), others in grey; None gives each one of its own.

        Tells whether anything changed.
        """
        if colours == self._class_colours:
            return False
        self._class_colours = colours
        if colours is None:
            self.layer.colormap = mask_colours(self._image)
        else:
            rest: dict[int | None, str] = {None: _NO_CLASS, 0: "transparent"}
            self.layer.colormap = DirectLabelColormap(color_dict=rest | dict(colours))
        return True

    def release(self) -> None:
        """Listen to the layer no more; it stays in the viewer."""
        if self._layer is not None:
            self._layer.events.paint.disconnect(self._on_painted)
            self._layer.events.set_data.disconnect(self._on_touched)
            self._layer.events.data.disconnect(self._on_data)
        if self._keys is not None:
            self._keys.release()
            self._keys = None

    def remove(self) -> None:
        """Take the layer out of the viewer; the labels can still be read."""
        layer = self.let_go()  # first: it is no user who removes it
        if layer is not None:
            self._viewer.layers.remove(layer)

    def _listen(self) -> None:
        if self._layer is not None:
            self._layer.events.paint.connect(self._on_painted)
            self._layer.events.set_data.connect(self._on_touched)
            self._layer.events.data.connect(self._on_data)
            # napari's own undo knows strokes alone, and of what was painted on another slice.
            acts = {key: partial(self.undo_wanted.emit, redo) for redo, key in UNDO_KEYS.items()}
            self._keys = KeyBindings(self._layer, acts)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._ours += 1
        try:
            yield
        finally:
            self._ours -= 1

    def _on_painted(self, event: Any) -> None:
        if not self._ours:
            self.used = True
            planes = self._planes_of(event.value)
            self.changes += 1
            self._strokes.append((tuple(event.value or ()), planes))
            self._unpainted.clear()
            self.painted.emit(planes)

    def _on_touched(self, event: Any) -> None:
        if not self._ours:
            self.touched.emit()

    def _on_data(self, event: Any) -> None:
        """Take data that someone gave the layer, or leave the layer to them."""
        layer = self._layer
        if self._ours or layer is None:
            return
        data, store = layer.data, self.store
        if data is store.data or (store.multiscale and data[0] is store.data[0]):
            return
        if isinstance(data, np.ndarray) and (data.shape, data.dtype) == (store.shape, store.dtype):
            self.store = LabelStore([data], self._axes)
            self.share()
        else:
            self.release()
            self._layer = None
        self.used = True
        self.changes += 1
        self.replaced.emit(() if self._layer is None else tuple(self.store.planes()))

    def _planes_of(self, atoms: Any) -> dict[Plane, Region]:
        """Return in which region of each plane an item of napari's history changed anything."""
        plane, ndim = plane_on_slider(self._viewer, self._image), len(self.store.shape)
        axes = self._axes if plane is None else plane.axes
        across = [axis for axis in range(ndim) if axis not in axes]
        found: dict[Plane, Region] = {}
        for atom in atoms or ():
            region, positions = _extent_of(atom, axes, across)
            for position in positions:
                index = dict(zip(across, position, strict=True)) | {self.store.shared: 0}
                plane = Plane(axes, tuple(index.get(axis, 0) for axis in range(ndim)))
                found[plane] = region.with_all_of(found.get(plane, region))
        return found


def _extent_of(
    atom: Any, axes: tuple[int, int], across: list[int]
) -> tuple[Region, set[tuple[int, ...]]]:
    """Return where on its planes an item of napari's undo history lies, and where along the stack.

    It is ``(indices, before, after)``, or has ``slice_key``, the box that it changed something in.
    """
    box = getattr(atom, "slice_key", None)
    if box is None:
        indices = [part.ravel() for part in np.broadcast_arrays(*atom[0])]
        spans = [range(int(part.min()), int(part.max()) + 1) for part in indices]
        positions = {*zip(*(indices[axis].tolist() for axis in across), strict=True)} or {()}
    else:
        spans = [range(part.start or 0, part.stop) for part in box]
        positions = {*product(*(spans[axis] for axis in across))}
    rows, columns = (spans[axis] for axis in axes)
    return Region(rows.start, columns.start, len(rows), len(columns)), positions


_NO_CLASS = "#a0a0a0"


def mask_colours(image: Image | None = None) -> CyclicLabelColormap:
    """Return the colours of objects; the first stand out from an image and from candidates."""
    colours = label_colormap(49, seed=_SEED, background_value=0)
    if image is None:
        return colours
    from skimage.color import rgb2lab

    seen = rgb2lab(np.asarray(image.thumbnail)[..., :3].reshape(-1, 3) / 255)  # (N, 3)
    mine = rgb2lab(colours.colors[1:, :3])  # (K, 3)
    candidates = rgb2lab(np.array([ADDED_COLOUR, REMOVED_COLOUR]) / 255)
    apart = np.linalg.norm((seen[:, None] - mine) * _SEEN_IN_LINES, axis=-1)
    contrast = np.percentile(apart, 5, axis=0)
    left, order = np.flatnonzero(mine[:, 0] >= _DARKEST).tolist(), list[int]()
    while left:
        near = np.concatenate([candidates, mine[order[-_RECENT:]]])
        alike = np.linalg.norm(mine[left][:, None] - near, axis=-1).min(axis=1)
        order.append(left.pop(int((contrast[left] * np.minimum(alike, _DISTINCT)).argmax())))
    chosen = colours.colors[[0, *(place + 1 for place in order)]]
    return CyclicLabelColormap(chosen, seed=_SEED, background_value=0)


_SPACE = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
"""What says where a layer lies in the world: its attributes, its events and arguments of one."""


def space_of(image: Image) -> dict[str, Any]:
    """Return where an image lies in the world, as arguments of a new layer."""
    return {name: getattr(image, name) for name in _SPACE}


def follow_space(image: Image, placed: Callable[[Any], None]) -> None:
    """Call back whenever an image is put elsewhere in the world, or its units change."""
    for name in _SPACE:
        getattr(image.events, name).connect(placed)


def unfollow_space(image: Image, placed: Callable[[Any], None]) -> None:
    """Call back no more."""
    for name in _SPACE:
        getattr(image.events, name).disconnect(placed)


def space_on_show(viewer: ViewerModel, image: Image) -> dict[str, Any]:
    """Return where a layer lies that is to be seen in the channel on show, drawn for the first."""
    space, axis = space_of(image), channel_axis(image)
    if axis is not None:
        moved = np.array(image.translate, dtype=np.float64)
        moved[axis] += image.scale[axis] * shown_channel(viewer, image)
        space["translate"] = moved
    return space


def place_layer(layer: Any, space: Mapping[str, Any]) -> None:
    """Put a layer of the same number of dimensions elsewhere in the world."""
    for name, value in space.items():
        if not np.array_equal(_plain(getattr(layer, name)), _plain(value)):
            setattr(layer, name, value)


def _plain(value: Any) -> Any:
    return value.affine_matrix if isinstance(value, Affine) else value


def add_slowly(viewer: ViewerModel, layer: Any, under: object = None) -> Iterator[None]:
    """Add a layer of ours in two steps: napari takes its time to take it in, and to draw it.

    It is shown also where the second step does not come: the iterator has to be closed.
    """
    visible, layer.visible = layer.visible, False
    add_quietly(viewer, layer, under)
    try:
        yield
    finally:
        layer.visible = visible


def add_quietly(viewer: ViewerModel, layer: Any, under: object = None) -> None:
    """Add a layer of ours, on top or under another, and leave the user's selection alone."""
    layers = viewer.layers
    active = layers.selection.active
    place = layers.index(under) if under is not None and under in layers else len(layers)
    with unselected(viewer) if active is not None else nullcontext():
        layers.insert(place, layer)
    if active is not None and active in layers and layers.selection.active is not active:
        layers.selection.active = active

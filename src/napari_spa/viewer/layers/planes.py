"""Which plane of a napari image is on show, and how its coordinates map to ours."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.core.plane import Plane
from napari_spa.core.presentation import capitalised
from napari_spa.errors import InputError, SpaError
from napari_spa.refine.engine.image_plane import ImagePlane, PlaneReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari.components import ViewerModel
    from napari.layers import Image, Layer
    from numpy.typing import ArrayLike

    from napari_spa.core.types import DoubleArray


def to_data(viewer: ViewerModel, layer: Layer, position: ArrayLike) -> DoubleArray:
    """Bring a position of the viewer's world, (..., ndim), into a layer's pixels, (layer.ndim,).

    The world is in the smallest unit of all layers, of which ``layer.world_to_data`` knows nothing.
    While layers come and go it may have fewer axes than a layer: those before are at 0.
    """
    world = np.zeros(layer.ndim)
    known = np.asarray(position, dtype=np.float64)[-layer.ndim :]
    world[layer.ndim - len(known) :] = known
    return np.asarray(layer.world_to_data(world / _in_world(viewer, layer.units)))


def to_world(viewer: ViewerModel, layer: Layer, place: ArrayLike) -> DoubleArray:
    """Bring a place in a layer's pixels, (ndim,), into the viewer's world, (ndim,)."""
    return np.asarray(layer.data_to_world(place)) * _in_world(viewer, layer.units)


def zoom_of(viewer: ViewerModel, units: Sequence[Any]) -> float:
    """Return the pixels of the screen for one of a layer's units, along its last axis."""
    return float(viewer.scene.camera.zoom * _in_world(viewer, units)[-1:].prod())


def _in_world(viewer: ViewerModel, units: Sequence[Any]) -> DoubleArray:
    """Return how many units of the viewer's world each unit of a layer is, (len(units),)."""
    world = tuple(viewer.dims.units or ())[-len(units) :]
    if not units or len(world) < len(units) or world == tuple(units):
        return np.ones(len(units))
    return unit_ratios(units, world)


def unit_ratios(units: Sequence[Any], others: Sequence[Any]) -> DoubleArray:
    """Return how many of another unit each unit is, (len(units),); 1 of one of another kind."""
    pairs = zip(units, others, strict=True)
    return np.array([(1.0 * u).m_as(o) if u.is_compatible_with(o) else 1.0 for u, o in pairs])


def steps_of(layer: Layer) -> DoubleArray:
    """Return how far apart pixels lie along each axis, (ndim,), in its unit; never negative."""
    place = np.asarray(layer.affine.affine_matrix)[:-1, :-1] @ np.diag(layer.scale)
    return np.asarray(np.linalg.norm(place, axis=0))


_MOST_CHANNELS = 8
_LARGEST_SIDE = 1e9
"""Micrometres; a layer of kilometres was scaled by mistake, or shows no objects of ours."""
_APART = "apart"
_KINDS = {
    "channel": {"c", "ch", "channel", "channels"},
    "frame": {"t", "time", "timepoint", "timepoints", "frame", "frames"},
    "slice": {"z", "depth", "plane", "slice", "slices"},
}
"""What the names of axes mean."""
_UNNAMED = "position"


@dataclass(frozen=True, slots=True)
class Channels:
    """Which channels of a layer are looked at."""

    name: str = field(compare=False)  # for a user
    # The data axis whose positions are channels; None for the layer's own colours, or for one
    # grey plane.
    axis: int | None = None
    # Which ones, at most three; by default all colours, and of an axis the one on show.
    chosen: tuple[int, ...] | None = None
    others: tuple[Image, ...] = ()  # layers that are channels beside this one


@dataclass(frozen=True, slots=True)
class DisplaySettings:
    """How a layer is looked at; another look means another encoding."""

    channels: Channels  # which channels
    # Whether grey values come from each plane's own range or the layer's limits.
    contrast: str = "automatic"
    # The limits that an object was started with, to go on with them; none of one whose views
    # are cut by their own values each.
    limits: tuple[tuple[float, float], ...] | None = None


def channel_choices(layer: Image, others: Sequence[Image] = ()) -> tuple[Channels, ...]:
    """Return what a user may choose among; the first is the default.

    ``others`` are layers that show the same field, from :func:`fellow_channels`.
    """
    if layer.rgb:
        names = ("Red", "Green", "Blue")
        alone = tuple(Channels(name, None, (i,)) for i, name in enumerate(names))
        return (Channels("All colours", None, (0, 1, 2)), *alone)
    own = channel_axis(layer)
    if own is not None:
        count = min(spatial_shape(layer)[own], _MOST_CHANNELS)
        single = (Channels(f"Channel {c} alone", own, (c,)) for c in range(count))
        return (Channels("Channel on show", own), _as_colours(own, count, "Channel"), *single)
    choices = [Channels("Grey values of the slice" if layer.ndim > 2 else "Grey values")]
    if len(others) > 1:
        choices.append(_together(layer, others[:2]))
    choices += [_together(layer, (other,)) for other in others]
    for axis, length in enumerate(spatial_shape(layer)[:-2]):
        kind = axis_kind(layer, axis)  # time points and slices are no channels
        if 2 <= length <= _MOST_CHANNELS and (kind not in _KINDS or kind == "channel"):
            noun = capitalised(kind)
            if kind == _UNNAMED:  # by the name that the viewer gives its slider
                noun = f"Axis {axis - layer.ndim}: position"
            choices.append(_as_colours(axis, length, noun))
    return tuple(choices)


def _as_colours(axis: int, length: int, kind: str) -> Channels:
    chosen = tuple(range(min(length, 3)))
    return Channels(f"{kind}s {', '.join(map(str, chosen))} as colours", axis, chosen)


def _together(layer: Image, others: Sequence[Image]) -> Channels:
    return Channels(" + ".join(str(each.name) for each in (layer, *others)), others=tuple(others))


def fellow_channels(layers: Iterable[Any], layer: Image) -> tuple[Image, ...]:
    """Return the grey image layers of the same pixels at the same place, in their order."""
    if layer.rgb or channel_axis(layer) is not None:
        return ()
    place, extent = layer.affine.affine_matrix, _extents(layer)
    return tuple(
        other
        for other in layers
        if isinstance(other, type(layer))
        and other is not layer
        and not other.rgb
        and _extents(other) == extent
        and np.allclose(other.affine.affine_matrix, place)
        and all(
            np.allclose(getattr(other, name), getattr(layer, name))
            for name in ("scale", "translate", "rotate", "shear")
        )
    )


def _extents(layer: Image) -> list[tuple[int, ...]]:
    return [tuple(level.shape) for level in (layer.data if layer.multiscale else [layer.data])]


def channel_axis(layer: Image) -> int | None:
    """Return the data axis of channels that share their labels; None for none.

    It is the one that is called so, unless :func:`keep_channels_apart` was told of the layer.
    """
    if layer.rgb or layer.metadata.get("napari-spa", {}).get("channels") == _APART:
        return None
    found = (axis for axis in range(layer.ndim - 2) if axis_kind(layer, axis) == "channel")
    axis = next(found, None)
    return axis if axis is not None and spatial_shape(layer)[axis] > 1 else None


def keep_channels_apart(layer: Image) -> None:
    """Give each channel labels of its own, as work of earlier versions and of batches has."""
    known = layer.metadata.get("napari-spa", {})
    layer.metadata = {**layer.metadata, "napari-spa": {**known, "channels": _APART}}


def name_channel_axis(layer: Image, axis: int) -> None:
    """Say in the layer, for us and for the viewer's sliders, that an axis is one of channels."""
    names = list(layer.axis_labels)
    if axis_kind(layer, axis) != "channel":
        names[axis] = "c"  # a slider has room for a letter
        layer.axis_labels = names


def name_as_sliders(viewer: ViewerModel, layer: Image) -> None:
    """Give the axes of a layer that have no names those that a user gave the viewer's sliders.

    What a slider is called by another layer says nothing of this one.
    """
    shown, of_layers = viewer.dims.axis_labels, viewer.layers.axis_labels
    typed = [
        str(shown[axis]) if shown[axis] != of_layers[axis] else ""
        for axis in range(-min(layer.ndim, len(shown), len(of_layers)), 0)
    ]
    name_axes(layer, [""] * (layer.ndim - len(typed)) + typed)


def name_as_alike(viewer: ViewerModel, layer: Image) -> None:
    """Give the axes of a layer that have no names those of layers of the same extent."""
    for other in viewer.layers:
        if isinstance(other, type(layer)) and _extents(other) == _extents(layer):
            name_axes(layer, other.axis_labels)


def name_axes(layer: Image, names: Sequence[str]) -> None:
    """Give the axes of a layer that have no names these, unless they are none either."""
    known = [
        name if axis_kind(layer, axis) == _UNNAMED and not _is_unnamed(name) else label
        for axis, (label, name) in enumerate(zip(layer.axis_labels, names, strict=True))
    ]
    if known != list(layer.axis_labels):
        layer.axis_labels = known


def unnamed_axes(layer: Image) -> bool:
    """Tell whether it is not known what one walks through along some axis of a stack."""
    return any(axis_kind(layer, axis) == _UNNAMED for axis in range(layer.ndim - 2))


def shown_channel(viewer: ViewerModel, layer: Image) -> int:
    """Return the position of the viewer along the axis of channels; 0 without one."""
    axis = channel_axis(layer)
    if axis is None:
        return 0
    at = int(np.round(to_data(viewer, layer, viewer.dims.point)[axis]))
    return min(max(at, 0), spatial_shape(layer)[axis] - 1)


def logged_display(
    layer: Image, plane: Plane, record: Any, now: DisplaySettings, choices: Sequence[Channels]
) -> DisplaySettings:
    """Return how a log says that a plane was looked at; as now where one no longer can."""
    if not isinstance(record, dict) or not record:
        return now
    axis, own = record.get("axis"), channel_axis(layer)
    chosen = None if record.get("channels") is None else tuple(record["channels"])
    layers = tuple(record.get("layers", ()))
    if own is not None and (axis, chosen, layers) == (None, None, ()):
        axis, chosen = own, (plane.index[own],)  # it was not called an axis of channels then
    offered, wanted = list(choices), (axis, chosen, layers)
    if axis is not None and axis in [channels.axis for channels in choices]:  # not all are offered
        several = range(spatial_shape(layer)[axis])
        offered += [Channels(f"Channel {c} alone", axis, (c,)) for c in several]
    for channels in offered:
        if (channels.axis, channels.chosen, tuple(str(o.name) for o in channels.others)) == wanted:
            limits = tuple((float(a), float(b)) for a, b in record.get("limits") or ())
            return DisplaySettings(channels, now.contrast, limits)
    return now


def shown_plane(viewer: ViewerModel, layer: Image) -> Plane:
    """Find the plane of an image layer that the viewer shows.

    Channels that share their labels are one plane: it lies at the first of them.
    """
    if viewer.dims.ndisplay != 2:
        raise InputError("the viewer shows a volume; switch to the 2D view to click on a slice.")
    offset = viewer.dims.ndim - layer.ndim
    axes = sorted(axis - offset for axis in viewer.dims.displayed)
    if axes[0] < 0:
        raise InputError(f"{layer.name} has no plane along the axes on show; change their order.")
    position = np.round(to_data(viewer, layer, viewer.dims.point)).astype(int)
    shape = spatial_shape(layer)
    for axis in set(range(layer.ndim)) - set(axes):
        if not 0 <= position[axis] < shape[axis]:
            raise InputError(f"{layer.name} has no slice here; move the slider back onto it.")
    shared = channel_axis(layer)
    if shared in axes:
        raise InputError(f"{layer.name} shows its channels as rows; change the order of the axes.")
    plane = Plane((axes[0], axes[1]), tuple(int(p) for p in position))
    return plane if shared is None else plane.at(shared, 0)


def plane_on_slider(viewer: ViewerModel, layer: Image | None) -> Plane | None:
    """Find the plane as :func:`shown_plane` does; None without one, such as in a volume."""
    try:
        return None if layer is None else shown_plane(viewer, layer)
    except SpaError:
        return None


def show_plane(
    viewer: ViewerModel, layer: Image, plane: Plane, look: DisplaySettings | None = None
) -> None:
    """Move the viewer's sliders to a plane of a layer, and to the one channel it is looked at.

    A view that was turned, and shows other axes than the plane's, is turned to these.
    """
    offset, order = viewer.dims.ndim - layer.ndim, viewer.dims.order
    axes = [axis + offset for axis in plane.axes]
    if viewer.dims.ndisplay == len(axes) and set(viewer.dims.displayed) != set(axes):
        viewer.dims.order = (*(axis for axis in order if axis not in axes), *axes)
    own, left = channel_axis(layer), {channel_axis(layer)}
    chosen = None if look is None or look.channels.axis != own else look.channels.chosen
    if own is not None and chosen is not None and len(chosen) == 1:
        plane, left = plane.at(own, chosen[0]), set()
    world = to_world(viewer, layer, plane.index)
    for axis in set(plane.stack_axes) - left:
        viewer.dims.set_point(axis + offset, float(world[axis]))


def walk_axis(viewer: ViewerModel, layer: Image, plane: Plane, look: DisplaySettings) -> int | None:
    """Return the axis along which one goes to the next slice."""
    shape = spatial_shape(layer)
    channels = (look.channels.axis, channel_axis(layer))
    axes = [a for a in plane.stack_axes if shape[a] > 1 and a not in channels]
    named = [a for a in axes if axis_kind(layer, a) != "channel"]
    used = int(viewer.dims.last_used) - (viewer.dims.ndim - layer.ndim)
    if used in axes:
        return used  # type: ignore[no-any-return]
    return (named or axes)[-1] if axes else None


def spatial_shape(layer: Image) -> tuple[int, ...]:
    """Return the shape of a layer's data at full resolution, colours left out."""
    data: Any = layer.data[0] if layer.multiscale else layer.data
    return tuple(int(n) for n in data.shape[: layer.ndim])


def image_plane_of(layer: Image, plane: Plane, look: DisplaySettings) -> ImagePlane:
    """Describe one plane of a numpy, dask, zarr or multiscale layer; nothing is read yet."""
    levels: list[Any] = list(layer.data) if layer.multiscale else [layer.data]
    channels = look.channels
    readers: list[tuple[PlaneReader, ...]] = []
    for data in levels:
        there = plane.at_level(levels[0].shape, data.shape)
        if channels.axis is None or channels.axis in plane.axes:
            fellows = (o.data[len(readers)] if o.multiscale else o.data for o in channels.others)
            readers.append(tuple(PlaneReader(each, there) for each in (data, *fellows)))
            continue
        ratio = data.shape[channels.axis] / levels[0].shape[channels.axis]
        chosen = channels.chosen or (0,)
        positions = [int((c + 0.5) * ratio) for c in chosen]
        readers.append(tuple(PlaneReader(data, there.at(channels.axis, p)) for p in positions))
    colours = channels.chosen if channels.axis is None else None
    if look.limits is not None:
        return ImagePlane(tuple(readers), colours, limits=look.limits or None)
    if layer.rgb:
        return ImagePlane(tuple(readers), colours)
    limits = (each.contrast_limits for each in (layer, *channels.others))
    shown = tuple((float(low), float(high)) for low, high in limits)
    if look.contrast == "layer":
        return ImagePlane(tuple(readers), colours, limits=shown)
    if channels.others:  # each has a range of its own
        return ImagePlane(tuple(readers))
    return ImagePlane(tuple(readers), colours, shown=shown[0])


def micrometres(unit: str) -> float | None:
    """Return how many micrometres a layer's unit is; None for pixels and other things."""
    from pint import get_application_registry

    quantity = get_application_registry().Quantity(1.0, unit)  # type: ignore[no-untyped-call]
    if unit == "pixel" or not quantity.check("[length]"):
        return None
    return float(quantity.to("micrometer").magnitude)


def pixel_side(layer: Image, plane: Plane) -> float | None:
    """Return the side of a square of a pixel's area in micrometres; None where not known."""
    sides = []
    for axis in plane.axes:
        unit = micrometres(str(layer.units[axis]))
        if unit is None:
            return None
        sides.append(float(steps_of(layer)[axis]) * unit)
    side = float(np.sqrt(sides[0] * sides[1]))
    return side if 0 < side < _LARGEST_SIDE else None


def image_digest(layer: Image, axes: tuple[int, int]) -> str:
    """Digest a layer's image, whichever plane of it is on show, however it is looked at."""
    levels: list[Any] = list(layer.data) if layer.multiscale else [layer.data]
    shape = spatial_shape(layer)
    middle = Plane(axes, tuple(length // 2 for length in shape))
    readers = tuple(
        (PlaneReader(data, middle.at_level(levels[0].shape, data.shape)),) for data in levels
    )
    found = ImagePlane(readers).fingerprint()
    if len(middle.position) == 0:
        return found
    return hashlib.blake2b(f"{shape} {found}".encode(), digest_size=20).hexdigest()


def click_in_plane(
    viewer: ViewerModel, layer: Image, plane: Plane, position: Sequence[float]
) -> tuple[float, float]:
    """Bring a click's world position to (row, column) in the plane."""
    # To a thousandth of a pixel: the transform's rounding errors would decide between two
    # neighbouring windows, and the same click would not be the same.
    data = np.round(to_data(viewer, layer, position), 3)
    return float(data[plane.axes[0]]), float(data[plane.axes[1]])


def axis_kind(layer: Image, axis: int) -> str:
    """Return what an axis is: a channel, frame or slice, else its name, else a position."""
    name = str(layer.axis_labels[axis])
    kinds = [kind for kind, names in _KINDS.items() if name.lower() in names]
    if layer.units[axis].dimensionality == "[time]":
        kinds = ["frame"]
    return next(iter(kinds), _UNNAMED if _is_unnamed(name) else name)


def _is_unnamed(name: str) -> bool:
    """Tell whether the name of an axis is none, or napari's own."""
    return not name or name.startswith("axis") or name.lstrip("-").isdigit()


def step_noun(layer: Image, axis: int) -> str:
    """Return what one walks through along an axis: frames, slices, or what its name says."""
    kind = axis_kind(layer, axis).lower()
    # A letter is no word, and napari's x and y are slices across.
    return kind if len(kind) > 2 and kind.isalpha() and kind != _UNNAMED else "slice"


def slice_in_words(layer: Image, plane: Plane) -> str:
    """Say which slice a plane is, as the table of objects does: "slice 3", "slice 1.3"."""
    axes = [axis for axis in plane.stack_axes if axis != channel_axis(layer)]
    numbers = ".".join(str(plane.index[axis]) for axis in axes)
    return f"{step_noun(layer, axes[-1])} {numbers}" if axes else "another slice"


def slice_spacing(layer: Image, plane: Plane, axis: int) -> float | None:
    """Return how many pixels lie between slices along an axis: 0 in time, None if not known."""
    if step_noun(layer, axis) != "slice":
        return 0.0
    axes = (axis, *plane.axes)
    lengths = [micrometres(str(layer.units[a])) for a in axes]
    steps = [
        float(steps_of(layer)[a]) * (length or 1.0) for a, length in zip(axes, lengths, strict=True)
    ]
    side = float(np.sqrt(steps[1] * steps[2]))
    # A layer without a scale has steps of one pixel each way.
    measured = None not in lengths or steps[0] != side
    return steps[0] / side if measured and side > 0 else None

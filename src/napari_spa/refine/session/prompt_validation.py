"""Turn what a caller gives into prompts, or say in one sentence what is wrong with it."""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

from napari_spa.core.presentation import counted
from napari_spa.core.types import BoolArray, Box, Click, LocalMask, Prompts, Region, Stroke
from napari_spa.errors import InputError
from napari_spa.refine.session.acts import stroke_pixels

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike

    from napari_spa.io.models.load import LoadedModel
    from napari_spa.io.profiles import PreferenceProfile
    from napari_spa.refine.engine.view import FieldOfView

_POINTS = 4
_DEEP = 0.5
"""Interior points lie at least so deep, as a share of the deepest one's depth."""
_EDGE = 0.5 + 1e-6
_LARGEST_PIXEL = 1e9  # micrometres: a kilometre, for those who look at the earth


def check_prompts(
    points: Sequence[tuple[float, float]],
    labels: Sequence[int] | None,
    box: tuple[float, float, float, float] | None,
    mask: ArrayLike | LocalMask | None,
    shape: tuple[int, int],
) -> Prompts:
    """Check the prompts that start an object: points (row, column), labels, a box, a rough mask.

    Labels are 1 by default; non-zero pixels of the mask, (H, W), are the object.  A rough mask
    without a positive click gets one where it is thickest.  ``InputError`` when a prompt cannot be
    used or there is nothing to start from.
    """
    points = _listed(points, "points are (row, column) pairs")
    labels = [1] * len(points) if labels is None else _listed(labels, "labels are 1 or 0 each")
    if len(labels) != len(points):
        there = f"{counted(len(points), 'point')} and {counted(len(labels), 'label')}"
        raise InputError(f"{there} cannot be paired; give each point one label, 1 or 0.")
    clicks = tuple(check_click(p, q, shape) for p, q in zip(points, labels, strict=True))
    given = None if box is None else check_box(box, shape)
    rough = None if mask is None else check_mask(mask, shape)
    if rough is not None and not any(c.label == 1 for c in clicks):
        clicks = (interior_click(rough), *clicks)
    if given is None and not any(c.label == 1 for c in clicks):
        raise InputError("nothing to start from; give a point on the object, a box or a mask.")
    return Prompts(clicks, given, rough)


def check_click(point: Sequence[float], label: int, shape: tuple[int, int]) -> Click:
    """Check a point prompt."""
    height, width = shape
    row, column = _numbers(point, 2, "a point is (row, column)")
    if not (-0.5 <= row <= height - 0.5 and -0.5 <= column <= width - 0.5):
        raise InputError(
            f"the point ({row:g}, {column:g}) lies outside the image of {height} rows "
            f"and {width} columns; points are (row, column)."
        )
    # The image's very edge belongs to its last pixel.
    return Click(min(row, height - _EDGE), min(column, width - _EDGE), _label(label))


def check_changes(
    changes: Any,  # noqa: ANN401
    own: Sequence[Click],
    shape: tuple[int, int],
) -> dict[int, Click | None]:
    """Check where clicks are moved to, by their index; None for those that are taken back."""
    known = isinstance(changes, Mapping) and all(isinstance(k, int | np.integer) for k in changes)
    if not known or not changes or not set(changes) <= set(range(len(own))):
        raise InputError(
            f"there {'is' if len(own) == 1 else 'are'} {counted(len(own), 'click')}; "
            "name those to change from 0, each with its place or None."
        )
    return {
        k: None if place is None else check_click(place, own[k].label, shape)
        for k, place in changes.items()
    }


def check_path(path: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """List where a stroke went, which may come as an iterator; its places are not checked yet."""
    return _listed(path, "a stroke is a list of (row, column)")


def check_stroke(
    path: Sequence[tuple[float, float]],
    label: int,
    shape: tuple[int, int],
    *,
    extent: float,
    filled: bool = False,
) -> tuple[Click, ...]:
    """Turn a brush stroke into a few clicks along it, or a lasso into a few inside of it."""
    points = [check_click(point, label, shape) for point in check_path(path)]
    if not points:
        raise InputError("the stroke has no point; draw over a part of the object.")
    if filled:
        return _clicks_inside(stroke_along(path, label, shape, filled=True), extent)
    places = np.array([(c.row, c.column) for c in points])
    steps = np.hypot(*np.diff(places, axis=0).T) if len(points) > 1 else np.zeros(0)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    count = int(np.clip(np.ceil(along[-1] / (extent / 8)), 1, 5))
    wanted = (np.arange(count) + 0.5) / count * along[-1]
    rows = np.interp(wanted, along, places[:, 0])
    columns = np.interp(wanted, along, places[:, 1])
    return tuple(Click(float(r), float(c), int(label)) for r, c in zip(rows, columns, strict=True))


def _clicks_inside(lasso: Stroke, extent: float) -> tuple[Click, ...]:
    """Spread a few clicks over the inner half of a lasso, the innermost first."""
    pixels = stroke_pixels(lasso)
    corner = pixels.min(axis=0)
    inside = np.zeros(np.ptp(pixels, axis=0) + 1, dtype=bool)
    inside[tuple((pixels - corner).T)] = True
    region = Region(int(corner[0]), int(corner[1]), *inside.shape)
    count = int(np.clip(np.sqrt(np.count_nonzero(inside)) / (extent / 8), 1, 5))
    places = deep_points(LocalMask(region, inside), count)
    return tuple(Click(row, column, lasso.label) for row, column in places)


def stroke_along(
    path: Sequence[tuple[float, float]], label: int, shape: tuple[int, int], *, filled: bool = False
) -> Stroke:
    """Return a checked stroke as the pixels it goes through."""
    places = np.floor(np.asarray(path, dtype=np.float64) + 0.5).astype(int)
    places = np.minimum(places, np.array(shape) - 1)
    moved = np.append(True, (np.diff(places, axis=0) != 0).any(axis=1))
    return Stroke(tuple((int(r), int(c)) for r, c in places[moved]), int(label), filled)


def start_of_stroke(path: Sequence[tuple[float, float]], shape: tuple[int, int]) -> Prompts:
    """Return the prompts of an object that is started with a brush stroke over it."""
    few = path[:: max(1, len(path) // _POINTS)][: _POINTS + 1]
    clicks = tuple(check_click(point, 1, shape) for point in few)
    return Prompts(clicks, strokes=(stroke_along(path, 1, shape),))


def check_pick(index: int, offered: int) -> int:
    """Check the index of a candidate."""
    try:
        number = whole_number(index, "the index of a candidate")
    except InputError:
        number = -1
    if not 0 <= number < offered:
        raise InputError(
            f"there is no candidate {_brief(index)}; choose 0 to {offered - 1}."
            if offered
            else "the model is certain and offers no candidate; click or accept."
        )
    return number


def whole_number(value: object, what: str) -> int:
    """Return a whole number of any type; nothing is rounded or parsed."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)  # type: ignore[arg-type]  # that is what is tried
    except TypeError:
        raise InputError(f"{what} is a whole number, not {_brief(value)}.") from None


def check_box(box: Sequence[float], shape: tuple[int, int]) -> Box:
    """Check a box prompt; corners may come in any order and are cut to the image."""
    height, width = shape
    row0, column0, row1, column1 = _numbers(box, 4, "a box is (row0, column0, row1, column1)")
    row0, row1 = sorted((row0, row1))
    column0, column1 = sorted((column0, column1))
    if row1 - row0 < 1 or column1 - column0 < 1:
        raise InputError("the box is less than a pixel high or wide; draw it around the object.")
    row0, column0 = max(row0, 0.0), max(column0, 0.0)
    row1, column1 = min(row1, float(height)), min(column1, float(width))
    if row1 - row0 < 1 or column1 - column0 < 1:
        raise InputError(f"the box lies outside of the image of {height} rows and {width} columns.")
    return Box(row0, column0, row1, column1)


def check_loaded(model: LoadedModel, profile: PreferenceProfile | None) -> None:
    """Refuse names in place of what a session needs, and a profile of another model."""
    if isinstance(model, str):
        raise InputError(f"a session needs a model, not its name; give load_model({model!r}).")
    if isinstance(profile, str):
        raise InputError("a session needs a profile, not its name; give what was loaded.")
    if profile is not None:
        profile.check(model.identity)


def check_mask(mask: ArrayLike | LocalMask, shape: tuple[int, int]) -> LocalMask:
    """Check a rough mask, whose non-zero pixels are the object: not empty, of the image's shape."""
    if not isinstance(mask, LocalMask):
        try:
            numbers = np.asarray(mask)
        except (TypeError, ValueError):  # rows of different lengths, say
            numbers = np.empty(0, object)
        if numbers.dtype.kind not in "biuf":
            raise InputError("the mask is no array of numbers.")
        array: BoolArray = np.nan_to_num(numbers) != 0  # what is not known is no object
        if array.shape != shape:
            raise InputError(f"the mask has the shape {array.shape}, the image {shape}.")
        mask = LocalMask.crop(array)
    if mask.region.common(Region(0, 0, *shape)) != mask.region:
        there = f"the image of {shape[0]} rows and {shape[1]} columns"
        raise InputError(f"the mask reaches out of {there}; cut it to the image.")
    if not mask.pixels.any():
        raise InputError("the mask is empty; draw where the object is, roughly.")
    return mask


def _numbers(values: Sequence[float], count: int, meaning: str) -> list[float]:
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):
        array = np.empty(0)
    # Text would be parsed, and a number beyond float64 is an object.
    known = array.dtype.kind in "iuf"
    if array.shape != (count,) or not known or not np.isfinite(array).all():
        raise InputError(f"{meaning} in finite numbers, not {_brief(values)}.")
    return [float(v) for v in array]


def _label(label: object) -> int:
    if isinstance(label, np.generic):
        label = label.item()
    if not isinstance(label, int | float) or label not in (0, 1):
        raise InputError(f"a label is 1 (object) or 0 (background), not {_brief(label)}.")
    return int(label)


def _listed(values: object, meaning: str) -> list[Any]:
    try:
        return list(values)  # type: ignore[call-overload,no-any-return]  # that is what is tried
    except TypeError:
        raise InputError(f"{meaning}, not {_brief(values)}.") from None


def _brief(value: object) -> str:
    """Quote a value in a sentence, however long it is, and whatever its repr does."""
    try:
        return f"{reprlib.repr(value):.80}"
    except Exception:  # noqa: BLE001  an int of 5,000 digits has none; foreign types may do anything
        return f"a {type(value).__name__}"


def check_seed(seed: int) -> int:
    """Check a seed."""
    number = whole_number(seed, "a seed")
    if not 0 <= number < 2**63:
        raise InputError(f"a seed is 0 or more and below 2**63, not {_brief(number)}.")
    return number


def check_pixel_size(size: float | None) -> float:
    """Check the side of a pixel in micrometres; 0 where it is not known."""
    if size is None:
        return 0.0
    (number,) = _numbers((size,), 1, "a pixel's size is its side in micrometres,")
    if not 0 < number < _LARGEST_PIXEL:
        raise InputError(f"a pixel's side is above 0 micrometres, not {_brief(size)}.")
    return number


def check_size(size: float) -> float:
    """Check a place on the size axis."""
    (place,) = _numbers((size,), 1, "a size is one number")
    if not -1.0 <= place <= 1.0:
        raise InputError(f"a size lies between -1 (shrunk) and 1 (grown), not at {place:g}.")
    return place


def check_view(view: FieldOfView) -> FieldOfView:
    """Check a field of view that is asked for; where it lies does not matter yet."""
    try:
        place = (view.row, view.column, view.height, view.width)
    except AttributeError:
        raise InputError(f"one looks at a FieldOfView, not at {_brief(view)}.") from None
    _, _, height, width = _numbers(place, 4, "a view is (row, column, height, width)")
    if min(height, width) <= 0:
        raise InputError(f"a view of {height:g} rows and {width:g} columns shows nothing.")
    return view


def deep_points(mask: LocalMask, count: int = _POINTS) -> list[tuple[float, float]]:
    """Return so many (row, column) at most, deep inside a mask and far apart, the deepest first."""
    depth = scipy.ndimage.distance_transform_edt(np.pad(mask.pixels, 1))[1:-1, 1:-1]
    deep = np.argwhere(depth >= _DEEP * depth.max())
    chosen = [np.array(np.unravel_index(int(depth.argmax()), depth.shape))]
    while len(chosen) < count:
        away = np.min([np.hypot(*(deep - place).T) for place in chosen], axis=0)
        if away.max() < 1:
            break
        chosen.append(deep[int(away.argmax())])
    corner = np.array([mask.region.row, mask.region.column])
    return [(float(r), float(c)) for r, c in np.array(chosen) + corner]


def interior_click(mask: LocalMask) -> Click:
    """Click, positively, where a mask that is not empty is thickest."""
    return Click(*deep_points(mask, 1)[0])

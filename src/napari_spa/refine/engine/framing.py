"""Choose the field of view around a click by itself.

A pyramid of windows around the first point goes through the network as one batch; then
each window's object once more, alone and asked for by its own middle, because a thing is
an object if it is found again from there.  The window that the quality head trusts in both
looks, that agrees with its neighbours and holds the object whole, says where the object
is; the field of view is centred on it.  So a 20-pixel nucleus in a 2048-pixel image is as
easy as an optic disc that fills a third of the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage

from napari_spa.refine.engine.alternatives import (
    Framed,
    Hypothesis,
    Option,
    distinct,
    hypothesis,
    iou,
    thickest,
)
from napari_spa.refine.engine.predictions import (
    FILLS,
    EncodeWindows,
    RankedPrediction,
    WindowPrediction,
    ask,
    has_edge,
    likelihoods,
    predictions_in,
    rank_predictions,
    size_preference,
    support,
)
from napari_spa.refine.engine.view import FieldOfView, ImageSampler, holding, view_around, widen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_spa.core.mixture import SizePrior
    from napari_spa.core.types import Click, DoubleArray, Prompts
    from napari_spa.model.spa import Spa
    from napari_spa.refine.engine.config import FramingConfig
    from napari_spa.refine.engine.embedder import Windows

_SAME_OBJECT = 0.5
"""IoU above which two masks show the same object."""
_STEPS, _CELLS, _NEARLY = 4, 8, 0.15
"""Windows around a picked mask have sides that are so many to an octave, and middles in steps of
so small a part of them; one whose edges lie within this share of a view that was encoded is it."""
_TOGETHER = 2
"""So many objects are looked at again before it is asked whether more have to be."""
_NO_EDGE = 0.5
"""What an object counts for whose edge the picture does not show."""
_SPECK, _SEEN_TOO = 0.4, 0.6
"""Of what is smaller than this share of the object chosen and has less support than this, a click
meant 1 of 100 (training images; docs/experiments.md)."""
_STEP_BACK, _STEPS_BACK = 1.5, 2
"""Where its edge cuts a mask a window is widened by this factor, at most so often."""


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """Look for objects in an image, with a network whose frame is ``window``."""

    spa: Spa
    sampler: ImageSampler
    see: EncodeWindows  # encodes windows of the image, and may remember them
    config: FramingConfig


def frame_prompts(
    search: Search,
    prompts: Prompts,
    expected: SizePrior | None = None,
    step: Callable[[float], None] = lambda share: None,
) -> Framed:
    """Choose the field of view for an object's prompts.

    From a box or a mask it is set by its extent, and holds the clicks too; else by the clicks.
    ``expected`` is how large the object is expected to be, from those accepted before; ``step``
    may raise to stop.
    """
    sampler, config = search.sampler, search.config
    rough = None if prompts.mask is None else prompts.mask.region
    region = rough if prompts.box is None else prompts.box
    if region is not None:
        view = view_around(sampler, region, context=config.context, smallest=config.smallest)
        return Framed(widen(view, prompts, sampler.shape))
    first = next((c for c in prompts.clicks if c.label == 1), prompts.clicks[0])
    sides = _worth_a_look(window_sides(sampler.largest_view, config), expected, config)
    views = list(dict.fromkeys(_snapped(first, side, sampler.shape, config) for side in sides))
    predictions = predictions_in(search.spa, search.see, views, prompts)
    step(0.4)
    each = len(predictions) // len(views)
    levels = [predictions[start : start + each] for start in range(0, len(predictions), each)]
    looks = _look_again(search, rank_predictions(levels, config, expected), prompts)
    step(0.8)
    best = max(looks, key=lambda look: look.score)
    found = _without_specks([*(look.clicked for look in looks), *predictions], best.clicked.area)
    others = _hypotheses(found, config, expected)
    asked = _whole(search, best.clicked, prompts)
    same = asked.iou(best.alone) >= _SAME_OBJECT
    view = widen(asked.view, prompts, sampler.shape)  # one that shows nothing was for one click
    return Framed(view, None if same else best.middle, others)


class _Look(NamedTuple):
    """An object that was looked at again, in a window of its own."""

    middle: Click
    alone: WindowPrediction  # what the window shows at it
    clicked: WindowPrediction  # and at the clicks
    score: float  # what it counts for


def _look_again(search: Search, seen: Sequence[RankedPrediction], prompts: Prompts) -> list[_Look]:
    """Look at each object alone, centred, asked for by its own middle; spare hopeless ones."""
    looks: list[_Look] = []
    for start in range(0, len(seen), _TOGETHER):
        best = max((look.score for look in looks), default=-1.0)
        together = seen[start : start + _TOGETHER]
        some = [ranked for ranked in together if search.config.spared * ranked.at_best > best]
        if not some:
            continue
        windows = search.see([_centred(search, ranked.prediction, prompts) for ranked in some])
        seen_as = [(ranked.prediction.mask, ranked.prediction.view) for ranked in some]
        middles = [thickest(mask, view, search.sampler.shape) for mask, view in seen_as]
        alone = ask(search.spa, windows, [(middle,) for middle in middles])
        clicked = ask(search.spa, windows, [prompts.clicks] * len(some))
        scores = [
            ranked.found_again(found, prompts.clicks)
            * (1.0 if has_edge(search.sampler, answer) else _NO_EDGE)
            for ranked, found, answer in zip(some, alone, clicked, strict=True)
        ]
        looks += map(_Look, middles, alone, clicked, scores)
    return looks


def _worth_a_look(
    sides: Sequence[float], expected: SizePrior | None, config: FramingConfig
) -> Sequence[float]:
    """Leave out windows too small for objects as large as expected, or one deviation less."""
    if expected is None or expected.doubt:
        return sides
    small = math.exp(expected.log_area - expected.deviation)
    return [side for side in sides if FILLS * side**2 >= small] or sides[-1:]


def _snapped(
    click: Click, side: float, shape: tuple[int, int], config: FramingConfig
) -> FieldOfView:
    """Return the window of a side whose cell holds a click: neighbours share it."""
    cell = config.snap * side
    row, column = (np.floor((at + 0.5) / cell) for at in (click.row, click.column))
    centre = (float(row) + 0.5) * cell, (float(column) + 0.5) * cell
    return FieldOfView.around(*centre, side).inside(shape)


def _whole(search: Search, prediction: WindowPrediction, prompts: Prompts) -> WindowPrediction:
    """Step back from an object that the window's edge cuts, as long as that helps."""
    sampler = search.sampler
    for _ in range(_STEPS_BACK):
        if not prediction.is_cut(sampler.shape):
            break
        view = prediction.view
        side = min(_STEP_BACK * view.height, 1.5 * sampler.largest_view)
        wider = FieldOfView.around(*view.centre, side).inside(sampler.shape)
        farther = ask(search.spa, search.see([wider]), [prompts.clicks])[0]
        if farther.cut(sampler.shape) >= prediction.cut(sampler.shape):
            break
        prediction = farther
    return prediction


def outline_in(
    spa: Spa,
    windows: Windows,
    click: Click,
    config: FramingConfig,
    expected: SizePrior | None = None,
) -> tuple[DoubleArray, ...]:
    """Outline the likeliest object at a click in encoded windows, in one decoder pass.

    The windows show the click, the smallest first.  The outlines, (N, 2) float64, are rows and
    columns in image pixels; there are none where no window shows an object.
    """
    from skimage.measure import find_contours  # slow to import

    predictions = ask(spa, windows, [(click,)] * len(windows.views))
    best = rank_predictions([[one] for one in predictions], config, expected)[0].prediction
    if best.probability is None or not best.mask.any():
        return ()
    size = best.mask.shape[0]
    near = ndimage.binary_dilation(best.mask)
    contours = find_contours(np.pad(np.where(near, best.probability, 0.0), 1), 0.5)
    return tuple(
        np.column_stack(best.view.to_image(contour[:, 1] - 1, contour[:, 0] - 1, size))
        for contour in contours
    )


def turn_to(
    search: Search, other: Hypothesis, prompts: Prompts
) -> tuple[FieldOfView, Click | None]:
    """Choose the field of view of an object that another window saw; it holds all prompts so far.

    With it comes the object's middle, where the clicks in that view would mean another one.
    """
    prediction = WindowPrediction(other.view, other.mask, other.quality)
    shape = search.sampler.shape
    view = widen(_centred(search, prediction, prompts), prompts, shape)
    if prompts.clicks:
        asked = ask(search.spa, search.see([view]), [prompts.clicks])[0]
        if iou(asked.mask, asked.view, other.mask, other.view) >= _SAME_OBJECT:
            return view, None
    return view, thickest(other.mask, other.view, shape)


def look_around(search: Search, picked: Option, prompts: Prompts) -> tuple[Hypothesis, ...]:
    """Look for parts of a mask that was picked, and for what it is a part of.

    That is what windows around it, which hold the user's own clicks, at least one, show at them,
    the best first; nothing if the mask is empty.
    """
    if not picked.mask.any():
        return ()
    sampler, config = search.sampler, search.config
    own = _centred(search, WindowPrediction(picked.view, picked.mask, quality=1.0), prompts)
    views: dict[FieldOfView, None] = {}
    for scale in config.around:
        side = min(max(scale * own.height, config.smallest / 2), 1.5 * sampler.largest_view)
        view = _rounded(own, side).inside(sampler.shape)
        if _nearly(view, picked.view):
            view = picked.view  # has been encoded
        views[widen(view, prompts, sampler.shape)] = None
    return _hypotheses(predictions_in(search.spa, search.see, list(views), prompts), config, None)


def _rounded(view: FieldOfView, side: float) -> FieldOfView:
    """Return a window of about a side around a view's middle; those of alike views are the same."""
    side = 2.0 ** (round(_STEPS * math.log2(side)) / _STEPS)
    cell = side / _CELLS
    row, column = view.centre
    return FieldOfView.around(round(row / cell) * cell, round(column / cell) * cell, side)


def _nearly(view: FieldOfView, other: FieldOfView) -> bool:
    """Whether two views show about the same."""
    away = (view.row - other.row, view.column - other.column)
    far = (away[0] + view.height - other.height, away[1] + view.width - other.width)
    return max(map(abs, (*away, *far))) <= _NEARLY * other.height


def _without_specks(predictions: Sequence[WindowPrediction], area: float) -> list[WindowPrediction]:
    """Leave out what is much smaller than an object and hardly shown by other windows."""
    return [
        prediction
        for prediction, seen in zip(predictions, support(predictions).tolist(), strict=True)
        if prediction.area >= _SPECK * area or seen >= _SEEN_TOO
    ]


def _hypotheses(
    predictions: Sequence[WindowPrediction], config: FramingConfig, expected: SizePrior | None
) -> tuple[Hypothesis, ...]:
    """Keep the objects that windows show at the clicks, the best first.

    What is cut by its window's edge counts less, what is a speck in it or fills it, and what
    is of an unlikely size; of two that are seen as well, the larger goes first.
    """
    found = []
    for prediction, likely in zip(
        predictions, likelihoods(predictions, expected, config), strict=True
    ):
        if prediction.probability is not None and prediction.mask.any():
            # Other sizes stay on offer: a user who outlined nuclei may want a gland now.
            quality = prediction.quality * (1.0 - min(1.0, 2.0 * prediction.border)) * likely**0.5
            quality *= size_preference(prediction.share)
            found.append(
                hypothesis(prediction.view, prediction.probability, prediction.mask, quality)
            )
    return distinct(
        found,
        config.hypotheses,
        config.distinct,
        merit=lambda other: other.quality * other.area**config.size_merit,
    )


def _centred(search: Search, prediction: WindowPrediction, prompts: Prompts) -> FieldOfView:
    """Return the view of a prediction's object that holds the clicks too."""
    sampler, config = search.sampler, search.config
    view = prediction.object_view(config.context)
    if view is None:
        return prediction.view
    side = min(max(view.height, config.smallest), 1.5 * sampler.largest_view)
    return holding(FieldOfView.around(*view.centre, side), prompts).inside(sampler.shape)


def window_sides(largest: float, config: FramingConfig) -> list[float]:
    """Sides of the pyramid's windows, from the smallest to the largest, all the image."""
    sides = [min(config.smallest, max(largest, 8.0))]
    while sides[-1] * config.ratio < largest:
        sides.append(sides[-1] * config.ratio)
    if len(sides) > 1 and largest < 1.2 * sides[-1]:
        sides.pop()
    if largest > sides[-1]:
        sides.append(largest)
    return sides

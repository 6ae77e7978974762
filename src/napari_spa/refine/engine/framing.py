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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from napari_spa.core.types import Box, Click, Region
from napari_spa.refine.engine.embedder import Windows, encode_windows
from napari_spa.refine.engine.hypotheses import (
    Framed,
    Hypothesis,
    dice_across,
    distinct,
    hypothesis,
    iou,
)
from napari_spa.refine.engine.view import FieldOfView, ImageSampler

if TYPE_CHECKING:
    from napari_spa.core.mixture import SizePrior
    from napari_spa.core.types import BoolArray, DoubleArray, FloatArray, LocalMask, Prompts
    from napari_spa.model.spa import Spa
    from napari_spa.refine.engine.choices import Option
    from napari_spa.refine.engine.config import FramingConfig


PredictWindows = Callable[[Sequence[FieldOfView]], Windows]
"""Encodes windows of the image."""

_SAME_OBJECT, _ALIKE = 0.5, 0.8
"""IoU above which two masks show the same object, and above which a second look is spared."""
_SAME_SIZE = 0.6
"""IoU above which what memory speaks for is the object that was found without it."""
_ROOM, _SPECK = 0.03, 0.1
"""A box has this share of the view around it, and its longer side is at least this of it."""
_DENIED = 0.2
"""What an object counts for that a click speaks against."""
_STEPS, _CELLS, _NEARLY = 4, 8, 0.15
"""Windows around a picked mask have sides that are so many to an octave, and middles in steps of
so small a part of them; one whose edges lie within this share of a view that was encoded is it."""
_FILLS = 0.45
"""Share of a window from which on its object is too large for it."""
_TOGETHER = 2
"""So many objects are looked at again before it is asked whether more have to be."""
_CUT, _STEP_BACK, _STEPS_BACK = 0.1, 1.5, 2
"""Where a mask touches more of its window's edge than this share of a side, the window is
widened by this factor, at most so often."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowPrediction:
    """What the network sees in one window of the pyramid.

    Attributes
    ----------
    view : FieldOfView
        The window.
    mask : ndarray of shape (h, w)
        bool, the connected part of its mask at the point.
    quality : float
        Predicted IoU.
    probability : ndarray of shape (h, w) or None
        float32, of which the mask is a part.
    """

    view: FieldOfView
    mask: BoolArray
    quality: float
    probability: FloatArray | None = None

    @property
    def share(self) -> float:
        """The mask's share of the window."""
        return float(self.mask.mean())

    @property
    def area(self) -> float:
        """The mask's area in pixels of the image."""
        return self.share * self.view.height * self.view.width

    @property
    def border(self) -> float:
        """Share of the window's outline that the mask touches."""
        m = self.mask
        edge = np.concatenate([m[0], m[-1], m[:, 0], m[:, -1]])
        return float(edge.mean())

    def cut(self, shape: tuple[int, int]) -> float:
        """Return how much of a side the mask touches where an image of a shape goes on beyond."""
        mask, view = self.mask, self.view
        sides = (
            (view.row > 0, mask[0]),
            (view.row + view.height < shape[0], mask[-1]),
            (view.column > 0, mask[:, 0]),
            (view.column + view.width < shape[1], mask[:, -1]),
        )
        return max((float(side.mean()) for inner, side in sides if inner), default=0.0)

    def is_cut(self, shape: tuple[int, int]) -> bool:
        """Whether the window's edge cuts the mask."""
        return self.cut(shape) > _CUT

    def agrees(self, click: Click) -> bool:
        """Whether the mask says what a click does; beyond the window is background."""
        if click.label == 1:
            return self.holds(click)
        size = self.mask.shape[0]
        x, y = self.view.to_model(click.row, click.column, size)
        row, column = round(y), round(x)
        inside = 0 <= row < size and 0 <= column < size
        return not (inside and self.mask[row, column])

    def holds(self, click: Click) -> bool:
        """Whether the mask holds a click or touches its pixel."""
        size = self.mask.shape[0]
        x, y = self.view.to_model(click.row, click.column, size)
        row, column = round(y), round(x)
        near = self.mask[max(row - 1, 0) : max(row + 2, 0), max(column - 1, 0) : max(column + 2, 0)]
        return bool(near.any())

    def object_view(self, context: float) -> FieldOfView | None:
        """Return a square view of the object with its surroundings, or None if empty."""
        if not self.mask.any():
            return None
        size = self.mask.shape[0]
        rows, columns = np.flatnonzero(self.mask.any(1)), np.flatnonzero(self.mask.any(0))
        top, left = self.view.to_image(float(columns[0]) - 0.5, float(rows[0]) - 0.5, size)
        bottom, right = self.view.to_image(float(columns[-1]) + 0.5, float(rows[-1]) + 0.5, size)
        extent = 0.65 * max(bottom - top, right - left) + 0.35 * min(bottom - top, right - left)
        extent = max(extent, 0.75 * max(bottom - top, right - left))
        return FieldOfView.around(
            (top + bottom) / 2 + 0.5, (left + right) / 2 + 0.5, context * extent
        )


def frame_prompts(
    spa: Spa,
    sampler: ImageSampler,
    prompts: Prompts,
    config: FramingConfig,
    *,
    see: PredictWindows | None = None,
    expected: SizePrior | None = None,
    step: Callable[[float], None] = lambda share: None,
) -> Framed:
    """Choose the field of view for an object's prompts.

    Parameters
    ----------
    spa : Spa
        A network whose frame is ``window``.
    sampler : ImageSampler
        The image.
    prompts : Prompts
        With a box or a mask the view is set from its extent, and holds the clicks too;
        else from the clicks.
    config : FramingConfig
        Sizes of the search.
    see : callable or None
        Encodes windows, and may remember them; each is encoded by default.
    expected : SizePrior or None
        How large the object is expected to be, from those accepted before.
    step : callable
        Called with the share done; may raise to stop.

    Returns
    -------
    Framed
    """
    region = _given_region(prompts)
    if region is not None:
        view = view_around(sampler, region, context=config.context, smallest=config.smallest)
        return Framed(widen(view, prompts, sampler.shape))
    see = see or partial(encode_windows, spa, sampler)
    first = next((c for c in prompts.clicks if c.label == 1), prompts.clicks[0])
    sides = _worth_a_look(window_sides(sampler.largest_view, config), expected, config)
    views = list(dict.fromkeys(_snapped(first, side, sampler.shape, config) for side in sides))
    predictions = predictions_in(spa, see, views, prompts)
    step(0.4)
    seen = rank_predictions(_chunks(predictions, len(predictions) // len(views)), config, expected)
    looks = _look_again(spa, see, sampler, seen, prompts, config, expected)
    step(0.8)
    alone, clicked, scores = looks.alone, looks.clicked, np.array(looks.scores)
    index = int(np.argmax(scores))
    others = _hypotheses([*clicked, *predictions], config, expected)
    if expected is not None:
        likelier = clicked[int(np.argmax(_likelihoods(clicked, expected, config) * scores))]
        # Memory decides which object is meant, not how its view is cut.
        if _agreement(likelier, alone[index]) < _SAME_SIZE:
            return Framed(likelier.view, None, others)
    asked = _whole(spa, see, clicked[index], prompts, sampler)
    if _agreement(asked, alone[index]) >= _SAME_OBJECT:
        return Framed(asked.view, None, others)
    return Framed(asked.view, looks.middles[index], others)


@dataclass(frozen=True, slots=True, eq=False)
class _Looks:
    """Objects that were looked at again, each in a window of its own."""

    middles: list[Click]
    alone: list[WindowPrediction]  # what their windows show at these
    clicked: list[WindowPrediction]  # and at the clicks
    scores: list[float]  # what each counts for


def _look_again(
    spa: Spa,
    see: PredictWindows,
    sampler: ImageSampler,
    seen: Sequence[RankedPrediction],
    prompts: Prompts,
    config: FramingConfig,
    expected: SizePrior | None,
) -> _Looks:
    """Look at each object once more: alone, centred, asked for by its own middle.

    What could hardly count for more than the best so far is spared.
    """
    looks, weighed = _Looks([], [], [], []), [0.0]
    likely = _likelihoods([ranked.prediction for ranked in seen], expected, config)
    for start in range(0, len(seen), _TOGETHER):
        best, fitting = max(looks.scores, default=-1.0), max(weighed)
        some = [
            ranked
            for ranked, size in zip(seen[start:][:_TOGETHER], likely[start:], strict=False)
            if config.spared * ranked.at_best > best
            or config.spared * ranked.at_best * size > fitting
        ]
        if not some:
            continue
        windows = see([_centred(ranked.prediction, prompts, config, sampler) for ranked in some])
        middles = [_middle(ranked.prediction, sampler.shape) for ranked in some]
        alone = ask(spa, windows, [(middle,) for middle in middles])
        scores = [r.found_again(f, prompts.clicks) for r, f in zip(some, alone, strict=True)]
        clicked = ask(spa, windows, [prompts.clicks] * len(some))
        weighed += (_likelihoods(clicked, expected, config) * scores).tolist()
        looks.middles.extend(middles)
        looks.alone.extend(alone)
        looks.clicked.extend(clicked)
        looks.scores.extend(scores)
    return looks


def _worth_a_look(
    sides: Sequence[float], expected: SizePrior | None, config: FramingConfig
) -> Sequence[float]:
    """Leave out windows too small for objects as large as expected, or one deviation less."""
    if expected is None:
        return sides
    small = math.exp(expected.log_area - expected.deviation)
    return [side for side in sides if _FILLS * side**2 >= small] or sides[-1:]


def _likelihoods(
    predictions: Sequence[WindowPrediction], expected: SizePrior | None, config: FramingConfig
) -> DoubleArray:
    """Return how likely each predicted object is of its size, (n,); ones where nothing is known."""
    if expected is None:
        return np.ones(len(predictions))
    return np.array([expected.likelihood(g.area, doubt=config.size_doubt) for g in predictions])


def _chunks(predictions: Sequence[WindowPrediction], size: int) -> list[Sequence[WindowPrediction]]:
    return [predictions[start : start + size] for start in range(0, len(predictions), size)]


def _snapped(
    click: Click, side: float, shape: tuple[int, int], config: FramingConfig
) -> FieldOfView:
    """Return the window of a side whose cell holds a click: neighbours share it."""
    cell = config.snap * side
    row, column = (np.floor((at + 0.5) / cell) for at in (click.row, click.column))
    centre = (float(row) + 0.5) * cell, (float(column) + 0.5) * cell
    return FieldOfView.around(*centre, side).inside(shape)


def _whole(
    spa: Spa,
    see: PredictWindows,
    prediction: WindowPrediction,
    prompts: Prompts,
    sampler: ImageSampler,
) -> WindowPrediction:
    """Step back from an object that the window's edge cuts, as long as that helps."""
    for _ in range(_STEPS_BACK):
        if not prediction.is_cut(sampler.shape):
            break
        view = prediction.view
        side = min(_STEP_BACK * view.height, 1.5 * sampler.largest_view)
        middle = (view.row + view.height / 2, view.column + view.width / 2)
        wider = FieldOfView.around(*middle, side).inside(sampler.shape)
        farther = ask(spa, see([wider]), [prompts.clicks])[0]
        if farther.cut(sampler.shape) >= prediction.cut(sampler.shape):
            break
        prediction = farther
    return prediction


def predictions_in(
    spa: Spa, see: PredictWindows, views: Sequence[FieldOfView], prompts: Prompts
) -> list[WindowPrediction]:
    """Return what each output token takes the clicks for, view by view, token 0 first."""
    tokens = range(1 + spa.config.multimask_outputs)
    return ask(spa, see(views), [prompts.clicks] * len(views), tokens)


def standing(
    predictions: Sequence[WindowPrediction], prompts: Prompts, shape: tuple[int, int]
) -> float:
    """Return how well a view serves prompts: the best of what it shows, in [0, 1].

    It counts how many clicks a mask agrees with, whether it is whole, and the network's trust.
    """
    clicks = prompts.clicks
    return max(
        sum(prediction.agrees(click) for click in clicks)
        / len(clicks)
        * float(np.clip(prediction.quality, 0.0, 1.0))
        * (1.0 - min(1.0, prediction.cut(shape)))
        for prediction in predictions
    )


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


def cuts(view: FieldOfView, mask: LocalMask, shape: tuple[int, int]) -> bool:
    """Whether a view's edge cuts a mask where the image goes on beyond."""
    seen = view.region(shape)
    pixels = mask.within(seen)
    prediction = WindowPrediction(
        FieldOfView(seen.row, seen.column, seen.height, seen.width), pixels, quality=1.0
    )
    return bool(pixels.any()) and prediction.is_cut(shape)


def outline_in(
    spa: Spa,
    windows: Windows,
    click: Click,
    config: FramingConfig,
    expected: SizePrior | None = None,
) -> tuple[DoubleArray, ...]:
    """Outline the likeliest object at a click in encoded windows, in one decoder pass.

    Parameters
    ----------
    spa : Spa
        The network.
    windows : Windows
        That show the click, the smallest first.
    click : Click
        In image pixels.
    config : FramingConfig
        Weights.
    expected : SizePrior or None
        How large the object is expected to be.

    Returns
    -------
    tuple of ndarray of shape (N, 2)
        float64 (row, column) in image pixels; none where no window shows an object.
    """
    from skimage.measure import find_contours  # slow to import

    predictions = ask(spa, windows, [(click,)] * len(windows.views))
    ranked = rank_predictions([[one] for one in predictions], config, expected)
    best = max(
        ranked,
        key=lambda one: one.merit * _likelihoods([one.prediction], expected, config)[0],
    ).prediction
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
    spa: Spa,
    sampler: ImageSampler,
    other: Hypothesis,
    prompts: Prompts,
    config: FramingConfig,
    *,
    see: PredictWindows | None = None,
) -> tuple[FieldOfView, Click | None]:
    """Choose the field of view of an object that another window saw.

    Parameters
    ----------
    spa : Spa
        A network whose frame is ``window``.
    sampler : ImageSampler
        The image.
    other : Hypothesis
        The object.
    prompts : Prompts
        All so far; the view holds them.
    config : FramingConfig
        Sizes.
    see : callable or None
        Encodes windows, and may remember them; each is encoded by default.

    Returns
    -------
    view : FieldOfView
    anchor : Click or None
        The object's middle, where the clicks in that view would mean another one.
    """
    prediction = WindowPrediction(other.view, other.mask, other.quality)
    view = widen(_centred(prediction, prompts, config, sampler), prompts, sampler.shape)
    if prompts.clicks:
        see = see or partial(encode_windows, spa, sampler)
        asked = ask(spa, see([view]), [prompts.clicks])[0]
        if iou(asked.mask, asked.view, other.mask, other.view) >= _SAME_OBJECT:
            return view, None
    return view, other.middle(sampler.shape)


def look_around(
    spa: Spa,
    sampler: ImageSampler,
    picked: Option,
    prompts: Prompts,
    config: FramingConfig,
    *,
    see: PredictWindows | None = None,
) -> tuple[Hypothesis, ...]:
    """Look for parts of a mask that was picked, and for what it is a part of.

    Parameters
    ----------
    spa : Spa
        A network whose frame is ``window``.
    sampler : ImageSampler
        The image.
    picked : Option
        The mask.
    prompts : Prompts
        With the user's own clicks, at least one; the windows hold them.
    config : FramingConfig
        Sizes.
    see : callable or None
        Encodes windows, and may remember them; each is encoded by default.

    Returns
    -------
    tuple of Hypothesis
        What windows around it show at the clicks, the best first; none if it is empty.
    """
    if not picked.mask.any():
        return ()
    prediction = WindowPrediction(picked.view, picked.mask, quality=1.0)
    own = _centred(prediction, prompts, config, sampler)
    views: dict[FieldOfView, None] = {}
    for scale in config.around:
        side = min(max(scale * own.height, config.smallest / 2), 1.5 * sampler.largest_view)
        view = _rounded(own, side).inside(sampler.shape)
        if _nearly(view, picked.view):
            view = picked.view  # has been encoded
        views[widen(view, prompts, sampler.shape)] = None
    see = see or partial(encode_windows, spa, sampler)
    return _hypotheses(predictions_in(spa, see, list(views), prompts), config, None)


def _rounded(view: FieldOfView, side: float) -> FieldOfView:
    """Return a window of about a side around a view's middle; those of alike views are the same."""
    side = 2.0 ** (round(_STEPS * math.log2(side)) / _STEPS)
    cell = side / _CELLS
    row, column = view.row + view.height / 2, view.column + view.width / 2
    return FieldOfView.around(round(row / cell) * cell, round(column / cell) * cell, side)


def _nearly(view: FieldOfView, other: FieldOfView) -> bool:
    """Whether two views show about the same."""
    away = (view.row - other.row, view.column - other.column)
    far = (away[0] + view.height - other.height, away[1] + view.width - other.width)
    return max(map(abs, (*away, *far))) <= _NEARLY * other.height


def _hypotheses(
    predictions: Sequence[WindowPrediction], config: FramingConfig, expected: SizePrior | None
) -> tuple[Hypothesis, ...]:
    """Keep the objects that windows show at the clicks, the best first.

    What is cut by its window's edge counts less, what is a speck in it or fills it, and what
    is of an unlikely size; of two that are seen as well, the larger goes first.
    """
    found = []
    for prediction, likely in zip(
        predictions, _likelihoods(predictions, expected, config), strict=True
    ):
        if prediction.probability is not None and prediction.mask.any():
            # Other sizes stay on offer: a user who outlined nuclei may want a gland now.
            quality = prediction.quality * (1.0 - min(1.0, 2.0 * prediction.border)) * likely**0.5
            quality *= _size_preference(prediction.share)
            found.append(
                hypothesis(prediction.view, prediction.probability, prediction.mask, quality)
            )
    return distinct(
        found,
        config.hypotheses,
        config.distinct,
        merit=lambda other: other.quality * other.area**config.size_merit,
    )


def _centred(
    prediction: WindowPrediction, prompts: Prompts, config: FramingConfig, sampler: ImageSampler
) -> FieldOfView:
    """Return the view of a prediction's object that holds the clicks too."""
    view = prediction.object_view(config.context)
    if view is None:
        return prediction.view
    side = min(max(view.height, config.smallest), 1.5 * sampler.largest_view)
    centre = (view.row + view.height / 2, view.column + view.width / 2)
    return _keep(FieldOfView.around(*centre, side), prompts).inside(sampler.shape)


def _middle(prediction: WindowPrediction, shape: tuple[int, int]) -> Click:
    """Return a click where a prediction's mask is thickest; its window's middle if empty."""
    size = prediction.mask.shape[0]
    depth = ndimage.distance_transform_edt(np.pad(prediction.mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    if not prediction.mask.any():
        y = x = np.intp(size // 2)
    row, column = prediction.view.to_image(float(x), float(y), size)
    return Click(float(np.clip(row, 0, shape[0] - 1)), float(np.clip(column, 0, shape[1] - 1)), 1)


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


@torch.inference_mode()
def ask(
    spa: Spa,
    windows: Windows,
    clicks: Sequence[Sequence[Click]],
    tokens: Sequence[int] = (0,),
) -> list[WindowPrediction]:
    """Ask encoded windows what lies at clicks.

    Parameters
    ----------
    spa : Spa
        The network.
    windows : Windows
        What it looks at.
    clicks : sequence of sequence of Click
        For each window as many clicks; those outside of it are left out.
    tokens : sequence of int
        Output tokens to decode: 0 is the answer, the others a part, the thing, the whole.

    Returns
    -------
    list of WindowPrediction
        One for each token, window by window.
    """
    size, views, image = spa.config.image_size, windows.views, windows.image
    pairs = list(zip(views, clicks, strict=True))
    points = torch.tensor(
        [[view.to_model(c.row, c.column, size) for c in row] for view, row in pairs]
    ).float()
    labels = torch.tensor([[float(c.label) for c in row] for row in clicks])
    outside = ((points < -0.5) | (points > size - 0.5)).any(dim=2)
    labels = torch.where(outside, -1.0, labels)
    prompt = spa.embed_prompts(points.to(spa.device), labels.to(spa.device))
    logits, quality = spa.decode(image, prompt, None, tokens=tokens)
    scale = logits.shape[-1] / size
    probability = logits.sigmoid().float().cpu().numpy()
    return [
        WindowPrediction(
            view,
            _at_points(logits[i, t], points[i], labels[i], scale),
            float(quality[i, t]),
            probability[i, t],
        )
        for i, view in enumerate(views)
        for t in range(len(tokens))
    ]


@dataclass(frozen=True, slots=True, eq=False)
class RankedPrediction:
    """An object that a window of the pyramid shows.

    Attributes
    ----------
    prediction : WindowPrediction
        What the window shows.
    likely : float
        How likely it is meant, by its extent and place in the window and by its neighbours
        in the pyramid, before the quality head is believed.
    """

    prediction: WindowPrediction
    likely: float

    @property
    def merit(self) -> float:
        """What it counts for before it was looked at alone."""
        return self.likely * float(np.clip(self.prediction.quality, 0.0, 1.0))

    @property
    def at_best(self) -> float:
        """The most that it can count for when it is looked at alone."""
        return self.likely * float(np.clip(self.prediction.quality, 0.0, 1.0) ** 0.5)

    def found_again(self, alone: WindowPrediction, clicks: Sequence[Click]) -> float:
        """Return what it counts for when it was looked at alone, asked for by its own middle.

        A thing is an object if it is found again from there, and meant if it holds the clicks.
        """
        trust = np.clip(alone.quality, 0.0, 1.0)
        whole = 1.0 - min(1.0, 2.0 * alone.border)
        denied = sum(not alone.agrees(click) for click in clicks)
        return self.at_best * float(trust) * whole * float(_DENIED**denied)


def rank_predictions(
    levels: Sequence[Sequence[WindowPrediction]],
    config: FramingConfig,
    expected: SizePrior | None = None,
) -> list[RankedPrediction]:
    """Choose the objects of a pyramid that deserve a second look.

    Parameters
    ----------
    levels : sequence of sequence of WindowPrediction
        What each window shows, from the smallest to the largest.
    config : FramingConfig
        Weights, and how many are kept.
    expected : SizePrior or None
        How large the object is expected to be.

    Returns
    -------
    list of RankedPrediction
        The best first, each of another object; at least one.
    """
    largest = max(level[0].view.height for level in levels)
    pairs = [_overlaps(level, wider) for level, wider in pairwise(levels)]
    found = []
    for index, level in enumerate(levels):
        near = [pair.max(axis=0) for pair in pairs[max(index - 1, 0) : index]]
        near += [pair.max(axis=1) for pair in pairs[index : index + 1]]
        likelihoods = _likelihoods(level, expected, config)
        for k, (prediction, size) in enumerate(zip(level, likelihoods, strict=True)):
            agree = sum(float(side[k]) for side in near)
            # Texture looks like small objects; a user zooms in on what is really small.
            extent = np.sqrt(max(prediction.share, 1e-6)) * prediction.view.height / largest
            likely = (config.alone + agree / max(len(near), 1)) * _size_preference(prediction.share)
            whole = 1.0 - min(1.0, 2.0 * prediction.border)
            likely *= whole * float(extent**config.size_prior)
            ranked = RankedPrediction(prediction, likely)
            found.append((ranked.merit * float(size), ranked))
    found.sort(key=lambda pair: -pair[0])
    kept: list[RankedPrediction] = []
    for merit, ranked in found:
        if len(kept) == config.looks or (kept and not merit):
            break
        if all(_agreement(ranked.prediction, other.prediction) < _ALIKE for other in kept):
            kept.append(ranked)
    return kept


def _size_preference(share: float) -> float:
    """Prefer masks that fill 2 % to 45 % of the window; nothing counts at the extremes."""
    if share <= 0.0:
        return 0.0
    low = min(1.0, share / 0.02)
    high = float(np.clip((_FILLS + 0.4 - share) / 0.4, 0.0, 1.0))
    return low * high


def _overlaps(first: Sequence[WindowPrediction], second: Sequence[WindowPrediction]) -> DoubleArray:
    """IoU of what one window shows with what another does, (n, m); 0 where a mask is empty."""
    ours, theirs = (np.stack([g.mask for g in level]) for level in (first, second))
    dice = dice_across(ours, first[0].view, theirs, second[0].view)
    seen = np.outer(ours.any(axis=(1, 2)), theirs.any(axis=(1, 2)))
    return np.where(seen, dice / (2 - dice), 0.0)


def _agreement(first: WindowPrediction, second: WindowPrediction) -> float:
    """IoU of two windows' masks; 0 where one is empty."""
    return float(_overlaps([first], [second])[0, 0])


def _at_points(logits: Tensor, points: Tensor, labels: Tensor, scale: float) -> BoolArray:
    """Return the connected parts of a mask that hold a positive point, or touch its pixel."""
    mask: BoolArray = (logits > 0).cpu().numpy()
    parts, _ = ndimage.label(mask)
    size = mask.shape[0]
    wanted = set()
    for (x, y), label in zip(points.tolist(), labels.tolist(), strict=True):
        if label == 1:
            row = int(np.clip((y + 0.5) * scale, 0, size - 1))
            column = int(np.clip((x + 0.5) * scale, 0, size - 1))
            near = parts[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            here = parts[row, column]
            wanted |= {here} if here else set(np.unique(near)) - {0}
    return np.isin(parts, list(wanted))


def view_around(
    sampler: ImageSampler, region: Box | Region, *, context: float, smallest: float
) -> FieldOfView:
    """Return the window that shows a rectangle with its surroundings.

    Parameters
    ----------
    sampler : ImageSampler
        The image.
    region : Box or Region
        What to show: a box, or the rectangle of a mask.
    context : float
        Side of the window in extents of the rectangle.
    smallest : float
        Side of the smallest window, in image pixels.

    Returns
    -------
    FieldOfView
        Moved into the image, and not larger than may be read.
    """
    if isinstance(region, Region):
        bottom, right = region.row + region.height, region.column + region.width
        region = Box(region.row, region.column, bottom, right)
    extent = max(region.row1 - region.row0, region.column1 - region.column0)
    side = max(smallest, context * min(extent, sampler.largest_view))
    row, column = (region.row0 + region.row1) / 2, (region.column0 + region.column1) / 2
    return FieldOfView.around(row, column, side).inside(sampler.shape)


def _given_region(prompts: Prompts) -> Box | Region | None:
    """Return the rectangle that a box or a rough mask covers; the box goes first."""
    if prompts.box is not None or prompts.mask is None:
        return prompts.box
    return prompts.mask.region


def _keep(view: FieldOfView, prompts: Prompts) -> FieldOfView:
    """Grow a view until it holds every click with a small margin."""
    rows = [c.row + 0.5 for c in prompts.clicks]
    columns = [c.column + 0.5 for c in prompts.clicks]
    row, column = view.row + view.height / 2, view.column + view.width / 2
    reach = max(max(abs(r - row) for r in rows), max(abs(c - column) for c in columns))
    return FieldOfView.around(row, column, max(view.height, 2.2 * reach))


def widen(view: FieldOfView, prompts: Prompts, shape: tuple[int, int]) -> FieldOfView:
    """Return a view that also holds the latest prompts; the same one when it already does.

    Parameters
    ----------
    view : FieldOfView
        The present view.
    prompts : Prompts
        With at least one click or a box.
    shape : (int, int)
        Rows and columns of the image.

    Returns
    -------
    FieldOfView
    """
    corners = [(c.row, c.column) for c in prompts.clicks]
    corners += [(float(r), float(c)) for stroke in prompts.strokes for r, c in stroke.path]
    if prompts.box is not None:
        corners += prompts.box.corners
    if all(view.contains(row, column) for row, column in corners):
        return view
    rows = [view.row, view.row + view.height, *(r + 0.5 for r, _ in corners)]
    columns = [view.column, view.column + view.width, *(c + 0.5 for _, c in corners)]
    side = 1.1 * max(max(rows) - min(rows), max(columns) - min(columns))
    centre = ((max(rows) + min(rows)) / 2, (max(columns) + min(columns)) / 2)
    return FieldOfView.around(*centre, side).inside(shape)

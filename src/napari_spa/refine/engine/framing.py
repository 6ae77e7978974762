"""Choose the field of view around a click by itself.

A pyramid of windows around the first point goes through the network as one batch; then
each window's object once more, alone and asked for by its own middle, because a thing is
an object if it is found again from there.  The window that the quality head trusts in both
looks, that agrees with its neighbours and holds the object whole, says where the object
is; the field of view is centred on it.  So a 20-pixel nucleus in a 2048-pixel image is as
easy as an optic disc that fills a third of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from napari_spa.core.types import Box, Click, Region
from napari_spa.refine.engine.hypotheses import Framed, Hypothesis, distinct, hypothesis, iou
from napari_spa.refine.engine.view import Canvas, FieldOfView

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_spa.core.size_prior import SizePrior
    from napari_spa.core.types import BoolArray, DoubleArray, FloatArray, Prompts
    from napari_spa.model.spa import ImageEmbedding, Spa
    from napari_spa.refine.engine.config import FramingConfig


_SAME_OBJECT = 0.5
"""IoU above which two masks show the same object."""
_SAME_SIZE = 0.6
"""IoU above which what memory speaks for is the object that was found without it."""


@dataclass(frozen=True, slots=True, eq=False)
class Glimpse:
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
    canvas: Canvas,
    prompts: Prompts,
    config: FramingConfig,
    *,
    expected: SizePrior | None = None,
    step: Callable[[float], None] = lambda share: None,
) -> Framed:
    """Choose the field of view for the first prompts.

    Parameters
    ----------
    spa : Spa
        A network whose frame is ``window``.
    canvas : Canvas
        The image.
    prompts : Prompts
        With a box or a mask the view is set from its extent, and holds the clicks too;
        else from the clicks.
    config : FramingConfig
        Sizes of the search.
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
        view = view_around(canvas, region, context=config.context, smallest=config.smallest)
        return Framed(widen(view, prompts, canvas.shape))
    first = next((c for c in prompts.clicks if c.label == 1), prompts.clicks[0])
    views = [
        FieldOfView.around(first.row + 0.5, first.column + 0.5, side).inside(canvas.shape)
        for side in window_sides(canvas.largest_view, config)
    ]
    glimpses = look(spa, canvas, views, [prompts.clicks] * len(views))
    step(0.4)
    # Each window's object once more: alone, centred, asked for by its own middle.
    middles = [_middle(glimpse, canvas.shape) for glimpse in glimpses]
    windows = encode_windows(
        spa, canvas, [_centred(glimpse, prompts, config, canvas) for glimpse in glimpses]
    )
    centred = ask(spa, windows, [(middle,) for middle in middles])
    clicked = ask(spa, windows, [prompts.clicks] * len(glimpses))
    step(0.7)
    scores = score(glimpses, centred, first, config)
    index = int(np.argmax(scores))
    others = _hypotheses(clicked, config, expected)
    if expected is not None:
        likelier = clicked[int(np.argmax(_likelihoods(clicked, expected, config) * scores))]
        # Memory decides which object is meant, not how its view is cut.
        if _agreement(likelier, centred[index]) < _SAME_SIZE:
            return Framed(likelier.view, None, others)
    best = _follow(spa, canvas, prompts, centred[index], config)
    step(0.9)
    asked = look(spa, canvas, [best], [prompts.clicks])[0]
    if _agreement(asked, centred[index]) >= _SAME_OBJECT:
        return Framed(best, None, others)
    return Framed(best, middles[index], others)


def _likelihoods(
    glimpses: Sequence[Glimpse], expected: SizePrior | None, config: FramingConfig
) -> DoubleArray:
    """Return how likely each glimpse's object is of its size, (n,); ones where nothing is known."""
    if expected is None:
        return np.ones(len(glimpses))
    return np.array([expected.likelihood(g.area, doubt=config.size_doubt) for g in glimpses])


def turn_to(
    spa: Spa, canvas: Canvas, other: Hypothesis, prompts: Prompts, config: FramingConfig
) -> tuple[FieldOfView, Click | None]:
    """Choose the field of view of an object that another window saw.

    Parameters
    ----------
    spa : Spa
        A network whose frame is ``window``.
    canvas : Canvas
        The image.
    other : Hypothesis
        The object.
    prompts : Prompts
        All so far; the view holds them.
    config : FramingConfig
        Sizes.

    Returns
    -------
    view : FieldOfView
    anchor : Click or None
        The object's middle, where the clicks in that view would mean another one.
    """
    glimpse = Glimpse(other.view, other.mask, other.quality)
    view = widen(_centred(glimpse, prompts, config, canvas), prompts, canvas.shape)
    if prompts.clicks:
        asked = look(spa, canvas, [view], [prompts.clicks])[0]
        if iou(asked.mask, asked.view, other.mask, other.view) >= _SAME_OBJECT:
            return view, None
    return view, other.middle(canvas.shape)


def _hypotheses(
    glimpses: Sequence[Glimpse], config: FramingConfig, expected: SizePrior | None
) -> tuple[Hypothesis, ...]:
    """Keep the objects that windows centred on them show at the clicks, the best first.

    What is cut by its window's edge counts less, and what is of an unlikely size; of two that
    are seen as well, the larger goes first.
    """
    found = []
    for glimpse, likely in zip(glimpses, _likelihoods(glimpses, expected, config), strict=True):
        if glimpse.probability is not None and glimpse.mask.any():
            # Other sizes stay on offer: somebody who outlined nuclei may want a gland now.
            quality = glimpse.quality * (1.0 - min(1.0, 2.0 * glimpse.border)) * likely**0.5
            found.append(hypothesis(glimpse.view, glimpse.probability, glimpse.mask, quality))
    return distinct(
        found,
        config.hypotheses,
        config.distinct,
        merit=lambda other: other.quality * other.area**config.size_merit,
    )


def _follow(
    spa: Spa, canvas: Canvas, prompts: Prompts, glimpse: Glimpse, config: FramingConfig
) -> FieldOfView:
    """Centre the view again on what it shows, as long as the network trusts it."""
    for _ in range(config.refinements):
        view = _centred(glimpse, prompts, config, canvas)
        following = look(spa, canvas, [view], [(_middle(glimpse, canvas.shape),)])[0]
        if not following.mask.any() or following.quality < 0.8 * glimpse.quality:
            break
        glimpse = following
    return glimpse.view


def _centred(
    glimpse: Glimpse, prompts: Prompts, config: FramingConfig, canvas: Canvas
) -> FieldOfView:
    """Return the view of a glimpse's object that holds the clicks too."""
    view = glimpse.object_view(config.context)
    if view is None:
        return glimpse.view
    side = min(max(view.height, config.smallest), 1.5 * canvas.largest_view)
    centre = (view.row + view.height / 2, view.column + view.width / 2)
    return _keep(FieldOfView.around(*centre, side), prompts).inside(canvas.shape)


def _middle(glimpse: Glimpse, shape: tuple[int, int]) -> Click:
    """Return a click where a glimpse's mask is thickest; its window's middle if empty."""
    size = glimpse.mask.shape[0]
    depth = ndimage.distance_transform_edt(np.pad(glimpse.mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    if not glimpse.mask.any():
        y = x = np.intp(size // 2)
    row, column = glimpse.view.to_image(float(x), float(y), size)
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


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Windows of an image that were encoded as one batch.

    Attributes
    ----------
    views : list of FieldOfView
        Where they lie.
    image : ImageEmbedding
        A row for each.
    """

    views: list[FieldOfView]
    image: ImageEmbedding


@torch.inference_mode()
def encode_windows(spa: Spa, canvas: Canvas, views: list[FieldOfView]) -> Windows:
    """Pass windows through the image encoder as one batch.

    Parameters
    ----------
    spa : Spa
        The network.
    canvas : Canvas
        The image.
    views : list of FieldOfView
        Windows.

    Returns
    -------
    Windows
    """
    size = spa.config.image_size
    # The widest first: where they lie within each other, the image is read once.
    widest_first = sorted(range(len(views)), key=lambda index: -views[index].height)
    seen = {index: canvas.pixels(views[index], size) for index in widest_first}
    pixels = np.stack([seen[index] for index in range(len(views))])
    return Windows(views, spa.encode(torch.from_numpy(pixels).permute(0, 3, 1, 2).to(spa.device)))


def look(
    spa: Spa, canvas: Canvas, views: list[FieldOfView], clicks: Sequence[Sequence[Click]]
) -> list[Glimpse]:
    """Pass windows through the network as one batch; see :func:`ask`."""
    return ask(spa, encode_windows(spa, canvas, views), clicks)


@torch.inference_mode()
def ask(spa: Spa, windows: Windows, clicks: Sequence[Sequence[Click]]) -> list[Glimpse]:
    """Ask encoded windows what lies at clicks.

    Parameters
    ----------
    spa : Spa
        The network.
    windows : Windows
        What it looks at.
    clicks : sequence of sequence of Click
        For each window as many clicks; those outside of it are left out.

    Returns
    -------
    list of Glimpse
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
    logits, quality = spa.decode(image, prompt, None, tokens=(0,))
    scale = logits.shape[-1] / size
    probability = logits[:, 0].sigmoid().float().cpu().numpy()
    return [
        Glimpse(
            view,
            _at_points(logits[i, 0], points[i], labels[i], scale),
            float(quality[i, 0]),
            probability[i],
        )
        for i, view in enumerate(views)
    ]


def score(
    glimpses: Sequence[Glimpse], centred: Sequence[Glimpse], click: Click, config: FramingConfig
) -> list[float]:
    """Score each window of a pyramid; the highest is where the object is seen best.

    Parameters
    ----------
    glimpses : sequence of Glimpse
        The pyramid, from the smallest window to the largest.
    centred : sequence of Glimpse
        Each one's object seen alone, asked for by its own middle.
    click : Click
        The user's first click.
    config : FramingConfig
        Weights.

    Returns
    -------
    list of float
    """
    scores = []
    largest = max(glimpse.view.height for glimpse in glimpses)
    for index, (glimpse, alone) in enumerate(zip(glimpses, centred, strict=True)):
        near = [glimpses[j] for j in (index - 1, index + 1) if 0 <= j < len(glimpses)]
        agree = sum(_agreement(glimpse, other) for other in near) / max(len(near), 1)
        whole = (1.0 - min(1.0, 2.0 * glimpse.border)) * (1.0 - min(1.0, 2.0 * alone.border))
        seen = float(np.clip(glimpse.quality, 0.0, 1.0) ** 0.5 * np.clip(alone.quality, 0.0, 1.0))
        held = 1.0 if alone.holds(click) else 0.2
        # Texture looks like small objects; a user zooms in on what is really small.
        extent = np.sqrt(max(glimpse.share, 1e-6)) * glimpse.view.height / largest
        likely = float(extent**config.size_prior)
        size = _size_preference(glimpse.share)
        scores.append(seen * held * (config.alone + agree) * size * whole * likely)
    return scores


def _size_preference(share: float) -> float:
    """Prefer masks that fill 2 % to 45 % of the window; nothing counts at the extremes."""
    if share <= 0.0:
        return 0.0
    low = min(1.0, share / 0.02)
    high = float(np.clip((0.85 - share) / 0.4, 0.0, 1.0))
    return low * high


def _agreement(first: Glimpse, second: Glimpse) -> float:
    """IoU of two windows' masks, both sampled on the smaller window's grid."""
    small, large = sorted((first, second), key=lambda g: g.view.height)
    size = small.mask.shape[0]
    steps = np.arange(size)
    rows = np.array([small.view.to_image(0.0, float(s), size)[0] for s in steps])
    columns = np.array([small.view.to_image(float(s), 0.0, size)[1] for s in steps])
    y = np.array([large.view.to_model(r, 0, size)[1] for r in rows]).round().astype(int)
    x = np.array([large.view.to_model(0, c, size)[0] for c in columns]).round().astype(int)
    other = large.mask[np.ix_(np.clip(y, 0, size - 1), np.clip(x, 0, size - 1))]
    union = (small.mask | other).sum()
    return float((small.mask & other).sum() / union) if union else 0.0


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
    canvas: Canvas, region: Box | Region, *, context: float, smallest: float
) -> FieldOfView:
    """Return the window that shows a rectangle with its surroundings.

    Parameters
    ----------
    canvas : Canvas
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
    side = max(smallest, context * min(extent, canvas.largest_view))
    row, column = (region.row0 + region.row1) / 2, (region.column0 + region.column1) / 2
    return FieldOfView.around(row, column, side).inside(canvas.shape)


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

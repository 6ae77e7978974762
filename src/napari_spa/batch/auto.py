"""Find objects without prompts, from a grid of points (the idea of SAM's automatic masks)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_spa.batch.engine import BatchEngine, Found, OpenedImage, found_active
from napari_spa.core.types import (
    BoolArray,
    Click,
    DoubleArray,
    FloatArray,
    LocalMask,
    Proposal,
    Region,
)
from napari_spa.errors import Cancelled, InputError
from napari_spa.refine.engine.config import Progress, silent
from napari_spa.refine.session.prompt_validation import interior_click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_spa.batch.task import AutoConfig
    from napari_spa.core.plane import Plane
    from napari_spa.model.spa import Spa
    from napari_spa.refine.engine.embedder import Embedder
    from napari_spa.refine.engine.view import FieldOfView, ImageSampler


_STABLE = 1.0
"""Logits on both sides of the edge between which a mask that is sure of it hardly changes."""


@dataclass(frozen=True, slots=True, eq=False)
class PointPrediction:
    """What the network sees at a point."""

    mask: LocalMask  # the connected part of its mask that holds the point; not empty
    quality: float  # predicted IoU
    stability_score: float  # in [0, 1]: how little the mask changes with its threshold
    border: float  # share of the window's outline that it touches; edges of the image do not count
    share: float  # of the window that it fills


def predict_points(
    spa: Spa,
    embedder: Embedder,
    sampler: ImageSampler,
    view: FieldOfView,
    points: Sequence[tuple[float, float]],
    *,
    least_quality: float = 0.0,
) -> list[PointPrediction | None]:
    """See what lies at each point of a window."""
    import torch

    from napari_spa.model.heads import chunk_size

    size, swap = spa.config.image_size, spa.config.rules.point_order == "rc"
    if not points:
        return []
    places = [view.to_model(row, column, size) for row, column in points]
    step = chunk_size(spa)
    found: list[PointPrediction | None] = []
    with torch.inference_mode():
        image = embedder.encode(sampler, view)
        for start in range(0, len(places), step):
            some = places[start : start + step]
            xy = torch.tensor([[(y, x) if swap else (x, y)] for x, y in some]).float()
            labels = torch.ones(len(some), 1, device=spa.device)
            prompt = spa.embed_prompts(xy.to(spa.device), labels)
            logits, quality = spa.decode(image, prompt, None, tokens=(0,))
            maps: FloatArray = logits[:, 0].float().cpu().numpy()
            for place, one, trust in zip(some, maps, quality[:, 0].tolist(), strict=True):
                seen = trust >= least_quality
                found.append(
                    _point_prediction(sampler, view, one, place, trust, size) if seen else None
                )
    return found


def _point_prediction(
    sampler: ImageSampler,
    view: FieldOfView,
    logits: FloatArray,
    place: tuple[float, float],
    quality: float,
    size: int,
) -> PointPrediction | None:
    """Cut the part of a map that holds a point, in image pixels."""
    scale = logits.shape[-1] / size
    column, row = (int(np.clip((at + 0.5) * scale, 0, logits.shape[-1] - 1)) for at in place)
    part = _part_at(logits > 0, row, column)
    if part is None:
        return None
    around = _part_at(logits > -_STABLE, *np.argwhere(part)[0])
    wide = part.sum() if around is None else around.sum()
    mask = _in_image(view, part, sampler.shape)
    if not mask.area:
        return None
    stability_score = float((part & (logits > _STABLE)).sum() / wide)
    border = _border(view, part, sampler.shape)
    return PointPrediction(mask, float(quality), stability_score, border, float(part.mean()))


def _part_at(mask: BoolArray, row: int, column: int) -> BoolArray | None:
    """Return the connected part of a mask at a pixel or touching it."""
    parts, _ = ndimage.label(mask)
    near = parts[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
    here = parts[row, column] or near.max()
    return np.asarray(parts == here) if here else None


def _border(view: FieldOfView, part: BoolArray, shape: tuple[int, int]) -> float:
    """Share of the window's outline, as far as it lies in the image, that a mask touches."""
    edges = (part[0], part[-1], part[:, 0], part[:, -1])
    inside = [edge for inner, edge in zip(view.inner_sides(shape), edges, strict=True) if inner]
    return float(np.concatenate(inside).mean()) if inside else 0.0


def _in_image(view: FieldOfView, part: BoolArray, shape: tuple[int, int]) -> LocalMask:
    """Bring a mask of a window to image pixels, nearest ones; only where it is."""
    grid, box = part.shape[0], Region.bounding(part)
    heights, widths = view.height / grid, view.width / grid
    top = max(0, int(np.floor(view.row + box.row * heights)))
    left = max(0, int(np.floor(view.column + box.column * widths)))
    bottom = min(shape[0], int(np.ceil(view.row + (box.row + box.height) * heights)))
    right = min(shape[1], int(np.ceil(view.column + (box.column + box.width) * widths)))
    region = Region(top, left, max(0, bottom - top), max(0, right - left))
    rows = np.floor((np.arange(region.height) + top + 0.5 - view.row) / heights).astype(int)
    columns = np.floor((np.arange(region.width) + left + 0.5 - view.column) / widths).astype(int)
    seen = part[np.ix_(rows.clip(0, grid - 1), columns.clip(0, grid - 1))]
    return LocalMask.crop(seen, region)


_POINTS = 8  # points along a window at most; only those near its middle are asked there
_FEWEST = 4  # the smallest windows have so many points along their side
_SMALLEST = 32.0  # side of the smallest windows at least, in pixels
_TRUSTED = 0.5  # predicted quality of an object at least
_SURE, _CLOSE = 0.6, 0.1
"""What is seen so well, and fills so much of its window, is not asked for again in smaller
windows."""
_CUT = 0.15  # what touches more of its window's outline is cut off by it
_ENOUGH, _FILLS = 5, 0.08
"""When so many objects are there and half of them fill more of their windows, smaller
windows would cut them."""
_GOOD = 0.8
"""An outline of which such a Dice is expected is not asked for again."""
_MEASURED = 1.6
"""Uncertainty that was measured may be so many times what counts else: an expected Dice of 0.6."""
_NARROWEST, _WIDEST = 1.2, 12.0
"""Sides of windows, in those of a square as large as the objects that are looked for."""
_AT_ONCE = 16  # windows that are encoded together
_STRIDE = 0.5  # from one window to the next, as a share of their side
_INSIDE, _INSIDE_FIRST = 0.5, 0.7
"""A mask of which so much lies in a surer one is a part of that one."""
_CONTEXT, _SMALLEST_VIEW = 2.0, 16.0
_ALIKE, _MOST_ALIKE = 5, 0.75
"""Where of so many objects such a share is brighter than its surroundings, or darker, all are."""
_RING = 0.15  # depth of an object's surroundings, in sides of a square as large
_BLOCKS, _BLOCK = 4, 256  # an image's slopes are told from so many blocks a side, of so many pixels


def generate_masks(config: AutoConfig, engine: BatchEngine, image: OpenedImage) -> Iterator[Found]:
    """Find the objects on all planes of an image, each plane by itself."""
    number = 0
    for plane in image.planes():
        source = engine.show(image.levels, plane, image.info.pixel_side)
        for found in generate_plane_masks(config, engine, plane, source):
            number += 1
            yield replace(found, number=number)


def generate_plane_masks(
    config: AutoConfig,
    engine: BatchEngine,
    plane: Plane,
    source: Mapping[str, Any],
    progress: Progress = silent,
    seen: Callable[[Found], None] = lambda found: None,
) -> list[Found]:
    """Find the objects on the plane shown; each is ``seen`` at once, of alike ones one stays.

    Cancelled after the first is found, it returns those that are found by then.
    """
    session = engine.session
    height, width = session.sampler.shape
    sights = _first_look(config, engine, _part_of(progress, 0.0, 0.5))
    found: list[Found] = []
    scores: list[float] = []
    sure: list[LocalMask] = []
    for number, sight in enumerate(sights, start=1):
        share, message = number / len(sights), f"outlining object {number} of {len(sights)}"
        try:
            progress(0.5 + 0.5 * share, message)
        except Cancelled:
            if not found:
                raise
            break
        click = interior_click(sight.mask)
        if covers(sure, click.row, click.column):
            continue
        proposal = _outline(engine, sight, click)
        one = found_active(session, 0, plane, source)
        fits = config.smallest_area <= one.mask.area <= config.largest_share * height * width
        most = (_MEASURED if proposal.calibrated else 1.0) * config.largest_uncertainty
        if fits and proposal.uncertainty <= most:
            found.append(one)
            seen(one)
            trust = proposal.quality if proposal.calibrated else sight.quality
            scores.append((1 - proposal.disagreement) * trust)
            if _good(proposal):
                sure.append(one.mask)
    real = stand_out(session.sampler, [one.mask for one in found], scores)
    found, scores = [found[index] for index in real], [scores[index] for index in real]
    kept = mask_nms([one.mask for one in found], scores, config.overlap, _INSIDE)
    regions = {index: found[index].mask.region for index in kept}
    order = sorted(kept, key=lambda index: (regions[index].row, regions[index].column, index))
    return [found[index] for index in order]


def stand_out(
    sampler: ImageSampler, masks: Sequence[LocalMask], scores: Sequence[float]
) -> list[int]:
    """Return which masks have an edge of their own, and differ from their surroundings as most do.

    An edge is steeper than the image is on average.  Where nearly all masks, each counting for its
    score, are brighter than what is around them, a darker one is a gap between objects; and the
    other way round.
    """
    typical = _mean_slope(sampler)
    contrasts, slopes = np.array([_appearance(sampler, mask) for mask in masks]).reshape(-1, 2).T
    real = slopes >= typical
    bright = np.average(contrasts > 0, weights=scores) if len(masks) >= _ALIKE else 0.5
    if max(bright, 1 - bright) >= _MOST_ALIKE:
        real &= (contrasts > 0) == (bright > 0.5)
    return np.flatnonzero(real).tolist()


def _appearance(sampler: ImageSampler, mask: LocalMask) -> tuple[float, float]:
    """Return how much brighter an object is than its surroundings, and how steep its edge is."""
    deep = max(2, round(_RING * mask.area**0.5))
    region = mask.region.grown(deep + 1, sampler.shape)
    inside, (grey, slope) = mask.within(region), _grey_and_slope(sampler, region)
    ring = ndimage.binary_dilation(inside, iterations=deep) & ~inside
    edge = ndimage.binary_dilation(inside) & ~ndimage.binary_erosion(inside)
    around = grey[ring].mean() if ring.any() else grey[inside].mean()
    return float(grey[inside].mean() - around), float(slope[edge].mean())


def _mean_slope(sampler: ImageSampler) -> float:
    """Return how steep an image is on average, of a large one in evenly spaced blocks."""
    starts = [
        np.unique(np.linspace(0, max(0, extent - _BLOCK), _BLOCKS).astype(int)).tolist()
        for extent in sampler.shape
    ]
    whole = Region(0, 0, *sampler.shape)
    blocks = [Region(r, c, _BLOCK, _BLOCK).common(whole) for r in starts[0] for c in starts[1]]
    return float(np.mean([_grey_and_slope(sampler, block)[1].mean() for block in blocks]))


def _grey_and_slope(sampler: ImageSampler, region: Region) -> tuple[FloatArray, FloatArray]:
    grey = sampler.intensity.scale(sampler.image_plane.read(*region.slices)).mean(axis=2)
    return grey, ndimage.gaussian_gradient_magnitude(grey, 1.0)


def _outline(engine: BatchEngine, sight: PointPrediction, click: Click) -> Proposal:
    """Outline what was seen: in a view of its size, and where that is doubtful as a click is."""
    session, whole = engine.session, _whole_view(engine)
    points = [(click.row, click.column)]
    proposal = session.start(points, view=whole or _alone(session.sampler, sight))
    if whole is None and not _good(proposal):
        proposal = session.start(points)  # which looks for the view, and costs as much again
    return proposal


def _good(proposal: Proposal) -> bool:
    return proposal.calibrated and proposal.quality >= _GOOD


def window_levels(
    sampler: ImageSampler, config: AutoConfig, *, whole: FieldOfView | None = None
) -> Iterator[list[_Window]]:
    """Place windows of one size after another, and the points that are asked in each."""
    from napari_spa.refine.engine.view import FieldOfView  # brings torch

    finest = max(sampler.shape) / config.grid
    if whole is not None:
        rows, columns = (_lattice(extent, finest) for extent in sampler.shape)
        yield [(whole, [(r, c) for r in rows for c in columns])]
        return
    side = sampler.largest_view
    most = config.largest_share * sampler.shape[0] * sampler.shape[1]
    narrowest = max(_SMALLEST, _FEWEST * finest, _NARROWEST * config.smallest_area**0.5)
    while side == sampler.largest_view or side >= narrowest:
        if side > _WIDEST * most**0.5 and side / 2 >= narrowest:
            side /= 2  # what is looked for is too small to be seen
            continue
        spacing = max(finest, side / _POINTS)
        down, across = (_starts(extent, side) for extent in sampler.shape)
        rows, columns = (_lattice(extent, spacing) for extent in sampler.shape)
        mine = _nearest(rows, down + side / 2), _nearest(columns, across + side / 2)
        level: list[_Window] = []
        for i, top in enumerate(down):
            for j, left in enumerate(across):
                here = [(r, c) for r in rows[mine[0] == i] for c in columns[mine[1] == j]]
                if here:
                    level.append((FieldOfView(float(top), float(left), side, side), here))
        yield level
        side /= 2


_Window = tuple["FieldOfView", list[tuple[float, float]]]


def _lattice(extent: int, spacing: float) -> DoubleArray:
    """Return positions at equal distances, centred on an axis of pixels."""
    count = max(1, round(extent / spacing))
    return (np.arange(count) + 0.5) / count * extent - 0.5


def _starts(extent: int, side: float) -> DoubleArray:
    """Return where windows begin that overlap; one that is larger is centred."""
    if extent <= side:
        return np.array([(extent - side) / 2])
    return np.linspace(0, extent - side, int(np.ceil((extent - side) / (_STRIDE * side))) + 1)


def _nearest(positions: DoubleArray, middles: DoubleArray) -> NDArray[np.intp]:
    """Return for each position the window whose middle is nearest."""
    nearest: NDArray[np.intp] = np.abs(positions[:, None] + 0.5 - middles).argmin(axis=1)
    return nearest


def _part_of(progress: Progress, start: float, end: float) -> Progress:
    """Report the share done of a part as one of the whole."""
    return lambda share, message: progress(start + (end - start) * share, message)


def _first_look(
    config: AutoConfig, engine: BatchEngine, progress: Progress
) -> list[PointPrediction]:
    """Ask at all points; keep what is trusted, whole and distinct."""
    from napari_spa.refine.engine.embedder import Embedder  # brings torch

    sampler, spa = engine.session.sampler, engine.model.spa
    embedder, whole = Embedder(engine.model), _whole_view(engine)
    most = config.largest_share * sampler.shape[0] * sampler.shape[1]
    sights: list[PointPrediction] = []
    for depth, level in enumerate(window_levels(sampler, config, whole=whole)):
        known = [sights[index] for index in _surest(sights, config)]
        clear = [s.mask for s in known if s.quality > _SURE and s.share > _CLOSE]
        here: list[PointPrediction] = []
        open_points = [(v, [p for p in points if not covers(clear, *p)]) for v, points in level]
        asks = [(view, points) for view, points in open_points if points]
        for number, (view, asked) in enumerate(asks):
            # How many sizes of windows there will be is not known: each takes half the rest.
            progress(1 - 0.5**depth * (1 - 0.5 * number / len(asks)), "looking for objects")
            if number % _AT_ONCE == 0:
                embedder.windows(sampler, [v for v, _ in asks[number : number + _AT_ONCE]])
            seen = predict_points(spa, embedder, sampler, view, asked, least_quality=_TRUSTED)
            for sight in seen:
                if sight is None or sight.border > _CUT:
                    continue
                if config.smallest_area <= sight.mask.area <= most:
                    here.append(sight)
        sights += here
        shares = [here[index].share for index in _surest(here, config)]
        if depth and len(shares) >= _ENOUGH and np.median(shares) > _FILLS:
            break
    return [sights[index] for index in _surest(sights, config)]


def _surest(sights: list[PointPrediction], config: AutoConfig) -> list[int]:
    """Return which sights show different things, the surest first."""
    scores = [sight.quality * sight.stability_score for sight in sights]
    return mask_nms([sight.mask for sight in sights], scores, config.overlap, _INSIDE_FIRST)


def _alone(sampler: ImageSampler, sight: PointPrediction) -> FieldOfView:
    """Return the field of view of one object, as a click on it would get."""
    from napari_spa.refine.engine.view import FieldOfView  # brings torch

    region = sight.mask.region
    long, short = max(region.height, region.width), min(region.height, region.width)
    side = _CONTEXT * max(0.65 * long + 0.35 * short, 0.75 * long)
    side = min(max(side, _SMALLEST_VIEW), 1.5 * sampler.largest_view)
    centre = region.row + region.height / 2, region.column + region.width / 2
    return FieldOfView.around(*centre, side).inside(sampler.shape)


def _whole_view(engine: BatchEngine) -> FieldOfView | None:
    """Return the one view of a model that sees whole images; None for the others."""
    if engine.model.spa.config.rules.frame == "window":
        return None
    if not engine.session.sampler.image_plane.small:
        raise InputError(
            f"{engine.identity.name} cannot look for objects in so large an image; "
            "use spa-tiny, or prompts."
        )
    return engine.session.view_of(LocalMask(Region(0, 0, 1, 1), np.ones((1, 1), bool)))


def mask_nms(
    masks: Sequence[LocalMask], scores: Sequence[float], overlap: float, inside: float
) -> list[int]:
    """Choose masks that are not empty greedily, the best first; leave out what shows the same.

    Two masks of an intersection over union above ``overlap`` are the same thing; one is a part of
    the other when they share more than ``inside`` of the smaller.  Of equal scores the earlier
    is better.  Returns the indices of those that stay, the best first.
    """
    boxes = np.array(
        [(m.region.row, m.region.column, m.region.height, m.region.width) for m in masks],
        dtype=np.int64,
    ).reshape(-1, 4)
    first, last = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    areas = [mask.area for mask in masks]
    kept: list[int] = []
    for index in np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable").tolist():
        near = np.array(kept, dtype=np.int64)
        touching = ((first[near] < last[index]) & (first[index] < last[near])).all(axis=1)
        for other in near[touching].tolist():
            shared = masks[index].shared(masks[other])
            union = areas[index] + areas[other] - shared
            if shared > overlap * union or shared > inside * min(areas[index], areas[other]):
                break
        else:
            kept.append(index)
    return kept


def covers(masks: Sequence[LocalMask], row: float, column: float) -> bool:
    """Tell whether a point, in image pixels, lies in any of some masks."""
    y, x = round(row), round(column)
    for mask in masks:
        down, across = y - mask.region.row, x - mask.region.column
        inside = 0 <= down < mask.region.height and 0 <= across < mask.region.width
        if inside and mask.pixels[down, across]:
            return True
    return False

"""One round: what decides it, what it shows in full size, how good that is, what a pick means."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.special import logit
from torch.nn import functional

from napari_spa.core.candidates import levels_of_area, representative_point
from napari_spa.core.measures import iou
from napari_spa.core.obedience import (
    Evidence,
    box_pixels,
    distance_to,
    enforce,
    fill_box,
    spread,
    values_at,
    without_specks,
)
from napari_spa.core.quality import Calibration, Signs, read_signs
from napari_spa.core.types import (
    BoolArray,
    Box,
    Candidate,
    Click,
    FloatArray,
    LocalMask,
    MixtureParameters,
    Prompts,
    Proposal,
    Region,
)
from napari_spa.refine.engine.alternatives import (
    NO_INPUT,
    Alternatives,
    Choice,
    Hypothesis,
    UserInput,
    dice_across,
)
from napari_spa.refine.engine.samples import Reach, SampleGrid, Samples

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_spa.model.heads import Draws
    from napari_spa.model.spa import SpaConfig
    from napari_spa.refine.engine.view import FieldOfView


@dataclass(frozen=True, slots=True, eq=False)
class Stay:
    """The mask before, which stays away from what was corrected, whatever the samples say."""

    mask: LocalMask
    places: NDArray[np.int64]  # (P, 2), image pixels at which it was contradicted
    firm: bool  # whether it is the user's own: it stays even where the samples show another object
    size: float | None = None  # its place on the size axis, where only its size may change

    def grown(self, ratio: float, shape: tuple[int, int]) -> Stay:
        """Return it with a mask so many times as large, inside an image of a shape."""
        area, region = self.mask.area, self.mask.region
        if ratio == 1 or not area:
            return self
        margin = math.ceil(max(0.0, math.sqrt(ratio) - 0.8) * max(region.height, region.width)) + 2
        around = region.grown(margin, shape)
        mask = np.pad(self.mask.within(around), 1)  # the image's edge is an edge of it, too
        depth = distance_transform_edt(mask) - distance_transform_edt(~mask)
        depth = depth[1:-1, 1:-1]
        wanted = max(round(ratio * area), 1)  # a pixel is not shrunk away
        if wanted >= depth.size:  # it fills all there is
            return replace(self, mask=LocalMask(around, np.ones_like(depth, dtype=bool)))
        level = levels_of_area(depth[None], wanted)[0]
        return replace(self, mask=LocalMask.crop(depth > level, around))


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """All that decides a round, beside the image."""

    view: FieldOfView  # field of view
    prompts: Prompts  # all prompts so far, in image pixels
    mixture: MixtureParameters  # the preference distribution
    number: int  # number of the round, from 1
    seed: int  # seed of everything random in this round
    said: UserInput = NO_INPUT  # by the user: clicks, what is shown obeys pixel by pixel, and picks
    picks: int = 0  # how often a candidate was picked
    corrections: int = 0  # how many clicks and strokes there were; a stroke has many points
    # Where on the size axis the recommendation is to stand; None where the mixture says it.
    size: float | None = None
    hypotheses: tuple[Hypothesis, ...] = ()  # what else the prompts may mean
    stay: Stay | None = None  # of the mask before

    def samples_as(self, other: Asked) -> bool:
        """Whether another round draws and decodes the same."""
        return (
            (self.view, self.seed) == (other.view, other.seed)
            and self.prompts is other.prompts
            and self.mixture is other.mixture
            and self.said.choices is other.said.choices
        )


@dataclass(frozen=True, slots=True, eq=False)
class Feedback:
    """What a pick of one candidate would carry to the next round."""

    latents: NDArray[np.float64]  # (n, D), latents of its group
    logits: FloatArray  # (4h, 4w), its mask logits
    point: Click | None  # its representative point
    choice: Choice  # the pick, among what is on show

    @property
    def hypothesis(self) -> Hypothesis | None:
        """The object of another view that it is."""
        return self.choice.picked.hypothesis


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """One round: what is shown, and what each pick would mean."""

    proposal: Proposal  # what is shown
    feedback: tuple[Feedback, ...]  # one for each candidate
    reach: Reach  # what the samples can say at all
    # How far the samples' boundaries were moved out to bring the recommendation to its size, in
    # units of a boundary offset.
    shift: float = 0.0
    samples: Samples | None = None  # of round 1, which say how far out the user wants it

    @property
    def nbytes(self) -> int:
        """Bytes it occupies."""
        shown = self.proposal
        maps = shown.local_probability.nbytes + sum(c.local_mask.nbytes for c in shown.candidates)
        maps += self.reach.on.nbytes + self.reach.off.nbytes
        if self.samples is not None:
            maps += self.samples.logits.nbytes + self.samples.probabilities.nbytes
        return maps + sum(f.latents.nbytes + f.logits.nbytes for f in self.feedback)


def feedback_of(
    samples: Samples,
    draws: Draws,
    alternatives: Alternatives,
    order: Sequence[int],
    *,
    size_channel: int | None,
    shape: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[Feedback, ...]:
    """Say what a pick of each alternative would carry to the next round, in the order shown."""
    shown = tuple(alternatives.options[k] for k in order)
    found = []
    for index, (k, option) in enumerate(zip(order, shown, strict=True)):
        latents = draws.latents[alternatives.members[k]].copy()
        if option.resized and size_channel is not None:  # it says nothing about size
            latents[:, size_channel] = samples.shares @ draws.latents[:, size_channel]
        point = None
        if option.hypothesis is None:
            place = representative_point(
                samples.probabilities, alternatives.labels == k, option.probability, rng
            )
            point = None if place is None else _click(samples, place, shape)
        picked = logit(np.clip(option.probability, 1e-6, 1 - 1e-6)).astype(np.float32)
        found.append(Feedback(latents, picked, point, Choice(shown, index)))
    return tuple(found)


def _click(samples: Samples, place: tuple[int, int, int], shape: tuple[int, int]) -> Click:
    """Bring a row, column and label on the samples' grid into the image."""
    row, column = samples.view.to_image(place[1], place[0], samples.probabilities.shape[-1])
    return Click(
        float(np.clip(row, 0, shape[0] - 1)), float(np.clip(column, 0, shape[1] - 1)), place[2]
    )


# Deviation of a Gaussian over a single sample's map, in cells of its grid: upscaling leaves a
# checkered pattern there, which the mean of many does not show.
_SMOOTH = 0.7
# Of so many pixels of the image at most, specks are looked for once more at the end: a pixel is no
# less than a cell of the samples' grid then, and what a label flows into may leave some.
_SMALL = 2**16
_SAME_OBJECT = 0.2  # IoU with the mask before from which on a new one shows the same object
# From a place that was corrected, in the larger extent of the object: as far as this the mask is
# new, and from there on it stays.
_NEAR, _FAR, _FINE = 0.3, 0.6, 512  # of the extent; in so many steps
_REACH = 0.06  # deviation of a label's flow into its surroundings, as a share of the view


def build_proposal(
    samples: Samples,
    alternatives: Alternatives,
    asked: Asked,
    *,
    config: SpaConfig,
    shape: tuple[int, int],
    guide: Callable[[FieldOfView, int], FloatArray],
) -> tuple[Proposal, list[int]]:
    """Bring the mean and the alternatives to full resolution and compare them.

    All that is shown agrees with what was said.  ``shape`` is the image's; ``guide`` gives it over
    a view on a grid of a size, (S, S, C).  Returned are the proposal, and which alternative each
    of its candidates is.
    """
    view, options, evidence = samples.view, alternatives.options, asked.said.evidence
    mean, threshold = samples.mean(config)
    here = [option.probability for option in options if option.hypothesis is None]
    thresholds = [threshold] + [0.5] * len(here)
    maps = np.stack([mean, *here])
    if config.convention != "paper":
        maps[1:] = gaussian_filter(maps[1:], (0, _SMOOTH, _SMOOTH), mode="nearest")
        maps = _tidied(maps, thresholds, view, evidence)
    full = obedient(maps, thresholds, view, shape, evidence, guide)
    region = view.region(shape)
    if config.convention != "paper" and evidence.box is None and full[0].size <= _SMALL:
        apart = evidence.shifted(region.row, region.column)
        places, pairs = apart.places.astype(np.float64), zip(full, thresholds, strict=True)
        full = np.stack([without_specks(m, t, places, apart.labels) for m, t in pairs])
    if asked.stay is not None:
        full, region = _staying(asked.stay, full, region, threshold)
        # What stays need not reach all sides of a box that grew, nor hold clicks once it shrank.
        said = evidence.shifted(region.row, region.column).inside((region.height, region.width))
        enforce(full[:1], [threshold], said, radius=1.0)
    recommended = full[0] > threshold
    near = iter(full[1:] > 0.5)
    offered = []
    for option, weight in zip(options, alternatives.weights, strict=True):
        if option.hypothesis is None:
            offered.append(Candidate(next(near), recommended, region, shape, weight))
            continue
        level = _tidied(option.probability[None], [0.5], option.view, evidence)
        seen = obedient(level, [0.5], option.view, shape, evidence, guide)
        mask = LocalMask.crop(seen[0] > 0.5, option.view.region(shape))
        offered.append(_elsewhere(mask, LocalMask.crop(recommended, region), shape, weight))
    order = _distinct_by_area(offered, LocalMask.crop(recommended, region))
    proposal = Proposal(
        local_probability=full[0].copy(),  # alone: a view would keep every map alive
        region=region,
        shape=shape,
        threshold=threshold,
        uncertainty=1.0,  # until it is appraised
        round=asked.number,
        candidates=tuple(offered[k] for k in order),
    )
    return proposal, order


def _tidied(
    maps: FloatArray, thresholds: list[float], view: FieldOfView, evidence: Evidence
) -> FloatArray:
    """Take crumbs and pinholes out of maps (K, h, w) over a view that nothing speaks for."""
    places = SampleGrid(view, maps.shape[-1]).places(evidence.places)
    pairs = zip(maps, thresholds, strict=True)
    return np.stack([without_specks(m, level, places, evidence.labels) for m, level in pairs])


def _staying(
    stay: Stay, maps: FloatArray, region: Region, threshold: float
) -> tuple[FloatArray, Region]:
    """Let the first of some maps of a region say what stays, in all that either fills.

    Near the places that were contradicted the map itself counts, less and less so with the
    distance; unless it shows another object, by which the mask that was there is replaced.
    """
    whole = region.with_all_of(stay.mask.region)
    padded = np.zeros((len(maps), whole.height, whole.width), dtype=maps.dtype)
    padded[:, *region.slices_in(whole)] = maps
    before, now = stay.mask.within(whole), padded[0] > threshold
    may_leave = not stay.firm and stay.size is None and len(stay.places) > 0
    if may_leave and iou(before, now) < _SAME_OBJECT:
        return maps, region
    if len(stay.places):
        either = Region.bounding(before | now)
        places = stay.places - np.array([whole.row, whole.column])
        places = places[((places >= 0) & (places < np.array(before.shape))).all(axis=1)]
        step = max(
            1, max(either.height, either.width) // _FINE
        )  # it need not be exact to the pixel
        coarse = distance_to(places // step, tuple(-(-side // step) for side in now.shape))
        away = step * coarse / max(either.height, either.width, 1)
        share = np.clip((_FAR - away) / (_FAR - _NEAR), 0.0, 1.0).astype(np.float32)
        share = share.repeat(step, axis=0).repeat(step, axis=1)[: now.shape[0], : now.shape[1]]
        before = share * padded[0] + (1.0 - share) * before > threshold
    above, below = (np.nextafter(np.float32(threshold), np.float32(end)) for end in (1, 0))
    padded[0] = np.where(before, np.maximum(padded[0], above), np.minimum(padded[0], below))
    return padded, whole


def _elsewhere(
    mask: LocalMask, recommended: LocalMask, shape: tuple[int, int], weight: float
) -> Candidate:
    """Compare an object of another view with the recommendation, in all that either fills."""
    region = mask.region.with_all_of(recommended.region)
    region = region if region.height else Region(0, 0, 1, 1)
    return Candidate(mask.within(region), recommended.within(region), region, shape, weight)


def obedient(
    maps: FloatArray,
    thresholds: list[float],
    view: FieldOfView,
    shape: tuple[int, int],
    evidence: Evidence,
    guide: Callable[[FieldOfView, int], FloatArray],
) -> FloatArray:
    """Bring maps to full resolution so that they agree with all that was said.

    From ``(K, 4h, 4w)`` in [0, 1] over the view to ``(K, region.height, region.width)``; what is
    above a map's threshold is object.  ``guide`` gives the image over a view on a grid of a size,
    (S, S, C).  See :func:`napari_spa.core.obedience.enforce`.
    """
    if evidence.empty:
        return resize_to_region(maps, view, shape)
    size = maps.shape[-1]
    grid = SampleGrid(view, size)
    if evidence.box is not None:
        maps = fill_box(maps, thresholds, grid.box(evidence.box))
    region = view.region(shape)
    here = evidence.shifted(region.row, region.column).inside((region.height, region.width))
    places = grid.places(here.places + np.array([region.row, region.column]))
    if ((values_at(maps, places) > np.array(thresholds)[:, None]) != here.labels).any():
        reach = _REACH * size
        maps = spread(maps, thresholds, places, here.labels, guide(view, size), reach=reach)
    full = resize_to_region(maps, view, shape)
    radius = max(1.0, 0.75 * view.height / size)
    return enforce(full, thresholds, here, radius=radius)


def _distinct_by_area(candidates: list[Candidate], recommended: LocalMask) -> list[int]:
    """Order candidates by signed area difference; leave out what is on show already."""
    order: list[int] = []
    kept = [recommended]
    areas = [int(c.local_mask.sum()) for c in candidates]
    for k in sorted(range(len(candidates)), key=lambda k: areas[k]):
        mask = LocalMask.crop(candidates[k].local_mask, candidates[k].region)
        if not any(
            mask.region == other.region and np.array_equal(mask.pixels, other.pixels)
            for other in kept
        ):
            order.append(k)
            kept.append(mask)
    return order


def resize_to_region(maps: FloatArray, view: FieldOfView, shape: tuple[int, int]) -> FloatArray:
    """Resize probability maps ``(K, h, w)`` of a view to the image pixels under it (bilinear).

    They become ``(K, region.height, region.width)``.
    """
    region = view.region(shape)
    rows = (torch.arange(region.height) + region.row + 0.5 - view.row) / view.height * 2 - 1
    columns = (torch.arange(region.width) + region.column + 0.5 - view.column) / view.width * 2 - 1
    y, x = torch.meshgrid(rows.float(), columns.float(), indexing="ij")
    grid = torch.stack([x, y], dim=-1)[None]
    out = functional.grid_sample(
        torch.from_numpy(maps)[None], grid, padding_mode="border", align_corners=False
    )
    return out[0].numpy()


_TINY = 4.0  # binary logarithm of an extent in pixels below which outlines are coarse


def signs_of(
    samples: Samples,
    others: Sequence[tuple[Hypothesis, float]],
    evidence: Evidence,
    config: SpaConfig,
    shape: tuple[int, int],
) -> dict[str, float]:
    """Read what a round shows about its own quality.

    ``others`` are objects of other views, with how likely each is meant rather than the view's
    own.  Returned are all of :data:`napari_spa.core.quality.DIRECTIONS` but the numbers of acts.
    """
    view = samples.view
    mean, threshold = samples.mean(config)
    mask = mean > threshold
    inner = np.array(view.inner_sides(shape))
    signs = read_signs(samples.probabilities, samples.shares, mean, threshold, inner)
    iou = float(np.clip(samples.shares @ samples.quality, 0.0, 1.0))
    leading = 1.0 - sum(share for _, share in others)
    agreeing = leading
    for other, share in others:
        found = dice_across(other.mask[None], other.view, mask[None], view)
        agreeing += share * float(found[0, 0])
    extent = np.sqrt(mask.mean() * view.height * view.width)
    grid = SampleGrid(view, mean.shape[-1])
    signs |= {
        "network": 2 * iou / (1 + iou),
        "leading": leading,
        "rivals": agreeing,
        "kept": _kept(mean, threshold, grid, evidence),
        "tiny": max(0.0, _TINY - float(np.log2(max(extent, 1.0)))),
        "box": float(evidence.box is not None),
    }
    return signs


def appraised(proposal: Proposal, signs: Signs, calibration: Calibration | None) -> Proposal:
    """Return a proposal with its quality: calibrated, or how far the samples agree."""
    expected = signs["agreement"] if calibration is None else calibration.expect(signs)
    return replace(
        proposal,
        uncertainty=float(np.clip(1.0 - expected, 0.0, 1.0)),
        calibrated=calibration is not None,
        signs=signs,
    )


def _kept(mean: np.ndarray, threshold: float, grid: SampleGrid, evidence: Evidence) -> float:
    """Return how much of what was said the mean agrees with before it is corrected."""
    kept = 1.0
    if len(evidence.places):
        there = values_at(mean[None], grid.places(evidence.places))[0] > threshold
        kept = float((there == evidence.labels).mean())
    if evidence.box is not None:
        kept *= _overlap(mean > threshold, grid.box(evidence.box))
    return kept


def _overlap(mask: BoolArray, box: Box) -> float:
    """IoU of a mask's bounding box with a box on the same grid."""
    inside = np.zeros(mask.shape, dtype=bool)
    inside[box_pixels(box, mask.shape)] = True
    bounds = np.zeros(mask.shape, dtype=bool)
    bounds[Region.bounding(mask).slices] = True
    return float((inside & bounds).sum() / max((inside | bounds).sum(), 1))

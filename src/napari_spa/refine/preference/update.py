"""What a profile gives to a new object, and what an accepted object teaches it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_spa.core.metrics import dice
from napari_spa.core.mixture import SizePrior, blend_mixtures, fit_size_prior
from napari_spa.core.types import LocalMask
from napari_spa.errors import ProfileError
from napari_spa.io.profiles import CORRECTED_COUNTS, AcceptedSize, PreferenceProfile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_spa.core.types import MixtureParameters, Proposal
    from napari_spa.io.models.registry import ModelIdentity
    from napari_spa.model.spa import SpaConfig
    from napari_spa.refine.engine.round import Round
    from napari_spa.refine.session.state import SessionState

PRIOR_PICKS = 2.0
"""A profile of this many picks weighs as much as the model's own prior (docs/results.md)."""
REACH = 1.0
"""One object moves what was expected by at most so many of the model's own deviations."""
MOST_PICKS = 6
"""One object's picks beyond this many count no more: rarely are more needed."""
MOST_OF_IMAGE = 12
"""So many picks of one image count, once other images have taught the profile too."""

SAME_OBJECT = 0.6
"""Dice with the first recommendation from which on what was accepted is the same object."""
MOST_SHIFT = 2.0
"""One object moves the boundary by no more, in units of a boundary offset."""

SIZES_OF_IMAGE, SIZES_KEPT = 12, 48
"""Of one image so many accepted objects are remembered, the latest; of all images so many."""
ELSEWHERE = 0.25
"""An object of another image says so much about the next one's size as one of the same image."""


def start_from(initial: MixtureParameters, profile: PreferenceProfile | None) -> MixtureParameters:
    """Blend the model's mixture with the profile's, in proportion to its evidence."""
    if profile is None or not profile.evidence:
        return initial
    share = profile.evidence / (profile.evidence + PRIOR_PICKS)
    return blend_mixtures(initial, profile.mixture, share)


def expected_size(
    profile: PreferenceProfile | None, image: str, pixel_size: float = 0.0
) -> SizePrior | None:
    """Return how large the next object of an image is expected to be; None without evidence.

    Before the first one of an image is accepted, other images say it with doubt: it may be another
    kind of object.
    ``pixel_size`` is the side of the image's pixels in micrometres, 0 where it is not known.
    """
    if profile is None:
        return None
    areas = [size.in_pixels(pixel_size) for size in profile.sizes]
    weights = [1.0 if size.image == image else ELSEWHERE for size in profile.sizes]
    prior = fit_size_prior(areas, weights)
    if prior is None or any(size.image == image for size in profile.sizes):
        return prior
    return replace(prior, doubt=1 / (1 + prior.objects))


def remember(
    sizes: tuple[AcceptedSize, ...], latest: AcceptedSize | None
) -> tuple[AcceptedSize, ...]:
    """Add an object's size to those of the others, and forget the oldest.

    An object that was reopened and accepted again takes its former place in the count.
    """
    if latest is None:
        return sizes
    others = [size for size in sizes if size.object != latest.object]
    same = [size for size in others if size.image == latest.image]
    if len(same) >= SIZES_OF_IMAGE:
        others.remove(same[0])
    return (*others, latest)[-SIZES_KEPT:]


def log_area_ratio(first: Proposal, accepted: Proposal) -> float | None:
    """Return how much larger than the first recommendation a user wanted an object."""
    if not first.area or not accepted.area:
        return None
    return math.log(accepted.area / first.area)


def boundary_shift(first: Round, accepted: Proposal, config: SpaConfig) -> float | None:
    """Return how much further out than the first recommendation a user wanted the boundary.

    Picks say which of four masks is nearest, the accepted mask says where the boundary is.

    Parameters
    ----------
    first : Round
        Round 1 of the object, as it was shown.
    accepted : Proposal
        What was accepted.
    config : SpaConfig
        Of the model: says what is averaged, and its threshold.

    Returns
    -------
    float or None
        The boundary offset, within :data:`MOST_SHIFT`, at which the samples of round 1 would have
        been recommended as large as what was accepted; None where another object was.
    """
    shown = first.proposal
    parts = [LocalMask.crop(p.local_mask, p.region) for p in (shown, accepted)]
    near = parts[0].region.with_all_of(parts[1].region)
    if first.samples is None or not shown.area or not accepted.area:
        return None
    if dice(*(part.within(near) for part in parts)) < SAME_OBJECT:
        return None
    return first.samples.shift_to(accepted.area / shown.area, config, near, MOST_SHIFT)


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What an accepted object teaches."""

    state: SessionState  # its last one, with the boundary that was accepted
    model: ModelIdentity  # which one proposed it
    known: int = 0  # how much of it the profile knows already, as ``known_of`` counts
    corrected: bool = False  # whether it was corrected, and no outline of it was picked
    image: str = ""  # names the image it is on
    kind: str = ""  # of that image, as :attr:`ImagePlane.kind` says it; empty where no one knows
    size: AcceptedSize | None = None  # to be remembered
    log_area_ratio: float | None = None  # how much larger it is than what was recommended first


def learn(profile: PreferenceProfile | None, lesson: Lesson) -> PreferenceProfile:
    """Average what was learnt over objects, each in proportion to its picks of an outline.

    An object that was ``corrected`` without one counts for :data:`CORRECTED_COUNTS`.  Evidence is
    what counted and nothing else: were it more, a profile would be followed further than it was
    taught.

    Most of what picks teach is about the user, some about the image: an object on which
    the picks led further than :data:`REACH` from what was expected is taken for one that
    lies at that distance, which bounds what the images can teach on which the model went
    astray.  One object counts for at most :data:`MOST_PICKS` picks and one image for at most
    :data:`MOST_OF_IMAGE`, so that an odd image moves a profile of a hundred picks by no more
    than a ninth of the way.  A profile that knows no other image has nothing to guard.
    """
    state, image, corrected = lesson.state, lesson.image, lesson.corrected
    if profile is None:
        profile = PreferenceProfile(model=lesson.model, mixture=state.mixture)
    picks = 0 if corrected else min(max(0, state.informative_picks - lesson.known), MOST_PICKS)
    taught = profile.taught.get(image, 0)
    if taught < profile.evidence:
        left = max(0, MOST_OF_IMAGE - taught)
        picks, corrected = min(picks, left), corrected and left >= CORRECTED_COUNTS
    counted = picks + CORRECTED_COUNTS * corrected
    mixture = _within_reach(profile, state)
    if profile.evidence:
        mixture = blend_mixtures(profile.mixture, mixture, counted / (profile.evidence + counted))
    new = image not in profile.taught and not lesson.known
    images = dict(profile.taught)
    if image and (new or image in images):
        images[image] = taught + counted
    return replace(
        profile,
        mixture=mixture,
        picks=profile.picks + picks,
        corrected=profile.corrected + corrected,
        images=profile.images + (new or not profile.images),
        taught=images,
        objects=profile.objects + (lesson.log_area_ratio is not None),
        log_growth=profile.log_growth + (lesson.log_area_ratio or 0.0),
        sizes=remember(profile.sizes, lesson.size),
        kinds=tuple(kind for kind in dict.fromkeys((*profile.kinds, lesson.kind)) if kind),
    )


def _within_reach(profile: PreferenceProfile, state: SessionState) -> MixtureParameters:
    """Return an object's mixture, drawn towards the expected one where it is far off."""
    expected = start_from(state.initial, profile)
    far = _distance(expected, state.mixture, unit=state.initial)
    return state.mixture if far <= REACH else blend_mixtures(expected, state.mixture, REACH / far)


def _distance(one: MixtureParameters, other: MixtureParameters, unit: MixtureParameters) -> float:
    """Return how far two means are apart, in deviations of a mixture, over the channels."""
    centre = unit.weights @ unit.means
    deviations = np.sqrt(unit.weights @ (unit.variances + (unit.means - centre) ** 2))
    apart = (other.weights @ other.means - one.weights @ one.means) / deviations
    return float(np.sqrt(np.mean(apart**2)))


def merge_profiles(
    profiles: Sequence[PreferenceProfile], name: str = "", task: str = ""
) -> PreferenceProfile:
    """Make one profile of several, each in proportion to its evidence."""
    if not profiles:
        raise ProfileError("there is no profile to merge; name two or more.")
    for profile in profiles[1:]:
        profile.check(profiles[0].model)
    taught = [profile for profile in profiles if profile.evidence]
    mixture, evidence = (taught or list(profiles))[0].mixture, 0
    for profile in taught:
        evidence += profile.evidence
        mixture = blend_mixtures(mixture, profile.mixture, profile.evidence / evidence)
    images: Counter[str] = Counter()
    for profile in profiles:
        images.update(profile.taught)
    shared = sum(len(profile.taught) for profile in profiles) - len(images)
    sizes: tuple[AcceptedSize, ...] = ()
    for size in _in_turn([profile.sizes for profile in profiles]):
        sizes = remember(sizes, size)
    return PreferenceProfile(
        model=profiles[0].model,
        mixture=mixture,
        picks=sum(profile.picks for profile in profiles),
        corrected=sum(profile.corrected for profile in profiles),
        images=sum(profile.images for profile in profiles) - shared,
        taught=images,
        objects=sum(profile.objects for profile in profiles),
        log_growth=sum(profile.log_growth for profile in profiles),
        sizes=sizes,
        kinds=tuple(dict.fromkeys(kind for profile in profiles for kind in profile.kinds)),
        name=name,
        task=task,
    )


def _in_turn(memories: Sequence[tuple[AcceptedSize, ...]]) -> list[AcceptedSize]:
    """Return what several profiles remember, the latest of each at the end."""
    aged = [(-age, size) for sizes in memories for age, size in enumerate(reversed(sizes))]
    return [size for _, size in sorted(aged, key=lambda pair: pair[0])]

"""What a profile gives to an object and learns from it, what is in it, and where two differ."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_spa.core.measures import dice
from napari_spa.core.mixture import SizePrior, blend_mixtures, fit_size_prior
from napari_spa.core.presentation import counted
from napari_spa.core.types import BoolArray, LocalMask, MixtureParameters, Prompts, Proposal, Region
from napari_spa.errors import ProfileError
from napari_spa.io.profiles import CORRECTED_COUNTS, AcceptedSize, PreferenceProfile, StoreEntry
from napari_spa.refine.engine.config import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from napari_spa.io.models.registry import ModelIdentity
    from napari_spa.model.spa import SpaConfig
    from napari_spa.refine.engine.image_plane import ImagePlane
    from napari_spa.refine.engine.round import Round
    from napari_spa.refine.session.session import RefinementSession
    from napari_spa.refine.session.state import SessionState

PRIOR_PICKS = 2.0
"""A profile of this many picks weighs as much as the model's own prior (docs/experiments.md)."""
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
    """Add an object's size, or change it where it is known, and forget the oldest of too many."""
    if latest is None:
        return sizes
    others = [size for size in sizes if size.object != latest.object]
    same = [size for size in others if size.image == latest.image]
    if len(same) >= SIZES_OF_IMAGE:
        others.remove(same[0])
    return (*others, latest)[-SIZES_KEPT:]


def log_area_ratio(first: Round | None, accepted: Proposal) -> float | None:
    """Return how much larger than the first recommendation, if known, an object was wanted."""
    if first is None or not first.proposal.area or not accepted.area:
        return None
    return math.log(accepted.area / first.proposal.area)


def boundary_shift(first: Round | None, accepted: Proposal, config: SpaConfig) -> float | None:
    """Return how much further out than the first recommendation a user wanted the boundary.

    Picks say which of four masks is nearest, the accepted mask says where the boundary is: at the
    offset, within :data:`MOST_SHIFT`, at which the recommendation of round 1 would have been most
    like it.  None where it is another object, or nothing was recommended.
    """
    if first is None or first.samples is None or not first.proposal.area or not accepted.area:
        return None
    parts = [LocalMask.crop(p.local_mask, p.region) for p in (first.proposal, accepted)]
    near = parts[0].region.with_all_of(parts[1].region)
    alike = dice(*(part.within(near) for part in parts))
    if alike < SAME_OBJECT:
        return None
    return 0.0 if alike == 1 else first.samples.shift_to(parts[1], config, near, MOST_SHIFT)


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
    variance = unit.weights @ (unit.variances + (unit.means - unit.weights @ unit.means) ** 2)
    apart = (other.weights @ other.means - one.weights @ one.means) / np.sqrt(variance)
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


NOTHING_YET = "Nothing learnt yet."
ENOUGH_OBJECTS = 5
"""From so many objects on it is called a tendency."""
SAME_SIZE = 0.015
OTHER_SCALE = 4.0
"""Pixels so many times larger or smaller show other things."""
_MOST_NAMED = 3
LEANS = 0.05
"""In units of the logits' spread; the model's own offsets have a deviation of 0.4."""


def describe(profile: PreferenceProfile) -> str:
    """Say what is in a profile."""
    if not profile.evidence:
        return _expects(profile) or NOTHING_YET
    parts = [habit(profile), f"Learnt from {evidence(profile)}."]
    if profile.evidence < PRIOR_PICKS:
        parts.append("That is little: the model's own ideas still weigh more.")
    parts.append(_expects(profile))
    return " ".join(filter(None, parts))


def in_brief(profile: PreferenceProfile) -> str:
    """Say what is in a profile in one short line."""
    if not profile.evidence:
        return f"{counted(len(profile.sizes), 'size')}, no picks" if profile.sizes else NOTHING_YET
    size = relative_size(profile)
    counts = [*acts(profile), counted(profile.images, "image")]
    if size is None or profile.objects < ENOUGH_OBJECTS:
        return ", ".join(counts)
    return ", ".join([f"Tends to draw {proportion(size)}", *counts])


def _expects(profile: PreferenceProfile) -> str:
    """Say what sizes are remembered; maybe nothing."""
    if not profile.sizes:
        return ""
    count = len(profile.sizes)
    verb = "was" if count == 1 else "were"
    return f"Remembers how large {counted(count, 'accepted object')} {verb}."


def evidence(profile: PreferenceProfile) -> str:
    """Say how much is behind a profile: ``"31 picks on 12 images"``, or ``"no picks"``."""
    if not profile.evidence:
        return "no picks"
    return f"{' and '.join(acts(profile))} on {counted(profile.images, 'image')}"


def acts(profile: PreferenceProfile | StoreEntry) -> list[str]:
    """Say what taught a profile: ``["31 picks", "4 corrected objects"]``."""
    corrected = counted(profile.corrected, "corrected object")
    picks = [counted(profile.picks, "pick")] if profile.picks else []
    return [*picks, corrected] if profile.corrected else picks


def unfamiliar(profile: PreferenceProfile, kind: str, pixel_size: float | None) -> str:
    """Say how an image differs in kind from all that taught a profile; empty where it does not."""
    if profile.kinds and kind not in profile.kinds:
        before = "; ".join(profile.kinds[:_MOST_NAMED])
        return f"This image is of another kind ({kind}) than those learnt from ({before})."
    sizes = [size.pixel_size for size in profile.sizes if size.pixel_size > 0]
    if not sizes or not pixel_size:
        return ""
    if min(sizes) / OTHER_SCALE <= pixel_size <= max(sizes) * OTHER_SCALE:
        return ""
    here, *others = (
        np.format_float_positional(size, precision=3, fractional=False, trim="-")
        for size in (pixel_size, min(sizes), max(sizes))
    )
    known = " to ".join(dict.fromkeys(others))
    return f"Pixels are {here} µm here; the images learnt from had {known} µm."


def relative_size(profile: PreferenceProfile) -> float | None:
    """Return how much larger the user draws than is first recommended."""
    if not profile.evidence or not profile.objects:
        return None
    return math.expm1(min(profile.log_growth / profile.objects, 700.0))


def boundary_lean(profile: PreferenceProfile) -> float | None:
    """Return how far the profile's boundaries lie outside the model's own, on average."""
    channel = {"logit": 0, "both": profile.model.latent_dim}.get(profile.model.head)
    if channel is None or channel >= profile.mixture.dimension or not profile.evidence:
        return None
    return float(profile.mixture.weights @ profile.mixture.means[:, channel])


def habit(profile: PreferenceProfile) -> str:
    """Say how large the user draws, or which way their boundaries lean; maybe nothing."""
    size = relative_size(profile)
    if size is None:
        lean = boundary_lean(profile)
        if lean is None or abs(lean) < LEANS:
            return ""
        return f"Boundaries lean {'outwards' if lean > 0 else 'inwards'}."
    how = proportion(size, "the model first recommends")
    if profile.objects >= ENOUGH_OBJECTS:
        return f"Tends to draw {how}."
    return f"So far drew {how} ({counted(profile.objects, 'object')})."


def proportion(size: float, other: str = "") -> str:
    """Say a relative size."""
    joint = "as"
    if size >= 1:
        words = f"{1 + size:,.{1 if size < 9 else 0}f} times as large"
    elif abs(size) < SAME_SIZE:
        words = "about as large"
    else:
        percent = min(99, round(abs(size) * 100)) if size < 0 else round(size * 100)
        words, joint = f"{percent} % {'larger' if size > 0 else 'smaller'}", "than"
    return f"{words} {joint} {other}" if other else words


FIRST_COLOUR, SECOND_COLOUR = (255, 176, 0), (0, 200, 215)
"""Amber and turquoise: told apart with any kind of colour vision."""


@dataclass(frozen=True, slots=True, eq=False)
class ProfileDisagreement:
    """What two profiles recommend for the same prompts on the same image."""

    first: Proposal  # the first round with each; what each remembers of sizes chooses its view
    second: Proposal

    @property
    def region(self) -> Region:
        """The rectangle of the image that holds both fields of view."""
        return self.first.region.with_all_of(self.second.region)

    @property
    def local_masks(self) -> tuple[BoolArray, BoolArray]:
        """What each is recommended, (region.height, region.width) bool."""
        one, other = (
            LocalMask(shown.region, shown.local_mask).within(self.region)
            for shown in (self.first, self.second)
        )
        return one, other

    @property
    def dice(self) -> float:
        """Agreement of the recommended masks, in [0, 1]; 1 when both are empty."""
        return dice(*self.local_masks)

    @property
    def first_mask(self) -> BoolArray:
        """What the first is recommended, (H, W) bool."""
        return self.first.mask

    @property
    def second_mask(self) -> BoolArray:
        """What the second is recommended, (H, W) bool."""
        return self.second.mask

    @property
    def only_first(self) -> BoolArray:
        """What only the first would draw, (H, W) bool."""
        return self.first_mask & ~self.second_mask

    @property
    def only_second(self) -> BoolArray:
        """What only the second would draw, (H, W) bool."""
        return self.second_mask & ~self.first_mask


def disagree(
    session: RefinementSession,
    image: ArrayLike | ImagePlane,
    prompts: Prompts,
    first: PreferenceProfile | None,
    second: PreferenceProfile | None,
    *,
    progress: Progress = silent,
) -> ProfileDisagreement:
    """Start the same object with the one and the other profile; None is the model alone.

    Each mask is what :meth:`RefinementSession.start` recommends to that user with the session's
    model, seed, configuration and cache; the session itself stays as it is.  Both draw from the
    same random numbers.  ``ProfileError`` when a profile was made with another model,
    ``InputError`` when the image or the prompts cannot be used.
    """
    kind, model, seed, box = type(session), session.model, session.seed, prompts.box
    with_each = [
        kind(model, profile, seed, config=session.config, cache=session.cache)
        for profile in (first, second)
    ]

    def recommended(own: RefinementSession) -> Proposal:
        own.set_image(image)
        return own.start(
            [(click.row, click.column) for click in prompts.clicks],
            [click.label for click in prompts.clicks],
            None if box is None else box.edges,
            prompts.mask,
            progress=progress,
        )

    return ProfileDisagreement(*map(recommended, with_each))


def compare(first: PreferenceProfile, second: PreferenceProfile) -> float | None:
    """Return how much larger the first draws; None without accepted objects behind both."""
    if not (first.objects and second.objects):
        return None
    ratio = first.log_growth / first.objects - second.log_growth / second.objects
    return math.expm1(min(ratio, 700.0))


def in_words(size: float | None, names: tuple[str, str]) -> str:
    """Say how two profiles differ."""
    one, other = names
    if size is None:
        return f"Nothing is known of how large {one} and {other} draw."
    return f"{one} draws {proportion(size, other)}."

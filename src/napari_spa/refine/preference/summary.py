"""What is in a profile, in words, and where two users disagree; only what the evidence supports."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_spa.core.metrics import dice
from napari_spa.core.presentation import counted
from napari_spa.core.types import (
    BoolArray,
    DoubleArray,
    LocalMask,
    MixtureParameters,
    Prompts,
    Proposal,
    Region,
)
from napari_spa.errors import ProfileError
from napari_spa.refine.engine.config import Progress, silent
from napari_spa.refine.preference.update import PRIOR_PICKS, expected_size, start_from
from napari_spa.refine.session.prompt_validation import check_prompts

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from napari_spa.io.profiles import PreferenceProfile, StoreEntry
    from napari_spa.refine.engine.image_plane import ImagePlane
    from napari_spa.refine.session.session import RefinementSession


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


def boundary_lean(
    profile: PreferenceProfile, initial: MixtureParameters | None = None
) -> float | None:
    """Return how far the profile's boundaries lie outside the model's own, on average."""
    channel = boundary_channel(profile)
    if channel is None or not profile.evidence:
        return None
    mean = _mean(profile.mixture, channel)
    return mean if initial is None else mean - _mean(initial, channel)


def boundary_channel(profile: PreferenceProfile) -> int | None:
    """Return which latent channel is the boundary offset; None where there is none."""
    place = {"logit": 0, "both": profile.model.latent_dim}.get(profile.model.head)
    return place if place is not None and place < profile.mixture.dimension else None


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


def _mean(mixture: MixtureParameters, channel: int) -> float:
    return float(mixture.weights @ mixture.means[:, channel])


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


@dataclass(frozen=True, slots=True)
class DistributionDifference:
    """How two profiles of one model differ, without an image."""

    # How much larger the first draws than the second; 0.06 is 6 %.  None when no accepted objects
    # are behind one of them.
    size: float | None
    # How far the first's boundaries lie outside the second's, in units of the logits' spread;
    # None for a head without boundary offsets.
    boundary: float | None
    # Root mean square over the other channels of the distance of the two means, in units of their
    # pooled deviation; None for a head without such channels.
    shape: float | None


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
    model, seed, configuration and cache; the session itself stays as it is.  The image is encoded
    once, and both draw from the same random numbers.  ``ProfileError`` when a profile
    was made with another model, ``InputError`` when the image or the prompts cannot be used.
    """
    from napari_spa.refine.engine.predictor import SpaPredictor  # brings torch
    from napari_spa.refine.session.transitions import RoundCache, first_state

    for profile in (first, second):
        if profile is not None:
            profile.check(session.model.identity)
    predictor = SpaPredictor(session.model, session.config, session.cache)
    predictor.set_image(image)
    prompts = _checked(prompts, predictor.sampler.shape)
    rounds = RoundCache(predictor)

    def recommended(profile: PreferenceProfile | None) -> Proposal:
        expected = expected_size(profile, predictor.sampler.fingerprint)
        framed = predictor.frame(prompts, progress, expected)
        meant = replace(prompts, anchor=framed.anchor)
        predictor.encode(framed.view, progress)
        initial = predictor.initial_mixture(framed.view, meant)
        mixtures = initial, start_from(initial, profile)
        state = first_state(framed, meant, mixtures, (session.seed, 1))
        return rounds.show(state, progress).proposal

    return ProfileDisagreement(recommended(first), recommended(second))


def compare(first: PreferenceProfile, second: PreferenceProfile) -> DistributionDifference:
    """Compare two distributions."""
    second.check(first.model)
    for profile in (first, second):
        if not profile.evidence:
            raise ProfileError(f"the profile {profile.name!r} has learnt nothing yet.")
    if first.mixture.dimension != second.mixture.dimension:
        raise ProfileError("the profiles' mixtures have different numbers of channels.")
    sizes, leans = (
        (relative_size(first), relative_size(second)),
        (boundary_lean(first), boundary_lean(second)),
    )
    size = boundary = None
    if sizes[0] is not None and sizes[1] is not None:
        ratio = first.log_growth / first.objects - second.log_growth / second.objects
        size = math.expm1(min(ratio, 700.0))
    if leans[0] is not None and leans[1] is not None:
        boundary = leans[0] - leans[1]
    return DistributionDifference(size, boundary, _shape_distance(first, second))


def in_words(difference: DistributionDifference, names: tuple[str, str]) -> str:
    """Say how two profiles differ."""
    one, other = names
    if difference.size is not None:
        return f"{one} draws {proportion(difference.size, other)}."
    if difference.boundary is not None and abs(difference.boundary) >= LEANS:
        way = "outside" if difference.boundary > 0 else "inside"
        return f"{one}'s boundaries lie {way} {other}'s."
    if difference.boundary is not None:
        return f"{one}'s boundaries lie about where {other}'s do."
    return f"Nothing is known of how large {one} and {other} draw."


def _checked(prompts: Prompts, shape: tuple[int, int]) -> Prompts:
    """Return the prompts as a session takes them: inside the image, with a point in a mask."""
    clicks, box = prompts.clicks, prompts.box
    return check_prompts(
        [(click.row, click.column) for click in clicks],
        [click.label for click in clicks],
        None if box is None else box.edges,
        prompts.mask,
        shape,
    )


def _shape_distance(first: PreferenceProfile, second: PreferenceProfile) -> float | None:
    boundary = boundary_channel(first)
    others = [c for c in range(first.mixture.dimension) if c != boundary]
    if not others:
        return None
    (mean, variance), (other_mean, other_variance) = (
        _moments(first.mixture),
        _moments(second.mixture),
    )
    square = (mean - other_mean) ** 2 / ((variance + other_variance) / 2)
    return float(np.sqrt(square[others].mean()))


def _moments(mixture: MixtureParameters) -> tuple[DoubleArray, DoubleArray]:
    """Return mean and variance of the whole mixture in each channel, (D,) each."""
    mean = mixture.weights @ mixture.means
    variance = mixture.weights @ (mixture.variances + (mixture.means - mean) ** 2)
    return mean, variance

"""Where two people disagree: by their distributions, and on an image."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_spa.core.metrics import dice
from napari_spa.core.types import LocalMask
from napari_spa.errors import ProfileError
from napari_spa.refine.engine.config import EngineConfig, Progress, silent
from napari_spa.refine.preference.summary import (
    LEANS,
    boundary_channel,
    boundary_lean,
    proportion,
    relative_size,
)
from napari_spa.refine.preference.update import expected_size, start_from
from napari_spa.refine.session.prompt_validation import check_prompts

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from napari_spa.core.types import (
        BoolArray,
        DoubleArray,
        MixtureParameters,
        Prompts,
        Proposal,
        Region,
    )
    from napari_spa.io.embeddings import EmbeddingCache
    from napari_spa.io.models.load import LoadedModel
    from napari_spa.io.profiles.profile import PreferenceProfile
    from napari_spa.refine.engine.image_plane import ImagePlane

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
    model: LoadedModel,
    image: ArrayLike | ImagePlane,
    prompts: Prompts,
    first: PreferenceProfile | None,
    second: PreferenceProfile | None,
    *,
    seed: int = 0,
    config: EngineConfig | None = None,
    cache: EmbeddingCache | None = None,
    progress: Progress = silent,
) -> ProfileDisagreement:
    """Start the same object with the one and the other profile.

    Each mask is what :meth:`RefinementSession.start` recommends to that user; the image
    is encoded once, and both draw from the same random numbers.

    Parameters
    ----------
    model : LoadedModel
        The model of both.
    image : array_like of shape (H, W) or (H, W, C), or Picture
        As for a session.
    prompts : Prompts
        In image pixels.
    first, second : PreferenceProfile or None
        None is the model alone.
    seed : int
        Of everything random.
    config : EngineConfig or None
        Numbers of samples and candidates.
    cache : EmbeddingCache or None
        Where embeddings are kept.
    progress : callable
        Called with the share done and a message; may raise ``Cancelled``.

    Returns
    -------
    ProfileDisagreement

    Raises
    ------
    ProfileError
        When a profile was made with another model.
    InputError
        When the image or the prompts cannot be used.
    """
    from napari_spa.refine.engine.predictor import SpaPredictor  # brings torch
    from napari_spa.refine.session.transitions import RoundCache, first_state

    for profile in (first, second):
        if profile is not None:
            profile.check(model.identity)
    predictor = SpaPredictor(model, config, cache)
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
        return rounds.show(first_state(framed, meant, mixtures, (seed, 1)), progress).proposal

    return ProfileDisagreement(recommended(first), recommended(second))


def compare(first: PreferenceProfile, second: PreferenceProfile) -> DistributionDifference:
    """Compare two distributions."""
    second.check(first.model)
    for profile in (first, second):
        if not profile.picks:
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
    clicks, corners = prompts.clicks, prompts.box
    return check_prompts(
        [(click.row, click.column) for click in clicks],
        [click.label for click in clicks],
        None if corners is None else (corners.row0, corners.column0, corners.row1, corners.column1),
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

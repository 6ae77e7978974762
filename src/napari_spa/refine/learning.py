"""What a profile gives to a new object, and what an accepted object gives back (design 2.6)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_spa.core.mixture import blend_mixtures
from napari_spa.io.profiles import PreferenceProfile

if TYPE_CHECKING:
    from napari_spa.core.types import MixtureParameters
    from napari_spa.io.identity import ModelIdentity
    from napari_spa.refine.state import SessionState

PRIOR_PICKS = 6.0
"""A profile of this many picks weighs as much as the model's own prior."""


def start_from(initial: MixtureParameters, profile: PreferenceProfile | None) -> MixtureParameters:
    """Blend the model's mixture with the profile's, in proportion to its evidence.

    Parameters
    ----------
    initial : MixtureParameters
        The model's own, from the prompts.
    profile : PreferenceProfile or None
        What is known about the person.

    Returns
    -------
    MixtureParameters
    """
    if profile is None or not profile.picks:
        return initial
    share = profile.picks / (profile.picks + PRIOR_PICKS)
    return blend_mixtures(initial, profile.mixture, share)


def learn(
    profile: PreferenceProfile | None, state: SessionState, model: ModelIdentity, *, known: int = 0
) -> PreferenceProfile:
    """Average what was learnt over objects, each in proportion to its picks.

    Parameters
    ----------
    profile : PreferenceProfile or None
        What is known so far.
    state : SessionState
        Of the accepted object.
    model : ModelIdentity
        The model in use.
    known : int
        So many of the object's picks are in the profile already: it was accepted before.

    Returns
    -------
    PreferenceProfile
    """
    picks = max(0, state.picks - known)
    if profile is None:
        return PreferenceProfile(model=model, mixture=state.mixture, picks=picks, images=1)
    total = profile.picks + picks
    mixture = blend_mixtures(profile.mixture, state.mixture, picks / total if total else 0.0)
    images = profile.images + (known == 0)
    return replace(profile, mixture=mixture, picks=total, images=images)

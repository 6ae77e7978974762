"""What is in a profile, in words; only what its evidence supports."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_spa.core.presentation import counted

if TYPE_CHECKING:
    from napari_spa.core.types import MixtureParameters
    from napari_spa.io.profiles.profile import PreferenceProfile

NOTHING_YET = "Nothing learnt yet."
FEW_PICKS = 6
"""With fewer picks, the model's own ideas weigh more than the profile."""
ENOUGH_OBJECTS = 5
"""From so many objects on it is called a tendency."""
SAME_SIZE = 0.015
LEANS = 0.05
"""In units of the logits' spread; the model's own offsets have a deviation of 0.4."""


def describe(profile: PreferenceProfile) -> str:
    """Say what is in a profile."""
    if not profile.picks:
        return _expects(profile) or NOTHING_YET
    parts = [habit(profile), f"Learnt from {evidence(profile)}."]
    if profile.picks < FEW_PICKS:
        parts.append("That is little: the model's own ideas still weigh more.")
    parts.append(_expects(profile))
    return " ".join(filter(None, parts))


def in_brief(profile: PreferenceProfile) -> str:
    """Say what is in a profile in one short line."""
    if not profile.picks:
        return f"{counted(len(profile.sizes), 'size')}, no picks" if profile.sizes else NOTHING_YET
    size = relative_size(profile)
    counts = [counted(profile.picks, "pick"), counted(profile.images, "image")]
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
    if not profile.picks:
        return "no picks"
    return f"{counted(profile.picks, 'pick')} on {counted(profile.images, 'image')}"


def relative_size(profile: PreferenceProfile) -> float | None:
    """Return how much larger the user draws than is first recommended."""
    if not profile.picks or not profile.objects:
        return None
    return math.expm1(min(profile.log_growth / profile.objects, 700.0))


def boundary_lean(
    profile: PreferenceProfile, initial: MixtureParameters | None = None
) -> float | None:
    """Return how far the profile's boundaries lie outside the model's own, on average."""
    channel = boundary_channel(profile)
    if channel is None or not profile.picks:
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

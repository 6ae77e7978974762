"""What one may choose about the engine; light to import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from napari_spa.core.mixture import UpdateConfig

Progress = Callable[[float, str], None]
"""Called with the share done and a message; may raise ``Cancelled`` to stop."""


def silent(share: float, message: str) -> None:
    """Report progress to no one."""


@dataclass(frozen=True, slots=True)
class FramingConfig:
    """Sizes of the search for a field of view."""

    smallest: float = 16.0  # side of the smallest window, in image pixels
    ratio: float = 2.0  # from one window's side to the next
    context: float = 2.0  # side of the final view in extents of the object
    # Side of the cells that share a window, in sides of the window: the objects of a neighbourhood
    # are looked for in the same windows, and these are encoded once.
    snap: float = 0.5
    looks: int = 5  # at most so many objects of the pyramid are looked at again, each alone
    # An object is not looked at again that at best counts for less than the best so far divided
    # by this.
    spared: float = 0.85
    # What a window counts for that agrees with neither neighbour in the pyramid; full agreement
    # adds one.
    alone: float = 0.3
    # Exponent on the object's extent relative to the image: between two windows that are seen
    # equally well, the larger object is meant.
    size_prior: float = 0.2
    hypotheses: int = 6  # so many objects of other windows are kept as what may be meant instead
    distinct: float = 0.5  # IoU above which two of them show the same object
    # Exponent on their area in their order: of two that are seen equally well, the larger first.
    size_merit: float = 0.05
    # Sides of the windows that are looked at around a mask that was picked, in sides of the view
    # of it alone.
    around: tuple[float, ...] = (0.5, 1.0, 2.0)
    # How likely the size of any object is, relative to the one that is expected after others were
    # accepted: what the network sees can speak against the memory so far.
    size_doubt: float = 0.02


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How many samples and candidates, and what a pick carries to the next round."""

    samples: int = 48  # N, masks sampled per round
    # So many samples of a component have one shape and differ in the boundary's offset alone,
    # which costs no decoding; 1 decodes each (the paper).
    reuse: int = 3
    candidates: int = 4  # K, differences on offer
    # How the candidates are chosen: the few that leave least to be wished for, objects of other
    # views included, or K-means groups of the samples (the paper).
    alternatives: Literal["cover", "groups"] = "cover"
    # How likely an object of another view is that is seen without doubt, when the present view
    # counts one.
    elsewhere: float = 0.3
    # What the mask that the network trusts most counts for in the recommendation after a first
    # click, and the one that was picked last, as far as it agrees with the prompts, later on; 0
    # recommends by the samples alone (the paper).
    answer: float = 0.75
    picked: float = 0.5
    # From this expected Dice on, a click or a stroke changes the mask near it and nowhere else, and
    # one that agrees with the mask changes nothing; above 1 that holds of a user's own mask alone.
    trusted: float = 0.7
    focus: int = 48  # at most so many samples of the picked group, the nearest, explain it
    feedback_point: bool = True  # add the representative point of a pick to the prompts
    head: Literal["latent", "logit", "both"] | None = None  # another head than the model's own
    update: UpdateConfig = field(default_factory=UpdateConfig)  # strengths of the closed form
    framing: FramingConfig = field(default_factory=FramingConfig)

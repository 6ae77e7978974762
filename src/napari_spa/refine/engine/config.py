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
    """Sizes of the search for a field of view.

    Attributes
    ----------
    smallest : float
        Side of the smallest window, in image pixels.
    ratio : float
        From one window's side to the next.
    context : float
        Side of the final view in extents of the object.
    snap : float
        Side of the cells that share a window, in sides of the window: the objects of a
        neighbourhood are looked for in the same windows, and these are encoded once.
    looks : int
        At most so many objects of the pyramid are looked at again, each in a window of its own.
    spared : float
        An object is not looked at again that at best counts for less than the best so far
        divided by this.
    alone : float
        What a window counts for that agrees with neither neighbour in the pyramid; full
        agreement adds one.
    size_prior : float
        Exponent on the object's extent relative to the image: between two windows that
        are seen equally well, the larger object is meant.
    hypotheses : int
        So many objects of other windows are kept as what the prompts may mean instead.
    distinct : float
        IoU above which two of them show the same object.
    size_merit : float
        Exponent on their area in their order: of two that are seen equally well, the larger
        goes first.
    around : tuple of float
        Sides of the windows that are looked at around a mask that was picked, in sides of the
        view of it alone.
    size_doubt : float
        How likely the size of any object is, relative to the one that is expected after others
        were accepted: what the network sees can speak against the memory so far.
    """

    smallest: float = 16.0
    ratio: float = 2.0
    context: float = 2.0
    snap: float = 0.5
    looks: int = 5
    spared: float = 0.85
    alone: float = 0.3
    size_prior: float = 0.2
    hypotheses: int = 6
    distinct: float = 0.5
    size_merit: float = 0.05
    around: tuple[float, ...] = (0.5, 1.0, 2.0)
    size_doubt: float = 0.02


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How many samples and candidates, and what a pick carries to the next round.

    Attributes
    ----------
    samples : int
        N, masks sampled per round.
    reuse : int
        So many samples of a component have one shape and differ in the boundary's offset alone,
        which costs no decoding; 1 decodes each (the paper).
    candidates : int
        K, differences on offer.
    alternatives : {"cover", "groups"}
        How the candidates are chosen: the few that leave least to be wished for, objects of
        other views included, or K-means groups of the samples (the paper).
    elsewhere : float
        How likely an object of another view is that is seen without doubt, when the present
        view counts one.
    answer : float
        What the mask that the network trusts most counts for in the recommendation after a
        first click, rather than the samples; 0 recommends by the samples alone (the paper).
    picked : float
        What the mask that was picked last counts for in the recommendation, rather than the
        samples, as far as it agrees with the prompts; 0 recommends by the samples alone (the
        paper).
    focus : int
        At most so many samples of the picked group, those nearest to the pick, explain it.
    feedback_point : bool
        Add the representative point of a pick to the prompts.
    head : {"latent", "logit", "both"} or None
        Another head than the model's own.
    update : UpdateConfig
        Strengths of the closed-form update.
    framing : FramingConfig
        Sizes of the search for a field of view.
    """

    samples: int = 48
    reuse: int = 3
    candidates: int = 4
    alternatives: Literal["cover", "groups"] = "cover"
    elsewhere: float = 0.3
    answer: float = 0.75
    picked: float = 0.5
    focus: int = 48
    feedback_point: bool = True
    head: Literal["latent", "logit", "both"] | None = None
    update: UpdateConfig = field(default_factory=UpdateConfig)
    framing: FramingConfig = field(default_factory=FramingConfig)

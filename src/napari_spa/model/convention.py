"""How a family of checkpoints means its inputs and its outputs.

The same network gives other masks when its pixels are scaled otherwise or its points are
read in another order, so all of this belongs to the checkpoint.  A family is declared as a
whole, by its name in ``SpaConfig``: combinations that no one has trained cannot be asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

ConventionName = Literal["spa", "sam", "sam2", "medsam", "paper"]


@dataclass(frozen=True, slots=True)
class Convention:
    """What a family of checkpoints expects and gives."""

    # How an image gets into the square input: an automatic field of view, a plain resize, or
    # SAM's longest side with padding.
    frame: Literal["window", "squash", "pad"] = "window"
    # Per-window standardisation, SAM's mean and deviation, or plain [0, 1].
    normalise: Literal["standardise", "sam", "unit"] = "standardise"
    # The order in which the prompt encoder was trained to read points.
    point_order: Literal["xy", "rc"] = "xy"
    two_way: Literal["sam", "efficient-sam"] = "sam"  # whose two-way block the mask decoder has
    residual: bool = True  # whether the conditioner adds to the embedding or replaces it
    # Layout of the network that predicts the mixture from the prompts.
    prior: Literal["pooled", "paper"] = "pooled"
    sampler: Literal["mixture", "weighted-sum"] = "mixture"  # how latents are drawn
    responsibilities: Literal["latent", "pixel"] = "latent"  # how a pick is explained by components
    # What is averaged into the recommended mask.
    mean_of: Literal["probability", "logit"] = "probability"
    threshold: float = 0.5  # threshold on that mean


CONVENTIONS = MappingProxyType(
    {
        "spa": Convention(),
        "sam": Convention(frame="pad", normalise="sam"),
        "sam2": Convention(frame="squash", normalise="sam"),
        # MedSAM resizes to the square without padding and scales to [0, 1].
        "medsam": Convention(frame="squash", normalise="unit"),
        # The paper's public code.
        "paper": Convention(
            frame="squash",
            normalise="unit",
            point_order="rc",
            two_way="efficient-sam",
            residual=False,
            prior="paper",
            sampler="weighted-sum",
            responsibilities="pixel",
            mean_of="logit",
        ),
    }
)
"""Every family by its name: this package's networks, SAM and its tuned relatives, SAM 2, MedSAM,
and checkpoints of the paper's public code."""

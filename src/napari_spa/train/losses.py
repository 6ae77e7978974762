"""The losses of training (paper 3.5, with the marginal-likelihood term of ours)."""

from __future__ import annotations

import math
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


def in_float32(
    function: Callable[Concatenate[Tensor, P], T],
) -> Callable[Concatenate[Tensor, P], T]:
    """Compute sums over pixels in float32 also where the network computes in bfloat16."""

    @wraps(function)
    def computed(first: Tensor, /, *args: P.args, **options: P.kwargs) -> T:
        with torch.autocast(first.device.type, enabled=False):
            return function(first.float(), *args, **options)

    return computed


@in_float32
def sample_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of every sample against every user, summed over pixels.

    ``sum_p softplus(l) - l y``: the first term does not depend on the user, so all
    pairs cost one product.

    Parameters
    ----------
    logits : Tensor
        ``(B, N, h, w)`` float.
    targets : Tensor
        ``(B, R, h, w)`` float in [0, 1].

    Returns
    -------
    Tensor
        ``(B, N, R)`` float.
    """
    total = functional.softplus(logits).sum(dim=(2, 3))  # (B, N)
    agreement = logits.flatten(2) @ targets.flatten(2).transpose(1, 2)  # (B, N, R)
    return total[:, :, None] - agreement


@in_float32
def marginal_likelihood(cross_entropy: Tensor, temperature: float) -> Tensor:
    """Negative tempered log marginal likelihood of each user under the samples.

    ``-T log (1 / N) sum_n exp(-CE_n / T)``: small when at least one sample is the user's
    whole mask, which makes samples whole hypotheses (docs/method.md, training).

    Parameters
    ----------
    cross_entropy : Tensor
        ``(B, N, R)`` float, summed over pixels.
    temperature : float
        T; with a large one this is the mean again and the latent dies.

    Returns
    -------
    Tensor
        ``(B, R)`` float.
    """
    n = cross_entropy.shape[1]
    evidence = torch.logsumexp(-cross_entropy / temperature, dim=1) - math.log(n)
    return -temperature * evidence


@in_float32
def soft_dice_loss(probability: Tensor, targets: Tensor) -> Tensor:
    """One minus the soft Dice of a probability map against each user.

    Parameters
    ----------
    probability : Tensor
        ``(B, h, w)`` float in [0, 1].
    targets : Tensor
        ``(B, R, h, w)`` float in [0, 1].

    Returns
    -------
    Tensor
        ``(B, R)`` float.
    """
    p = probability[:, None]
    overlap = (p * targets).sum(dim=(2, 3))
    total = p.sum(dim=(2, 3)) + targets.sum(dim=(2, 3))
    return 1 - (2 * overlap + 1) / (total + 1)


@in_float32
def mean_cross_entropy(probability: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of the mean prediction, summed over pixels (Algorithm 1).

    Parameters
    ----------
    probability : Tensor
        ``(B, h, w)`` float in [0, 1], mean over samples.
    targets : Tensor
        ``(B, R, h, w)`` float in [0, 1].

    Returns
    -------
    Tensor
        ``(B, R)`` float.
    """
    p = probability.clamp(1e-5, 1 - 1e-5)
    odds = torch.log(p) - torch.log1p(-p)
    agreement = (odds[:, None] * targets).sum(dim=(2, 3))
    return -torch.log1p(-p).sum(dim=(1, 2))[:, None] - agreement


@in_float32
def intersection_over_union(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean IoU of thresholded predictions with the users' masks; no gradient.

    Parameters
    ----------
    logits : Tensor
        ``(B, T, h, w)`` float.
    targets : Tensor
        ``(B, R, h, w)`` float in [0, 1].

    Returns
    -------
    Tensor
        ``(B, T)`` float, averaged over users.
    """
    prediction = (logits.detach() > 0).flatten(2).float()
    truth = (targets > 0.5).flatten(2).float()
    overlap = prediction @ truth.transpose(1, 2)  # (B, T, R)
    union = prediction.sum(2)[:, :, None] + truth.sum(2)[:, None] - overlap
    return (overlap / union.clamp(min=1)).mean(dim=2)

"""One training step: Algorithm 1 of the paper, all its updates in one backward pass.

The paper alternates three optimisation phases and recomputes the samples in each.  Here
the losses are computed on the same samples and added; what a phase must not train is
detached, so each network still sees only its own loss, at a third of the cost.  One loss is
ours: the marginal likelihood.

The network may compute in bfloat16 (autocast); what it says is float32 from there on.

A step plays what a user does: a first prompt (click, box, stroke), then rounds of picks
and corrective clicks, all of them trained.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from napari_spa.train.windows import (
    PlayedPrompts,
    Window,
    corrective_clicks,
    first_prompts,
    pick_points,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_spa.model.spa import ImageEmbedding, PromptEmbedding, Spa


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
    """Cross-entropy of every sample against every user, summed over pixels, ``(B, N, R)``.

    ``sum_p softplus(l) - l y`` of logits ``(B, N, h, w)`` and targets ``(B, R, h, w)``: the first
    term does not depend on the user, so all pairs cost one product.
    """
    total = functional.softplus(logits).sum(dim=(2, 3))  # (B, N)
    agreement = logits.flatten(2) @ targets.flatten(2).transpose(1, 2)  # (B, N, R)
    return total[:, :, None] - agreement


@in_float32
def marginal_likelihood(cross_entropy: Tensor, temperature: float) -> Tensor:
    """Negative tempered log marginal likelihood of each user under the samples, ``(B, R)``.

    ``-T log (1 / N) sum_n exp(-CE_n / T)`` of the summed ``(B, N, R)``: small when at least one
    sample is the user's whole mask, which makes samples whole hypotheses (docs/method.md,
    training); with a large temperature it is the mean again and the latent dies.
    """
    n = cross_entropy.shape[1]
    evidence = torch.logsumexp(-cross_entropy / temperature, dim=1) - math.log(n)
    return -temperature * evidence


@in_float32
def soft_dice_loss(probability: Tensor, targets: Tensor) -> Tensor:
    """One minus the soft Dice of maps ``(B, h, w)`` against users ``(B, R, h, w)``: ``(B, R)``."""
    p = probability[:, None]
    overlap = (p * targets).sum(dim=(2, 3))
    total = p.sum(dim=(2, 3)) + targets.sum(dim=(2, 3))
    return 1 - (2 * overlap + 1) / (total + 1)


@in_float32
def mean_cross_entropy(probability: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of the mean prediction, summed over pixels, ``(B, R)`` (Algorithm 1).

    Of a probability ``(B, h, w)``, the mean over samples, against targets ``(B, R, h, w)``.
    """
    p = probability.clamp(1e-5, 1 - 1e-5)
    odds = torch.log(p) - torch.log1p(-p)
    agreement = (odds[:, None] * targets).sum(dim=(2, 3))
    return -torch.log1p(-p).sum(dim=(1, 2))[:, None] - agreement


@in_float32
def intersection_over_union(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean IoU, over users, of thresholded predictions with their masks, ``(B, T)``; no gradient.

    Of logits ``(B, T, h, w)`` and targets ``(B, R, h, w)``.
    """
    prediction = (logits.detach() > 0).flatten(2).float()
    truth = (targets > 0.5).flatten(2).float()
    overlap = prediction @ truth.transpose(1, 2)  # (B, T, R)
    union = prediction.sum(2)[:, :, None] + truth.sum(2)[:, None] - overlap
    return (overlap / union.clamp(min=1)).mean(dim=2)


def gaussian_divergence(means: Tensor, log_variances: Tensor) -> Tensor:
    """Kullback-Leibler divergence of Gaussians from the standard one, a channel; same shape."""
    return 0.5 * (means**2 + log_variances.exp() - 1 - log_variances)


QUALITY_SPREAD = 10.0  # temperature of a user's choice between samples, in summed cross-entropy
PICK_SPREAD = 0.25  # deviation of the latents after a pick, around those of the picked sample


@dataclass(frozen=True, slots=True)
class StepConfig:
    """The weights and sizes of one step."""

    samples: int = 5  # latent samples N in the first round
    refine_samples: int = 2  # latent samples in each later round
    rounds: int = 3  # rounds in all
    # T of the marginal likelihood, in summed cross-entropy of S/2 x S/2 logits.
    temperature: float = 1.0
    marginal: float = 0.9  # weight of the marginal likelihood; 0 leaves the paper's loss
    mean: float = 0.1  # weight of the mean prediction's cross-entropy
    # Weight of every sample's own cross-entropy, which keeps idle samples plausible.
    each: float = 0.05
    dice: float = 0.5  # weight of the mean prediction's soft Dice
    obey: float = 0.2  # weight of the cross-entropy at the prompted pixels themselves
    extent: float = 0.5  # weight of the predicted boxes of the objects
    later: float = 0.5  # weight of each later round
    # Weight of the components' divergence from a standard Gaussian: without it their means part
    # without end and their variances vanish, and the latent is a choice between M masks.
    divergence: float = 0.0
    scale: float = 40.0  # summed cross-entropies are divided by this


class _Samples(NamedTuple):
    latents: Tensor  # (B, N, D)
    logits: Tensor  # (B, N, h, w)
    cross_entropy: Tensor  # (B, N, R)


def step_loss(
    model: Spa, batch: Window, config: StepConfig, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Play a prompt, picks and corrective clicks on a batch of windows and return the loss.

    The network is in training mode; the generator, on the CPU, draws latents and prompts.  With the
    scalar loss come figures for the log, detached and left on the device.
    """
    image = model.encode(batch.pixels)
    played = first_prompts(batch.targets[:, 0], batch.point, generator)
    # One click cannot tell which superpixel is meant: no answer there is the right one.
    known = torch.ones_like(batch.made_up) if played.definite else 1 - batch.made_up
    prompt = played.embed(model)

    loss, metrics = _hypothesis_loss(model, image, prompt, batch, known, config)
    means, log_variances = (part.float() for part in model.initial_mixture(prompt))
    latents = _draw(means, log_variances, config.samples, model.config.latent_dim, generator)
    first = samples = _decode(model, image, prompt, latents, batch.targets)
    loss = loss + _sample_loss(first, batch.targets, known, config)
    loss = loss + config.obey * _obedience_loss(first.logits, played)
    loss = loss + _weight_loss(model, first, means, log_variances)
    loss = loss + config.divergence * gaussian_divergence(means, log_variances).mean()

    user = batch.targets[:, :1]
    every = torch.ones_like(known)
    for _ in range(1, config.rounds):
        played, latents, picked = _play(
            played, samples, batch, (means, log_variances), config, generator
        )
        use = (torch.rand(len(user), generator=generator) < 0.5).to(user.device)
        prompt = played.embed(model, mask_logits=picked[:, None], has_mask=use)
        samples = _decode(model, image, prompt, latents, user)
        round_loss = _sample_loss(samples, user, every, config)
        round_loss = round_loss + config.obey * _obedience_loss(samples.logits, played)
        loss = loss + config.later * round_loss
    metrics |= _metrics(batch.targets, first, samples)
    metrics["obeyed"] = _obeyed(samples.logits, played)
    metrics["deviation"] = (0.5 * log_variances.detach()).exp().mean()
    metrics["means"] = means.detach().std(dim=1).mean()
    return loss, metrics


def _play(
    played: PlayedPrompts,
    samples: _Samples,
    batch: Window,
    mixture: tuple[Tensor, Tensor],
    config: StepConfig,
    generator: torch.Generator,
) -> tuple[PlayedPrompts, Tensor, Tensor]:
    """Play one act of a user: a pick, a corrective click, or both."""
    user = batch.targets[:, 0]
    rows = torch.arange(len(user), device=user.device)
    best = samples.cross_entropy[:, :, 0].argmin(dim=1)
    picked = samples.logits[rows, best].detach()
    probability = samples.logits.detach().sigmoid().mean(dim=1)
    width = samples.latents.shape[-1]
    if torch.rand(1, generator=generator).item() < 0.4:
        centre = samples.latents[rows, best].detach()
        noise = torch.randn(len(user), config.refine_samples, width, generator=generator)
        latents = centre[:, None] + PICK_SPREAD * noise.to(user.device)
        played = pick_points(played, picked.sigmoid(), probability, 0.5, generator)
        played = corrective_clicks(played, probability, user, 0.3, generator)
    else:
        means, log_variances = (part.detach() for part in mixture)
        latents = _draw(means, log_variances, config.refine_samples, width, generator)
        played = corrective_clicks(played, probability, user, 0.85, generator)
    return played, latents, picked


def _hypothesis_loss(
    model: Spa,
    image: ImageEmbedding,
    prompt: PromptEmbedding,
    batch: Window,
    known: Tensor,
    config: StepConfig,
) -> tuple[Tensor, dict[str, Tensor]]:
    """SAM's own loss on the decoder's tokens: token 0 the mean, others the nearest user."""
    logits, quality, extents = model.decode_hypotheses(image, prompt)
    logits, quality = logits.float(), quality.float()
    pixels = logits.shape[-1] * logits.shape[-2]
    count = logits.shape[1]
    entropy = sample_cross_entropy(logits, batch.targets) / pixels  # (B, T, R)
    dice = torch.stack(
        [soft_dice_loss(logits[:, t].sigmoid(), batch.targets) for t in range(count)], dim=1
    )
    each = 4 * entropy + dice
    nearest = each[:, 1:].min(dim=1)
    overlap = intersection_over_union(logits, batch.targets) * batch.visible[:, None]
    error = functional.mse_loss(quality, overlap)
    loss = (each[:, 0].mean(1) * known).mean() + nearest.values.mean() + error
    metrics = {"iou": overlap[:, 0].mean(), "quality_mse": error.detach()}
    if extents is not None:
        distance = functional.smooth_l1_loss(
            extents.float()[:, :, None].expand(-1, -1, batch.extents.shape[1], -1),
            batch.extents[:, None].expand(-1, count, -1, -1),
            reduction="none",
            beta=0.1,
        ).sum(dim=-1)  # (B, T, R)
        chosen = distance[:, 1:].gather(1, nearest.indices[:, None])[:, 0]  # (B, R)
        box_loss = (distance[:, 0].mean(1) * known).mean() + chosen.mean()
        loss = loss + config.extent * box_loss
        metrics["extent"] = distance[:, 0].detach().mean()
    return loss, metrics


def _draw(
    means: Tensor, log_variances: Tensor, count: int, width: int, generator: torch.Generator
) -> Tensor:
    """Draw latents ``(B, count, width)``; each takes its own stratum of the components."""
    b, m = means.shape
    offset = torch.rand(b, 1, generator=generator)
    strata = (torch.arange(count)[None] + offset) / count
    component = (strata * m).long().clamp(max=m - 1).to(means.device)
    mean = means.gather(1, component)[..., None]
    deviation = (0.5 * log_variances.gather(1, component)).exp()[..., None]
    noise = torch.randn(b, count, width, generator=generator).to(means.device)
    return mean + deviation * noise


def _decode(
    model: Spa, image: ImageEmbedding, prompt: PromptEmbedding, latents: Tensor, targets: Tensor
) -> _Samples:
    b, n, _ = latents.shape
    logits, _ = model.decode(image.repeat(n), prompt.repeat(n), latents.flatten(0, 1))
    logits = logits.float().view(b, n, *logits.shape[-2:])
    return _Samples(latents, logits, sample_cross_entropy(logits, targets))


def _sample_loss(samples: _Samples, targets: Tensor, known: Tensor, config: StepConfig) -> Tensor:
    """Loss of samples against users, over the rows whose target the prompts determine."""
    probability = samples.logits.sigmoid().mean(dim=1)
    evidence = marginal_likelihood(samples.cross_entropy, config.temperature).mean(1)
    mean = mean_cross_entropy(probability, targets).mean(1)
    each = samples.cross_entropy.mean(dim=(1, 2))
    summed = config.marginal * evidence + config.mean * mean + config.each * each
    dice = soft_dice_loss(probability, targets).mean(1)
    return ((summed / config.scale + config.dice * dice) * known).mean()


def _at_prompts(logits: Tensor, played: PlayedPrompts) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logits ``(B, N, P)`` at the prompted pixels, their signs, and which count."""
    scale = played.image_size / logits.shape[-1]
    place = (played.points + 0.5) / scale / logits.shape[-1] * 2 - 1  # (B, P, 2)
    here = functional.grid_sample(
        logits, place[:, None], mode="bilinear", padding_mode="border", align_corners=False
    )[:, :, 0]
    used = (played.labels >= 0).to(logits.dtype)[:, None]
    return here, (2 * played.labels.clamp(min=0) - 1)[:, None], used


def _obedience_loss(logits: Tensor, played: PlayedPrompts) -> Tensor:
    """Cross-entropy at the prompted pixels, of every sample."""
    here, sign, used = _at_prompts(logits, played)
    total: Tensor = (functional.softplus(-sign * here) * used).sum()
    return total / (used.sum() * logits.shape[1]).clamp(min=1)


@torch.no_grad()
def _obeyed(logits: Tensor, played: PlayedPrompts) -> Tensor:
    """Share of prompted pixels that have their label in the mean of the samples."""
    here, sign, used = _at_prompts(logits.sigmoid().mean(1, keepdim=True) - 0.5, played)
    return ((here * sign > 0) * used).sum() / used.sum().clamp(min=1)


def _weight_loss(model: Spa, samples: _Samples, means: Tensor, log_variances: Tensor) -> Tensor:
    """MSE of the weight network to the users' E-step responsibilities (Algorithm 1)."""
    with torch.no_grad():
        z = samples.latents[:, :, None]  # (B, N, 1, D)
        mean, log_variance = means[:, None, :, None], log_variances[:, None, :, None]
        density = -0.5 * ((z - mean) ** 2 / log_variance.exp() + log_variance).sum(dim=-1)
        posterior = torch.softmax(density, dim=-1)  # (B, N, M)
        entropy = samples.cross_entropy[:, :, 0]
        share = torch.softmax(-entropy / QUALITY_SPREAD, dim=1)
        target = (share[..., None] * posterior).sum(dim=1)
        rows = torch.arange(len(entropy), device=entropy.device)
        picked = posterior[rows, entropy.argmin(dim=1)]
    return (
        functional.mse_loss(model.weight_network(picked).float(), target) * model.config.components
    )


@torch.no_grad()
@in_float32
def _metrics(targets: Tensor, first: _Samples, last: _Samples) -> dict[str, Tensor]:
    hard = (first.logits > 0).float().flatten(2)  # (B, N, P)
    size = hard.sum(2)
    pairwise = 2 * (hard @ hard.transpose(1, 2)) / (size[:, :, None] + size[:, None]).clamp(min=1)
    n = hard.shape[1]
    off = ~torch.eye(n, dtype=torch.bool, device=hard.device)
    truth = (targets > 0.5).float().flatten(2)  # (B, R, P)
    dice = (
        2 * (hard @ truth.transpose(1, 2)) / (size[:, :, None] + truth.sum(2)[:, None]).clamp(min=1)
    )

    def mean_dice(samples: _Samples) -> Tensor:
        mask = (samples.logits.sigmoid().mean(1) > 0.5).float().flatten(1)
        overlap = 2 * (mask * truth[:, 0]).sum(1)
        return (overlap / (mask.sum(1) + truth[:, 0].sum(1)).clamp(min=1)).mean()

    return {
        "dice_1": mean_dice(first),
        "dice_2": mean_dice(last),
        "dice_best": dice[:, :, 0].max(dim=1).values.mean(),
        "pairwise_dice": pairwise[:, off].median(),
    }

"""One training step: Algorithm 1 of the paper, all its updates in one backward pass.

The paper alternates three optimisation phases and recomputes the samples in each.  Here
the three losses are computed on the same samples and added; what a phase must not train
is detached, so each network still sees only its own loss, at a third of the cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from napari_spa.model.spa import ImageEmbedding, PromptEmbedding, Spa
from napari_spa.train import losses


@dataclass(frozen=True, slots=True)
class StepConfig:
    """The weights and sizes of one step.

    Attributes
    ----------
    samples : int
        Latent samples N in the first round.
    refine_samples : int
        Latent samples in the round after a pick.
    temperature : float
        T of the marginal likelihood, in summed cross-entropy of S/2 x S/2 logits.
    marginal : float
        Weight of the marginal likelihood; 0 leaves the paper's loss.
    mean : float
        Weight of the mean prediction's cross-entropy.
    each : float
        Weight of every sample's own cross-entropy, which keeps idle samples plausible.
    dice : float
        Weight of the mean prediction's soft Dice.
    scale : float
        Summed cross-entropies are divided by this.
    """

    samples: int = 6
    refine_samples: int = 3
    temperature: float = 1.0
    marginal: float = 0.9
    mean: float = 0.1
    each: float = 0.05
    dice: float = 0.5
    scale: float = 40.0


class Batch(NamedTuple):
    """A batch of windows; see :class:`napari_spa.train.windows.Window`.

    Attributes
    ----------
    pixels : Tensor
        ``(B, 3, S, S)``.
    targets : Tensor
        ``(B, R, S / 2, S / 2)``.
    points : Tensor
        ``(B, 2)``.
    visible : Tensor
        ``(B,)``.
    """

    pixels: Tensor
    targets: Tensor
    points: Tensor
    visible: Tensor


class _Samples(NamedTuple):
    latents: Tensor  # (B, N, D)
    logits: Tensor  # (B, N, h, w)
    cross_entropy: Tensor  # (B, N, R)


def step_loss(
    model: Spa, batch: Batch, config: StepConfig, generator: torch.Generator
) -> tuple[Tensor, dict[str, float]]:
    """Play a click and a pick on a batch and return the loss.

    Parameters
    ----------
    model : Spa
        The network in training mode.
    batch : Batch
        Windows with the masks of R users each.
    config : StepConfig
        Weights and sizes.
    generator : torch.Generator
        Draws latents and prompts; on the CPU.

    Returns
    -------
    loss : Tensor
        Scalar.
    metrics : dict
        Detached figures for the log.
    """
    image = model.encode(batch.pixels)
    points = batch.points[:, None]
    labels = torch.ones(points.shape[:2], device=points.device)
    prompt = model.embed_prompts(points, labels)

    hypotheses, hypothesis_metrics = _hypothesis_loss(model, image, prompt, batch)
    means, log_variances = model.initial_mixture(prompt)
    first = _sample(model, image, prompt, batch.targets, (means, log_variances), config, generator)
    loss = hypotheses + _sample_loss(first, batch.targets, config)
    loss = loss + _weight_loss(model, first, means, log_variances)

    refined, user = _refine(model, image, batch, first, config, generator)
    loss = loss + 0.6 * _sample_loss(refined, user, config)
    return loss, hypothesis_metrics | _metrics(first, refined, batch.targets)


def _hypothesis_loss(
    model: Spa, image: ImageEmbedding, prompt: PromptEmbedding, batch: Batch
) -> tuple[Tensor, dict[str, float]]:
    """SAM's own loss on the decoder's tokens: token 0 the mean, others the nearest user."""
    logits, quality = model.decode(image, prompt, None, tokens=(0, 1, 2, 3))
    pixels = logits.shape[-1] * logits.shape[-2]
    entropy = losses.sample_cross_entropy(logits, batch.targets) / pixels  # (B, T, R)
    dice = torch.stack(
        [losses.soft_dice_loss(logits[:, t].sigmoid(), batch.targets) for t in range(4)], dim=1
    )
    each = 4 * entropy + dice
    overlap = losses.intersection_over_union(logits, batch.targets) * batch.visible[:, None]
    error = functional.mse_loss(quality, overlap)
    loss = each[:, 0].mean() + each[:, 1:].min(dim=1).values.mean() + error
    return loss, {"iou": overlap[:, 0].mean().item(), "quality_mse": error.item()}


def _sample(
    model: Spa,
    image: ImageEmbedding,
    prompt: PromptEmbedding,
    targets: Tensor,
    mixture: tuple[Tensor, Tensor],
    config: StepConfig,
    generator: torch.Generator,
) -> _Samples:
    means, log_variances = mixture
    b, m = means.shape
    n, d = config.samples, model.config.latent_dim
    # Systematic allocation: each sample takes its own stratum of the components.
    offset = torch.rand(b, 1, generator=generator)
    strata = (torch.arange(n)[None] + offset) / n
    component = (strata * m).long().clamp(max=m - 1).to(means.device)
    mean = means.gather(1, component)[..., None]
    deviation = (0.5 * log_variances.gather(1, component)).exp()[..., None]
    noise = torch.randn(b, n, d, generator=generator).to(means.device)
    latents = mean + deviation * noise
    return _decode(model, image, prompt, latents, targets)


def _decode(
    model: Spa, image: ImageEmbedding, prompt: PromptEmbedding, latents: Tensor, targets: Tensor
) -> _Samples:
    b, n, _ = latents.shape
    paired = PromptEmbedding(
        prompt.sparse.repeat_interleave(n, 0), prompt.dense.repeat_interleave(n, 0)
    )
    logits, _ = model.decode(image.repeat(n), paired, latents.flatten(0, 1))
    logits = logits.view(b, n, *logits.shape[-2:])
    return _Samples(latents, logits, losses.sample_cross_entropy(logits, targets))


def _sample_loss(samples: _Samples, targets: Tensor, config: StepConfig) -> Tensor:
    probability = samples.logits.sigmoid().mean(dim=1)
    evidence = losses.marginal_likelihood(samples.cross_entropy, config.temperature).mean()
    mean = losses.mean_cross_entropy(probability, targets).mean()
    each = samples.cross_entropy.mean()
    summed = config.marginal * evidence + config.mean * mean + config.each * each
    dice: Tensor = losses.soft_dice_loss(probability, targets).mean()
    return summed / config.scale + config.dice * dice


def _weight_loss(model: Spa, samples: _Samples, means: Tensor, log_variances: Tensor) -> Tensor:
    """MSE of the weight network to the users' E-step responsibilities (Algorithm 1)."""
    with torch.no_grad():
        z = samples.latents[:, :, None]  # (B, N, 1, D)
        mean, log_variance = means[:, None, :, None], log_variances[:, None, :, None]
        density = -0.5 * ((z - mean) ** 2 / log_variance.exp() + log_variance).sum(dim=-1)
        posterior = torch.softmax(density, dim=-1)  # (B, N, M)
        entropy = samples.cross_entropy[:, :, 0]
        share = torch.softmax(-entropy / 10.0, dim=1)
        target = (share[..., None] * posterior).sum(dim=1)
        rows = torch.arange(len(entropy), device=entropy.device)
        picked = posterior[rows, entropy.argmin(dim=1)]
    return functional.mse_loss(model.weight_network(picked), target) * model.config.components


def _refine(
    model: Spa,
    image: ImageEmbedding,
    batch: Batch,
    first: _Samples,
    config: StepConfig,
    generator: torch.Generator,
) -> tuple[_Samples, Tensor]:
    """Play the round after a pick: latents near it, feedback prompts, one user's mask."""
    device = batch.points.device
    b = len(first.logits)
    rows = torch.arange(b, device=device)
    user = batch.targets[:, :1]
    best = first.cross_entropy[:, :, 0].argmin(dim=1)
    picked = first.logits[rows, best].detach()
    centre = first.latents[rows, best].detach()
    noise = torch.randn(b, config.refine_samples, centre.shape[-1], generator=generator)
    latents = centre[:, None] + 0.4 * noise.to(device)

    probability = first.logits.detach().sigmoid().mean(dim=1)
    points, labels = _feedback_points(picked.sigmoid(), probability, user[:, 0], batch, generator)
    has_mask = (torch.rand(b, generator=generator) < 0.5).to(device)
    boxes = None
    if torch.rand(1, generator=generator).item() < 0.15:
        boxes = _user_boxes(user[:, 0], generator)
    prompt = model.embed_prompts(
        points, labels, boxes=boxes, mask_logits=picked[:, None], has_mask=has_mask
    )
    return _decode(model, image, prompt, latents, user), user


def _feedback_points(
    picked: Tensor, probability: Tensor, user: Tensor, batch: Batch, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Collect the first click and up to three more, from picks and from errors."""
    scale = batch.pixels.shape[-1] / user.shape[-1]
    points, labels = [batch.points], [torch.ones(len(user), device=user.device)]
    # Representative point: where the pick differs most from the mean, with its own label.
    difference = (picked - probability).abs().flatten(1)
    top = difference.topk(20, dim=1).indices
    choice = torch.randint(20, (len(user), 1), generator=generator).to(user.device)
    index = top.gather(1, choice)[:, 0]
    value = (picked.flatten(1).gather(1, index[:, None])[:, 0] > 0.5).float()
    points.append(_to_points(index, user.shape[-1], scale))
    labels.append(torch.where(_chance(len(user), 0.35, generator, user.device), value, -1.0))
    # Corrective clicks: inside thick errors of the recommendation, labelled by the user.
    error = ((probability > 0.5) != (user > 0.5)).float()
    thick = functional.avg_pool2d(error[:, None], 5, 1, 2)[:, 0] * error
    weight = thick.flatten(1) ** 2
    empty = weight.sum(dim=1) == 0
    for chance in (0.4, 0.2):
        drawn = torch.multinomial((weight + 1e-9).cpu(), 1, generator=generator)[:, 0]
        index = drawn.to(user.device)
        value = (user.flatten(1).gather(1, index[:, None])[:, 0] > 0.5).float()
        used = _chance(len(user), chance, generator, user.device) & ~empty
        points.append(_to_points(index, user.shape[-1], scale))
        labels.append(torch.where(used, value, -1.0))
    return torch.stack(points, dim=1), torch.stack(labels, dim=1)


def _to_points(index: Tensor, width: int, scale: float) -> Tensor:
    row, column = index.div(width, rounding_mode="floor"), index % width
    return torch.stack([column, row], dim=-1).float() * scale + (scale - 1) / 2


def _chance(count: int, share: float, generator: torch.Generator, device: torch.device) -> Tensor:
    return (torch.rand(count, generator=generator) < share).to(device)


def _user_boxes(user: Tensor, generator: torch.Generator) -> Tensor:
    """Boxes around the user's mask in model pixels as (x0, y0, x1, y1), loosely drawn."""
    inside = user > 0.5
    size = user.shape[-1]
    steps = torch.arange(size, device=user.device, dtype=torch.float32)
    columns, rows = inside.any(dim=1), inside.any(dim=2)  # (B, w), (B, h)

    def extent(line: Tensor) -> tuple[Tensor, Tensor]:
        low = torch.where(line, steps, float(size)).min(dim=1).values
        high = torch.where(line, steps, -1.0).max(dim=1).values
        none = high < low
        return torch.where(none, 0.0, low), torch.where(none, float(size - 1), high)

    (x0, x1), (y0, y1) = extent(columns), extent(rows)
    box = torch.stack([x0, y0, x1, y1], dim=1) * 2
    jitter = torch.randn(box.shape, generator=generator).to(user.device) * 2
    return (box + jitter).clamp(0, 2 * size - 1)


@torch.no_grad()
def _metrics(first: _Samples, refined: _Samples, targets: Tensor) -> dict[str, float]:
    hard = (first.logits > 0).float().flatten(2)  # (B, N, P)
    size = hard.sum(2)
    pairwise = 2 * (hard @ hard.transpose(1, 2)) / (size[:, :, None] + size[:, None]).clamp(min=1)
    n = hard.shape[1]
    off = ~torch.eye(n, dtype=torch.bool, device=hard.device)
    truth = (targets > 0.5).float().flatten(2)  # (B, R, P)
    dice = (
        2 * (hard @ truth.transpose(1, 2)) / (size[:, :, None] + truth.sum(2)[:, None]).clamp(min=1)
    )

    def mean_dice(samples: _Samples) -> float:
        mask = (samples.logits.sigmoid().mean(1) > 0.5).float().flatten(1)
        overlap = 2 * (mask * truth[:, 0]).sum(1)
        return (overlap / (mask.sum(1) + truth[:, 0].sum(1)).clamp(min=1)).mean().item()

    return {
        "dice_1": mean_dice(first),
        "dice_2": mean_dice(refined),
        "dice_best": dice[:, :, 0].max(dim=1).values.mean().item(),
        "pairwise_dice": pairwise[:, off].median().item(),
    }

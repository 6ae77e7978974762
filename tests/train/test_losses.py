"""Unit tests of the losses against direct formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from napari_spa.train import steps as losses

B, N, R, H, W = 2, 3, 4, 5, 6


@pytest.fixture
def logits() -> torch.Tensor:
    return 3 * torch.randn(B, N, H, W, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def targets() -> torch.Tensor:
    return torch.rand(B, R, H, W, generator=torch.Generator().manual_seed(1))


def test_sample_cross_entropy(logits, targets) -> None:
    ours = losses.sample_cross_entropy(logits, targets)
    assert ours.shape == (B, N, R)
    for b in range(B):
        for n in range(N):
            for r in range(R):
                direct = functional.binary_cross_entropy_with_logits(
                    logits[b, n], targets[b, r], reduction="sum"
                )
                torch.testing.assert_close(ours[b, n, r], direct, rtol=1e-4, atol=1e-3)


def test_sample_cross_entropy_stays_finite_for_large_logits(targets) -> None:
    ours = losses.sample_cross_entropy(torch.full((B, N, H, W), 500.0), targets)
    assert torch.isfinite(ours).all()


@pytest.mark.parametrize("temperature", [0.5, 2.0, 30.0])
def test_marginal_likelihood(logits, targets, temperature) -> None:
    entropy = losses.sample_cross_entropy(logits, targets)
    ours = losses.marginal_likelihood(entropy, temperature)
    direct = -temperature * torch.log((-entropy.double() / temperature).exp().mean(dim=1))
    torch.testing.assert_close(ours.double(), direct, rtol=1e-4, atol=1e-3)


def test_marginal_likelihood_rewards_one_whole_hypothesis() -> None:
    """One sample that is right beats samples that are all half right."""
    one_right = torch.tensor([[[0.0], [100.0], [100.0], [100.0]]])
    all_half = torch.full((1, 4, 1), 50.0)
    cold = [losses.marginal_likelihood(ce, 2.0).item() for ce in (one_right, all_half)]
    assert cold[0] == pytest.approx(2 * math.log(4), abs=1e-3)
    assert cold[0] < cold[1]
    hot = losses.marginal_likelihood(one_right, 1e6).item()
    assert hot == pytest.approx(75.0, abs=0.1), "with a large temperature it is the mean"


def test_soft_dice_loss(targets) -> None:
    probability = torch.rand(B, H, W, generator=torch.Generator().manual_seed(2))
    ours = losses.soft_dice_loss(probability, targets)
    for b in range(B):
        for r in range(R):
            p, y = probability[b], targets[b, r]
            direct = 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
            torch.testing.assert_close(ours[b, r], direct)
    same = (targets[:, :1] > 0.5).float()
    assert losses.soft_dice_loss(same[:, 0], same).abs().max() < 0.05


def test_mean_cross_entropy(targets) -> None:
    probability = torch.rand(B, H, W, generator=torch.Generator().manual_seed(2)) * 0.98 + 0.01
    ours = losses.mean_cross_entropy(probability, targets)
    for b in range(B):
        for r in range(R):
            direct = functional.binary_cross_entropy(probability[b], targets[b, r], reduction="sum")
            torch.testing.assert_close(ours[b, r], direct, rtol=1e-4, atol=1e-4)
    assert torch.isfinite(losses.mean_cross_entropy(torch.ones(B, H, W), targets)).all()


def test_intersection_over_union(logits, targets) -> None:
    ours = losses.intersection_over_union(logits, targets)
    for b in range(B):
        for n in range(N):
            shares = []
            for r in range(R):
                mask, truth = logits[b, n] > 0, targets[b, r] > 0.5
                shares.append(((mask & truth).sum() / (mask | truth).sum()).item())
            assert ours[b, n].item() == pytest.approx(sum(shares) / R, abs=1e-6)
    empty = losses.intersection_over_union(-torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4))
    assert torch.isfinite(empty).all()


def test_gaussian_divergence() -> None:
    means, log_variances = torch.tensor([[-2.0, 0.0, 900.0]]), torch.tensor([[-6.0, 0.0, 1.0]])
    ours = losses.gaussian_divergence(means, log_variances)
    components = torch.distributions.Normal(means, (0.5 * log_variances).exp())
    standard = torch.distributions.Normal(0.0, 1.0)
    direct = torch.distributions.kl_divergence(components, standard)
    torch.testing.assert_close(ours, direct)

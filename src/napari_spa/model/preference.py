"""The preference networks: what turns prompts and picks into a mixture, and a latent into pixels.

Two layouts share each interface: ours, and the one of the paper's public checkpoints
(see ``docs/method.md``), so that those can be read and give the same samples.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

_MIN_LOG_VARIANCE, _MAX_LOG_VARIANCE = -6.0, 2.0


class Conditioner(nn.Module):
    """Join a latent sample to the image embedding: three 1 x 1 convolutions (paper 3.3).

    The first convolution splits exactly, ``W [e_x; z] = W_x e_x + W_z z``, so its image
    part is computed once per image and its latent part costs one vector per sample.

    ``residual`` adds the result to the embedding and leaves the last layer linear (ours), instead
    of replacing the embedding after a last ReLU (the paper's code).
    """

    def __init__(self, *, embed_dim: int, latent_dim: int, residual: bool = True) -> None:
        super().__init__()
        self.residual = residual
        self.embed_dim = embed_dim
        self.layers = nn.Sequential(
            nn.Conv2d(embed_dim + latent_dim, embed_dim, 1),
            nn.ReLU(),
            nn.Conv2d(embed_dim, embed_dim, 1),
            nn.ReLU(),
            nn.Conv2d(embed_dim, embed_dim, 1),
            nn.Identity() if residual else nn.ReLU(),
        )

    @property
    def _first(self) -> nn.Conv2d:
        return cast("nn.Conv2d", self.layers[0])

    def project_image(self, embedding: Tensor) -> Tensor:
        """Compute ``W_x e_x + b`` of an embedding ``(B, C, h, w)``; the same shape."""
        return nn.functional.conv2d(
            embedding, self._first.weight[:, : self.embed_dim], self._first.bias
        )

    def forward(self, embedding: Tensor, projected: Tensor, latents: Tensor) -> Tensor:
        """Condition embeddings on latents: ``f(e_x (+) tile(z_n))``, ``(N, C, h, w)``.

        ``embedding`` and ``projected`` (from :meth:`project_image`) are ``(1 or N, C, h, w)``, the
        latents ``(N, D)``.
        """
        shift = latents @ self._first.weight[:, self.embed_dim :, 0, 0].T  # (N, C)
        # Channels last and contiguous: plain products.
        x = projected.permute(0, 2, 3, 1).contiguous() + shift[:, None, None]
        for layer in list(self.layers)[1:]:
            if isinstance(layer, nn.Conv2d):
                x = nn.functional.linear(x, layer.weight[:, :, 0, 0], layer.bias)
            else:
                x = layer(x)
        if self.residual:
            x = x + embedding.permute(0, 2, 3, 1).contiguous()
        return x.permute(0, 3, 1, 2)


class PriorNetwork(nn.Module):
    """Prompts to the mixture's means and log variances: six layers (paper 3.4).

    The output is a correction to learnt, prompt-independent component parameters, so an
    untrained or odd prompt starts from a sensible spread.
    """

    def __init__(self, *, embed_dim: int, components: int) -> None:
        super().__init__()
        self.means = nn.Parameter(torch.linspace(-1.5, 1.5, components))
        self.log_variances = nn.Parameter(torch.full((components,), -0.7))
        widths = (2 * embed_dim, 128, 128, 64, 64, 32)
        hidden: list[nn.Module] = []
        for before, after in pairwise(widths):
            hidden += [nn.Linear(before, after), nn.ReLU()]
        last = nn.Linear(widths[-1], 2 * components)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*hidden, last)

    def forward(self, sparse: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
        """Predict M component means and log variances, ``(B, M)`` each.

        From prompt tokens ``(B, P, C)`` and the dense prompt ``(B, C, h, w)``.
        """
        pooled = torch.cat([sparse.mean(dim=1), dense.mean(dim=(2, 3))], dim=1)
        shift, log_scale = self.layers(pooled).chunk(2, dim=1)
        log_variances = (self.log_variances + log_scale).clamp(_MIN_LOG_VARIANCE, _MAX_LOG_VARIANCE)
        return self.means + shift, log_variances


class WeightNetwork(nn.Module):
    """Responsibilities of a pick to new component weights: six layers (paper 3.4)."""

    def __init__(self, *, components: int = 16) -> None:
        super().__init__()
        widths = (components, 64, 128, 256, 128, 64, components)
        for index, (before, after) in enumerate(pairwise(widths), 1):
            self.add_module(f"fc{index}", nn.Linear(before, after))

    def forward(self, responsibilities: Tensor) -> Tensor:
        """Map ``(B, M)`` responsibilities to ``(B, M)`` weights that sum to one."""
        x = responsibilities
        for index in range(1, 6):
            x = torch.relu(self.get_submodule(f"fc{index}")(x))
        return torch.softmax(self.get_submodule("fc6")(x), dim=-1)


class PaperPriorNetwork(nn.Module):
    """Mean and variance network in the layout of the paper's public checkpoints."""

    def __init__(self, *, embed_dim: int = 256, components: int = 16) -> None:
        super().__init__()
        self.components = components
        self.conv1d_1 = nn.Conv1d(embed_dim, 128, kernel_size=3, padding=1)
        self.conv1d_2 = nn.Conv1d(128, 64, kernel_size=3, padding=1)
        self.conv1 = nn.Conv2d(embed_dim, 128, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(128, 64, kernel_size=3, padding=1)
        self.conv3 = nn.Conv2d(64, 32, kernel_size=3, padding=1)
        self.fc1 = nn.Linear(64 + 4 * 32, 128)
        self.fc2 = nn.Linear(128, 64)
        self.fc3 = nn.Linear(64, 2 * components)

    def forward(self, sparse: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """Predict M component means and log variances, ``(1, M)`` each, averaged over the batch.

        From prompt tokens ``(B, P, C)`` and the positional encoding ``(B, C, h, w)``, as that
        code feeds it.
        """
        tokens = torch.relu(self.conv1d_1(sparse.transpose(1, 2)))
        tokens = torch.relu(self.conv1d_2(tokens)).mean(dim=2)  # (B, 64)
        grid = torch.relu(self.conv1(position))
        grid = torch.relu(self.conv2(grid))
        grid = torch.relu(self.conv3(grid))
        grid = nn.functional.adaptive_avg_pool2d(grid, 2).flatten(1)  # (B, 128)
        x = torch.relu(self.fc1(torch.cat([tokens, grid.expand(len(tokens), -1)], dim=1)))
        means, variances = self.fc3(torch.relu(self.fc2(x))).split(self.components, dim=1)
        variances = torch.relu(variances) + 1e-6  # before the average over the batch, as there
        return means.mean(0, keepdim=True), torch.log(variances.mean(0, keepdim=True))

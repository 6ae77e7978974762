"""A checkpoint as the paper's public ``train.py`` saves it, and what that code does with it.

Both are written down from facts about it (names, shapes and order of operations), tensor by
tensor, without SAM's modules or ours: a difference to SAM cannot hide in a shared part.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

WIDTH, DEPTH, HEADS, GLOBAL = 32, 4, 4, (1, 3)
"""A ViT of the paper's layout, but small; its public checkpoints are ViT-B."""
CHANNELS, HIDDEN, LATENT, COMPONENTS, TOKENS = 32, 48, 64, 16, 4
WINDOW, SAVED_GRID = 14, 64


Shapes = Iterator[tuple[str, tuple[int, ...]]]


def shapes(image_size: int) -> Shapes:
    """Name every tensor of the state dict with its shape."""
    yield from image_encoder_shapes(image_size)
    yield from prompt_encoder_shapes()
    yield from mask_decoder_shapes()
    yield from preference_shapes()


def linear(name: str, before: int, after: int) -> Shapes:
    """Name the tensors of a linear layer."""
    yield f"{name}.weight", (after, before)
    yield f"{name}.bias", (after,)


def norm(name: str, width: int) -> Shapes:
    """Name the tensors of a normalisation."""
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def conv(name: str, *shape: int, bias: int) -> Shapes:
    """Name the tensors of a convolution."""
    yield f"{name}.weight", shape
    yield f"{name}.bias", (bias,)


def image_encoder_shapes(image_size: int) -> Shapes:
    """Name the tensors of the image encoder, and of what joins latents to its features."""
    c, d = CHANNELS, WIDTH
    yield from conv("image_encoder.patch_embed.proj", d, 3, 16, 16, bias=d)
    yield "image_encoder.pos_embed", (1, SAVED_GRID, SAVED_GRID, d)
    for b in range(DEPTH):
        block, side = f"image_encoder.blocks.{b}", image_size // 16 if b in GLOBAL else WINDOW
        yield from norm(f"{block}.norm1", d)
        yield from linear(f"{block}.attn.qkv", d, 3 * d)
        yield from linear(f"{block}.attn.proj", d, d)
        yield f"{block}.attn.rel_h", (2 * side - 1, d // HEADS)
        yield f"{block}.attn.rel_w", (2 * side - 1, d // HEADS)
        yield from norm(f"{block}.norm2", d)
        yield from linear(f"{block}.mlp.lin1", d, 4 * d)
        yield from linear(f"{block}.mlp.lin2", 4 * d, d)
    yield "image_encoder.neck.0.weight", (c, d, 1, 1)
    yield from norm("image_encoder.neck.1", c)
    yield "image_encoder.neck.2.weight", (c, c, 3, 3)
    yield from norm("image_encoder.neck.3", c)
    yield from conv("image_encoder.fcomb.layers.0", c, c + LATENT, 1, 1, bias=c)
    for n in (2, 4):
        yield from conv(f"image_encoder.fcomb.layers.{n}", c, c, 1, 1, bias=c)


def prompt_encoder_shapes() -> Shapes:
    """Name the tensors of the prompt encoder."""
    c = CHANNELS
    yield "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", (2, c // 2)
    for n in range(4):
        yield f"prompt_encoder.point_embeddings.{n}.weight", (1, c)
    yield "prompt_encoder.not_a_point_embed.weight", (1, c)
    yield "prompt_encoder.no_mask_embed.weight", (1, c)
    yield from conv("prompt_encoder.mask_downscaling.0", 4, 1, 2, 2, bias=4)
    yield from norm("prompt_encoder.mask_downscaling.1", 4)
    yield from conv("prompt_encoder.mask_downscaling.3", 16, 4, 2, 2, bias=16)
    yield from norm("prompt_encoder.mask_downscaling.4", 16)
    yield from conv("prompt_encoder.mask_downscaling.6", c, 16, 1, 1, bias=c)


def mask_decoder_shapes() -> Shapes:
    """Name the tensors of the mask decoder."""
    c = CHANNELS
    yield "mask_decoder.iou_token.weight", (1, c)
    yield "mask_decoder.mask_tokens.weight", (TOKENS, c)
    whole = "mask_decoder.transformer"
    for n in range(2):
        layer = f"{whole}.layers.{n}"
        for name, inner in (
            ("self_attn", c),
            ("cross_attn_token_to_image", c // 2),
            ("cross_attn_image_to_token", c // 2),
        ):
            yield from attention_shapes(f"{layer}.{name}", inner)
        for k in range(1, 5):
            yield from norm(f"{layer}.norm{k}", c)
        yield from linear(f"{layer}.mlp.layers.0.0", c, HIDDEN)
        yield from linear(f"{layer}.mlp.fc", HIDDEN, c)
    yield from attention_shapes(f"{whole}.final_attn_token_to_image", c // 2)
    yield from norm(f"{whole}.norm_final_attn", c)
    yield from conv("mask_decoder.output_upscaling.0", c, c // 4, 2, 2, bias=c // 4)
    yield from norm("mask_decoder.output_upscaling.1", c // 4)
    yield from conv("mask_decoder.output_upscaling.3", c // 4, c // 8, 2, 2, bias=c // 8)
    for t in range(TOKENS):
        for n, after in enumerate((c, c, c // 8)):
            yield from linear(f"mask_decoder.output_hypernetworks_mlps.{t}.layers.{n}", c, after)
    for n, (before, after) in enumerate([(c, 256), (256, 256), (256, TOKENS)]):
        yield from linear(f"mask_decoder.iou_prediction_head.layers.{n}", before, after)


def preference_shapes() -> Shapes:
    """Name the tensors of the networks that draw the mixture."""
    c = CHANNELS
    widths = (COMPONENTS, 64, 128, 256, 128, 64, COMPONENTS)
    for n in range(1, 7):
        yield from linear(f"EM_weights.fc{n}", widths[n - 1], widths[n])
    prior = "EM_mean_variance"
    yield from conv(f"{prior}.conv1d_1", 128, c, 3, bias=128)
    yield from conv(f"{prior}.conv1d_2", 64, 128, 3, bias=64)
    yield from conv(f"{prior}.conv1", 128, c, 3, 3, bias=128)
    yield from conv(f"{prior}.conv2", 64, 128, 3, 3, bias=64)
    yield from conv(f"{prior}.conv3", 32, 64, 3, 3, bias=32)
    yield from linear(f"{prior}.fc1", 192, 128)
    yield from linear(f"{prior}.fc2", 128, 64)
    yield from linear(f"{prior}.fc3", 64, 2 * COMPONENTS)


def attention_shapes(name: str, inner: int) -> Shapes:
    """Name the tensors of one attention of the two-way transformer."""
    for part in ("q_proj", "k_proj", "v_proj"):
        yield f"{name}.{part}.weight", (inner, CHANNELS)
        yield f"{name}.{part}.bias", (inner,)
    yield f"{name}.out_proj.weight", (CHANNELS, inner)
    yield f"{name}.out_proj.bias", (CHANNELS,)


def paper_content(image_size: int = 64) -> dict[str, object]:
    """Return what the training script saves, with random weights that let signals through."""
    generator = torch.Generator().manual_seed(1)
    state = {}
    for name, shape in shapes(image_size):
        noise = torch.randn(shape, generator=generator)
        if len(shape) == 1 and name.endswith("weight"):  # of a normalisation
            state[name] = 1 + 0.2 * noise
        elif len(shape) > 1 and name.endswith("weight") and "embed" not in name:
            state[name] = noise * (2 / math.prod(shape[1:])) ** 0.5
        else:
            state[name] = 0.2 * noise
    rng = np.random.default_rng(0)
    weights = rng.random(COMPONENTS)
    return {
        "epoch": 7,
        "model": "sam",
        "state_dict": state,
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-4}]},
        "path_helper": {"ckpt_path": "logs/run/Model"},
        "best_tol": np.float64(0.25),
        "EM_weights": weights / weights.sum(),
        "EM_means": rng.uniform(-100, 100, COMPONENTS),
        "EM_variances": rng.uniform(0.1, 10, COMPONENTS),
    }


class PaperReference:
    """What the paper's public code computes, one sample at a time.

    Points are ``(P, 2)`` in (row, column) of the squashed image, pixels ``(1, 3, S, S)``.
    """

    def __init__(self, state: dict[str, Tensor], image_size: int) -> None:
        self.state, self.size, self.grid = state, image_size, image_size // 16

    # -- parts ---------------------------------------------------------------

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def conv(self, x: Tensor, name: str, **options: int) -> Tensor:
        bias = self.state.get(f"{name}.bias")
        return F.conv2d(x, self.state[f"{name}.weight"], bias, **options)

    def norm(self, x: Tensor, name: str, epsilon: float) -> Tensor:
        """Normalise over the last axis."""
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + epsilon).sqrt()
        return scaled * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    def norm_map(self, x: Tensor, name: str) -> Tensor:
        """Normalise ``(1, C, h, w)`` over its channels."""
        return self.norm(x.movedim(1, -1), name, 1e-6).movedim(-1, 1)

    # -- the image encoder ----------------------------------------------------

    def encode(self, pixels: Tensor) -> Tensor:
        x = self.conv(pixels, "image_encoder.patch_embed.proj", stride=16).movedim(1, -1)
        position = self.state["image_encoder.pos_embed"].movedim(-1, 1)
        position = F.interpolate(position, size=(self.grid, self.grid), mode="bicubic")
        x = x + position.movedim(1, -1)  # (1, g, g, D)
        for b in range(DEPTH):
            block = f"image_encoder.blocks.{b}"
            y = self.norm(x, f"{block}.norm1", 1e-6)
            if b in GLOBAL:
                y = self.attend(y[0], f"{block}.attn")[None]
            else:
                y = self.attend_in_windows(y[0], f"{block}.attn")[None]
            x = x + y
            y = self.linear(self.norm(x, f"{block}.norm2", 1e-6), f"{block}.mlp.lin1")
            x = x + self.linear(F.gelu(y), f"{block}.mlp.lin2")
        x = self.norm_map(
            self.conv(x.movedim(-1, 1), "image_encoder.neck.0"), "image_encoder.neck.1"
        )
        x = self.conv(x, "image_encoder.neck.2", padding=1)
        return self.norm_map(x, "image_encoder.neck.3")

    def attend_in_windows(self, x: Tensor, name: str) -> Tensor:
        """Attend within windows of 14 x 14 tokens; the last ones are filled up with zeros."""
        out = torch.zeros_like(x)
        for top in range(0, len(x), WINDOW):
            for left in range(0, x.shape[1], WINDOW):
                seen = x[top : top + WINDOW, left : left + WINDOW]
                rows, columns, _ = seen.shape
                full = F.pad(seen, (0, 0, 0, WINDOW - columns, 0, WINDOW - rows))
                told = self.attend(full, name)[:rows, :columns]
                out[top : top + rows, left : left + columns] = told
        return out

    def attend(self, x: Tensor, name: str) -> Tensor:
        """Attend among ``(n, n, D)`` tokens, with SAM's decomposed relative positions."""
        side, _, width = x.shape
        qkv = self.linear(x, f"{name}.qkv").view(side * side, 3, HEADS, width // HEADS)
        place = torch.arange(side)
        apart = place[:, None] - place[None, :] + side - 1  # (query, key)
        rows, columns = self.state[f"{name}.rel_h"][apart], self.state[f"{name}.rel_w"][apart]
        heads = []
        for h in range(HEADS):
            q, k, v = qkv[:, 0, h], qkv[:, 1, h], qkv[:, 2, h]
            grid = q.view(side, side, -1)
            by_row = torch.einsum("ijc,ikc->ijk", grid, rows)[..., :, None]
            by_column = torch.einsum("ijc,jkc->ijk", grid, columns)[..., None, :]
            near = (by_row + by_column).reshape(side * side, side * side)
            scores = (q * (width // HEADS) ** -0.5) @ k.T + near
            heads.append(scores.softmax(-1) @ v)
        joined = torch.cat(heads, dim=-1).view(side, side, width)
        return self.linear(joined, f"{name}.proj")

    # -- prompts ------------------------------------------------------------------

    def waves(self, unit: Tensor) -> Tensor:
        """Encode places in [0, 1]; the first number is what the code takes for x."""
        matrix = self.state["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"]
        angle = 2 * torch.pi * ((2 * unit - 1) @ matrix)
        return torch.cat([angle.sin(), angle.cos()], dim=-1)

    def tokens(self, points: Tensor, labels: Tensor) -> Tensor:
        """Embed clicks; the padding point comes last."""
        rows = []
        for point, label in zip(points, labels, strict=True):
            wave = self.waves((point + 0.5) / self.size)
            rows.append(
                wave + self.state[f"prompt_encoder.point_embeddings.{int(label)}.weight"][0]
            )
        return torch.stack([*rows, self.state["prompt_encoder.not_a_point_embed.weight"][0]])

    def position(self) -> Tensor:
        """Return the grid's encoding, ``(C, g, g)``."""
        middle = (torch.arange(self.grid) + 0.5) / self.grid
        y, x = torch.meshgrid(middle, middle, indexing="ij")
        return self.waves(torch.stack([x, y], dim=-1)).movedim(-1, 0)

    # -- the mixture ----------------------------------------------------------------

    def weights(self, start: Tensor) -> Tensor:
        x = start
        for n in range(1, 7):
            x = self.linear(x, f"EM_weights.fc{n}")
            x = x.clamp(min=0) if n < 6 else x
        return x.exp() / x.exp().sum()

    def means_and_variances(self, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        prior = "EM_mean_variance"
        x = self.tokens(points, labels).T[None]  # (1, C, tokens)
        for name in ("conv1d_1", "conv1d_2"):
            weight, bias = self.state[f"{prior}.{name}.weight"], self.state[f"{prior}.{name}.bias"]
            x = F.conv1d(x, weight, bias, padding=1).clamp(min=0)
        grid = self.position()[None]
        for name in ("conv1", "conv2", "conv3"):
            grid = self.conv(grid, f"{prior}.{name}", padding=1).clamp(min=0)
        half = grid.shape[-1] // 2
        corners = [
            grid[0, :, r : r + half, c : c + half].mean((1, 2))
            for r in (0, half)
            for c in (0, half)
        ]
        x = torch.cat([x[0].mean(1), torch.stack(corners, 1).flatten()])
        x = self.linear(self.linear(x, f"{prior}.fc1").clamp(min=0), f"{prior}.fc2").clamp(min=0)
        x = self.linear(x, f"{prior}.fc3")
        return x[:COMPONENTS], x[COMPONENTS:].clamp(min=0) + 1e-6

    @staticmethod
    def latent(pi: Tensor, mu: Tensor, variance: Tensor, noise: Tensor) -> Tensor:
        """Draw one latent: the same noise for all components, their weighted sum."""
        return (pi[:, None] * (mu[:, None] + variance.sqrt()[:, None] * noise)).sum(0)

    # -- the mask decoder ---------------------------------------------------------

    def logits(self, embedding: Tensor, points: Tensor, labels: Tensor, z: Tensor) -> Tensor:
        """Return the first mask's logits, ``(4 g, 4 g)``."""
        x = torch.cat([embedding, z[None, :, None, None].expand(-1, -1, self.grid, self.grid)], 1)
        for n in (0, 2, 4):
            x = self.conv(x, f"image_encoder.fcomb.layers.{n}").clamp(min=0)
        x = x + self.state["prompt_encoder.no_mask_embed.weight"][0][:, None, None]
        sparse = self.tokens(points, labels)
        own = [self.state[f"mask_decoder.{name}.weight"] for name in ("iou_token", "mask_tokens")]
        start = torch.cat([*own, sparse])
        queries, keys = start, x[0].flatten(1).T
        place = self.position().flatten(1).T
        for n in range(2):
            queries, keys = self.two_way(queries, keys, start, place, n)
        whole = "mask_decoder.transformer"
        told = self.cross(queries + start, keys + place, keys, f"{whole}.final_attn_token_to_image")
        queries = self.norm(queries + told, f"{whole}.norm_final_attn", 1e-5)
        fine = self.upscale(keys.T.reshape(1, -1, self.grid, self.grid))
        x = queries[1]
        for n in range(3):
            x = self.linear(x, f"mask_decoder.output_hypernetworks_mlps.0.layers.{n}")
            x = x.clamp(min=0) if n < 2 else x
        return torch.einsum("c,chw->hw", x, fine[0])

    def two_way(
        self, queries: Tensor, keys: Tensor, start: Tensor, place: Tensor, number: int
    ) -> tuple[Tensor, Tensor]:
        layer = f"mask_decoder.transformer.layers.{number}"
        if number:
            queries = queries + start
        told = self.cross(queries, queries, queries, f"{layer}.self_attn")
        queries = self.norm(queries + told, f"{layer}.norm1", 1e-5)
        told = self.cross(queries + start, keys + place, keys, f"{layer}.cross_attn_token_to_image")
        queries = self.norm(queries + told, f"{layer}.norm2", 1e-5)
        hidden = self.linear(queries, f"{layer}.mlp.layers.0.0").clamp(min=0)
        queries = self.norm(
            queries + self.linear(hidden, f"{layer}.mlp.fc"), f"{layer}.norm3", 1e-5
        )
        told = self.cross(
            keys + place, queries + start, queries, f"{layer}.cross_attn_image_to_token"
        )
        return queries, self.norm(keys + told, f"{layer}.norm4", 1e-5)

    def cross(self, queries: Tensor, keys: Tensor, values: Tensor, name: str) -> Tensor:
        q, k, v = (
            self.linear(x, f"{name}.{part}_proj").chunk(8, dim=-1)
            for x, part in ((queries, "q"), (keys, "k"), (values, "v"))
        )
        heads = [
            (a @ b.T / a.shape[-1] ** 0.5).softmax(-1) @ c for a, b, c in zip(q, k, v, strict=True)
        ]
        return self.linear(torch.cat(heads, dim=-1), f"{name}.out_proj")

    def upscale(self, x: Tensor) -> Tensor:
        for n in (0, 3):
            name = f"mask_decoder.output_upscaling.{n}"
            weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
            x = F.conv_transpose2d(x, weight, bias, stride=2)
            x = F.gelu(self.norm_map(x, "mask_decoder.output_upscaling.1") if n == 0 else x)
        return x

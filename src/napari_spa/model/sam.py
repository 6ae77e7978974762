"""SAM's network parts, and a mask decoder that pairs one embedding with each sample.

``segment_anything/__init__.py`` imports torchvision, which this package never needs and
which often does not import beside a CPU build of torch (``ModuleNotFoundError`` without
it, ``RuntimeError: operator torchvision::nms does not exist`` with a mismatched one).
``segment_anything.modeling`` itself needs none of it.  So the parts are imported through
a package of another name whose ``__path__`` is segment-anything's own folder: nothing of
``segment_anything/__init__.py`` is executed and ``sys.modules["segment_anything"]`` is
left to others that import it properly.  This is the only place that does so.

The two-way decoder gives SAM's answers in less work.  Tokens are few and pixels many: with T
tokens and H heads, ``H T`` is often less than the width of an attention layer.  The projections
of the pixels are then folded into the tokens' side, ``q (W k)`` = ``(q W) k``, and into the
output's, so that each pixel meets ``H T`` columns instead of the full width, twice instead of
three times.  The last attention is asked for the tokens that are used.  Upscaling by 2 x 2
transposed convolutions of stride 2 is a product for each token: pixels stay in order of tokens,
their channels together, and only the finished logits are put in order of the image.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_spa.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

_ALIAS = "_napari_spa_segment_anything"


def import_modeling() -> ModuleType:
    """Import ``segment_anything.modeling`` without running its package's ``__init__``."""
    if _ALIAS not in sys.modules:
        spec = importlib.util.find_spec("segment_anything")
        if spec is None or spec.submodule_search_locations is None:
            raise ModelError("segment-anything is not installed; run: pip install segment-anything")
        package = ModuleType(_ALIAS)
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules[_ALIAS] = package
    return importlib.import_module(f"{_ALIAS}.modeling")


def _attend_at_once(attention: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # noqa: ANN401
    """Attend as segment-anything's ``Attention`` does, with torch's fused kernel."""
    layers = (attention.q_proj, attention.k_proj, attention.v_proj)
    q, k, v = (
        layer(x).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for layer, x in zip(layers, (q, k, v), strict=True)
    )
    attended: Tensor = attention.out_proj(
        functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    )
    return attended


_modeling = import_modeling()
# The same sum in one kernel, in our own copy of the module: a fifth less for a round.
_modeling.transformer.Attention.forward = _attend_at_once
ImageEncoderViT = _modeling.ImageEncoderViT
LayerNorm2d = _modeling.common.LayerNorm2d
MaskDecoder = _modeling.MaskDecoder
PromptEncoder = _modeling.PromptEncoder
TwoWayTransformer = _modeling.TwoWayTransformer
window_partition = _modeling.image_encoder.window_partition
window_unpartition = _modeling.image_encoder.window_unpartition


class EfficientSamTransformer(TwoWayTransformer):  # type: ignore[misc, valid-type]
    """SAM's two-way transformer with EfficientSAM's self-attention, as the paper's public code has.

    The weights are SAM's.  The residual is kept in the first layer too, and in later layers the
    prompts' positions are added to the queries themselves, so that they enter the values and stay:
    see :func:`attend_both_ways`, which runs both.
    """

    keeps_positions = True


class PairedMaskDecoder(MaskDecoder):  # type: ignore[misc, valid-type]
    """SAM's mask decoder for N embeddings paired with N prompts, with optional skips.

    SAM's own ``predict_masks`` repeats one image embedding for every prompt, so N
    embeddings with N prompts would become N x N.  Here row n of every argument belongs
    together.  ``skip_channels`` adds fine encoder features to the two upscaling steps
    (the idea of HQ-SAM and SAM 2); without it the state dict is exactly SAM's.
    """

    def __init__(
        self,
        *,
        transformer_dim: int,
        transformer: nn.Module,
        num_multimask_outputs: int = 3,
        iou_head_hidden_dim: int = 256,
        skip_channels: Sequence[int] = (),
        extents: bool = False,
    ) -> None:
        super().__init__(
            transformer_dim=transformer_dim,
            transformer=transformer,
            num_multimask_outputs=num_multimask_outputs,
            iou_head_hidden_dim=iou_head_hidden_dim,
        )
        widths = (transformer_dim // 4, transformer_dim // 8)
        if skip_channels:
            self.skip_projections = nn.ModuleList(
                nn.Conv2d(channels, width, kernel_size=1)
                for channels, width in zip(skip_channels, widths, strict=True)
            )

        self.extent_head = (
            nn.Sequential(
                nn.Linear(transformer_dim, transformer_dim),
                nn.ReLU(),
                nn.Linear(transformer_dim, 4),
            )
            if extents
            else None
        )

    _skip_first = False
    """Whether skips are added before the norm of the upscaling."""

    def project_skips(self, skips: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Project the encoder's fine features once per image; nothing to nothing.

        From ``(B, S_i, 2h, 2w)`` and ``(B, S_j, 4h, 4w)`` to C / 4 and C / 8 channels.
        """
        if not skips:
            return ()
        return tuple(layer(skip) for layer, skip in zip(self.skip_projections, skips, strict=True))

    def forward(
        self,
        embedding: Tensor,
        position: Tensor,
        sparse: Tensor,
        *,
        skips: Sequence[Tensor] = (),
        tokens: Sequence[int] = (0,),
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Decode N paired embeddings and prompts, for T of the output ``tokens``.

        All are float: ``embedding`` is ``(N, C, h, w)`` with the dense prompt added, ``position``
        ``(1, C, h, w)``, ``sparse`` ``(N, P, C)``; ``skips`` are those of :meth:`project_skips`,
        with 1 or N rows.  Returns logits ``(N, T, 4h, 4w)``, quality ``(N, T)`` and extents ``(N,
        T, 4)`` or None; see :class:`napari_spa.model.spa.Hypotheses`.
        """
        h, w = embedding.shape[-2:]
        own = self._own_tokens()
        before = len(own) - 2  # tokens before those of quality and masks
        queries = torch.cat([torch.cat(own).expand(len(embedding), -1, -1), sparse], dim=1)
        hidden, pixels = attend_both_ways(
            self.transformer, embedding, position, queries, before + 2 + max(tokens)
        )
        hidden = hidden[:, before:]
        weights = torch.stack(
            [self.output_hypernetworks_mlps[t](hidden[:, 1 + t]) for t in tokens], dim=1
        )  # (N, T, C/8)
        logits = upscaled_logits(
            self.output_upscaling, pixels, weights, (h, w), skips, skip_first=self._skip_first
        )
        quality = self._quality(hidden[:, 0])[:, list(tokens)]
        extents = None
        if self.extent_head is not None:
            extents = self.extent_head(hidden[:, [1 + t for t in tokens]])
        return logits, quality, extents

    def _own_tokens(self) -> list[Tensor]:
        return [self.iou_token.weight, self.mask_tokens.weight]

    def _quality(self, token: Tensor) -> Tensor:
        quality: Tensor = self.iou_prediction_head(token)
        return quality


class Sam2MaskDecoder(PairedMaskDecoder):
    """SAM 2's mask decoder: one more token, quality in [0, 1], skips before the norm."""

    _skip_first = True

    def __init__(self, *, transformer_dim: int, **parts: Any) -> None:  # noqa: ANN401  as they are
        super().__init__(transformer_dim=transformer_dim, **parts)
        self.obj_score_token = nn.Embedding(1, transformer_dim)

    def _own_tokens(self) -> list[Tensor]:
        return [self.obj_score_token.weight, *super()._own_tokens()]

    def _quality(self, token: Tensor) -> Tensor:
        return super()._quality(token).sigmoid()


def attend_both_ways(
    transformer: Any,  # noqa: ANN401  SAM's, which ships no types
    embedding: Tensor,
    position: Tensor,
    tokens: Tensor,
    wanted: int,
) -> tuple[Tensor, Tensor]:
    """Let tokens and pixels attend to each other, as SAM's ``TwoWayTransformer`` does.

    ``embedding`` and ``position`` are ``(N, C, h, w)`` and ``(1, C, h, w)`` float, ``tokens``
    ``(N, T, C)``.  Returns the first ``wanted`` tokens ``(N, wanted, C)``, and the pixels
    ``(N, h w, C)``.
    """
    pixels = embedding.flatten(2).transpose(1, 2).contiguous()
    places = position.flatten(2).transpose(1, 2)
    queries, keeps = tokens, getattr(transformer, "keeps_positions", False)
    for block in transformer.layers:
        queries = _attend_selves(block, queries, tokens, keeps_positions=keeps)
        placed = pixels + places
        told = tokens_to_pixels(block.cross_attn_token_to_image, queries + tokens, placed, pixels)
        queries = block.norm2(queries + told)
        queries = block.norm3(queries + block.mlp(queries))
        asked = queries + tokens
        layer = block.cross_attn_image_to_token
        pixels = block.norm4(pixels_to_tokens(layer, pixels, placed, asked, queries))
    queries, last = queries[:, :wanted], transformer.final_attn_token_to_image
    told = tokens_to_pixels(last, queries + tokens[:, :wanted], pixels + places, pixels)
    return transformer.norm_final_attn(queries + told), pixels


def _attend_selves(
    block: Any,  # noqa: ANN401
    queries: Tensor,
    positions: Tensor,
    *,
    keeps_positions: bool,
) -> Tensor:
    if keeps_positions:  # EfficientSAM's variant
        if not block.skip_first_layer_pe:
            queries = queries + positions
        told = block.self_attn(q=queries, k=queries, v=queries)
    elif block.skip_first_layer_pe:
        first: Tensor = block.norm1(block.self_attn(q=queries, k=queries, v=queries))
        return first
    else:
        placed = queries + positions
        told = block.self_attn(q=placed, k=placed, v=queries)
    attended: Tensor = block.norm1(queries + told)
    return attended


def tokens_to_pixels(
    attention: Any,  # noqa: ANN401
    queries: Tensor,
    placed: Tensor,
    pixels: Tensor,
) -> Tensor:
    """Let tokens ask pixels, given with and without positions; the answers are ``(N, T, C)``.

    ``queries`` are ``(N, T, C)`` with positions, ``placed`` and ``pixels`` ``(N, P, C)``.
    """
    heads, (n, t, c) = attention.num_heads, queries.shape
    if heads * t > attention.internal_dim:
        return attention(q=queries, k=placed, v=pixels)  # type: ignore[no-any-return]
    scale = 1 / math.sqrt(attention.internal_dim // heads)
    query = attention.q_proj(queries).view(n, t, heads, -1)
    to_key = attention.k_proj.weight.view(heads, -1, c)  # its bias is the same for all pixels
    asked = torch.einsum("nthd,hdc->nhtc", query, to_key).reshape(n, heads * t, c) * scale
    shares = torch.softmax(asked @ placed.transpose(1, 2), dim=-1)  # (N, H T, P)
    seen = (shares.to(pixels.dtype) @ pixels).view(n, heads, t, c)
    to_value = attention.v_proj.weight.view(heads, -1, c)
    told = torch.einsum("nhtc,hdc->nthd", seen, to_value).reshape(n, t, -1)
    return attention.out_proj(told + attention.v_proj.bias)  # type: ignore[no-any-return]


def pixels_to_tokens(
    attention: Any,  # noqa: ANN401
    pixels: Tensor,
    placed: Tensor,
    asked: Tensor,
    queries: Tensor,
) -> Tensor:
    """Let pixels ask tokens, and add the answer to them, ``(N, P, C)``.

    ``pixels`` and ``placed`` are ``(N, P, C)`` without and with positions, ``asked`` and
    ``queries`` tokens ``(N, T, C)`` with and without.
    """
    heads, (n, t, c) = attention.num_heads, queries.shape
    if heads * t > attention.internal_dim:
        return pixels + attention(q=placed, k=asked, v=queries)  # type: ignore[no-any-return]
    scale = 1 / math.sqrt(attention.internal_dim // heads)
    key = attention.k_proj(asked).view(n, t, heads, -1) * scale
    value = attention.v_proj(queries).view(n, t, heads, -1)
    to_query = attention.q_proj.weight.view(heads, -1, c)
    folded = torch.einsum("nthd,hdc->nhtc", key, to_query).reshape(n, heads * t, c)
    bias = torch.einsum("nthd,hd->nht", key, attention.q_proj.bias.view(heads, -1))
    scores = folded @ placed.transpose(1, 2) + bias.reshape(n, heads * t, 1)
    shares = torch.softmax(scores.view(n, heads, t, -1), dim=2).flatten(1, 2)  # (N, H T, P)
    out = attention.out_proj.weight.view(c, heads, -1)
    told = torch.einsum("nthd,chd->nhtc", value, out).reshape(n, heads * t, c)
    told = told + attention.out_proj.bias / heads  # the shares of each head add up to one
    return torch.baddbmm(pixels.to(told.dtype), shares.to(told.dtype).transpose(1, 2), told)


def upscaled_logits(
    upscaling: Any,  # noqa: ANN401
    pixels: Tensor,
    weights: Tensor,
    shape: tuple[int, int],
    skips: Sequence[Tensor],
    *,
    skip_first: bool = False,
) -> Tensor:
    """Upscale pixels four times and weigh their channels, to ``(N, K, 4h, 4w)``.

    ``upscaling`` is SAM's: transposed convolution, norm, GELU, transposed convolution, GELU.
    ``pixels`` are ``(N, h w, C)`` of a ``shape`` (h, w), ``weights`` ``(N, K, C / 8)``; ``skips``
    are none, or ``(1 or N, C / 4, 2h, 2w)`` and ``(1 or N, C / 8, 4h, 4w)``, of which the first
    is added before the norm where ``skip_first`` (SAM 2), else after it.  All are float.
    """
    first, norm, activation, second, last = upscaling
    (h, w), n = shape, len(pixels)
    x = _times_four(first, pixels)  # (N, h w, 4, C / 4)
    skip = None
    if skips:  # from order of the image to order of tokens
        split = skips[0].reshape(-1, skips[0].shape[1], h, 2, w, 2)
        skip = split.permute(0, 2, 4, 3, 5, 1).reshape(len(split), h * w, 4, -1)
    if skip is not None and skip_first:
        x = x + skip
    x = functional.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)
    if skip is not None and not skip_first:
        x = x + skip
    x = _times_four(second, activation(x))  # (N, h w, 4, 4, C / 8)
    if skips:
        split = skips[1].reshape(-1, skips[1].shape[1], h, 2, 2, w, 2, 2)
        x = x + split.permute(0, 2, 5, 3, 6, 4, 7, 1).reshape(len(split), h * w, 4, 4, -1)
    logits: Tensor = last(x).flatten(1, 3) @ weights.transpose(1, 2)  # (N, 16 h w, K)
    ordered = logits.view(n, h, w, 2, 2, 2, 2, -1).permute(0, 7, 1, 3, 5, 2, 4, 6)
    return ordered.reshape(n, -1, 4 * h, 4 * w)


def _times_four(convolution: Any, x: Tensor) -> Tensor:  # noqa: ANN401
    """Turn ``(..., C)`` into the ``(..., 4, C')`` of a 2 x 2 convolution of stride 2."""
    weight = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (4 C', C)
    y = functional.linear(x, weight, convolution.bias.repeat(4))
    return y.view(*x.shape[:-1], 4, -1)

"""SAM's two-way decoder with the same answers in less work.

Tokens are few and pixels many: with T tokens and H heads, ``H T`` is often less than the
width of an attention layer.  The projections of the pixels are then folded into the
tokens' side, ``q (W k)`` = ``(q W) k``, and into the output's, so that each pixel meets
``H T`` columns instead of the full width, twice instead of three times.  The last
attention is asked for the tokens that are used.  Upscaling by 2 x 2 transposed
convolutions of stride 2 is a product for each token: pixels stay in order of tokens,
their channels together, and only the finished logits are put in order of the image.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence


def attend_both_ways(
    transformer: Any,  # noqa: ANN401  SAM's, which ships no types
    embedding: Tensor,
    position: Tensor,
    tokens: Tensor,
    wanted: int,
) -> tuple[Tensor, Tensor]:
    """Let tokens and pixels attend to each other, as SAM's ``TwoWayTransformer`` does.

    Parameters
    ----------
    transformer : TwoWayTransformer
        Its weights.
    embedding, position : Tensor
        ``(N, C, h, w)`` and ``(1, C, h, w)`` float.
    tokens : Tensor
        ``(N, T, C)`` float.
    wanted : int
        So many of the first tokens are returned.

    Returns
    -------
    hidden, pixels : Tensor
        ``(N, wanted, C)`` and ``(N, h w, C)`` float.
    """
    pixels = embedding.flatten(2).transpose(1, 2).contiguous()
    places = position.flatten(2).transpose(1, 2)
    queries = tokens
    for block in transformer.layers:
        queries = _attend_selves(block, queries, tokens)
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


def _attend_selves(block: Any, queries: Tensor, positions: Tensor) -> Tensor:  # noqa: ANN401
    if getattr(block, "keeps_positions", False):  # EfficientSAM's variant
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

    Parameters
    ----------
    upscaling : nn.Sequential
        SAM's: transposed convolution, norm, GELU, transposed convolution, GELU.
    pixels, weights : Tensor
        ``(N, h w, C)`` and ``(N, K, C / 8)`` float.
    shape : (int, int)
        h and w.
    skips : sequence of Tensor
        None, or ``(1 or N, C / 4, 2h, 2w)`` and ``(1 or N, C / 8, 4h, 4w)`` float.
    skip_first : bool
        Add the first of them before the norm (SAM 2) and not after it.
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

"""Tests that the decoder's shorter ways give what SAM's own modules give."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor

from napari_spa import RefinementSession
from napari_spa.io.models.load import load_model
from napari_spa.model.sam import (
    EfficientSamTransformer,
    PairedMaskDecoder,
    Sam2MaskDecoder,
    TwoWayTransformer,
    attend_both_ways,
)


def plain(
    self: PairedMaskDecoder,
    embedding: Tensor,
    position: Tensor,
    sparse: Tensor,
    *,
    skips: Sequence[Tensor] = (),
    tokens: Sequence[int] = (0,),
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Decode by calling the transformer and the upscaling as they are."""
    n, c, h, w = embedding.shape
    own = [self.iou_token.weight, self.mask_tokens.weight]
    if isinstance(self, Sam2MaskDecoder):
        own.insert(0, self.obj_score_token.weight)
    queries = torch.cat([torch.cat(own).expand(n, -1, -1), sparse], dim=1)
    hidden, source = self.transformer(embedding, position.expand(n, -1, -1, -1), queries)
    hidden = hidden[:, len(own) - 2 :]
    x = source.transpose(1, 2).reshape(n, c, h, w)
    first, norm, activation, second, last = self.output_upscaling
    if not skips:
        fine = self.output_upscaling(x)
    elif isinstance(self, Sam2MaskDecoder):
        fine = last(second(activation(norm(first(x) + skips[0]))) + skips[1])
    else:
        fine = last(second(activation(norm(first(x)) + skips[0])) + skips[1])
    weights = [self.output_hypernetworks_mlps[t](hidden[:, 1 + t]) for t in tokens]
    logits = torch.einsum("nkc,nchw->nkhw", torch.stack(weights, dim=1), fine)
    quality = self.iou_prediction_head(hidden[:, 0])[:, list(tokens)]
    quality = quality.sigmoid() if isinstance(self, Sam2MaskDecoder) else quality
    extents = None
    if self.extent_head is not None:
        extents = self.extent_head(hidden[:, [1 + t for t in tokens]])
    return logits, quality, extents


def efficient(block: Any, queries: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor) -> Any:
    """Attend as EfficientSAM's two-way block does."""
    if not block.skip_first_layer_pe:
        queries = queries + query_pe
    queries = block.norm1(queries + block.self_attn(q=queries, k=queries, v=queries))
    told = block.cross_attn_token_to_image(q=queries + query_pe, k=keys + key_pe, v=keys)
    queries = block.norm2(queries + told)
    queries = block.norm3(queries + block.mlp(queries))
    told = block.cross_attn_image_to_token(q=keys + key_pe, k=queries + query_pe, v=queries)
    return queries, block.norm4(keys + told)


@pytest.mark.parametrize("kind", [TwoWayTransformer, EfficientSamTransformer])
@pytest.mark.parametrize("tokens", [3, 8, 9, 30])
def test_attention_is_that_of_the_transformer(kind: Any, tokens: int) -> None:
    torch.manual_seed(tokens)
    transformer = kind(depth=2, embedding_dim=128, num_heads=8, mlp_dim=64)
    embedding, position = torch.randn(3, 128, 5, 7), torch.randn(1, 128, 5, 7)
    queries = torch.randn(3, tokens, 128)
    if kind is EfficientSamTransformer:
        for block in transformer.layers:
            block.forward = partial(efficient, block)
    with torch.no_grad():
        hidden, pixels = transformer(embedding, position.expand(3, -1, -1, -1), queries)
        short, same = attend_both_ways(transformer, embedding, position, queries, 2)
    torch.testing.assert_close(short, hidden[:, :2], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(same, pixels, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "skip_rows"),
    [
        (PairedMaskDecoder, 0),
        (PairedMaskDecoder, 1),
        (PairedMaskDecoder, 4),
        (Sam2MaskDecoder, 1),  # it always has skips
        (Sam2MaskDecoder, 4),
    ],
)
def test_logits_are_those_of_the_upscaling(kind: Any, skip_rows: int) -> None:
    torch.manual_seed(skip_rows)
    decoder = kind(
        transformer_dim=64,
        transformer=TwoWayTransformer(depth=2, embedding_dim=64, num_heads=4, mlp_dim=32),
        skip_channels=(5, 6) if skip_rows else (),
        extents=True,
    )
    skips: tuple[Tensor, ...] = ()
    if skip_rows:
        skips = (torch.randn(skip_rows, 16, 10, 14), torch.randn(skip_rows, 8, 20, 28))
    given = (torch.randn(4, 64, 5, 7), torch.randn(1, 64, 5, 7), torch.randn(4, 3, 64))
    with torch.no_grad():
        got = decoder(*given, skips=skips, tokens=(0, 2, 3))
        expected = plain(decoder, *given, skips=skips, tokens=(0, 2, 3))
    assert got[0].shape == (4, 3, 20, 28)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_gradients_are_the_same() -> None:
    torch.manual_seed(1)
    decoder = PairedMaskDecoder(
        transformer_dim=64,
        transformer=TwoWayTransformer(depth=2, embedding_dim=64, num_heads=4, mlp_dim=32),
    )
    given = (torch.randn(2, 64, 4, 4), torch.randn(1, 64, 4, 4), torch.randn(2, 1, 64))
    found = []
    for forward in (PairedMaskDecoder.forward, plain):
        decoder.zero_grad()
        forward(decoder, *given)[0].square().sum().backward()
        found.append({k: p.grad for k, p in decoder.named_parameters() if p.grad is not None})
    for name, gradient in found[1].items():
        torch.testing.assert_close(found[0].get(name, 0 * gradient), gradient, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "place"), [("coins", (50, 60)), ("retina", (660, 250)), ("camera", (200, 200))]
)
def test_a_session_on_a_real_image_shows_the_same_masks(
    name: str, place: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []
    for forward in (PairedMaskDecoder.forward, plain):
        monkeypatch.setattr(PairedMaskDecoder, "forward", forward)
        session = RefinementSession(load_model("spa-tiny", device="cpu"), seed=2)
        session.set_image(getattr(data, name)()[:900, :900])
        proposals = [session.start(points=[place]), session.pick(0), session.pick(1)]
        shown.append([p.mask for p in proposals] + [c.mask for c in proposals[0].candidates])
    assert shown[0][0].any()
    for ours, theirs in zip(*shown, strict=True):
        assert np.count_nonzero(ours != theirs) <= 2

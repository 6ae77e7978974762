"""SAM's network parts, and a mask decoder that pairs one embedding with each sample.

``segment_anything/__init__.py`` imports torchvision, which this package never needs and
which often does not import beside a CPU build of torch (``ModuleNotFoundError`` without
it, ``RuntimeError: operator torchvision::nms does not exist`` with a mismatched one).
``segment_anything.modeling`` itself needs none of it.  So the parts are imported through
a package of another name whose ``__path__`` is segment-anything's own folder: nothing of
``segment_anything/__init__.py`` is executed and ``sys.modules["segment_anything"]`` is
left to others that import it properly.  This is the only place that does so.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_spa.errors import ModelError
from napari_spa.model.two_way import attend_both_ways, upscaled_logits

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


if TYPE_CHECKING:
    from collections.abc import Sequence

    from segment_anything.modeling import (
        ImageEncoderViT,
        MaskDecoder,
        PromptEncoder,
        TwoWayTransformer,
    )
    from segment_anything.modeling.common import LayerNorm2d
    from segment_anything.modeling.image_encoder import window_partition, window_unpartition
    from segment_anything.modeling.transformer import TwoWayAttentionBlock
else:
    _modeling = import_modeling()
    # The same sum in one kernel, in our own copy of the module: a fifth less for a round.
    _modeling.transformer.Attention.forward = _attend_at_once
    ImageEncoderViT = _modeling.ImageEncoderViT
    LayerNorm2d = _modeling.common.LayerNorm2d
    MaskDecoder = _modeling.MaskDecoder
    PromptEncoder = _modeling.PromptEncoder
    TwoWayTransformer = _modeling.TwoWayTransformer
    TwoWayAttentionBlock = _modeling.transformer.TwoWayAttentionBlock
    window_partition = _modeling.image_encoder.window_partition
    window_unpartition = _modeling.image_encoder.window_unpartition

__all__ = [
    "EfficientSamTransformer",
    "ImageEncoderViT",
    "LayerNorm2d",
    "PairedMaskDecoder",
    "PromptEncoder",
    "Sam2MaskDecoder",
    "TwoWayTransformer",
    "import_modeling",
    "window_partition",
    "window_unpartition",
]


class EfficientSamBlock(TwoWayAttentionBlock):  # type: ignore[misc]
    """EfficientSAM's variant of SAM's two-way block, which the paper's public code uses.

    The weights are SAM's.  Self-attention differs: its residual is kept in the first layer
    too, and in later layers the prompts' positions are added to the queries themselves, so
    that they enter the values and stay.
    """

    keeps_positions = True

    def forward(
        self, queries: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Let tokens ``(N, P, C)`` and pixels ``(N, h w, C)`` attend to each other."""
        if not self.skip_first_layer_pe:
            queries = queries + query_pe
        queries = self.norm1(queries + self.self_attn(q=queries, k=queries, v=queries))
        told = self.cross_attn_token_to_image(q=queries + query_pe, k=keys + key_pe, v=keys)
        queries = self.norm2(queries + told)
        queries = self.norm3(queries + self.mlp(queries))
        told = self.cross_attn_image_to_token(q=keys + key_pe, k=queries + query_pe, v=queries)
        return queries, self.norm4(keys + told)


class EfficientSamTransformer(TwoWayTransformer):  # type: ignore[misc]
    """SAM's two-way transformer with EfficientSAM's blocks."""

    def __init__(self, *, depth: int, embedding_dim: int, num_heads: int, mlp_dim: int) -> None:
        super().__init__(depth, embedding_dim, num_heads, mlp_dim)
        self.layers = nn.ModuleList(
            EfficientSamBlock(embedding_dim, num_heads, mlp_dim, skip_first_layer_pe=not number)
            for number in range(depth)
        )


class PairedMaskDecoder(MaskDecoder):  # type: ignore[misc]
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
        """Decode N paired embeddings and prompts into mask logits.

        Parameters
        ----------
        embedding : Tensor
            ``(N, C, h, w)`` float, the image embedding with the dense prompt added.
        position : Tensor
            ``(1, C, h, w)`` float positional encoding.
        sparse : Tensor
            ``(N, P, C)`` float prompt tokens.
        skips : sequence of Tensor
            Projected fine features of :meth:`project_skips`, with 1 or N rows.
        tokens : sequence of int
            The T output tokens to turn into masks.

        Returns
        -------
        logits, quality, extents
            ``(N, T, 4h, 4w)``, ``(N, T)`` and ``(N, T, 4)`` or None; see
            :class:`napari_spa.model.spa.Hypotheses`.
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

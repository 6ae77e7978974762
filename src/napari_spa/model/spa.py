"""The SPA network: encode an image once, decode many preferences (paper section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor, nn

from napari_spa.errors import CheckpointError
from napari_spa.model.device import Network, within_memory
from napari_spa.model.encoder import ConvEncoder, EfficientNetEncoder, PromptMaps
from napari_spa.model.hiera import HieraEncoder
from napari_spa.model.preference import Conditioner, PaperPriorNetwork, PriorNetwork, WeightNetwork
from napari_spa.model.sam import (
    EfficientSamTransformer,
    ImageEncoderViT,
    PairedMaskDecoder,
    PromptEncoder,
    Sam2MaskDecoder,
    TwoWayTransformer,
)
from napari_spa.model.tiny_vit import TinyVitEncoder

if TYPE_CHECKING:
    from collections.abc import Sequence


ConventionName = Literal["spa", "sam", "sam2", "medsam", "paper"]


@dataclass(frozen=True, slots=True)
class Convention:
    """What a family of checkpoints expects and gives."""

    # How an image gets into the square input: an automatic field of view, a plain resize, or
    # SAM's longest side with padding.
    frame: Literal["window", "squash", "pad"] = "window"
    # Per-window standardisation, SAM's mean and deviation, or plain [0, 1].
    normalise: Literal["standardise", "sam", "unit"] = "standardise"
    # The order in which the prompt encoder was trained to read points.
    point_order: Literal["xy", "rc"] = "xy"
    two_way: Literal["sam", "efficient-sam"] = "sam"  # whose two-way block the mask decoder has
    residual: bool = True  # whether the conditioner adds to the embedding or replaces it
    # Layout of the network that predicts the mixture from the prompts.
    prior: Literal["pooled", "paper"] = "pooled"
    sampler: Literal["mixture", "weighted-sum"] = "mixture"  # how latents are drawn
    responsibilities: Literal["latent", "pixel"] = "latent"  # how a pick is explained by components
    # What is averaged into the recommended mask.
    mean_of: Literal["probability", "logit"] = "probability"
    threshold: float = 0.5  # threshold on that mean


CONVENTIONS = MappingProxyType(
    {
        "spa": Convention(),
        "sam": Convention(frame="pad", normalise="sam"),
        "sam2": Convention(frame="squash", normalise="sam"),
        # MedSAM resizes to the square without padding and scales to [0, 1].
        "medsam": Convention(frame="squash", normalise="unit"),
        # The paper's public code.
        "paper": Convention(
            frame="squash",
            normalise="unit",
            point_order="rc",
            two_way="efficient-sam",
            residual=False,
            prior="paper",
            sampler="weighted-sum",
            responsibilities="pixel",
            mean_of="logit",
        ),
    }
)
"""Every family by its name: this package's networks, SAM and its tuned relatives, SAM 2, MedSAM,
and checkpoints of the paper's public code."""


EncoderKind = Literal["conv", "efficientnet", "vit", "tiny-vit", "hiera"]
HeadKind = Literal["latent", "logit", "both"]

_PRIORS: dict[str, type[PriorNetwork | PaperPriorNetwork]] = {
    "pooled": PriorNetwork,
    "paper": PaperPriorNetwork,
}
_TWO_WAY = {"sam": TwoWayTransformer, "efficient-sam": EfficientSamTransformer}


@dataclass(frozen=True, slots=True)
class SpaConfig:
    """Everything that decides the network's shape and how its inputs are meant."""

    name: str = "spa-tiny"  # the model's name
    encoder: EncoderKind = "conv"  # image encoder family
    image_size: int = 128  # side S of the square input in pixels
    embed_dim: int = 128  # embedding width C
    widths: tuple[int, int, int] = (24, 64, 128)  # shape of the convolutional encoder
    depths: tuple[int, int, int] = (1, 1, 2)  # shape of the convolutional encoder
    layers: int = 2  # transformer layers of the convolutional and the EfficientNet encoder
    vit_dim: int = 768  # shape of the ViT encoder; of Hiera the width and the number of blocks
    vit_depth: int = 12  # shape of the ViT encoder; of Hiera the width and the number of blocks
    vit_heads: int = 12  # shape of the ViT encoder; of Hiera the width and the number of blocks
    # Shape of the ViT encoder; of Hiera the width and the number of blocks.
    vit_global: tuple[int, ...] = (2, 5, 8, 11)
    decoder_mlp: int = 256  # width of the two-way transformer's MLP
    multimask_outputs: int = 3  # output tokens beside token 0; 3 in SAM
    # Whether prompts also enter as maps, at the logits' resolution (ours; SAM has none).
    prompt_maps: bool = False
    extents: bool = False  # whether each output token also predicts the box of the object it means
    latent_dim: int = 16  # number D of latent channels; 0 for a network without a latent head
    components: int = 16  # number M of mixture components
    head: HeadKind = "both"  # the preference head used unless asked otherwise
    # Whose way of meaning inputs and outputs it was trained with.
    convention: ConventionName = "spa"

    def __post_init__(self) -> None:
        """Refuse what no network can be."""
        if self.convention == "paper" and (self.encoder != "vit" or not self.latent_dim):
            raise CheckpointError(
                "it cannot be of the paper's code, whose networks have a ViT and a latent"
            )

    @property
    def rules(self) -> Convention:
        """What its convention says."""
        return CONVENTIONS[self.convention]

    @property
    def grid(self) -> int:
        """Side of the embedding's grid in tokens."""
        return self.image_size // (8 if self.encoder in ("conv", "efficientnet") else 16)


class ImageEmbedding(NamedTuple):
    """What is computed once per image and kept."""

    tokens: Tensor  # ``(B, C, h, w)`` float, ``e_x``
    projected: Tensor  # ``(B, C, h, w)`` float, the conditioner's image part ``W_x e_x``
    skips: tuple[Tensor, ...]  # projected fine features, or empty

    def row(self, index: int) -> ImageEmbedding:
        """Return the embedding of one image of the batch, with B = 1."""
        rows = slice(index, index + 1)
        return ImageEmbedding(
            self.tokens[rows], self.projected[rows], tuple(skip[rows] for skip in self.skips)
        )

    def repeat(self, times: int) -> ImageEmbedding:
        """Repeat each image ``times`` times in place: B becomes B x times."""
        return ImageEmbedding(
            self.tokens.repeat_interleave(times, 0),
            self.projected.repeat_interleave(times, 0),
            tuple(skip.repeat_interleave(times, 0) for skip in self.skips),
        )


class PromptEmbedding(NamedTuple):
    """The interaction embedding ``e_u``."""

    sparse: Tensor  # ``(B, P, C)`` float
    dense: Tensor  # ``(B, C, h, w)`` float
    fine: Tensor | None = None  # ``(B, C / 8, 4h, 4w)`` float, of networks with prompt maps

    def repeat(self, times: int) -> PromptEmbedding:
        """Repeat each row ``times`` times in place: B becomes B x times."""
        fine = None if self.fine is None else self.fine.repeat_interleave(times, 0)
        return PromptEmbedding(
            self.sparse.repeat_interleave(times, 0), self.dense.repeat_interleave(times, 0), fine
        )


class Hypotheses(NamedTuple):
    """What each output token of the decoder takes the prompts for."""

    logits: Tensor  # ``(N, T, 4h, 4w)`` float
    quality: Tensor  # ``(N, T)`` float, predicted IoU
    # ``(N, T, 4)`` float, the object's box as (x, y) of its middle and the logarithms of its
    # width and height, all as shares of the window; it may reach beyond it.
    extents: Tensor | None


class Spa(Network):
    """Image encoder, prompt encoder, mask decoder and preference networks.

    The state dict follows SAM: ``image_encoder``, ``prompt_encoder``, ``mask_decoder``;
    the preference networks are ``conditioner``, ``prior`` and ``weight_network``.
    """

    def __init__(self, config: SpaConfig) -> None:
        super().__init__(config.name)
        self.config = config
        size, dim, grid = config.image_size, config.embed_dim, config.grid
        skip_channels: tuple[int, ...] = ()
        if config.encoder == "conv":
            encoder = ConvEncoder(
                image_size=size, widths=config.widths, depths=config.depths, layers=config.layers
            )
            self.image_encoder: nn.Module = encoder
            skip_channels = encoder.skip_channels
        elif config.encoder == "efficientnet":
            self.image_encoder = EfficientNetEncoder(
                image_size=size, embed_dim=dim, layers=config.layers
            )
            skip_channels = EfficientNetEncoder.skip_channels
        elif config.encoder == "hiera":
            self.image_encoder = HieraEncoder(
                width=config.vit_dim, depth=config.vit_depth, embed_dim=dim
            )
            skip_channels = (dim, dim)
        elif config.encoder == "tiny-vit":
            self.image_encoder = TinyVitEncoder(embed_dim=dim)
        else:
            self.image_encoder = _build_vit(config)
        self.prompt_encoder = PromptEncoder(
            embed_dim=dim,
            image_embedding_size=(grid, grid),
            input_image_size=(size, size),
            mask_in_chans=16,
        )
        decoder = Sam2MaskDecoder if config.encoder == "hiera" else PairedMaskDecoder
        self.mask_decoder = decoder(
            transformer_dim=dim,
            transformer=_TWO_WAY[config.rules.two_way](
                depth=2, embedding_dim=dim, mlp_dim=config.decoder_mlp, num_heads=8
            ),
            num_multimask_outputs=config.multimask_outputs,
            skip_channels=skip_channels,
            extents=config.extents,
        )
        if config.prompt_maps:
            self.prompt_maps = PromptMaps(embed_dim=dim, grid=grid, image_size=size)
        if config.latent_dim:
            self.conditioner = Conditioner(
                embed_dim=dim, latent_dim=config.latent_dim, residual=config.rules.residual
            )
            self.prior: nn.Module = _PRIORS[config.rules.prior](
                embed_dim=dim, components=config.components
            )
            self.weight_network = WeightNetwork(components=config.components)

    @within_memory
    def encode(self, pixels: Tensor) -> ImageEmbedding:
        """Encode normalised pixels ``(B, 3, S, S)`` once per image."""
        encoded = self.image_encoder(pixels)
        tokens, skips = encoded if isinstance(encoded, tuple) else (encoded, ())
        projected = self.conditioner.project_image(tokens) if self.config.latent_dim else tokens
        return ImageEmbedding(tokens, projected, self.mask_decoder.project_skips(skips))

    @within_memory
    def embed_prompts(
        self,
        points: Tensor | None,
        labels: Tensor | None,
        *,
        boxes: Tensor | None = None,
        mask_logits: Tensor | None = None,
        has_mask: Tensor | None = None,
    ) -> PromptEmbedding:
        """Embed points, boxes and masks (SAM's prompt encoder).

        Parameters
        ----------
        points : Tensor or None
            ``(B, P, 2)`` float in input pixels, in the model's declared point order.
        labels : Tensor or None
            ``(B, P)``: 1 object, 0 background, -1 padding.
        boxes : Tensor or None
            ``(B, 4)`` float, two corners in the model's point order.
        mask_logits : Tensor or None
            ``(B, 1, 4h, 4w)`` float.
        has_mask : Tensor or None
            ``(B,)`` bool: rows whose mask counts; all of them by default.

        Returns
        -------
        PromptEmbedding
        """
        pair = None if points is None else (points, labels)
        sparse, dense = self.prompt_encoder(points=pair, boxes=boxes, masks=mask_logits)
        if mask_logits is not None and has_mask is not None:
            none = self.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1)
            dense = torch.where(has_mask.view(-1, 1, 1, 1), dense, none)
        if not self.config.prompt_maps:
            return PromptEmbedding(sparse, dense)
        coarse, fine = self.prompt_maps(points, labels, boxes)
        return PromptEmbedding(sparse, dense + coarse, fine)

    @within_memory
    def initial_mixture(self, prompt: PromptEmbedding) -> tuple[Tensor, Tensor]:
        """Predict the means and log variances of M components, ``(B, M)`` each (paper 3.4)."""
        if self.config.rules.prior == "paper":
            return self.prior(prompt.sparse, self.position())  # type: ignore[no-any-return]
        return self.prior(prompt.sparse, prompt.dense)  # type: ignore[no-any-return]

    def position(self) -> Tensor:
        """Return the grid's positional encoding, ``(1, C, h, w)`` float."""
        position: Tensor = self.prompt_encoder.get_dense_pe()
        return position

    def decode(
        self,
        image: ImageEmbedding,
        prompt: PromptEmbedding,
        latents: Tensor | None = None,
        *,
        tokens: Sequence[int] = (0,),
    ) -> tuple[Tensor, Tensor]:
        """Decode paired rows of image, prompt and latent into mask logits.

        Parameters
        ----------
        image, prompt
            1 or N rows.
        latents : Tensor or None
            ``(N, D)`` float; without it the plain SAM decoder's hypotheses.
        tokens : sequence of int
            The T output tokens to decode.

        Returns
        -------
        logits, quality : Tensor
            ``(N, T, 4h, 4w)`` float, and ``(N, T)`` float, predicted IoU.
        """
        return self._decode(image, prompt, latents, tokens)[:2]

    def decode_hypotheses(self, image: ImageEmbedding, prompt: PromptEmbedding) -> Hypotheses:
        """Decode what each output token takes the prompts for, without a latent.

        Token 0 is the whole answer, the others a part, the thing, the whole.
        """
        return Hypotheses(
            *self._decode(image, prompt, None, range(1 + self.config.multimask_outputs))
        )

    @within_memory
    def _decode(
        self,
        image: ImageEmbedding,
        prompt: PromptEmbedding,
        latents: Tensor | None,
        tokens: Sequence[int],
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        embedding = image.tokens
        if latents is not None:
            embedding = self.conditioner(image.tokens, image.projected, latents)
        embedding = embedding + prompt.dense
        sparse = prompt.sparse.expand(len(embedding), -1, -1)
        skips = image.skips
        if prompt.fine is not None and skips:
            skips = (*skips[:-1], skips[-1] + prompt.fine)
        return self.mask_decoder(  # type: ignore[no-any-return]
            embedding, self.position(), sparse, skips=skips, tokens=tokens
        )


def _build_vit(config: SpaConfig) -> nn.Module:
    vit: nn.Module = ImageEncoderViT(
        depth=config.vit_depth,
        embed_dim=config.vit_dim,
        img_size=config.image_size,
        mlp_ratio=4,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        num_heads=config.vit_heads,
        patch_size=16,
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=config.vit_global,
        window_size=14,
        out_chans=config.embed_dim,
    )
    return vit

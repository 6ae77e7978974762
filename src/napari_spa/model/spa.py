"""The SPA network: encode an image once, decode many preferences (paper section 3).

Of the networks that turn prompts and picks into a mixture, and a latent into pixels, two layouts
share each interface: ours, and the one of the paper's public checkpoints (see ``docs/method.md``),
so that those can be read and give the same samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from napari_spa.errors import CheckpointError
from napari_spa.model.device import Network, each_tensor, within_memory
from napari_spa.model.encoder import ConvEncoder, EfficientNetEncoder, PromptMaps
from napari_spa.model.hiera import HieraEncoder
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
    vit_dim: int = 768  # width of the ViT encoder, or of Hiera
    vit_depth: int = 12  # number of its blocks
    vit_heads: int = 12  # of each block of the ViT encoder
    vit_global: tuple[int, ...] = (2, 5, 8, 11)  # its blocks that attend to everything
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
        one: ImageEmbedding = each_tensor(lambda part: part[index : index + 1], self)
        return one

    def repeat(self, times: int) -> ImageEmbedding:
        """Repeat each image ``times`` times in place: B becomes B x times."""
        repeated: ImageEmbedding = each_tensor(lambda part: part.repeat_interleave(times, 0), self)
        return repeated


class PromptEmbedding(NamedTuple):
    """The interaction embedding ``e_u``."""

    sparse: Tensor  # ``(B, P, C)`` float
    dense: Tensor  # ``(B, C, h, w)`` float
    fine: Tensor | None = None  # ``(B, C / 8, 4h, 4w)`` float, of networks with prompt maps

    def repeat(self, times: int) -> PromptEmbedding:
        """Repeat each row ``times`` times in place: B becomes B x times."""
        repeated: PromptEmbedding = each_tensor(lambda part: part.repeat_interleave(times, 0), self)
        return repeated


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
        self.image_encoder = _build_encoder(config)
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
            skip_channels=getattr(self.image_encoder, "skip_channels", ()),
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

        ``points`` are ``(B, P, 2)`` float in input pixels and in the model's declared order, as
        are the two corners in ``boxes``, ``(B, 4)``; ``labels`` are ``(B, P)``: 1 object, 0
        background, -1 padding.  ``mask_logits`` are ``(B, 1, 4h, 4w)`` float, and count in the
        rows of ``has_mask``, ``(B,)`` bool; by default in all.
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
        """Decode paired rows of image, prompt and latent, 1 or N, for T output ``tokens``.

        Latents are ``(N, D)`` float; without them the plain SAM decoder's hypotheses.  Returns mask
        logits ``(N, T, 4h, 4w)`` float, and the predicted IoU ``(N, T)`` float.
        """
        return self._decode(image, prompt, latents, tokens)[:2]

    def decode_hypotheses(self, image: ImageEmbedding, prompt: PromptEmbedding) -> Hypotheses:
        """Decode what each output token takes the prompts for: the answer, part, thing, whole."""
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


def _build_encoder(config: SpaConfig) -> nn.Module:
    size, dim, layers = config.image_size, config.embed_dim, config.layers
    if config.encoder == "conv":
        widths, depths = config.widths, config.depths
        return ConvEncoder(image_size=size, widths=widths, depths=depths, layers=layers)
    if config.encoder == "efficientnet":
        return EfficientNetEncoder(image_size=size, embed_dim=dim, layers=layers)
    if config.encoder == "hiera":
        return HieraEncoder(width=config.vit_dim, depth=config.vit_depth, embed_dim=dim)
    if config.encoder == "tiny-vit":
        return TinyVitEncoder(embed_dim=dim)
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

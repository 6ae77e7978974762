"""The networks of the baselines: what each learns and what it answers."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from napari_spa.errors import ModelError
from napari_spa.model.sam import import_modeling
from napari_spa.train.steps import StepConfig, in_float32, soft_dice_loss, step_loss
from napari_spa.train.windows import PlayedPrompts, Window, corrective_clicks, draw_boxes

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from napari_spa.model.spa import Spa
    from napari_spa.train.baselines.loop import RatedBatch


_HIDDEN = 32


class Prompted(nn.Module):
    """A baseline that answers prompts: a backbone with its weights, trained further in place."""

    def __init__(self, spa: Spa) -> None:
        super().__init__()
        self.spa = spa.requires_grad_(True)  # a loaded model has none to train

    def loss(self, batch: Window, generator: torch.Generator) -> Tensor:
        """Return the training loss."""
        raise NotImplementedError

    def answer(self, batch: Window, generator: torch.Generator) -> Tensor:
        """Return the probability ``(B, S / 2, S / 2)`` after the first prompt."""
        raise NotImplementedError


class SpaTuning(Prompted):
    """Ours, trained further on a data set by Algorithm 1."""

    def loss(self, batch: Window, generator: torch.Generator) -> Tensor:
        """Loss of one step of the package's own training."""
        return step_loss(self.spa, batch, StepConfig(), generator)[0]

    def answer(self, batch: Window, generator: torch.Generator) -> Tensor:
        """Mean of samples after a click."""
        spa, count = self.spa, 8
        image, prompt = spa.encode(batch.pixels), _clicks(batch).embed(spa)
        means, log_variances = spa.initial_mixture(prompt)
        rows, components = means.shape
        part = torch.arange(count) * components // count
        noise = torch.randn(rows, count, spa.config.latent_dim, generator=generator)
        deviation = (0.5 * log_variances[:, part]).exp()[..., None]
        latents = means[:, part][..., None] + deviation * noise.to(means.device)
        logits, _ = spa.decode(image.repeat(count), prompt.repeat(count), latents.flatten(0, 1))
        return logits[:, 0].sigmoid().view(rows, count, *logits.shape[-2:]).mean(dim=1)


class BoxTuning(Prompted):
    """MedSAM (Ma et al. 2024): a box, encoder and decoder trained, prompt encoder kept."""

    def __init__(self, spa: Spa) -> None:
        super().__init__(spa)
        for parameter in spa.prompt_encoder.parameters():
            parameter.requires_grad_(False)

    def loss(self, batch: Window, generator: torch.Generator) -> Tensor:
        """Loss of the single mask for a loose box, against one user each."""
        return mask_loss(self._logits(batch, generator)[:, None], batch.targets[:, :1])

    def answer(self, batch: Window, generator: torch.Generator) -> Tensor:
        """Probability for a loose box around the first user's mask."""
        return self._logits(batch, generator).sigmoid()

    def _logits(self, batch: Window, generator: torch.Generator) -> Tensor:
        user = batch.targets[:, 0]
        nothing = batch.point.new_zeros(len(user), 0, 2)
        boxes, size = draw_boxes(user, generator), 2 * user.shape[-1]
        played = PlayedPrompts(nothing, nothing[..., 0], boxes, size, definite=True)
        logits, _ = self.spa.decode(self.spa.encode(batch.pixels), played.embed(self.spa))
        return logits[:, 0]


class ClickAdapters(Prompted):
    """MSA (Wu et al. 2023): SAM stays as it is; small adapters between its layers learn."""

    def __init__(self, spa: Spa) -> None:
        super().__init__(spa)
        for parameter in spa.parameters():
            parameter.requires_grad_(False)
        self.adapters = insert_adapters(spa)

    def loss(self, batch: Window, generator: torch.Generator) -> Tensor:
        """Loss after a first click and after a corrective one, against one user each."""
        image, user = self.spa.encode(batch.pixels), batch.targets[:, 0]
        played = _clicks(batch)
        logits, _ = self.spa.decode(image, played.embed(self.spa))
        loss = mask_loss(logits[:, :1], user[:, None])
        probability = logits[:, 0].detach().sigmoid()
        played = corrective_clicks(played, probability, user, 1.0, generator)
        logits, _ = self.spa.decode(image, played.embed(self.spa))
        return loss + mask_loss(logits[:, :1], user[:, None])

    def answer(self, batch: Window, generator: torch.Generator) -> Tensor:
        """Probability after a click."""
        image = self.spa.encode(batch.pixels)
        logits, _ = self.spa.decode(image, _clicks(batch).embed(self.spa))
        return logits[:, 0].sigmoid()


class _Adapter(nn.Module):
    """A bottleneck that begins as nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, _HIDDEN), nn.Linear(_HIDDEN, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.up(nn.functional.gelu(self.down(x)))
        return x + added


def insert_adapters(spa: Spa) -> nn.ModuleList:
    """Put an adapter behind each transformer layer of the encoder and each MLP of the decoder."""
    modeling = import_modeling()
    block = modeling.image_encoder.Block
    places: list[tuple[nn.Module, int]] = []
    for layer in spa.image_encoder.modules():
        if isinstance(layer, (nn.TransformerEncoderLayer, block)):
            places.append((layer, layer.norm1.weight.numel()))
    width = spa.config.embed_dim
    places += [(layer.mlp, width) for layer in spa.mask_decoder.transformer.layers]
    adapters = nn.ModuleList()
    for place, channels in places:
        adapter = _Adapter(channels)
        adapters.append(adapter)
        place.register_forward_hook(lambda module, inputs, out, adapter=adapter: adapter(out))
    return adapters


def _clicks(batch: Window) -> PlayedPrompts:
    labels = torch.ones(len(batch.point), 1, device=batch.point.device)
    size = 2 * batch.targets.shape[-1]
    return PlayedPrompts(batch.point[:, None], labels, None, size, definite=False)


PROMPTED: dict[str, type[Prompted]] = {
    "spa": SpaTuning,
    "medsam-box": BoxTuning,
    "msa-click": ClickAdapters,
}
"""Baselines that answer prompts, by their method's names."""

_WIDTHS = (16, 32, 64, 128, 256)
_ACT = ("LeakyReLU", {"negative_slope": 0.1})
_NORM = ("instance", {"affine": True})


def monai_part(name: str) -> ModuleType:
    """Import a module of MONAI; ``ModelError`` where it is not installed."""
    import importlib

    try:
        return importlib.import_module(f"monai.networks.{name}")
    except ImportError as error:
        raise ModelError(
            "the baselines' networks come from MONAI: pip install napari-spa[evaluate]."
        ) from error


def unet(outputs: int = 1) -> nn.Module:
    """Return MONAI's residual U-Net of five levels (Ronneberger et al. 2015; 1.6 M weights).

    Its last level normalises what it puts out, so that with one output the background of a small
    object stays near a logit of 0 for thousands of steps; hence a last convolution of our own.
    """
    features = _unet_features()
    return nn.Sequential(features, nn.LeakyReLU(0.1), nn.Conv2d(_WIDTHS[0], outputs, 1))


def _unet_features() -> nn.Module:
    network: nn.Module = monai_part("nets").UNet(
        spatial_dims=2,
        in_channels=3,
        out_channels=_WIDTHS[0],
        channels=_WIDTHS,
        strides=(2, 2, 2, 2),
        num_res_units=2,
    )
    return network


def swin_unet() -> nn.Module:
    """Return MONAI's Swin UNETR in two dimensions, in place of Swin-Unet (Cao et al. 2021)."""
    network: nn.Module = monai_part("nets").SwinUNETR(
        in_channels=3, out_channels=1, feature_size=12, spatial_dims=2
    )
    return network


class UnetEncoder(nn.Module):
    """Convolutions at falling resolution, MONAI's: ``widths`` are channels at strides 1, 2, ..."""

    def __init__(self, widths: tuple[int, ...], inputs: int = 3) -> None:
        super().__init__()
        parts = monai_part("nets.basic_unet")
        self.first = parts.TwoConv(2, inputs, widths[0], _ACT, _NORM, bias=True)
        self.down = nn.ModuleList(
            parts.Down(2, before, after, _ACT, _NORM, bias=True)
            for before, after in pairwise(widths)
        )

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return features from fine to coarse."""
        features = [self.first(pixels)]
        for layer in self.down:
            features.append(layer(features[-1]))
        return features


class UnetDecoder(nn.Module):
    """Convolutions at rising resolution with skips, MONAI's."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        parts = monai_part("nets.basic_unet")
        self.up = nn.ModuleList(
            parts.UpCat(2, coarse, fine, fine, _ACT, _NORM, bias=True, halves=False)
            for coarse, fine in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return the finest features again, with what the coarse ones know."""
        *skips, x = features
        for layer, skip in zip(self.up, reversed(skips), strict=True):
            x = layer(x, skip)
        return x


class TransUnet(nn.Module):
    """TransUNet (Chen et al. 2021): convolutions to stride 8, transformer, U-Net decoder.

    Smaller than the paper's, which starts from an ImageNet ResNet-50 and ViT-B.
    """

    def __init__(self, size: int, *, width: int = 192, layers: int = 4) -> None:
        super().__init__()
        widths = _WIDTHS[:4]
        self.encoder, self.decoder = UnetEncoder(widths), UnetDecoder(widths)
        self.into = nn.Conv2d(widths[-1], width, 1)
        self.position = nn.Parameter(torch.zeros(1, width, size // 8, size // 8))
        nn.init.trunc_normal_(self.position, std=0.02)
        block = monai_part("blocks").TransformerBlock
        self.layers = nn.ModuleList(block(width, 4 * width, 6) for _ in range(layers))
        self.out_of = nn.Conv2d(width, widths[-1], 1)
        self.head = nn.Conv2d(widths[0], 1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits ``(B, 1, S, S)``."""
        features = self.encoder(pixels)
        grid = self.into(features[-1]) + self.position
        tokens = grid.flatten(2).transpose(1, 2)  # (B, h w, C)
        for layer in self.layers:
            tokens = layer(tokens)
        grid = tokens.transpose(1, 2).reshape(grid.shape)
        features[-1] = features[-1] + self.out_of(grid)
        logits: Tensor = self.head(self.decoder(features))
        return logits


class WholeImage(nn.Module):
    """A baseline that answers one image with one mask."""

    def loss(self, batch: RatedBatch) -> Tensor:
        """Return the training loss; random numbers are torch's global ones."""
        raise NotImplementedError

    def predict(self, pixels: Tensor) -> Tensor:
        """Return the probability ``(B, S, S)`` for images ``(B, 3, S, S)``."""
        raise NotImplementedError


@in_float32
def mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy plus soft Dice of ``(B, 1, S, S)`` logits, as all of them are trained."""
    entropy = functional.binary_cross_entropy_with_logits(logits, target)
    return entropy + soft_dice_loss(logits[:, 0].sigmoid(), target).mean()


class Deterministic(WholeImage):
    """One network, trained on what the majority of raters marked (paper 4.2)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def loss(self, batch: RatedBatch) -> Tensor:
        """Loss against the majority vote."""
        return mask_loss(self.network(batch.pixels), batch.majority())

    def predict(self, pixels: Tensor) -> Tensor:
        """Probability of its one output."""
        logits: Tensor = self.network(pixels)
        return logits[:, 0].sigmoid()


class LabelSampling(Deterministic):
    """Ls-Unet (Jensen et al. 2019): each step shows each image with one rater's mask."""

    def loss(self, batch: RatedBatch) -> Tensor:
        """Loss against a rater drawn for each image."""
        return mask_loss(self.network(batch.pixels), draw_rater(batch))


class Ensemble(WholeImage):
    """Four U-Nets that differ in where they start; their mean is the answer."""

    def __init__(self, members: int = 4) -> None:
        super().__init__()
        self.members = nn.ModuleList(unet() for _ in range(members))

    def loss(self, batch: RatedBatch) -> Tensor:
        """Sum of the members' losses: none knows of another."""
        target = batch.majority()
        losses = [mask_loss(member(batch.pixels), target) for member in self.members]
        return torch.stack(losses).sum()

    def predict(self, pixels: Tensor) -> Tensor:
        """Mean of the members' probabilities."""
        each = [member(pixels)[:, 0].sigmoid() for member in self.members]
        return torch.stack(each).mean(dim=0)


class MultiHead(WholeImage):
    """MH-Unet (after Guan et al. 2018): a head for each rater; their mean is the answer."""

    def __init__(self, raters: int) -> None:
        super().__init__()
        self.network = unet(raters)

    def loss(self, batch: RatedBatch) -> Tensor:
        """Each head's loss against its own rater, where that one marked the image."""
        logits = self.network(batch.pixels).float()
        entropy = functional.binary_cross_entropy_with_logits(
            logits, batch.masks, reduction="none"
        ).mean(dim=(2, 3))
        probability, masks = logits.sigmoid().flatten(0, 1), batch.masks.flatten(0, 1)
        dice = soft_dice_loss(probability, masks[:, None]).view_as(entropy)
        return ((entropy + dice) * batch.known).sum() / batch.known.sum()

    def predict(self, pixels: Tensor) -> Tensor:
        """Mean of the heads' probabilities."""
        heads: Tensor = self.network(pixels)
        return heads.sigmoid().mean(dim=1)


class ProbabilisticUnet(WholeImage):
    """Probabilistic U-Net (Kohl et al. 2018): a latent for each image, drawn from a prior net."""

    def __init__(self, latent: int = 6, samples: int = 16) -> None:
        super().__init__()
        self.features = _unet_features()
        widths = (16, 32, 64, 128)
        self.prior = _GaussianNet(widths, 3, latent)
        self.posterior = _GaussianNet(widths, 4, latent)
        self.combine = nn.Sequential(
            nn.Conv2d(16 + latent, 16, 1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 1),
            nn.ReLU(),
            nn.Conv2d(16, 1, 1),
        )
        draws = torch.randn(samples, latent, generator=torch.Generator().manual_seed(0))
        self.register_buffer("draws", draws)

    def loss(self, batch: RatedBatch) -> Tensor:
        """Evidence lower bound, for a rater drawn for each image."""
        target = draw_rater(batch)
        prior_mean, prior_log = self.prior(batch.pixels)
        mean, log = self.posterior(torch.cat([batch.pixels, target], dim=1))
        latent = mean + log.exp() * torch.randn_like(mean)
        logits = self._decode(self.features(batch.pixels), latent)
        prior, posterior = Normal(prior_mean, prior_log.exp()), Normal(mean, log.exp())
        divergence = kl_divergence(posterior, prior).sum(dim=1)
        return mask_loss(logits, target) + 0.01 * divergence.mean()

    def predict(self, pixels: Tensor) -> Tensor:
        """Mean probability of the samples of the prior."""
        mean, log = self.prior(pixels)
        features = self.features(pixels)
        draws = self.get_buffer("draws")
        total = [self._decode(features, mean + log.exp() * draw).sigmoid() for draw in draws]
        return torch.stack(total).mean(dim=0)[:, 0]

    def _decode(self, features: Tensor, latent: Tensor) -> Tensor:
        tiled = latent[:, :, None, None].expand(-1, -1, *features.shape[2:])
        logits: Tensor = self.combine(torch.cat([features, tiled], dim=1))
        return logits


class _GaussianNet(nn.Module):
    """Image (and mask) to the mean and log deviation of a latent."""

    def __init__(self, widths: tuple[int, ...], inputs: int, latent: int) -> None:
        super().__init__()
        self.encoder = UnetEncoder(widths, inputs)
        self.head = nn.Linear(widths[-1], 2 * latent)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        both: Tensor = self.head(self.encoder(pixels)[-1].mean(dim=(2, 3))).float()
        mean, log = both.chunk(2, dim=1)
        return mean, log.clamp(-5, 3)


class MrNet(WholeImage):
    """MRNet (Ji et al. 2021): told how much each rater counts, and where raters disagree.

    The expertness of the raters enters the coarsest features through a gated convolution
    (one step of the paper's ConvLSTM); a head gives back each rater's mask; where these
    differ, a second decoder looks again.
    """

    def __init__(self, raters: int) -> None:
        super().__init__()
        widths = (16, 32, 64, 128)
        self.raters = raters
        self.encoder, self.decoder = UnetEncoder(widths), UnetDecoder(widths)
        self.expertness = nn.Linear(raters, widths[-1])
        self.gate = nn.Conv2d(2 * widths[-1], 2 * widths[-1], 3, padding=1)
        self.coarse = nn.Conv2d(widths[0], 1, 1)
        self.reconstruct = nn.Sequential(
            nn.Conv2d(widths[0] + 1 + raters, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, raters, 1)
        )
        self.refine = nn.Sequential(
            nn.Conv2d(2 * widths[0] + 1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 1, 1)
        )

    def loss(self, batch: RatedBatch) -> Tensor:
        """Loss of both fused masks and of each rater's, for expertness drawn at random."""
        weights = batch.known * torch.rand_like(batch.known).clamp(min=1e-3)
        weights = weights / weights.sum(dim=1, keepdim=True)
        fused = batch.fused(weights)
        coarse, raters, final = self._answer(batch.pixels, weights)
        each = functional.binary_cross_entropy_with_logits(
            raters.float(), batch.masks, reduction="none"
        )
        known = (each.mean(dim=(2, 3)) * batch.known).sum() / batch.known.sum()
        return mask_loss(final, fused) + mask_loss(coarse, fused) + known

    def predict(self, pixels: Tensor) -> Tensor:
        """Probability when all raters count the same."""
        weights = pixels.new_full((len(pixels), self.raters), 1 / self.raters)
        return self._answer(pixels, weights)[2][:, 0].sigmoid()

    def _answer(self, pixels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.encoder(pixels)
        deep = features[-1]
        told = self.expertness(weights)[:, :, None, None].expand_as(deep)
        opened, added = self.gate(torch.cat([deep, told], dim=1)).chunk(2, dim=1)
        features[-1] = deep * opened.sigmoid() + added.tanh()
        fine = self.decoder(features)
        coarse: Tensor = self.coarse(fine)
        tiled = weights[:, :, None, None].expand(-1, -1, *fine.shape[2:])
        raters: Tensor = self.reconstruct(torch.cat([fine, coarse.sigmoid(), tiled], dim=1))
        doubt = raters.sigmoid().std(dim=1, keepdim=True, correction=0)
        final: Tensor = coarse + self.refine(torch.cat([fine, fine * (1 + doubt), doubt], dim=1))
        return coarse, raters, final


def draw_rater(batch: RatedBatch) -> Tensor:
    """Return a mask ``(B, 1, S, S)`` of one of the raters who marked each image."""
    chosen = torch.multinomial(batch.known, 1)[:, 0]
    return batch.masks[torch.arange(len(chosen)), chosen][:, None]


WHOLE_IMAGE: dict[str, Callable[[int, int], WholeImage]] = {
    "unet": lambda raters, size: Deterministic(unet()),
    "transunet": lambda raters, size: Deterministic(TransUnet(size)),
    "swinunet": lambda raters, size: Deterministic(swin_unet()),
    "ensemble-unet": lambda raters, size: Ensemble(),
    "probunet": lambda raters, size: ProbabilisticUnet(),
    "ls-unet": lambda raters, size: LabelSampling(unet()),
    "mh-unet": lambda raters, size: MultiHead(raters),
    "mrnet": lambda raters, size: MrNet(raters),
}
"""Baselines that segment whole images, by their method's names; of raters and a side in pixels."""

"""Methods that start from a promptable backbone: ours, MedSAM and the SAM adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_spa.model.sam import import_modeling
from napari_spa.train.losses import soft_dice_loss
from napari_spa.train.prompts import PlayedPrompts, corrective_clicks, draw_boxes
from napari_spa.train.steps import Batch, StepConfig, step_loss

if TYPE_CHECKING:
    from napari_spa.model.spa import Spa

_HIDDEN = 32


class Prompted(nn.Module):
    """A baseline that answers prompts.

    Parameters
    ----------
    spa : Spa
        The backbone with its weights; trained further in place.
    """

    def __init__(self, spa: Spa) -> None:
        super().__init__()
        self.spa = spa.requires_grad_(True)  # a loaded model has none to train

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return the training loss."""
        raise NotImplementedError

    def answer(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return the probability ``(B, S / 2, S / 2)`` after the first prompt."""
        raise NotImplementedError


class SpaTuning(Prompted):
    """Ours, trained further on a data set by Algorithm 1."""

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Loss of one step of the package's own training."""
        return step_loss(self.spa, batch, StepConfig(), generator)[0]

    def answer(self, batch: Batch, generator: torch.Generator) -> Tensor:
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

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Loss of the single mask for a loose box, against one user each."""
        return _mask_loss(self._logits(batch, generator), batch.targets[:, :1])

    def answer(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Probability for a loose box around the first user's mask."""
        return self._logits(batch, generator).sigmoid()

    def _logits(self, batch: Batch, generator: torch.Generator) -> Tensor:
        user = batch.targets[:, 0]
        nothing = batch.points.new_zeros(len(user), 0, 2)
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

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Loss after a first click and after a corrective one, against one user each."""
        image, user = self.spa.encode(batch.pixels), batch.targets[:, 0]
        played = _clicks(batch)
        logits, _ = self.spa.decode(image, played.embed(self.spa))
        loss = _mask_loss(logits[:, 0], user[:, None])
        probability = logits[:, 0].detach().sigmoid()
        played = corrective_clicks(played, probability, user, 1.0, generator)
        logits, _ = self.spa.decode(image, played.embed(self.spa))
        return loss + _mask_loss(logits[:, 0], user[:, None])

    def answer(self, batch: Batch, generator: torch.Generator) -> Tensor:
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


def _clicks(batch: Batch) -> PlayedPrompts:
    labels = torch.ones(len(batch.points), 1, device=batch.points.device)
    size = 2 * batch.targets.shape[-1]
    return PlayedPrompts(batch.points[:, None], labels, None, size, definite=False)


def _mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy plus soft Dice of logits ``(B, h, w)`` with ``(B, 1, h, w)`` targets."""
    entropy = nn.functional.binary_cross_entropy_with_logits(logits[:, None], target)
    return entropy + soft_dice_loss(logits.sigmoid(), target).mean()


def build_prompted(name: str, spa: Spa) -> Prompted:
    """Build a baseline that answers prompts, by its method's name."""
    kinds: dict[str, type[Prompted]] = {
        "spa": SpaTuning,
        "medsam-box": BoxTuning,
        "msa-click": ClickAdapters,
    }
    return kinds[name](spa)

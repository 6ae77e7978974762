"""Preference heads: how a latent becomes mask logits (docs/method.md).

One interface, ``PreferenceHead``: an initial mixture from the prompts, samples from
a mixture, their decoding, and the update from a pick.  ``latent`` conditions the image
embedding; ``logit`` shifts the boundary of the decoder's own hypotheses and so works with
any SAM-family checkpoint; ``both`` is one mixture over ``z = (z_shape, delta)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from napari_spa.core import mixture as gmm
from napari_spa.core.types import DoubleArray, FloatArray, MixtureParameters
from napari_spa.errors import ModelError
from napari_spa.model.device import side_by_side

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_spa.model.spa import HeadKind, ImageEmbedding, PromptEmbedding, Spa

Step = Callable[[float], None]  # called with the share of samples decoded so far; may raise to stop
OFFSET_DEVIATION = 0.4  # initial deviation of a boundary offset, in units of the logits' spread

_TOKENS = 4
_CACHED_ROWS = 192
"""Samples x rows of tokens per decoder chunk that stay in a CPU's cache (benchmarks/rounds.py);
for larger ones the allocator also fetches fresh memory in every round (docs/performance.md)."""


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """Latents drawn from a mixture."""

    latents: DoubleArray  # (N, D)
    components: NDArray[np.int64]  # (N,), the component each came from


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """What latents were decoded into."""

    logits: FloatArray  # (N, 4h, 4w), of masks
    quality: FloatArray  # (N,), the IoU that the network itself expects of each
    spread: FloatArray  # (N,), the unit of a boundary offset in logits


class LatentHead:
    """The paper's head: a latent joined to the image embedding.

    ``offsets`` adds a boundary offset as one more latent channel (head ``both``): ``reuse`` samples
    of a component differ in it alone, and decoding them costs what one does.  ``start`` is a
    mixture that came with a checkpoint of the paper's code: its weights, through the weight
    network, are the first round's; its means are not used there either.
    """

    def __init__(
        self,
        spa: Spa,
        update: gmm.UpdateConfig,
        *,
        offsets: bool = False,
        start: MixtureParameters | None = None,
        reuse: int = 1,
    ) -> None:
        self.spa, self.strengths, self.offsets, self.start = spa, update, offsets, start
        self.reuse = reuse if offsets else 1

    @property
    def size_channel(self) -> int | None:
        """The channel that moves the boundary out and in: the last, where there are offsets."""
        return self.spa.config.latent_dim if self.offsets else None

    def initial(self, prompt: PromptEmbedding) -> MixtureParameters:
        """Return the prior network's mixture (paper 3.4), the same mean in every channel."""
        means, log_variances = self.spa.initial_mixture(prompt)
        d = self.spa.config.latent_dim
        mean = np.repeat(means[0].double().cpu().numpy()[:, None], d, axis=1)
        variance = np.repeat(log_variances[0].double().exp().cpu().numpy()[:, None], d, axis=1)
        if self.offsets:
            column = np.ones((len(mean), 1))
            mean = np.hstack([mean, 0 * column])
            variance = np.hstack([variance, OFFSET_DEVIATION**2 * column])
        weights = np.full(len(mean), 1 / len(mean))
        if self.start is not None:
            weights = self._predict_weights(self.start.weights)
        return MixtureParameters(weights, mean, variance)

    def refresh(self, mixture: MixtureParameters, prompt: PromptEmbedding) -> MixtureParameters:
        """Keep what was learnt; the paper's code predicts means and variances again."""
        if self.spa.config.rules.prior == "pooled":
            return mixture
        predicted = self.initial(prompt)
        return MixtureParameters(mixture.weights, predicted.means, predicted.variances)

    def draw(self, mixture: MixtureParameters, count: int, rng: np.random.Generator) -> Draws:
        """Draw latents by the model's declared sampler (docs/method.md)."""
        if self.spa.config.rules.sampler == "weighted-sum":
            latents = gmm.sample_weighted_sum(mixture, count, rng)
            return Draws(latents, np.zeros(count, dtype=np.int64))
        latents, components = gmm.sample_mixture(mixture, count, rng)
        place = np.arange(count)
        turn = place - np.searchsorted(components, components)  # among those of its component
        d = self.spa.config.latent_dim
        latents[:, :d] = latents[place - turn % self.reuse, :d]
        return Draws(latents, components)

    def decode(
        self, image: ImageEmbedding, prompt: PromptEmbedding, draws: Draws, step: Step
    ) -> Decoded:
        """Decode each shape once; chunks bound memory and stay in cache."""
        d, side = self.spa.config.latent_dim, self.spa.config.image_size
        shapes, which = np.unique(draws.latents[:, :d], axis=0, return_inverse=True)
        latents = torch.from_numpy(shapes).float().to(self.spa.device)
        decode = torch.inference_mode()(partial(self.spa.decode, image, prompt))
        parts: list[Tensor] = []
        expected: list[Tensor] = []
        chunks = torch.split(latents, chunk_size(self.spa))
        for logits, quality in side_by_side(self.spa, side, decode, chunks):
            parts.append(logits[:, 0])
            expected.append(quality[:, 0])
            step(len(parts) / len(chunks))
        device = parts[-1].device  # not the first's, where memory was short
        shape = torch.from_numpy(which.ravel()).to(device)
        logits = torch.cat([part.to(device) for part in parts])[shape]
        quality = torch.cat([part.to(device) for part in expected])[shape]
        spread = logit_spread(logits)
        if self.offsets:
            offset = torch.from_numpy(draws.latents[:, d]).float().to(logits.device)
            logits = logits + (offset * spread)[:, None, None]
        return Decoded(*(t.float().cpu().numpy() for t in (logits, quality, spread)))

    def update(
        self,
        mixture: MixtureParameters,
        initial: MixtureParameters,
        picked: DoubleArray,
        logits: FloatArray,
    ) -> MixtureParameters:
        """Update in closed form, or through the weight network for the paper's checkpoints."""
        if self.spa.config.rules.responsibilities == "latent":
            return gmm.update_mixture(mixture, picked, initial, self.strengths)
        values = 1 / (1 + np.exp(-logits))
        weights = self._predict_weights(gmm.pixel_responsibilities(mixture, values))
        return MixtureParameters(weights, mixture.means, mixture.variances)

    @torch.inference_mode()
    def _predict_weights(self, gamma: DoubleArray) -> DoubleArray:
        row = torch.from_numpy(gamma).float()[None].to(self.spa.device)
        weights: DoubleArray = self.spa.weight_network(row)[0].double().cpu().numpy()
        normalised: DoubleArray = weights / weights.sum()
        return normalised


class LogitHead:
    """Ours: boundary offsets on the decoder's own hypotheses; needs no SPA training.

    Component m is (output token t, offset delta_m); sample n is
    ``sigmoid(logits_t + delta_n)`` with the offset in units of the token's logit spread.
    A round costs one decoder pass.
    """

    def __init__(self, spa: Spa, update: gmm.UpdateConfig) -> None:
        self.spa, self.strengths = spa, update

    @property
    def size_channel(self) -> int:
        """The first channel is the offset."""
        return 0

    def initial(self, prompt: PromptEmbedding) -> MixtureParameters:
        """Spread the components over output tokens and offsets."""
        per_token = max(1, self.spa.config.components // _TOKENS)
        offsets = np.linspace(-1.5, 1.5, per_token) * OFFSET_DEVIATION
        token = np.repeat(np.arange(_TOKENS), per_token)
        m = len(token)
        # The token is a discrete coordinate; a fixed narrow variance keeps it one.
        means = np.hstack([np.tile(offsets, _TOKENS)[:, None], np.eye(_TOKENS)[token]])
        spread = np.full((m, 1), (0.6 * OFFSET_DEVIATION) ** 2)
        variances = np.hstack([spread, np.full((m, _TOKENS), 0.01)])
        weights = np.where(token == 0, 2.0, 1.0)
        return MixtureParameters(weights / weights.sum(), means, variances)

    def refresh(self, mixture: MixtureParameters, prompt: PromptEmbedding) -> MixtureParameters:
        """Keep what was learnt: offsets do not depend on the prompts."""
        return mixture

    def draw(self, mixture: MixtureParameters, count: int, rng: np.random.Generator) -> Draws:
        """Draw offsets; the token is that of the component."""
        draws = Draws(*gmm.sample_mixture(mixture, count, rng))
        token = mixture.means[draws.components, 1:].argmax(axis=1)
        latents = np.hstack([draws.latents[:, :1], np.eye(_TOKENS)[token]])
        return Draws(latents, draws.components)

    def decode(
        self, image: ImageEmbedding, prompt: PromptEmbedding, draws: Draws, step: Step
    ) -> Decoded:
        """Decode the hypotheses once and shift them."""
        logits, quality = self.spa.decode(image, prompt, None, tokens=range(_TOKENS))
        hypotheses = logits[0]  # (T, 4h, 4w)
        token = torch.from_numpy(draws.latents[:, 1:].argmax(axis=1)).to(hypotheses.device)
        offset = torch.from_numpy(draws.latents[:, 0]).float().to(hypotheses.device)
        spread = logit_spread(hypotheses)[token]
        step(1.0)
        shifted = hypotheses[token] + (offset * spread)[:, None, None]
        return Decoded(*(t.float().cpu().numpy() for t in (shifted, quality[0][token], spread)))

    def update(
        self,
        mixture: MixtureParameters,
        initial: MixtureParameters,
        picked: DoubleArray,
        logits: FloatArray,
    ) -> MixtureParameters:
        """Update offsets and weights in closed form; tokens stay what they are."""
        moved = gmm.update_mixture(mixture, picked, initial, self.strengths)
        means = np.hstack([moved.means[:, :1], mixture.means[:, 1:]])
        variances = np.hstack([moved.variances[:, :1], mixture.variances[:, 1:]])
        return MixtureParameters(moved.weights, means, variances)


PreferenceHead = LatentHead | LogitHead


def build_head(
    spa: Spa,
    kind: HeadKind,
    *,
    start: MixtureParameters | None = None,
    update: gmm.UpdateConfig | None = None,
    reuse: int = 1,
) -> PreferenceHead:
    """Return a model's preference head; ``ModelError`` where the network has no such part.

    ``start`` is a mixture that came with a checkpoint of the paper's code, ``update`` how strongly
    picks move the mixture, ``reuse`` how many samples of head ``both`` share a decoded shape.
    """
    strengths = update or gmm.UpdateConfig()
    if kind == "logit":
        return LogitHead(spa, strengths)
    if not spa.config.latent_dim:
        raise ModelError(
            f"{spa.config.name} has no trained latent head; use head='logit' or train one."
        )
    return LatentHead(spa, strengths, offsets=kind == "both", start=start, reuse=reuse)


def logit_spread(logits: Tensor) -> Tensor:
    """Deviation of the logits of each map ``(N, h, w)``, at least 0.1, ``(N,)``.

    Clipped, so that sure pixels do not dominate.
    """
    return logits.clamp(-6, 6).flatten(1).std(dim=1).clamp(min=0.1)


def chunk_size(spa: Spa) -> int:
    """Return the samples per decoder pass: what stays in a CPU's cache, or all on a GPU."""
    if spa.device.type != "cpu":
        return 48
    return max(1, _CACHED_ROWS // spa.config.grid)

"""A tiny random network of the real architecture, fast enough for every test."""

from dataclasses import replace

import torch

from napari_spa.io.models.load import LoadedModel
from napari_spa.io.models.registry import ModelIdentity
from napari_spa.model.spa import Spa, SpaConfig

TINY = SpaConfig(
    image_size=32,
    embed_dim=32,
    widths=(8, 16, 32),
    depths=(1, 1, 1),
    layers=1,
    decoder_mlp=32,
    latent_dim=4,
)


def make_model(head="both", seed=0, **changes):
    torch.manual_seed(seed)
    config = replace(TINY, name="tiny-random", head=head, **changes)
    spa = Spa(config).eval()
    # A random decoder hardly listens to its latent; make it, so that samples differ.
    with torch.no_grad():
        spa.conditioner.layers[0].weight[:, 32:] *= 8
        spa.conditioner.layers[4].weight *= 4
    identity = ModelIdentity("tiny-random", "0" * 64, head, config.rules.sampler, config.latent_dim)
    return LoadedModel(spa, identity, torch.device("cpu"))

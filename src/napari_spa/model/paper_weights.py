"""Recognise a checkpoint of the paper's public code (see ``docs/method.md``).

Its network is SAM with three additions and other names for some of SAM's tensors.  They
are renamed here; what that code does otherwise than SAM is declared once, as the
convention ``paper`` (:mod:`napari_spa.model.convention`).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_spa.core.types import DoubleArray, MixtureParameters
from napari_spa.errors import CheckpointError
from napari_spa.model.sam_weights import PATCH, sam_config, sam_prefix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from napari_spa.model.spa import SpaConfig

_RENAMED = (
    (r"^image_encoder\.fcomb\.", "conditioner."),
    (r"^EM_weights\.", "weight_network."),
    (r"^EM_mean_variance\.", "prior."),
    (r"^(image_encoder\.blocks\.\d+\.attn)\.rel_([hw])$", r"\1.rel_pos_\2"),
    (r"^(mask_decoder\.transformer\.layers\.\d+\.mlp)\.layers\.0\.0\.", r"\1.lin1."),
    (r"^(mask_decoder\.transformer\.layers\.\d+\.mlp)\.fc\.", r"\1.lin2."),
)
_FIRST = "image_encoder.fcomb.layers.0.weight"


def is_paper(tensors: Mapping[str, Tensor]) -> bool:
    """Tell whether a state dict has the additions of the paper's code.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        A state dict.

    Returns
    -------
    bool
    """
    return any(name.endswith(_FIRST) for name in tensors)


def recognise_paper(tensors: Mapping[str, Tensor]) -> tuple[SpaConfig, dict[str, Tensor]]:
    """Read the network's shape off such a state dict and rename its tensors.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        The ``state_dict`` of the checkpoint, possibly with the prefix ``module.``.

    Returns
    -------
    config : SpaConfig
        With everything that code does declared.
    state : dict
        The tensors under this package's names.

    Raises
    ------
    CheckpointError
        When a tensor that decides the shape is missing.
    """
    prefix = sam_prefix(tensors) or ""
    state = {_renamed(name.removeprefix(prefix)): t for name, t in tensors.items()}
    config = sam_config(state)
    first = state["conditioner.layers.0.weight"]  # (C, C + D, 1, 1)
    last = state.get("weight_network.fc6.weight")  # (M, 64)
    if first.ndim != 4 or last is None or last.ndim != 2:
        raise CheckpointError("it lacks the mixture networks of the paper's code")
    return replace(
        config,
        name="spa-paper",
        image_size=_image_size(config, state),
        latent_dim=first.shape[1] - config.embed_dim,
        components=last.shape[0],
        head="latent",
        convention="paper",
    ), state


def paper_mixture(
    weights: DoubleArray, means: DoubleArray, variances: DoubleArray, dimension: int
) -> MixtureParameters:
    """Make a mixture of the arrays that are saved beside the state dict.

    That code starts from ``weights`` (through the weight network) and predicts means and
    variances from the prompt; the saved ones are its random first values.

    Parameters
    ----------
    weights, means, variances : ndarray of shape (M,)
        float64.
    dimension : int
        Number D of latent channels; each scalar holds for all of them.

    Returns
    -------
    MixtureParameters

    Raises
    ------
    CheckpointError
        When they are no mixture.
    """
    shape = weights.shape
    sound = weights.ndim == 1 and weights.size > 0 and means.shape == variances.shape == shape
    finite = all(np.isfinite(values).all() for values in (weights, means, variances))
    if (
        not sound
        or not finite
        or (weights < 0).any()
        or (variances <= 0).any()
        or not weights.any()
    ):
        raise CheckpointError("its EM_weights, EM_means and EM_variances are no mixture")
    return MixtureParameters(
        weights / weights.sum(),
        np.repeat(means[:, None], dimension, axis=1),
        np.repeat(variances[:, None], dimension, axis=1),
    )


def _image_size(config: SpaConfig, state: Mapping[str, Tensor]) -> int:
    """Read the input size off a global block's relative positions.

    ``pos_embed`` does not tell it: that code keeps SAM's 64 x 64 at every input size.
    """
    table = state[f"image_encoder.blocks.{config.vit_global[-1]}.attn.rel_pos_h"]  # (2 g - 1, c)
    return PATCH * (len(table) + 1) // 2


def _renamed(name: str) -> str:
    for old, new in _RENAMED:
        name = re.sub(old, new, name)
    return name

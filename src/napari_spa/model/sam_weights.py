"""Read SAM's and SAM 2's published files, and checkpoints of the paper's public code.

The paper's network is SAM with three additions and other names for some of SAM's tensors.
They are renamed here; what that code does otherwise than SAM is declared once, as the
convention ``paper`` (:mod:`napari_spa.model.spa`).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import torch
from torch import Tensor

from napari_spa.core.types import DoubleArray, MixtureParameters
from napari_spa.errors import CheckpointError
from napari_spa.model.hiera import VARIANTS
from napari_spa.model.spa import SpaConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

HIERA = "image_encoder.trunk.patch_embed.proj.weight"
_SIZE = 1024
_RENAMED = (
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"^mask_decoder\.conv_s1\.", "mask_decoder.skip_projections.0."),
    (r"^mask_decoder\.conv_s0\.", "mask_decoder.skip_projections.1."),
    (r"^(mask_decoder\.transformer\.layers\.\d+\.mlp)\.layers\.0\.", r"\1.lin1."),
    (r"^(mask_decoder\.transformer\.layers\.\d+\.mlp)\.layers\.1\.", r"\1.lin2."),
    (r"^no_mem_embed$", "image_encoder.no_mem_embed"),
)
_OF_VIDEOS = re.compile(
    r"memory_|maskmem_|mask_downsample\.|no_mem_pos_enc|obj_ptr_|no_obj_|"
    r"mask_decoder\.pred_obj_score_head\."
)


def recognise_sam2(tensors: Mapping[str, Tensor]) -> tuple[SpaConfig, dict[str, Tensor]]:
    """Read the network's shape off such a state dict and rename its tensors.

    ``CheckpointError`` where it is of no published size, or lacks a tensor that decides the shape.
    """
    state = {_renamed(name, _RENAMED): value for name, value in tensors.items()}
    state = {name: value for name, value in state.items() if not _OF_VIDEOS.match(name)}
    width = state[HIERA].shape[0] if state[HIERA].ndim else 0
    blocks = [re.match(r"image_encoder\.trunk\.blocks\.(\d+)\.", name) for name in state]
    depth = 1 + max((int(found[1]) for found in blocks if found), default=-1)
    variant = VARIANTS.get((width, depth))
    if variant is None:
        raise CheckpointError(f"it is a SAM 2 network of no published size ({width}, {depth})")
    lacking = [name for name in (_TOKENS, _MLP, _NECK) if name not in state]
    if lacking:
        raise CheckpointError(f"it is of another network: it lacks {lacking[0]}")
    config = SpaConfig(
        name=f"sam2-hiera-{variant.name}",
        encoder="hiera",
        image_size=_SIZE,
        embed_dim=state[_NECK].shape[0],
        vit_dim=width,
        vit_depth=depth,
        decoder_mlp=state[_MLP].shape[0],
        multimask_outputs=state[_TOKENS].shape[0] - 1,
        latent_dim=0,
        head="logit",
        convention="sam2",
    )
    return config, state


_TOKENS = "mask_decoder.mask_tokens.weight"
_MLP = "mask_decoder.transformer.layers.0.mlp.lin1.weight"
_NECK = "image_encoder.neck.convs.0.conv.weight"


def _renamed(name: str, table: tuple[tuple[str, str], ...]) -> str:
    for old, new in table:
        name = re.sub(old, new, name)
    return name


PARTS = ("image_encoder.", "prompt_encoder.", "mask_decoder.")
_VIT = "image_encoder.patch_embed.proj.weight"
_TINY_VIT = "image_encoder.patch_embed.seq.0.c.weight"
_TINY_VIT_SIZE = 1024  # its tensors do not tell; all published ones were trained at it
# What TinyViT keeps from its time as a classifier, and counters of batch normalisation.
_UNUSED = re.compile(r"image_encoder\.(norm_head|head)\.|.*\.num_batches_tracked$")
PATCH = 16  # side of a patch of SAM's ViT in pixels
_WINDOW = 14
_PIXEL_MEAN, _PIXEL_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def sam_prefix(names: Mapping[str, object]) -> str | None:
    """Find what a wrapper put before SAM's names, such as ``sam.`` or ``module.``."""
    prefixes = (n.removesuffix(a) for n in names for a in (_VIT, _TINY_VIT, HIERA) if n.endswith(a))
    return min(prefixes, key=len, default=None)


def recognise_sam(tensors: Mapping[str, Tensor]) -> tuple[SpaConfig, dict[str, Tensor]]:
    """Read the shape of a SAM-family network off a state dict, and name its tensors as SAM does.

    The names may have a wrapper's prefix, and there may be a further decoder; the shape is for the
    logit head, with SAM's preprocessing.  ``CheckpointError`` for what is no SAM-family network.
    """
    prefix = sam_prefix(tensors)
    if prefix is None:
        raise CheckpointError(_what_else(tensors))
    state = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    if HIERA in state:
        return recognise_sam2(state)
    _check_pixels(state)
    # micro-sam trains a decoder for automatic segmentation beside SAM; it is not used here.
    foreign = [n for n in tensors if not n.startswith((prefix, "decoder."))]
    state = {n: t for n, t in state.items() if not n.startswith(("decoder.", "pixel_"))}
    foreign += [n for n in state if not n.startswith(PARTS)]
    if foreign:
        raise CheckpointError(f"it is of another network: it has unknown {sorted(foreign)[0]}")
    if _TINY_VIT not in state:
        return sam_config(state), state
    state = {n: t for n, t in state.items() if not _UNUSED.match(n)}
    return _tiny_vit_config(state), state


def sam_config(state: Mapping[str, Tensor]) -> SpaConfig:
    """Derive the configuration from tensors under SAM's plain names; ``CheckpointError`` else."""
    width, channels, *patch = _shape(state, _VIT, 4)
    _, rows, columns, _ = _shape(state, "image_encoder.pos_embed", 4)
    if channels != 3 or patch != [PATCH, PATCH] or rows != columns:
        raise CheckpointError("its encoder is not SAM's (patch, channels or grid differ)")
    blocks = [re.match(r"image_encoder\.blocks\.(\d+)\.", name) for name in state]
    depth = 1 + max((int(found[1]) for found in blocks if found), default=-1)
    tables = [_shape(state, f"image_encoder.blocks.{b}.attn.rel_pos_h", 2) for b in range(depth)]
    if not tables or tables[0][1] == 0:
        raise CheckpointError("its encoder is not SAM's (it has no relative positions)")
    return SpaConfig(
        name=_family(width, depth),
        encoder="vit",
        image_size=PATCH * rows,
        vit_dim=width,
        vit_depth=depth,
        vit_heads=width // tables[0][1],
        vit_global=_global_blocks([length for length, _ in tables]),
        latent_dim=0,
        head="logit",
        convention="sam",
        **_decoder_shape(state),
    )


def _tiny_vit_config(state: Mapping[str, Tensor]) -> SpaConfig:
    return SpaConfig(
        name="sam-vit-t",
        encoder="tiny-vit",
        image_size=_TINY_VIT_SIZE,
        head="logit",
        latent_dim=0,
        convention="sam",
        **_decoder_shape(state),
    )


class _DecoderShape(TypedDict):
    embed_dim: int
    decoder_mlp: int
    multimask_outputs: int


def _decoder_shape(state: Mapping[str, Tensor]) -> _DecoderShape:
    return {
        "embed_dim": _shape(state, "image_encoder.neck.0.weight", 4)[0],
        "decoder_mlp": _shape(state, "mask_decoder.transformer.layers.0.mlp.lin1.weight", 2)[0],
        "multimask_outputs": _shape(state, "mask_decoder.mask_tokens.weight", 2)[0] - 1,
    }


def _shape(state: Mapping[str, Tensor], name: str, ndim: int) -> list[int]:
    if name not in state or state[name].is_nested or state[name].ndim != ndim:
        raise CheckpointError(f"it is of another network: it lacks {name} as SAM has it")
    return list(state[name].shape)


def _global_blocks(lengths: list[int]) -> tuple[int, ...]:
    window = 2 * _WINDOW - 1
    found = tuple(b for b, length in enumerate(lengths) if length != window)
    if found:
        return found
    # On a 14 x 14 grid both kinds look and act alike; at another size they would not, so
    # take SAM's pattern: the last block of each quarter.
    quarter = max(1, len(lengths) // 4)
    return tuple(range(quarter - 1, len(lengths), quarter))


def _family(width: int, depth: int) -> str:
    known = {(768, 12): "sam-vit-b", (1024, 24): "sam-vit-l", (1280, 32): "sam-vit-h"}
    return known.get((width, depth), f"sam-vit-{width}x{depth}")


def _check_pixels(state: Mapping[str, Tensor]) -> None:
    for name, usual in (("pixel_mean", _PIXEL_MEAN), ("pixel_std", _PIXEL_STD)):
        if name in state and not torch.allclose(
            state[name].flatten().float(), torch.tensor(usual), atol=0.01
        ):
            raise CheckpointError(f"it was trained with another {name} than SAM's")


def _what_else(tensors: Mapping[str, Tensor]) -> str:
    if not tensors:
        return "it holds no named tensors"
    return f"it is of another network: it has {next(iter(tensors))}, which SAM has not"


_PAPER_RENAMED = (
    (r"^image_encoder\.fcomb\.", "conditioner."),
    (r"^EM_weights\.", "weight_network."),
    (r"^EM_mean_variance\.", "prior."),
    (r"^(image_encoder\.blocks\.\d+\.attn)\.rel_([hw])$", r"\1.rel_pos_\2"),
    (r"^(mask_decoder\.transformer\.layers\.\d+\.mlp)\.layers\.0\.0\.", r"\1.lin1."),
    (r"^(mask_decoder\.transformer\.layers\.\d+\.mlp)\.fc\.", r"\1.lin2."),
)
_FIRST = "image_encoder.fcomb.layers.0.weight"


def is_paper(tensors: Mapping[str, Tensor]) -> bool:
    """Tell whether a state dict has the additions of the paper's code."""
    return any(name.endswith(_FIRST) for name in tensors)


def recognise_paper(tensors: Mapping[str, Tensor]) -> tuple[SpaConfig, dict[str, Tensor]]:
    """Read the network's shape off such a ``state_dict`` and rename its tensors.

    ``CheckpointError`` where a tensor that decides the shape is missing.
    """
    prefix = sam_prefix(tensors) or ""
    state = {_renamed(name.removeprefix(prefix), _PAPER_RENAMED): t for name, t in tensors.items()}
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
    """Make a mixture of the M weights, means and variances that are saved beside the state dict.

    That code starts from ``weights`` (through the weight network) and predicts means and
    variances from the prompt; the saved ones are its random first values.  Each scalar holds for
    all channels of the ``dimension``.  ``CheckpointError`` where they are no mixture.
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

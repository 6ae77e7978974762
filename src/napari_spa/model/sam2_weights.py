"""Recognise an image checkpoint of SAM 2 or 2.1, as its publishers save it.

What serves videos alone (memory, object pointers) is left out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from napari_spa.errors import CheckpointError
from napari_spa.model.hiera import VARIANTS
from napari_spa.model.spa import SpaConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

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

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Without a wrapper's prefix.

    Returns
    -------
    config : SpaConfig
        For the logit head.
    state : dict
        The tensors under this package's names.

    Raises
    ------
    CheckpointError
        When it is of no published size, or a tensor that decides the shape is missing.
    """
    state = {_renamed(name): value for name, value in tensors.items()}
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


def _renamed(name: str) -> str:
    for old, new in _RENAMED:
        name = re.sub(old, new, name)
    return name

"""Weights: read off published files, and put into a network; one sentence says what differs.

The network of the paper's public code is SAM with three additions and other names for some of SAM's
tensors.  They are renamed here; what that code does otherwise than SAM is declared once, as the
convention ``paper`` (:mod:`napari_spa.model.spa`).  What depends on position is resized where
another input size is asked for.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from napari_spa.core.presentation import first_of
from napari_spa.core.types import DoubleArray, MixtureParameters
from napari_spa.errors import CheckpointError, InputError
from napari_spa.model.hiera import VARIANTS
from napari_spa.model.spa import Spa, SpaConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

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
    """Read the network's shape off such a state dict and rename its tensors."""
    state = {_renamed(name, _RENAMED): value for name, value in tensors.items()}
    state = {name: value for name, value in state.items() if not _OF_VIDEOS.match(name)}
    width = state[HIERA].shape[0] if state[HIERA].ndim else 0
    blocks = [re.match(r"image_encoder\.trunk\.blocks\.(\d+)\.", name) for name in state]
    depth = 1 + max((int(found[1]) for found in blocks if found), default=-1)
    variant = VARIANTS.get((width, depth))
    if variant is None:
        raise CheckpointError(f"it is a SAM 2 network of no published size ({width}, {depth})")
    config = SpaConfig(
        name=f"sam2-hiera-{variant.name}",
        encoder="hiera",
        image_size=_SIZE,
        vit_dim=width,
        vit_depth=depth,
        convention="sam2",
        **_sam_decoder(state, neck="image_encoder.neck.convs.0.conv.weight"),
    )
    return config, state


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
        if not tensors:
            raise CheckpointError("it holds no named tensors")
        first = next(iter(tensors))
        raise CheckpointError(f"it is of another network: it has {first}, which SAM has not")
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
    size, decoder = _TINY_VIT_SIZE, _sam_decoder(state)
    return SpaConfig("sam-vit-t", "tiny-vit", size, convention="sam", **decoder), state


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
        convention="sam",
        **_sam_decoder(state),
    )


def _sam_decoder(
    state: Mapping[str, Tensor], neck: str = "image_encoder.neck.0.weight"
) -> dict[str, Any]:
    return {
        "latent_dim": 0,
        "head": "logit",
        "embed_dim": _shape(state, neck, 4)[0],
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
    """Read the network's shape off such a ``state_dict`` and rename its tensors."""
    prefix = sam_prefix(tensors) or ""
    state = {_renamed(name.removeprefix(prefix), _PAPER_RENAMED): t for name, t in tensors.items()}
    config = sam_config(state)
    first = state["conditioner.layers.0.weight"]  # (C, C + D, 1, 1)
    last = state.get("weight_network.fc6.weight")  # (M, 64)
    if first.ndim != 4 or last is None or last.ndim != 2:
        raise CheckpointError("it lacks the mixture networks of the paper's code")
    # ``pos_embed`` does not tell the input's size: that code keeps SAM's 64 x 64 at every one.
    table = state[f"image_encoder.blocks.{config.vit_global[-1]}.attn.rel_pos_h"]  # (2 g - 1, c)
    return replace(
        config,
        name="spa-paper",
        image_size=PATCH * (len(table) + 1) // 2,
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
    shaped = weights.size and weights.ndim == 1 and means.shape == variances.shape == weights.shape
    if not shaped or not (
        np.isfinite([weights, means, variances]).all()
        and weights.min() >= 0
        and weights.any()
        and variances.min() > 0
    ):
        raise CheckpointError("its EM_weights, EM_means and EM_variances are no mixture")
    return MixtureParameters(
        weights / weights.sum(),
        np.repeat(means[:, None], dimension, axis=1),
        np.repeat(variances[:, None], dimension, axis=1),
    )


_FILLING = frozenset({torch.Tensor.normal_, torch.Tensor.uniform_})


def assemble(config: SpaConfig, state: Mapping[str, Tensor]) -> Spa:
    """Build a network around tensors: in evaluation mode, float32, without gradients, on the CPU.

    The network is laid out unfilled and then takes the tensors themselves, so nothing is
    drawn at random and a network of gigabytes is held once.  ``CheckpointError`` when the shape is
    impossible, when a tensor is missing, left over, of another shape or type, or not finite.
    """
    try:
        with _Unfilled():
            spa = Spa(config)
    except (ArithmeticError, AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"its configuration describes no network ({error})") from error
    expected = spa.state_dict()
    _compare(expected, state)
    ready = {name: _usable(name, state[name]) for name in expected}
    spa.load_state_dict(ready, strict=True, assign=True)
    return spa.requires_grad_(requires_grad=False).eval()


class _Unfilled(TorchFunctionMode):
    """Leave new tensors unfilled: no time, no random numbers, no memory until it is used.

    (The meta device would do the same, but imports a compiler, which takes a second.)
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Collection[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  whatever the intercepted function returns
        named = kwargs or {}
        if func is torch.randn:
            return torch.empty(*args, **named)
        if func in _FILLING or getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def _compare(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    common = expected.keys() & found.keys()
    faults = [
        ("lacks", sorted(expected.keys() - found.keys())),
        ("has unknown", sorted(found.keys() - expected.keys())),
        ("differs in shape in", sorted(n for n in common if not _fits(expected[n], found[n]))),
    ]
    sentences = [f"{verb} {first_of(names)}" for verb, names in faults if names]
    if sentences:
        raise CheckpointError(f"it is of another network: it {', '.join(sentences)}")


def _fits(expected: Tensor, found: Tensor) -> bool:
    strided = not found.is_nested and found.layout == torch.strided and not found.is_meta
    return strided and found.is_floating_point() and found.shape == expected.shape


def _usable(name: str, tensor: Tensor) -> Tensor:
    value = tensor.detach().to(torch.float32).contiguous()
    if not bool(torch.isfinite(value).all()):
        raise CheckpointError(f"it holds numbers that are not finite (in {name})")
    return value


_LARGEST = 4096


def at_image_size(
    config: SpaConfig, state: Mapping[str, Tensor], image_size: int
) -> tuple[SpaConfig, dict[str, Tensor]]:
    """Adapt weights to another side of the square input, in pixels; unchanged tensors are shared.

    Absolute positions are resized bicubically, the relative positions of global
    attention blocks linearly.  Relative positions that a checkpoint keeps at another
    length than its grid needs are brought to it as well, which SAM itself does again at
    every image.  ``InputError`` when the network cannot have this size.
    """
    stride = {"conv": 8, "efficientnet": 32, "vit": 16, "tiny-vit": 16, "hiera": 32}[config.encoder]
    if type(image_size) is not int or image_size % stride or not stride < image_size <= _LARGEST:
        raise InputError(
            f"image_size must be a multiple of {stride} from {2 * stride} to {_LARGEST}, "
            f"not {image_size}."
        )
    new = replace(config, image_size=image_size)
    adapted = dict(state)
    if config.encoder in ("tiny-vit", "hiera"):
        return new, adapted  # theirs are within a window, or resized at every image
    if config.encoder != "vit":
        _resize(adapted, "image_encoder.position", new.grid)
        return new, adapted
    _resize(adapted, "image_encoder.pos_embed", new.grid)
    for block in config.vit_global:
        for axis in ("h", "w"):
            _resize_relative(adapted, f"image_encoder.blocks.{block}.attn.rel_pos_{axis}", new.grid)
    return new, adapted


def _resize(state: dict[str, Tensor], name: str, grid: int) -> None:
    """Resize positions ``(1, g, g, C)`` or ``(1, g * g, C)``; missing ones are reported later."""
    position = state.get(name)
    if position is None or position.ndim < 3:
        return
    square = position.flatten(1, -2).transpose(1, 2)  # (1, C, g * g)
    side = round(square.shape[2] ** 0.5)
    if side == grid or side * side != square.shape[2]:
        return
    resized = nn.functional.interpolate(
        square.reshape(1, -1, side, side).float(), size=(grid, grid), mode="bicubic"
    ).permute(0, 2, 3, 1)
    state[name] = resized if position.ndim == 4 else resized.flatten(1, 2)


def _resize_relative(state: dict[str, Tensor], name: str, grid: int) -> None:
    table = state.get(name)  # (2 g - 1, C / heads)
    if table is None or table.ndim != 2 or len(table) == 2 * grid - 1:
        return
    resized = nn.functional.interpolate(table.float().T[None], size=2 * grid - 1, mode="linear")
    state[name] = resized[0].T

"""Recognise a weights file: ours, the paper's, SAM's, MedSAM's or micro-sam's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from napari_spa.errors import CheckpointError, ModelError
from napari_spa.io.files import atomic_path
from napari_spa.io.models.safe_load import StoredArray, WeightsFile, read_weights_file
from napari_spa.io.strict_json import JsonError, parse_json

if TYPE_CHECKING:
    from torch import Tensor

    from napari_spa.core.types import DoubleArray, MixtureParameters
    from napari_spa.model.spa import Spa, SpaConfig


KEY = "napari_spa"
SCHEMA = 1
_LARGEST = 4096
_TRAINING = ("config", "average", "step")


def save_model(spa: Spa, path: Path, card: Mapping[str, object]) -> None:
    """Write a network as float16 safetensors, atomically and with the same bytes each time."""
    import torch
    from safetensors.torch import save_file

    tensors = {
        name: value.detach().cpu().to(torch.float16).clone(memory_format=torch.contiguous_format)
        for name, value in spa.state_dict().items()
    }
    wrong = [name for name, value in tensors.items() if not bool(torch.isfinite(value).all())]
    if wrong:
        raise ModelError(f"{wrong[0]} does not fit float16 (too large or not finite).")
    about = {"schema": SCHEMA, "config": asdict(spa.config), "card": dict(card)}
    try:
        text = json.dumps(about, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ModelError(f"the model card must be plain JSON ({error}).") from error
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={KEY: text})


def export_checkpoint(checkpoint: Path, path: Path, card: Mapping[str, object]) -> None:
    """Make a model of a training checkpoint, with its averaged weights."""
    from napari_spa.model.assemble import assemble

    stored = read_weights_file(Path(checkpoint))
    if not is_training(stored):
        raise CheckpointError(f"{checkpoint} is no training checkpoint of napari-spa.")
    try:
        spa = assemble(*read_training(stored))
    except CheckpointError as error:
        raise CheckpointError(f"cannot use {checkpoint}: {error}.") from error
    save_model(spa, path, {"steps": stored.content["step"]} | dict(card))


def is_native(stored: WeightsFile) -> bool:
    """Tell whether a file was written by :func:`save_model`."""
    return KEY in stored.metadata


def read_native(stored: WeightsFile) -> tuple[SpaConfig, dict[str, Tensor], dict[str, object]]:
    """Take configuration, tensors and card from a file of :func:`save_model`.

    Parameters
    ----------
    stored : WeightsFile
        Its content.

    Returns
    -------
    config : SpaConfig
    state : dict of str to Tensor
    card : dict

    Raises
    ------
    CheckpointError
        When the configuration is damaged or of a newer version.
    """
    try:
        about = parse_json(stored.metadata[KEY])
    except JsonError as error:
        raise CheckpointError("its configuration is not readable") from error
    schema = about.get("schema") if isinstance(about, dict) else None
    if type(schema) is int and schema > SCHEMA:
        raise CheckpointError("it was written by a newer napari-spa; update napari-spa to read it")
    card = about.get("card") if schema == SCHEMA else None
    if not isinstance(card, dict):
        raise CheckpointError("its configuration is not readable")
    return config_from_mapping(about.get("config")), tensors_of(stored.content), card


def is_training(stored: WeightsFile) -> bool:
    """Tell whether a file is a checkpoint of ``napari-spa train``."""
    return all(name in stored.content for name in _TRAINING)


def read_training(stored: WeightsFile) -> tuple[SpaConfig, dict[str, Tensor]]:
    """Take configuration and averaged weights from a training checkpoint.

    Parameters
    ----------
    stored : WeightsFile
        Its content.

    Returns
    -------
    config : SpaConfig
    state : dict of str to Tensor

    Raises
    ------
    CheckpointError
        When the configuration is damaged.
    """
    config = config_from_mapping(stored.content["config"])
    return config, tensors_of(stored.content["average"])


def tensors_of(content: object) -> dict[str, Tensor]:
    """Take the named tensors out of a mapping.

    Parameters
    ----------
    content : object
        Usually a dict.

    Returns
    -------
    dict of str to Tensor
        Empty when there are none.
    """
    import torch

    if not isinstance(content, Mapping):
        return {}
    return {str(n): value for n, value in content.items() if isinstance(value, torch.Tensor)}


def config_from_mapping(raw: object) -> SpaConfig:
    """Make a configuration of what was stored, strictly."""
    from napari_spa.model.spa import SpaConfig

    if not isinstance(raw, Mapping):
        raise CheckpointError("it has no configuration")
    values = _with_convention({str(name): value for name, value in raw.items()})
    unknown = sorted(values.keys() - {field.name for field in fields(SpaConfig)})
    if unknown:
        raise CheckpointError(
            f"its configuration has {unknown[0]!r}, which this napari-spa does not know; update it"
        )
    hints = get_type_hints(SpaConfig)
    checked: dict[str, Any] = {n: _checked(n, value, hints[n]) for n, value in values.items()}
    return SpaConfig(**checked)


def _with_convention(raw: dict[str, object]) -> dict[str, object]:
    """Name the convention of a file from before it was one field instead of ten."""
    from napari_spa.model.convention import CONVENTIONS

    single = {field.name: field.name for field in fields(CONVENTIONS["spa"])}
    single["prior"] = "paper_prior"  # as a yes or no
    told = {name: raw[old] for name, old in single.items() if old in raw}
    if not told:
        return raw
    told["prior"] = "paper" if told.get("prior") else "pooled"
    told["two_way"] = "efficient-sam" if told["prior"] == "paper" else "sam"
    for name, convention in CONVENTIONS.items():
        if told.items() <= asdict(convention).items():
            rest = {key: value for key, value in raw.items() if key not in single.values()}
            return rest | {"convention": name}
    known = ", ".join(sorted(old for old in single.values() if old in raw))
    raise CheckpointError(f"its configuration has an impossible combination of {known}")


def _checked(name: str, value: object, hint: object) -> object:
    if get_origin(hint) is tuple and isinstance(value, (list, tuple)):
        kinds = get_args(hint)
        if (kinds[-1] is Ellipsis or len(value) == len(kinds)) and all(map(_is_size, value)):
            return tuple(value)
    elif get_origin(hint) is Literal:
        if isinstance(value, str) and value in get_args(hint):
            return value
    elif hint is int:
        if _is_size(value):
            return value
    elif hint is float:
        if type(value) is not bool and isinstance(value, (int, float)) and abs(value) <= _LARGEST:
            return float(value)
    elif type(value) is hint:
        return value
    raise CheckpointError(f"its configuration has an impossible {name}: {value!r:.80}")


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value <= _LARGEST


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
    """Tell what network a weights file holds."""
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

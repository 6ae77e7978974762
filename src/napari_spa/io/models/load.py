"""Load a model by name or path, say what it is, and bring further ones in.

Importing this module imports no PyTorch; calling does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

from napari_spa.errors import CheckpointError, DeviceError, InputError, ModelError
from napari_spa.io.models.formats import (
    Layout,
    Weights,
    WeightsFile,
    read_calibration,
    read_weights_file,
    recognise,
)
from napari_spa.io.models.registry import (
    ModelEntry,
    ModelIdentity,
    check_published,
    copy_into_models,
    file_digest,
    find_model,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from napari_spa.core.quality import Calibration
    from napari_spa.core.types import MixtureParameters
    from napari_spa.model.spa import Spa, SpaConfig

Head = Literal["latent", "logit", "both"]
_SAM_OUTPUTS = 3
_NAMES = re.compile(r"auto|cpu|mps|cuda(?::(\d{1,4}))?")


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A network ready to use."""

    spa: Spa = field(repr=False)  # in evaluation mode, float32, on ``device``
    identity: ModelIdentity  # which weights and which head
    device: torch.device  # where it computes
    # The mixture saved with a checkpoint of the paper's code: its weights go through the weight
    # network in the first round.
    initial_mixture: MixtureParameters | None = None
    layout: Layout = "napari-spa"  # what kind of file it came from
    path: Path | None = None  # that file
    # The model card, empty if the file has none.
    card: Mapping[str, object] = field(default_factory=dict, repr=False)
    # What its rounds' signs meant on known objects.
    calibration: Calibration | None = field(default=None, repr=False)

    @property
    def config(self) -> SpaConfig:
        """What decides the network's shape and how its inputs are meant."""
        return self.spa.config


def load_model(
    name_or_path: str | Path = "spa-tiny",
    *,
    device: str = "auto",
    head: str | None = None,
    image_size: int | None = None,
) -> LoadedModel:
    """Load a model.

    Parameters
    ----------
    name_or_path : str or Path
        A name of :func:`list_models`, or a weights file: this package's own, a training
        checkpoint, any SAM-family ViT, or one of the paper's public code.
    device : {"auto", "cpu", "cuda", "cuda:N", "mps"}
        Where to compute.
    head : {"latent", "logit", "both"} or None
        The preference head; the model's own by default.
    image_size : int or None
        Another side of the square input, in pixels; positions are resized.

    Returns
    -------
    LoadedModel

    Raises
    ------
    ModelError
        When the model is unknown or has no such head.
    CheckpointError
        When the file is damaged, unsafe or of another network.
    DeviceError
        When the device does not exist here or is too small.
    InputError
        When ``head`` or ``image_size`` is impossible.
    """
    target = resolve_device(device)
    entry = find_model(name_or_path)
    path = Path(entry.path or name_or_path)
    stored = read_weights_file(path)
    digest = file_digest(path)
    check_published(entry, digest)
    weights, spa = _build(entry, path, stored, head, image_size)
    config = spa.config
    identity = ModelIdentity(
        config.name, digest, config.head, config.rules.sampler, config.latent_dim
    )
    return LoadedModel(
        _to_device(spa, target),
        identity,
        target,
        initial_mixture=weights.mixture,
        layout=weights.layout,
        path=path,
        card=weights.card,
        calibration=read_calibration(path, digest),
    )


def import_model(path: str | Path, name: str) -> Path:
    """Check a weights file and copy it into the models folder under a name."""
    source = check_weights(path)
    return copy_into_models(source, name)


def check_weights(path: str | Path) -> Path:
    """Build the network of a weights file, and return the file; raises as `load_model` does."""
    source = Path(path).expanduser()
    _build(find_model(source), source, read_weights_file(source), None, None)
    return source


def describe(model: LoadedModel) -> dict[str, object]:
    """Say what a model is, in values that JSON can hold."""
    config, identity = model.config, model.identity
    return {
        "name": identity.name,
        "sha256": identity.sha256,
        "path": None if model.path is None else str(model.path),
        "layout": model.layout,
        "device": str(model.device),
        "parameters": sum(p.numel() for p in model.spa.parameters()),
        "encoder": config.encoder,
        "image_size": config.image_size,
        "grid": config.grid,
        "head": identity.head,
        "sampler": identity.sampler,
        "latent_dim": identity.latent_dim,
        "components": config.components,
        "convention": config.convention,
        "frame": config.rules.frame,
        "normalise": config.rules.normalise,
        "point_order": config.rules.point_order,
        "calibrated": model.calibration is not None,
        "card": dict(model.card),
    }


def _build(
    entry: ModelEntry, path: Path, stored: WeightsFile, head: str | None, image_size: int | None
) -> tuple[Weights, Spa]:
    from napari_spa.model.weights import assemble, at_image_size

    try:
        weights = recognise(stored)
        config = _declared(weights, entry)
        config, state = at_image_size(
            config, weights.state, config.image_size if image_size is None else image_size
        )
        spa = assemble(config, state)
    except CheckpointError as error:
        raise CheckpointError(
            f"cannot use {path}: {error}; give the weights of a SAM, MedSAM, micro-sam or "
            "napari-spa network."
        ) from error
    spa.config = replace(config, head=_checked_head(config, head))
    return weights, spa


def _declared(weights: Weights, entry: ModelEntry) -> SpaConfig:
    """Add what the tensors cannot tell: the name, and how a published model's input is meant."""
    config = weights.config
    if weights.layout == "sam" and entry.known is not None:
        config = replace(config, convention=entry.known.convention)
    return config if entry.kind == "packaged" else replace(config, name=entry.name)


def _checked_head(config: SpaConfig, head: str | None) -> Head:
    chosen = config.head if head is None else head
    if chosen not in get_args(Head):
        raise InputError(f"unknown head {head!r}; use latent, logit or both.")
    if chosen != "logit" and not config.latent_dim:
        raise ModelError(f"{config.name} has no latent head; use head 'logit'.")
    if chosen == "logit" and config.multimask_outputs != _SAM_OUTPUTS:
        raise ModelError(
            f"{config.name} has {config.multimask_outputs + 1} output tokens; the logit head needs "
            f"SAM's {_SAM_OUTPUTS + 1}."
        )
    return cast("Head", chosen)


def resolve_device(device: str) -> torch.device:
    """Turn a device's name into a device of this machine."""
    import torch

    found = _NAMES.fullmatch(str(device).strip().lower())
    if found is None:
        raise DeviceError(f"unknown device {device!r}; use auto, cpu, cuda, cuda:N or mps.")
    name = found[0]
    if name == "auto":
        name = _best()
    if name.startswith("cuda"):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise DeviceError(
                f"PyTorch finds no CUDA device here, so {name!r} cannot be used; "
                "use device 'cpu' or 'auto', or install a CUDA build of PyTorch."
            )
        if int(found[1] or 0) >= count:
            raise DeviceError(
                f"there is no {name!r} here; the last CUDA device is 'cuda:{count - 1}'."
            )
    if name == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("this machine has no 'mps' device; use device 'cpu' or 'auto'.")
    return torch.device(name)


def device_in_turn(device: str, process: int) -> torch.device:
    """Give each of several processes a device, where a name leaves open which."""
    import torch

    found = resolve_device(device)
    if found.type == "cuda" and found.index is None:
        return torch.device("cuda", process % torch.cuda.device_count())
    return found


def _best() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _to_device(spa: Spa, device: torch.device) -> Spa:
    import torch

    try:
        return spa.to(device)
    except torch.cuda.OutOfMemoryError as error:
        raise DeviceError(
            f"{spa.config.name} does not fit into the memory of {device}; use device 'cpu' or a "
            "smaller model."
        ) from error

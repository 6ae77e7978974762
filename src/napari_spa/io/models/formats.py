"""Weights files: recognised, read safely, written; and the calibration that lies beside one."""

from __future__ import annotations

import json
import re
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from napari_spa.core.quality import DIRECTIONS, Calibration, Term
from napari_spa.errors import CheckpointError, DataError, ModelError
from napari_spa.io.files import JsonError, atomic_path, explained, parse_json, read_json, write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_spa.core.types import DoubleArray, MixtureParameters
    from napari_spa.model.spa import Spa, SpaConfig


_UNSAFE = re.compile(
    "not an allowed global|is blocked|TorchScript|unrecognized function|Can only (create|build)|"
    "must be imported to load"
)
_NUMBERS = frozenset(["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"])
_LOCK = threading.Lock()  # PyTorch keeps its list of allowed globals for the whole process


@dataclass(frozen=True, eq=False)
class WeightsFile:
    """What a weights file holds."""

    # Tensors by name, or whatever mapping was saved; arrays are ``StoredArray``.
    content: Mapping[str, object]
    # The text beside the tensors of a safetensors file.
    metadata: Mapping[str, str] = field(default_factory=dict)


def read_weights_file(path: Path) -> WeightsFile:
    """Read a weights file."""
    start = _first_bytes(path)
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        return _read_safetensors(path)
    if not start.startswith((b"PK\x03\x04", b"\x80")):
        raise CheckpointError(
            f"{path} is no weights file; give a .safetensors file or one written by torch.save."
        )
    return _read_torch(path)


def _first_bytes(path: Path) -> bytes:
    with explained("read", path, CheckpointError):
        if not path.is_file():
            gone = "does not exist; put it back, or choose another model (Options > Model)"
            reason = "is a folder; give the file" if path.is_dir() else gone
            raise CheckpointError(f"the weights file {path} {reason}.")
        with path.open("rb") as stream:
            start = stream.read(16)
    if not start:
        raise CheckpointError(f"the weights file {path} is empty; download or copy it again.")
    return start


def _read_safetensors(path: Path) -> WeightsFile:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as stream:
            # Copied, because a mapped file that is replaced later would end the process.
            tensors = {name: stream.get_tensor(name).clone() for name in stream.keys()}  # noqa: SIM118
            return WeightsFile(tensors, stream.metadata() or {})
    except (SafetensorError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is a damaged or half-written safetensors file ({_first_line(error)}); "
            "download or copy it again."
        ) from error


def _read_torch(path: Path) -> WeightsFile:
    import torch

    try:
        with warnings.catch_warnings(), _array_stand_ins():
            warnings.simplefilter("ignore")  # about old formats; what matters is raised
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises whatever it likes
        raise CheckpointError(_torch_fault(path, str(error))) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no tensors by name; save a state dict instead.")
    return WeightsFile({str(name): value for name, value in content.items()})


def _torch_fault(path: Path, message: str) -> str:
    if _UNSAFE.search(message):
        return (
            f"{path} holds code besides numbers and was not read, because reading it would run "
            "that code; save the network's state_dict() alone, or as safetensors."
        )
    return f"{path} is damaged, cut off or not written by torch.save; download or copy it again."


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


class StoredArray:
    """Stands in for ``numpy.ndarray`` while a file is read."""

    values: NDArray[np.generic] = np.zeros(0)  # the stored numbers

    def __init__(self, *_: object) -> None:
        """Ignore what NumPy would make an empty array of."""

    def __setstate__(self, state: tuple[int, tuple[int, ...], StoredType, bool, bytes]) -> None:
        _, shape, kind, by_columns, raw = state
        flat = np.frombuffer(raw, dtype=kind.dtype())
        self.values = flat.reshape(shape, order="F" if by_columns else "C").copy()


class StoredType:
    """Stands in for ``numpy.dtype``; plain numbers only."""

    order = "="

    def __init__(self, code: str = "", *_: object) -> None:
        self.code = code

    def __setstate__(self, state: tuple[object, ...]) -> None:
        self.order = str(state[1])

    def dtype(self) -> np.dtype[np.generic]:
        """Return the type of numbers it stands for."""
        if self.code not in _NUMBERS or self.order not in ("<", ">", "|", "="):
            raise ValueError(f"arrays of {self.code} are not read")
        return np.dtype(self.code).newbyteorder(self.order)  # type: ignore[arg-type]


class _StoredScalar:
    def __new__(cls, kind: StoredType, raw: bytes) -> object:  # type: ignore[misc]
        return np.frombuffer(raw, dtype=kind.dtype())[0].item()


class _NoBytes:
    def __new__(cls) -> bytes:  # type: ignore[misc]  # how an empty array's content is written
        return b""


@contextmanager
def _array_stand_ins() -> Iterator[None]:
    import torch

    add, listed = torch.serialization.add_safe_globals, torch.serialization.get_safe_globals
    stand_ins = _named_stand_ins()
    with _LOCK:
        before = listed()
        add(stand_ins)
        try:
            yield
        finally:
            torch.serialization.clear_safe_globals()
            add(before)


def _named_stand_ins() -> list[Any]:
    # PyTorch finds an allowed class by the module and name it says it has.  NumPy 1 and 2
    # write different modules.
    named: list[tuple[str, str, type]] = [
        ("numpy", "ndarray", StoredArray),
        ("numpy", "dtype", StoredType),
        ("builtins", "bytes", _NoBytes),
    ]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        named += [(module, "_reconstruct", StoredArray), (module, "scalar", _StoredScalar)]
    return [type(name, (base,), {"__module__": module}) for module, name, base in named]


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
    from napari_spa.model.weights import assemble

    stored = read_weights_file(Path(checkpoint))
    if not is_training(stored):
        raise CheckpointError(f"{checkpoint} is no training checkpoint of napari-spa.")
    try:
        spa = assemble(*read_training(stored))
    except CheckpointError as error:
        raise CheckpointError(f"cannot use {checkpoint}: {error}.") from error
    save_model(spa, path, {"steps": stored.content["step"]} | dict(card))


def read_native(stored: WeightsFile) -> tuple[SpaConfig, dict[str, Tensor], dict[str, object]]:
    """Take configuration, tensors and card from a file of :func:`save_model`."""
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
    """Take configuration and averaged weights from a training checkpoint."""
    config = config_from_mapping(stored.content["config"])
    return config, tensors_of(stored.content["average"])


def tensors_of(content: object) -> dict[str, Tensor]:
    """Take the named tensors out of a mapping, where it is one."""
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
    from napari_spa.model.spa import CONVENTIONS

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
    """What a weights file was recognised as."""

    config: SpaConfig  # the network's shape and preprocessing
    state: dict[str, Tensor]  # its tensors under this package's names
    layout: Layout  # the kind of file
    mixture: MixtureParameters | None = None  # saved beside the tensors
    card: Mapping[str, object] = field(default_factory=dict)  # the model card


def recognise(stored: WeightsFile) -> Weights:
    """Tell what network a weights file holds."""
    from napari_spa.model.weights import is_paper, recognise_paper, recognise_sam, sam_prefix

    if KEY in stored.metadata:
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
    from napari_spa.model.weights import paper_mixture

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


_LARGEST_CALIBRATION = 2**20  # bytes


def calibration_path(weights: Path) -> Path:
    """Return where the calibration of a weights file lies."""
    return weights.with_name(f"{weights.stem}.calibration.json")


def save_calibration(
    path: Path, calibration: Calibration, sha256: str, figures: Mapping[str, object]
) -> None:
    """Write a calibration, the digest of its weights, and how well it was found to hold."""
    content = {
        "weights": sha256,
        "offset": round(calibration.offset, 5),
        "terms": {name: [round(v, 5) for v in term] for name, term in calibration.terms.items()},
        "figures": figures,
    }
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_calibration(weights: Path, sha256: str) -> Calibration | None:
    """Return the calibration of a weights file; None without one for exactly these weights."""
    path = calibration_path(weights)
    if not path.is_file():
        return None
    try:
        content = read_json(path, largest=_LARGEST_CALIBRATION)
        if content["weights"] != sha256:
            return None
        terms = {
            name: Term(*(float(value) for value in values))
            for name, values in content["terms"].items()
        }
        unknown = set(terms) - set(DIRECTIONS)
        if unknown or any(term.deviation <= 0 for term in terms.values()):
            raise ValueError("its terms")
        return Calibration(float(content["offset"]), terms)
    except (JsonError, DataError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"the calibration {path} is damaged ({error}); delete it, or fit it again."
        ) from error

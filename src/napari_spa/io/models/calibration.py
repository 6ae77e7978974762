"""The calibration of a model: a small file beside its weights, good for these weights only."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from napari_spa.core.quality import DIRECTIONS, Calibration, Term
from napari_spa.errors import CheckpointError, DataError
from napari_spa.io.files import atomic_path
from napari_spa.io.strict_json import JsonError, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_LARGEST = 2**20


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
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_calibration(weights: Path, sha256: str) -> Calibration | None:
    """Return the calibration of a weights file; None without one for exactly these weights."""
    path = calibration_path(weights)
    if not path.is_file():
        return None
    try:
        content = read_json(path, largest=_LARGEST)
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

"""Which profile was used last with each model."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from napari_spa.errors import DataError
from napari_spa.io.files import atomic_path
from napari_spa.io.strict_json import read_json

if TYPE_CHECKING:
    from pathlib import Path

_logger = logging.getLogger(__name__)


def recent_profiles_path() -> Path:
    """Return the file that remembers profiles, in the person's state folder."""
    from platformdirs import user_state_path

    return user_state_path("napari-spa") / "profiles.json"


def recent_profile(model: str, path: Path | None = None) -> str:
    """Return the profile that was used last with a model.

    Parameters
    ----------
    model : str
        The model's name or path, as in the settings.
    path : Path or None
        The file; :func:`recent_profiles_path` by default.

    Returns
    -------
    str
        Path of the profile; empty for none, or when nothing is known.
    """
    return _read(path or recent_profiles_path()).get(model, "")


def remember_profile(model: str, profile: str, path: Path | None = None) -> None:
    """Remember a model's profile; what cannot be remembered is no reason to fail.

    Parameters
    ----------
    model : str
        The model's name or path, as in the settings.
    profile : str
        Path of the profile; empty for none.
    path : Path or None
        The file; :func:`recent_profiles_path` by default.
    """
    path = path or recent_profiles_path()
    known = _read(path)
    if known.get(model, "") == profile:
        return
    content = {"version": 1, "profiles": {**known, model: profile}}
    try:
        with atomic_path(path, sync=False) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    except DataError as error:
        _logger.info("%s", error)


def _read(path: Path) -> dict[str, str]:
    try:
        known = read_json(path)["profiles"]
        return {str(model): str(profile) for model, profile in known.items()}
    except FileNotFoundError:
        return {}
    except (OSError, DataError, ValueError, TypeError, KeyError, AttributeError) as error:
        _logger.info("%s is passed over: %s", path, error)
        return {}

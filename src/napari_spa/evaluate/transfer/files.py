"""What a transfer experiment gives, and where it is kept while it goes on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from napari_spa.errors import DataError, InputError
from napari_spa.io.files import atomic_path
from napari_spa.io.profiles.profile import PreferenceProfile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class TransferRow:
    """A first round on an image that no profile has seen."""

    image: str  # name of the case
    target: int  # number of the object in its image
    order: int  # 1, 2,
    images: int  # so many images taught the profile; 0 without one
    teacher: str  # the rater who taught it; empty without one
    user: str  # the rater with whom it is compared
    dice: float  # of the recommended mask with the user's own


@dataclass(frozen=True, slots=True)
class Agreement:
    """Dice between two raters' masks of one target."""

    image: str
    target: int
    first: str
    second: str
    dice: float


@dataclass(frozen=True, slots=True)
class Tested:
    """All first rounds on one image in one order."""

    rows: tuple[TransferRow, ...]
    agreements: tuple[Agreement, ...]


class TransferFiles:
    """Profiles and tested images on disk, each whole or not there."""

    def __init__(self, folder: Path | None, plan: Mapping[str, object]) -> None:
        self._folder = folder
        if folder is None:
            return
        text, path = json.dumps(plan, indent=1), folder / "plan.json"
        known = _read(path)
        if known is not None and known != text:
            raise InputError(
                f"{folder} holds a transfer experiment with other settings; "
                "choose another folder, or delete it."
            )
        if known is None:
            _write(path, text)

    def profile(self, order: int, rater: str, images: int) -> PreferenceProfile | None:
        """Return a rater's profile after so many images of an order, if it is known."""
        path = self._profile_path(order, rater, images)
        return PreferenceProfile.load(path) if path is not None and path.exists() else None

    def keep_profile(self, order: int, rater: str, images: int, profile: PreferenceProfile) -> None:
        """Keep a profile."""
        path = self._profile_path(order, rater, images)
        if path is not None:
            profile.save(path)

    def tested(self, order: int, name: str) -> Tested | None:
        """Return the first rounds on an image, if they are known."""
        path = self._tested_path(order, name)
        text = None if path is None else _read(path)
        if text is None:
            return None
        content = json.loads(text)
        return Tested(
            tuple(TransferRow(**row) for row in content["rows"]),
            tuple(Agreement(**pair) for pair in content["agreements"]),
        )

    def keep_tested(self, order: int, name: str, tested: Tested) -> None:
        """Keep the first rounds on an image."""
        path = self._tested_path(order, name)
        if path is not None:
            _write(path, json.dumps(asdict(tested)))

    def _profile_path(self, order: int, rater: str, images: int) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / f"order-{order}" / quote(rater, safe=" ") / f"after-{images}.json"

    def _tested_path(self, order: int, name: str) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / f"order-{order}" / f"{quote(name, safe=' ')}.tested.json"


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")

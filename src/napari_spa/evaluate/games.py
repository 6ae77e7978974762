"""Games that were played, and where they are kept so that a stopped evaluation goes on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from napari_spa.errors import DataError, InputError
from napari_spa.evaluate.measures import RaterRow, Row
from napari_spa.io.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_spa.evaluate.statistics import Seat


@dataclass(frozen=True, slots=True)
class Played:
    """The rows of some games."""

    rows: list[Row]  # one for each image, object, target, method, user, way of clicking, and round
    agreement: list[RaterRow]  # the same for each rater

    @classmethod
    def joined(cls, parts: Sequence[Played]) -> Played:
        """Return the rows of all parts, in their order."""
        rows = [row for part in parts for row in part.rows]
        return cls(rows, [row for part in parts for row in part.agreement])


class GameFiles:
    """One method's and user's games on disk: a file for each image, whole or not there."""

    def __init__(self, folder: Path | None, seat: Seat, plan: Mapping[str, object]) -> None:
        self._folder: Path | None = None
        self._plan: Mapping[str, object] = json.loads(json.dumps(plan))
        if folder is None:
            return
        self._folder = folder / "games" / f"{seat.method}_{seat.user}_{seat.clicks}"
        kept = _read(self._folder / "plan.json")
        if kept is not None and kept != self._plan:
            other = [key for key, value in self._plan.items() if kept.get(key) != value]
            raise InputError(
                f"{folder} holds games of {seat.method} with another {' and '.join(other)}; "
                "choose another folder for the report, or delete its folder 'games'."
            )

    def read(self, name: str) -> Played | None:
        """Return an image's games, where they were played."""
        if self._folder is None:
            return None
        path = self._path(name)
        content = _read(path)
        if content is None:
            return None
        try:
            return Played(
                [Row(**row) for row in content["rows"]],
                [RaterRow(**row) for row in content["agreement"]],
            )
        except (KeyError, TypeError) as error:
            raise DataError(f"{path} is damaged; delete it to play that image again.") from error

    def keep(self, name: str, played: Played) -> None:
        """Write an image's games."""
        if self._folder is None:
            return
        if not (self._folder / "plan.json").exists():
            _write(self._folder / "plan.json", self._plan)
        _write(self._path(name), asdict(played))

    def _path(self, name: str) -> Path:
        if self._folder is None:
            raise RuntimeError("nothing is kept")
        return self._folder / f"{quote(name, safe=' ')}.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); delete it to do it again.") from error
    return content


def _write(path: Path, content: object) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")

"""A decision log that is written at once, whole or not at all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from napari_spa.io.files import atomic_path
from napari_spa.refine.log.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


class LogText:
    """Keep the records of a journal until they are saved.

    Attributes
    ----------
    journal : Journal
        Writes into it.
    """

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self.journal = Journal(self)

    def append(self, record: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        """Keep one record after all before it."""
        content = record() if callable(record) else record
        line = json.dumps(content, ensure_ascii=False, allow_nan=False)
        # Half a character, as in a name that is not UTF-8, becomes the escape JSON has for it.
        self._lines.append(line.encode("utf-8", "backslashreplace") + b"\n")

    def save(self, path: Path) -> None:
        """Close the journal and write it, synced.

        Parameters
        ----------
        path : Path
            The log.

        Raises
        ------
        DataError
            When it cannot be written.
        """
        self.journal.note("closed")
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"".join(self._lines))

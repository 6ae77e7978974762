"""What is remembered between sessions: in napari's Preferences, or in a file of our own.

napari 0.9 shows what the manifest lists under ``configurations`` in its Preferences and
keeps it.  Where that is not offered, a JSON file in the user's configuration folder holds
the same groups and entries.  Everything here belongs to the main thread.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import platformdirs
from psygnal import Signal

from napari_spa.errors import DataError
from napari_spa.io.files import atomic_path
from napari_spa.io.strict_json import JsonError, read_json
from napari_spa.viewer.actions import ACT_TITLES, DEFAULT_KEYS
from napari_spa.viewer.settings_values import (
    KEYS,
    RULES,
    Entries,
    Settings,
    changed_entries,
    read_entries,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from qtpy.QtCore import QTimer

__all__ = ["ACT_TITLES", "DEFAULT_KEYS", "Settings", "SettingsStore"]

PLUGIN = "napari-spa"
_LARGEST_FILE = 2**20
_TYPING_MS = 400  # napari reports every letter typed in its Preferences
_log = logging.getLogger(__name__)


class SettingsStore:
    """Read and write the settings, and tell when they change.

    Parameters
    ----------
    path : Path, optional
        The file used where napari keeps no settings for plugins; by default
        ``settings.json`` in the user's configuration folder.

    Attributes
    ----------
    changed : Signal(Settings)
        The new settings, after :meth:`save` changed one or, where napari offers events, a
        moment after the person changed one in the Preferences.
    problems : tuple of str
        One sentence for each value that could not be used when last read.
    """

    changed = Signal(Settings)

    def __init__(self, path: Path | None = None) -> None:
        folder = platformdirs.user_config_path(PLUGIN, appauthor=False)
        self._path = path or folder / "settings.json"
        self.problems: tuple[str, ...] = ()
        self._logged: set[str] = set()
        self._model: Any = None  # napari's; None while the file is used
        self._source: Any = None  # its event, once we listen
        self._timer: QTimer | None = None
        self._saving = self._closed = False
        self._known = self.load()  # what listeners know

    @property
    def in_preferences(self) -> bool:
        """Whether napari's Preferences show these settings."""
        return self._model is not None

    def load(self) -> Settings:
        """Read the settings; never raises.

        Returns
        -------
        Settings
            With the default wherever a value, or the whole file, is damaged; each such
            place is logged once and described in :attr:`problems`.
        """
        problems: list[str] = []
        settings, damaged = read_entries(self._read(problems))
        self.problems = (*problems, *damaged)
        for problem in self.problems:
            if problem not in self._logged:
                self._logged.add(problem)
                _log.warning("%s", problem)
        return settings

    def save(self, **changes: object) -> Settings:
        """Change settings and keep them.

        Parameters
        ----------
        **changes : object
            New values by the names of :class:`Settings`.  ``keys`` may list some acts only;
            the others keep theirs.

        Returns
        -------
        Settings
            The settings now.

        Raises
        ------
        InputError
            When a setting does not exist or a value cannot be used; nothing is changed then.
        DataError
            When the settings cannot be written; they hold for this session all the same
            where napari keeps them.
        """
        entries = changed_entries(changes, self.load())
        self._saving = True
        try:
            if self._model is None:
                _write_file(self._path, entries)
            else:
                _write_model(self._model, entries)
        finally:
            self._saving = False
            self._announce()
        return self._known

    def close(self) -> None:
        """Let go of napari's events and of every listener; may be called twice."""
        self._closed = True
        if self._timer is not None:
            self._timer.stop()
        self._follow(self._model)
        self.changed.disconnect()

    def _read(self, problems: list[str]) -> Mapping[str, object]:
        """Return the values by group and entry, from napari or from the file."""
        model = _napari_model(problems)
        self._follow(model)
        if model is None:
            return _read_file(self._path, problems)
        return {group: getattr(model, group).model_dump() for group in _groups()}

    def _follow(self, model: Any) -> None:
        """Listen to napari's settings, which it makes anew when plugins change."""
        self._model = model
        source = None if self._closed or model is None else model.events.changed
        if source is self._source:
            return
        if self._source is not None:
            self._source.disconnect(self._on_changed)
        if source is not None:
            source.connect(self._on_changed)
        self._source = source

    def _on_changed(self, _: object) -> None:
        """Wait until the person stops typing: half a word is no model's name."""
        from qtpy.QtCore import QCoreApplication, QTimer

        if self._saving:
            return
        if QCoreApplication.instance() is None:
            self._announce()
            return
        if self._timer is None:
            self._timer = QTimer()
            self._timer.setSingleShot(True)
            self._timer.setInterval(_TYPING_MS)
            self._timer.timeout.connect(self._announce)
        self._timer.start()

    def _announce(self) -> None:
        before, self._known = self._known, self.load()
        if self._known != before and not self._closed:
            self.changed.emit(self._known)


# ---------------------------------------------------------------------- where they are kept


def _groups() -> dict[str, list[str]]:
    """Return the entries of each group, as the manifest must have them."""
    groups: dict[str, list[str]] = {}
    for rule in RULES.values():
        groups.setdefault(rule.group, []).append(rule.entry)
    return {**groups, KEYS: list(DEFAULT_KEYS)}


def _napari_model(problems: list[str]) -> Any:
    """Return napari's settings of this plugin, or None where it has none."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:  # before napari 0.9
        return None
    try:
        model = get_plugin_settings(PLUGIN)
    except KeyError:  # the plugin is switched off, or npe2 knows no `configurations`
        return None
    except Exception as error:  # noqa: BLE001  it reads files and environment: anything may come
        reason = " ".join(str(error).split())  # in one line
        problems.append(f"napari cannot read its settings for plugins: {reason:.200}.")
        return None
    complete = all(
        hasattr(getattr(model, group, None), entry)
        for group, entries in _groups().items()
        for entry in entries
    )
    return model if complete else None  # an older manifest is installed


def _write_model(model: Any, entries: Entries) -> None:
    try:
        for group, values in entries.items():
            for entry, value in values.items():
                setattr(getattr(model, group), entry, value)
    except OSError as error:
        raise DataError(f"cannot write the settings: {error.strerror or error}.") from error


def _read_file(path: Path, problems: list[str]) -> Mapping[str, object]:
    try:
        content = read_json(path, largest=_LARGEST_FILE)
    except FileNotFoundError:
        return {}
    except (OSError, DataError, JsonError):
        content = None
    if isinstance(content, dict):
        return content
    problems.append(f"the settings in {path} cannot be read; the defaults are used.")
    return {}


def _write_file(path: Path, entries: Entries) -> None:
    """Change these entries; whatever a newer version has written beside them stays."""
    content = dict(_read_file(path, []))
    for group, values in entries.items():
        before = content.get(group)
        content[group] = {**(before if isinstance(before, dict) else {}), **values}
    with atomic_path(path) as temporary:
        text = json.dumps(content, indent=1, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8", newline="\n")

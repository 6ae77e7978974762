"""What the user sets in the docks, keys included: values, and checks; napari keeps them."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from psygnal import Signal

from napari_spa.errors import DataError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qtpy.QtCore import QTimer


# Title and default key of each act.  Every key is free on all of napari's layer types, on the
# viewer and in its menus.  Alt with a letter would open menus; Shift with a digit or a point
# arrives as another character; so letters carry Shift at most, and only digits carry Alt.
_ACTIONS = {
    **{f"pick_{n}": (f"Pick difference {n}", key) for n, key in enumerate("GHJK", start=1)},
    **{f"toggle_{n}": (f"Show or hide difference {n}", f"Alt+{n}") for n in range(1, 5)},
    "smaller": ("Shrink the recommended mask", ";"),
    "larger": ("Grow the recommended mask", "'"),
    "accept": ("Accept", "N"),
    "undo": ("Undo", "U"),
    "redo": ("Redo", "W"),
    "discard": ("Discard", "Q"),
    "carry_next": ("Carry to the next slice", "."),
    "carry_previous": ("Carry to the previous slice", ","),
    "propagate": ("Propagate through the stack", "Shift+N"),
    "next_object": ("Next object", "9"),
    "previous_object": ("Previous object", "8"),
    "reopen": ("Reopen the object", "Shift+U"),
    "delete_object": ("Delete the object", "Shift+Q"),
    "edit_by_hand": ("Edit the object by hand", "Shift+E"),
    "merge_objects": ("Merge with another object", "Shift+M"),
    "split_object": ("Split the object along a line", "Shift+S"),
    "next_class": ("Next class for new objects", "Shift+T"),
    "prompt_sign": ("Switch between add and remove", "Shift+X"),
    "box": ("Draw a box", "Shift+B"),
    "brush": ("Draw with the brush", "Shift+D"),
    "lasso": ("Draw a lasso or polygon", "Shift+O"),
    "side_by_side": ("Show candidates side by side", "Shift+C"),
    "hide_overlays": ("Hide overlays while held", "0"),
    "flip": ("Show the difference in place of the mask while held", "F2"),
    "hover": ("Preview under the pointer, on or off", "Shift+H"),
    "fill": ("Fill objects, or outline them", "Shift+F"),
    "export": ("Accept the current object and export", "Shift+W"),
    "help": ("Help", "F1"),
    "previous_image": ("Previous image of the folder", "Alt+8"),
    "next_image": ("Next image of the folder", "Alt+9"),
    "done_next": ("Done, and the next image", "Shift+J"),
    "skip_image": ("Skip this image", "Shift+K"),
    "flag_image": ("Flag this image", "Shift+G"),
}
ACTION_TITLES: Mapping[str, str] = MappingProxyType(
    {action: title for action, (title, _) in _ACTIONS.items()}
)
DEFAULT_KEYS: Mapping[str, str] = MappingProxyType(
    {action: key for action, (_, key) in _ACTIONS.items()}
)


def parse_key(text: object) -> str:
    """Write a key the one way it is kept and shown."""
    from app_model.types import KeyBinding  # comes with napari

    parts = KeyBinding.from_str(text).parts if isinstance(text, str) else []
    if len(parts) != 1 or parts[0].key is None or parts[0].is_modifier_key():
        raise InputError(f"{text!r:.80} is no key; write one such as G, Shift+N or Alt+1.")
    return str(parts[0])


def read_keys(entries: Mapping[str, object]) -> tuple[dict[str, str], list[str]]:
    """Make the keys of what was kept; a damaged or doubled one becomes its default."""
    keys: dict[str, str] = {}
    problems: list[str] = []
    for action, default in DEFAULT_KEYS.items():
        try:
            keys[action] = parse_key(entries.get(action, default))
        except InputError as error:
            keys[action] = default
            problems.append(f"{error} {ACTION_TITLES[action]!r} keeps {default}.")
    # Of two acts with one key, one was given it: that one goes back.  Its own default may
    # be taken by now, so look again; defaults never clash, so this ends.
    while clashing := _clashing(keys):
        action = clashing[-1]
        problems.append(
            f"{keys[action]} is the key of two actions, so "
            f"{ACTION_TITLES[action]!r} keeps {DEFAULT_KEYS[action]}."
        )
        keys[action] = DEFAULT_KEYS[action]
    return keys, problems


def _clashing(keys: Mapping[str, str]) -> list[str]:
    """Return the acts that were given a key which another one has, too."""
    times = Counter(keys.values())
    return [a for a, key in keys.items() if times[key] > 1 and key != DEFAULT_KEYS[a]]


KEYS = "keys"  # a group of the manifest, and the name in Settings

# What a text has to match that napari cannot judge: one line, of characters that can be written.
_LINE = r"[^\x00-\x1f\x7f\ud800-\udfff]"
_TEXTS = {
    "model": (re.compile(_LINE + "{1,4096}"), "a model's name or path"),
    # As io/models/load.py reads them.
    "device": (re.compile(r"auto|cpu|mps|cuda(:\d{1,4})?"), "auto, cpu, cuda, cuda:N or mps"),
    "profile": (re.compile(_LINE + "{0,4096}"), "a path or nothing"),
}


def _at(group: str, entry: str) -> dict[str, tuple[str, str]]:
    return {"place": (group, entry)}


@dataclass(frozen=True, slots=True)
class Settings:
    """What a user has chosen, at one moment; the one place that lists the defaults."""

    # Name or path of the model.
    model: str = field(default="spa-tiny", metadata=_at("model", "name"))
    # ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"mps"``.
    device: str = field(default="auto", metadata=_at("model", "device"))
    # Path of the preference profile to start with; empty for none.
    profile: str = field(default="", metadata=_at("model", "profile"))
    # Whether accepted objects teach the profile.
    teach: bool = field(default=True, metadata=_at("model", "teach"))
    # Whether an accepted object leaves earlier ones as they are or takes their pixels.
    overlap: Literal["protect", "replace"] = field(
        default="protect", metadata=_at("annotation", "overlap")
    )
    # Whether a plane is read with its own range or with the layer's contrast limits.
    contrast: Literal["automatic", "layer"] = field(
        default="automatic", metadata=_at("annotation", "contrast")
    )
    # Whether candidates are shuffled and the recommendation is hidden.
    blind: bool = field(default=False, metadata=_at("annotation", "blind"))
    # Whether the outline that a click would give is drawn under a resting pointer.
    hover: bool = field(default=True, metadata=_at("annotation", "hover"))
    # Whether the session is saved as it happens.
    autosave: bool = field(default=True, metadata=_at("annotation", "autosave"))
    # Slices to propagate at most; 0 for no limit.
    propagate_slices: int = field(default=0, metadata=_at("stack", "max_slices"))
    # In [0, 1]: a slice that is more uncertain ends the propagation.
    propagate_uncertainty: float = field(default=0.65, metadata=_at("stack", "stop_uncertainty"))
    # Size of the embedding cache in GB (10^9 bytes).
    cache_gigabytes: float = field(default=4.0, metadata=_at("cache", "gigabytes"))
    # Whether the embedding cache is on disk and outlives the session.
    cache_on_disk: bool = field(default=True, metadata=_at("cache", "on_disk"))
    # The key of each act of :data:`DEFAULT_KEYS`, such as ``"Shift+N"``; no key twice.
    keys: Mapping[str, str] = field(default_factory=lambda: DEFAULT_KEYS, hash=False)


_DEFAULTS = Settings()
PLACES: Mapping[str, tuple[str, str]] = {
    item.name: item.metadata["place"] for item in fields(Settings) if item.name != KEYS
}
"""Group and entry of each setting in the manifest; napari holds values to what it says."""
Entries = Mapping[str, Mapping[str, object]]  # values by group and entry of the manifest


def read_entries(entries: Entries) -> tuple[Settings, list[str]]:
    """Make settings of what was kept; a damaged text or key becomes its default."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, (group, entry) in PLACES.items():
        default = getattr(_DEFAULTS, name)
        try:
            values[name] = _checked(name, entries.get(group, {}).get(entry, default))
        except InputError as error:
            values[name] = default
            problems.append(f"{str(error).rstrip('.')}, so it is {default!r}.")
    keys, key_problems = read_keys(entries.get(KEYS, {}))
    return Settings(**values, keys=MappingProxyType(keys)), problems + key_problems


def changed_entries(changes: Mapping[str, object]) -> Entries:
    """Check changes and put them under the manifest's groups and entries."""
    entries: dict[str, dict[str, object]] = {}
    for name, value in changes.items():
        group, entry = PLACES[name]
        entries.setdefault(group, {})[entry] = _checked(name, value)
    return entries


def _checked(name: str, value: object) -> object:
    if name not in _TEXTS:
        return value
    pattern, wanted = _TEXTS[name]
    text = str(value).strip()
    if pattern.fullmatch(text) is None:
        raise InputError(f"the setting {name} must be {wanted}, not {value!r:.80}.")
    return text


PLUGIN = "napari-spa"
_TYPING_MS = 400  # napari reports every letter typed in its Preferences
_log = logging.getLogger(__name__)


class SettingsStore:
    """Read and write the settings, and tell when they change."""

    # The new settings, after :meth:`save` changed one or, where napari offers events, a moment
    # after the user changed one in the Preferences.
    changed = Signal(Settings)

    def __init__(self) -> None:
        self.problems: tuple[str, ...] = ()
        self._logged: set[str] = set()
        self._model: Any = None  # napari's; None where it has none for us
        self._kept: dict[str, dict[str, object]] = {}  # while it has none: until the window closes
        self._source: Any = None  # its event, once we listen
        self._timer: QTimer | None = None
        self._saving = self._closed = False
        self._known = self.load()  # what listeners know

    def load(self) -> Settings:
        """Read the settings; never raises."""
        problems: list[str] = []
        settings, damaged = read_entries(self._read(problems))
        self.problems = (*problems, *damaged)
        for problem in self.problems:
            if problem not in self._logged:
                self._logged.add(problem)
                _log.warning("%s", problem)
        return settings

    def save(self, **changes: object) -> Settings:
        """Change settings, and keep them; keys are changed in napari's Preferences alone."""
        entries = changed_entries(changes)
        self._saving = True
        try:
            if self._model is not None:
                _write_model(self._model, entries)
            for group, values in entries.items():
                self._kept.setdefault(group, {}).update(values)
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

    def _read(self, problems: list[str]) -> Entries:
        """Return the values by group and entry."""
        model = _napari_model(problems)
        self._follow(model)
        if model is None:
            return self._kept
        return {group: getattr(model, group).model_dump() for group in _groups()}

    def _follow(self, model: Any) -> None:
        """Listen to napari's settings, which it makes again when plugins change."""
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
        """Wait until the user stops typing: half a word is no model's name."""
        from napari_spa.viewer.background import later

        if self._saving:
            return
        if self._timer is None:
            self._timer = later(None, self._announce, _TYPING_MS)
        self._timer.start()

    def _announce(self) -> None:
        before, self._known = self._known, self.load()
        if self._known != before and not self._closed:
            self.changed.emit(self._known)


def _groups() -> dict[str, list[str]]:
    """Return the entries of each group, as the manifest must have them."""
    groups: dict[str, list[str]] = {}
    for group, entry in PLACES.values():
        groups.setdefault(group, []).append(entry)
    return {**groups, KEYS: list(DEFAULT_KEYS)}


def _napari_model(problems: list[str]) -> Any:
    """Return napari's settings of this plugin, or None where it has none."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError as error:
        raise DataError("napari-spa needs napari 0.9 or newer; update napari.") from error
    try:
        with _known_plugins():
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


@contextmanager
def _known_plugins() -> Iterator[None]:
    """Let napari make its settings from the manifests that it read when it started.

    It would read those of all plugins again, which takes as long as the dock takes to be made.
    """
    from npe2 import PluginManager

    manager: Any = PluginManager.instance()
    if PLUGIN not in manager:  # where no viewer was made yet, say
        yield
        return
    manager.discover = lambda *_, **__: 0
    try:
        yield
    finally:
        del manager.discover


def _write_model(model: Any, entries: Entries) -> None:
    try:
        for group, values in entries.items():
            for entry, value in values.items():
                setattr(getattr(model, group), entry, value)
    except OSError as error:
        raise DataError(f"cannot write the settings: {error.strerror or error}.") from error

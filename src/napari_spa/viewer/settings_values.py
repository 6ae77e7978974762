"""What can be set, what each setting may be, and what becomes of damaged values."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal

from napari_spa.errors import InputError
from napari_spa.viewer.actions import DEFAULT_KEYS, changed_keys, read_keys

KEYS = "keys"  # a group of the manifest, and the name in Settings
_LONGEST_TEXT = 4096
_UNKEEPABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # line breaks, halves of characters
_DEVICES = re.compile(r"auto|cpu|mps|cuda(:\d{1,4})?")  # as io/models/devices.py reads them


@dataclass(frozen=True, slots=True)
class Rule:
    """Where a setting stands in the manifest, and what it may be.

    Attributes
    ----------
    group, entry : str
        Its keys under ``configurations``.
    choices : tuple of str
        The texts allowed; empty for any.
    pattern : Pattern or None
        What the whole text must match.
    wanted : str
        The text that is wanted, in words.
    empty : bool
        Whether a text may be empty.
    minimum, maximum : float
        The range of a number, ends included.
    """

    group: str
    entry: str
    choices: tuple[str, ...] = ()
    pattern: re.Pattern[str] | None = None
    wanted: str = "text in one line"
    empty: bool = False
    minimum: float = 0.0
    maximum: float = 1.0


def _rule(group: str, entry: str, **limits: Any) -> dict[str, Rule]:
    return {"rule": Rule(group, entry, **limits)}


@dataclass(frozen=True, slots=True)
class Settings:
    """What a person has chosen, at one moment; the one place that lists the defaults.

    Attributes
    ----------
    model : str
        Name or path of the model.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"mps"``.
    profile : str
        Path of the preference profile to start with; empty for none.
    overlap : {"protect", "replace"}
        Whether an accepted object leaves earlier ones as they are or takes their pixels.
    contrast : {"automatic", "layer"}
        Whether a plane is read with its own range or with the layer's contrast limits.
    blind : bool
        Whether candidates are shuffled and the recommendation is hidden.
    autosave : bool
        Whether the session is saved as it happens.
    propagate_slices : int
        Slices to propagate at most; 0 for no limit.
    propagate_uncertainty : float
        In [0, 1]: a slice that is more uncertain ends the propagation.
    cache_gigabytes : float
        Size of the embedding cache in GB (10^9 bytes).
    cache_on_disk : bool
        Whether the embedding cache is on disk and outlives the session.
    keys : mapping of str to str
        The key of each act of :data:`DEFAULT_KEYS`, such as ``"Shift+N"``; no key twice.
    """

    model: str = field(
        default="spa-tiny", metadata=_rule("model", "name", wanted="a model's name or path")
    )
    device: str = field(
        default="auto",
        metadata=_rule(
            "model", "device", pattern=_DEVICES, wanted="auto, cpu, cuda, cuda:N or mps"
        ),
    )
    profile: str = field(
        default="", metadata=_rule("model", "profile", empty=True, wanted="a path or nothing")
    )
    overlap: Literal["protect", "replace"] = field(
        default="protect", metadata=_rule("annotation", "overlap", choices=("protect", "replace"))
    )
    contrast: Literal["automatic", "layer"] = field(
        default="automatic",
        metadata=_rule("annotation", "contrast", choices=("automatic", "layer")),
    )
    blind: bool = field(default=False, metadata=_rule("annotation", "blind"))
    autosave: bool = field(default=True, metadata=_rule("annotation", "autosave"))
    propagate_slices: int = field(default=0, metadata=_rule("stack", "max_slices", maximum=100_000))
    propagate_uncertainty: float = field(default=0.4, metadata=_rule("stack", "stop_uncertainty"))
    cache_gigabytes: float = field(
        default=4.0, metadata=_rule("cache", "gigabytes", minimum=0.1, maximum=10_000)
    )
    cache_on_disk: bool = field(default=True, metadata=_rule("cache", "on_disk"))
    keys: Mapping[str, str] = field(default_factory=lambda: DEFAULT_KEYS, hash=False)


_DEFAULTS = Settings()
RULES: Mapping[str, Rule] = {
    item.name: item.metadata["rule"] for item in fields(Settings) if item.name != KEYS
}
Entries = Mapping[str, Mapping[str, object]]  # values by group and entry of the manifest


def read_entries(entries: Mapping[str, object]) -> tuple[Settings, list[str]]:
    """Make settings of what was kept; a damaged value becomes its default.

    Parameters
    ----------
    entries : mapping
        Values by group and entry; any part may be missing or of any type.

    Returns
    -------
    Settings
    list of str
        One sentence for each damaged value.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, rule in RULES.items():
        default = getattr(_DEFAULTS, name)
        try:
            values[name] = _checked(name, _group(entries, rule.group).get(rule.entry, default))
        except InputError as error:
            values[name] = default
            problems.append(f"{str(error).rstrip('.')}, so it is {default!r}.")
    keys, key_problems = read_keys(_group(entries, KEYS))
    return Settings(**values, keys=MappingProxyType(keys)), problems + key_problems


def changed_entries(changes: Mapping[str, object], now: Settings) -> Entries:
    """Check changes and put them under the manifest's groups and entries.

    Parameters
    ----------
    changes : mapping of str to object
        New values by the names of :class:`Settings`; ``keys`` may hold some acts only.
    now : Settings
        The settings before.

    Returns
    -------
    mapping of str to mapping of str to object

    Raises
    ------
    InputError
        When there is no such setting or act, or a value cannot be used.
    """
    entries: dict[str, dict[str, object]] = {}
    for name, value in changes.items():
        if name == KEYS:
            entries[KEYS] = {**changed_keys(value, now.keys)}
            continue
        if name not in RULES:
            raise InputError(f"there is no setting {name!r:.80}.")
        rule = RULES[name]
        entries.setdefault(rule.group, {})[rule.entry] = _checked(name, value)
    return entries


def _group(entries: Mapping[str, object], name: str) -> Mapping[str, object]:
    group = entries.get(name)
    return group if isinstance(group, Mapping) else {}


def _checked(name: str, value: object) -> object:
    rule, default = RULES[name], getattr(_DEFAULTS, name)
    if isinstance(default, str):
        return _checked_text(name, rule, value)
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
        raise InputError(f"the setting {name} must be true or false, not {value!r:.80}.")
    kind = type(default)
    # NaN is in no range; an integer too large for a float can be compared all the same.
    if (
        isinstance(value, int if kind is int else (int, float))
        and not isinstance(value, bool)
        and rule.minimum <= value <= rule.maximum
    ):
        return kind(value)
    number = "a whole number" if kind is int else "a number"
    raise InputError(
        f"the setting {name} must be {number} from {rule.minimum:g} to {rule.maximum:g}, "
        f"not {value!r:.80}."
    )


def _checked_text(name: str, rule: Rule, value: object) -> str:
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if isinstance(text, str):
        text = text.strip()
        if (
            len(text) <= _LONGEST_TEXT
            and not _UNKEEPABLE.search(text)
            and (rule.empty or text)
            and (not rule.choices or text in rule.choices)
            and (rule.pattern is None or rule.pattern.fullmatch(text))
        ):
            return text
    wanted = " or ".join(rule.choices) or rule.wanted
    raise InputError(f"the setting {name} must be {wanted}, not {value!r:.80}.")

"""The acts that have a key, their default keys, and what a key may be."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from napari_spa.errors import InputError

# Title and default key of each act.  Every key is free on all of napari's layer types, on the
# viewer and in its menus.  Alt with a letter would open menus; Shift with a digit or a point
# arrives as another character; so letters carry Shift at most, and only digits carry Alt.
_ACTIONS = {
    "pick_1": ("Pick difference 1", "G"),
    "pick_2": ("Pick difference 2", "H"),
    "pick_3": ("Pick difference 3", "J"),
    "pick_4": ("Pick difference 4", "K"),
    "toggle_1": ("Show or hide difference 1", "Alt+1"),
    "toggle_2": ("Show or hide difference 2", "Alt+2"),
    "toggle_3": ("Show or hide difference 3", "Alt+3"),
    "toggle_4": ("Show or hide difference 4", "Alt+4"),
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


def changed_keys(value: object, now: Mapping[str, str]) -> dict[str, str]:
    """Check new keys for some acts beside the keys of the others."""
    if not isinstance(value, Mapping):
        raise InputError(f"the setting keys must be keys by act, not {value!r:.80}.")
    keys = dict(now)
    for action, text in value.items():
        if action not in DEFAULT_KEYS:
            raise InputError(f"there is no act {action!r:.80} that could have a key.")
        keys[action] = parse_key(text)
    clash = _find_clash(keys)
    if clash is not None:
        one, other = (ACTION_TITLES[action] for action in clash)
        raise InputError(f"{keys[clash[0]]} cannot be the key of both {one!r} and {other!r}.")
    return {action: keys[action] for action in value}


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
    while (clash := _find_clash(keys)) is not None:
        action = next(a for a in reversed(clash) if keys[a] != DEFAULT_KEYS[a])
        problems.append(
            f"{keys[action]} is the key of two actions, so "
            f"{ACTION_TITLES[action]!r} keeps {DEFAULT_KEYS[action]}."
        )
        keys[action] = DEFAULT_KEYS[action]
    return keys, problems


def _find_clash(keys: Mapping[str, str]) -> tuple[str, str] | None:
    seen: dict[str, str] = {}
    for action, key in keys.items():
        if key in seen:
            return seen[key], action
        seen[key] = action
    return None

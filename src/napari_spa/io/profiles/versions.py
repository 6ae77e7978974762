"""The versions of a profile's file: what each holds, and the step from one to the next.

A file is checked against the version it claims to have, then taken forward one step at a
time, so a new version needs one entry in each table here and nothing else: its names, and
how the version before becomes it.  Steps are never edited once they were released.

======= ==============================================================================
1       name, task, picks, images, model, mixture
2       and objects, log_growth: how much larger than the model one draws
3       and taught: picks by image, so that an image counts once however often it is opened
======= ==============================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_spa.errors import ProfileError
from napari_spa.io.strict_json import JsonError, parse_json

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    Content = Mapping[str, object]

SCHEMA = "napari-spa profile"

_FIRST = frozenset({"schema", "version", "name", "task", "model", "picks", "images", "mixture"})
_SECOND = _FIRST | {"objects", "log_growth"}
_NAMES: dict[int, frozenset[str]] = {1: _FIRST, 2: _SECOND, 3: _SECOND | {"taught"}}
VERSION = max(_NAMES)


def _count_objects(content: Content) -> Content:
    """Version 1 did not note how large objects were drawn: nothing is known of it."""
    return {**content, "objects": 0, "log_growth": 0.0}


def _name_images(content: Content) -> Content:
    """Version 2 did not note which images taught it: each counts again when it is opened."""
    return {**content, "taught": {}}


_STEPS: dict[int, Callable[[Content], Content]] = {1: _count_objects, 2: _name_images}


def read_content(text: str) -> Content:
    """Read a profile's text of any version as one of the present version.

    Parameters
    ----------
    text : str
        Content of a file.

    Returns
    -------
    mapping
        With exactly the names of the present version; values are not checked.

    Raises
    ------
    ProfileError
        When it is no profile, damaged, or of a newer version.
    """
    try:
        content = parse_json(text)
    except JsonError as error:
        raise ProfileError(f"it is not a napari-spa profile, or damaged: {error}.") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise ProfileError("it is not a napari-spa profile.")
    version = _version(content)
    check_names(content, _NAMES[version], "it")
    return _forward(content, version)


def check_names(content: Content, expected: Collection[str], what: str) -> None:
    """Refuse a mapping that lacks names or has others.

    Parameters
    ----------
    content : mapping
        As read.
    expected : collection of str
        Its names.
    what : str
        How the sentence names it.

    Raises
    ------
    ProfileError
        When names differ.
    """
    for verb, names in (
        ("lacks", set(expected) - content.keys()),
        ("has unknown", content.keys() - set(expected)),
    ):
        if names:
            raise ProfileError(f"{what} {verb} {min(names)!r:.80}.")


def _version(content: Content) -> int:
    version = content.get("version")
    if type(version) is int and version > VERSION:
        raise ProfileError(
            f"it has version {version}, written by a newer napari-spa; update napari-spa to use it."
        )
    if type(version) is not int or version not in _NAMES:
        raise ProfileError(f"it has the impossible version {version!r:.40}.")
    return version


def _forward(content: Content, version: int) -> Content:
    for old in range(version, VERSION):
        content = {**_STEPS[old](content), "version": old + 1}
        check_names(content, _NAMES[old + 1], "it")
    return content

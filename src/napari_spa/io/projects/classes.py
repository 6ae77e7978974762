"""The classes that objects can be of: a list with colours, and its file.

A file is a JSON object, made to be edited and passed on::

    {"kind": "napari-spa classes", "version": 1,
     "classes": [{"name": "nucleus", "colour": "#56b4e9"}, ...]}

A text file (``.txt``) with one name a line is read, too.

The order matters: the first class is 1 in a semantic export, the second 2, and so on.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_spa.core.presentation import checked_name, clean_name
from napari_spa.errors import DataError, InputError
from napari_spa.io.files import (
    JsonError,
    explained,
    parse_json,
    read_object,
    read_small,
    write_text,
)
from napari_spa.io.projects.paths import LOG_SUFFIX, NOTES_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FILE_NAME = "classes.json"
KIND, VERSION = "napari-spa classes", 1
MOST = 255  # a semantic export holds them in one byte

# Okabe and Ito's, told apart with any kind of colour vision.
_COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#d55e00", "#0072b2", "#999999")
_COLOUR = re.compile(r"#[0-9a-f]{6}")


@dataclass(frozen=True, slots=True)
class ObjectClass:
    """A class of objects."""

    name: str  # one line, not empty
    colour: str  # "#rrggbb"

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Its colour, 0 to 255."""
        red, green, blue = bytes.fromhex(self.colour[1:])
        return red, green, blue


@dataclass(frozen=True, slots=True)
class ObjectNote:
    """What a user said of an object."""

    name: str = ""  # what it is called
    class_name: str = ""  # of which class it is; empty for none


def make_class(
    name: object, colour: object = None, *, among: Sequence[ObjectClass] = ()
) -> ObjectClass:
    """Make a class that may join others."""
    kept = checked_name(name) if isinstance(name, str) else ""
    if not kept:
        raise InputError("a class needs a name.")
    same = next((o.name for o in among if o.name.casefold() == kept.casefold()), "")
    if same:
        raise InputError(f"there is a class {same} already; choose another name.")
    if len(among) >= MOST:
        raise InputError(f"there can be at most {MOST} classes.")
    if colour is None:
        used = {other.colour for other in among}
        free = [c for c in _COLOURS if c not in used]
        colour = free[0] if free else _COLOURS[len(among) % len(_COLOURS)]
    if not (isinstance(colour, str) and _COLOUR.fullmatch(colour.lower())):
        raise InputError(f"the colour of {kept} is written #rrggbb, not {colour!r:.40}.")
    return ObjectClass(kept, colour.lower())


def with_unknown(classes: Sequence[ObjectClass], names: Iterable[str]) -> tuple[ObjectClass, ...]:
    """Return the classes with those that objects are of and no one listed."""
    known = list(classes)
    for name in sorted({name for name in names if name}, key=str.casefold):
        if all(name.casefold() != one.name.casefold() for one in known):
            known.append(make_class(name, among=known))
    return tuple(known)


def class_values(classes: Sequence[ObjectClass]) -> dict[str, int]:
    """Return the number of each class in a semantic export."""
    return {one.name: number for number, one in enumerate(classes, start=1)}


def read_classes(path: Path) -> tuple[ObjectClass, ...]:
    """Read a list of classes; ``DataError`` when it is none."""
    content = _content(path)
    found = content.get("classes") if isinstance(content, dict) else None
    if not isinstance(content, dict) or content.get("kind") != KIND or not isinstance(found, list):
        raise DataError(
            f"{path} is no list of classes; choose a .txt file with one name a line, or a file "
            "that Export… wrote."
        )
    if content.get("version") != VERSION:
        raise DataError(f"{path} was written by a newer napari-spa; update napari-spa.")
    classes: list[ObjectClass] = []
    try:
        for one in found:
            entry = one if isinstance(one, dict) else {}
            classes.append(make_class(entry.get("name"), entry.get("colour"), among=classes))
    except InputError as error:
        raise DataError(f"{path} cannot be used: {error}") from error
    return tuple(classes)


def _content(path: Path) -> object:
    """Return what a file holds; the names in one of text as a file of ours has them."""
    with explained("read", path):
        data = read_small(path)
    try:
        return parse_json(data)
    except JsonError:
        text = path.suffix.lower() == ".txt"
    try:
        names = data.decode("utf-8-sig").splitlines() if text else []
    except UnicodeDecodeError:
        names = []
    listed = [{"name": name} for name in names if name.strip()]
    return {"kind": KIND, "version": VERSION, "classes": listed} if listed else None


def write_classes(
    path: Path, classes: Sequence[ObjectClass], *, within: Path | None = None
) -> None:
    """Write a list of classes over what is there."""
    listed = [{"name": one.name, "colour": one.colour} for one in classes]
    _write(path, {"kind": KIND, "version": VERSION, "classes": listed}, within)


_NOTES_KIND = "napari-spa objects"


def write_notes(path: Path, notes: Mapping[int, ObjectNote], *, within: Path | None = None) -> None:
    """Write what was said of the objects of an image; no file where nothing was."""
    said = {
        str(number): {"name": note.name, "class": note.class_name}
        for number, note in sorted(notes.items())
        if note.name or note.class_name
    }
    if said:
        _write(path, {"kind": _NOTES_KIND, "version": VERSION, "objects": said}, within)
    else:
        path.unlink(missing_ok=True)


def read_notes(path: Path) -> dict[int, ObjectNote]:
    """Read what was said of the objects of an image; what makes no sense was not said."""
    content = read_object(path)
    objects = content.get("objects") if content.get("kind") == _NOTES_KIND else None
    notes: dict[int, ObjectNote] = {}
    for number, said in objects.items() if isinstance(objects, dict) else ():
        if isinstance(said, dict) and number.isdecimal() and len(number) <= 10:
            notes[int(number)] = ObjectNote(_text(said.get("name")), _text(said.get("class")))
    return notes


def count_of_class(folder: Path, class_name: str, *, but: Path) -> dict[str, int]:
    """Count a class' objects on the images of a project that have any; ``but`` is one's log."""
    found = {}
    for path in sorted(folder.rglob(f"*{NOTES_SUFFIX}")):
        image = str(path).removesuffix(NOTES_SUFFIX)
        count = sum(note.class_name == class_name for note in read_notes(path).values())
        if count and image + LOG_SUFFIX != str(but):
            found[Path(image).relative_to(folder).as_posix()] = count
    return found


def noted(row: Mapping[str, Any], notes: Mapping[int, ObjectNote]) -> dict[str, Any]:
    """Return a row of measures with the class and name of its object; as it is without notes."""
    note = notes.get(int(row["object"]))
    return dict(row) if note is None else {"class": note.class_name, "name": note.name, **row}


def _text(value: object) -> str:
    return clean_name(value) if isinstance(value, str) else ""


def _write(path: Path, content: dict[str, Any], within: Path | None) -> None:
    write_text(path, json.dumps(content, indent=1) + "\n", within=within)

"""Which images a batch does, with which prompts or masks; nothing is written here."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from napari_spa.batch.task import BatchTask
from napari_spa.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from napari_spa.batch.task import BatchRecipe, Source
    from napari_spa.io.images.listing import ImageEntry

_SHOWN = 3
"""So many names are said of many."""


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """What a batch is to do.

    Attributes
    ----------
    source, out : Path
        Folders of images and of results; absolute.
    recipe : BatchRecipe
        What is the same for all images.
    tasks : tuple of BatchTask
        The images, in natural order.
    notes : tuple of str
        What a person should know before: a sentence each.
    """

    source: Path
    out: Path
    recipe: BatchRecipe
    tasks: tuple[BatchTask, ...]
    notes: tuple[str, ...] = ()


def make_plan(
    source: Path,
    out: Path,
    recipe: BatchRecipe,
    *,
    prompts: Path | None = None,
    masks: Path | None = None,
    auto: bool = False,
    names: Collection[str] | None = None,
    recursive: bool = False,
) -> BatchPlan:
    """Match the images of a folder with their prompts or masks.

    Parameters
    ----------
    source : Path
        Folder of images.
    out : Path
        Folder for the results; not in ``source``.
    recipe : BatchRecipe
        Its ``source`` is set to what is given here.
    prompts : Path or None
        Table of points.
    masks : Path or None
        Folder of rough masks, named as the images; their extension may be another one.
    auto : bool
        Find objects without either.
    names : collection of str or None
        Only these images.
    recursive : bool
        Look into folders inside ``source``.

    Returns
    -------
    BatchPlan

    Raises
    ------
    InputError
        When a folder cannot be used, not exactly one of the three ways is given, or there is
        nothing to do.
    """
    from napari_spa.io.images.listing import list_images

    if (prompts is not None) + (masks is not None) + bool(auto) != 1:
        raise InputError("say where objects come from: a table of prompts, masks, or auto.")
    source, out = _check_folders(source, out, masks)
    entries = list_images(source, recursive=recursive)
    if not entries:
        raise InputError(f"there is no image in {source}.")
    notes: list[str] = []
    kind: Source = "auto"
    if prompts is not None:
        kind, tasks = "prompts", _with_prompts(entries, prompts, notes)
    elif masks is not None:
        kind, tasks = "masks", _with_masks(entries, masks, notes, recursive=recursive)
    else:
        tasks = [BatchTask(entry.name, entry.path) for entry in entries]
    if names is not None:
        tasks = [task for task in tasks if task.name in set(names)]
    if not tasks:
        raise InputError(notes[0] if notes else f"none of the images is in {source}.")
    return BatchPlan(source, out, replace(recipe, source=kind), tuple(tasks), tuple(notes))


def _check_folders(source: Path, out: Path, masks: Path | None) -> tuple[Path, Path]:
    if not source.is_dir():
        raise InputError(f"{source} is not a folder.")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; choose a folder for the results.")
    if _inside(out, source):
        raise InputError(f"the results would lie in {source}; choose a folder beside it.")
    if masks is not None and not masks.is_dir():
        raise InputError(f"{masks} is not a folder.")
    if masks is not None and (_inside(out, masks) or _inside(masks, out)):
        raise InputError(f"the results would lie with the masks in {masks}; choose another folder.")
    return source.resolve(), out.resolve()


def _inside(inner: Path, outer: Path) -> bool:
    """Tell whether a folder is another or in it, by any name it may go by."""
    inner, outer = inner.resolve(), outer.resolve()
    return any(
        folder == outer or (folder.exists() and outer.exists() and folder.samefile(outer))
        for folder in (inner, *inner.parents)
    )


def _with_prompts(entries: Sequence[ImageEntry], table: Path, notes: list[str]) -> list[BatchTask]:
    from napari_spa.batch.prompts_csv import read_prompts

    prompts = read_prompts(table)
    there = {entry.name for entry in entries}
    missing = [name for name in prompts if name not in there]
    if missing:
        notes.append(f"{table.name} asks for what is not there: {_few(missing, _guess(there))}.")
    without = [entry.name for entry in entries if entry.name not in prompts]
    if without:
        notes.append(f"{table.name} asks nothing of: {_few(without)}.")
    return [
        BatchTask(entry.name, entry.path, prompts=prompts[entry.name])
        for entry in entries
        if entry.name in prompts
    ]


def _with_masks(
    entries: Sequence[ImageEntry], folder: Path, notes: list[str], *, recursive: bool
) -> list[BatchTask]:
    from napari_spa.io.images.listing import list_images

    masks = {entry.name: entry.path for entry in list_images(folder, recursive=recursive)}
    exactly = {
        entry.name: name
        for entry in entries
        for name in (f"{entry.name}.tif", entry.name)
        if name in masks
    }
    used = set(exactly.values())
    stems: dict[str, list[str]] = defaultdict(list)
    for name in masks.keys() - used:
        stems[_stem(name)].append(name)
    shared = _more_than_once(_stem(entry.name) for entry in entries)
    tasks, without, unclear = [], [], []
    for entry in entries:
        exact = exactly.get(entry.name)
        others = [] if exact else stems[_stem(entry.name)]
        if others and (len(others) > 1 or _stem(entry.name) in shared):
            unclear.append(entry.name)
            used.update(others)
            continue
        found = exact or (others[0] if others else None)
        if found is None:
            without.append(entry.name)
            continue
        used.add(found)
        tasks.append(BatchTask(entry.name, entry.path, mask=masks[found].resolve()))
    if unclear:
        notes.append(
            f"which mask belongs to {_few(unclear)} is not clear; name it as the image, with "
            "the extension."
        )
    if without:
        notes.append(f"{folder.name} has no mask for: {_few(without)}.")
    loose = [name for name in masks if name not in used]
    if loose:
        notes.append(f"{folder.name} has masks of no image: {_few(loose)}.")
    return tasks


def _more_than_once(stems: Iterable[str]) -> set[str]:
    return {stem for stem, count in Counter(stems).items() if count > 1}


def _stem(name: str) -> str:
    """Return a name without its extension, double ones included."""
    path = PurePosixPath(name)
    for ending in (".ome.tif", ".ome.tiff", ".ome.zarr", ".nii.gz"):
        if path.name.lower().endswith(ending):
            return str(path.with_name(path.name[: -len(ending)] or path.name))
    return str(path.with_suffix(""))


def _guess(names: Iterable[str]) -> dict[str, str]:
    """Map stems that only one name has to that name."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        found[_stem(name)].append(name)
    return {stem: same[0] for stem, same in found.items() if len(same) == 1}


def _few(names: Sequence[str], meant: dict[str, str] | None = None) -> str:
    """Say some of many names, each with the one that may have been meant."""
    said = [
        f"{name} (is it {meant[name]}?)" if meant and name in meant else name
        for name in names[:_SHOWN]
    ]
    more = len(names) - len(said)
    return ", ".join(said) + (f" and {more} more" if more else "")

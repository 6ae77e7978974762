"""``napari-spa models``: what there is, what it is, and bringing more in."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from napari_spa.cli.console import answer, progress_bar, table
from napari_spa.io.models.download import download_model
from napari_spa.io.models.load import describe, import_model, load_model
from napari_spa.io.models.registry import ModelEntry, list_models

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path


def run_list(options: argparse.Namespace) -> int:
    """Run ``models list`` and return its exit status."""
    entries = list_models()
    rows = []
    for entry in entries:
        known = entry.known
        rows.append(
            [
                entry.name,
                "yes" if entry.path else "no",
                f"{known.megabytes} MB" if known else _size(entry.path),
                known.licence if known else "",
                entry.about,
            ]
        )
    lines = table(["name", "here", "size", "licence", "about"], rows)
    answer(options, lines, models=[_facts(entry) for entry in entries])
    return 0


def _facts(entry: ModelEntry) -> dict[str, object]:
    published = ("megabytes", "licence", "address", "digest")
    return {
        "name": entry.name,
        "kind": entry.kind,
        "path": None if entry.path is None else str(entry.path),
        "about": entry.about,
        **{name: getattr(entry.known, name, None) for name in published},
    }


def _size(path: Path | None) -> str:
    try:
        return "" if path is None else f"{path.stat().st_size / 1e6:.0f} MB"
    except OSError:
        return ""


def run_info(options: argparse.Namespace) -> int:
    """Run ``models info`` and return its exit status."""
    facts = describe(load_model(options.name, device=options.device))
    answer(options, chain(*(_lines(name, value) for name, value in facts.items())), **facts)
    return 0


def _lines(name: str, value: object) -> Iterator[str]:
    """Write a value that may hold others, one of them a line."""
    if isinstance(value, dict):
        for part, within in value.items():
            yield from _lines(f"{name}, {part}", within)
    elif isinstance(value, (list, tuple)) and not any(isinstance(v, dict) for v in value):
        yield f"{name}: {', '.join(map(str, value))}"
    elif isinstance(value, (list, tuple)):
        for number, within in enumerate(value, start=1):
            yield from _lines(f"{name}, {number}", within)
    else:
        yield f"{name}: {'unknown' if value is None else value}"


def run_download(options: argparse.Namespace) -> int:
    """Run ``models download`` and return its exit status."""
    with progress_bar(options.name) as progress:
        path = download_model(
            options.name, progress=progress, mirror=options.mirror, proxy=options.proxy
        )
    return _tell_where(options, options.name, path)


def run_import(options: argparse.Namespace) -> int:
    """Run ``models import`` and return its exit status."""
    name = options.name or options.path.stem
    return _tell_where(options, name, import_model(options.path, name))


def _tell_where(options: argparse.Namespace, name: str, path: Path) -> int:
    answer(options, [f"{name}: {path}"], name=name, path=str(path))
    return 0

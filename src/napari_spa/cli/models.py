"""``napari-spa models``: what there is, what it is, and bringing more in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_spa.cli.arguments import add_command, add_device_option
from napari_spa.cli.output import echo, echo_json, echo_table, progress_bar

if TYPE_CHECKING:
    import argparse

    from napari_spa.cli.arguments import Commands
    from napari_spa.io.models.registry import ModelEntry


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    parser = add_command(
        commands,
        "models",
        None,
        about="List models, say what one is, download one, or bring in a weights file.",
        example="napari-spa models download mobile-sam",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    add_command(
        actions,
        "list",
        run_list,
        about="List every model that can be asked for by name.",
        example="napari-spa models list",
    )
    info = add_command(
        actions,
        "info",
        run_info,
        about="Say what a model is: shape, head, digest, model card.",
        example="napari-spa models info spa-tiny",
    )
    info.add_argument(
        "name", nargs="?", default="spa-tiny", metavar="NAME|PATH", help="default: spa-tiny"
    )
    add_device_option(info)
    _add_download(actions)
    bring = add_command(
        actions,
        "import",
        run_import,
        about="Check a weights file and keep it under a name.",
        example="napari-spa models import medsam_vit_b.pth --name medsam",
    )
    bring.add_argument("path", type=Path, metavar="FILE", help="SAM, MedSAM, micro-sam or ours")
    bring.add_argument("--name", help="what to ask for it by (default: the file's name)")


def _add_download(actions: Commands) -> None:
    fetch = add_command(
        actions,
        "download",
        run_download,
        about="Download a published model, check it, and keep it under its name; run it again to "
        "go on after it was broken off.",
        example="napari-spa models download sam-vit-b",
    )
    fetch.add_argument("name", metavar="NAME", help="one of those that models list shows")
    fetch.add_argument(
        "--mirror",
        metavar="URL",
        help="take the file from this address instead of its publishers' (or $NAPARI_SPA_MIRROR)",
    )
    fetch.add_argument(
        "--proxy", metavar="URL", help="go through this proxy (or $NAPARI_SPA_PROXY, $HTTPS_PROXY)"
    )


def run_list(options: argparse.Namespace) -> int:
    """Run ``models list`` and return its exit status."""
    from napari_spa.io.models.load import list_models

    entries = list_models()
    if options.json:
        echo_json({"models": [_facts(entry) for entry in entries]})
        return 0
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
    echo_table(["name", "here", "size", "licence", "about"], rows)
    return 0


def _facts(entry: ModelEntry) -> dict[str, object]:
    known = entry.known
    return {
        "name": entry.name,
        "kind": entry.kind,
        "path": None if entry.path is None else str(entry.path),
        "about": entry.about,
        "megabytes": None if known is None else known.megabytes,
        "licence": None if known is None else known.licence,
        "address": None if known is None else known.address,
        "digest": None if known is None else known.digest,
    }


def _size(path: Path | None) -> str:
    try:
        return "" if path is None else f"{path.stat().st_size / 1e6:.0f} MB"
    except OSError:
        return ""


def run_info(options: argparse.Namespace) -> int:
    """Run ``models info`` and return its exit status."""
    from napari_spa.io.models.load import describe, load_model

    facts = describe(load_model(options.name, device=options.device))
    if options.json:
        echo_json(facts)
        return 0
    card = facts.pop("card")
    for name, value in facts.items():
        echo(f"{name}: {value}")
    for name, value in card.items() if isinstance(card, dict) else ():
        echo(f"card, {name}: {value}")
    return 0


def run_download(options: argparse.Namespace) -> int:
    """Run ``models download`` and return its exit status."""
    from napari_spa.io.models.download import download_model

    with progress_bar(options.name) as progress:
        path = download_model(
            options.name, progress=progress, mirror=options.mirror, proxy=options.proxy
        )
    if options.json:
        echo_json({"name": options.name, "path": str(path)})
    else:
        echo(f"{options.name}: {path}")
    return 0


def run_import(options: argparse.Namespace) -> int:
    """Run ``models import`` and return its exit status."""
    from napari_spa.io.models.load import import_model

    name = options.name or options.path.stem
    copy = import_model(options.path, name)
    if options.json:
        echo_json({"name": name, "path": str(copy)})
    else:
        echo(f"{name}: {copy}")
    return 0

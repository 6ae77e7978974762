"""``napari-spa models``: what there is, what it is, and bringing more in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_spa.cli.arguments import add_command, add_device_option, add_json_option
from napari_spa.cli.output import show, show_json, show_table

if TYPE_CHECKING:
    import argparse

    from napari_spa.cli.arguments import Commands


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    parser = add_command(
        commands,
        "models",
        about="List models, say what one is, or bring in a weights file.",
        example="napari-spa models import sam_vit_b_01ec64.pth --name sam-vit-b",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = add_command(
        actions,
        "list",
        about="List every model that can be asked for by name.",
        example="napari-spa models list",
    )
    add_json_option(listing)
    listing.set_defaults(run=run_list)
    info = add_command(
        actions,
        "info",
        about="Say what a model is: shape, head, digest, model card.",
        example="napari-spa models info spa-tiny",
    )
    info.add_argument(
        "name", nargs="?", default="spa-tiny", metavar="NAME|PATH", help="default: spa-tiny"
    )
    add_device_option(info)
    add_json_option(info)
    info.set_defaults(run=run_info)
    bring = add_command(
        actions,
        "import",
        about="Check a weights file and keep it under a name.",
        example="napari-spa models import medsam_vit_b.pth --name medsam",
    )
    bring.add_argument("path", type=Path, metavar="FILE", help="SAM, MedSAM, micro-sam or ours")
    bring.add_argument("--name", help="what to ask for it by (default: the file's name)")
    add_json_option(bring)
    bring.set_defaults(run=run_import)


def run_list(options: argparse.Namespace) -> int:
    """Run ``models list`` and return its exit status."""
    from napari_spa.io.models.load import list_models

    entries = list_models()
    if options.json:
        models = [
            {
                "name": entry.name,
                "kind": entry.kind,
                "path": None if entry.path is None else str(entry.path),
                "about": entry.about,
            }
            for entry in entries
        ]
        show_json({"models": models})
        return 0
    rows = [
        [entry.name, entry.kind, "ready" if entry.path else "no file here", entry.about]
        for entry in entries
    ]
    show_table(["name", "kind", "state", "about"], rows)
    return 0


def run_info(options: argparse.Namespace) -> int:
    """Run ``models info`` and return its exit status."""
    from napari_spa.io.models.load import describe, load_model

    facts = describe(load_model(options.name, device=options.device))
    if options.json:
        show_json(facts)
        return 0
    card = facts.pop("card")
    for name, value in facts.items():
        show(f"{name}: {value}")
    for name, value in card.items() if isinstance(card, dict) else ():
        show(f"card, {name}: {value}")
    return 0


def run_import(options: argparse.Namespace) -> int:
    """Run ``models import`` and return its exit status."""
    from napari_spa.io.models.load import import_model

    name = options.name or options.path.stem
    copy = import_model(options.path, name)
    if options.json:
        show_json({"name": name, "path": str(copy)})
    else:
        show(f"{name}: {copy}")
    return 0

"""``napari-spa profile``: what is known about a user, kept, compared and put together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_spa.cli.arguments import (
    add_command,
    add_device_option,
    add_json_option,
    add_model_options,
    box,
    point,
    seed,
    slice_index,
)
from napari_spa.cli.profile_diff import run_diff
from napari_spa.cli.profile_runs import (
    run_list,
    run_merge,
    run_new,
    run_rename,
    run_reset,
    run_restore,
    run_show,
)

if TYPE_CHECKING:
    from napari_spa.cli.arguments import Commands, Parser

_WHICH = "a profile's file, or its name in 'napari-spa profile list'"


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    parser = add_command(
        commands,
        "profile",
        about="List profiles, say what is in one, compare two, or put several together.",
        example="napari-spa profile diff Ana Ben fundus.png --point 620,1130 -o where.png",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = add_command(
        actions,
        "list",
        about="List your profiles, and what is in each.",
        example="napari-spa profile list",
    )
    add_json_option(listing)
    listing.set_defaults(run=run_list)
    showing = add_command(
        actions,
        "show",
        about="Say what is in a profile.",
        example="napari-spa profile show Ana",
    )
    showing.add_argument("profile", metavar="PROFILE", help=_WHICH)
    add_json_option(showing)
    showing.set_defaults(run=run_show)
    _add_changes(actions)
    _add_merge(actions)
    diff = add_command(
        actions,
        "diff",
        about="Say how two people differ, and where they would on an image.",
        example="napari-spa profile diff Ana Ben fundus.png --point 620,1130 -o where.png",
    )
    _add_diff_options(diff)
    diff.set_defaults(run=run_diff)


def _add_changes(actions: Commands) -> None:
    new = add_command(
        actions,
        "new",
        about="Make an empty profile among yours.",
        example="napari-spa profile new Ana --task 'optic cup'",
    )
    new.add_argument("name", metavar="NAME", help="what to call it")
    new.add_argument("--task", default="", help="what is outlined")
    add_model_options(new)
    add_json_option(new)
    new.set_defaults(run=run_new)
    rename = add_command(
        actions,
        "rename",
        about="Give a profile another name; its file stays where it is.",
        example="napari-spa profile rename Ana Anna --task 'optic disc'",
    )
    rename.add_argument("profile", metavar="PROFILE", help=_WHICH)
    rename.add_argument("name", metavar="NAME", help="what to call it from now on")
    rename.add_argument("--task", help="what is outlined (default: as before)")
    add_json_option(rename)
    rename.set_defaults(run=run_rename)
    reset = add_command(
        actions,
        "reset",
        about="Forget what a profile has learnt; name, task and model stay.",
        example="napari-spa profile reset Ana",
    )
    reset.add_argument("profile", metavar="PROFILE", help=_WHICH)
    add_json_option(reset)
    reset.set_defaults(run=run_reset)
    restore = add_command(
        actions,
        "restore",
        about="Bring back what was reset or deleted last under a name.",
        example="napari-spa profile restore Ana",
    )
    restore.add_argument("name", metavar="NAME", help="what it was called")
    add_json_option(restore)
    restore.set_defaults(run=run_restore)


def _add_merge(actions: Commands) -> None:
    merge = add_command(
        actions,
        "merge",
        about="Put what several profiles have learnt into one, each in proportion to its picks.",
        example="napari-spa profile merge ana.json ben.json -o both.json --name 'Ana and Ben'",
    )
    merge.add_argument("profiles", nargs="+", metavar="PROFILE", help=_WHICH)
    merge.add_argument(
        "-o", "--output", type=Path, required=True, metavar="JSON", help="the file to write"
    )
    merge.add_argument("--name", default="", help="what to call it (default: the file's name)")
    merge.add_argument("--task", default="", help="what is outlined")
    add_json_option(merge)
    merge.set_defaults(run=run_merge)


def _add_diff_options(diff: Parser) -> None:
    diff.add_argument("first", metavar="FIRST", help=_WHICH)
    diff.add_argument("second", metavar="SECOND", help="another one")
    diff.add_argument(
        "image", nargs="?", type=Path, metavar="IMAGE", help="where would they disagree on it?"
    )
    diff.add_argument(
        "--point",
        type=point,
        action="append",
        default=[],
        metavar="ROW,COL",
        help="a point on the object, rows first; again for more",
    )
    diff.add_argument(
        "--label", type=int, nargs="+", action="extend", metavar="0|1", help="for each point"
    )
    diff.add_argument("--box", type=box, metavar="R0,C0,R1,C1", help="a box around the object")
    diff.add_argument(
        "--slice", type=slice_index, metavar="Z", help="which slice of a stack; T,Z for two axes"
    )
    diff.add_argument("--seed", type=seed, default=0, help="of everything random (default: 0)")
    diff.add_argument(
        "--model", metavar="NAME|PATH", help="the model's weights (default: by the profiles' name)"
    )
    add_device_option(diff)
    diff.add_argument(
        "-o", "--output", type=Path, metavar="PNG", help="draw where they disagree into the image"
    )
    add_json_option(diff)

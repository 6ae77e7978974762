"""Parsing that the commands share."""

from __future__ import annotations

import argparse
import re
import tomllib
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from napari_spa.cli.output import CallError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_spa.evaluate.measures import Combinations

_NEGATIVE = re.compile(r"-\d[\d.,eE+-]*")


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one sentence, raised instead of printed."""

    def error(self, message: str) -> NoReturn:
        """Refuse the call."""
        raise CallError(f"{message}; see {self.prog} --help.")


def add_commands(parser: Parser) -> None:
    """Add all commands of ``commands.toml``, each with an example in its help."""
    text = resources.files("napari_spa.cli").joinpath("commands.toml").read_text("utf-8")
    table = tomllib.loads(text)
    shared = table.pop("shared")
    groups = {"": parser.add_subparsers(title="commands", metavar="COMMAND", required=True)}
    for name, facts in table.items():
        group, _, last = name.rpartition(" ")
        command = groups[group].add_parser(
            last,
            help=facts["about"],
            description=facts["about"],
            epilog=f"Example:\n  {facts['example']}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if "run" not in facts:
            groups[name] = command.add_subparsers(title="actions", metavar="ACTION", required=True)
            continue
        command.set_defaults(run=facts["run"])
        command.add_argument("--json", action="store_true", help="print one JSON object on stdout")
        listed = facts.get("arguments", ())
        arguments = [[one] if isinstance(one, dict) else shared[one] for one in listed]
        _add_arguments(command, list(chain(*arguments)), facts.get("sections", {}))


def _add_arguments(
    command: Parser, arguments: Sequence[Mapping[str, Any]], sections: Mapping[str, str]
) -> None:
    """Add arguments as the table has them."""
    holders: dict[str, argparse._ActionsContainer] = {
        name: command.add_argument_group(title) for name, title in sections.items()
    }
    for argument in arguments:
        options = dict(argument)
        names = options.pop("name")
        if "type" in options:
            options["type"] = _TYPES[options["type"]]
        if "metavar" in options and isinstance(options["metavar"], list):
            options["metavar"] = tuple(options["metavar"])
        either, section = options.pop("either", ""), options.pop("section", "")
        if either and either not in holders:
            holders[either] = command.add_mutually_exclusive_group()
        holder = holders.get(either or section, command)
        holder.add_argument(*([names] if isinstance(names, str) else names), **options)


def point(text: str) -> tuple[float, float]:
    """Parse ``ROW,COL``."""
    row, column = _numbers(text, 2, "ROW,COL, as 120,80")
    return row, column


def box(text: str) -> tuple[float, float, float, float]:
    """Parse ``R0,C0,R1,C1``."""
    row0, column0, row1, column1 = _numbers(text, 4, "R0,C0,R1,C1, as 20,30,180,200")
    return row0, column0, row1, column1


def size(text: str) -> float:
    """Parse a place on the size axis."""
    (place,) = _numbers(text, 1, "a number from -1 to 1, as 0.3")
    if not -1 <= place <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from -1 to 1, as 0.3")
    return place


def slice_index(text: str) -> tuple[int, ...]:
    """Parse the slice of a stack, ``Z`` or ``T,Z``."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, as 12") from error


def words(text: str) -> list[str]:
    """Parse words with commas between them."""
    return [word for word in text.split(",") if word]


def positive(text: str) -> int:
    """Parse a whole number above 0."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return number


def seed(text: str) -> int:
    """Parse a seed: 0 or more, and below what a log can keep."""
    if not text.isdecimal() or len(text) > 19 or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"{text!r:.40} is no whole number from 0 to 2**63 - 1")
    return int(text)


def combinations(text: str) -> Combinations:
    """Parse ``all``, ``raters`` or a number above 0."""
    if text == "all":
        return "all"
    return "raters" if text == "raters" else positive(text)


def existing_folder(text: str) -> Path:
    """Parse the path of a folder that is there."""
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a folder")
    return path


def profile(text: str) -> Path:
    """Find a user's profile by its file or its name."""
    from napari_spa.cli.profile import find_profile

    return find_profile(text)


def _numbers(text: str, count: int, form: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count:
        raise argparse.ArgumentTypeError(f"{text!r} is not {form}")
    return values


def join_negative_values(arguments: Sequence[str]) -> list[str]:
    """Write ``--point -5,3`` as ``--point=-5,3``, which argparse takes for an option else."""
    joined: list[str] = []
    for argument in arguments:
        before = joined[-1] if joined else ""
        if _NEGATIVE.fullmatch(argument) and "," in argument and re.fullmatch("--[a-z-]+", before):
            joined[-1] = f"{before}={argument}"
        else:
            joined.append(argument)
    return joined


_TYPES = {
    "path": Path,
    "int": int,
    "float": float,
    **{f.__name__: f for f in (box, combinations, existing_folder, point, positive, seed, size)},
    **{f.__name__: f for f in (profile, slice_index, words)},
}

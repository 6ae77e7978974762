"""What the commands share: how a call is parsed, and what is printed, results to stdout alone."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from napari_spa.errors import ProfileError, SpaError, printable

if TYPE_CHECKING:
    from napari_spa.evaluate.measures import Combinations
    from napari_spa.io.models.load import LoadedModel


class CallError(SpaError):
    """The command was called in a way that cannot work."""


def check_outputs(outputs: Mapping[str, Path | None], inputs: Mapping[str, Path | None]) -> None:
    """Refuse to write a file over what is read, over a folder, or over or into another output.

    What has one name in both is read and written.
    """
    taken = dict(inputs)
    for name, path in outputs.items():
        if path is None:
            continue
        if os.path.isdir(path):
            raise CallError(f"{path} is a folder; give a file name.")
        for other, there in taken.items():
            if there is None or other == name:
                continue
            if _same_file(path, there):
                raise CallError(f"the {name} would overwrite the {other}; choose another name.")
            if other in outputs and any(map(_lies_in, (path, there), (there, path))):
                raise CallError(
                    f"the {name} and the {other} cannot be in one another; choose another name."
                )
        taken[name] = path


def _same_file(first: Path, second: Path) -> bool:
    try:
        return os.path.samefile(first, second)
    except OSError:  # one is not there yet
        return os.path.realpath(first) == os.path.realpath(second)


def _lies_in(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


@contextmanager
def checking_the_call() -> Iterator[None]:
    """Count what goes wrong in the block as a wrong call, such as a folder of no data."""
    try:
        yield
    except SpaError as error:
        raise CallError(str(error)) from error


def echo_err(message: str) -> None:
    """Print a line to stderr; names in it cannot command the terminal."""
    sys.stderr.write(f"{printable(message)}\n")


def answer(options: argparse.Namespace, lines: Iterable[str], **content: object) -> None:
    """Print the result: lines for a user, or with ``--json`` the content as one object.

    Names in the lines cannot command the terminal; in JSON what is not a number becomes null.
    """
    if options.json:
        lines = [json.dumps(_plain(content), allow_nan=False)]
    for line in lines:
        sys.stdout.write(f"{printable(line)}\n")


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table with aligned columns; numbers to the right."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if cell[:1].isdigit() else cell.ljust(width)
            for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]


def model_facts(model: LoadedModel) -> dict[str, object]:
    """Say which model worked where, as every ``--json`` does."""
    identity = model.identity
    return {
        "name": identity.name,
        "sha256": identity.sha256,
        "head": identity.head,
        "device": str(model.device),
    }


_LINE_SECONDS = 60  # so often a line goes to a log that no one watches


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[float, str], None]]:
    """Show a bar on stderr to who watches, and a line a minute in a log."""
    from tqdm import tqdm

    shape = "{desc}: {percentage:3.0f}%|{bar}|"
    said = time.monotonic()
    with tqdm(total=1.0, desc=title, bar_format=shape, disable=None, leave=False) as bar:

        def update(share: float, message: str) -> None:
            nonlocal said
            if not bar.disable:
                bar.set_description(f"{title}: {message}", refresh=False)
                bar.update(max(0.0, min(share, 1.0) - bar.n))
            elif time.monotonic() - said > _LINE_SECONDS:
                said = time.monotonic()
                echo_err(message)

        yield update


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one sentence, raised instead of printed."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  argparse's own
        super().__init__(**options)
        # What looks like a number is a value and no option: with commas too, as in --point -5,3.
        self._negative_number_matcher = re.compile(r"-\d[\d.,eE+-]*$")

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
        command.set_defaults(run=facts["run"], command=command)
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


def _numbers(count: int, form: str) -> Callable[[str], tuple[float, ...]]:
    """Make a parser of numbers with commas between them."""

    def parse(text: str) -> tuple[float, ...]:
        try:
            values = tuple(float(part) for part in text.split(","))
        except ValueError:
            values = ()
        if len(values) != count:
            raise argparse.ArgumentTypeError(f"{text!r} is not {form}")
        return values

    return parse


def _size(text: str) -> float:
    """Parse a place on the size axis."""
    (place,) = _numbers(1, "a number from -1 to 1, as 0.3")(text)
    if not -1 <= place <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from -1 to 1, as 0.3")
    return place


def _whole(
    words: str, lowest: float = -math.inf, highest: float = math.inf
) -> Callable[[str], int]:
    """Make a parser of whole numbers from the lowest to the highest."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = None
        if number is None or not lowest <= number <= highest:
            raise argparse.ArgumentTypeError(f"{text!r:.40} is not a whole number{words}")
        return number

    return parse


def _slice_index(text: str) -> tuple[int, ...]:
    """Parse the slice of a stack, ``Z`` or ``T,Z``."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, as 12") from error


def _words(text: str) -> list[str]:
    """Parse words with commas between them."""
    return [word for word in text.split(",") if word]


_positive = _whole(" above 0", 1)


def _combinations(text: str) -> Combinations:
    """Parse ``all``, ``raters`` or a number above 0."""
    if text == "all":
        return "all"
    if text == "raters":
        return "raters"
    try:
        return _positive(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, nor 'all' or 'raters'") from None


def _folder(text: str) -> Path:
    """Parse the path of a folder to write into, which need not be there."""
    path = Path(text)
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a file; name a folder")
    return path


def _existing_folder(text: str) -> Path:
    """Parse the path of a folder that is there."""
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a folder")
    return path


def find_profile(name: str) -> Path:
    """Find a profile by the path of its file, or by its name among the user's own."""
    from napari_spa.io.profiles import ProfileStore

    if os.path.isfile(name):
        return Path(name)
    try:
        return ProfileStore().find(name)
    except ProfileError:
        if Path(name).suffix.lower() == ".json" or Path(name).name != name:
            raise ProfileError(f"there is no profile {name}: no file, and no name.") from None
        raise


_TYPES: dict[str, Callable[[str], object]] = {
    "box": _numbers(4, "R0,C0,R1,C1, as 20,30,180,200"),
    "combinations": _combinations,
    "existing_folder": _existing_folder,
    "float": float,
    "folder": _folder,
    "int": _whole(""),
    "path": Path,
    "point": _numbers(2, "ROW,COL, as 120,80"),
    "positive": _positive,
    "profile": find_profile,
    "seed": _whole(" from 0 to 2**63 - 1", 0, 2**63 - 1),  # what a log can keep
    "size": _size,
    "slice_index": _slice_index,
    "words": _words,
    "workers": _whole(" from 0", 0),
}

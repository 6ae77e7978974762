"""Parsing that the commands share."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from napari_spa.cli.output import CallError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Run = Callable[[argparse.Namespace], int]
    Commands = argparse._SubParsersAction["Parser"]  # noqa: SLF001  the only name there is

_NEGATIVE = re.compile(r"-\d[\d.,eE+-]*")


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one sentence, raised instead of printed."""

    def error(self, message: str) -> NoReturn:
        """Refuse the call."""
        raise CallError(f"{message}; see {self.prog} --help.")


def add_command(
    commands: Commands, name: str, run: Run | None, *, about: str, example: str
) -> Parser:
    """Add a command with an example in its help; one that runs takes ``--json``."""
    parser = commands.add_parser(
        name,
        help=about,
        description=about,
        epilog=f"Example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if run is not None:
        parser.set_defaults(run=run)
        parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    return parser


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--model`` and ``--device``."""
    parser.add_argument(
        "--model",
        default="spa-tiny",
        metavar="NAME|PATH",
        help="a name of 'napari-spa models list', or a weights file (default: spa-tiny)",
    )
    add_device_option(parser)


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)"
    )


def add_prompt_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--point``, ``--label``, ``--box``, ``--slice`` and ``--seed``."""
    parser.add_argument(
        "--point",
        type=point,
        action="append",
        default=[],
        metavar="ROW,COL",
        help="a point in pixels, rows first; again for more points",
    )
    parser.add_argument(
        "--label",
        type=int,
        nargs="+",
        action="extend",
        metavar="0|1",
        help="for each point: 1 on the object (default), 0 on the background",
    )
    parser.add_argument("--box", type=box, metavar="R0,C0,R1,C1", help="a box around the object")
    parser.add_argument(
        "--slice", type=slice_index, metavar="Z", help="which slice of a stack; T,Z for two axes"
    )
    parser.add_argument("--seed", type=seed, default=0, help="of everything random (default: 0)")


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


def existing_folder(text: str) -> Path:
    """Parse the path of a folder that is there."""
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a folder")
    return path


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

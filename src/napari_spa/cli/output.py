"""What the commands print: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_spa.errors import SpaError, printable

if TYPE_CHECKING:
    from pathlib import Path

    from napari_spa.io.models.load import LoadedModel


class CallError(SpaError):
    """The command was called in a way that cannot work."""


def check_outputs(outputs: Mapping[str, Path | None], inputs: Mapping[str, Path | None]) -> None:
    """Refuse to write a file over what is read, over a folder, or over another output."""
    wanted = {name: path for name, path in outputs.items() if path is not None}
    for number, (name, path) in enumerate(wanted.items()):
        if os.path.isdir(path):
            raise CallError(f"{path} is a folder; give a file name.")
        others = {**inputs, **dict(list(wanted.items())[:number])}
        for other, there in others.items():
            if there is not None and _same_file(path, there):
                raise CallError(f"the {name} would overwrite the {other}; choose another name.")


def _same_file(first: Path, second: Path) -> bool:
    try:
        return os.path.samefile(first, second)
    except OSError:  # one is not there yet
        return os.path.realpath(first) == os.path.realpath(second)


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


def echo(message: str) -> None:
    """Print a line of the result; names in it cannot command the terminal."""
    sys.stdout.write(f"{printable(message)}\n")


def echo_text(text: str) -> None:
    """Print a result of many lines, such as a report."""
    for line in text.splitlines():
        echo(line)


def echo_json(content: Mapping[str, object]) -> None:
    """Print the result as one JSON object; what is not a number becomes null."""
    echo(json.dumps(_plain(content), allow_nan=False))


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def echo_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table with aligned columns; numbers to the right."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(header))]
    for line in lines:
        cells = [
            cell.rjust(width) if cell[:1].isdigit() else cell.ljust(width)
            for cell, width in zip(line, widths, strict=True)
        ]
        echo("  ".join(cells).rstrip())


def model_words(model: LoadedModel) -> str:
    """Name a model, its weights and its device, for the head of a report."""
    return f"{model.identity.name} ({model.identity.sha256[:12]}), {model.device}"


def model_facts(model: LoadedModel) -> dict[str, object]:
    """Say which model worked where, as every ``--json`` does."""
    identity = model.identity
    return {
        "name": identity.name,
        "sha256": identity.sha256,
        "head": identity.head,
        "device": str(model.device),
    }


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[float, str], None]]:
    """Show a bar on stderr while someone watches."""
    from tqdm import tqdm

    shape = "{desc}: {percentage:3.0f}%|{bar}|"
    with tqdm(total=1.0, desc=title, bar_format=shape, disable=None, leave=False) as bar:

        def update(share: float, message: str) -> None:
            bar.set_description(f"{title}: {message}", refresh=False)
            bar.update(max(0.0, min(share, 1.0) - bar.n))

        yield update

"""The command line ``napari-spa``: ``commands.toml`` lists it, a file for each runs it.

Exit status: 0 done, 1 the work failed (or a part of it), 2 the call is wrong, 130 stopped
by the keyboard.  Results go to stdout, progress and errors to stderr; an error is one
sentence.
"""

from __future__ import annotations

import _thread
import logging
import os
import sys
import warnings
from contextlib import contextmanager
from importlib import import_module
from io import TextIOWrapper
from threading import Timer
from typing import TYPE_CHECKING, Any

from napari_spa import __version__
from napari_spa.errors import DataError, ImageWarning, SpaError, was_interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_spa.cli.console import Parser

__all__ = ["main"]

FAILED, WRONG_CALL, STOPPED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever called
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that its encoding lacks
    # Its remarks on damaged files would come before our own sentence.
    logger = logging.getLogger("tifffile")
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    try:
        with _interrupts_heard(), _notes_on_images():
            # Ctrl+C while modules are imported is a Ctrl+C as well.
            options, unknown = _parser().parse_known_args(argv)
            if unknown:
                options.command.error(f"unrecognized arguments: {' '.join(unknown)}")
            module, _, function = options.run.partition(".")
            run = getattr(import_module(f"napari_spa.cli.{module}"), function)
            status: int = run(options)
            sys.stdout.flush()
    except (KeyboardInterrupt, RuntimeError, SpaError) as error:
        if was_interrupted(error):
            return _failed("stopped.", STOPPED)
        if not isinstance(error, SpaError):
            raise
        return _failed(str(error), FAILED if isinstance(error, DataError) else WRONG_CALL)
    except BrokenPipeError:
        # The reader of stdout is gone (| head); keep the interpreter's exit quiet too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:  # a path that cannot be, say
        named = "" if error.filename is None else f"{error.filename}: "
        return _failed(f"{named}{error.strerror or error}.", FAILED)
    return status


def _failed(sentence: str, status: int) -> int:
    _say(sentence)
    return status


def _say(sentence: str) -> None:
    sys.stderr.write(f"napari-spa: {SpaError(sentence)}\n")


@contextmanager
def _interrupts_heard() -> Iterator[None]:
    """Let no Ctrl+C get lost in a callback of Python's own, of which an import has many."""
    others = sys.unraisablehook

    def hear(lost: sys.UnraisableHookArgs) -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt):
            # It comes again outside of the callback, and of this one.
            Timer(0.01, _thread.interrupt_main).start()
        else:
            others(lost)

    sys.unraisablehook = hear
    try:
        yield
    finally:
        sys.unraisablehook = others


@contextmanager
def _notes_on_images() -> Iterator[None]:
    """Say what of an image file is not opened as the rest is said, and say it each time."""

    def tell(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:  # noqa: ANN401
        if issubclass(category, ImageWarning):
            _say(str(message))
        else:
            others(message, category, *where, **more)

    with warnings.catch_warnings():
        others = warnings.showwarning
        warnings.showwarning = tell
        warnings.simplefilter("always", ImageWarning)
        yield


def _parser() -> Parser:
    from napari_spa.cli.console import Parser, add_commands

    parser = Parser(
        prog="napari-spa",
        description="Segment by picking: one click, one recommended mask, four differences.",
        epilog="Start with: napari-spa demo",
    )
    parser.add_argument("--version", action="version", version=f"napari-spa {__version__}")
    add_commands(parser)
    return parser

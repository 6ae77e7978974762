"""The page that walks through the code names files and functions that are there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
SOURCE = ROOT / "src" / "napari_spa"
STEP = re.compile(r"`([\w/]+\.py):([\w.]+)`")
WALKS = PAGE.partition("## One click")[2].partition("\n## ")[0].split("\n**")[1:]


def functions(path: Path) -> set[str]:
    """Return the functions of a file, methods after the name of their class."""
    found = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{m.name}" for m in node.body if isinstance(m, ast.FunctionDef)}
    return found


@pytest.mark.parametrize("walk", WALKS, ids=lambda walk: walk.partition(".")[0])
def test_a_walk_names_what_is_there_and_is_short(walk: str) -> None:
    steps = STEP.findall(walk)
    assert len(steps) > 5
    for file, name in steps:
        assert name in functions(SOURCE / file), f"{file} has no {name}"
    assert len({file for file, _ in steps}) <= 8


def test_the_page_names_files_that_are_there() -> None:
    named = re.findall(r"`((?:\w+/)+\w+\.py)`", PAGE)
    assert named
    assert [file for file in named if not (SOURCE / file).exists()] == []


def test_three_things_are_walked() -> None:
    assert len(WALKS) == 3

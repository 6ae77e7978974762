"""A tiny random network as a file, an image, and the command line in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import imageio.v3 as iio
import numpy as np
import pytest
from tiny_model import make_model

from napari_spa.cli import main
from napari_spa.io.models.formats import save_model


class Answer(NamedTuple):
    """What a call left: exit status, stdout, stderr."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        """What ``--json`` printed: one line, one object."""
        (line,) = self.out.strip().splitlines()
        return json.loads(line)


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(make_model().spa, path, {"data": "none"})
    return str(path)


@pytest.fixture
def image_file(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 80, (70, 90, 3)).astype(np.uint8)
    image[20:50, 30:60] += 120
    path = tmp_path / "image.png"
    iio.imwrite(path, image)
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """``run("segment", path, ...)``: call the command line and return its answer."""

    def call(*arguments: object) -> Answer:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Answer(status, captured.out, captured.err)

    return call


@pytest.fixture
def refuses(run: Callable[..., Answer]) -> Callable[..., str]:
    """``refuses("segment", ..., status=2)``: the call fails with one sentence; return it."""

    def call(*arguments: object, status: int = 2) -> str:
        answer = run(*arguments)
        assert answer.status == status, answer
        assert answer.out == ""
        (sentence,) = answer.err.strip().splitlines()
        assert sentence.startswith("napari-spa: ")
        assert sentence.endswith(".")
        assert "Traceback" not in sentence
        return sentence

    return call

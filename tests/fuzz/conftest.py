"""``pytest tests/fuzz --fuzz 500 --fuzz-seed 1``: how many files of each kind are damaged."""

import pytest


def pytest_addoption(parser):
    group = parser.getgroup("fuzz")
    group.addoption("--fuzz", type=int, default=None, help="damaged files of each kind")
    group.addoption("--fuzz-seed", type=int, default=None, help="of the damage")


@pytest.fixture(scope="session")
def fuzz_count(request):
    """Return how many files of each kind are damaged: few in CI."""
    given = request.config.getoption("--fuzz", default=None)
    return 12 if given is None else given


@pytest.fixture(scope="session")
def fuzz_seed(request):
    """Return the seed of the damage."""
    given = request.config.getoption("--fuzz-seed", default=None)
    return 0 if given is None else given

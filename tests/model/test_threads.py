"""Which threads compute."""

import threading

import pytest
from threadpoolctl import ThreadpoolController

from napari_spa.model.device import computing

blas = ThreadpoolController().select(internal_api="openblas")
pytestmark = pytest.mark.skipif(
    not blas.lib_controllers, reason="NumPy is built with another library than OpenBLAS"
)


def threads():
    return {library.num_threads for library in blas.lib_controllers}


@pytest.fixture
def three():
    """Let OpenBLAS take three threads, as a user may."""
    with blas.limit(limits=3):
        yield


def test_linear_algebra_takes_one_thread_while_something_computes(three):
    @computing
    def fails():
        assert threads() == {1}
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fails()
    assert threads() == {3}


def test_computations_that_overlap_leave_the_threads_as_they_were(three):
    begun, ended = threading.Event(), threading.Event()

    @computing
    def long():
        begun.set()
        ended.wait(10)

    @computing
    def short():
        other.start()
        begun.wait(10)

    other = threading.Thread(target=long)
    short()
    ended.set()
    other.join()
    assert threads() == {3}

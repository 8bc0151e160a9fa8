"""What tests of several rooms need of the machine."""

import contextlib
import resource
from collections.abc import Iterator

import pytest


@pytest.fixture
def file_limit():
    """``with file_limit(bytes):`` no file of this process grows beyond it: a disk that fills up, for root as well."""

    @contextlib.contextmanager
    def limited(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited

"""What tests of several rooms need of the machine."""

import contextlib
import os
import resource
from collections.abc import Iterator

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of real data are skipped, and counted, where there is none."""
    if os.environ.get("KINTSUGI_DATA"):
        return
    for item in items:
        if item.get_closest_marker("data"):
            item.add_marker(pytest.mark.skip(reason="KINTSUGI_DATA is not set"))


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

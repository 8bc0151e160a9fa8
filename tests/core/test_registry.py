"""The folders are read once, by one thread at a time."""

import sys
from concurrent.futures import ThreadPoolExecutor

from kintsugi.core import registry


def test_however_many_threads_ask_the_files_are_read_once(monkeypatch):
    before, scans, scan = registry.entries(), [], registry._scan

    def counted():
        scans.append(1)
        return scan()

    monkeypatch.setattr(registry, "_scan", counted)
    registry._entries.cache_clear()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            found = [*pool.map(lambda _: registry.entries(), range(4))]
    finally:
        sys.setswitchinterval(interval)
    assert len(scans) == 1
    assert all(each == before for each in found)

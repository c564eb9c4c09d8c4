import pytest

from file_server import file_server


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server on loopback, and a cache of its own."""
    for name in ("http_proxy", "HTTP_PROXY", "SRLAB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SRLAB_CACHE", str(tmp_path / "cache"))
    with file_server() as running:
        yield running

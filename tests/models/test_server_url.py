"""URLs as users paste them."""

from __future__ import annotations

import pytest

from arenaloop.errors import ConfigError
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.models.server_url import ServerUrl, proxy_of


@pytest.mark.parametrize(
    ("url", "base", "goes_to"),
    [
        ("http://h:1/v1", "http://h:1/v1", "http://h:1/v1/chat/completions"),
        ("http://h:1/v1/", "http://h:1/v1", "http://h:1/v1/chat/completions"),
        (" https://h/v1/chat/completions/ ", "https://h/v1", "https://h/v1/chat/completions"),
        ("http://[::1]:1", "http://[::1]:1", "http://[::1]:1/chat/completions"),
        ("https://h/d/chat/completions?api-version=1", "https://h/d", "https://h/d/chat/completions?api-version=1"),
    ],
)
def test_urls_are_trimmed(url, base, goes_to):
    model = OpenAIModel("m", "x", url)
    assert (model.base_url, model.urls[0].chat) == (base, goes_to)
    assert model.fingerprint == OpenAIModel("n", "x", base).fingerprint


@pytest.mark.parametrize("url", ["", "h:8000/v1", "ftp://h/v1", "http:///v1", "http://h:99999/v1", "http://[::1/v1"])
def test_what_is_no_url_is_refused(url):
    with pytest.raises(ConfigError, match="not the URL of a server"):
        OpenAIModel("m", "x", url)


@pytest.mark.parametrize("path", ["/completions", "/models", "/responses", "/embeddings", "/messages"])
def test_the_url_of_another_interface_is_refused_and_said(path):
    with pytest.raises(ConfigError, match=f"give the URL without {path}, as in http://h:1/v1$"):
        ServerUrl.of(f"http://h:1/v1{path}/")


def test_a_password_is_refused_and_not_shown():
    for url in ("http://user:secret@h/v1", "ftp://secret@h", "http://user:secret@h:99999/v1"):
        with pytest.raises(ConfigError) as caught:
            ServerUrl.of(url)
        assert "secret" not in str(caught.value)


def test_a_proxy_is_for_other_machines_alone(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://proxy:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert proxy_of("http://far/v1") == "http://proxy:1"
    assert proxy_of("https://far/v1") is None
    for host in ("localhost", "127.0.0.1:8000", "[::1]:8000"):
        assert proxy_of(f"http://{host}/v1") is None

"""Where a server is: URLs as people copy them, and proxies as desktops and shells set them."""

from __future__ import annotations

import httpx
import pytest

from model.errors import ModelError
from model.vllm.asking.address import Address, proxy_for

PROXY = "http://proxy.test:3128"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("url", "base", "query"),
    [
        ("http://host:8000", "http://host:8000", ""),
        (" http://host:8000/ \n", "http://host:8000", ""),
        ("http://host:8000/v1/", "http://host:8000", ""),
        ("http://host:8000/v1/completions", "http://host:8000", ""),
        ("http://host:8000/v1/completions/", "http://host:8000", ""),
        ("http://host:8000/v1/chat/completions", "http://host:8000", ""),
        ("http://host:8000/v1/models", "http://host:8000", ""),
        ("https://host/api/v1", "https://host/api", ""),
        ("https://host/v1x", "https://host/v1x", ""),
        ("https://host/v1?version=2&key=k", "https://host", "version=2&key=k"),
        ("https://host/v1/completions?version=2#top", "https://host", "version=2"),
        ("https://host#a?b", "https://host", ""),
    ],
)
def test_a_url_may_be_that_of_a_path_of_the_api(url: str, base: str, query: str) -> None:
    address = Address(url)
    assert (address.base, address.query, str(address)) == (base, query, base)


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        ("http://gpu.test", {}, None),
        ("http://gpu.test", {"HTTP_PROXY": PROXY}, PROXY),
        ("http://gpu.test", {"http_proxy": PROXY}, PROXY),
        ("https://gpu.test", {"HTTPS_PROXY": PROXY}, PROXY),
        ("https://gpu.test", {"HTTP_PROXY": PROXY}, None),
        ("https://gpu.test", {"ALL_PROXY": PROXY}, PROXY),
        ("https://gpu.test", {"ALL_PROXY": "socks://127.0.0.1:9", "HTTPS_PROXY": PROXY}, PROXY),
        ("http://gpu.test", {"HTTP_PROXY": "proxy.test:3128"}, PROXY),
        ("http://gpu.test", {"HTTP_PROXY": ""}, None),
        # Not for this machine.
        ("http://localhost:8000", {"ALL_PROXY": PROXY}, None),
        ("http://LOCALHOST.:8000", {"ALL_PROXY": PROXY}, None),
        ("http://gpu.localhost:8000", {"ALL_PROXY": PROXY}, None),
        ("http://127.0.0.1:8000", {"ALL_PROXY": PROXY}, None),
        ("http://127.8.9.1:8000", {"ALL_PROXY": PROXY}, None),
        ("http://[::1]:8000", {"ALL_PROXY": PROXY}, None),
        ("http://[::ffff:127.0.0.1]:8000", {"ALL_PROXY": PROXY}, None),
        ("http://0.0.0.0:8000", {"ALL_PROXY": PROXY}, None),
        ("http://localhost:8000", {"ALL_PROXY": "socks://127.0.0.1:9"}, None),
        ("http://localhost.test", {"ALL_PROXY": PROXY}, PROXY),
        ("http://10.127.0.0", {"ALL_PROXY": PROXY}, PROXY),
    ],
)
def test_the_proxy_that_leads_to_a_server(
    url: str, environment: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = proxy_for(httpx.URL(url))
    assert (str(found.url) if found else None) == proxy


@pytest.mark.parametrize(
    ("no_proxy", "url", "is_passed_by"),
    [
        ("*", "http://gpu.test", True),
        ("other.test, *", "http://gpu.test", True),
        ("gpu.test", "http://gpu.test:8000", True),
        ("GPU.test", "http://gpu.test", True),
        ("gpu.test", "http://a.gpu.test", True),
        (".gpu.test", "http://a.gpu.test", True),
        (".gpu.test", "http://gpu.test", True),
        ("*.gpu.test", "http://a.gpu.test", True),
        ("gpu.test", "http://mygpu.test", False),
        ("gpu.test", "http://gpu.test.evil", False),
        ("gpu.test other.test", "http://other.test", True),
        ("gpu.test:8000", "http://gpu.test:8000", True),
        ("gpu.test:8000", "http://gpu.test:8001", False),
        ("gpu.test:80", "http://gpu.test", True),
        ("gpu.test:443", "https://gpu.test", True),
        ("https://gpu.test", "https://gpu.test", True),
        ("https://gpu.test", "http://gpu.test", False),
        ("10.1.2.3", "http://10.1.2.3:8000", True),
        ("10.1.2.3:8000", "http://10.1.2.3:8000", True),
        ("10.1.2.3:8000", "http://10.1.2.3:9", False),
        ("10.0.0.0/8", "http://10.1.2.3:8000", True),
        ("10.0.0.1/8", "http://10.1.2.3:8000", True),
        ("10.0.0.0/8", "http://11.1.2.3:8000", False),
        ("10.0.0.0/8", "http://[::ffff:10.1.2.3]", True),
        ("10.1.*", "http://10.1.2.3", True),
        ("2001:db8::1", "http://[2001:db8::1]:8000", True),
        ("[2001:db8::1]", "http://[2001:db8::1]:8000", True),
        ("[2001:db8::1]:8000", "http://[2001:db8::1]:8000", True),
        ("[2001:db8::1]:8000", "http://[2001:db8::1]:8001", False),
        ("fe80::/10", "http://[fe80::17]:8000", True),
        ("fe80::/10", "http://[2001:db8::1]", False),
        ("fe80::/10", "http://10.0.0.1", False),
        # What cannot be read is passed over.
        ("[::1", "http://gpu.test", False),
        ("fe80::/999, gpu.test", "http://gpu.test", True),
        ("[fe80::]/10,gpu.test", "http://gpu.test", True),
        ("://,:,[],/,[]:,gpu.test", "http://gpu.test", True),
        ("://,:,[],/,[]:,.", "http://gpu.test", False),
        ("gpu.test:http", "http://gpu.test", False),
        ("gpu.test:99999999999999999999", "http://gpu.test", False),
        ("127.0.0.1,[::1]", "http://gpu.test", False),
    ],
)
def test_what_no_proxy_says(no_proxy: str, url: str, is_passed_by: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert (proxy_for(httpx.URL(url)) is None) == is_passed_by


@pytest.mark.parametrize(
    "proxy", ["socks://127.0.0.1:9", "socks5://127.0.0.1:9", "ftp://p:1", "http://", "http://[::", "http://p:port"]
)
def test_a_proxy_that_cannot_be_used_is_named(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(ModelError) as raised:
        proxy_for(httpx.URL("http://gpu.test"))
    assert f"The proxy {proxy} cannot be used; " in str(raised.value)
    assert "HTTP_PROXY" in str(raised.value) and "gpu.test in NO_PROXY" in str(raised.value)


def test_a_proxys_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks://me:secret@127.0.0.1:9")
    with pytest.raises(ModelError) as raised:
        proxy_for(httpx.URL("http://gpu.test"))
    assert "secret" not in str(raised.value)

"""A model server that cannot be reached: one sentence says why, in the editor and on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from tests.lsp.client import serving
from tests.lsp.test_cli import keyturn
from tests.model.vllm.scripted_server import Handler, piece
from tests.model.vllm.scripted_server import serving as serving_model

URI = "file:///project/a.py"
CODE = "def add(first, second):\n    return "
ROUTES: dict[str, Handler] = {
    "GET /v1/models": lambda request: request.answer({"data": [{"id": "m"}]}),
    "POST /v1/completions": lambda request: request.stream([piece("first + second")]),
}
STANDS_IN = " The embedded model stands in for it."
NO_PROXIES = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "no_proxy"), "")
CASES = [
    ("http://127.0.0.1:9", {}, "The server at http://127.0.0.1:9 does not answer; start it, or check `url`."),
    (
        "http://gpu.test",
        {"all_proxy": "socks://127.0.0.1:9", "no_proxy": "127.0.0.1,[::1]"},
        "The proxy socks://127.0.0.1:9 cannot be used; set HTTP_PROXY to one that begins with http://, or name "
        "gpu.test in NO_PROXY.",
    ),
    ("https://SERVER", {}, "has a certificate that is not trusted (self-signed certificate); set `ca_file` to its"),
    ("http://SERVER", {}, "speaks HTTPS; begin `url` with https://."),
    ("https://127.0.0.1:9", {"KEYTURN_CA_FILE": "/no.pem"}, "`ca_file` must be a PEM file of certificates; /no.pem is"),
]


@contextmanager
def variables(url: str, environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """The environment of a process that is to ask a server; SERVER is one whose certificate nobody trusts."""
    server = serving_model(ROUTES, "good") if "SERVER" in url else nullcontext(None)
    with server as found:
        url = url if found is None else url.replace("SERVER", found.url.partition("://")[2])
        yield {**NO_PROXIES, "KEYTURN_ENGINE": "vllm", "KEYTURN_URL": url, **environment}


@pytest.mark.parametrize(("url", "environment", "says"), CASES)
def test_the_editor_says_it_once_and_gets_suggestions(
    url: str, environment: dict[str, str], says: str, tmp_path: Path
) -> None:
    with variables(url, environment) as more, serving(tmp_path, **more) as client:
        client.initialize()
        client.open(URI, CODE)
        for _ in range(2):
            assert client.texts(URI, 1, 11)
        [message] = client.messages()
    assert says in message and message.endswith(STANDS_IN)


@pytest.mark.parametrize(("url", "environment", "says"), CASES)
def test_doctor_names_the_trouble(url: str, environment: dict[str, str], says: str, tmp_path: Path) -> None:
    with variables(url, environment) as more:
        result = keyturn(tmp_path, "doctor", **more)
    [line] = [line for line in result.stdout.splitlines() if line.startswith("error")]
    assert result.returncode == 3 and says in line


def test_the_command_line_says_it_and_answers(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(CODE)
    url, environment, says = CASES[1]
    with variables(url, environment) as more:
        result = keyturn(tmp_path, "complete", "a.py:2:12", **more)
    assert (result.returncode, result.stderr) == (0, f"keyturn: {says}{STANDS_IN}\n")
    assert result.stdout.strip()


def test_a_desktops_proxy_does_not_keep_a_server_here_from_being_asked(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(CODE)
    proxies = {"all_proxy": "socks://127.0.0.1:9", "no_proxy": "fe80::/10,host:port"}
    with serving_model(ROUTES) as server, variables(server.url, proxies) as more:
        result = keyturn(tmp_path, "complete", "a.py:2:12", **more)
    assert (result.returncode, result.stdout, result.stderr) == (0, "first + second\n", "")


def test_the_limit_of_a_silent_server_is_a_setting(tmp_path: Path) -> None:
    """The stand-in answers once it has passed."""
    (tmp_path / "a.py").write_text(CODE)
    silent = {"POST /v1/completions": lambda request: request.http.rfile.read(1)}  # until the client has gone
    with serving_model(ROUTES | silent) as server, variables(server.url, {}) as more:
        result = keyturn(tmp_path, "complete", "a.py:2:12", KEYTURN_SERVER_TIMEOUT_SECONDS="1", **more)
    assert "did not begin to answer within 1 seconds; if it is only slow, raise `server_timeout_sec" in result.stderr
    assert (result.returncode, bool(result.stdout.strip())) == (0, True)

"""Which files may hold secrets."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from bracex import expand
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types
from lsprotocol.types import TextDocumentItem

from lsp.features.docstring import Docstrings
from lsp.features.read_ahead import ReadAhead
from lsp.session import secret_files
from lsp.session.documents import Documents
from lsp.session.engine_thread import EngineThread, Feature
from lsp.session.secret_files import FOLDERS, LANGUAGES, NAMES, may_hold_secrets, refusal
from lsp.session.session import Session
from lsp.session.status import Status
from tests.lsp.client import serving

SECRETS = """
    /p/.env /p/.ENV /p/.env.local /p/.env.production /p/.envrc /p/.env.example /p/.env.js /p/prod.env
    /p/x/.Env.Local /p/.authinfo /p/.boto /p/.dockercfg /p/.dockerconfigjson /p/.fetchmailrc /h/.git-credentials
    /p/.htdigest /p/.htpasswd /h/.msmtprc /h/.my.cnf /h/.mylogin.cnf /h/.netrc /p/.npmrc /h/.pgpass /h/.pypirc
    /h/.rhosts /h/.s3cfg /h/.smbcredentials /h/.terraformrc /h/.vault-token /p/.vault_pass /h/_netrc /p/auth.json
    /etc/gshadow /h/kubeconfig /p/local.settings.json /h/pgpass.conf /h/rclone.conf /h/settings-security.xml
    /etc/shadow /h/a.kubeconfig /h/a.ovpn /p/a.publishsettings /p/serviceaccount.json /p/service-account-1.json
    /p/service_account.json /p/x-firebase-adminsdk-1.json /p/terraform.tfstate /p/terraform.tfstate.1700000000
    /p/terraform.tfvars /p/a.auto.tfvars /p/a.tfvars.json /p/a.asc /p/a.age /p/a.gpg /p/a.pgp /p/server.key
    /p/AuthKey.p8 /p/server.pem /p/SERVER.PEM /p/a.pkcs8 /p/a.ppk /p/a.pvk /p/a.bcfks /p/a.bks /p/a.jceks /p/a.jks
    /p/a.kdb /p/a.kdbx /p/a.keychain /p/a.keystore /p/a.keytab /p/a.p12 /p/a.pfx /p/a.pkcs12 /p/a.truststore
    /p/id_work /p/id_rsa /p/id_rsa.old /p/id_rsa.1 /p/id_dsa.1 /p/id_ecdsa.1 /p/id_ed25519.1 /p/id_ed25519_sk
    /p/deploy_rsa /p/deploy_dsa /p/deploy_ecdsa /p/deploy_ed25519 /etc/ssh_host_x_key /p/.credentials /p/.passwords
    /p/.secrets /p/.secrets.toml /p/credential /p/credential.1 /p/credentials /p/credentials.1
    /p/credentials.yml.enc /p/passwd /p/passwd.1 /p/password /p/password.txt /p/passwords /p/passwords.txt /p/secret
    /p/secret.1 /p/secret.yaml /p/secrets /p/secrets.json /p/secrets.prod /p/secrets.yml /p/secrets.md
    /p/Secrets.TOML /p/client_secret_1.json /p/my-secrets.yaml /p/app.secrets.ini /p/google-credentials.json
    /p/arduino_secrets.h /p/.git/COMMIT_EDITMSG /p/.git/TAG_EDITMSG /p/.git/EDIT_DESCRIPTION /p/.git/MERGE_MSG
    /p/.git/SQUASH_MSG /p/.git/rebase-merge/git-rebase-todo /p/.git/addp-hunk-edit.diff
    /tmp/hg-editor-1.commit.hg.txt /tmp/svn-commit.tmp /tmp/svn-commit.2.tmp /tmp/a.jjdescription /p/.env~
    /p/.netrc~ /p/.npmrc.bak /p/credentials.backup /p/server.key.old /p/server.key.orig /p/server.key.save
    /p/.npmrc.swp /h/.gnupg/x/gpg.conf /h/.password-store/a /h/.ssh/config /h/.ssh/x.py /h/.SSH/known_hosts
    /h/.aws/config /h/.aws/cli/cache/a /h/.aws/sso/cache/a.json /h/.azure/accessTokens.json
    /h/.azure/azureProfile.json /h/.azure/msal_token_cache.json /h/.azure/service_principal_entries.json
    /h/.config/gcloud/a/b.db /h/.config/op/config /h/.config/hub /h/.config/gh/hosts.yml /h/.docker/config.json
    /p/.git/config /h/.kube/config /h/.m2/settings.xml /h/.subversion/auth/a /etc/ssl/private/a
    /etc/wireguard/wg0.conf /run/secrets/a /var/run/secrets/x/a .env x/../.env
"""
DATA = "json jsonc json5 yaml yml toml ini cfg conf config properties xml plist csv txt enc"

OTHERS = """
    /p/main.py /p/README.md /p/environment.yml /p/env.py /p/env.d.ts /p/.editorconfig /p/dotenv.go /p/Makefile
    /p/.gitignore /p/.env/lib/python3.11/site.py /p/credentials/client.py /p/secrets/store.go /p/key.py /p/keys.json
    /p/keyboard.key.ts /p/id_map.py /p/id_map.json /p/id_rsa.pub /p/id_ed25519.pub /p/server.pub /p/id_rsa_parser.go
    /p/test_rsa.py /p/secrets.py /p/secret.go /p/Secrets.java /p/credentials.ts /p/passwords.rb /p/secrets.tf
    /p/config_secrets.h /p/password-reset.json /p/reset_password.html /p/package.json /p/tokens.json /p/settings.xml
    /p/config.json /p/config /p/.aws/task.json /p/.azure/pipelines.yml /p/kube/config /p/authors.json
    /p/service.json /p/main.tf /p/merge.msg /p/.git/hooks/pre-commit /p/.github/workflows/ci.yml /p/run/secrets/a.py
    /p/main.py.bak /p/main.py~ Untitled-1
"""
SOURCE = """
    py pyi pyw js jsx mjs cjs ts tsx mts cts vue svelte java kt kts scala groovy clj cljs go rs zig nim c h cc cpp cxx
    c++ hh hpp hxx h++ inl m mm swift dart cs fs vb rb php pl pm lua r jl ex exs erl hs ml mli elm sol tf
"""

SECRET_LANGUAGES = """
    dotenv DotEnv env git-commit git-rebase gitcommit gitrebase gitsendemail hgcommit jj-commit jjdescription netrc
    passwd pem scminput terraform-vars
"""

SECRET_PATHS = SECRETS.split()
SECRET_PATHS += [f"/p/{name}.{ending}" for name in ("my-credentials-1", "client_secret") for ending in DATA.split()]
OTHER_PATHS = OTHERS.split()
OTHER_PATHS += [f"/p/secrets.{ending}" for ending in SOURCE.split()]


def quiet(paths: Iterable[str]) -> list[str]:
    return [path for path in paths if may_hold_secrets(path, "plaintext")]


def test_files_with_secrets_are_known_by_their_names() -> None:
    assert quiet(SECRET_PATHS) == SECRET_PATHS


def test_everyday_files_are_not_taken_for_secrets() -> None:
    assert quiet(OTHER_PATHS) == []


RULES = [
    (table, number, rule)
    for table, patterns in {"NAMES": NAMES, "FOLDERS": FOLDERS}.items()
    for number, pattern in enumerate(patterns)
    for rule in expand(pattern)
]


@pytest.mark.parametrize(("table", "number", "rule"), RULES, ids=str)
def test_each_rule_decides_a_case(monkeypatch: pytest.MonkeyPatch, table: str, number: int, rule: str) -> None:
    """Without it, one of the files above is taken for what it is not."""
    rules = list(getattr(secret_files, table))
    rules[number : number + 1] = [other for other in expand(rules[number]) if other != rule]
    monkeypatch.setattr(secret_files, table, tuple(rules))
    secret_files._is_secret.cache_clear()
    try:
        assert (quiet(SECRET_PATHS), quiet(OTHER_PATHS)) != (SECRET_PATHS, [])
    finally:
        secret_files._is_secret.cache_clear()


def test_a_language_says_it_of_a_file_without_a_name() -> None:
    wanted = SECRET_LANGUAGES.split()
    assert {*wanted} == {*LANGUAGES, "DotEnv"}
    assert all(may_hold_secrets(path, language) for language in wanted for path in (None, "Untitled-1"))


def test_other_languages_do_not() -> None:
    assert not any(may_hold_secrets(None, language) for language in ("python", "ini", "shellscript", "yaml", "", None))


@given(st.text())
def test_whatever_a_file_is_called_nothing_is_raised(path: str) -> None:
    may_hold_secrets(path, path)


def test_the_refusal_says_what_to_do() -> None:
    assert refusal("/p/.env") == (
        ".env may hold secrets, so it is not read. `secret_files = true` in your own settings allows it."
    )
    assert refusal(None).startswith("This document may hold secrets")


# In the running server

DOCUMENTS = [
    ("file:///project/.env", "plaintext"),
    ("file:///project/.git/COMMIT_EDITMSG", "plaintext"),
    ("file:///home/.ssh/notes.py", "python"),
    ("untitled:Untitled-1", "dotenv"),
    ("file:///project/%2Eenv", "python"),
]
FUNCTION = "def add(first, second):\n    return first + second\n"


@pytest.mark.parametrize(("uri", "language"), DOCUMENTS)
def test_nothing_of_a_secret_file_reaches_the_engine_without_leave(tmp_path: Path, uri: str, language: str) -> None:
    position = {"textDocument": {"uri": uri}, "position": {"line": 1, "character": 4}}
    for allowed in (False, True):
        with serving(tmp_path) as client:
            client.initialize(options={"secretFiles": allowed})
            client.open(uri, FUNCTION, language)
            assert client.texts(uri, 2, 0) == (["hello"] if allowed else [])
            assert client.texts(uri, 2, 0, kind=1) == (["hello"] if allowed else [])
            client.request("keyturn/docstring", position)
            stats = client.stats(uri)
            assert (stats["engine_requests"], stats["counts"] is not None) == ((2, True) if allowed else (0, False))


class NotingEngine(EngineThread):
    """Notes which documents work is asked for; nothing runs."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def when_idle(self, document: str, work: object) -> None:
        self.asked.append(document)

    async def run(self, document: str, feature: Feature, work: object) -> None:
        self.asked.append(document)


@pytest.mark.asyncio
@pytest.mark.parametrize(("uri", "language"), [*DOCUMENTS, ("file:///project/secrets.py", "python")])
async def test_only_what_holds_no_secrets_is_read_ahead_or_documented(uri: str, language: str) -> None:
    documents, engine = Documents(), NotingEngine()
    session = Session(documents, engine, Status.__new__(Status))
    read_ahead = ReadAhead(session)
    documents.open(TextDocumentItem(uri, language, 1, FUNCTION))
    read_ahead._encode_when_idle(uri)
    await Docstrings(session, read_ahead).suggest(
        types.TextDocumentPositionParams(types.TextDocumentIdentifier(uri), types.Position(1, 4))
    )
    assert engine.asked == ([uri] * 2 if uri.endswith("secrets.py") else [])


def test_the_status_says_why_there_are_no_suggestions_where_the_user_is(tmp_path: Path) -> None:
    secret, other, excluded = (f"file:///project/{name}" for name in (".env", "main.py", "a.sql"))
    with serving(tmp_path) as client:
        client.initialize(
            root=Path("/project"), options={"disabledGlobs": ["*.sql"]}, experimental={"keyturnStatus": True}
        )
        client.notified("keyturn/status", state="ready")

        def told() -> list[str]:
            client.stats(other)
            return [m["params"]["message"] for m in client.notifications if m["method"] == "keyturn/status"]

        def go_to(uri: str) -> None:
            position = {"line": 0, "character": 0}
            client.notify("keyturn/caret", {"textDocument": {"uri": uri}, "position": position})

        for uri in (secret, other, excluded):
            client.open(uri, "x")
        assert told()[-1] == ""
        go_to(secret)
        go_to(secret)
        assert told()[-2:] == ["", refusal(".env")]
        go_to(other)
        assert told()[-1] == ""
        assert client.complete(excluded, 0, 1) == []
        assert "`disabled_globs`" in told()[-1]
        client.notify("workspace/didChangeConfiguration", {"settings": {"keyturn": {"seed": 1}}})
        assert told()[-1] == ""
        position = {"line": 0, "character": 0}
        assert client.request("keyturn/docstring", {"textDocument": {"uri": secret}, "position": position}) is None
        assert told()[-1] == refusal(".env")
        client.close(secret)
        assert told()[-1] == ""

"""Files that may hold secrets, by their names and by the languages that editors give them.

The rules are patterns (`lsp.session.globs`), and case does not matter. They follow two thoughts. What a program keeps
keys, passwords or tokens in is never read. Source code is, whatever it is called: `secrets.py` and `id_map.py` are
modules.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache

from lsp.session.globs import compiled

_DATA = "json,jsonc,json5,yaml,yml,toml,ini,cfg,conf,config,properties,xml,plist,csv,txt,enc"
_SOURCE = (
    "py,pyi,pyw,js,jsx,mjs,cjs,ts,tsx,mts,cts,vue,svelte,java,kt,kts,scala,groovy,clj,cljs,go,rs,zig,nim,"
    "c,h,cc,cpp,cxx,c++,hh,hpp,hxx,h++,inl,m,mm,swift,dart,cs,fs,vb,rb,php,pl,pm,lua,r,jl,ex,exs,erl,hs,ml,mli,elm,sol,tf"
)

NAMES = (
    # what programs keep passwords and tokens in
    "*.env",
    ".{authinfo,boto,dockercfg,dockerconfigjson,fetchmailrc,git-credentials,htdigest,htpasswd,msmtprc,my.cnf}",
    ".{mylogin.cnf,netrc,npmrc,pgpass,pypirc,rhosts,s3cfg,smbcredentials,terraformrc,vault-token,vault_pass}",
    "{_netrc,auth.json,gshadow,kubeconfig,local.settings.json,pgpass.conf,rclone.conf,settings-security.xml,shadow}",
    "*.{kubeconfig,ovpn,publishsettings}",
    "service{,-,_}account*.json",
    "*firebase-adminsdk*.json",
    "*.{tfstate,tfvars}{,.*}",
    # keys and stores of keys
    "*.{asc,age,gpg,pgp}",
    "*.{key,p8,pem,pkcs8,ppk,pvk}",
    "*.{bcfks,bks,jceks,jks,kdb,kdbx,keychain,keystore,keytab,p12,pfx,pkcs12,truststore}",
    "id_*",
    "!id_*.*",
    "id_{dsa,ecdsa,ed25519,rsa}*",
    "*_{dsa,ecdsa,ed25519,rsa}",
    "ssh_host_*_key",
    "!*.pub",
    # what says so
    ".{credentials,passwords,secrets}*",
    "{credential,credentials,passwd,password,passwords,secret,secrets}{,.*}",
    f"*{{credential,secret}}*.{{{_DATA}}}",
    f"!*.{{{_SOURCE}}}",
    ".env*",
    "arduino_secrets.h",
    # messages that version control asks for, below which the change itself may stand
    "{*_editmsg,edit_description,merge_msg,squash_msg}",
    "{addp-hunk-edit.diff,git-rebase-todo,hg-editor-*,svn-commit*.tmp,*.jjdescription}",
)
"""Of files, without their folders."""

FOLDERS = (
    "{.gnupg,.password-store,.ssh}/",
    "**/.aws/{cli,config,sso}",
    "**/.azure/{accesstokens,azureprofile,msal_token_cache,service_principal}*",
    "**/.config/{gcloud,op}/",
    "**/.config/{hub,gh/hosts.yml}",
    "**/.docker/config.json",
    "**/.git/config",
    "**/.kube/config",
    "**/.m2/settings.xml",
    "**/.subversion/auth/",
    "/etc/{ssl/private,wireguard}/",
    "/{run,var/run}/secrets/",
)
"""Whole paths."""

LANGUAGES = frozenset(
    ("dotenv", "env", "netrc", "passwd", "pem", "terraform-vars")
    + ("git-commit", "git-rebase", "gitcommit", "gitrebase", "gitsendemail", "hgcommit", "jj-commit", "jjdescription")
    + ("scminput",)
)
"""As editors name them."""

_COPY = re.compile(r"(~|\.(bak|backup|old|orig|save|swp))+$")
"""What editors and people append to the name of a copy."""


def may_hold_secrets(path: str | None, language_id: str | None) -> bool:
    """Whether a document is one of those that are not read without leave."""
    if language_id is not None and language_id.lower() in LANGUAGES:
        return True
    return path is not None and _is_secret(path)


def refusal(path: str | None) -> str:
    """What is said about such a file."""
    name = os.path.basename(path or "") or "This document"
    return f"{name} may hold secrets, so it is not read. `secret_files = true` in your own settings allows it."


@lru_cache(maxsize=1024)
def _is_secret(path: str) -> bool:
    lower = os.path.normpath(path).lower()
    name = _COPY.sub("", os.path.basename(lower))
    return compiled(NAMES).fit(name) or compiled(FOLDERS).fit(lower)

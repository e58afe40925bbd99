"""`layerlab login` and `logout`: credentials for registries, where the docker command keeps them.

Decided here and only here: what is asked and said. Where credentials are kept, and the credential helpers, are decided
in `sim.images.registry.credentials`. Passwords are never shown.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim.cli.client import DaemonError
from sim.cli.commands.registries import config_path
from sim.cli.commands.shared import say, warn
from sim.cli.failure import Failure
from sim.cli.flags import Call, docker, option, switch

if TYPE_CHECKING:
    from sim.images.registry.credentials import DockerConfig

__all__ = ["login", "logout"]

_HUB = "https://index.docker.io/v1/"


def _server(call: Call) -> tuple[str, str]:
    """Return the registry as the engine is told and as credentials are kept for it."""
    given = call.arguments[0] if call.arguments else ""
    if given in ("", "docker.io", "index.docker.io", _HUB, "registry-1.docker.io"):
        return _HUB, "docker.io"
    plain = given.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return plain, plain


def _config(call: Call) -> DockerConfig:
    from sim.images import ImagesError
    from sim.images.registry.credentials import DockerConfig

    try:
        return DockerConfig(Path(config_path(call.settings)))
    except ImagesError as error:
        raise Failure(str(error)) from None


def _has_helper(call: Call) -> bool:
    from sim.cli.commands.shared import read_config

    return bool(read_config(call.settings).get("credsStore"))


def _who(call: Call, server: str) -> tuple[str, str]:
    """Return name and password, asked for where they were not given."""
    name, password = call.text("username"), call.text("password")
    if call.on("password-stdin"):
        if password:
            raise Failure("conflicting options: cannot specify both --password and --password-stdin")
        if not name:
            raise Failure("the --password-stdin option requires --username to be set")
        return name, sys.stdin.read().rstrip("\r\n")
    if password:
        warn("WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
    if (not name or not password) and not os.isatty(0):
        raise Failure("Error: Cannot perform an interactive login from a non TTY device")
    if not name:
        sys.stdout.write("Username: ")
        sys.stdout.flush()
        name = sys.stdin.readline().strip()
        if not name:
            raise Failure("Error: Non-null Username Required")
    if not password:
        import getpass

        password = getpass.getpass("Password: ")
        if not password:
            raise Failure("Error: Password Required")
    return name, password


@docker(
    "[OPTIONS] [SERVER]",
    "Authenticate to a registry.",
    option("-p, --password", "string", "Password or token; better by --password-stdin"),
    switch("--password-stdin", "Read the password from standard input"),
    option("-u, --username", "string", "User name"),
    text="Without a SERVER it is Docker Hub.",
    most=1,
    examples=("pass show registry | layerlab login -u me --password-stdin localhost:5000",),
)
def login(call: Call) -> None:
    """Log in."""
    from sim.images import ImagesError
    from sim.images.registry.credentials import Credentials

    server, domain = _server(call)
    config = _config(call)
    answer: dict[str, Any] | None = None
    if not call.text("username") and not call.text("password") and not call.on("password-stdin"):
        answer = _known(call, config, server, domain)
    if answer is not None:
        say(str(answer.get("Status") or "Login Succeeded"))
        return
    name, password = _who(call, server)
    answer = call.engine.post("/auth", {"username": name, "password": password, "serveraddress": server}) or {}
    token = str(answer.get("IdentityToken") or "")
    try:
        config.save(domain, Credentials(name, "" if token else password, token))
    except (ImagesError, OSError) as error:
        raise Failure(f"Error saving credentials: {error}") from None
    if not _has_helper(call):
        path = config_path(call.settings)
        warn(
            f"\nWARNING! Your credentials are stored unencrypted in '{path}'.\n"
            "Configure a credential helper to remove this warning. See\n"
            "https://docs.docker.com/go/credential-store/\n"
        )
    if answer.get("Status"):
        say(str(answer["Status"]))


def _known(call: Call, config: DockerConfig, server: str, domain: str) -> dict[str, Any] | None:
    """Try the credentials that there are; None where there are none or they are refused."""
    from sim.images import ImagesError

    try:
        found = config.find(domain)
    except ImagesError:
        return None
    if found is None or not (found.username or found.identity_token):
        return None
    warn(f"Authenticating with existing credentials... [Username: {found.username}]")
    body = {"username": found.username, "password": found.password, "serveraddress": server}
    if found.identity_token:
        body["identitytoken"] = found.identity_token
    try:
        answer: dict[str, Any] = call.engine.post("/auth", body) or {}
    except DaemonError as error:
        if error.code == 401:
            warn("Login did not succeed, error: " + error.text)
            return None
        raise
    return answer


@docker(
    "[SERVER]",
    "Log out from a registry.",
    text="Without a SERVER it is Docker Hub.",
    most=1,
    examples=("layerlab logout localhost:5000",),
)
def logout(call: Call) -> None:
    """Forget credentials."""
    from sim.images import ImagesError

    server, domain = _server(call)
    say(f"Removing login credentials for {server}")
    config = _config(call)
    if not os.path.exists(config_path(call.settings)):
        return
    try:
        config.save(domain, None)
    except (ImagesError, OSError) as error:
        raise Failure(f"WARNING: could not erase credentials:\n{server}: {error}") from None

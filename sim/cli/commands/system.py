"""`layerlab version` and `system ping`.

Decided here and only here: what is told about this command and about the engine.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping
from typing import Any

from sim.cli.client import CannotConnectError, Engine
from sim.cli.client.engine import NEWEST
from sim.cli.commands.shared import say
from sim.cli.failure import Failure
from sim.cli.flags import Call, docker, formats
from sim.cli.show.rows import template_of
from sim.cli.show.table import lay_out

__all__ = ["client_version", "ping", "version"]

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def client_version(engine: Engine | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is told about this command, called with these options before the command's name."""
    from importlib.metadata import version as installed

    from sim.cli.client.contexts import chosen

    return {
        "Version": installed("layerlab"),
        "ApiVersion": (engine.version if engine is not None else "") or NEWEST,
        "DefaultAPIVersion": NEWEST,
        "GitCommit": "",
        "GoVersion": f"python{platform.python_version()}",
        "Os": sys.platform,
        "Arch": _MACHINES.get(platform.machine(), platform.machine()),
        "BuildTime": "",
        "Context": chosen(settings),
    }


def _readable_time(text: str) -> str:
    """Return the time of a build as it is shown: `Thu May  7 21:09:36 2026`."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(text.replace("000000000", "000000").replace("Z", "+00:00")).strftime(
            "%a %b %e %H:%M:%S %Y"
        )
    except ValueError:
        return text


def _server(engine: Engine) -> dict[str, Any]:
    """Return what is told about the engine, its parts in the order of their names as they came."""
    found: dict[str, Any] = engine.get("/version")
    components = found.get("Components")
    if not components:
        details = {
            "ApiVersion": found.get("ApiVersion", ""),
            "MinAPIVersion": found.get("MinAPIVersion", ""),
            "GitCommit": found.get("GitCommit", ""),
            "GoVersion": found.get("GoVersion", ""),
            "Os": found.get("Os", ""),
            "Arch": found.get("Arch", ""),
            "BuildTime": found.get("BuildTime", ""),
            "Experimental": "true" if found.get("Experimental") else "false",
        }
        components = [{"Name": "Engine", "Version": found.get("Version", ""), "Details": details}]
    for component in components:
        details = component.get("Details") or {}
        if details.get("BuildTime"):
            details["BuildTime"] = _readable_time(details["BuildTime"])
    return {"Platform": found.get("Platform") or {"Name": ""}, **found, "Components": components}


def _client_lines(client: Mapping[str, Any]) -> list[str]:
    api = client["ApiVersion"]
    if api != client["DefaultAPIVersion"]:
        api = f"{api} (downgraded from {client['DefaultAPIVersion']})"
    return [
        "Client:",
        f" Version:\t{client['Version']}",
        f" API version:\t{api}",
        f" Python version:\t{platform.python_version()}",
        f" OS/Arch:\t{client['Os']}/{client['Arch']}",
        f" Context:\t{client['Context']}",
    ]


def _server_lines(server: Mapping[str, Any]) -> list[str]:
    name = server["Platform"].get("Name", "")
    lines = ["", f"Server:{' ' + name if name else ''}"]
    for component in server["Components"]:
        details = component.get("Details") or {}
        lines.append(f" {component['Name']}:")
        lines.append(f"  Version:\t{component['Version']}")
        if component["Name"] != "Engine":
            lines.extend(f"  {key}:\t{details[key]}" for key in sorted(details))
            continue
        lines += [
            f"  API version:\t{details.get('ApiVersion', '')} (minimum version {details.get('MinAPIVersion', '')})",
            f"  Go version:\t{details['GoVersion']}" if details.get("GoVersion") else "",
            f"  Git commit:\t{details.get('GitCommit', '')}" if details.get("GitCommit") else "",
            f"  Built:\t{details.get('BuildTime', '')}" if details.get("BuildTime") else "",
            f"  OS/Arch:\t{details.get('Os', '')}/{details.get('Arch', '')}",
            f"  Experimental:\t{details.get('Experimental', 'false')}",
        ]
    return lines[:2] + [line for line in lines[2:] if line]


@docker(
    "[OPTIONS]",
    "Show version information",
    formats("-f, --format", table=False),
    examples=("layerlab version", "layerlab version --format '{{.Server.Version}}'"),
)
def version(call: Call) -> None:
    """Show versions."""
    form = call.text("format")
    template = template_of("{{json .}}" if form == "json" else form, "version", status=64) if form else None
    server: dict[str, Any] | None = None
    problem: Failure | None = None
    engine: Engine | None = None
    try:
        engine = call.engine
        server = _server(engine)
    except CannotConnectError as error:
        problem = error
    client = client_version(engine, call.settings)
    if template is None:
        lines = _client_lines(client) + (_server_lines(server) if server is not None else [])
        sys.stdout.write(lay_out("\n".join(lines) + "\n", least=20, padding=1))
    else:
        from sim.cli.template import Nil, RunError, structured

        value = structured({"Client": client, "Server": server})
        if server is None:
            value["Server"] = Nil("<nil>")
        try:
            say(template.render(value))
        except RunError as error:
            print()
            text = str(error).replace('map has no entry for key "', "can't evaluate field ")
            if text != str(error):
                text = f"{text.rstrip(chr(34))} in type system.versionInfo"
            raise Failure(text) from None
    if problem is not None:
        raise problem


@docker(
    "",
    "Say whether the engine answers",
    text="Ends with status 0 where it does. No daemon is started for this.",
    examples=("layerlab system ping",),
)
def ping(call: Call) -> None:
    """Ask whether the engine is there."""
    from sim.cli.client.hosts import choose

    engine = Engine(choose(call.settings))
    try:
        engine.ping()
    finally:
        engine.close()
    say(f"OK, {engine.host.url} speaks API version {json.dumps(engine.version).strip(chr(34))}")

"""`layerlab info`: what the engine tells about itself and its machine.

Decided here and only here: which of it is shown, in which order.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from sim.cli.client import CannotConnectError
from sim.cli.commands.shared import say, warn
from sim.cli.failure import Failure
from sim.cli.flags import Call, docker, formats
from sim.cli.show.human import binary_size
from sim.cli.show.rows import template_of

__all__ = ["info"]

Found = Mapping[str, Any]


def _word(value: object) -> str:
    return "true" if value else "false"


def _plugins(found: Found) -> Iterator[str]:
    plugins = found.get("Plugins") or {}
    yield " Plugins:"
    yield f"  Volume: {' '.join(plugins.get('Volume') or ())}"
    yield f"  Network: {' '.join(plugins.get('Network') or ())}"
    if plugins.get("Authorization"):
        yield f"  Authorization: {' '.join(plugins['Authorization'])}"
    yield f"  Log: {' '.join(plugins.get('Log') or ())}"


def _security(found: Found) -> Iterator[str]:
    options = found.get("SecurityOptions") or ()
    if not options:
        return
    yield " Security Options:"
    for option in options:
        pairs = [pair.partition("=")[::2] for pair in option.split(",")]
        for key, value in pairs:
            if key == "name":
                yield f"  {value}"
            elif key == "profile":
                yield f"   Profile: {value}"
            else:
                yield f"   {key}: {value}"


def _programs(found: Found) -> Iterator[str]:
    swarm = found.get("Swarm") or {}
    yield f" Swarm: {swarm.get('LocalNodeState') or 'inactive'}"
    runtimes = found.get("Runtimes") or {}
    if runtimes:
        yield f" Runtimes: {' '.join(sorted(runtimes))}"
        yield f" Default Runtime: {found.get('DefaultRuntime', '')}"
    if found.get("OSType") == "linux":
        yield f" Init Binary: {found.get('InitBinary', '')}"
        for word, key in (
            ("containerd", "ContainerdCommit"),
            ("runc", "RuncCommit"),
            ("init", "InitCommit"),
        ):
            commit = found.get(key) or {}
            expected = commit.get("Expected")
            wanted = f" (expected: {expected})" if expected and expected != commit.get("ID") else ""
            yield f" {word} version: {commit.get('ID', '')}{wanted}"


def _registries(found: Found) -> Iterator[str]:
    registry = found.get("RegistryConfig") or {}
    indexes = registry.get("IndexConfigs") or {}
    insecure = [name for name in sorted(indexes) if not (indexes[name] or {}).get("Secure", True)]
    insecure += registry.get("InsecureRegistryCIDRs") or []
    if insecure:
        yield " Insecure Registries:"
        yield from (f"  {name}" for name in insecure)
    if registry.get("Mirrors"):
        yield " Registry Mirrors:"
        yield from (f"  {name}" for name in registry["Mirrors"])


def server_lines(found: Found) -> Iterator[str]:
    """Yield what is shown about the engine."""
    yield f" Containers: {found.get('Containers', 0)}"
    for word in ("Running", "Paused", "Stopped"):
        yield f"  {word}: {found.get(f'Containers{word}', 0)}"
    yield f" Images: {found.get('Images', 0)}"
    for heading, key in (("Server Version", "ServerVersion"), ("Storage Driver", "Driver")):
        if found.get(key):
            yield f" {heading}: {found[key]}"
    yield from (f"  {key}: {value}" for key, value in found.get("DriverStatus") or ())
    for heading, key in (
        ("Logging Driver", "LoggingDriver"),
        ("Cgroup Driver", "CgroupDriver"),
        ("Cgroup Version", "CgroupVersion"),
    ):
        if found.get(key):
            yield f" {heading}: {found[key]}"
    yield from _plugins(found)
    if found.get("CDISpecDirs"):
        yield " CDI spec directories:"
        yield from (f"  {name}" for name in found["CDISpecDirs"])
    yield from _programs(found)
    yield from _security(found)
    for heading, key in (
        ("Kernel Version", "KernelVersion"),
        ("Operating System", "OperatingSystem"),
        ("OSType", "OSType"),
        ("Architecture", "Architecture"),
    ):
        if found.get(key):
            yield f" {heading}: {found[key]}"
    yield f" CPUs: {found.get('NCPU', 0)}"
    yield f" Total Memory: {binary_size(found.get('MemTotal') or 0)}"
    for heading, key in (("Name", "Name"), ("ID", "ID")):
        if found.get(key):
            yield f" {heading}: {found[key]}"
    yield f" Docker Root Dir: {found.get('DockerRootDir', '')}"
    yield f" Debug Mode: {_word(found.get('Debug'))}"
    for heading, key in (("HTTP Proxy", "HttpProxy"), ("HTTPS Proxy", "HttpsProxy"), ("No Proxy", "NoProxy")):
        if found.get(key):
            yield f" {heading}: {found[key]}"
    if found.get("Labels"):
        yield " Labels:"
        yield from (f"  {label}" for label in found["Labels"])
    yield f" Experimental: {_word(found.get('ExperimentalBuild'))}"
    yield from _registries(found)
    yield f" Live Restore Enabled: {_word(found.get('LiveRestoreEnabled'))}"
    if found.get("DefaultAddressPools"):
        yield " Default Address Pools:"
        yield from (f"   Base: {pool['Base']}, Size: {pool['Size']}" for pool in found["DefaultAddressPools"])
    if found.get("FirewallBackend"):
        yield f" Firewall Backend: {found['FirewallBackend'].get('Driver', '')}"
    yield ""


@docker(
    "[OPTIONS]",
    "Display system-wide information",
    formats("-f, --format", table=False),
    aliases=("system info", "info"),
    examples=("layerlab info", "layerlab info -f '{{.Driver}} {{.RegistryConfig.Mirrors}}'"),
)
def info(call: Call) -> None:
    """Show what the engine tells about itself."""
    from sim.cli.commands.system import client_version

    form = call.text("format")
    template = template_of("{{json .}}" if form == "json" else form, status=64) if form else None
    found: dict[str, Any] | None = None
    problem: Failure | None = None
    try:
        found = call.engine.get("/info")
    except CannotConnectError as error:
        problem = error
    client = client_version(call.engine if problem is None else None, call.settings)
    if template is None:
        lines = ["Client:", f" Version:    {client['Version']}", f" Context:    {client['Context']}"]
        lines += [" Debug Mode: false", "", "Server:"]
        if found is not None:
            lines += server_lines(found)
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        if found is not None and found.get("Warnings"):
            warn("\n".join(found["Warnings"]))
    else:
        from sim.cli.template import Record, RunError, structured

        value = structured({**(found or {}), "ClientInfo": {**client, "Debug": False, "Plugins": [], "Warnings": None}})
        try:
            say(template.render(value if form == "json" or "json ." in form else Record("system.dockerInfo", value)))
        except RunError as error:
            print()
            raise Failure(str(error)) from None
    if problem is not None:
        raise Failure(problem.text if template is not None else f"{problem.text}\nerrors pretty printing info")

"""`layerlab daemon`: the process that the other commands speak to.

Decided here: the flags. Each is a key of `daemon.json` (`sim.images.daemonjson`); what is given both ways is refused.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path

import click

__all__ = ["command"]

_PATH = click.Path(path_type=Path)


@click.command("daemon")
@click.option("-H", "--host", "hosts", multiple=True, metavar="ADDRESS", help="Listen here: unix:///path, tcp://…")
@click.option("--data-root", metavar="DIR", help="Where images, containers and volumes are kept.")
@click.option("--config-file", type=_PATH, metavar="FILE", help="The settings' file.")
@click.option("--registry-mirror", "mirrors", multiple=True, metavar="URL", help="A mirror of Docker's registry.")
@click.option(
    "--insecure-registry", "insecure", multiple=True, metavar="NAME", help="A registry that needs no verified TLS."
)
@click.option("--storage-driver", metavar="NAME", help="What mounts containers: devfuse, fuse-python, overlayfs.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label of the daemon.")
@click.option("--log-driver", metavar="NAME", help="How the output of containers is kept.")
@click.option("--log-opt", "log_opts", multiple=True, metavar="KEY=VALUE", help="An option of the log driver.")
@click.option("--live-restore", is_flag=True, help="Containers go on while the daemon is away.")
@click.option("--icc", type=bool, metavar="BOOL", help="Whether containers on the default network reach each other.")
@click.option("--ip6tables", type=bool, metavar="BOOL", help="Let IPv6 of containers leave with the host's address.")
@click.option("-D", "--debug", is_flag=True, help="Tell more.")
@click.option("-l", "--log-level", metavar="LEVEL", help="debug, info, warn, error or fatal.")
@click.option("-G", "--group", metavar="NAME", help="The group that may use unix sockets.")
@click.option("-p", "--pidfile", metavar="FILE", help="Write the number of the process here.")
@click.option("--tls", is_flag=True, help="Speak TLS on TCP.")
@click.option("--tlsverify", is_flag=True, help="Speak TLS on TCP, and only to clients with a certificate.")
@click.option("--tlscacert", metavar="FILE", help="Who signs the clients' certificates.")
@click.option("--tlscert", metavar="FILE", help="The daemon's certificate.")
@click.option("--tlskey", metavar="FILE", help="Its key.")
def command(
    hosts: Sequence[str],
    data_root: str | None,
    config_file: Path | None,
    mirrors: Sequence[str],
    insecure: Sequence[str],
    storage_driver: str | None,
    labels: Sequence[str],
    log_driver: str | None,
    log_opts: Sequence[str],
    live_restore: bool,
    icc: bool | None,
    ip6tables: bool | None,
    debug: bool,
    log_level: str | None,
    group: str | None,
    pidfile: str | None,
    tls: bool,
    tlsverify: bool,
    tlscacert: str | None,
    tlscert: str | None,
    tlskey: str | None,
) -> None:
    """Be the daemon: images, containers, volumes and networks, for this command, the docker command and any client.

    \b
    layerlab daemon
    layerlab daemon -H unix:///run/lab.sock --data-root /var/lib/lab
    layerlab daemon --registry-mirror http://mirror.lan:5000 --debug
    """
    from sim.api.daemon import run_daemon
    from sim.images.daemonjson import read_settings

    flags: dict[str, object] = {
        "hosts": list(hosts),
        "data-root": data_root,
        "registry-mirrors": list(mirrors),
        "insecure-registries": list(insecure),
        "storage-driver": storage_driver,
        "labels": list(labels),
        "log-driver": log_driver,
        "log-opts": dict(_pair(option) for option in log_opts),
        "live-restore": live_restore or None,
        "icc": icc,
        "ip6tables": ip6tables,
        "debug": debug or None,
        "log-level": log_level,
        "group": group,
        "pidfile": pidfile,
        "tls": tls or None,
        "tlsverify": tlsverify or None,
        "tlscacert": tlscacert,
        "tlscert": tlscert,
        "tlskey": tlskey,
    }
    path = config_file or _default_file()
    read = functools.partial(read_settings, path, flags, must_exist=config_file is not None)
    run_daemon(read)


def _pair(option: str) -> tuple[str, str]:
    key, equals, value = option.partition("=")
    if not equals or not key:
        raise click.BadParameter(f"{option!r} must be of the form key=value", param_hint="--log-opt")
    return key, value


def _default_file() -> Path:
    if os.geteuid() == 0:
        return Path("/etc/layerlab/daemon.json")
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return Path(home) / "layerlab" / "daemon.json"

"""Putting containers on networks and taking them off, while they run or not.

Decided here and only here: which containers may have further networks, and what their records keep of it. What a
network gives is decided in `attachments.py`. Any thread may call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sim.engine.errors import BadParameterError, ConflictError, ForbiddenError, NotFoundError

if TYPE_CHECKING:
    from sim.engine.containers import Containers

__all__ = ["Joining"]


class Joining:
    """Changes the networks of one engine's containers."""

    def __init__(self, owner: Containers) -> None:
        self._owner = owner

    def connect(self, name: str, network: str, wish: Mapping[str, Any]) -> None:
        """Put a container, running or not, on one more network.

        Raises
        ------
        ConflictError
            It has the host's or another container's network, or is being removed.
        """
        container = self._owner.get(name)
        with container.lock:
            record, state = container.record, container.state
            mode = record.host_config.network_mode
            if state.removing or state.dead:
                raise ConflictError(
                    f"Container {container.id} is marked for removal and cannot be connected or disconnected to the"
                    " network"
                )
            if mode in ("host", "none") and network != mode:
                raise BadParameterError(
                    f"container cannot be connected to multiple networks with one of the networks in {mode} mode"
                )
            if mode.startswith("container:"):
                raise BadParameterError(
                    "container sharing network namespace with another container or host cannot be connected to any"
                    " other network"
                )
            attached = dict(record.attached)
            if state.running and not state.restarting:
                found = self._owner.engine.networks.connect(
                    record.id,
                    state.pid,
                    network,
                    wish,
                    name=record.name,
                    hostname=record.config.hostname,
                    servers=record.host_config.dns or (),
                )
                attached[found.name] = found.settings
            elif network in record.networks:
                raise ForbiddenError(f"endpoint with name {record.name} already exists in network {network}")
            container.save(networks={**record.networks, network: dict(wish)}, attached=attached)
            if state.running and not state.restarting:
                self._owner.starting.renew_files(container.record)

    def disconnect(self, name: str, network: str, *, force: bool = False) -> None:
        """Take a container, running or not, off a network."""
        try:
            container = self._owner.get(name)
        except NotFoundError:
            if not force:
                raise
            self._owner.engine.networks.detach(name, network)
            return
        with container.lock:
            record, state = container.record, container.state
            if record.host_config.network_mode == "host" and network == "host":
                raise ForbiddenError("container cannot be disconnected from host network or connected to host network")
            if network not in record.networks and network not in record.attached:
                raise ForbiddenError(f"container {container.id} is not connected to network {network}")
            if state.running and not state.restarting:
                self._owner.engine.networks.disconnect(record.id, state.pid, network)
            container.save(
                networks={key: wish for key, wish in record.networks.items() if key != network},
                attached={key: settings for key, settings in record.attached.items() if key != network},
            )
            if state.running and not state.restarting:
                self._owner.starting.renew_files(container.record)

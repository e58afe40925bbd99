"""Other limits and another restart policy for a container that is there already.

Decided here and only here: which fields may be changed, and what is refused. Any thread may call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from sim.engine.checking import check_limits
from sim.engine.errors import BadParameterError, ConflictError
from sim.engine.model import HostConfig, RestartPolicy
from sim.engine.specs import limits_of
from sim.runtime import ContainerError, UnsupportedError

if TYPE_CHECKING:
    from sim.engine.containers import Containers

__all__ = ["Updating"]

_FIELDS = (
    "blkio_weight", "cpu_period", "cpu_quota", "cpu_realtime_period", "cpu_realtime_runtime", "cpu_shares",
    "cpuset_cpus", "cpuset_mems", "memory", "memory_reservation", "memory_swap", "nano_cpus", "pids_limit",
)  # fmt: skip


class Updating:
    """Changes the containers of one engine."""

    def __init__(self, owner: Containers) -> None:
        self._owner = owner

    def update(self, name: str, wish: HostConfig, policy: RestartPolicy | None = None) -> list[str]:
        """Set limits and the restart policy; return warnings.

        Parameters
        ----------
        wish
            Limits; those that are 0 or empty stay as they are.
        policy
            None leaves it as it is.

        Raises
        ------
        BadParameterError, ConflictError
            They cannot be so.
        """
        container = self._owner.get(name)
        check_limits(replace(wish, memory_swap=0) if not wish.memory else wish)
        if policy is not None and policy.name not in ("", "no", "always", "unless-stopped", "on-failure"):
            raise BadParameterError(f"invalid restart policy '{policy.name}'")
        with container.lock:
            before = f"Cannot update container {container.id}: "
            state, host = container.state, container.record.host_config
            if state.removing or state.dead:
                raise ConflictError(f'{before}Container is marked for removal and cannot be "update".')
            if policy is not None and host.auto_remove and policy.name not in ("", "no"):
                raise ConflictError(
                    f"{before}Restart policy cannot be updated because AutoRemove is enabled for the container"
                )
            changes = {field: getattr(wish, field) for field in _FIELDS if getattr(wish, field)}
            if wish.memory and host.memory_swap and wish.memory > host.memory_swap > 0 and not wish.memory_swap:
                raise ConflictError(
                    f"{before}Memory limit should be smaller than already set memoryswap limit, update the memoryswap"
                    " at the same time"
                )
            fresh = replace(host, **changes)
            if wish.pids_limit is not None and wish.pids_limit <= 0:
                fresh = replace(fresh, pids_limit=None)
            if policy is not None:
                fresh = replace(fresh, restart_policy=policy)
            warnings: tuple[str, ...] = ()
            shim = container.shim
            if shim is not None and state.running and not state.restarting and limits_of(fresh) != limits_of(host):
                try:
                    warnings = shim.update(limits_of(fresh))
                except UnsupportedError:
                    warnings = ("this container has no control groups: the limits count from its next start on",)
                except ContainerError as error:
                    raise ConflictError(f"{before}{error}") from None
            container.save(host_config=fresh)
        self._owner.tell(container, "update")
        return list(warnings)

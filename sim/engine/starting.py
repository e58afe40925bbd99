"""The start of a container: what is mounted, plugged in and forked for it, in this order, and undone where it fails.

Decided here and only here: what makes a start, and which states forbid it. A start is noted in the record before it
begins: a daemon that is killed in the middle of one leaves a container that the next one ends, since nobody was told
that it had started. Any thread may call.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from fusefs import FusefsError
from sim.engine.container import Container, PendingStream
from sim.engine.creating import has_user_network
from sim.engine.endpoints import Attachment
from sim.engine.errors import BadParameterError, ConflictError, EngineError, NotFoundError, NotModifiedError
from sim.engine.health import HealthCheck
from sim.engine.links import links_of, renew_hosts
from sim.engine.model import Record
from sim.engine.mounting import Mounting
from sim.engine.portspecs import shown_ports
from sim.engine.specs import joined_container, log_options, process_spec, write_etc_files
from sim.images import ImagesError
from sim.runtime import Bind, ContainerError, NotRunningError
from sim.runtime import Container as Shim
from sim.runtime.usernet import user_network_fault

if TYPE_CHECKING:
    from sim.engine.containers import Containers

__all__ = ["Starting"]

_log = logging.getLogger("layerlab.containers")


class Starting:
    """Starts the containers of one engine."""

    def __init__(self, owner: Containers) -> None:
        self._owner = owner
        self._engine = owner.engine

    def start(self, name: str) -> None:
        """Start a container.

        Raises
        ------
        NotModifiedError
            It runs already.
        ConflictError
            It is paused, or being removed.
        ContainerError, EngineError
            It cannot be started; its record says why.
        """
        container = self._owner.get(name)
        with container.lock:
            self.check(container)
            self.cancel_restart(container)
            container.delay = 0.0
            container.save(restart_count=0, manually_stopped=False)
            self.run(container)

    def check(self, container: Container) -> None:
        """Refuse to start what cannot be started as it is."""
        state = container.state
        if state.paused:
            raise ConflictError("cannot start a paused container, try unpause instead")
        if container.gone:
            raise NotFoundError(f"No such container: {container.id}")
        if state.removing or state.dead:
            raise ConflictError("container is marked for removal and cannot be started")
        if state.running and not state.restarting:
            raise NotModifiedError("")
        if self._owner.closing:
            raise ConflictError("the daemon is shutting down: nothing is started any more")

    def run(self, container: Container) -> None:
        """Start a container whose lock is held.

        Raises
        ------
        ContainerError, EngineError
            It did not start; its state says so.
        """
        container.become(starting=True, error="", oom_killed=False)
        try:
            with contextlib.ExitStack() as undo:
                shim = self._launch(container, undo)
                undo.pop_all()
        except (ContainerError, EngineError, FusefsError, ImagesError, OSError) as error:
            self._failed(container, error)
            raise self._worded(error) from error
        except BaseException as error:
            self._failed(container, error)
            raise
        status = shim.status()
        container.shim = shim
        started = status.started
        container.save(
            ports=shown_ports(status.ports),
            state=replace(
                container.state,
                starting=False,
                running=True,
                restarting=False,
                paused=False,
                pid=status.pid,
                exit_code=0,
                started=started,
                finished=container.state.finished,
                error="",
                health=HealthCheck.first(container.record.config),
            ),
        )
        self.follow(container, shim)
        container.told()
        self._owner.tell(container, "start")
        self._tell_linked(container)

    def _tell_linked(self, container: Container) -> None:
        """Let those that have a link to a container know its address, which may be another than before."""
        for other in self._owner.all():
            if other is container or not other.state.running or not other.record.host_config.links:
                continue
            links = [link for link in links_of(self._owner, other.record) if link.container is container]
            if links:
                with contextlib.suppress(OSError):  # it is just being removed
                    renew_hosts(self._owner.rootfs.directory(other.id) / "hosts", links)

    @staticmethod
    def _worded(error: Exception) -> Exception:
        """Return an error with the words that the docker command looks for to find the exit status."""
        if isinstance(error, ContainerError) and error.code in (126, 127):
            text = "failed to create task for container: failed to create shim task: OCI runtime create failed:"
            return type(error)(f"{text} unable to start container process: {error}: unknown")
        return error

    def _failed(self, container: Container, error: BaseException) -> None:
        """Note that a start failed; a container of `--rm` goes."""
        code = error.code if isinstance(error, ContainerError) else 128
        text = str(self._worded(error)) if isinstance(error, Exception) else str(error)
        state = replace(
            container.state, starting=False, running=False, restarting=False, pid=0, exit_code=code, error=text
        )
        container.save(state=state, attached={}, ports={})
        self.give_up_waiting(container)
        container.told()  # it has not ended: whoever asked for the start is told why there was none
        if container.record.host_config.auto_remove:
            self._owner.removing.remove_ended(container)

    def give_up_waiting(self, container: Container) -> None:
        """Let those go who were attached before a start that did not come to pass."""
        waiting, container.waiting = container.waiting, []
        for each in waiting:
            each.give_up()

    def _launch(self, container: Container, undo: contextlib.ExitStack) -> Shim:
        self._take_name(container)
        record = container.record
        namespaces = self._joined(record)
        for point in record.mounts:
            if point.type == "volume":
                self._engine.volumes.use(point.name, record.id)
            elif point.type == "bind" and point.makes:
                _make_source(point.source)
        mounting = Mounting(self._owner.rootfs, record)  # while the rest is made
        undo.callback(mounting.undo)
        undo.callback(self._engine.networks.detach, record.id)
        attachments = self._attach(record)
        binds = self._etc(record, attachments)
        linked = container.link_variables()
        merged = self._owner.rootfs.merged(record.id)
        spec = process_spec(record, merged, attachments, binds, linked=linked, **namespaces)
        directory = self._owner.rootfs.directory(record.id)
        config = record.config
        # A terminal stays open when the one who typed lets go: detached from, it can be attached to again.
        stdin = "none" if not config.open_stdin else "once" if config.stdin_once and not config.tty else "open"
        shim = Shim.create(directory, spec, log=log_options(record, self.log_path(record.id)), stdin=stdin)
        undo.callback(shim.abandon)
        waiting, container.waiting = container.waiting, []
        for each in waiting:
            each.connect(shim)
        mounting.wait()
        for warning in shim.start():
            _log.warning("container %s: %s", record.short_id, warning)
        container.save(attached={each.name: each.settings for each in attachments})
        return shim

    def log_path(self, container: str) -> Path:
        """Return where a container's output is kept."""
        return self._owner.rootfs.directory(container) / f"{container}-json.log"

    def _take_name(self, container: Container) -> None:
        """Give a container the host name of the one whose network it joins."""
        config = container.record.config
        joined = joined_container(container.record.host_config.network_mode)
        if joined and not config.hostname:
            with contextlib.suppress(NotFoundError):  # that it is not there is told where it is joined
                other = self._owner.get(joined).record.config
                container.save(config=replace(config, hostname=other.hostname, domainname=other.domainname))

    def _joined(self, record: Record) -> dict[str, str]:
        """Return the files of the namespaces that a container joins."""
        host = record.host_config
        found = {"network": "host" if host.network_mode == "host" else "new"}
        if has_user_network(host):
            fault = user_network_fault()
            if fault:
                _log.warning("container %s: no way to the outside: %s", record.short_id, fault)
            found["network"] = "new" if fault else "user"
        for kind, mode, file in (
            ("network", host.network_mode, "net"),
            ("pid", host.pid_mode, "pid"),
            ("ipc", host.ipc_mode, "ipc"),
        ):
            name = joined_container(mode)
            if not name:
                continue
            try:
                other = self._owner.get(name)
            except NotFoundError as error:
                raise ConflictError(f"cannot join {kind} of a container: {error}") from None
            if not other.state.running or other.state.restarting:
                raise ConflictError(f"cannot join {kind} of a non running container: {other.id}")
            found[kind] = f"/proc/{other.state.pid}/ns/{file}"
        return found

    def _attach(self, record: Record) -> list[Attachment]:
        found: list[Attachment] = []
        if has_user_network(record.host_config):
            return found
        for network, wish in record.networks.items():
            attachment = self._engine.networks.attach(
                record.id,
                network,
                wish,
                name=record.name,
                hostname=record.config.hostname,
                servers=record.host_config.dns or (),
            )
            for warning in attachment.warnings:
                _log.warning("container %s: %s", record.short_id, warning)
            found.append(attachment)
        return found

    def _etc(self, record: Record, attachments: list[Attachment], *, starts: bool = True) -> tuple[Bind, ...]:
        """Write the container's files of /etc, or take those of the container whose network it joins.

        `starts` is whether it is about to start: then those that it is linked to must run.
        """
        directory = self._owner.rootfs.directory(record.id)
        joined = joined_container(record.host_config.network_mode)
        if joined:
            other = self._owner.rootfs.directory(self._owner.get(joined).id)
            for name in ("hosts", "hostname", "resolv.conf"):
                if not (directory / name).exists() and (other / name).exists():
                    shutil.copyfile(other / name, directory / name)
            over = {point.destination for point in record.mounts}
            return tuple(
                Bind(other / name, f"/etc/{name}")
                for name in ("hosts", "hostname", "resolv.conf")
                if f"/etc/{name}" not in over and (other / name).exists()
            )
        gateway = next((each.interface.gateway for each in attachments if each.interface), "")
        hosts = []
        for entry in record.host_config.extra_hosts or ():
            name, _, address = entry.partition(":")
            hosts.append((gateway or "127.0.0.1" if address == "host-gateway" else address.strip("[]"), name))
        links = links_of(self._owner, record, running=starts)
        hosts += [(link.address, link.host_names) for link in links if link.address]
        return write_etc_files(record, directory, attachments, hosts)

    def renew_files(self, record: Record) -> None:
        """Let a running container's files of /etc tell of the networks that it is on now."""
        self._etc(record, self._engine.networks.attachments(record.id), starts=False)

    def follow(self, container: Container, shim: Shim) -> None:
        """Learn of a running container's end, and of its health."""
        self._owner.watching.watch(shim.notice(), lambda: self._owner.ending.ended(container, shim))
        check = HealthCheck.of(self._owner, container)
        if check is not None:
            container.health = check
            check.start()

    def cancel_restart(self, container: Container) -> None:
        """Let a container whose restart is due not be started by its policy."""
        timer, container.timer = container.timer, None
        if timer is not None:
            timer.cancel()

    def wait_for_start(self, container: Container, *, stdin: bool, stdout: bool, stderr: bool) -> PendingStream:
        """Be attached to a container from its next start on."""
        pending = PendingStream(stdin=stdin, stdout=stdout, stderr=stderr)
        with container.lock:
            shim = container.shim
            if shim is not None and container.state.running and not container.state.restarting:
                try:
                    pending.connect(shim)
                except NotRunningError:
                    pending.give_up()
            elif container.gone:
                pending.give_up()
            else:
                container.waiting.append(pending)
        return pending


def _make_source(source: str) -> None:
    """Make the directory of the host that a bind names, where there is nothing."""
    if os.path.lexists(source):
        return
    try:
        os.makedirs(source, 0o755, exist_ok=True)
    except OSError as error:
        raise BadParameterError(
            f"error while creating mount source path '{source}': mkdir {source}: {(error.strerror or '').lower()}"
        ) from None

"""The reference engine itself: it runs, it builds, and its network is its own."""

from __future__ import annotations

import os

from tests.dockerd import ReferenceEngine, reference_engine

__all__ = ["reference_engine"]


def test_the_reference_engine_runs_containers_apart_from_the_machine(reference_engine: ReferenceEngine) -> None:
    reference_engine.busybox()
    client = reference_engine.client()
    try:
        out = client.containers.run("busybox", ["sh", "-c", "ip -o addr; cat /etc/hostname"], remove=True)
    finally:
        client.close()
    assert b"172.30.90." in out
    own = os.readlink("/proc/self/ns/net")
    assert os.readlink(f"/proc/{reference_engine.pid}/ns/net") != own

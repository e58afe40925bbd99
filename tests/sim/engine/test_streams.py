"""The relay between a client and a process: order, half-closed ends, slow readers, keys that detach."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sim.engine.streams import Pipes, Relay, ShimStream
from sim.runtime import DetachKeys


@contextmanager
def process() -> Iterator[tuple[Pipes, int, int, int]]:
    """Have the pipes of a process, and the process's ends of them."""
    theirs_in, ours_in = os.pipe()
    ours_out, theirs_out = os.pipe()
    ours_err, theirs_err = os.pipe()
    far = Pipes(ours_in, ours_out, ours_err)
    try:
        yield far, theirs_in, theirs_out, theirs_err
    finally:
        far.close()


def started(relay: Relay) -> tuple[threading.Thread, list[bool]]:
    """Run a relay in a thread; what it says comes into the list."""
    said: list[bool] = []
    thread = threading.Thread(target=lambda: said.append(relay.run()))
    thread.start()
    return thread, said


def everything(client: socket.socket) -> bytes:
    """Read to the end."""
    found = b""
    while part := client.recv(1 << 16):
        found += part
    return found


def test_output_is_framed_and_input_passed_on_until_its_end() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, process() as (far, stdin, stdout, stderr):
        thread, said = started(Relay(theirs, far, b"first "))
        ours.sendall(b"second")
        ours.shutdown(socket.SHUT_WR)
        with open(stdin, "rb") as source:
            assert source.read() == b"first second"
        os.write(stdout, b"out")
        os.close(stdout)
        os.write(stderr, b"error")
        os.close(stderr)
        thread.join(20)
        found = everything(ours)
    assert said == [True]
    frames = {}
    while found:
        stream, size = struct.unpack(">BxxxI", found[:8])
        frames[stream] = found[8 : 8 + size]
        found = found[8 + size :]
    assert frames == {1: b"out", 2: b"error"}


def test_much_in_both_directions_at_once() -> None:
    """A process that echoes: neither direction may wait for the other."""
    ours, theirs = socket.socketpair()
    data = os.urandom(4 << 20)
    with ours, theirs, process() as (far, stdin, stdout, stderr):
        os.close(stderr)

        def echo() -> None:
            with open(stdin, "rb", buffering=0) as source, open(stdout, "wb", buffering=0) as sink:
                while part := source.read(1 << 16):
                    sink.write(part)

        workers = [threading.Thread(target=echo)]
        thread, said = started(Relay(theirs, far))

        def type_all() -> None:
            ours.sendall(data)
            ours.shutdown(socket.SHUT_WR)

        workers.append(threading.Thread(target=type_all))
        for worker in workers:
            worker.start()
        found = everything(ours)
        for worker in (*workers, thread):
            worker.join(20)
    back = b""
    while found:
        _, size = struct.unpack(">BxxxI", found[:8])
        back += found[8 : 8 + size]
        found = found[8 + size :]
    assert back == data
    assert said == [True]


def test_a_client_that_goes_away_ends_it() -> None:
    ours, theirs = socket.socketpair()
    with theirs, process() as (far, stdin, stdout, stderr):
        thread, said = started(Relay(theirs, far))
        ours.close()
        thread.join(20)
        assert said == [False]
        for each in (stdin, stdout, stderr):
            os.close(each)


def test_keys_that_detach_are_not_passed_on() -> None:
    ours, theirs = socket.socketpair()
    near, far = socket.socketpair()
    with ours, theirs, near:
        relay = Relay(theirs, ShimStream(far, typing=True), keys=DetachKeys())
        thread, said = started(relay)
        near.sendall(b"prompt")
        assert ours.recv(6) == b"prompt"
        ours.sendall(b"ls\x10\x11never")
        thread.join(20)
        assert (said, relay.detached) == ([False], True)
        assert near.recv(100) == b"ls"
        assert everything(ours) == b""
        far.close()


def test_what_is_left_when_the_process_has_ended_is_still_passed_on() -> None:
    ours, theirs = socket.socketpair()
    over = os.eventfd(0)
    with ours, theirs, process() as (far, stdin, stdout, stderr):
        os.write(stdout, b"x" * 1000)
        os.eventfd_write(over, 1)  # and somebody else holds the pipes open
        thread, said = started(Relay(theirs, far, over=(over,)))
        found = everything(ours)
        thread.join(20)
        assert said == [True]
        assert found[8:] == b"x" * 1000
        for each in (stdin, stdout, stderr, over):
            os.close(each)

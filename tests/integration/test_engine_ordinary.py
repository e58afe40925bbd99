"""An ordinary user's engine: containers, ports, commits and builds without root, and words for what only root has."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

from tests.conftest import ROOT, User


class Ordinary:
    """The command line of an ordinary user, whose first command starts the daemon."""

    def __init__(self, user: User) -> None:
        self._user = user
        self._own = {"XDG_RUNTIME_DIR": str(user.home), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}

    def __call__(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script in which `L` is the command."""
        text = f'L() {{ {sys.executable} -P -m sim.cli "$@"; }}\n{script}'
        return self._user.run(["sh", "-c", text], environment=self._own, timeout=100)


@pytest.fixture
def shell(user: User, fuse: None) -> Ordinary:
    return Ordinary(user)


STOP = """
pid=$(sed -n 's/.*starting up, process \\([0-9]*\\).*/\\1/p' "$HOME/.local/share/layerlab/daemon.log")
kill "$pid"; while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
"""


def lines(done: subprocess.CompletedProcess[str]) -> Sequence[str]:
    return [line for line in done.stdout.splitlines() if "started the daemon" not in line]


@pytest.mark.timeout(120)
def test_an_ordinary_users_engine(shell: Ordinary) -> None:
    port = 20000 + os.getpid() % 10000
    done = shell(f"""
        exec 2>&1
        L base base:1 >/dev/null
        L doctor --json | grep -o "ports, no bridges"
        L run --rm base:1 sh -c 'id -u; ping -c 1 $(hostname) | grep -c "64 bytes"'; echo "ended with $?"
        L run --rm --network none base:1 false; echo "ended with $?"
        L run -d --name web -p 127.0.0.1:{port}:80 base:1 \
            sh -c 'mkdir /w; echo a page >/w/index.html; exec httpd -f -p 80 -h /w' >/dev/null
        for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
            {sys.executable} -c 'import urllib.request as r; print(r.urlopen("http://127.0.0.1:{port}/").read())' \
                2>/dev/null && break
            sleep 0.2
        done
        L exec web sh -c 'echo x >/made'
        L diff web
        L commit web made:1 >/dev/null; echo "ended with $?"
        L run --rm made:1 ls -n /made | cut -c1-16
        L rm -f web
        L network create other >/dev/null
        L run --rm --network other base:1 true; echo "ended with $?"
        L ps -aq | wc -l
        {STOP}
    """)
    assert lines(done)[:4] == ["ports, no bridges", "0", "1", "ended with 0"], done
    assert lines(done)[4:6] == ["ended with 1", "b'a page\\n'"]
    assert lines(done)[6:9] == ["A /made", "A /w", "A /w/index.html"]
    assert lines(done)[9:12] == ["ended with 0", "-rw-r--r--    1 ", "web"]
    assert "only root can make bridges: use the network default, none or host" in done.stdout
    assert "ended with 125" in lines(done)
    assert lines(done)[-1] == "0", "nothing is left of what could not be started"


def test_a_container_that_cannot_be_removed_keeps_nobody_waiting(shell: Ordinary) -> None:
    """The trash is where a container goes first: where nothing can be put there, the command says why and ends."""
    done = shell(f"""
        exec 2>&1
        L base base:1 >/dev/null
        chmod 500 "$HOME/.local/share/layerlab/trash"
        L run --rm base:1 true; echo "ended with $?"
        chmod 700 "$HOME/.local/share/layerlab/trash"
        L rm $(L ps -aq) >/dev/null; echo "ended with $?"
        {STOP}
    """)
    assert "failed to remove root filesystem" in done.stdout, done
    assert [line for line in lines(done) if line.startswith("ended")] == ["ended with 125", "ended with 0"]

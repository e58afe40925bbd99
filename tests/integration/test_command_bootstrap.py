"""The script in the checkout: what it sets up, when it does so again, and what it says when it cannot.

A stand-in for Python notes what the script asks of it, so that nothing is downloaded here.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FAKE = """#!/bin/sh
case "$*" in
    -c*) exec "$REAL_PYTHON" "$@" ;;
    "-m venv -- "*)
        echo venv >>"$NOTES"
        mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
    "-m pip install "*)
        echo "pip $(pwd) $*" >>"$NOTES"
        echo "${PIP_SAYS-}"
        sleep "${PIP_SECONDS-0}"
        exit "${PIP_STATUS-0}" ;;
    "-P -m sim.cli"*)
        shift 3
        printf '%s\\n' "$LAYERLAB_COMMAND" "$@" ;;
    *) echo "unexpected: $*" >&2; exit 99 ;;
esac
"""


@dataclass
class Checkout:
    """A copy of the script and of what it depends on."""

    place: Path
    notes: Path
    environment: dict[str, str]

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.place / "layerlab", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd="/",
            env={**self.environment, **environment},
            start_new_session=True,
        )

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        process = self.start(*arguments, **environment)
        out, complaint = process.communicate(timeout=60)
        return process.returncode, out, complaint

    def noted(self) -> list[str]:
        """Return what was asked of Python since the last call."""
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        self.notes.unlink(missing_ok=True)
        return [line.split()[0] for line in lines]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    place = tmp_path / "my checkout"
    place.mkdir()
    for name in ("layerlab", "pyproject.toml", "constraints.txt"):
        shutil.copy2(ROOT / name, place)
    tools = tmp_path / "bin"
    tools.mkdir()
    fake = tools / "fake-python"
    fake.write_text(FAKE)
    # Nothing may be installed on the machine by a test.
    (tools / "apt-get").write_text('#!/bin/sh\necho "$*" >>"$NOTES.apt"\necho "E: no such luck"\nexit 100\n')
    for tool in (fake, tools / "apt-get"):
        tool.chmod(0o755)
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tree/etc").mkdir(parents=True)
    (tmp_path / "tree/etc/debian_version").touch()  # so that no root filesystem is made
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "LAYERLAB_PYTHON": str(fake),
        "REAL_PYTHON": sys.executable,
        "NOTES": str(tmp_path / "notes"),
        "TMPDIR": str(tmp_path / "tmp"),
        "LAYERLAB_DEBIAN_TREE": str(tmp_path / "tree"),
    }
    found = Checkout(place, tmp_path / "notes", environment)
    if not all(map(shutil.which, ("cc", "pkg-config", "fusermount3", "busybox"))):
        pytest.skip("needs the system packages that the script installs; run the tests with ./layerlab test")
    return found


def test_set_up_once_then_start(checkout: Checkout) -> None:
    status, out, said = checkout.run("mount", "a b", "*")
    assert (status, out) == (0, f"{checkout.place}/layerlab\nmount\na b\n*\n")
    assert said.startswith("layerlab: installing the project")
    assert said.count("\n") == 1
    assert checkout.noted() == ["venv", "pip"]
    assert checkout.run("x")[2] == ""
    assert checkout.noted() == []
    assert os.listdir(checkout.place.parent / "tmp") == []


def test_from_elsewhere_and_through_a_link(checkout: Checkout, tmp_path: Path) -> None:
    checkout.run()
    link = tmp_path / "link"
    link.symlink_to(checkout.place / "layerlab")
    done = subprocess.run([link, "x"], capture_output=True, text=True, env=checkout.environment, cwd="/", check=False)
    assert done.stdout.splitlines()[1:] == ["x"]
    assert checkout.noted() == ["venv", "pip"]


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_what_changed_is_installed_again(checkout: Checkout, name: str) -> None:
    checkout.run()
    checkout.noted()
    with (checkout.place / name).open("a") as file:
        file.write("# changed\n")
    checkout.run()
    assert checkout.noted() == ["pip"]
    checkout.run()
    assert checkout.noted() == []


def test_a_moved_checkout_is_set_up_anew(checkout: Checkout) -> None:
    checkout.run()
    checkout.noted()
    moved = checkout.place.with_name("moved")
    checkout.place.rename(moved)
    checkout.place = moved
    assert checkout.run("x")[0] == 0
    assert checkout.noted() == ["venv", "pip"]


def test_what_tests_need_is_installed_for_tests_only(checkout: Checkout) -> None:
    checkout.run()
    assert "pytest>=" not in checkout.notes.read_text()
    checkout.noted()
    status, _, _ = checkout.run("test", "nothing")
    if checkout.notes.exists():
        assert status == 99  # the stand-in has no pytest
        assert "pytest>=" in checkout.notes.read_text()
    else:  # a tool for tests is missing here, and apt-get, which gives nothing, was asked for it
        assert status == 1
        assert "install" in Path(f"{checkout.notes}.apt").read_text()


def test_an_environment_made_by_hand_is_used(checkout: Checkout) -> None:
    python = checkout.place / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    shutil.copy2(checkout.environment["LAYERLAB_PYTHON"], python)
    (checkout.place / ".venv/mine").touch()
    assert checkout.run()[0] == 0
    assert checkout.noted() == ["pip"]
    assert (checkout.place / ".venv/mine").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_set_up_is_begun_anew(checkout: Checkout, number: signal.Signals) -> None:
    process = checkout.start(PIP_SECONDS="100")
    try:
        end = time.monotonic() + 60
        while not checkout.notes.exists() or "pip" not in checkout.notes.read_text():
            assert time.monotonic() < end, "the set-up does not get to its installation"
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, number)
        _, said = process.communicate(timeout=40)
    if number != signal.SIGKILL:
        assert process.returncode == 130
        assert said.splitlines()[-1] == "layerlab: set-up interrupted; the next start takes it up again"
        assert os.listdir(checkout.place.parent / "tmp") == []
    checkout.noted()
    assert checkout.run("x")[:2] == (0, f"{checkout.place}/layerlab\nx\n")
    assert checkout.noted() == ["venv", "pip"]


def test_two_starts_at_once_set_up_once(checkout: Checkout) -> None:
    processes = [checkout.start("x", PIP_SECONDS="1") for _ in range(3)]
    said = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert checkout.noted() == ["venv", "pip"]
    assert sum("waiting for it" in complaint for _, complaint in said) == 2


@pytest.mark.parametrize(
    ("log", "named"),
    [
        ("Retrying: [Errno -3] Temporary failure in name resolution", "cannot be reached"),
        ("ERROR: Could not install packages: [Errno 28] No space left on device", "No space left on device"),
        ("ERROR: No matching distribution found for click", "No matching distribution found for click"),
        ("", "could not be installed"),
    ],
)
def test_what_keeps_it_from_installing_is_one_line(checkout: Checkout, log: str, named: str) -> None:
    status, out, said = checkout.run("x", PIP_STATUS="1", PIP_SAYS=log)
    assert (status, out) == (1, "")
    lines = said.splitlines()
    assert len(lines) == 2
    assert named in lines[1]
    (left,) = os.listdir(checkout.place.parent / "tmp")
    assert left in lines[1]
    checkout.noted()
    assert checkout.run("x")[0] == 0
    assert checkout.noted() == ["venv", "pip"]


@pytest.mark.usefixtures("root")
def test_missing_packages_are_named_with_the_reason(checkout: Checkout, tmp_path: Path) -> None:
    # A PATH on which the compiler and busybox are missing.
    tools = tmp_path / "few"
    tools.mkdir()
    for directory in ("/usr/bin", "/bin", "/usr/sbin", "/sbin"):
        for name in os.listdir(directory):
            if name not in ("cc", "busybox", "apt-get", "sudo") and not (tools / name).exists():
                (tools / name).symlink_to(f"{directory}/{name}")
    path = f"{tmp_path / 'bin'}:{tools}"
    status, out, said = checkout.run("x", PATH=path)
    assert (status, out) == (1, "")
    first, second = said.splitlines()
    assert first.startswith("layerlab: installing system packages: gcc (building fuse-python), busybox-static (the ")
    assert "gcc busybox-static could not be installed: E: no such luck" in second
    asked = Path(f"{checkout.notes}.apt").read_text().splitlines()
    assert asked[-1].endswith("install gcc busybox-static")
    # Without a network nothing is known of any package: that is what is said.
    (tmp_path / "bin/apt-get").write_text(
        "#!/bin/sh\necho \"Err: Temporary failure resolving 'deb.debian.org'\"\n"
        'echo "E: Unable to locate package gcc"\nexit 100\n'
    )
    status, _, said = checkout.run("x", PATH=path)
    assert status == 1
    assert "cannot be reached; a network is needed" in said.splitlines()[1]
    # One that the distribution does not have is left out.
    (tmp_path / "bin/apt-get").write_text(
        '#!/bin/sh\necho "$*" >>"$NOTES.apt"\ncase "$*" in *busybox*) ;; *) exit 0 ;; esac\n'
        'echo "E: Unable to locate package busybox-static"\nexit 100\n'
    )
    status, _, said = checkout.run("x", PATH=path)
    assert status == 0
    assert "not in this distribution, trying without: busybox-static" in said
    asked = Path(f"{checkout.notes}.apt").read_text().splitlines()
    assert asked[-1].endswith("install gcc")


def test_a_python_that_is_too_old_is_passed_over(checkout: Checkout, tmp_path: Path) -> None:
    old = tmp_path / "bin" / "old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    shutil.copy2(tmp_path / "bin" / "fake-python", tmp_path / "bin" / "python3")
    assert checkout.run("x", LAYERLAB_PYTHON=str(old))[0] == 0
    assert checkout.noted() == ["venv", "pip"]


def test_the_script_is_one_that_every_shell_reads(tool: object) -> None:
    for shell in ("sh", "bash"):
        subprocess.run([shell, "-n", ROOT / "layerlab"], check=True)
        subprocess.run([shell, "-n", ROOT / ".ci/run"], check=True)

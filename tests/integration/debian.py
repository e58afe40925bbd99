"""Small Debian packages and a Debian tree for the tests, without a network."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

#: What Debian's maintainers built, if apt has it here: small, and its dependencies are in every Debian tree.
REAL = ("attr", "acl", "tree", "hello")

_CONTROL = """\
Package: {name}
Version: 1.0
Architecture: all
Maintainer: layerlab <layerlab@example.org>
Description: a small package
 with a program, a configuration file and scripts.
"""

_SCRIPTS = {
    "postinst": "#!/bin/sh\nset -e\nchown 7:8 /usr/share/{name}/owned\necho configured > /var/lib/{name}\n",
    "prerm": "#!/bin/sh\nset -e\nrm -f /var/lib/{name}\n",
    "conffiles": "/etc/{name}.conf\n",
}


def debian_tree() -> Path:
    """Return a directory with a Debian root filesystem; skip the test where there is none."""
    tree = Path(os.environ.get("LAYERLAB_DEBIAN_TREE") or "~/.cache/layerlab/debian-tree").expanduser()
    if not (tree / "usr/bin/apt-get").exists():
        pytest.skip(f"needs a Debian tree: run 'debootstrap --variant=minbase stable {tree}' as root")
    return tree


def build_package(place: Path, name: str) -> Path:
    """Make a package in a directory and return its file."""
    tree = place / f"{name}.tree"
    files = {
        f"usr/bin/{name}": (f"#!/bin/sh\necho {name} runs\n", 0o755),
        f"usr/share/{name}/owned": ("owned\n", 0o640),
        f"usr/share/doc/{name}/copyright": ("free\n" * 2000, 0o644),
        f"etc/{name}.conf": ("option = 1\n", 0o644),
        "DEBIAN/control": (_CONTROL.format(name=name), 0o644),
        **{f"DEBIAN/{script}": (text.format(name=name), 0o755) for script, text in _SCRIPTS.items()},
    }
    for path, (text, mode) in files.items():
        at = tree / path
        at.parent.mkdir(parents=True, exist_ok=True)
        at.parent.chmod(0o755)
        at.write_text(text)
        at.chmod(0o644 if at.name == "conffiles" else mode)
    (tree / f"usr/share/{name}/hard").hardlink_to(tree / f"usr/share/{name}/owned")
    (tree / f"usr/share/{name}/soft").symlink_to("owned")
    package = place / f"{name}_1.0_all.deb"
    command = ["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", str(tree), str(package)]
    subprocess.run(command, check=True, capture_output=True)
    return package


def real_packages() -> list[Path]:
    """Return files of packages that Debian's maintainers built, as far as apt has them here."""
    cache = Path("/var/cache/apt/archives")
    return [next(cache.glob(f"{name}_*.deb")) for name in REAL if any(cache.glob(f"{name}_*.deb"))]


def write_index(repository: Path) -> None:
    """Make a directory of packages one that apt can install from."""
    stanzas = []
    for package in sorted(repository.glob("*.deb")):
        control = subprocess.run(["dpkg-deb", "-f", str(package)], check=True, capture_output=True, text=True).stdout
        data = package.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        stanzas.append(f"{control.strip()}\nFilename: ./{package.name}\nSize: {len(data)}\nSHA256: {digest}\n")
    (repository / "Packages").write_text("\n".join(stanzas))

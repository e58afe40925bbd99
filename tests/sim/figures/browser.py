"""What a real browser makes of a page."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

#: A browser that starts quickly, asks nobody for anything, and leaves nothing outside its profile.
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--virtual-time-budget=2000",
)  # fmt: skip


def shown(tmp_path: Path, page: str, where: str = "", script: str = "", dark: bool = False) -> str:
    """Return the elements of a page as Chromium shows it, without its script.

    Parameters
    ----------
    tmp_path
        For the page and the browser's profile.
    page
        The page.
    where
        What comes after the #.
    script
        Run after the page's own, as a person's hands would.
    dark
        Whether the person prefers dark pages.
    """
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium is installed (Debian's package: chromium)")
    file = tmp_path / "page.html"
    file.write_text(page.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    command = [browser, *_OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    command.append(f"--blink-settings=preferredColorScheme={0 if dark else 1}")
    done = subprocess.run([*command, f"{file.as_uri()}#{quote(where)}"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return html.unescape(re.sub(r"<(script|style).*?</\1>", "", done.stdout, flags=re.S))

"""How operations are grouped and put into words."""

from __future__ import annotations

import io

from rich.console import Console

from fusefs.operation import Effect, EffectKind, Kind, Operation
from sim.cli.demoshow import LayerRow, group, show_operations, stack_table, summary
from sim.cli.words import effect_words

LOOK = Operation(Kind.GETATTR, "/etc", layer=1)
READ = Operation(Kind.READ, "/etc/motd", layer=2, size=10)
RUN = Operation(Kind.READ, "/bin/busybox", layer=2, size=10)
COPY = Operation(
    Kind.OPEN,
    "/etc/passwd",
    layer=0,
    effects=(Effect(EffectKind.COPIED_UP, "/etc", 1), Effect(EffectKind.COPIED_UP, "/etc/passwd", 2, 911)),
)
FAILED = Operation(Kind.UNLINK, "/bin/ls", layer=2, error=13)
NAMES = {0: "RW", 1: "web", 2: "base"}


def console() -> Console:
    return Console(file=io.StringIO(), width=100, color_system=None)


def text(page: Console) -> str:
    assert isinstance(page.file, io.StringIO)
    return page.file.getvalue()


def test_looking_reading_running_and_changing_are_told_apart() -> None:
    found = group([LOOK, READ, RUN, READ, COPY, FAILED])
    assert [row.path for row in found.busy] == ["/etc/motd", "/etc/passwd", "/bin/ls"]
    assert [row.path for row in found.ran] == ["/bin/busybox"]
    assert found.looked == ["/etc"]
    assert found.busy[0].kinds[Kind.READ] == 2


def test_a_program_that_is_changed_is_no_program_that_runs() -> None:
    written = Operation(Kind.WRITE, "/bin/tool", layer=0, effects=(Effect(EffectKind.WRITTEN, "/bin/tool", size=3),))
    assert [row.path for row in group([written]).busy] == ["/bin/tool"]


def test_the_table_says_who_served_and_what_changed() -> None:
    page = console()
    show_operations(page, [("Edit", "a lesson", [LOOK, COPY]), ("Fail", "another", [FAILED])], NAMES)
    shown = text(page)
    assert "Edit  2 operations  a lesson" in shown
    assert "/etc copied up from web" in shown
    assert "copied up from base, 911 B" in shown
    assert "looked up on the way: /etc" in shown
    assert "failed: EACCES (Permission denied)" in shown


def test_markup_in_names_is_no_markup() -> None:
    page = console()
    show_operations(page, [("[b]", "[i]", [Operation(Kind.OPEN, "/[red]x[/red]", layer=1)])], NAMES)
    assert "/[red]x[/red]" in text(page)
    page = console()
    page.print(stack_table([LayerRow(1, "RO", "base", "sha256:" + "ab" * 32, 1234, 2048)]))
    assert "abababababab" in text(page)
    assert "1,234" in text(page)
    assert "2 KiB" in text(page)


def test_control_characters_do_not_reach_the_terminal() -> None:
    page = console()
    show_operations(page, [("t", "l", [Operation(Kind.OPEN, "/a\x1b[2Jb\udcff\n", layer=1)])], NAMES)
    assert "\x1b" not in text(page)
    assert "/a\\x1b[2Jb\\udcff\\n" in text(page)


def test_the_summary_counts() -> None:
    page = console()
    written = Operation(Kind.WRITE, "/etc/passwd", layer=0, size=40)
    summary(page, [LOOK, COPY, written])
    shown = " ".join(text(page).split())
    assert "3 operations" in shown
    assert "Files copied up: 1 (and 1 directory), 911 B, for 40 B" in shown


def test_every_effect_has_words() -> None:
    for kind in EffectKind:
        effect = Effect(kind, "/a", origin=2, size=5, target="/b")
        words = effect_words(effect, Operation(Kind.RENAME, "/c", target="/d"), NAMES)
        assert words
        assert "None" not in words

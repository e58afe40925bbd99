"""The form of a lesson: what parses, and what each slip is told as; how its commands are read and compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.course import shelf
from sim.course.author import differences, main
from sim.course.console import Session, commands_in, normal, same
from sim.course.errors import CourseError, LessonTextError
from sim.course.lesson import parse
from sim.course.texts import Language, Text

SOURCE = (shelf.home() / "en/03-union-lookup.md").read_text()

SLIPS = [
    ("---\nnumber", "number", "begins with its head"),
    ("minutes: 45", "minutes: 90", "takes 30 to 60"),
    ("minutes: 45", "minutes: long", "are numbers"),
    ("needs: fuse", "needs: luck", "is none of"),
    ("needs: fuse\n", "", "in this order"),
    ("number: 3", "number: 5", "05-union-lookup.md"),
    ("# 3. Union", "# Union", "begins with the title"),
    ("## Key points", "## Points", "the parts are"),
    ("- Three layers", "* Three layers", "Questions"),
    ("](../figures/union-lookup.png)", "](union.png)", "one figure"),
    ("### 3.2 Put", "### 3.3 Put", "`### 3.2 ...`"),
    ("<details><summary>Hint 2</summary>", "<details><summary>Tip 2</summary>", "folds"),
    ("<details><summary>Solution</summary>\n\n```sh", "<details><summary>Solution</summary>\n\n```text", "no commands"),
    ("</details>\n\n### 3.2", "### 3.2", "folds"),
]


@pytest.mark.parametrize(("right", "wrong", "said"), SLIPS, ids=range(len(SLIPS)))
def test_a_slip_is_told_with_its_place(right: str, wrong: str, said: str, tmp_path: Path) -> None:
    assert right in SOURCE
    file = tmp_path / "03-union-lookup.md"
    text = SOURCE.replace(right, wrong, 1)
    if right.startswith("- Three"):
        text = text.replace("- What happens to", "* What happens to")
    file.write_text(text)
    with pytest.raises(LessonTextError, match=said) as error:
        parse(file, Language.EN)
    assert str(error.value).startswith(f"{file}:")


def test_languages_that_differ_are_told(tmp_path: Path) -> None:
    one = shelf.lesson(3, Language.EN)
    source = (shelf.home() / "zh/03-union-lookup.md").read_text()
    for right, wrong in [
        ("cat merged/etc/motd\n", "cat merged/etc/hosts\n"),
        ("minutes: 45", "minutes: 50"),
        ("- 同名的目录会怎样？\n", ""),
        ("touch hotfix/opt/old", "touch hotfix/opt/new"),
    ]:
        file = tmp_path / "03-union-lookup.md"
        assert right in source
        file.write_text(source.replace(right, wrong, 1))
        assert len(differences(one, parse(file, Language.ZH))) >= 1


def test_commands_are_read() -> None:
    read = commands_in("$ cat <<END\n> a\n>\n> END\na\n\n$ true\n", 10)
    assert [(one.text, one.output, one.line) for one in read] == [
        ("cat <<END\na\n\nEND", ("a", ""), 10),
        ("true", (), 16),
    ]
    with pytest.raises(CourseError, match="begins with a command"):
        commands_in("no prompt")


def test_a_session_keeps_its_directory_and_tells_what_ended_it(tmp_path: Path) -> None:
    session = Session(tmp_path)
    ran = session.run(["mkdir a", "cd a", "pwd", "echo wrong >&2; false", "printf unended"])
    assert ran == [([], 0), ([], 0), (["/home/student/a"], 0), (["wrong"], 1), (["unended"], 0)]
    with pytest.raises(CourseError, match="the shell ended at 'exit 3'"):
        session.run(["true", "exit 3", "true"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("drwxr-xr-x 3 root root 4096 Nov 27 23:31 etc", "drwxr-xr-x 2 me us 60 Jan  1 2030 etc"),
        ("c--------- 2 root root 0, 0 Nov 27 23:31 hosts", "c--------- 1 me us 0, 0 Jan  1 00:00 hosts"),
        ("mounted by devfuse, process 12", "mounted by fuse-python, process 3"),
        ("sha256:" + "a1" * 32, "sha256:" + "b2" * 32),
        ("Up 3 seconds", "Up 2 minutes"),
    ],
)
def test_what_means_nothing_is_not_compared(one: str, other: str) -> None:
    assert normal(one) == normal(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("-rw-r--r-- 1 a a 13 Nov 27 23:31 x", "-rw-r--r-- 1 a a 14 Nov 27 23:31 x"),
        ("-rw-r--r-- 1 a a 13 Nov 27 23:31 x", "-rw-r--r-- 2 a a 13 Nov 27 23:31 x"),
        ("c--------- 1 a a 0, 0 Nov 27 23:31 x", "c--------- 1 a a 1, 3 Nov 27 23:31 x"),
        ("      1    0.0000  open  1  /etc", "      1    0.0000  open  2  /etc"),
    ],
)
def test_what_means_something_is_compared(one: str, other: str) -> None:
    assert normal(one) != normal(other)


def test_dots_stand_for_any_lines() -> None:
    printed = list("abcdef")
    assert same(["a", "...", "f"], printed)
    assert same(["...", "c", "...", "e", "f"], printed)
    assert same(["a", "..."], printed)
    assert not same(["a", "...", "e"], printed)
    assert not same(["...", "d", "...", "c", "..."], printed)
    assert not same(["a", "b", "...", "b"], ["a", "b"])


def test_the_author_is_told_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "en" / "03-union-lookup.md"
    file.parent.mkdir()
    file.write_text("nothing yet")
    assert main(["check", str(file)]) == 1
    assert "begins with its head" in capsys.readouterr().out


def test_nothing_is_said_in_one_language_only() -> None:
    with pytest.raises(ValueError, match="lacks one of its languages"):
        Text("only English", "")

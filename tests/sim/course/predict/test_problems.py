"""Problems: the answer that is called right is what the engine does, the others are not, and a seed is a problem."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from fusefs import Stack, mount
from sim.course.predict import Form, Problem, UnclearError, judge, make
from sim.course.predict.engine import _lay_out, _state
from sim.course.predict.problems import shown, state_text
from sim.course.predict.reveal import figure, question, reasons
from sim.course.predict.steps import Do, Step, StepError, parse_step
from sim.course.predict.worlds import LEVELS

PROBLEMS = [(form, level, seed) for form in Form for level in LEVELS for seed in range(5)]


@pytest.mark.parametrize(("form", "level", "seed"), PROBLEMS)
def test_the_right_choice_is_right_and_the_others_are_wrong(form: Form, level: int, seed: int) -> None:
    problem = make(form, level, seed)
    assert len(problem.choices) == 4
    assert len({choice.text for choice in problem.choices}) == 4
    for index, (letter, choice) in enumerate(zip("abcd", problem.choices, strict=True)):
        wanted = index == problem.right
        assert judge(problem, letter).right is wanted
        assert judge(problem, f" {letter.upper()}) ").right is wanted
        assert judge(problem, choice.text).right is wanted, choice.text
    assert len(reasons(problem).en.splitlines()) == len(reasons(problem).zh.splitlines()) == len(problem.steps)
    assert all(str(step) in question(problem).zh for step in problem.steps) or form is Form.OPERATION


def test_a_seed_is_a_problem() -> None:
    assert make(Form.STATE, 2, 9) == make(Form.STATE, 2, 9)
    assert make(Form.STATE, 2, 9) != make(Form.STATE, 2, 10)


@pytest.mark.usefixtures("fuse")
@pytest.mark.parametrize("seed", range(8))
def test_a_shell_on_a_real_mount_comes_to_the_same(seed: int, tmp_path: Path) -> None:
    problem = make(Form.STATE, 1 + seed % 3, 100 + seed)
    lower = _lay_out(tmp_path, problem.world)
    upper, work, merged = (tmp_path / name for name in ("upper", "work", "merged"))
    for path in (upper, work, merged):
        path.mkdir()
    with mount(Stack(tuple(lower), upper, work), merged):
        for step in problem.steps:
            words = shlex.split(str(step))
            command = shlex.join(f"{merged}{word}" if word.startswith("/") else word for word in words)
            for sign in ("'>>'", "'>'"):
                command = command.replace(sign, sign.strip("'"))
            subprocess.run(["bash", "-c", f"umask 022; {command}"], check=True, capture_output=True)
    assert _state(upper) == problem.played.state
    assert shown(_state(upper), Form.STATE) == problem.choices[problem.right].value


def first(form: Form, level: int, wanted: str) -> Problem:
    """Return the first problem whose right answer has a word in it."""
    return next(
        problem
        for seed in range(300)
        if wanted in (problem := make(form, level, seed)).choices[problem.right].text
        and ";" not in problem.choices[problem.right].text
    )


def test_a_state_in_other_words_is_the_same_state() -> None:
    problem = first(Form.STATE, 1, "whiteout")
    path = problem.choices[problem.right].text.split()[0]
    for answer in (
        f"{path}: whiteout",
        f"changes{path} is a character device 0/0",
        f"{path} 是 whiteout",
        f"`{path}` → 删除标记。",
        f"{path.rpartition('/')[0]} directory, {path} Whiteout",
    ):
        assert judge(problem, answer).right, answer
    for answer in (f"{path} file", "nothing", f"{path} whiteout, /etc/never file", f"{path}x whiteout"):
        assert not judge(problem, answer).right, answer
    for answer in ("a whiteout", path, "perhaps"):
        with pytest.raises(UnclearError):
            judge(problem, answer)


def test_a_command_is_right_when_it_comes_to_the_same_state() -> None:
    problem = first(Form.OPERATION, 1, "rm ")
    path = problem.choices[problem.right].text.split()[-1]
    for answer in (f"rm {path}", f"rm -f merged{path}", f"unlink {path}", f"delete the file {path}", f"删除 {path}"):
        assert judge(problem, answer).right, answer
    assert not judge(problem, f": > {path}").right
    assert "fails" in judge(problem, "rm /etc/never-there").text.en
    with pytest.raises(UnclearError):
        judge(problem, "make it go away")
    written = first(Form.OPERATION, 1, "echo hello > ")
    path = written.choices[written.right].text.split()[-1]
    assert judge(written, f"echo olleh > {path}").right, "another text of the same length looks the same"
    assert not judge(written, f"echo longer text > {path}").right


def test_bytes_in_other_words_are_the_same_bytes() -> None:
    problem = first(Form.BYTES, 2, " from ")
    (copy,) = problem.copies
    assert copy.size > 999
    for answer in (
        f"{copy.path} {copy.size}",
        f"{copy.size:,} bytes of {copy.path}",
        f"{copy.path}: {copy.size} B from {copy.layer}",
        f"从 {copy.layer} 复制了 {copy.path} ，{copy.size}字节".replace(" ，", " "),
    ):
        assert judge(problem, answer).right, answer
    other = next(layer.name for layer in problem.world.layers if layer.name != copy.layer)
    wrong = (
        f"{copy.path} {copy.size + 1}",
        f"{copy.path} {copy.size} from {other}",
        "0",
        "nothing",
        str(copy.size + 1),
    )
    for answer in wrong:
        assert not judge(problem, answer).right, answer
    with pytest.raises(UnclearError):
        judge(problem, str(copy.size))
    nothing = first(Form.BYTES, 1, "nothing")
    assert all(judge(nothing, answer).right for answer in ("0", "nothing", "无", "0 bytes"))


def test_commands_are_understood_or_refused() -> None:
    assert parse_step("mv /a /b") == Step(Do.RENAME, "/a", "/b") == parse_step("rename a to b")
    assert parse_step("chmod 0600 x").mode == 0o600
    assert parse_step(": > merged/x") == Step(Do.EMPTY, "/x") == parse_step("truncate -s 0 /x")
    for text in ("", "sudo reboot", "mv /a", "chmod /a", "cat < /a > /b >", "rm"):
        with pytest.raises(StepError):
            parse_step(text)


def test_what_there_is_is_told_in_words() -> None:
    assert state_text({}) == "nothing"


@pytest.mark.parametrize("form", list(Form))
def test_the_figure_is_drawn(form: Form) -> None:
    assert figure(make(form, 3, 1)).get_axes()

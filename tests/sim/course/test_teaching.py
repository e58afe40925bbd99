"""For teachers: slides that need nothing, a plan, a key, notebooks and tests that load; set-ups that are in order."""

from __future__ import annotations

import doctest
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from markdown_it import MarkdownIt

from sim.course import exercises, shelf
from sim.course.place import start
from sim.course.teaching import handout, otter
from sim.course.teaching.slides import _split, slides
from sim.course.texts import Language

ROOT = Path(__file__).resolve().parents[3]
NUMBERS = list(shelf.numbers())


@pytest.mark.parametrize("language", list(Language))
@pytest.mark.parametrize("number", NUMBERS)
def test_slides_need_nothing_from_anywhere(number: int, language: Language) -> None:
    lesson = shelf.lesson(number, language)
    page = slides(lesson)
    assert re.findall(r'(?:src|href)="(?!data:)[^"]*"|@import|url\(', page) == []
    assert page.count("<img") == 1
    assert page.count("<section>") == page.count("</section>") > 12
    for exercise in lesson.exercises:
        assert f"{exercise.number} " in page
        assert MarkdownIt("commonmark").render(exercise.solution) not in page
        assert MarkdownIt("commonmark").render(exercise.task) in page


def test_a_block_of_code_stays_whole() -> None:
    code = "```sh\n" + "\n\n".join(f"line {n}" for n in range(8)) + "\n```"
    assert code in _split(f"before\n\n{code}\n\nafter", Language.EN)[0]
    pieces = _split("\n\n".join(["a paragraph " * 30] * 6), Language.EN)
    assert len(pieces) > 2


@pytest.mark.parametrize("number", [4])
def test_slides_in_a_browser(number: int, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs a browser; install chromium")
    page = tmp_path / "slides.html"
    page.write_text(slides(shelf.lesson(number, Language.ZH)))
    done = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"),
            *("--dump-dom", f"file://{page}#3"),
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.count('class="now"') == 1
    assert re.search(r"<footer>3 / \d+</footer>", done.stdout)
    assert '<html lang="zh-Hans">' in done.stdout


#: Goes through all slides and says which are higher or wider than the window.
PROBE = """<script>addEventListener("load", () => {
const over = [];
all.forEach((one, index) => {
  show(index);
  if (one.scrollHeight > innerHeight + 1 || document.documentElement.scrollWidth > innerWidth + 1) over.push(index + 1);
});
document.title = `over: ${over.join(" ")};`;
})</script></body>"""


@pytest.mark.parametrize(("number", "language"), [(4, Language.ZH), (8, Language.EN)])
def test_every_slide_fits_on_a_small_projector(number: int, language: Language, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs a browser; install chromium")
    page = tmp_path / "slides.html"
    page.write_text(slides(shelf.lesson(number, language)).replace("</body>", PROBE))
    words = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    words += ["--window-size=1280,720", "--dump-dom", f"file://{page}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
    assert "<title>over: ;</title>" in done.stdout, re.search("<title>.*</title>", done.stdout)


@pytest.mark.parametrize("language", list(Language))
def test_the_plan_and_the_key_have_every_lesson_and_every_exercise(language: Language) -> None:
    lessons = shelf.lessons(language)
    plan, key = handout.plan(lessons), handout.key(lessons)
    for lesson in lessons:
        assert f"## {lesson.number}. {lesson.title}" in plan
        assert lesson.parts["notes"].text.strip() in plan
        for exercise in lesson.exercises:
            assert exercise.solution in key


def test_the_assignment_for_otter_loads_and_its_tests_do_what_a_check_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = otter.write(shelf.lessons(), tmp_path / "assignment")
    notebooks = [file for file in made if file.suffix == ".ipynb"]
    assert len(notebooks) == len(NUMBERS)
    for file in notebooks:
        notebook = nbformat.read(file, as_version=4)  # type: ignore[no-untyped-call]
        nbformat.validate(notebook)
        assert f"otter.Notebook({file.name!r})" in "".join(cell.source for cell in notebook.cells)
    loaded = {}
    for file in made:
        if file.suffix == ".py":
            names: dict[str, object] = {}
            exec(compile(file.read_text(), str(file), "exec"), names)
            assert names["OK_FORMAT"] is True
            test = names["test"]
            assert isinstance(test, dict)
            assert test["name"] == file.stem
            loaded[file.stem] = test
    assert len(loaded) == sum(len(lesson.exercises) for lesson in shelf.lessons())
    monkeypatch.chdir(tmp_path)
    place = start(4, tmp_path / "layerlab-lesson-4", exercises.lay_out(4))
    code = loaded["q4_1"]["suites"][0]["cases"][0]["code"]

    def failures() -> int:
        parsed = doctest.DocTestParser().get_doctest(code, {}, "q4_1", None, None)
        return doctest.DocTestRunner(verbose=False).run(parsed, out=lambda _: None).failed

    assert failures() == 1
    exercises.track(4).solve(place.home)
    assert failures() == 0


def test_the_command_makes_them(tmp_path: Path) -> None:
    for what in ("slides", "plan", "key", "otter"):
        done = subprocess.run(
            [
                sys.executable,
                "-P",
                "-m",
                "sim.cli",
                "lesson",
                "teach",
                what,
                "--out",
                str(tmp_path / what),
                "--lesson",
                "3",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert all(Path(line).exists() for line in done.stdout.splitlines())
    assert "hotfix/etc/motd" in (tmp_path / "key/key.md").read_text()


def test_the_set_ups_install_what_the_project_needs() -> None:
    settings = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert "--device=/dev/fuse" in settings["runArgs"]
    assert "./layerlab doctor" in settings["postCreateCommand"]
    # Debian's notebook has a kernel of its own by this name, the one that the notebooks ask for: `sim` is not in that.
    assert ".venv/bin/python -m ipykernel install --name python3 " in settings["postCreateCommand"]
    wanted = set(re.findall(r"echo '([\w.+-]+) ", (ROOT / "layerlab").read_text().split('[ "$what" = test ]')[0]))
    listed = set((ROOT / ".binder/apt.txt").read_text().split())
    assert wanted - listed <= {"python3", "python3-venv", "python3-dev"}, "the image of Binder brings Python"
    post = ROOT / ".binder/postBuild"
    assert os.access(post, os.X_OK)
    assert subprocess.run(["sh", "-n", str(post)], check=False).returncode == 0

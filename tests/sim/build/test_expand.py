"""Words of a Dockerfile: variables, quotes, escapes. The corpus has what the reference engine makes of them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.build.errors import DockerfileError
from sim.build.expand import process_word, process_words

VARIABLES = {"x": "1", "two": "a b", "empty": "", "_u": "under", "v2": "digit"}


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("plain", "plain"),
        ("$x", "1"),
        ("${x}", "1"),
        ("$x$x", "11"),
        ("a$x-b", "a1-b"),
        ("$two", "a b"),
        ("$nope", ""),
        ("$xy", ""),
        ("$_u.$v2", "under.digit"),
        ("${x}y", "1y"),
        ("$", "$"),
        ("$$", ""),
        ("$1x", "x"),
        ("a$ b", "a$ b"),
        ("'$x'", "$x"),
        ("'a\\'b", "a\\b"),
        ('"$x"', "1"),
        ('"\\$x"', "$x"),
        ('"a\\b"', "a\\b"),
        ('"a\\"b"', 'a"b'),
        ('"a\\\\b"', "a\\b"),
        ("\\$x", "$x"),
        ("\\a", "a"),
        ("\\\\$x", "\\1"),
        ("a\\", "a"),
        ("${x:-d}", "1"),
        ("${empty:-d}", "d"),
        ("${empty-d}", ""),
        ("${nope-d}", "d"),
        ("${nope:-$x}", "1"),
        ("${nope:-${two}}", "a b"),
        ('${nope:-"q d"}', "q d"),
        ("${x:+alt}", "alt"),
        ("${empty:+alt}", ""),
        ("${empty+alt}", "alt"),
        ("${nope+alt}", ""),
        ("${x:?no}", "1"),
        ("${empty?no}", ""),
        ("${nope:-}", ""),
        ("'a'\"b\"c", "abc"),
        ("ü$x", "ü1"),
    ],
)
def test_a_word_stands_for(word: str, found: str) -> None:
    assert process_word(word, VARIABLES) == found


@pytest.mark.parametrize(
    ("word", "error"),
    [
        ("'a", "looking for matching single-quote"),
        ('"a', "looking for matching double-quote"),
        ("${", "missing '}'"),
        ("${x:-a", "missing '}'"),
        ("${}", "bad substitution"),
        ("${:x}", "bad substitution"),
        ("${x^^}", "missing ':' in substitution"),
        ("${x:!y}", "unsupported modifier"),
        ("${nope:?is needed}", "nope: is needed"),
        ("${nope?}", "nope: not allowed to be unset"),
        ("${empty:?}", "empty: not allowed to be unset or empty"),
    ],
)
def test_a_word_that_makes_no_sense(word: str, error: str) -> None:
    with pytest.raises(DockerfileError, match=r"^failed to process ") as caught:
        process_word(word, VARIABLES)
    assert error in str(caught.value)


def test_the_escape_character_can_be_another() -> None:
    assert process_word("a`$x\\$x", VARIABLES, "`") == "a$x\\1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("80 443", ["80", "443"]),
        ("$two c", ["a", "b", "c"]),
        ('"$two" c', ["a b", "c"]),
        ("$empty", []),
        ("a\\ b", ["a b"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert process_words(text, VARIABLES) == words


@given(st.text(alphabet="ax$\\'\"{}:-+?! `", max_size=30))
def test_any_text_is_expanded_or_refused(text: str) -> None:
    with contextlib.suppress(DockerfileError):
        process_word(text, VARIABLES)
        process_words(text, VARIABLES)

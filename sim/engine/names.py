"""Names of containers: which are allowed, and one for those that get none.

Decided here and only here: the rule of names, and the two word lists of generated ones. Functions only; any thread.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable

from sim.engine.errors import BadParameterError

__all__ = ["check_name", "generate_name"]

_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_QUALITIES = _words(
    "amber ample arch artful avid balmy bold brave brisk bubbly calm candid civil clever cordial cosmic crisp curious"
    " dapper deft dutiful eager earnest easy elated fabled fair fluent frank fresh gallant gentle glad golden graceful"
    " handy hardy honest humble ideal jaunty jolly keen kind lively loyal lucid mellow merry mindful modest neat nimble"
    " noble patient placid plucky polite proud prudent quick quiet quirky radiant ready robust rosy serene sincere sly"
    " smooth snug spry stable steady stoic subtle sunny supple tidy tranquil trusty upbeat valiant vivid warm witty"
    " worthy zesty"
)

#: People whose work containers stand on: filesystems, operating systems, networks, languages, mathematics.
_PEOPLE = _words(
    "abbate aho allman bachman backus berezin bernerslee bourne brinch cerf church codd corbato cox curry daley"
    " dijkstra eich engelbart feinler gosling granville gray hamming hamilton hoare holberton hopper ingalls irons joy"
    " kahn kapor karp kay kernighan kilburn kleene knuth kurtz lamport lampson liskov lovelace lynch mauchly mccarthy"
    " mcilroy mckusick metcalfe milner minsky morris moore naur needham neumann nygaard ousterhout perlis perlman pike"
    " pnueli postel rabin ritchie rosenblum saltzer sammet scott shannon shamir spafford stonebraker strachey"
    " sutherland tanenbaum tarjan thacker thompson torvalds turing tytso viro wall wilkes wilkinson wirth yao zuse"
)


def check_name(name: str) -> str:
    """Return a name without a slash before it.

    Raises
    ------
    BadParameterError
        It is no name.
    """
    if not _NAME.fullmatch(name):
        raise BadParameterError(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return name.removeprefix("/")


def generate_name(taken: Callable[[str], bool]) -> str:
    """Return a name that nobody has.

    >>> "_" in generate_name(lambda name: False)
    True
    """
    for _ in range(6):
        name = f"{secrets.choice(_QUALITIES)}_{secrets.choice(_PEOPLE)}"
        if not taken(name):
            return name
    while True:
        numbered = f"{name}{secrets.randbelow(100_000)}"
        if not taken(numbered):
            return numbered

"""One step of a process: a command as one types it, and what it does to a union.

Decided here and only here: which commands there are, in which words they are understood (shell commands, and plain
words in both languages), and which calls of the union each one is. Values are frozen: any thread.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from enum import StrEnum

from fusefs import UnionFS
from sim.course.errors import CourseError

__all__ = ["Do", "Step", "StepError", "clean_path", "parse_step"]


class StepError(CourseError):
    """What was typed is no command that is known here."""


class Do(StrEnum):
    """What is done."""

    READ = "read"
    APPEND = "append"
    WRITE = "write"
    EMPTY = "empty"
    TOUCH = "touch"
    CHMOD = "chmod"
    REMOVE = "remove"
    REMOVE_ALL = "remove all"
    MKDIR = "mkdir"
    RENAME = "rename"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class Step:
    """One command.

    Attributes
    ----------
    do
        What is done.
    path
        To what, absolute in the merged view.
    other
        The new name (rename, link).
    text
        What is written (append, write), without the newline that echo adds.
    mode
        Permission bits (chmod).

    Examples
    --------
    >>> str(Step(Do.APPEND, "/etc/motd", text="hello")), str(Step(Do.RENAME, "/a", "/b"))
    ('echo hello >> /etc/motd', 'mv /a /b')
    """

    do: Do
    path: str
    other: str = ""
    text: str = ""
    mode: int = 0

    def __str__(self) -> str:
        """Return it as a shell command."""
        match self.do:
            case Do.READ:
                return f"cat {self.path}"
            case Do.APPEND:
                return f"echo {self.text} >> {self.path}"
            case Do.WRITE:
                return f"echo {self.text} > {self.path}"
            case Do.EMPTY:
                return f": > {self.path}"
            case Do.TOUCH:
                return f"touch {self.path}"
            case Do.CHMOD:
                return f"chmod {self.mode:o} {self.path}"
            case Do.REMOVE:
                return f"rm {self.path}"
            case Do.REMOVE_ALL:
                return f"rm -r {self.path}"
            case Do.MKDIR:
                return f"mkdir {self.path}"
            case Do.RENAME:
                return f"mv {self.path} {self.other}"
            case Do.LINK:
                return f"ln {self.path} {self.other}"

    def apply(self, fs: UnionFS) -> None:
        """Do it.

        Raises
        ------
        OSError
            As the command would meet it.
        """
        match self.do:
            case Do.READ:
                fs.read_bytes(self.path)
            case Do.APPEND:
                _write(fs, self.path, f"{self.text}\n".encode(), end=True)
            case Do.WRITE:
                _write(fs, self.path, f"{self.text}\n".encode())
            case Do.EMPTY:
                _write(fs, self.path, b"")
            case Do.TOUCH:
                if fs.exists(self.path):
                    fs.utimens(self.path, (-1, -1))
                else:
                    _write(fs, self.path, b"", end=True)
            case Do.CHMOD:
                fs.chmod(self.path, self.mode)
            case Do.REMOVE:
                fs.unlink(self.path)
            case Do.REMOVE_ALL:
                _remove(fs, self.path)
            case Do.MKDIR:
                fs.mkdir(self.path, 0o755)
            case Do.RENAME:
                fs.rename(self.path, self._target(fs))
            case Do.LINK:
                fs.link(self.path, self._target(fs))

    def _target(self, fs: UnionFS) -> str:
        """Return the new name; in a directory that is there, as mv and ln have it, the old name."""
        try:
            inside = fs.stat(self.other).st_mode & 0o170000 == 0o040000
        except OSError:
            inside = False
        return f"{self.other.rstrip('/')}/{os.path.basename(self.path)}" if inside else self.other


def _write(fs: UnionFS, path: str, data: bytes, *, end: bool = False) -> None:
    """Write as a shell does that redirects, with the usual umask."""
    with fs.open(path, os.O_WRONLY | os.O_CREAT | (0 if end else os.O_TRUNC), 0o644) as file:
        if data:
            fs.union.write(file, data, fs.union.real_status(file.node).st_size if end else 0)


def _remove(fs: UnionFS, path: str) -> None:
    if fs.lstat(path).st_mode & 0o170000 != 0o040000:
        fs.unlink(path)
        return
    for name in fs.listdir(path):
        _remove(fs, f"{path.rstrip('/')}/{name}")
    fs.rmdir(path)


def clean_path(text: str) -> str:
    """Return a path as it is in the merged view, also when it was typed as one of a lesson's directory.

    >>> clean_path("merged/etc//motd"), clean_path("etc/motd/"), clean_path("./srv/")
    ('/etc/motd', '/etc/motd', '/srv')
    """
    parts = [part for part in text.strip("`'\"，。").split("/") if part not in ("", ".")]
    if parts and parts[0] in ("merged", "changes", "upper", "mnt") and not text.startswith("/"):
        parts = parts[1:]
    return "/" + "/".join(parts)


_WORDS: dict[Do, tuple[str, ...]] = {
    Do.READ: ("cat", "read", "less", "head", "tail", "读", "读取"),
    Do.APPEND: ("append", "追加"),
    Do.WRITE: ("write", "overwrite", "create", "写", "写入", "覆盖", "新建"),
    Do.EMPTY: ("empty", "truncate", "清空", "截断"),
    Do.TOUCH: ("touch",),
    Do.CHMOD: ("chmod",),
    Do.REMOVE: ("rm", "unlink", "delete", "remove", "del", "删除", "删"),
    Do.REMOVE_ALL: ("rmdir",),
    Do.MKDIR: ("mkdir", "建目录"),
    Do.RENAME: ("mv", "rename", "move", "重命名", "移动"),
    Do.LINK: ("ln", "link", "链接"),
}
_BY_WORD = {word: do for do, words in _WORDS.items() for word in words}
_NOISE = {
    "to",
    "the",
    "file",
    "directory",
    "dir",
    "as",
    "into",
    "with",
    "->",
    "→",
    "=>",
    "到",
    "为",
    "成",
    "文件",
    "目录",
}
_REDIRECT = re.compile(r"^(?P<left>.*?)(?P<arrow>>>?)\s*(?P<path>\S+)$")


def parse_step(text: str) -> Step:
    """Understand a command, or what it does in a few words.

    Raises
    ------
    StepError
        It is neither.

    Examples
    --------
    >>> parse_step("rm -f merged/etc/motd"), parse_step("delete /etc/motd") == parse_step("rm /etc/motd")
    (Step(do=<Do.REMOVE: 'remove'>, path='/etc/motd', other='', text='', mode=0), True)
    >>> parse_step("echo hello>>/etc/motd")
    Step(do=<Do.APPEND: 'append'>, path='/etc/motd', other='', text='hello', mode=0)
    """
    text = text.strip().strip("`").removeprefix("$ ").strip()
    if found := _REDIRECT.match(text):
        return _redirected(found["left"].strip(), found["arrow"], clean_path(found["path"]))
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    if not words:
        raise StepError("say one command, such as `rm /etc/motd`")
    do = _BY_WORD.get(words[0].lower())
    if do is None:
        raise StepError(
            f"{words[0]!r} is no command known here; there are: {', '.join(one[0] for one in _WORDS.values())}"
        )
    options = "".join(word[1:] for word in words[1:] if re.fullmatch(r"-[a-zA-Z]+", word))
    rest = [word for word in words[1:] if not re.fullmatch(r"-[a-zA-Z]+", word) and word.lower() not in _NOISE]
    return _plain(do, options, rest, text)


def _redirected(left: str, arrow: str, path: str) -> Step:
    """Return what a shell's redirection does."""
    if left in ("", ":", "true", "cat /dev/null"):
        return Step(Do.APPEND if arrow == ">>" else Do.EMPTY, path)
    try:
        words = shlex.split(left)
    except ValueError:
        words = left.split()
    if words[0] not in ("echo", "printf"):
        raise StepError(f"{left!r} is no command known here; write with echo")
    return Step(Do.APPEND if arrow == ">>" else Do.WRITE, path, text=" ".join(words[1:]))


def _plain(do: Do, options: str, rest: list[str], text: str) -> Step:
    if do is Do.EMPTY:  # `truncate -s 0 FILE`
        rest = [word for word in rest if not word.isdecimal()]
    mode = 0
    if do is Do.CHMOD:
        modes = [word for word in rest if re.fullmatch(r"0?[0-7]{3,4}", word)]
        rest = [word for word in rest if word not in modes]
        if not modes:
            raise StepError("chmod needs a mode in octal, such as 600")
        mode = int(modes[0], 8)
    if do is Do.REMOVE and set(options) & {"r", "R"}:
        do = Do.REMOVE_ALL
    wanted = 2 if do in (Do.RENAME, Do.LINK) else 1
    if do in (Do.APPEND, Do.WRITE) and len(rest) > 1:
        paths = [word for word in rest if "/" in word]
        if len(paths) != 1:
            raise StepError(f"{text!r} names no path, or several")
        return Step(do, clean_path(paths[0]), text=" ".join(word for word in rest if word != paths[0]))
    if len(rest) != wanted:
        raise StepError(f"{text!r} names {len(rest)} paths, and {do} takes {wanted}")
    return Step(do, clean_path(rest[0]), clean_path(rest[1]) if wanted == 2 else "", mode=mode)

"""What is said to students, in both languages of the course.

Decided here and only here: which languages there are, how one is chosen, and that nothing can be said in one of them
only: a `Text` without both cannot be made. Values are frozen: any thread.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Language", "Text"]


class Language(StrEnum):
    """A language of the course; the value is also the directory of its lessons."""

    EN = "en"
    ZH = "zh"

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Language:
        """Return the language that the environment asks for: LAYERLAB_LANG, then the usual variables.

        >>> Language.of({"LANG": "zh_CN.UTF-8"}), Language.of({"LANG": "zh_CN.UTF-8", "LAYERLAB_LANG": "en"})
        (<Language.ZH: 'zh'>, <Language.EN: 'en'>)
        """
        for name in ("LAYERLAB_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
            if value := environment.get(name):
                return cls.ZH if value.lower().startswith("zh") else cls.EN
        return cls.EN


@dataclass(frozen=True, slots=True)
class Text:
    """One thing that is said, in English and in Simplified Chinese.

    Examples
    --------
    >>> Text("two layers", "两层").in_(Language.ZH)
    '两层'
    """

    en: str
    zh: str

    def __post_init__(self) -> None:
        """Refuse what is said in one language only."""
        if not self.en or not self.zh:
            raise ValueError(f"a text lacks one of its languages: {self.en or self.zh!r}")

    def in_(self, language: Language) -> str:
        """Return it in one language."""
        return self.zh if language is Language.ZH else self.en

"""What can be wrong with a template.

TemplateProblem
├── SyntaxProblem   it cannot be read
└── RunError        it does not fit the value
"""

from __future__ import annotations

__all__ = ["CallError", "RunError", "SyntaxProblem", "TemplateProblem"]


class TemplateProblem(Exception):  # noqa: N818 - the base of both
    """A template that cannot be read or does not fit; the text is the one of Go's text/template."""


class SyntaxProblem(TemplateProblem):
    """The template cannot be read."""


class RunError(TemplateProblem):
    """The template does not fit the value that it is rendered for."""


class CallError(Exception):
    """A function refuses its arguments; the place in the template is added by the caller."""

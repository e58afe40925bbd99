"""The end of a command that cannot do what was asked, told as the docker command tells it.

Decided here: that an end has its words and its exit status. They are printed in `sim.cli.main`.
"""

from __future__ import annotations

__all__ = ["Failure"]


class Failure(Exception):  # noqa: N818 - it ends the command, with a status
    """A command's end.

    Parameters
    ----------
    text
        What is said on standard error, as it is, lines and all; may be empty.
    status
        The exit status.
    """

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.text = text
        self.status = status

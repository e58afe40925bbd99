"""Engines on other machines, by ssh: `ssh://USER@HOST:PORT`.

Decided here and only here: how the ssh program is called, what it starts there, and what is said where that fails. The
far side is `docker system dial-stdio` (or `layerlab system dial-stdio`, see `LAYERLAB_SSH_COMMAND`), which carries
between its standard streams and the engine there. Both ends of it are one socket here, so that an end of the input can
be told alone, as on any other connection. One thread a connection.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess

from sim.cli.failure import Failure

__all__ = ["COMMAND", "Tunnel", "words_for"]

#: The variable that names what is started on the other machine, and what that is without it.
COMMAND, _USUAL = "LAYERLAB_SSH_COMMAND", "docker system dial-stdio"

#: Seconds for a connection, and for the program to end when its input has.
_SECONDS, _PATIENCE = 30, 1.0


def words_for(text: str) -> tuple[str, ...]:
    """Return the words of the ssh program for a host.

    Raises
    ------
    Failure
        It names none.

    Examples
    --------
    >>> " ".join(words_for("ssh://me@far:2222"))
    'ssh -o ConnectTimeout=30 -T -l me -p 2222 -- far docker system dial-stdio'
    """
    from urllib.parse import urlsplit

    try:
        url = urlsplit(text)
        user, name, port = url.username, url.hostname, url.port
    except ValueError as error:
        raise Failure(f"unable to parse docker host `{text}`: {error}") from None
    wrong = ""
    if url.password is not None:
        wrong = "plain-text password is not supported"
    elif not name:
        wrong = "hostname is empty"
    elif url.query:
        wrong = f"query parameters are not allowed: {url.query!r}".replace("'", '"')
    elif url.fragment:
        wrong = f"fragments are not allowed: {url.fragment!r}".replace("'", '"')
    if wrong or name is None:
        raise Failure(f"invalid SSH URL: {wrong}")
    command = shlex.split(os.environ.get(COMMAND) or _USUAL)
    if url.path not in ("", "/"):  # the socket there
        command[1:1] = ["--host", f"unix://{url.path}"]
    # A host of the config file may be written large: urlsplit makes names small.
    place = url.netloc.rpartition("@")[2]
    shown = name if ":" in name else place.partition(":")[0]
    return (
        *("ssh", "-o", f"ConnectTimeout={_SECONDS}", "-T"),
        *(("-l", user) if user else ()),
        *(("-p", str(port)) if port else ()),
        *("--", shown, *map(shlex.quote, command)),
    )


class Tunnel(socket.socket):
    """A connection to an engine through a program's standard streams.

    Attributes
    ----------
    process, words
        The program.
    errors
        Descriptor of the file that has what it says on standard error.
    said, ended
        That, and whether it had to be ended, once the connection is closed.
    """

    process: subprocess.Popen[bytes]
    words: tuple[str, ...]
    errors: int
    said: str = ""
    ended: bool = False

    @classmethod
    def open(cls, words: tuple[str, ...]) -> Tunnel:
        """Start the program.

        Raises
        ------
        OSError
            It is not there.
        """
        ours, theirs = socket.socketpair()
        tunnel = cls(fileno=ours.detach())
        tunnel.words = words
        tunnel.errors = os.memfd_create("errors")
        try:
            # A session of its own: Ctrl-C is for the command, which may have something to say to the engine then.
            tunnel.process = subprocess.Popen(
                list(words), stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=tunnel.errors, start_new_session=True
            )
        except BaseException:
            os.close(tunnel.errors)
            tunnel.close()
            raise
        finally:
            theirs.close()
        return tunnel

    def failure(self) -> str:
        """Return what is said where the program ended before the engine had answered; empty where it has not.

        To be asked once the connection is closed.
        """
        if self.process.returncode is None or self.ended:
            return ""
        words, status = " ".join(self.words), self.process.returncode
        return (
            f"command [{words}] has exited with exit status {status}, make sure the URL is valid, and "
            f"Docker 18.09 or later is installed on the remote host: stderr={self.said}"
        )

    def _real_close(self) -> None:
        """Close it, once nobody reads any more, and end the program."""
        super()._real_close()  # type: ignore[misc]
        process = getattr(self, "process", None)
        if process is None:
            return
        try:
            process.wait(_PATIENCE)  # it ends by itself when its input has ended
        except subprocess.TimeoutExpired:
            self.ended = True
            process.terminate()
            process.wait()
        self.said = os.pread(self.errors, 1 << 16, 0).decode(errors="replace").replace("\r", "")
        os.close(self.errors)

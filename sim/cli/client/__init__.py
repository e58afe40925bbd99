"""A thin client of the Docker Engine API on the standard library, quick to import.

engine = connect(settings)                 # chooses the host, starts the embedded daemon where none answers
engine.get("/containers/json", all=True)   # JSON; a DaemonError where the engine refuses
with engine.stream("GET", "/events") as lines: ...
engine.hijack("/containers/x/attach", stream=True, stdout=True)
"""

from sim.cli.client.connect import connect
from sim.cli.client.engine import Engine, Stream
from sim.cli.client.errors import CannotConnectError, DaemonError
from sim.cli.client.hijack import Hijacked
from sim.cli.client.hosts import Host

__all__ = ["CannotConnectError", "DaemonError", "Engine", "Hijacked", "Host", "Stream", "connect"]

"""`layerlab logs`: what a container wrote.

Decided here and only here: that a terminal's output goes on as it is, and all other is parted into two streams.
"""

from __future__ import annotations

from sim.cli.flags import Call, docker, option, switch
from sim.cli.show.moments import moment
from sim.cli.terminal import frame_output, write

__all__ = ["logs"]


@docker(
    "[OPTIONS] CONTAINER",
    "Fetch the logs of a container",
    switch("--details", "Also what the log's driver adds"),
    switch("-f, --follow", "Go on with what comes"),
    option("--since", "string", "From this moment on: 2026-11-27T10:00:00Z, or 42m for the last 42 minutes"),
    option("-n, --tail", "string", "Only so many lines of the end", "all"),
    switch("-t, --timestamps", "With the time of each line"),
    option("--until", "string", "Up to this moment"),
    least=1,
    most=1,
    aliases=("container logs", "logs"),
    examples=("layerlab logs -f --tail 20 web", "layerlab logs --since 10m -t web"),
    completes="container",
)
def logs(call: Call) -> None:
    """Show a log."""
    engine, name = call.engine, call.arguments[0]
    container = engine.get(f"/containers/{name}/json")
    with engine.stream(
        "GET",
        f"/containers/{container['Id']}/logs",
        stdout=True,
        stderr=True,
        details=call.on("details"),
        follow=call.on("follow"),
        timestamps=call.on("timestamps"),
        tail=call.text("tail"),
        since=moment(call.text("since")),
        until=moment(call.text("until"), "until"),
    ) as stream:
        if container["Config"].get("Tty"):
            for data in stream.chunks():
                write(1, data)
        else:
            frame_output(stream.chunks())

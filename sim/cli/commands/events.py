"""`layerlab events`: what happens in the engine.

Decided here and only here: how an event becomes a line, which is as the docker command has it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from sim.cli.commands.shared import filter_query
from sim.cli.failure import Failure
from sim.cli.flags import Call, docker, filters, formats, option
from sim.cli.show.moments import moment, rfc3339
from sim.cli.show.rows import template_of

__all__ = ["event_line", "events"]


def event_line(event: Mapping[str, Any]) -> str:
    """Return an event as a line.

    >>> event_line({"Type": "image", "Action": "tag", "Actor": {"ID": "x", "Attributes": {"b": "2", "a": "1"}}})
    'image tag x (a=1, b=2)'
    """
    actor = event.get("Actor") or {}
    when = event.get("timeNano") or (event.get("time") or 0) * 10**9
    line = f"{rfc3339(when)} " if when else ""
    line += f"{event.get('Type', '')} {event.get('Action', '')} {actor.get('ID', '')}"
    attributes = actor.get("Attributes") or {}
    if attributes:
        line += f" ({', '.join(f'{name}={attributes[name]}' for name in sorted(attributes))})"
    return line


@docker(
    "[OPTIONS]",
    "Get real time events from the server",
    filters(),
    formats(table=False),
    option("--since", "string", "Also what happened since this moment: 10m, or 2026-11-27T10:00:00"),
    option("--until", "string", "Up to this moment, then end"),
    aliases=("system events", "events"),
    examples=(
        "layerlab events --filter type=container --filter event=die",
        "layerlab events --since 1h --until 0s --format '{{.Action}} {{.Actor.ID}}'",
    ),
)
def events(call: Call) -> None:
    """Show events as they happen."""
    form = call.text("format")
    template = template_of("{{json .}}" if form == "json" else form, status=64) if form else None
    with call.engine.stream(
        "GET",
        "/events",
        since=moment(call.text("since")),
        until=moment(call.text("until"), "until"),
        filters=filter_query(call.many("filter")),
    ) as stream:
        for event in stream.objects():
            if template is None:
                text = event_line(event)
            else:
                from sim.cli.template import RunError, structured

                value = structured(event)
                value.update({"Time": event.get("time"), "TimeNano": event.get("timeNano")} if form != "json" else {})
                try:
                    text = template.render(value)
                except RunError as error:
                    raise Failure(str(error)) from None
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

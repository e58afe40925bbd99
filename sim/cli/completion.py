"""Words that may come next, for the shell.

Decided here and only here: which names the engine is asked for, and that a shell never waits for a daemon to start.
"""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem, get_completion_class

from sim.cli.failure import Failure
from sim.cli.flags import Call, DockerCommand, docker

__all__ = ["command", "complete"]


def complete(command: DockerCommand, settings: dict[str, object], incomplete: str) -> list[CompletionItem]:
    """Return flags where a dash was typed, else names that the engine knows."""
    if incomplete.startswith("-"):
        return [
            CompletionItem(f"--{flag.name}", help=flag.text)
            for flag in command.flags
            if not flag.hidden and f"--{flag.name}".startswith(incomplete)
        ]
    names: list[str] = []
    for kind in command.completes.split():
        names.extend(_names(kind, settings))
    return [CompletionItem(name) for name in dict.fromkeys(names) if name.startswith(incomplete)]


def _names(kind: str, settings: dict[str, object]) -> list[str]:
    from sim.cli.client.engine import Engine
    from sim.cli.client.hosts import choose

    engine = Engine(choose(settings))  # none is started for this
    try:
        match kind:
            case "container" | "running":
                found = engine.get("/containers/json", all=kind == "container")
                return [name.removeprefix("/") for item in found for name in item.get("Names") or ()]
            case "image":
                found = engine.get("/images/json")
                return [name for item in found for name in item.get("RepoTags") or () if "<none>" not in name]
            case "volume":
                return [item["Name"] for item in engine.get("/volumes").get("Volumes") or ()]
            case "network":
                return [item["Name"] for item in engine.get("/networks")]
    except (Failure, OSError, ValueError, KeyError):
        return []
    finally:
        engine.close()
    return []


@docker(
    "SHELL",
    "Print what makes a shell complete the words of this command",
    name="completion",
    text="SHELL is bash, zsh or fish.",
    least=1,
    most=1,
    examples=(
        'eval "$(layerlab completion bash)"',
        'eval "$(layerlab completion zsh)"',
        "layerlab completion fish > ~/.config/fish/completions/layerlab.fish",
    ),
)
def command(call: Call) -> None:
    """Print the script."""
    from sim.cli.group import cli

    shell = call.arguments[0]
    kind = get_completion_class(shell)
    if kind is None:
        raise Failure(f"layerlab: {shell!r} is no shell that can be helped; there are bash, zsh and fish", 2)
    click.echo(kind(cli, {}, "layerlab", "_LAYERLAB_COMPLETE").source())

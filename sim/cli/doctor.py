"""`layerlab doctor`: what this machine can do, and what to install for the rest.

Decided here: how findings are shown. What is looked for is decided in `sim.cli.machine`.
"""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from sim.cli.machine import Finding, State, abilities, examine

__all__ = ["command"]

_MARKS = {State.YES: ("✓", "green"), State.PARTLY: ("~", "yellow"), State.NO: ("✗", "red")}


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(as_json: bool) -> None:
    """Say what this machine can do, and what to install for the rest.

    Nothing is changed by asking.
    """
    findings = examine()
    if as_json:
        answer = {
            "findings": [asdict(finding) for finding in findings],
            "abilities": {name: {"can": not missing, "missing": missing} for name, missing in abilities(findings)},
        }
        click.echo(json.dumps(answer, indent=2))
        return
    _show(findings)


def _show(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(width=1)
    table.add_column(no_wrap=True)
    table.add_column()
    for finding in findings:
        mark, color = _MARKS[finding.state]
        told = Text(finding.found)
        told.append(f"\n{finding.why}", style="dim")
        if finding.mend:
            told.append(f"\n→ {finding.mend}", style=color)
        table.add_row(Text(mark, style=color), Text(finding.name, style="bold"), told)
    console.print(table)
    console.print("\n[bold]What can be done here[/bold]")
    for name, missing in abilities(findings):
        mark, color = _MARKS[State.NO if missing else State.YES]
        rest = f"; missing: {', '.join(missing)}" if missing else ""
        console.print(f"[{color}]{mark}[/{color}] {name}{rest}")

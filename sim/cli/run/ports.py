"""Ports on the command line: `-p` and `--expose`.

Decided here and only here: how a published port is written, `[ADDRESS:][HOST-PORT:]PORT[/PROTOCOL]`, each port also a
range, or `published=8080,target=80,protocol=udp`. Pure functions that raise `ValueError`; any thread.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["expose", "publish"]

Bindings = dict[str, list[dict[str, str]]]


def publish(specs: Iterable[str]) -> tuple[dict[str, dict[str, str]], Bindings]:
    """Return exposed ports and their bindings.

    >>> publish(["127.0.0.1:8080:80", "53/udp"])[1]
    {'80/tcp': [{'HostIp': '127.0.0.1', 'HostPort': '8080'}], '53/udp': [{'HostIp': '', 'HostPort': ''}]}
    """
    bindings: Bindings = {}
    for spec in specs:
        for port, binding in _one(_standard(spec)):
            bindings.setdefault(port, []).append(binding)
    return {port: {} for port in bindings}, bindings


def _standard(spec: str) -> str:
    if "=" not in spec:
        return spec
    values = {"published": "", "target": "", "protocol": "tcp"}
    for pair in spec.split(","):
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"invalid publish opts format (should be name=value but got '{pair}')")
        values[key.strip().lower()] = value
    return f"{values['published']}:{values['target']}/{values['protocol']}"


def _range(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    start = _number(first)
    end = _number(last) if dash else start
    if end < start:
        raise ValueError(f"invalid range specified for port: {text}")
    return start, end


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        problem = "value out of range" if text.isascii() and text.isdigit() else "invalid syntax"
        raise ValueError(f'strconv.ParseUint: parsing "{text}": {problem}')
    return int(text)


def _split(spec: str) -> tuple[str, str, str]:
    """Return address, port of the host, and port of the container."""
    parts = spec.split(":")
    if len(parts) < 3:
        return "", parts[0] if len(parts) == 2 else "", parts[-1]
    return ":".join(parts[:-2]), parts[-2], parts[-1]


def _one(spec: str) -> Iterable[tuple[str, dict[str, str]]]:
    rest, slash, kind = spec.partition("/")
    address, outer, inner = _split(rest)
    kind = (kind if slash and kind else "tcp").lower()
    if address:
        import ipaddress

        plain = address[1:-1] if address[:1] == "[" and address[-1:] == "]" else address
        try:
            ipaddress.ip_address(plain)
        except ValueError:
            raise ValueError(f"invalid IP address: {address}") from None
        address = plain
    if not inner:
        raise ValueError(f"no port specified: {spec}<empty>")
    try:
        start, end = _range(inner)
    except ValueError:
        raise ValueError(f"invalid containerPort: {inner}") from None
    first = last = 0
    if outer:
        try:
            first, last = _range(outer)
        except ValueError:
            raise ValueError(f"invalid hostPort: {outer}") from None
        if end - start != last - first and end != start:
            raise ValueError(f"invalid ranges specified for container and host Ports: {inner} and {outer}")
    if kind not in ("tcp", "udp", "sctp"):
        raise ValueError(f"invalid proto: {kind}")
    for number in range(start, end + 1):
        host = str(first + number - start) if outer else ""
        if outer and start == end and first != last:
            host = f"{first}-{last}"
        yield f"{number}/{kind}", {"HostIp": address, "HostPort": host}


def expose(specs: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return ports that are exposed.

    >>> expose(["80", "10-11/udp"])
    {'80/tcp': {}, '10/udp': {}, '11/udp': {}}
    """
    found: dict[str, dict[str, str]] = {}
    for spec in specs:
        if ":" in spec:
            raise ValueError(f"invalid port format for --expose: {spec}")
        ports, slash, kind = spec.partition("/")
        try:
            start, end = _range(ports)
        except ValueError as error:
            raise ValueError(f"invalid range format for --expose: {ports}, error: {error}") from None
        for number in range(start, end + 1):
            found[f"{number}/{kind if slash else 'tcp'}"] = {}
    return found

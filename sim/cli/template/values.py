"""The values that templates are rendered for, and how Go prints them.

Decided here and only here: which JSON objects are structs to the docker command and which are maps. The difference is
seen: a struct is printed as `{1 2}`, and asking for another field is an error; a map is printed as `map[a:1 b:2]`, and
another key has no value. Values only; any thread.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["NO_VALUE", "Nil", "Record", "Struct", "structured", "to_json", "to_text", "truth", "type_name"]


class _NoValue:
    """What a map gives for a key that it has not."""

    def __bool__(self) -> bool:
        """Return that it counts as false."""
        return False


NO_VALUE = _NoValue()


class Nil:
    """A null of a known type: an empty list, an empty map, or nothing.

    Parameters
    ----------
    text
        How it is printed: `[]`, `map[]`, `<nil>`.
    key
        Of what is not there at all: its name, for errors.
    """

    def __init__(self, text: str, key: str = "") -> None:
        self.text = text
        self.key = key

    def __bool__(self) -> bool:
        """Return that it counts as false."""
        return False

    def __len__(self) -> int:
        """Return that nothing is in it."""
        return 0

    def __iter__(self) -> Iterator[object]:
        """Iterate over nothing."""
        return iter(())


class Struct(dict[str, Any]):
    """An object whose fields are known."""


class Record:
    """A row of a table: its fields are asked for one by one.

    Parameters
    ----------
    kind
        What errors call it, such as `*formatter.ContainerContext`.
    fields
        Each field's value or the function that has it.
    methods
        Fields that take one argument.
    """

    def __init__(
        self,
        kind: str,
        fields: Mapping[str, object],
        methods: Mapping[str, Callable[[str], object]] | None = None,
    ) -> None:
        self.kind = kind
        self.fields = fields
        self.methods = methods or {}

    def get(self, name: str) -> object:
        """Return a field's value."""
        value = self.fields[name]
        return value() if callable(value) else value


#: Objects that are maps: any key, printed sorted.
_MAPS = frozenset(
    (
        *("Labels", "ExposedPorts", "Volumes", "Ports", "PortBindings", "Networks", "Data", "Options", "DriverOpts"),
        *("Sysctls", "Tmpfs", "Annotations", "StorageOpt", "Containers", "EndpointsConfig", "AuxiliaryAddresses"),
        *("Runtimes", "IndexConfigs", "Services", "Details", "Attributes", "Status", "Metadata"),
    )
)

#: Lists and maps which are null where they are empty.
_LISTS = frozenset(
    (
        *("Cmd", "Entrypoint", "OnBuild", "Shell", "Env", "Args", "ExecIDs", "Binds", "VolumesFrom", "CapAdd"),
        *("CapDrop", "Dns", "DnsOptions", "DnsSearch", "ExtraHosts", "GroupAdd", "Links", "SecurityOpt", "Devices"),
        *("BlkioWeightDevice", "BlkioDeviceReadBps", "BlkioDeviceWriteBps", "BlkioDeviceReadIOps"),
        *("BlkioDeviceWriteIOps", "DeviceCgroupRules", "DeviceRequests", "Ulimits", "Mounts", "MaskedPaths"),
        *("ReadonlyPaths", "Aliases", "RepoTags", "RepoDigests", "Layers", "SecondaryIPAddresses"),
        *("SecondaryIPv6Addresses", "DNSNames", "Config", "Warnings", "Names"),
    )
)

#: Fields that the API leaves away where they are empty, and the docker command has all the same.
_OPTIONAL: Mapping[str, Mapping[str, str]] = {
    "": {"SizeRw": "<nil>", "SizeRootFs": "<nil>", "Health": "<nil>", "ImageManifestDescriptor": "<nil>"},
    "State": {"Health": "<nil>"},
    "Config": {
        **dict.fromkeys(("Healthcheck", "StopTimeout"), "<nil>"),
        **dict.fromkeys(("StopSignal", "MacAddress"), ""),
        **dict.fromkeys(("ArgsEscaped", "NetworkDisabled"), "false"),
        **dict.fromkeys(("Shell", "OnBuild"), "[]"),
        **dict.fromkeys(("ExposedPorts", "Volumes", "Labels"), "map[]"),
    },
    "HostConfig": {
        **dict.fromkeys(("Init",), "<nil>"),
        **dict.fromkeys(("Mounts", "DeviceRequests", "MaskedPaths"), "[]"),
        **dict.fromkeys(("Tmpfs", "Sysctls", "StorageOpt", "Annotations"), "map[]"),
    },
}

#: What Go's own names for fields are, where JSON has others.
_GO_NAMES = {
    **dict.fromkeys(("ID",), "Id"),
    **{f"CPU{name}": f"Cpu{name}" for name in ("Shares", "Period", "Quota")},
    **{f"DNS{name}": f"Dns{name}" for name in ("", "Search", "Options")},
    **dict.fromkeys(("NanoCPUs",), "NanoCpus"),
    **dict.fromkeys(("HostIP",), "HostIp"),
}

#: Structs whose fields are left away where they are empty, in their order: `docker inspect -f '{{.Mounts}}'`.
_WHOLE = {"Mounts": ("Type", "Name", "Source", "Destination", "Driver", "Mode", "RW", "Propagation")}


def structured(value: object, name: str = "", parent: str = "") -> Any:
    """Return a decoded JSON value with its structs and nulls as the docker command has them.

    Parameters
    ----------
    name, parent
        The keys that it and what it is in have.

    Examples
    --------
    >>> to_text(structured({"State": {"Pid": 1}, "Labels": {"b": "2", "a": "1"}, "Cmd": None}))
    '{{1 <nil>} map[a:1 b:2] []}'
    """
    if isinstance(value, dict):
        if name in _MAPS or (name, parent) == ("Config", "LogConfig"):
            return {key: structured(item) for key, item in value.items()}
        order = dict.fromkeys((*_WHOLE.get(name, ()), *value))
        found = Struct((key, structured(value[key], key, name) if key in value else Nil("", key)) for key in order)
        found.update(
            (key, Nil(text, key)) for key, text in _OPTIONAL.get(name, {}).items() if name and key not in value
        )
        return found
    if isinstance(value, list):
        return [structured(item, name if name in _WHOLE else "") for item in value]
    if value is None:
        return Nil("[]" if name in _LISTS else "map[]" if name in _MAPS else "<nil>")
    return value


def optional(value: Struct, name: str) -> object:
    """Return a field of a struct that the API left away, or None if there is no such field."""
    other = _GO_NAMES.get(name, "")
    if other in value:
        return value[other]
    if name in _OPTIONAL[""] and "Id" in value:
        return Nil("<nil>", name)
    return None


def truth(value: object) -> bool:
    """Tell whether `if` takes a value for true: all but zero, empty and nil."""
    return True if isinstance(value, Struct | Record) else bool(value)


def type_name(value: object) -> str:
    """Return what Go calls the type of a value."""
    match value:
        case Record():
            return value.kind
        case bool():
            return "bool"
        case str():
            return "string"
        case int():
            return "int"
        case float():
            return "float64"
        case list():
            return "[]string"
        case Struct():
            return "struct"
        case dict():
            return "map[string]interface {}"
    return "interface {}"


def to_text(value: object, *, top: bool = True) -> str:
    """Return a value as Go's `%v` prints it."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return go_float(value)
        case _NoValue():
            return "<no value>" if top else "<nil>"
        case None:
            return "<nil>"
        case Nil():
            return value.text
        case list():
            return f"[{' '.join(to_text(item, top=False) for item in value)}]"
        case Struct():
            return f"{{{' '.join(to_text(item, top=False) for item in value.values())}}}"
        case dict():
            pairs = (f"{to_text(key)}:{to_text(value[key], top=False)}" for key in sorted(value))
            return f"map[{' '.join(pairs)}]"
        case Record():
            return f"{{{' '.join(to_text(value.get(name), top=False) for name in value.fields)}}}"
    return str(value)


def go_float(value: float) -> str:
    """Return a number as Go's `%v`: the fewest digits, an exponent from 1e21 on.

    >>> go_float(1000.0), go_float(1.5), go_float(1e21), go_float(0.00001)
    ('1000', '1.5', '1e+21', '1e-05')
    """
    if value != value or value in (float("inf"), float("-inf")):
        return {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}[str(value)]
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    return repr(value)


def _plain(value: object) -> object:
    match value:
        case Nil() | _NoValue() | None:
            return None
        case Struct():
            return {key: _plain(item) for key, item in value.items() if not (isinstance(item, Nil) and item.key)}
        case dict():
            return {key: _plain(value[key]) for key in sorted(value)}
        case list():
            return [_plain(item) for item in value]
        case Record():
            return {name: _plain(value.get(name)) for name in sorted(value.fields)}
        case float():
            return int(value) if value == int(value) and abs(value) < 1e21 else value
    return value


def to_json(value: object) -> str:
    """Return a value as the docker command's `json`: a row of a table with `<`, `>` and `&` as escapes, others not."""
    text = json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"))
    text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    if isinstance(value, Record):
        for one in "<>&":
            text = text.replace(one, f"\\u{ord(one):04x}")
    return text

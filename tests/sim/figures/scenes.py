"""Fixed stacks of many sizes, and every figure of each."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from matplotlib.figure import Figure

from fusefs import Effect, EffectKind, Kind, Operation
from sim import figures, graph
from sim.figures import LIGHT, Theme
from sim.graph import Entry, EntryType, Layer, LayerGraph, LayerStack, Replay, Role

WORDS = ["usr", "lib", "share", "etc", "var", "cache", "python3", "dist-packages", "locale", "doc", "x86_64-linux-gnu"]


def layer(name: str, entries: Iterable[Entry], role: Role = Role.RO) -> Layer:
    """Make a layer of these entries, with the directories that they are in."""
    table = {"/": Entry("/", EntryType.DIRECTORY)}
    for entry in entries:
        at = entry.path.rpartition("/")[0] or "/"
        while at not in table:
            table[at] = Entry(at, EntryType.DIRECTORY)
            at = at.rpartition("/")[0] or "/"
        table[entry.path] = entry
    return Layer(name, name, role, lambda: table)


def parents(path: str, origin: int, done: set[str]) -> tuple[Effect, ...]:
    """Return the copy-ups of the directories above a path that are not in the RW layer yet."""
    found = []
    at = ""
    for name in path.split("/")[1:-1]:
        at = f"{at}/{name}"
        if at not in done:
            done.add(at)
            found.append(Effect(EffectKind.COPIED_UP, at, origin))
    return tuple(found)


@dataclass(frozen=True)
class Scene:
    """A stack with operations, and a graph of images around it."""

    stack: LayerStack
    graph: LayerGraph
    paths: list[str]

    def figures(self) -> dict[str, Callable[[Theme], Figure]]:
        """Every figure of the scene, by name."""
        stack, whole = self.stack, self.graph
        below = LayerStack("image", stack.layers[1:] or stack.layers)
        rw = [1000 * (index % 7) for index in range(len(self.paths))]
        drawn: dict[str, Callable[[Theme], Figure]] = {
            "cross_section": lambda t: figures.cross_section(graph.cross_section(stack), theme=t),
            "lookup_walk": lambda t: figures.lookup_walk(graph.lookup_walk(stack, self.paths[-1]), theme=t),
            "image_dag": lambda t: figures.image_dag(graph.image_dag(whole), theme=t),
            "icicle": lambda t: figures.icicle(graph.icicle(stack.layers[-1]), theme=t),
            "timeline": lambda t: figures.timeline(graph.timeline(stack), theme=t),
            "sharing": lambda t: figures.sharing(graph.sharing(whole), theme=t),
            "waterfall": lambda t: figures.waterfall(graph.waterfall(whole), theme=t),
            "savings_curve": lambda t: figures.savings_curve(graph.savings_curve("base", 50_000, rw), theme=t),
            "latency": lambda t: figures.latency(graph.latency(stack), theme=t),
            "change_tree": lambda t: figures.change_tree(graph.change_tree(below, stack), theme=t),
            "heat": lambda t: figures.heat(graph.heat(stack), theme=t),
        }
        if any(e.kind is EffectKind.COPIED_UP for op in stack.operations() for e in op.effects):
            drawn["copy_up"] = lambda t: figures.copy_up(graph.copy_up(stack), theme=t)
        return drawn

    def draw(self, name: str, theme: Theme = LIGHT) -> Figure:
        """Draw one figure."""
        return self.figures()[name](theme)


def random_scene(layers: int, paths: int, operations: int, seed: int = 1) -> Scene:
    """Make a stack of so many layers and paths, always the same for a seed."""
    chance = random.Random(seed)
    names = [
        "/" + "/".join(chance.choice(WORDS) for _ in range(chance.randint(1, 5))) + f"/file{index}.so"
        for index in range(paths)
    ]
    content: list[list[Entry]] = [[] for _ in range(layers)]
    home = {}
    for name in names:
        home[name] = chance.randrange(1, layers) if layers > 1 else 0
        content[home[name]].append(Entry(name, EntryType.FILE, int(chance.paretovariate(0.7) * 100)))
        if home[name] > 1 and chance.random() < 0.3:
            above = chance.randrange(1, home[name])
            mark = EntryType.WHITEOUT if chance.random() < 0.5 else EntryType.FILE
            content[above].append(Entry(name, mark, 0 if mark is EntryType.WHITEOUT else 70))
    done = []
    there: set[str] = set()
    for number in range(1, operations + 1):
        name = chance.choice(names)
        common = {
            "path": name,
            "start": 10**18 + number * 10**6,
            "duration": chance.randrange(10**4, 10**6),
            "number": number,
        }
        below = home[name] if layers > 1 else 1
        draw = chance.random()
        if draw < 0.7 or layers == 1:
            done.append(Operation(Kind.READ, layer=below, size=4096, **common))  # type: ignore[arg-type]
        elif draw < 0.85:
            size = chance.choice([100, 5000, 100_000, 4_000_000])
            copied = (*parents(name, below, there), Effect(EffectKind.COPIED_UP, name, below, size))
            done.append(Operation(Kind.OPEN, layer=0, effects=copied, **common))  # type: ignore[arg-type]
        elif draw < 0.95:
            gone = (*parents(name, below, there), Effect(EffectKind.WHITEOUT, name, below))
            done.append(Operation(Kind.UNLINK, layer=0, effects=gone, **common))  # type: ignore[arg-type]
        else:
            done.append(Operation(Kind.LOOKUP, layer=None, error=2, **common))  # type: ignore[arg-type]
    made = [
        layer(f"sha256:{index:064x}" if index % 2 else f"layer-{index}", content[index], Role.RO)
        for index in range(1, layers)
    ]
    replay = Replay(dict(enumerate(made, 1))).take_all(done)
    top = layer("web", content[0] if layers == 1 else [], Role.RW)
    if layers > 1:
        top = Layer("web", "web", Role.RW, lambda: replay.entries)
    stack = LayerStack("web", (top, *made), replay, lambda: iter(done))
    whole = LayerGraph()
    for index in range(min(layers // 3 + 1, 30)):
        chosen = [one for one in made[:-1] if chance.random() < 0.4] + made[-1:]
        if chosen:
            whole.add_image(f"sha256:{index:064x}", [f"example.org/team/app-{index}:1.{index}"], chosen)
    whole.add_stack(stack)
    return Scene(stack, whole, names)


def small_scene() -> Scene:
    """Make a stack that has every kind of cell, small enough to be read by eye."""
    k, e = EffectKind, Effect
    base = layer(
        "base",
        [
            Entry("/bin/sh", EntryType.FILE, 120_000),
            Entry("/etc/hosts", EntryType.FILE, 200),
            Entry("/etc/passwd", EntryType.FILE, 900),
            Entry("/usr/share/doc/readme", EntryType.FILE, 30_000),
            Entry("/var/log/boot", EntryType.FILE, 5000),
        ],
    )
    app = layer(
        "app",
        [
            Entry("/etc/hosts", EntryType.FILE, 250),
            Entry("/srv/app.py", EntryType.FILE, 40_000),
            Entry("/var/log/boot", EntryType.WHITEOUT),
        ],
    )
    effects: list[tuple[Kind, str, int | None, tuple[Effect, ...], int, str]] = [
        (Kind.OPEN, "/etc/hosts", 1, (), 0, ""),
        (Kind.READ, "/etc/hosts", 1, (), 250, ""),
        (Kind.LOOKUP, "/etc/none", None, (), 0, ""),
        (Kind.OPEN, "/etc/passwd", 0, (e(k.COPIED_UP, "/etc", 2), e(k.COPIED_UP, "/etc/passwd", 2, 900)), 0, ""),
        (Kind.WRITE, "/etc/passwd", 0, (e(k.WRITTEN, "/etc/passwd", size=1000),), 1000, ""),
        (Kind.RMDIR, "/usr/share/doc", 0,
            (*parents("/usr/share/doc", 2, set()), e(k.WHITEOUT, "/usr/share/doc", 2)), 0, ""),
        (Kind.MKDIR, "/usr/share/doc", 0, (e(k.CREATED, "/usr/share/doc"), e(k.OPAQUE, "/usr/share/doc", 2)), 0, ""),
        (Kind.RENAME, "/srv/app.py", 0, (
            e(k.COPIED_UP, "/srv", 1), e(k.COPIED_UP, "/srv/app.py", 1, 40_000),
            e(k.RENAMED, "/srv/app.py", target="/srv/main.py"), e(k.WHITEOUT, "/srv/app.py", 1)), 0, "/srv/main.py"),
        (Kind.CREATE, "/tmp", 0, (e(k.CREATED, "/tmp"),), 0, ""),
        (Kind.WRITE, "/tmp", 0, (e(k.WRITTEN, "/tmp", size=7000),), 7000, ""),
        (Kind.READ, "/bin/sh", 2, (), 120_000, ""),
    ]  # fmt: skip
    done = [
        Operation(kind, path, where, what, size, target=target, start=10**18 + n * 10**6, duration=50_000 * n,
                  error=2 if where is None else 0, number=n)
        for n, (kind, path, where, what, size, target) in enumerate(effects, 1)
    ]  # fmt: skip
    replay = Replay({1: app, 2: base}).take_all(done)
    top = Layer("web", "web", Role.RW, lambda: replay.entries)
    stack = LayerStack("web", (top, app, base), replay, lambda: iter(done))
    whole = LayerGraph()
    whole.add_image("sha256:aa", ["app:1", "app:latest"], [app, base])
    whole.add_image("sha256:bb", ["tool:2"], [layer("tool", [Entry("/bin/tool", EntryType.FILE, 60_000)]), base])
    whole.add_stack(stack)
    return Scene(stack, whole, ["/bin/sh", "/etc/passwd", "/etc/hosts", "/usr/share/doc/readme"])

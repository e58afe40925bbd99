"""Looking around in layers: in a terminal, and in a check for continuous integration.

>>> from sim.explore import Browser, Limits, judge
>>> from sim.graph import Entry, EntryType, Layer, LayerStack, Role
>>> def layer(name, *files):
...     table = {"/": Entry("/", EntryType.DIRECTORY), **{path: Entry(path, kind, size) for path, kind, size in files}}
...     return Layer(name, name, Role.RO, lambda: table)
>>> top = layer("clean", ("/cache", EntryType.WHITEOUT, 0))
>>> stack = LayerStack("web", (top, layer("base", ("/cache", EntryType.FILE, 9), ("/app", EntryType.FILE, 1))))
>>> [(row.mark, row.path) for row in Browser(stack).rows()]
[('', '/app'), ('D', '/cache')]
>>> [(rule.name, rule.passed) for rule in judge(stack, Limits(negligible_bytes=0)).rules]
[('lowest-efficiency', False), ('highest-wasted-bytes', None), ('highest-wasted-percent', None)]

- `open_target(word)`: what a word on the command line means: an image, a container, a file, a stack of directories.
- `Browser`: the rows of a layer's tree, with what the layer did to each path.
- `Limits`, `read_limits(file)`, `judge(stack, limits)`: whether too much is wasted.
- `sim.explore.app.Explorer(target).run()`: the explorer itself. Beside this package, because it brings Textual along.
"""

from sim.explore.browser import Browser, Row
from sim.explore.limits import Limits, LimitsError, Rule, Verdict, judge, read_limits
from sim.explore.targets import Target, open_target

__all__ = [
    "Browser",
    "Limits",
    "LimitsError",
    "Row",
    "Rule",
    "Target",
    "Verdict",
    "judge",
    "open_target",
    "read_limits",
]

"""Go's text/template for `--format`: fields, pipelines, `if`, `range`, `with`, variables, functions, and Docker's own.

>>> from sim.cli.template import Template
>>> Template("{{range $i, $e := .Names}}{{if $i}}, {{end}}{{upper $e}}{{end}}").render({"Names": ["a", "b"]})
'A, B'

A `Template` is read once and rendered for any number of values; the texts of errors are those of Go's package, because
people know them from the docker command. Values are those of JSON, see `sim.cli.template.values`.
"""

from sim.cli.template.errors import RunError, SyntaxProblem, TemplateProblem
from sim.cli.template.run import Template
from sim.cli.template.values import Nil, Record, Struct, structured

__all__ = ["Nil", "Record", "RunError", "Struct", "SyntaxProblem", "Template", "TemplateProblem", "structured"]

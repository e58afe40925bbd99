"""Predict, then check: problems without end about stacks of layers, made and answered by the real engine.

Decided here: what a caller needs. A problem is made of a form, a level and a seed, and is the same on every machine:

>>> from sim.course.predict import Form, judge, make
>>> problem = make(Form.BYTES, level=1, seed=7)
>>> judge(problem, problem.choices[problem.right].text).right
True

The pieces: `steps` (what a process does, as a command), `worlds` (stacks by chance), `engine` (what a stack becomes, on
`UnionFS`), `problems` (the three forms, their choices), `answers` (an answer in somebody's own words), `reveal`
(explanation and figure), `score`, `widget` (in notebooks).
"""

from sim.course.predict.answers import Judgement, UnclearError, judge
from sim.course.predict.problems import Choice, Form, Problem, make

__all__ = ["Choice", "Form", "Judgement", "Problem", "UnclearError", "judge", "make"]

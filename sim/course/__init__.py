"""The course: lessons, exercises that check themselves, problems without end, and grading of union filesystems.

The pieces:

- `texts`: what is said in both languages.
- `lesson`, `shelf`: a lesson's text, parsed; where the lessons are.
- `console`, `author`: commands in the lessons, run and compared with what the text shows.
- `place`, `bench`, `exercises`: a student's directory, what a check may look at, the checks.
- `predict`: problems made and answered by the real engine.
- `own`: write your own union filesystem, level by level, and its grader.
- `teaching`: slides, answer key, plan, notebooks for otter-grader, batches of submissions.

Importing this package is cheap and needs neither FUSE nor anything that draws.
"""

from sim.course.errors import CourseError
from sim.course.texts import Language, Text

__all__ = ["CourseError", "Language", "Text"]

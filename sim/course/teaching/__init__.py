"""For teachers: slides, a plan, an answer key and notebooks, all made from the lessons' source.

Decided here: what there is.

- `slides`: one page of HTML a lesson, self-contained, with the notes for the instructor.
- `handout`: the plan of the course, and the answer key.
- `otter`: the exercises as an assignment for otter-grader.
"""

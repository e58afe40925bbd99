"""Write your own union filesystem: a skeleton level by level, and a grader for any mount command.

Decided here: what there is.

- `levels`: the levels, their points, and the skeleton and solution of each.
- `complete`: a whole union filesystem in fuse-python, from which the skeletons are cut.
- `submission`: somebody's mount command, started, watched and ended.
- `pair`: the same calls on a submission's mount and on the reference engine, compared.
- `suite/`: what is graded, as pytest tests with a marker for each level; `plugin` runs them, `grader` reports.
- `batch`, `inside`: a directory of submissions, each in a sandbox with limits.
"""

"""What is graded: tests with a marker for each level. Run by `sim.course.own.grader`, never by the project's own suite."""

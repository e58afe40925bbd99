"""The commands that the docker command has too: a module each, or one for a few that belong together.

Words, columns, defaults, messages and exit statuses are the docker command's (28.2).
"""

"""The `layerlab` command: its words, its tables, its exit statuses.

One module per sub-command, imported when the sub-command runs; each has its `click` command under the name `command`.
"""

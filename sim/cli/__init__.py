"""The `layerlab` command: its words, its tables, its exit statuses. One module per sub-command, imported when it runs."""

"""A union filesystem: read-only layers and one writable layer, seen as one tree, every operation recorded."""

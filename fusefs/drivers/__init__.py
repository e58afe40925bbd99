"""The drivers: adapters between `UnionFS` and what can carry a filesystem's requests."""

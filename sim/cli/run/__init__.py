"""From the flags of `run` and `create` to what the engine is asked for.

`flags` has the flags, `config` puts the request together, and a module each reads ports, mounts, networks and devices.
"""

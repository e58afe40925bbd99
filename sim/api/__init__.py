"""The Docker Engine HTTP API: JSON shapes, streams, hijacked connections, status codes.

    engine = Engine(root)
    server = Server(application(engine))
    server.listen(unix_listener(path)); ...; server.close()

Served by h11, one thread a connection: the engine's work is blocking work, and an attached terminal is a connection
that is handed over whole.
"""

"""The figure of lesson 7: two containers of one image, each with an RW layer of its own."""

import sys

from sim import figures, graph

with graph.Lab(mounted=False) as lab:
    lab.layer(
        "base:1", {"/bin/busybox": 900_000, "/etc/motd": "welcome to the base\n", "/usr/share/doc/manual": 24_000}
    )
    one, two = lab.start("one"), lab.start("two")
    one.write("/etc/motd", "this is container one\n")
    one.write("/etc/notes", "n" * 3_000)
    two.remove("/etc/motd")
    figures.save(figures.image_dag(graph.image_dag(lab.graph())), sys.argv[1] if sys.argv[1:] else "containers.png")

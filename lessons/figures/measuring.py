"""The figure of lesson 11: how long first writes take, by size, and what a later write takes."""

import sys

from sim import figures
from sim.graph.views import Latency
from sim.graph.views.latency import Point

#: Bytes, and seconds as one machine's journal had them: the middle three of fifteen each.
POINTS = [
    (1_000, 0.002964),
    (1_000, 0.003066),
    (1_000, 0.005968),
    (10_000, 0.002128),
    (10_000, 0.002626),
    (10_000, 0.002812),
    (100_000, 0.003394),
    (100_000, 0.003934),
    (100_000, 0.004186),
    (1_000_000, 0.004324),
    (1_000_000, 0.004611),
    (1_000_000, 0.008336),
    (4_000_000, 0.009608),
    (4_000_000, 0.009769),
    (4_000_000, 0.011406),
]

data = Latency(tuple(Point(size, seconds, "FUSE mount") for size, seconds in POINTS), 2.21e-05)
figures.save(figures.latency(data), sys.argv[1] if sys.argv[1:] else "measuring.png")

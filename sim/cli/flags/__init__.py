"""Flags as the docker command takes them, and the commands that have them.

They are read without click, because Docker's rules are others than click's (`--rm=false`, `-m=512m`, options that end
at the image's name, and what is said about a wrong one), and because click takes longer to import than they to run.
"""

from sim.cli.flags.command import Call, DockerCommand, DockerGroup, docker
from sim.cli.flags.flag import Flag, filters, formats, many, option, switch

__all__ = ["Call", "DockerCommand", "DockerGroup", "Flag", "docker", "filters", "formats", "many", "option", "switch"]

"""Flags as the docker command takes them, and the commands that have them.

click finds the command and completes its words; what stands behind it is read here, because Docker's rules are others
than click's: `--rm=false`, `-m=512m`, options that end at the image's name, and what is said about a wrong one.
"""

from sim.cli.flags.command import Call, DockerCommand, DockerGroup, docker
from sim.cli.flags.flag import Flag, filters, formats, many, option, switch

__all__ = ["Call", "DockerCommand", "DockerGroup", "Flag", "docker", "filters", "formats", "many", "option", "switch"]

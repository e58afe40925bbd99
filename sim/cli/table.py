"""Which commands there are, in which module each is, and its line in the help.

Decided here and only here. Imports nothing: the help and the shell's completion read it at each start.
"""

from __future__ import annotations

__all__ = ["COMMANDS", "GROUPS", "SECTIONS"]

#: name -> (module or module:attribute, line in the help), in the order in which the help lists them.
COMMANDS: dict[str, tuple[str, str]] = {
    # what Docker has not
    "demo": ("sim.cli.demo", "Build two images, run a container on one, and show all that happened to its layers."),
    "base": ("sim.cli.base:base", "Give the engine a small base image, made around this machine's busybox."),
    "layers": ("sim.cli.layers", "Show an image's layers: their files, what they hide, what is wasted."),
    "why": ("sim.cli.why", "Tell which layer added, changed, copied up or deleted a path."),
    "watch": ("sim.cli.watch", "Show a container's filesystem operations as they happen."),
    "compare": ("sim.cli.compare", "Show what differs between two images."),
    "mount": ("sim.cli.mount", "Mount an image, a container, or a stack of directories as one tree."),
    "umount": ("sim.cli.umount", "Undo a mount."),
    "journal": ("sim.cli.journal", "Show the operations that a mount recorded."),
    "figure": ("sim.cli.figure", "Draw a figure of images, containers, journals or directories."),
    "graph": ("sim.cli.graphs", "Write the layer graph as JSON, GraphML or DOT."),
    "predict": ("sim.cli.predict", "Predict what a stack becomes, then see what the real union did."),
    "lesson": ("sim.cli.lesson", "Lessons with exercises that check themselves."),
    "grade": ("sim.cli.grade", "Grade a union filesystem that somebody wrote, in any language."),
    "bench": ("sim.cli.bench", "Measure what copy-up costs, storage drivers side by side."),
    "doctor": ("sim.cli.doctor", "Say what this machine can do, and what to install for the rest."),
    "daemon": ("sim.cli.daemon", "Be the process that keeps images and containers, and serves Docker's API."),
    "explore": ("sim.cli.explore", "Look around in the layers of an image, a container, a file or directories."),
    # the most used
    "run": ("sim.cli.commands.run:run", "Create and run a new container from an image"),
    "exec": ("sim.cli.commands.execute:exec_", "Execute a command in a running container"),
    "ps": ("sim.cli.commands.containerlist:ps", "List containers"),
    "build": ("sim.cli.commands.build:build", "Build an image from a Dockerfile"),
    "pull": ("sim.cli.commands.registries:pull", "Download an image from a registry"),
    "push": ("sim.cli.commands.registries:push", "Upload an image to a registry"),
    "images": ("sim.cli.commands.imagelist:images", "List images"),
    "login": ("sim.cli.commands.login:login", "Authenticate to a registry"),
    "logout": ("sim.cli.commands.login:logout", "Log out from a registry"),
    "search": ("sim.cli.commands.registries:search", "Search Docker Hub for images"),
    "version": ("sim.cli.commands.system:version", "Show version information"),
    "info": ("sim.cli.commands.info:info", "Display system-wide information"),
    # groups
    "builder": ("sim.cli.commands.groups:builder", "Manage builds"),
    "container": ("sim.cli.commands.groups:container", "Manage containers"),
    "context": ("sim.cli.commands.groups:context", "Manage contexts"),
    "image": ("sim.cli.commands.groups:image", "Manage images"),
    "network": ("sim.cli.commands.groups:network", "Manage networks"),
    "system": ("sim.cli.commands.groups:system", "Manage the engine"),
    "volume": ("sim.cli.commands.groups:volume", "Manage volumes"),
    # the rest
    "attach": (
        "sim.cli.commands.execute:attach",
        "Attach local standard input, output, and error streams to a running container",
    ),
    "commit": ("sim.cli.commands.images:commit", "Create a new image from a container's changes"),
    "cp": ("sim.cli.commands.copy:cp", "Copy files/folders between a container and the local filesystem"),
    "create": ("sim.cli.commands.run:create", "Create a new container"),
    "diff": ("sim.cli.commands.containers:diff", "Inspect changes to files or directories on a container's filesystem"),
    "events": ("sim.cli.commands.events:events", "Get real time events from the server"),
    "export": ("sim.cli.commands.archives:export", "Export a container's filesystem as a tar archive"),
    "history": ("sim.cli.commands.images:history", "Show the history of an image"),
    "import": (
        "sim.cli.commands.archives:import_",
        "Import the contents from a tarball to create a filesystem image",
    ),
    "inspect": ("sim.cli.commands.inspect:inspect", "Return low-level information on Docker objects"),
    "kill": ("sim.cli.commands.containers:kill", "Kill one or more running containers"),
    "load": ("sim.cli.commands.archives:load", "Load an image from a tar archive or STDIN"),
    "logs": ("sim.cli.commands.logs:logs", "Fetch the logs of a container"),
    "pause": ("sim.cli.commands.containers:pause", "Pause all processes within one or more containers"),
    "port": ("sim.cli.commands.containers:port", "List port mappings or a specific mapping for the container"),
    "rename": ("sim.cli.commands.containers:rename", "Rename a container"),
    "restart": ("sim.cli.commands.containers:restart", "Restart one or more containers"),
    "rm": ("sim.cli.commands.containers:rm", "Remove one or more containers"),
    "rmi": ("sim.cli.commands.images:rmi", "Remove one or more images"),
    "save": (
        "sim.cli.commands.archives:save",
        "Save one or more images to a tar archive (streamed to STDOUT by default)",
    ),
    "start": ("sim.cli.commands.execute:start", "Start one or more stopped containers"),
    "stats": ("sim.cli.commands.stats:stats", "Display a live stream of container(s) resource usage statistics"),
    "stop": ("sim.cli.commands.containers:stop", "Stop one or more running containers"),
    "tag": ("sim.cli.commands.images:tag", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"),
    "top": ("sim.cli.commands.containers:top", "Display the running processes of a container"),
    "unpause": ("sim.cli.commands.containers:unpause", "Unpause all processes within one or more containers"),
    "update": ("sim.cli.commands.update:update", "Update configuration of one or more containers"),
    "wait": (
        "sim.cli.commands.containers:wait",
        "Block until one or more containers stop, then print their exit codes",
    ),
    "completion": ("sim.cli.completion:command", "Print what makes a shell complete the words of this command"),
}

#: Headings of the help, and the first command below each.
SECTIONS = {
    "demo": "Layers in sight",
    "run": "Common Commands",
    "builder": "Management Commands",
    "attach": "Commands",
}


def _named(name: str, line: str = "") -> tuple[str, str]:
    return COMMANDS[name][0], line or COMMANDS[name][1]


#: Commands of each group: name -> (module:attribute, line).
GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "builder": {
        "build": _named("build"),
        "prune": ("sim.cli.commands.prune:builder", "Remove build cache"),
    },
    "container": {
        **{name: _named(name) for name in ("attach", "commit", "cp", "create", "diff", "exec", "export")},
        "inspect": ("sim.cli.commands.inspect:container", "Display detailed information on one or more containers"),
        "kill": _named("kill"),
        "logs": _named("logs"),
        "ls": _named("ps"),
        "pause": _named("pause"),
        "port": _named("port"),
        "prune": ("sim.cli.commands.prune:containers", "Remove all stopped containers"),
        **{
            name: _named(name)
            for name in ("rename", "restart", "rm", "run", "start", "stats", "stop", "top", "unpause", "update", "wait")
        },
    },
    "context": {
        "create": ("sim.cli.commands.contexts:create", "Create a context"),
        "export": (
            "sim.cli.commands.contexts:export",
            "Export a context to a tar archive FILE or a tar stream on STDOUT.",
        ),
        "import": ("sim.cli.commands.contexts:import_", "Import a context from a tar or zip file"),
        "inspect": ("sim.cli.commands.contexts:inspect", "Display detailed information on one or more contexts"),
        "ls": ("sim.cli.commands.contexts:ls", "List contexts"),
        "rm": ("sim.cli.commands.contexts:rm", "Remove one or more contexts"),
        "show": ("sim.cli.commands.contexts:show", "Print the name of the current context"),
        "update": ("sim.cli.commands.contexts:update", "Update a context"),
        "use": ("sim.cli.commands.contexts:use", "Set the current docker context"),
    },
    "image": {
        "build": _named("build"),
        "history": _named("history"),
        "import": _named("import"),
        "inspect": ("sim.cli.commands.inspect:image", "Display detailed information on one or more images"),
        "load": _named("load"),
        "ls": _named("images"),
        "prune": ("sim.cli.commands.prune:images", "Remove unused images"),
        "pull": _named("pull"),
        "push": _named("push"),
        "rm": _named("rmi"),
        "save": _named("save"),
        "tag": _named("tag"),
    },
    "network": {
        "connect": ("sim.cli.commands.networks:connect", "Connect a container to a network"),
        "create": ("sim.cli.commands.networks:create", "Create a network"),
        "disconnect": ("sim.cli.commands.networks:disconnect", "Disconnect a container from a network"),
        "inspect": ("sim.cli.commands.inspect:network", "Display detailed information on one or more networks"),
        "ls": ("sim.cli.commands.networks:ls", "List networks"),
        "prune": ("sim.cli.commands.prune:networks", "Remove all unused networks"),
        "rm": ("sim.cli.commands.networks:rm", "Remove one or more networks"),
    },
    "system": {
        "df": ("sim.cli.commands.df:df", "Show disk usage"),
        "dial-stdio": ("sim.cli.commands.contexts:dial_stdio", "Carry between standard streams and the engine"),
        "events": _named("events"),
        "info": _named("info"),
        "ping": ("sim.cli.commands.system:ping", "Say whether the engine answers"),
        "prune": ("sim.cli.commands.prune:system", "Remove unused data"),
    },
    "volume": {
        "create": ("sim.cli.commands.volumes:create", "Create a volume"),
        "inspect": ("sim.cli.commands.inspect:volume", "Display detailed information on one or more volumes"),
        "ls": ("sim.cli.commands.volumes:ls", "List volumes"),
        "prune": ("sim.cli.commands.prune:volumes", "Remove unused local volumes"),
        "rm": ("sim.cli.commands.volumes:rm", "Remove one or more volumes"),
    },
}

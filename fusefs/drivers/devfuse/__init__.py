"""The devfuse driver: the kernel's FUSE protocol spoken on /dev/fuse in plain Python. A protocol adapter only.

Read it in this order:

    wire.py        the protocol: messages, structures, flags
    options.py     what can be chosen about a mount by this driver
    device.py      the device: mounting, descriptors, notifications, backing files
    nodes.py       node IDs and the kernel's lookup counts
    answers.py     a status, an entry, a listing as the kernel takes them
    reading.py     requests that look                             (class Reading)
    changing.py    requests that change names and metadata        (class Changing)
    opening.py     open files: page cache or kernel passthrough   (class Opening)
    dispatch.py    which request is whose; errors become errnos   (class Dispatcher)
    lookout.py     staying awake for the next request
    session.py     workers, INIT, and the life of a mount
    trace.py       each message in words
"""

from fusefs.drivers.devfuse.options import Passthrough, Tuning

__all__ = ["Passthrough", "Tuning"]

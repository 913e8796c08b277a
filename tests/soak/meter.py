#!/usr/bin/env python3
"""Runs a command and writes the most memory that it had resident, in bytes, into a file.

    meter.py FILE COMMAND...

It is a process of its own because a child's figure begins with that of the process it was forked from,
and this one is small.
"""

import os
import sys

if __name__ == "__main__":
    child = os.fork()
    if child == 0:
        os.execvp(sys.argv[2], sys.argv[2:])
    _, status, usage = os.wait4(child, 0)
    with open(sys.argv[1], "w", encoding="ascii") as file:
        file.write(str(usage.ru_maxrss * 1024))
    sys.exit(os.waitstatus_to_exitcode(status) & 255)

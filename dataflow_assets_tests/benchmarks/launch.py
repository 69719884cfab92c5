"""Run a command and say what it took. Usage: ``python -IS launch.py OUTPUT COMMAND...``.

A process begins with the peak memory of the one that it was forked from. So commands are started by
this one, which is small because it imports nothing; their output goes to the file OUTPUT.
"""

import os
import sys
import time

output, *command = sys.argv[1:]
target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
began = time.perf_counter()
streams = [(os.POSIX_SPAWN_DUP2, target, 1), (os.POSIX_SPAWN_DUP2, target, 2)]
child = os.posix_spawnp(command[0], command, os.environ, file_actions=streams)
_, status, used = os.wait4(child, 0)
seconds = time.perf_counter() - began
sys.stdout.write(f"{seconds} {used.ru_utime + used.ru_stime} {used.ru_maxrss / 1024}\n")
sys.exit(os.waitstatus_to_exitcode(status) != 0)

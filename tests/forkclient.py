"""``python -I -S forkclient.py SOCKET MODULE ARGUMENT...``: ``python -m MODULE ARGUMENT...``, forked by a server.

The process stands for the one that was forked: it ends as that one does, and if it is killed, so is that one.
`forkserver.py` is the server. Only what starts at once is imported.
"""

import _socket
import array
import marshal
import os
import signal
import sys


def main() -> int:
    address, *command = sys.argv[1:]
    server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    server.connect(address)
    request = marshal.dumps([command, os.getcwd(), dict(os.environ), list(os.sched_getaffinity(0))])
    streams = _socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", (0, 1, 2))
    server.sendmsg([len(request).to_bytes(8)], [streams])
    server.sendall(request)
    answer = server.recv(8)
    if not answer:
        sys.stderr.write("the process that forks has ended\n")
        return 70
    status = int(answer)
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    os._exit(main())

"""``python -m node.cli.zygote_main FD PARENT``: the zygote of ``artel up``."""

import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from node.adapters.zygote import become_zygote, serve_forks
from node.cli.environment import import_all, set_environment
from node.errors import ArtelError


def main() -> None:
    """Import everything, then fork nodes until the supervisor is gone."""
    channel, parent = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    become_zygote(parent)
    set_environment(os.environ)
    import_all()
    serve_forks(channel, _run)


def _run(request: dict[str, Any]) -> int:
    """One node, in a fork; its exit code.

    Args:
        request: ``data``: the folder; ``flags``: as of ``artel node run``.
    """
    from node.cli.node_config import read_node_config
    from node.cli.node_run import run_node

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return run_node(read_node_config(None, Path(request["data"]), request["flags"], None))
    except ArtelError as error:
        print(f"artel: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    main()

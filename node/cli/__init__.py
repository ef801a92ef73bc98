"""The ``artel`` command: the only place that picks adapters.

Every command imports what it needs when it runs, so that one that only asks stays fast.
"""

import sys

from node.errors import ArtelError, ConfigError


def main() -> int:
    """Run ``artel`` with the process's arguments; the exit code.

    0 success, 1 failure, 2 usage or configuration, 3 no node runs there.
    """
    from node.cli.app import app
    from node.cli.shared import no_node_text

    try:
        code = app(standalone_mode=False)
    except ArtelError as error:
        from node.control.client import NoNode

        if isinstance(error, NoNode):
            return _fail(no_node_text(error), 3)
        return _fail(str(error), 2 if isinstance(error, ConfigError) else 1)
    except BrokenPipeError:
        # The reader of our output (`| head`) has gone; nothing is left to say.
        sys.stderr.close()
        return 0
    except Exception as error:
        return _usage_or_raise(error)
    return code if isinstance(code, int) else 0


def _usage_or_raise(error: Exception) -> int:
    """Show a usage error as Typer shows it; anything else is our own bug."""
    show = getattr(error, "show", None)
    if show is not None:
        show()
        return int(getattr(error, "exit_code", 2))
    if type(error).__name__ in ("Abort", "Exit"):
        return int(getattr(error, "exit_code", 130))
    raise error


def _fail(text: str, code: int) -> int:
    print(f"artel: {text}", file=sys.stderr)
    return code

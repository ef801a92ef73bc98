"""Commands that installed packages add to ``artel``: the entry-point group ``artel.commands``."""

from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from node.errors import ConfigError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP = "artel.commands"


class PluginGroup(TyperGroup):
    """Artel's own commands first, then those of packages; a package is loaded when it is asked for.

    An entry point names a ``typer.Typer``. One that does not load is shown as such and fails alone.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """Own names in the order of their definition, then others sorted."""
        own = super().list_commands(ctx)
        return own + sorted(set(_points()) - set(own))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, or None where nobody has one of this name."""
        own = super().get_command(ctx, cmd_name)
        if own is not None or cmd_name.startswith("-"):
            return own
        point = _points().get(cmd_name)
        return _load(point) if point else None


def _points() -> dict[str, "EntryPoint"]:
    from importlib.metadata import entry_points  # 50 ms that most commands do without

    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def _load(point: "EntryPoint") -> Any:
    try:
        return typer.main.get_command(point.load())
    except Exception as error:  # whatever somebody else's module does when it is imported
        why = f"the command {point.name} ({point.value}) does not load: {error!r}"
        return typer.main.get_command(_broken(point.name, why))


def _broken(name: str, why: str) -> typer.Typer:
    """A command that says why there is none."""
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    anything = {"ignore_unknown_options": True, "allow_extra_args": True}

    @app.command(name, help=why, context_settings=anything)
    def fail() -> None:
        raise ConfigError(why)

    return app

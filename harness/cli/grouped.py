"""How `bench --help` looks: verbs in groups, examples under every verb."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

#: The verbs by what a user is about, in the order in which a newcomer needs them.
GROUPS = {
    "Look around": ("list", "info", "doctor"),
    "Run": ("run", "sweep", "search", "status", "cancel"),
    "Compare": ("table", "compare", "plot", "report", "claims", "check"),
    "Use trained networks": ("eval", "predict", "export"),
    "Data": ("data", "subset", "cache"),
    "Write a method": ("new-method", "test-method", "speed"),
}


class Verbs(TyperGroup):
    """Commands whose help calls an argument what it is, FILE or NAME, without its Python type."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command: Any = super().get_command(ctx, cmd_name)
        for parameter in getattr(command, "params", ()):
            if parameter.param_type_name == "argument" and parameter.metavar:
                parameter.display_type_rich = lambda ctx: None
        return command


class GroupedVerbs(Verbs):
    """A command whose help lists its verbs by GROUPS; those of none come last."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        verbs = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        shown = {name: verb for name, verb in verbs.items() if verb and not verb.hidden}
        grouped = {name for names in GROUPS.values() for name in names}
        others = tuple(name for name in shown if name not in grouped)
        width = max(map(len, shown), default=0)
        rest = "More" if len(others) < len(shown) else "Commands"
        for title, names in (GROUPS | {rest: others}).items():
            rows = [
                (f"{name:<{width}}", verb.get_short_help_str(200))
                for name in names
                if (verb := shown.get(name))
            ]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def examples(*lines: str) -> str:
    """The end of a verb's help: commands to copy, one a line, as they are."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)

"""How `bench --help` looks: verbs in groups, examples under every verb."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from typer.core import TyperGroup

from harness.errors import BenchError

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
    """Commands that refuse an option of one value that is given twice.

    Their help calls an argument what it is, FILE or NAME, without its Python type.
    """

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command: Any = super().get_command(ctx, cmd_name)
        for parameter in getattr(command, "params", ()):
            if parameter.param_type_name == "argument" and parameter.metavar:
                parameter.display_type_rich = lambda ctx: None
        if command is not None and "make_parser" not in vars(command):
            command.make_parser = partial(_careful_parser, command.make_parser)
        return command


def _careful_parser(make_parser: Callable[[Any], Any], ctx: Any) -> Any:
    """A command's parser, which lets the last of several values win, with that refused."""
    parser = make_parser(ctx)
    parse = parser.parse_args

    def parse_args(args: list[str]) -> Any:
        options, rest, order = parse(args)
        if not ctx.resilient_parsing:  # a shell completes half a command
            _refuse_twice(order)
        return options, rest, order

    parser.parse_args = parse_args
    return parser


def _refuse_twice(given: Iterable[Any]) -> None:
    """BenchError where a parameter of one value is among those given more than once.

    A flag may be repeated, unless its opposite is an option too.
    """
    counts = Counter(
        "/".join([parameter.opts[0], *parameter.secondary_opts])
        for parameter in given
        if parameter.param_type_name == "option"
        and not (parameter.multiple or parameter.count)
        and (parameter.secondary_opts or not parameter.is_flag)
    )
    for option, count in counts.items():
        if count > 1:
            raise BenchError(
                f"{option} is given {count} times; expected once, it takes one value: leave the "
                "others out."
            )


class GroupedVerbs(Verbs):
    """A command whose help lists its verbs: those of `bench` itself by GROUPS."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        verbs = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        shown = {name: verb for name, verb in verbs.items() if verb and not verb.hidden}
        groups = {"Commands": tuple(shown)} if ctx.parent else GROUPS
        width = max(map(len, shown), default=0)
        for title, names in groups.items():
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

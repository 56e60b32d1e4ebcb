"""Groups that know their commands by name and one line of help, and import a module only when its command is used.

A start of the program costs what its imports cost; the help of a group needs none of them. The lines of help in a table
are the first sentences of the real helps, word for word: a test imports everything and compares.
"""

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Final

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

Command = Any
"""A command of Typer's own copy of Click, whose classes have no public name."""


@dataclass(frozen=True, slots=True)
class Lazy:
    """A command or group that is imported when it is used: its name, where it is, and the first sentence of its help.

    `where` is `module:attribute` under `keyfold.cli`: a function, or an application of Typer that has the command.
    """

    name: str
    where: str
    help: str

    def load(self) -> Command:
        """Import the module and return the command, as if it had been registered at once."""
        module, attribute = self.where.split(":")
        found = getattr(import_module(f"keyfold.cli.{module}"), attribute)
        holder = typer.Typer(rich_markup_mode=None)
        if isinstance(found, typer.Typer):
            holder.add_typer(found)
        else:
            holder.command(self.name)(found)
        return typer.main.get_group(holder).commands[self.name]


class _Commands(MutableMapping[str, Command]):
    """Commands by name, those that were registered first. Looking one up imports it; names and `in` import nothing."""

    def __init__(self, known: dict[str, Command], lazy: tuple[Lazy, ...]) -> None:
        self.known: Final = known
        self.waiting: Final = {each.name: each for each in lazy}
        self._names: Final = dict.fromkeys([*known, *self.waiting])

    def __getitem__(self, name: str) -> Command:
        if name not in self.known and name in self.waiting:
            self.known[name] = self.waiting[name].load()
        return self.known[name]

    def __setitem__(self, name: str, command: Command) -> None:
        self.known[name] = command
        self._names[name] = None

    def __delitem__(self, name: str) -> None:
        raise TypeError("commands are never taken away")

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def described(self, name: str) -> Command:
        """Return the command, or what its table says of it: good for the help of its group only."""
        return self.known[name] if name in self.known else TyperCommand(name, help=self.waiting[name].help)


class LazyGroup(TyperGroup):
    """A group with a table of commands that are imported when they are used."""

    table: ClassVar[tuple[Lazy, ...]] = ()

    def __init__(self, *, commands: Any = None, **attributes: Any) -> None:
        super().__init__(**attributes)
        self._lazy: Final = _Commands(dict(commands or {}), self.table)
        self.commands = self._lazy

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is Typer's
        """Return the names, in the order of the help."""
        return list(self._lazy)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the table of commands as Typer does, without importing any."""
        names = self.list_commands(ctx)
        limit = formatter.width - 6 - max(map(len, names))
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._lazy.described(name).get_short_help_str(limit)) for name in names])


def group_of(*table: Lazy) -> type[LazyGroup]:
    """Return the class of a group with these commands, behind those that are registered as usual."""

    class Group(LazyGroup):
        pass

    Group.table = table
    return Group

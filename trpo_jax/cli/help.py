"""The texts of --help, made from the classes in `options` and their docstrings.

A paragraph of a docstring is wrapped to the width of the terminal, whatever its own
line breaks are. Lines that are indented, such as examples, stay as they are.
"""

import ast
import functools
import inspect
import itertools
import re
import shutil
import textwrap
from typing import Any

from trpo_jax.cli.arguments import Argument, arguments_of
from trpo_jax.cli.messages import flag_of
from trpo_jax.cli.options import COMMANDS, FIRST_STEPS
from trpo_jax.config.groups import Group

_NARROWEST, _WIDEST = 40, 120  # columns; longer lines are hard to read
_FIXED = "\N{NO-BREAK SPACE}"  # where no line ends
_UNBROKEN = re.compile(r" [+x=<>] |et al\. |trpo-jax( [\w-]+)+")
_HELP = ["  --help", "      Show this text."]


def width_of_terminal() -> int:
    """Return the number of columns that a help text may take."""
    return min(max(shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)


def overview(width: int) -> str:
    """Return the help of `trpo-jax` itself, with a sentence for each command."""
    column = 5 + max(map(len, COMMANDS))
    lines = ["usage: trpo-jax COMMAND ...", ""]
    lines += ["Trust region policy optimisation in JAX.", "", "Commands:"]
    for name, kind in COMMANDS.items():
        lines += _filled(_paragraphs(kind)[0], width, f"  {name}".ljust(column))
    lines += ["", "Options:"]
    lines += ["  --help".ljust(column) + "Show this text, or that of a command."]
    lines += ["  --version".ljust(column) + "Show the version.", "", "Examples:"]
    lines += [f"    trpo-jax {example}" for example in FIRST_STEPS]
    return "\n".join(
        [*lines, "", "Every command explains itself: trpo-jax train --help"]
    )


def help_of(command: str, defaults: dict[str, Any], width: int) -> str:
    """Return the help of a command; `defaults` replace those of the fields."""
    arguments = arguments_of(COMMANDS[command])
    positional = [argument for argument in arguments if argument.positional]
    words = [command, *(argument.rule.metavar for argument in positional), "[OPTIONS]"]
    lines = [f"usage: trpo-jax {' '.join(words)}"]
    for paragraph in _paragraphs(COMMANDS[command]):
        lines += ["", *_filled(paragraph, width)]
    sections = {"Arguments:": positional} if positional else {}
    for group in (None, *Group):
        members = [x for x in arguments if x.group is group and not x.positional]
        if members:
            sections[group.value if group else "Options:"] = members
    names = {argument.name for argument in arguments if argument.flags}
    unexplained = _HELP
    for heading, members in sections.items():
        lines += ["", heading]
        for argument in members:
            text = _with_flags(_docs(argument.owner)[argument.name], names)
            lines += _entry(argument, text, defaults, width)
        if members is not positional:
            lines += unexplained
            unexplained = []
    return "\n".join([*lines, *(["", "Options:", *unexplained] if unexplained else [])])


def _with_flags(text: str, names: set[str]) -> str:
    """Replace the names of options, in backticks or with underscores, by their flags.

    >>> _with_flags("The seed of agent k is `seed` + k.", {"seed"})
    'The seed of agent k is --seed + k.'
    """

    def flag(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        return flag_of(name) if name in names else match[0]

    return re.sub(r"`(\w+)`|\b(\w+_\w+)\b", flag, text)


def _entry(
    argument: Argument, text: str, defaults: dict[str, Any], width: int
) -> list[str]:
    """Return the lines of an argument: how it is written, then what it means."""
    value = "" if argument.kind is bool else argument.rule.metavar.strip("[]")
    head = f"{', '.join(argument.flags)} {value}".strip()
    if argument.flags and not argument.switch:
        default = defaults.get(argument.name, argument.field.default)
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
        text += f" (default:{_FIXED}{shown})"
    return [f"  {head}", *_filled(text, width, " " * 6)]


def _filled(paragraph: str, width: int, first: str = "") -> list[str]:
    """Return the lines of a paragraph, all as far to the right as the first one."""
    if "\n " in paragraph:
        return paragraph.splitlines()
    lines = textwrap.wrap(
        _UNBROKEN.sub(lambda match: match[0].replace(" ", _FIXED), paragraph),
        width,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_on_hyphens=False,
        break_long_words=False,
    )
    return [line.replace(_FIXED, " ") for line in lines]


def _paragraphs(kind: type) -> list[str]:
    return inspect.cleandoc(kind.__doc__ or "").split("\n\n")


@functools.cache
def _docs(kind: type) -> dict[str, str]:
    """Return the docstring of each field of a dataclass, in one line."""
    body = ast.parse(inspect.getsource(kind)).body[0]
    docs = {}
    for pair in itertools.pairwise(ast.iter_child_nodes(body)):
        match pair:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                docs[name] = " ".join(text.split())
    return docs

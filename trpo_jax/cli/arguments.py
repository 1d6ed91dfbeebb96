"""Command-line arguments, read by the fields of the classes in `options`."""

import dataclasses
import decimal
import types
from collections.abc import Callable
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from trpo_jax.cli.messages import flag_of, unknown_flag
from trpo_jax.cli.options import COMMANDS
from trpo_jax.config.groups import Group
from trpo_jax.validation import Rule, check


class Argument(NamedTuple):
    """A field of a command or of a dataclass in it, set by a flag or by position.

    `kind` is the type of the value without None, which `optional` allows. A `switch` is
    a flag without an opposite.
    """

    field: dataclasses.Field
    owner: type
    kind: Any
    optional: bool
    positional: bool
    switch: bool
    rule: Rule
    group: Group | None

    @property
    def name(self) -> str:
        """The name of the field."""
        return self.field.name

    @property
    def flags(self) -> dict[str, bool | None]:
        """The flags that set it, with the value of those that take none."""
        if self.positional:
            return {}
        flag = flag_of(self.name)
        if self.kind is not bool:
            return {flag: None}
        if self.switch:
            return {flag: True}
        return {flag: True, flag_of(f"no_{self.name}"): False}


def arguments_of(kind: type) -> list[Argument]:
    """Return the arguments of a command, those of the dataclasses in it included.

    An argument belongs to the group of the one before it unless it names its own.
    """
    arguments: list[Argument] = []
    hints, group = get_type_hints(kind), None
    for field in dataclasses.fields(kind):
        hint, metadata = hints[field.name], field.metadata
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            arguments += arguments_of(hint)
            continue
        kinds = (hint,)
        if get_origin(hint) in (Union, types.UnionType):
            kinds = get_args(hint)
        group = metadata.get("group") or group
        arguments.append(
            Argument(
                field=field,
                owner=kind,
                kind=kinds[0],
                optional=types.NoneType in kinds,
                positional=metadata.get("positional", False),
                switch=metadata.get("switch", False),
                rule=metadata["rule"],
                group=group,
            )
        )
    return arguments


def parse_arguments(command: str, kind: type, words: list[str]) -> dict[str, Any]:
    """Return the values that the arguments of a command give, by the name of the field.

    The options are the fields of `kind`, a dataclass, and of the dataclasses in them.
    Raise `ValueError` for a bad argument, and for one that is missing.

    >>> from trpo_jax.cli.options import Train
    >>> parse_arguments("train", Train, ["CartPole-v1", "--total-steps", "1e6"])
    {'environment': 'CartPole-v1', 'total_steps': 1000000}
    """
    arguments = arguments_of(kind)
    options = {flag: argument for argument in arguments for flag in argument.flags}
    free: list[str] = []
    values: dict[str, Any] = {}
    words = list(words)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            free.append(word)
            continue
        flag, equals, text = word.partition("=")
        if flag not in options:
            raise ValueError(_unknown(flag, [*options, "--help"], command))
        argument = options[flag]
        if argument.kind is bool:
            if equals:
                raise ValueError(f"{flag} takes no value; got {text!r}")
            values[argument.name] = argument.flags[flag]
            continue
        given = [text] if equals else []
        most = len(words) if _is_tuple(argument) else 1
        while words and len(given) < most and not words[0].startswith("--"):
            given.append(words.pop(0))
        values[argument.name] = _value(flag, argument, given)
    positional = [argument for argument in arguments if argument.positional]
    return _take(command, positional, free) | values


def _unknown(flag: str, known: list[str], command: str) -> str:
    """Return the message for a flag that the command does not have."""
    for other, kind in COMMANDS.items():
        if any(flag in argument.flags for argument in arguments_of(kind)):
            has = f"trpo-jax {other} has it, trpo-jax {command} does not"
            return f"unknown option {flag}; {has}"
    return unknown_flag(flag, known, command)


def _is_tuple(argument: Argument) -> bool:
    return get_origin(argument.kind) is tuple


def _value(flag: str, argument: Argument, words: list[str]) -> Any:
    """Return the value of an option, which satisfies its rule."""
    text, rule, kind = " ".join(words), argument.rule, argument.kind
    must_be = f"{flag} must be {rule.words}"
    if not words and not _is_tuple(argument):
        raise ValueError(f"{must_be}; got none")
    if argument.optional and text == "None":
        return None
    value: Any = text
    converted: dict[Any, Callable[[str], Any]] = {int: whole_number, float: float}
    try:
        if _is_tuple(argument):
            value = tuple(map(converted[get_args(kind)[0]], words))
        elif kind in converted:
            value = converted[kind](text)
    except ValueError as error:
        raise ValueError(f"{must_be}; got {text[:100]!r}") from error
    check(flag, value, rule)
    return value


def whole_number(text: str) -> int:
    """Return the integer that a text such as 1e6 or 1_000_000 stands for.

    >>> whole_number("1e6"), whole_number("2.5e3"), whole_number("1_000")
    (1000000, 2500, 1000)
    """
    try:
        number = decimal.Decimal(text)
    except decimal.InvalidOperation as error:
        raise ValueError(f"{text!r} is no number") from error
    short = number.is_finite() and number.adjusted() < 100
    if not short or number != number.to_integral_value():
        raise ValueError(f"{text!r} is no integer")
    return int(number)


def _take(command: str, positional: list[Argument], words: list[str]) -> dict[str, Any]:
    """Return the values of the arguments that have no flag."""
    values: dict[str, Any] = {}
    for argument in positional:
        if words and _is_tuple(argument):
            values[argument.name], words = tuple(words), []
        elif words:
            values[argument.name], *words = words
        elif argument.field.default is dataclasses.MISSING:
            missing = argument.name.removesuffix("s")
            example = "CartPole-v1" if missing == "environment" else "runs/..."
            raise ValueError(f"the {missing} is missing: trpo-jax {command} {example}")
    if words:
        raise ValueError(
            f"unexpected argument {words[0]!r}; see trpo-jax {command} --help"
        )
    return values

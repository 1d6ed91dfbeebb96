"""Command-line arguments, read by the fields of the classes in `options`."""

import dataclasses
import types
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import tyro

from trpo_jax.cli.messages import flag_of, unknown_option
from trpo_jax.validation import Rule, check, one_of


class Option(NamedTuple):
    """A flag of a command, and the field that it sets.

    `kind` is the type of the value without None, which `optional` allows. A flag that
    takes no value, such as --no-scale-reward, sets `value`.
    """

    name: str
    kind: Any
    optional: bool
    rule: Rule | None
    value: bool | None = None


def parse_arguments(command: str, kind: type, words: list[str]) -> dict[str, Any]:
    """Return the values that the arguments of a command give, by the name of the field.

    The options are the fields of `kind`, a dataclass, and of the dataclasses in them.
    Raise `ValueError` for a bad argument, and for one that is missing.

    >>> from trpo_jax.cli.options import Train
    >>> parse_arguments("train", Train, ["CartPole-v1", "--seeds", "2"])
    {'environment': 'CartPole-v1', 'seeds': 2}
    """
    options, positional = options_of(kind), _positional(kind)
    free, flags = [], {}
    words = list(words)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            free.append(word)
            continue
        flag, equals, text = word.partition("=")
        if flag not in options:
            raise ValueError(unknown_option(flag, [*options, "--help"]))
        option = options[flag]
        if option.value is not None:
            if equals:
                raise ValueError(f"{flag} takes no value; got {text!r}")
            flags[option.name] = option.value
            continue
        given = [text] if equals else []
        most = len(words) if _is_tuple(option) else 1
        while words and len(given) < most and not words[0].startswith("--"):
            given.append(words.pop(0))
        flags[option.name] = _value(flag, option, given)
    return _take(command, positional, free) | flags


def options_of(kind: type) -> dict[str, Option]:
    """Return the options of a command by flag; see `parse_arguments`."""
    options: dict[str, Option] = {}
    hints, marked = get_type_hints(kind), get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        markers = getattr(marked[field.name], "__metadata__", ())
        hint, flag = hints[field.name], flag_of(field.name)
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            options |= options_of(hint)
        elif tyro.conf.Positional not in markers:
            option = _option_of(field, hint)
            options[flag] = option._replace(value=True) if hint is bool else option
            if hint is bool and tyro.conf.FlagCreatePairsOff not in markers:
                options[flag_of(f"no_{field.name}")] = option._replace(value=False)
    return options


def _option_of(field: dataclasses.Field, hint: Any) -> Option:
    union = get_origin(hint) in (Union, types.UnionType)
    kinds = get_args(hint) if union else (hint,)
    rule = field.metadata.get("rule")
    if rule is None and get_origin(kinds[0]) is Literal:
        rule = one_of(kinds[0])
    return Option(field.name, kinds[0], types.NoneType in kinds, rule)


def _is_tuple(option: Option) -> bool:
    return get_origin(option.kind) is tuple


def _positional(kind: type) -> list[dataclasses.Field]:
    marked = get_type_hints(kind, include_extras=True)
    return [
        field
        for field in dataclasses.fields(kind)
        if tyro.conf.Positional in getattr(marked[field.name], "__metadata__", ())
    ]


def _value(flag: str, option: Option, words: list[str]) -> Any:
    """Return the value of an option, which satisfies its rule."""
    text = " ".join(words)
    must_be = f"{flag} must be {option.rule.words if option.rule else 'a value'}"
    if not words and not _is_tuple(option):
        raise ValueError(f"{must_be}; got none")
    if option.optional and text == "None":
        return None
    value: Any = text
    try:
        if _is_tuple(option):
            value = tuple(map(get_args(option.kind)[0], words))
        elif option.kind in (int, float):
            value = option.kind(text)
    except ValueError as error:
        raise ValueError(f"{must_be}; got {text[:100]!r}") from error
    if option.rule is not None:
        check(flag, value, option.rule)
    return value


def _take(
    command: str, positional: list[dataclasses.Field], words: list[str]
) -> dict[str, Any]:
    """Return the values of the arguments that have no flag."""
    values: dict[str, Any] = {}
    for field in positional:
        if words and field.name == "runs":
            values[field.name], words = tuple(words), []
        elif words:
            values[field.name], *words = words
        elif field.default is dataclasses.MISSING:
            missing = field.name.removesuffix("s")
            example = "CartPole-v1" if missing == "environment" else "runs/..."
            raise ValueError(f"the {missing} is missing: trpo-jax {command} {example}")
    if words:
        raise ValueError(
            f"unexpected argument {words[0]!r}; see trpo-jax {command} --help"
        )
    return values

"""What a user is told: one line, in the user's own words."""

import dataclasses
import difflib
import re
from typing import Literal, get_origin

from trpo_jax.validation import one_of

NO_OPTIONS = ("run", "runs", "pattern", "config", "network")


def one_line(box: str, argv: list[str], kinds: tuple[type, ...]) -> str:
    """Turn a boxed, wrapped complaint into one line with the nearest valid name.

    Args:
        box: what tyro has printed.
        argv: that it has refused.
        kinds: dataclasses whose fields are the options.
    """
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    # A title, a line, the message, a line, advice; framed where there is UTF-8.
    lines = [line.strip("│ ") for line in plain.splitlines()[1:]]
    rules = [i for i, line in enumerate(lines) if line and not line.strip("─-╰╯")]
    if rules and rules[0] == 0:
        lines, rules = lines[1:], [i - 1 for i in rules[1:]]
    body = lines[: rules[0]] if rules else lines
    message = " ".join(" ".join(body).split())
    fields = {
        f"--{field.name.replace('_', '-')}": field
        for kind in kinds
        for field in dataclasses.fields(kind)
        if field.name not in NO_OPTIONS
        if field.name != "environment" or field.default is None
    }
    switches = [f"--no-{name[2:]}" for name, f in fields.items() if f.type is bool]
    known = [*fields, *switches, "--help"]
    for word in argv:
        flag = word.split("=")[0]
        if flag.startswith("--") and flag not in known:
            near = difflib.get_close_matches(flag, known, 1, 0.0)
            return f"unknown option {flag}; nearest: {near[0]}"
    if message.startswith("Missing from trpo-jax train"):
        return "the environment is missing: trpo-jax train CartPole-v1"
    if message.startswith("Missing from trpo-jax"):
        return f"the run is missing: trpo-jax {argv[0]} runs/..."
    refused = _refused_value(message, fields)
    return refused or message or "cannot be parsed; see trpo-jax --help"


def _refused_value(message: str, fields: dict[str, dataclasses.Field]) -> str | None:
    """Return a complaint about a value in our words, if it is one."""

    def words(flag: str) -> str:
        rule = fields[flag].metadata.get("rule")
        if rule is None and get_origin(fields[flag].type) is Literal:
            rule = one_of(fields[flag].type)
        return rule.words if rule else "an integer"

    if found := re.match(r"Error parsing __.*?: (\w.* must .*)", message):
        return as_flag(found[1])
    message = message.partition(". Got errors:")[0]
    if found := re.match(r"Error parsing (--[\w-]+): .*?(\[?'.*'\]?)$", message):
        return f"{found[1]} must be {words(found[1])}; got {found[2]}"
    if found := re.match(r"invalid choice ('.*') for argument '(--[\w-]+)'", message):
        return f"{found[2]} must be {words(found[2])}; got {found[1]}"
    return None


def as_flag(message: str) -> str:
    """Name the field that a message begins with as the flag it came from."""
    name, _, rest = message.partition(" ")
    return f"--{name.replace('_', '-')} {rest}" if rest.startswith("must") else message

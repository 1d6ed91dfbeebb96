"""Error messages in the words of the command line."""

import difflib
from collections.abc import Collection

from trpo_jax.config.options import RENAMED


def flag_of(name: str) -> str:
    """Return the flag of an option, such as --max-kl."""
    return f"--{name.replace('_', '-')}"


def as_flag(message: str) -> str:
    """Replace the name of an option at the start of an error message by its flag."""
    name, _, rest = message.partition(" ")
    begins = rest.startswith(("must", "is used"))
    return f"{flag_of(name)} {rest}" if begins else message


def unknown_option(flag: str, known: Collection[str]) -> str:
    """Return the message for a flag that is not one of the known ones.

    It names the new flag, if the old one was renamed, or else the nearest flag.

    >>> unknown_option("--method", ["--max-kl"]).split(", ")[0]
    '--method is now --step-rule'
    """
    old = flag.removeprefix("--").removeprefix("no-").replace("-", "_")
    if old in RENAMED:
        new, comma, rest = RENAMED[old].partition(",")
        return f"{flag} is now {flag_of(new)}{comma}{rest}"
    near = difflib.get_close_matches(flag, known, 1, 0.0)
    return f"unknown option {flag}; nearest: {near[0]}"

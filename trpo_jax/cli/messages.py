"""Error messages in the words of the command line."""

from collections.abc import Collection

from trpo_jax.config.synonyms import unknown_option
from trpo_jax.validation import nearest

_ELSEWHERE = {  # what other programs call the commands
    "continue": "resume",
    "enjoy": "watch",
    "eval": "evaluate",
    "learn": "train",
    "list": "envs",
    "play": "watch",
    "record": "watch",
    "render": "watch",
    "run": "train",
    "test": "evaluate",
    "visualize": "watch",
}


def flag_of(name: str) -> str:
    """Return the flag of an option, such as --max-kl."""
    return f"--{name.replace('_', '-')}"


def as_flag(message: str) -> str:
    """Replace the name of an option at the start of an error message by its flag."""
    name, _, rest = message.partition(" ")
    begins = rest.startswith(("must", "is used"))
    return f"{flag_of(name)} {rest}" if begins else message


def unknown_flag(flag: str, known: Collection[str], command: str) -> str:
    """Return the message for a flag that is not one of the command's.

    >>> unknown_flag("--gamma", ["--discount", "--max-kl"], "train")
    'unknown option --gamma; nearest: --discount'
    >>> unknown_flag("--zzz", ["--discount", "--max-kl"], "train")
    'unknown option --zzz; see trpo-jax train --help'
    """
    names = [other[2:].replace("-", "_") for other in known]
    return unknown_option(flag[2:], names, f"trpo-jax {command} --help", flag_of)


def unknown_command(word: str, commands: Collection[str]) -> str:
    """Return the message for a word that is not one of the commands.

    >>> unknown_command("eval", ["train", "evaluate"])
    "unknown command 'eval'; nearest: 'evaluate'"
    """
    near = _ELSEWHERE.get(word) or nearest(word, commands)
    hint = f"nearest: {near!r}" if near else f"commands: {', '.join(commands)}"
    return f"unknown command {word!r}; {hint}"

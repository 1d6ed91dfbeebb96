"""What the values of options must be, and how one that is not is refused.

Nothing here imports JAX, so that help is printed and bad input refused at once.
"""

import difflib
import os
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, get_args

import numpy as np


class Rule(NamedTuple):
    """What a value must be, in words and as a test, its type, and if it may be None.

    The help shows `metavar` in the place of a value.
    """

    words: str
    holds: Callable[[Any], bool]
    kind: Literal["number", "integer", "structure"] = "number"
    metavar: str = "FLOAT"
    optional: bool = False


def one_of(alternatives: Any) -> Rule:
    """Return the rule for a `Literal`.

    Example:
        >>> one_of(Literal["a", "b"]).words
        'one of a, b'
    """
    names = get_args(alternatives)
    metavar = f"{{{','.join(names)}}}"
    words = f"one of {', '.join(names)}"
    return Rule(words, lambda x: x in names, "structure", metavar)


TINY, HUGE = 2.0**-126, 2.0**127  # the range in which float32 has full precision
POSITIVE = Rule(
    "a finite number > 0 that float32 can hold", lambda x: TINY <= x <= HUGE
)
NON_NEGATIVE = Rule("a finite number >= 0", lambda x: 0 <= x <= HUGE)
UNIT = Rule("a number in [0, 1]", lambda x: 0 <= x <= 1)
OPEN_UNIT = Rule("a number in (0, 1)", lambda x: 0 < x < 1)
FRACTION = Rule("a number in (0, 1]", lambda x: 0 < x <= 1)
LOG_STD = Rule("a number in [-20, 20]", lambda x: -20 <= x <= 20)
COUNT = Rule("an integer >= 1 and < 2**31", lambda x: 1 <= x < 2**31, "integer", "N")
COUNT_OR_ZERO = Rule(
    "an integer >= 0 and < 2**31", lambda x: 0 <= x < 2**31, "integer", "N"
)
STEPS = Rule("an integer >= 1 and < 2**53", lambda x: 1 <= x < 2**53, "integer", "N")
DIRECTORY = Rule(
    "the name of a directory",
    lambda x: isinstance(x, str | os.PathLike) and bool(os.fspath(x)),
    "structure",
    "DIR",
)
FLAG = Rule("True or False", lambda x: isinstance(x, bool), "structure")
SIZES = Rule(
    "a sequence of integers >= 1",
    lambda x: all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in x),
    "structure",
    "N...",
)


StepRule = Literal["trust_region", "natural_gradient", "policy_gradient"]
STEP_RULE = one_of(StepRule)  # for the solver and for the option of that name


def optional(rule: Rule) -> Rule:
    """Return the rule for a value that may be None.

    Example:
        >>> optional(FRACTION).words
        'a number in (0, 1], or None'
    """
    return rule._replace(words=f"{rule.words}, or None", optional=True)


def plain(value: Any) -> Any:
    """Return a number of NumPy or JAX, also as an array without axes, as one of Python.

    Sequences are converted element by element, and everything else is returned as is.

    Example:
        >>> plain(np.int64(8)), plain((np.int32(3), 4)), plain(np.array(0.5))
        (8, (3, 4), 0.5)
    """
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    known = hasattr(value, "item") and "Tracer" not in type(value).__name__
    return value.item() if known and getattr(value, "ndim", None) == 0 else value


def check(name: str, value: Any, rule: Rule) -> None:
    """Refuse a value that breaks its rule.

    Arrays are checked element by element; numbers still unknown while JAX traces pass,
    integers do not: they are structure. Scalars of NumPy and JAX are numbers like those
    of Python.

    Raises:
        ValueError: with the name, the rule and the value.
    """
    if value is None and rule.optional:
        return
    value = plain(value)
    try:
        if rule.kind == "structure":
            good = rule.holds(value)
        elif rule.kind == "integer":
            good = isinstance(value, int) and not isinstance(value, bool)
            good = good and rule.holds(value)
        else:
            numbers = np.asarray(value)
            good = not isinstance(value, list | tuple) and numbers.dtype.kind in "fiu"
            good = good and all(
                rule.holds(number) for number in numbers.ravel().tolist()
            )
    except TypeError:
        if "Tracer" in type(value).__name__:
            return
        good = False
    if not good:
        raise ValueError(f"{name} must be {rule.words}; got {value!r}")


def nearest(word: str, names: Iterable[str]) -> str | None:
    """Return the name that a word was probably meant to be, or None.

    Upper and lower case, hyphens and underscores do not matter.

    Example:
        >>> nearest("max-kll", ["max_kl", "seeds"]), nearest("gamma", ["max_kl"])
        ('max_kl', None)
    """
    plain = {name.lower().replace("-", "_"): name for name in names}
    written = word.lower().replace("-", "_")
    near = difflib.get_close_matches(written, plain, 1, _CLOSE)
    return plain[near[0]] if near else None


_CLOSE = 0.8  # the share of letters in common from which a word is a misspelt name

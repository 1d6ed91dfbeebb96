"""The differences between two JSON documents, for error messages."""

from typing import Any


def differences(found: Any, expected: Any, name: str = "") -> list[str]:
    """Return a line for each value that differs between two JSON documents.

    >>> differences({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2})
    ['a.b: 1 in the checkpoint, 3 now']
    """
    if isinstance(found, dict) and isinstance(expected, dict):
        lines: list[str] = []
        for key in sorted(found.keys() | expected.keys()):
            pair = found.get(key, _ABSENT), expected.get(key, _ABSENT)
            lines += differences(*pair, f"{name}.{key}" if name else key)
        return lines
    if type(found) is type(expected) and found == expected:
        return []
    return [f"{name}: {shortened(found)} in the checkpoint, {shortened(expected)} now"]


class _Absent:
    def __repr__(self) -> str:
        return "nothing"


_ABSENT = _Absent()


def shortened(value: Any) -> str:
    """Return the representation of a value, cut off after 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."

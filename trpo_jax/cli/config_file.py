"""Options from a file that a user wrote, or that a run left."""

import functools
import json
import os
import pathlib
import tomllib
from collections.abc import Callable
from typing import Any

from trpo_jax.storage.atomic_files import read_text, without_repetition

_LARGEST = 2**20  # bytes
_TABLES = ("run", "config", "network")
_IGNORED = ("format", "environment", "on_host", "compile_briefly", "versions")


def read_config_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read options by name; they may be in tables `run`, `config` and `network`.

    The file is `.toml` or `.json`. The `config.json` of a run can be read, too: its
    environment and versions are ignored. The values are not checked here. Raise
    `ValueError` for a file that cannot be read, and for a name that occurs twice.
    """
    path = pathlib.Path(path)
    parsers: dict[str, Callable[[str], Any]] = {
        ".toml": tomllib.loads,
        ".json": functools.partial(json.loads, object_pairs_hook=without_repetition),
    }
    if path.suffix not in parsers:
        raise ValueError(f"a file of options must end in .toml or .json; got {path}")
    try:
        content = parsers[path.suffix](read_text(path, _LARGEST))
        if not isinstance(content, dict):
            raise ValueError("it holds no names with values")
        return _flat({k: v for k, v in content.items() if k not in _IGNORED})
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} cannot be read as options: {reason[:200]}") from error


def _flat(content: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, dict) and name not in _TABLES:
            tables = ", ".join(_TABLES)
            raise ValueError(f"there is no table {name}; there are {tables}")
        inner = value if isinstance(value, dict) else {name: value}
        if twice := values.keys() & inner.keys():
            raise ValueError(f"{min(twice)} is there twice")
        values |= inner
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}

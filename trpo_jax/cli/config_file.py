"""Values from a file that a user wrote, or that a run left."""

import functools
import json
import os
import pathlib
import tomllib
from typing import Any

from trpo_jax.storage.atomic_files import read_text, without_repetition

_LARGEST = 2**20  # bytes
_DESCRIBES = ("environment", "on_host", "compile_briefly", "versions")  # a run
_TABLES = ("config", "network")


def read_config_file(path: str | os.PathLike) -> dict[str, Any]:
    """Read names and values; hyper-parameters may be in tables `config` and `network`.

    A run's own `config.json` can be read again: its values are taken, in whatever
    environment and with whatever versions it ran.

    Args:
        path: of a `.toml` or `.json` file.

    Raises:
        ValueError: for another ending, a file that cannot be read, another table, or a
            name that is there twice.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        ...     print("max_kl = 0.02", file=file)
        ...     print("network.hidden_sizes = [8]", file=file, flush=True)
        ...     read_config_file(file.name)
        {'max_kl': 0.02, 'hidden_sizes': (8,)}
    """
    path = pathlib.Path(path)
    parsers = {
        ".toml": tomllib.loads,
        ".json": functools.partial(json.loads, object_pairs_hook=without_repetition),
    }
    if path.suffix not in parsers:
        raise ValueError(f"a file of values must end in .toml or .json; got {path}")
    try:
        found = parsers[path.suffix](read_text(path, _LARGEST))
        if not isinstance(found, dict):
            raise ValueError("it holds no names with values")
        return _flat({k: v for k, v in found.items() if k not in _DESCRIBES})
    except (OSError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"{path} cannot be read as values: {said[:200]}") from error


def _flat(table: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, dict) and name not in _TABLES:
            known = ", ".join(_TABLES)
            raise ValueError(f"there is no table {name}; there are {known}")
        inner = value if isinstance(value, dict) else {name: value}
        if twice := values.keys() & inner.keys():
            raise ValueError(f"{min(twice)} is there twice")
        values |= inner
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}

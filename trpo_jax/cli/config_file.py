"""Options from a file that a user wrote, or that a run left."""

import dataclasses
import functools
import json
import os
import pathlib
import tomllib
from collections.abc import Callable
from typing import Any, NamedTuple

from trpo_jax.config import Config, NetworkConfig, RunConfig
from trpo_jax.storage.atomic_files import read_text, without_repetition

_LARGEST = 2**20  # bytes
_TABLES = ("run", "config", "network")
_IN_A_RUN = ("format", "on_host", "compile_briefly", "versions")
_INTEGERS = {
    field.name
    for kind in (RunConfig, Config, NetworkConfig)
    for field in dataclasses.fields(kind)
    if field.metadata["rule"].kind == "integer"
}


class ConfigFile(NamedTuple):
    """The options in a file by name, and the environment that it names, if any."""

    environment: str | None
    options: dict[str, Any]


def read_config_file(path: str | os.PathLike[str]) -> ConfigFile:
    """Read options by name; they may be in tables `run`, `config` and `network`.

    The file is `.toml` or `.json`. The `config.json` of a run can be read, too: its
    environment and versions are ignored. The values are not checked here, but 1e6 is
    an integer where one is meant. Raise `ValueError` for a file that cannot be read,
    and for a name that occurs twice.
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
        environment = content.pop("environment", None)
        if "format" in content:  # it was written by a run
            environment = None
            content = {k: v for k, v in content.items() if k not in _IN_A_RUN}
        if not isinstance(environment, str | None):
            raise ValueError(f"environment must be a name; got {environment!r}")
        return ConfigFile(environment, _flat(content))
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
    return {name: _converted(name, value) for name, value in values.items()}


def _converted(name: str, value: Any) -> Any:
    """Return a value of a file as Python would have it: 1e6 steps are an integer."""
    if isinstance(value, float) and value.is_integer() and name in _INTEGERS:
        return int(value)
    return tuple(value) if isinstance(value, list) else value

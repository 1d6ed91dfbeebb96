"""Options by name, whichever of the three dataclasses they belong to."""

import dataclasses
from typing import Any

from trpo_jax.config.algorithm import AlgorithmOptions, Config
from trpo_jax.config.network import NetworkConfig, NetworkOptions
from trpo_jax.config.run import RunConfig, RunOptions
from trpo_jax.config.synonyms import unknown_option


class HyperParameters(AlgorithmOptions, NetworkOptions, total=False):
    """The hyper-parameters of `train` as keyword arguments, for type checkers."""


class TrainOptions(RunOptions, HyperParameters, total=False):
    """All options of `train` as keyword arguments, for type checkers."""


def split_options(values: dict[str, Any]) -> tuple[dict, dict, dict]:
    """Sort options by name into those of `RunConfig`, `Config` and `NetworkConfig`.

    An unknown name is a `ValueError`, see `unknown_option`.

    >>> split_options({"max_kl": 0.02, "seeds": 8})
    ({'seeds': 8}, {'max_kl': 0.02}, {})
    """
    groups = [
        {field.name for field in dataclasses.fields(kind)}
        for kind in (RunConfig, Config, NetworkConfig)
    ]
    known = set().union(*groups)
    for name in values:
        if name not in known:
            raise ValueError(unknown_option(name, known, "help(trpo_jax.train)"))
    run, algorithm, network = (
        {name: value for name, value in values.items() if name in group}
        for group in groups
    )
    return run, algorithm, network

"""Options by name, whichever of the three dataclasses they belong to."""

import dataclasses
import difflib
from typing import Any

from trpo_jax.config.algorithm import AlgorithmOptions, Config
from trpo_jax.config.network import NetworkConfig, NetworkOptions
from trpo_jax.config.run import RunConfig, RunOptions

RENAMED = {  # of 0.1
    "method": "step_rule, trust_region (was trpo), natural_gradient or policy_gradient",
    "divergence": "kl_constraint, mean (was mean_kl) or max (was max_kl)",
    "max_kl_final": "final_max_kl, in nats: multiply the old value by max_kl",
    "critic_learning_rate_final": (
        "final_critic_learning_rate: multiply the old value by critic_learning_rate"
    ),
    "common_random_numbers": "vine_common_random_numbers",
}


class HyperParameters(AlgorithmOptions, NetworkOptions, total=False):
    """The hyper-parameters of `train` as keyword arguments, for type checkers."""


class TrainOptions(RunOptions, HyperParameters, total=False):
    """All options of `train` as keyword arguments, for type checkers."""


def split_options(values: dict[str, Any]) -> tuple[dict, dict, dict]:
    """Sort options by name into those of `RunConfig`, `Config` and `NetworkConfig`.

    An unknown name is a `ValueError` with the nearest one that is known, or the new
    name of one that was renamed.

    >>> split_options({"max_kl": 0.02, "seeds": 8})
    ({'seeds': 8}, {'max_kl': 0.02}, {})
    """
    groups = [
        {field.name for field in dataclasses.fields(kind)}
        for kind in (RunConfig, Config, NetworkConfig)
    ]
    known = set().union(*groups)
    for name in values:
        if name in known:
            continue
        if name in RENAMED:
            raise ValueError(f"{name!r} is now {RENAMED[name]}")
        near = difflib.get_close_matches(name.replace("-", "_"), known, 1, 0.0)
        raise ValueError(f"unknown option {name!r}; nearest: {near[0]!r}")
    run, algorithm, network = (
        {name: value for name, value in values.items() if name in group}
        for group in groups
    )
    return run, algorithm, network

"""Reading and writing the JSON files in `benchmarks/results/`."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from trpo_jax.config import Config, NetworkConfig

SINCE_0_1 = {  # old name of an option: its name today, and its choices that changed
    "method": ("step_rule", {"trpo": "trust_region"}),
    "divergence": ("kl_constraint", {"mean_kl": "mean", "max_kl": "max"}),
    "critic_method": ("critic_method", {"trust_region": "gauss_newton"}),
    "common_random_numbers": ("vine_common_random_numbers", {}),
}


def write_json(path: pathlib.Path, content: dict) -> None:
    """Write a file that is either complete or not there at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    unfinished.replace(path)


def measure_missing(
    names: Sequence[str],
    path_of: Callable[[str], pathlib.Path],
    measure: Callable[[str], dict],
) -> None:
    """Measure whatever has no file yet, one after the other."""
    for name in names:
        if not path_of(name).exists():
            write_json(path_of(name), measure(name))
        print(name, "done", flush=True)


def read_all(
    names: Sequence[str], path_of: Callable[[str], pathlib.Path]
) -> dict[str, dict]:
    """Return the results on disk, by name."""
    paths = {name: path_of(name) for name in names}
    return {
        n: json.loads(path.read_text()) for n, path in paths.items() if path.exists()
    }


def settings_of(plan: dict[str, Any]) -> dict[str, Any]:
    """Return all hyper-parameters in the JSON of a plan, under their names of today.

    Files of version 0.1 have other names for some options and lack those that were
    added later, which then had their defaults. `schedule_iterations` is left out, since
    it follows from the other values.

    Args:
        plan: what `Plan.as_json` returned, today or then.

    Returns:
        A dictionary with the entries "config" and "network".

    Example:
        >>> old = {"config": {"max_kl": 0.04, "max_kl_final": 0.05}, "network": {}}
        >>> settings_of(old)["config"]["final_max_kl"]
        0.002
    """
    config = {}
    for old_name, value in plan["config"].items():
        name, choices = SINCE_0_1.get(old_name, (old_name, {}))
        config[name] = choices.get(value, value)
    for name in ("max_kl", "critic_learning_rate"):
        multiple = config.pop(f"{name}_final", 1.0)  # of the value at the start
        if multiple != 1:
            config[f"final_{name}"] = float(f"{multiple * config[name]:.6g}")
    config = dataclasses.asdict(Config()) | config
    del config["schedule_iterations"]
    network = dataclasses.asdict(NetworkConfig()) | plan["network"]
    return json.loads(json.dumps({"config": config, "network": network}))

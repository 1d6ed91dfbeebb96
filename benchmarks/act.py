"""Microseconds for an action of a saved policy: `python -m benchmarks.act`.

CartPole-v1 and Pendulum-v1 with the networks of their presets, for one observation and
for a batch of 64, greedy and sampled. `jit` is the same policy as a jitted function of
arrays on the device, without reading observations and converting actions: nothing can
be faster than that. The numbers are the median and the fastest of several rounds, of
which each is a mean over calls.

The JSON is written to `benchmarks/results/act.json`. Run nothing else meanwhile.
"""

import json
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import tyro

import trpo_jax
from benchmarks.runs import provenance

RESULTS = pathlib.Path(__file__).parent / "results" / "act.json"
NAMES, ROUNDS, CALLS = ("CartPole-v1", "Pendulum-v1"), 15, 1000


def microseconds(function: Callable[[], Any]) -> dict[str, float]:
    """Return the median and the fastest of the rounds, in microseconds a call."""
    jax.block_until_ready(function())
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(CALLS):
            function()
        rounds.append(1e6 * (time.perf_counter() - start) / CALLS)
    found = {"median": statistics.median(rounds), "fastest": min(rounds)}
    return {name: round(value, 1) for name, value in found.items()}


def measure(name: str) -> dict[str, Any]:
    """Return the times of one environment, of a policy that was hardly trained."""
    with tempfile.TemporaryDirectory() as folder:
        options = {"evaluation_episodes": 1, "output_dir": folder, "progress": False}
        trpo_jax.train(name, total_steps=8192, **options)
        policy = trpo_jax.load_policy(folder)
    size = policy.observation_space.shape
    one = np.random.default_rng(0).normal(size=size).astype(np.float32)
    many = np.tile(one, (64, 1))
    parameters = jax.device_put(policy.parameters_of())
    bare = jax.jit(lambda p, x: trpo_jax.act(policy.agent, *p, x).mode())
    calls: dict[str, Callable[[], Any]] = {
        "jit": lambda: np.asarray(bare(parameters, one)),
        "one": lambda: policy.act(one),
        "list": lambda: policy.act(one.tolist()),
        "sampled": lambda: policy.act(one, greedy=False, key=3),
        "batch of 64": lambda: policy.act(many),
    }
    return {kind: microseconds(call) for kind, call in calls.items()}


def main() -> None:
    """Measure, print, and write the JSON."""
    result: dict[str, Any] = provenance("python -m benchmarks.act")
    for name in NAMES:
        result[name] = measure(name)
    text = json.dumps(result, indent=1)
    RESULTS.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

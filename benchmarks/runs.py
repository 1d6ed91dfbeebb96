"""What several benchmarks do with a training."""

import numpy as np

from benchmarks.returns import mean_return
from trpo_jax.training import TrainResult


def curve_of(result: TrainResult, points: int) -> dict:
    """Return the learning curve of every seed, in at most so many points."""
    iterations = result.plan.iterations
    parts = np.array_split(np.arange(iterations), min(points, iterations))
    metrics = result.metrics
    return {
        "iterations": iterations,
        "environment_steps": [
            int((part[-1] + 1) * result.plan.config.steps_per_iteration)
            for part in parts
        ],
        "episode_return": [
            [mean_return(e[part], r[part]) for part in parts]
            for e, r in zip(metrics.episodes, metrics.episode_return)
        ],
    }


def vine_of_as_many_steps(
    num_steps: int, actions: int, longest: int
) -> dict[str, object]:
    """Return values for a vine with no more simulator steps than a single path.

    Half of them are in the trunk, the others in branches, which are shorter where the
    half leaves no room for those of one state.

    Args:
        num_steps: of the single path, in each environment.
        actions: K, tried in each state.
        longest: steps of a branch at most, a power of two.

    Example:
        >>> vine = vine_of_as_many_steps(128, 4, 16)
        >>> vine["num_steps"], vine["vine_states"], vine["vine_steps"]
        (64, 1, 16)
    """
    half = num_steps // 2
    length = longest
    while length * actions > half:
        length //= 2
    return {
        "sampling": "vine",
        "num_steps": half,
        "vine_actions": actions,
        "vine_states": half // (length * actions),
        "vine_steps": length,
    }

"""Evaluating a saved policy, wherever its simulator runs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trpo_jax.agent.normalization import Normalizer
from trpo_jax.algorithm.evaluation import Evaluation, evaluate
from trpo_jax.host.actor import Actor
from trpo_jax.host.evaluation import evaluate_in_turn
from trpo_jax.runs.keys import KeyPurpose, evaluation_seed, run_key
from trpo_jax.runs.saved_policy import SavedPolicy
from trpo_jax.validation import COUNT, COUNT_OR_ZERO, FLAG, check


def evaluate_policy(
    saved: SavedPolicy, *, episodes: int = 100, greedy: bool = True, seed: int = 0
) -> Evaluation:
    """Play the same E episodes with each of the K agents of a policy file.

    On the host, no more environments are open at a time than in training.

    Args:
        saved: the policy, from `load_policy`, which takes an environment or an agent of
            your own.
        episodes: the number of episodes E.
        greedy: whether to play the most likely actions instead of samples.
        seed: the seed of the episodes and of sampled actions.

    Returns:
        An `Evaluation` of numpy arrays `[K, E]`.

    Raises:
        ValueError: for a bad value, and if the environment is not that of training.

    Example:
        ::

            policy = load_policy("runs/hover", environment=Hover())
            evaluate_policy(policy, episodes=20).episode_return.mean()
    """
    check("episodes", episodes, COUNT)
    check("greedy", greedy, FLAG)
    check("seed", seed, COUNT_OR_ZERO)
    key = run_key(seed, KeyPurpose.EVALUATION)
    environment: Any = saved.environment
    if hasattr(environment, "step"):

        @jax.jit
        @jax.vmap
        def play(params: Any, normalizer: Normalizer) -> Evaluation:
            given = key, environment, saved.agent, params, normalizer
            return evaluate(*given, episodes=episodes, greedy=jnp.bool_(greedy))

        every = saved.policy_params, saved.normalizer
        return jax.tree.map(np.asarray, play(*every))
    actor = Actor(saved.agent)
    results = [
        evaluate_in_turn(
            key,
            environment,
            actor,
            *saved.parameters_of(k),
            episodes=episodes,
            at_once=saved.description.num_envs,
            seed=evaluation_seed(seed),
            greedy=greedy,
        )
        for k in range(saved.agents)
    ]
    return jax.tree.map(lambda *x: np.stack(x), *results)

"""Evaluating a saved policy, wherever its simulator runs."""

import contextlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trpo_jax.agent.normalization import Normalizer
from trpo_jax.algorithm.evaluation import Evaluation, evaluate
from trpo_jax.environments import make_host_environment
from trpo_jax.host.actor import make_actor
from trpo_jax.host.evaluation import evaluate_on_host
from trpo_jax.runs.keys import KeyPurpose, evaluation_seed, run_key
from trpo_jax.runs.policy_file import SavedPolicy


def evaluate_policy(
    saved: SavedPolicy, *, episodes: int = 100, greedy: bool = True, seed: int = 0
) -> Evaluation:
    """Play whole episodes with every agent of a policy file.

    Each of the K agents plays the same E episodes, which follow from the seed. Return
    an `Evaluation` of numpy arrays `[K, E]`.
    """
    key = run_key(seed, KeyPurpose.EVALUATION)
    agents = saved.policy_params, saved.normalizer
    environment: Any = saved.environment
    if hasattr(environment, "step"):

        @jax.jit
        @jax.vmap
        def play(params: Any, normalizer: Normalizer) -> Evaluation:
            return evaluate(
                key,
                environment,
                saved.agent,
                params,
                normalizer,
                episodes=episodes,
                greedy=jnp.bool_(greedy),
            )

        return jax.tree.map(np.asarray, play(*agents))
    actor = make_actor(saved.agent)
    results = []
    for k in range(len(jax.tree.leaves(agents)[0])):
        params, normalizer = jax.tree.map(lambda leaf, k=k: leaf[k], agents)
        environment = make_host_environment(
            saved.environment.name, episodes, evaluation_seed(seed)
        )
        with contextlib.closing(environment):
            results.append(
                evaluate_on_host(
                    key, [environment], actor, params, normalizer, greedy=greedy
                )
            )
    return jax.tree.map(lambda *x: np.stack(x), *results)

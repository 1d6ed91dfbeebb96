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
    """Play the same E episodes with each of the K agents of a policy file.

    Return an `Evaluation` of numpy arrays `[K, E]`.
    """
    key = run_key(seed, KeyPurpose.EVALUATION)
    agents = saved.policy_params, saved.normalizer
    environment: Any = saved.environment
    if hasattr(environment, "step"):

        @jax.jit
        @jax.vmap
        def play(params: Any, normalizer: Normalizer) -> Evaluation:
            given = key, environment, saved.agent, params, normalizer
            return evaluate(*given, episodes=episodes, greedy=jnp.bool_(greedy))

        return jax.tree.map(np.asarray, play(*agents))
    actor, first = make_actor(saved.agent), evaluation_seed(seed)
    results = []
    for k in range(len(jax.tree.leaves(agents)[0])):
        one = jax.tree.map(lambda leaf, k=k: leaf[k], agents)
        simulator = make_host_environment(environment.name, episodes, first)
        with contextlib.closing(simulator):
            given = key, [simulator], actor, *one
            results.append(evaluate_on_host(*given, greedy=greedy))
    return jax.tree.map(lambda *x: np.stack(x), *results)

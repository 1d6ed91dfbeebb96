"""Judging a saved policy, whatever simulator it lives in."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np

from trpo_jax.environments import make_host_environment
from trpo_jax.algorithm.evaluation import Evaluation, evaluate
from trpo_jax.host.evaluation import evaluate_on_host, evaluation_seed
from trpo_jax.host.rollout import make_actor
from trpo_jax.runs.policy_file import SavedPolicy
from trpo_jax.runs.programs import stream


def judge(
    saved: SavedPolicy, *, episodes: int = 100, greedy: bool = True, seed: int = 0
) -> Evaluation:
    """Play whole episodes with every agent of a policy file.

    Args:
        saved: from `load_policy`.
        episodes: E, an agent.
        greedy: play the mode of the distribution instead of a sample.
        seed: of the episodes; agents play the same ones.

    Returns:
        An `Evaluation` of numpy arrays `[K, E]`.

    Example:
        ::

            judge(load_policy("runs/eight"), episodes=10).episode_return.mean(axis=1)
    """
    key = stream(seed, 2)
    agents = saved.policy_params, saved.normalizer
    if hasattr(saved.environment, "step"):

        @jax.jit
        @jax.vmap
        def play(params: object, normalizer: object) -> Evaluation:
            return evaluate(
                key,
                saved.environment,
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

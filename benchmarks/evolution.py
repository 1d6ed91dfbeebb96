"""The two methods without gradients that the paper compares with.

The cross-entropy method is ours, CMA-ES is evosax's. Both search the parameters of the
policy, played greedily; the fitness of a parameter vector is the return of one episode.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from evosax.algorithms import CMA_ES
from jax.flatten_util import ravel_pytree

from trpo_jax.environments.base import Environment, observation_shapes
from trpo_jax.evaluation import Evaluation, evaluate
from trpo_jax.networks import Agent
from trpo_jax.normalization import Normalizer

POPULATION, ELITE = 40, 10
AS_IT_IS = Normalizer(None, None, None)


def cross_entropy(noise: float) -> Callable:
    """Return the cross-entropy method (Rubinstein 1999; Szita & Lőrincz 2006).

    A Gaussian with a diagonal covariance is fitted to the best quarter of what was
    drawn from it; added noise that falls to nothing keeps it from closing too early.

    Args:
        noise: standard deviation to begin with; a tenth of its variance is added, less
            and less until half of the steps are used.
    """

    def begin(key: jax.Array, mean: jax.Array) -> tuple:
        del key
        return mean, jnp.full_like(mean, noise)

    def ask(key: jax.Array, state: tuple) -> tuple[jax.Array, tuple]:
        mean, deviation = state
        drawn = jax.random.normal(key, (POPULATION, len(mean)))
        return mean + deviation * drawn, state

    def tell(
        population: jax.Array, fitness: jax.Array, state: tuple, progress: jax.Array
    ) -> tuple:
        best = population[jnp.argsort(-fitness)[:ELITE]]
        extra = noise * jnp.maximum(0.0, 1 - 2 * progress)
        return jnp.mean(best, axis=0), jnp.sqrt(jnp.var(best, axis=0) + extra**2 / 10)

    return begin, ask, tell, lambda state: state[0]


def cma(noise: float) -> Callable:
    """Return CMA-ES (Hansen & Ostermeier 1996), with this step size to begin with."""

    def strategy(mean: jax.Array) -> tuple:
        algorithm = CMA_ES(POPULATION, mean)
        return algorithm, algorithm.default_params.replace(std_init=noise)

    def begin(key: jax.Array, mean: jax.Array) -> Any:
        algorithm, params = strategy(mean)
        return algorithm.init(key, mean, params)

    def ask(key: jax.Array, state: Any) -> tuple[jax.Array, Any]:
        algorithm, params = strategy(state.mean)
        return algorithm.ask(key, state, params)

    def tell(
        population: jax.Array, fitness: jax.Array, state: Any, progress: jax.Array
    ) -> Any:
        del progress
        algorithm, params = strategy(state.mean)
        key = jax.random.key(0)  # of the metrics only
        return algorithm.tell(key, population, -fitness, state, params)[0]

    return begin, ask, tell, lambda state: state.mean


def evolve(
    method: Callable,
    environment: Environment,
    agent: Agent,
    *,
    total_steps: int,
    seeds: int,
    seed: int = 0,
) -> dict:
    """Search until no seed has the steps for one more generation.

    A generation that turns out to need more than are left is thrown away.

    Returns:
        Steps and mean return of each generation and seed, `[G, K]`, and the return
        of 100 greedy episodes with the last mean, `[K]`. Returns are those of greedy
        policies.
    """
    begin, ask, tell, mean_of = method
    observation = observation_shapes(environment)
    observation = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), observation)
    example = agent.policy.init(jax.random.key(0), observation)
    unflatten = ravel_pytree(example)[1]

    def play(key: jax.Array, flat: jax.Array, episodes: int) -> Evaluation:
        return evaluate(
            key, environment, agent, unflatten(flat), AS_IT_IS, episodes=episodes
        )

    @jax.jit
    @jax.vmap
    def start(seed: jax.Array) -> Any:
        policy_key, key = jax.random.split(jax.random.key(seed))
        flat = ravel_pytree(agent.policy.init(policy_key, observation))[0]
        return begin(key, flat)

    @jax.jit
    @jax.vmap
    def generation(seed: jax.Array, state: Any, number: jax.Array, used: jax.Array):
        key = jax.random.fold_in(jax.random.key(seed), number)
        ask_key, play_key = jax.random.split(key)
        population, state = ask(ask_key, state)
        played = jax.vmap(lambda flat: play(play_key, flat, 1))(population)
        fitness = played.episode_return[:, 0]
        state = tell(population, fitness, state, used / total_steps)
        return state, jnp.mean(fitness), jnp.sum(played.episode_length)

    @jax.jit
    @jax.vmap
    def judge(seed: jax.Array, state: Any) -> jax.Array:
        key = jax.random.key(seed + 10_000)
        return jnp.mean(play(key, mean_of(state), 100).episode_return)

    which = (seed + np.arange(seeds)).astype(np.uint32)
    state = start(which)
    used, searching = np.zeros(seeds), np.full(seeds, True)
    steps, returns = [], []
    while searching.any():
        after, mean, spent = generation(
            which, state, np.full(seeds, len(steps)), used.astype(np.float32)
        )
        searching = searching & (used + np.asarray(spent) <= total_steps)
        state = jax.tree.map(
            lambda new, old, kept=searching: jnp.where(
                kept.reshape(-1, *[1] * (new.ndim - 1)), new, old
            ),
            after,
            state,
        )
        used = np.where(searching, used + np.asarray(spent), used)
        steps.append(used.copy())
        returns.append(np.where(searching, np.asarray(mean), np.nan))
    return {
        "environment_steps": np.array(steps),
        "episode_return": np.array(returns),
        "greedy": np.asarray(judge(which, state)),
    }

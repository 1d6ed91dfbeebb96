"""The two gradient-free methods that the paper compares with.

The cross-entropy method is written here, CMA-ES comes from evosax. Both search for the
parameters of the policy, which acts greedily; the fitness of a parameter vector is the
return of one episode.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from evosax.algorithms import CMA_ES
from jax.flatten_util import ravel_pytree

from trpo_jax.agent.networks import Agent
from trpo_jax.agent.normalization import Normalizer
from trpo_jax.algorithm.evaluation import Evaluation, evaluate
from trpo_jax.environments.base import Environment, observation_shapes

POPULATION, ELITE = 40, 10
UNNORMALIZED = Normalizer(None, None, None)


class Search(NamedTuple):
    """A search for parameters; its state is any pytree.

    Attributes:
        begin: key, initial mean and initial standard deviation → state.
        ask: key and state → population `[POPULATION, P]` and state.
        tell: population, fitness, state and the fraction of the steps that are used up
            → state.
        mean_of: state → parameters `[P]`.
    """

    begin: Callable[..., Any]
    ask: Callable[..., Any]
    tell: Callable[..., Any]
    mean_of: Callable[[Any], jax.Array]


def cross_entropy() -> Search:
    """Return the cross-entropy method (Rubinstein 1999; Szita & Lőrincz 2006).

    A Gaussian with a diagonal covariance is fitted to the best quarter of its own
    samples. A tenth of the initial variance is added, which decreases to zero when half
    of the steps are used up, so that the search does not converge too early.
    """

    def begin(key: jax.Array, mean: jax.Array, spread: jax.Array) -> tuple:
        del key
        return mean, jnp.full_like(mean, spread), spread

    def ask(key: jax.Array, state: tuple) -> tuple[jax.Array, tuple]:
        mean, deviation, _ = state
        drawn = jax.random.normal(key, (POPULATION, len(mean)))
        return mean + deviation * drawn, state

    def tell(
        population: jax.Array, fitness: jax.Array, state: tuple, progress: jax.Array
    ) -> tuple:
        best = population[jnp.argsort(-fitness)[:ELITE]]
        extra = state[2] * jnp.maximum(0.0, 1 - 2 * progress)
        deviation = jnp.sqrt(jnp.var(best, axis=0) + extra**2 / 10)
        return jnp.mean(best, axis=0), deviation, state[2]

    return Search(begin, ask, tell, lambda state: state[0])


def cma() -> Search:
    """Return CMA-ES (Hansen & Ostermeier 1996)."""

    def strategy(mean: jax.Array, spread: jax.Array) -> tuple:
        algorithm = CMA_ES(POPULATION, mean)
        return algorithm, algorithm.default_params.replace(std_init=spread)

    def begin(key: jax.Array, mean: jax.Array, spread: jax.Array) -> tuple:
        algorithm, params = strategy(mean, spread)
        return algorithm.init(key, mean, params), spread

    def ask(key: jax.Array, state: tuple) -> tuple[jax.Array, tuple]:
        algorithm, params = strategy(state[0].mean, state[1])
        population, inner = algorithm.ask(key, state[0], params)
        return population, (inner, state[1])

    def tell(
        population: jax.Array, fitness: jax.Array, state: tuple, progress: jax.Array
    ) -> tuple:
        del progress
        algorithm, params = strategy(state[0].mean, state[1])
        key = jax.random.key(0)  # only evosax's metrics use it
        inner = algorithm.tell(key, population, -fitness, state[0], params)[0]
        return inner, state[1]

    return Search(begin, ask, tell, lambda state: state[0].mean)


def evolve(
    search: Search,
    environment: Environment,
    agent: Agent,
    *,
    total_steps: int,
    seeds: np.ndarray,
    spread: np.ndarray,
) -> dict:
    """Run K searches side by side until none has steps left for another generation.

    A generation that turns out to need more steps than are left is discarded.

    Args:
        search: the method.
        environment: a single environment.
        agent: the agent whose policy parameters are searched for.
        total_steps: the simulator steps of each search.
        seeds: uint32 `[K]`.
        spread: float32 `[K]`, the initial standard deviations.

    Returns:
        The steps and the mean return of each generation and search, `[G, K]`, and the
        mean return of 100 episodes with the last mean, `[K]`. All policies are greedy.
    """
    observation = observation_shapes(environment)
    observation = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), observation)
    example = agent.policy.init(jax.random.key(0), observation)
    unflatten = ravel_pytree(example)[1]

    def play(key: jax.Array, flat: jax.Array, episodes: int) -> Evaluation:
        return evaluate(
            key, environment, agent, unflatten(flat), UNNORMALIZED, episodes=episodes
        )

    @jax.jit
    @jax.vmap
    def start(seed: jax.Array, spread: jax.Array) -> Any:
        policy_key, key = jax.random.split(jax.random.key(seed))
        flat = ravel_pytree(agent.policy.init(policy_key, observation))[0]
        return search.begin(key, flat, spread)

    @jax.jit
    @jax.vmap
    def generation(seed: jax.Array, state: Any, number: jax.Array, used: jax.Array):
        key = jax.random.fold_in(jax.random.key(seed), number)
        ask_key, play_key = jax.random.split(key)
        population, state = search.ask(ask_key, state)
        played = jax.vmap(lambda flat: play(play_key, flat, 1))(population)
        fitness = played.episode_return[:, 0]
        state = search.tell(population, fitness, state, used / total_steps)
        return state, jnp.mean(fitness), jnp.sum(played.episode_length)

    @jax.jit
    @jax.vmap
    def final_return(seed: jax.Array, state: Any) -> jax.Array:
        key = jax.random.key(seed + 10_000)
        return jnp.mean(play(key, search.mean_of(state), 100).episode_return)

    state = start(seeds, spread)
    used, searching = np.zeros(len(seeds)), np.full(len(seeds), True)
    steps, returns = [], []
    while searching.any():
        after, mean, spent = generation(
            seeds, state, np.full(len(seeds), len(steps)), used.astype(np.float32)
        )
        searching = searching & (used + np.asarray(spent) <= total_steps)
        state = jax.tree.map(
            lambda new, old, valid=searching: jnp.where(
                valid.reshape(-1, *[1] * (new.ndim - 1)), new, old
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
        "greedy": np.asarray(final_return(seeds, state)),
    }

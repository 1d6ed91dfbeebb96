"""The programs of a run whose simulators live on the host.

They implement `trpo_jax.runs.programs.Programs`, so that one loop serves both kinds of
runs: the policy and the update are compiled, and Python steps the simulators.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trpo_jax.agent.acting import begin_episodes
from trpo_jax.agent.networks import Agent
from trpo_jax.algorithm.batch import Batch
from trpo_jax.algorithm.estimation import estimate_advantages
from trpo_jax.algorithm.evaluation import Evaluation
from trpo_jax.algorithm.initialization import first_state
from trpo_jax.algorithm.metrics import Metrics, UpdateInfo, summarize
from trpo_jax.algorithm.policy_update import update_policy
from trpo_jax.algorithm.rollout import Rollout
from trpo_jax.algorithm.schedules import scheduled
from trpo_jax.algorithm.state import TrainState
from trpo_jax.algorithm.trpo import prepare_update, update_critic, update_statistics
from trpo_jax.algorithm.vine import vine_batch
from trpo_jax.algorithm.vine_batch import VineBatch
from trpo_jax.config import Config
from trpo_jax.environments.base import observation_shapes
from trpo_jax.environments.host import HostEnvironment, MakeHost, check_host_environment
from trpo_jax.environments.host_arrays import first_observation
from trpo_jax.environments.nested import Nested, map_nested
from trpo_jax.host.actor import Actor, act_once
from trpo_jax.host.evaluation import evaluate_in_turn
from trpo_jax.host.iteration import Compiled, load_states, save_states, train_on_host
from trpo_jax.host.rollout import empty_rollout
from trpo_jax.host.vine import empty_vine, make_vine_actor
from trpo_jax.runs import keys
from trpo_jax.runs.compilation import FOR_LONG, ONCE, compile_together, require_memory
from trpo_jax.runs.plan import Plan, cores
from trpo_jax.runs.programs import Groups

PyTree = Any

# With two simulators, one steps while the policy acts in the other. That pays if one
# cannot use all cores; with few cores, the second call costs more than it saves.
SIMULATORS = 2 if cores() >= 4 else 1


class HostPrograms:
    """The `Programs` of a run whose simulators live on the host.

    The agents are trained in turn, each for one chunk. Only the spaces of the
    environment are used. A `ValueError` refuses programs that need too much memory.
    """

    def __init__(
        self, plan: Plan, make: MakeHost, environment: HostEnvironment, agent: Agent
    ) -> None:
        self._plan, self._make, self._agent = plan, make, agent
        self._compiled = _compile(plan.config, environment, agent)
        self._sizes = divide(plan.config.num_envs, SIMULATORS)
        self._simulators: list[list[HostEnvironment]] = []  # of each agent
        self._critic_thread = ThreadPoolExecutor(1)
        seeds = plan.run.seeds
        self.template = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((seeds, *leaf.shape), leaf.dtype),
            self._compiled.state,
        )

    def _start(self, seed: int) -> Nested:
        """Make the simulators of one agent; environment i has the seed `seed` + i."""
        simulators: list[HostEnvironment] = []
        self._simulators.append(simulators)  # now, to close them whatever happens
        for size in self._sizes:
            simulators.append(self._make(size, seed))
            check_host_environment(simulators[-1], size)
            seed += size
        first = [first_observation(each) for each in simulators]
        return map_nested(lambda *rows: np.concatenate(rows), *first)

    def _close_simulators(self) -> None:
        while self._simulators:
            for each in self._simulators.pop():
                each.close()

    def init(self, seeds: np.ndarray) -> Groups:
        """Return the states of new agents; see `Programs`."""
        self._close_simulators()
        return tuple(
            self._compiled.begin(np.uint32(seed), self._start(keys.training_seed(seed)))
            for seed in seeds.tolist()
        )

    def chunk(self, states: Groups, iterations: np.int32) -> tuple[Groups, np.ndarray]:
        """Train all agents for some iterations; see `Programs`."""
        plan, count = self._plan, int(iterations)
        log = np.zeros((plan.chunk, plan.run.seeds, len(Metrics._fields)), np.float32)
        after = []
        for k, (state, environments) in enumerate(zip(states, self._simulators)):
            programs = self._compiled, self._critic_thread
            trained, log[:count, k] = train_on_host(
                state, environments, *programs, iterations=count, config=plan.config
            )
            after.append(trained)
        return tuple(after), log

    def evaluate(self, seeds: np.ndarray, states: Groups) -> Evaluation:
        """Play whole episodes with every agent; see `Programs`.

        The simulators of training are closed first, and no more environments are opened
        than one agent was trained in: there may be only one.
        """
        self._close_simulators()
        results, episodes = [], self._plan.run.evaluation_episodes
        for seed, state in zip(seeds.tolist(), states):
            agent = self._compiled.act, state.policy_params, state.normalizer
            for greedy in (True, False):
                result = evaluate_in_turn(
                    keys.run_key(seed, keys.KeyPurpose.FINAL_EVALUATION),
                    self._make,
                    *agent,
                    episodes=episodes,
                    at_once=self._plan.config.num_envs,
                    seed=keys.evaluation_seed(seed),
                    greedy=greedy,
                )
                results.append(result)
        shape = (len(seeds), 2, episodes)
        return jax.tree.map(lambda *x: np.stack(x).reshape(shape), *results)

    def gather(self, states: Groups) -> TrainState:
        """Return the states as one pytree; see `Programs`."""
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)

    def scatter(
        self, seeds: np.ndarray, tree: TrainState, saved: list[bytes] | None = None
    ) -> Groups:
        """Return the states of agents that were gathered; see `Programs`."""
        self._close_simulators()
        states = []
        for k, seed in enumerate(seeds.tolist()):
            state = jax.tree.map(lambda leaf, k=k: jnp.asarray(leaf[k]), tree)
            observation = self._start(keys.restart_seed(seed, int(state.iteration)))
            if saved is None:
                state = state.replace(
                    observation=jax.tree.map(jnp.asarray, observation),
                    episode_return=jnp.zeros_like(state.episode_return),
                    episode_length=jnp.zeros_like(state.episode_length),
                    memory=begin_episodes(self._agent, self._plan.config.num_envs),
                )
            states.append(state)
        if saved is not None:
            load_states(self._simulators, saved)
        return tuple(states)

    def simulator_states(self) -> list[bytes] | None:
        """Return the state of every environment; see `Programs`."""
        return save_states(self._simulators)

    def close(self) -> None:
        """Release the thread and the simulators."""
        self._critic_thread.shutdown()
        self._close_simulators()


def divide(num_envs: int, simulators: int) -> list[int]:
    """Return the number of environments of each simulator that has any.

    >>> divide(7, 2)
    [3, 4]
    """
    bounds = np.linspace(0, num_envs, simulators + 1).astype(int)
    return [size for size in np.diff(bounds).tolist() if size]


def _compile(config: Config, environment: HostEnvironment, agent: Agent) -> Compiled:
    act = Actor(agent)

    def begin(seed: jax.Array, observation: PyTree) -> TrainState:
        key = keys.run_key(seed, keys.KeyPurpose.TRAINING)
        _, *parts = jax.random.split(key, 4)  # as `init` does
        space = environment.observation_space
        return first_state(parts, (), observation, space, agent, config)

    vine = None
    if config.sampling == "vine":
        vine = make_vine_actor(agent, environment.action_space, config)

    def policy_half(
        state: TrainState, rollout: Rollout, *branches: PyTree
    ) -> tuple[TrainState, PyTree]:
        batch: Batch | VineBatch
        if branches:
            tried, values = branches
            space = environment.action_space
            batch = vine_batch(state, rollout, tried, values, space, agent, config)
        else:
            batch = estimate_advantages(state, rollout, agent, config)
        now, rows, (key, policy_key, critic_key) = prepare_update(state, batch, config)
        params, info = update_policy(policy_key, state.policy_params, rows, agent, now)
        state = state.replace(key=key, policy_params=params)
        state = update_statistics(state, rollout, config)
        return state, (critic_key, rows.critic_batch, info)

    def critic_half(
        state: TrainState, task: PyTree, rollout: Rollout
    ) -> tuple[dict[str, PyTree], jax.Array]:
        key, batch, policy_info = task
        now = scheduled(config, state.iteration)
        critic, critic_info = update_critic(key, state, batch, agent, now)
        metrics = summarize(rollout, UpdateInfo(policy_info, critic_info))
        return critic, jnp.stack(metrics)

    def batch(rows: int, make: Callable[..., Any]) -> PyTree:
        shapes = observation_shapes(environment)
        return jax.tree.map(lambda x: make((rows, *x.shape), x.dtype), shapes)

    observation = batch(config.num_envs, jax.ShapeDtypeStruct)
    seed = jax.ShapeDtypeStruct((), jnp.uint32)
    state = jax.eval_shape(begin, seed, observation)
    rollout = jax.eval_shape(lambda s: empty_rollout(s, act, config.num_steps), state)
    branches = () if vine is None else empty_vine(state, vine, config)
    halfway = jax.eval_shape(policy_half, state, rollout, *branches)
    start, policy_program, critic_program = compile_together(
        (ONCE, begin, seed, observation),
        (FOR_LONG, policy_half, state, rollout, *branches),
        (FOR_LONG, critic_half, *halfway, rollout),
    )
    require_memory([policy_program, critic_program])
    first = start(np.uint32(0), batch(config.num_envs, np.zeros))
    # The policy is compiled here for each number of environments that it will meet.
    for size in set(divide(config.num_envs, SIMULATORS)):
        acting = first.replace(observation=batch(size, np.zeros))
        jax.block_until_ready(act_once(acting, act))
    return Compiled(start, act, policy_program, critic_program, vine, state)

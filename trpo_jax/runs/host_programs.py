"""The programs of a run whose simulators live on the host.

They have the interface of `trpo_jax.runs.programs`, so that one loop drives both: the policy
and the update are compiled, and the host steps the simulators in between.
"""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trpo_jax.algorithm.batch import VineBatch
from trpo_jax.config import Config
from trpo_jax.environments.base import observation_shapes
from trpo_jax.environments.host import (
    HostEnvironment,
    MakeHost,
    check_host_environment,
)
from trpo_jax.algorithm.evaluation import Evaluation
from trpo_jax.host.evaluation import evaluate_on_host, evaluation_seed
from trpo_jax.host.rollout import act_once, empty_rollout, make_actor
from trpo_jax.host.iteration import Compiled, later_seed, load_states, save_states, train_on_host
from trpo_jax.host.vine import HostVine, empty_vine, make_vine_actor
from trpo_jax.algorithm.metrics import Metrics, summarize
from trpo_jax.agent.networks import Agent
from trpo_jax.runs.plan import Plan, cores
from trpo_jax.runs.programs import FOR_LONG, ONCE, Groups, Programs, compile_for, require_memory, stream
from trpo_jax.algorithm.rollout import Rollout
from trpo_jax.algorithm.state import TrainState
from trpo_jax.algorithm.trpo import first_state
from trpo_jax.algorithm.update import Improved, Lesson, absorb_statistics, estimate_advantages, finish, fit, improve
from trpo_jax.algorithm.vine import tries_every_action

PyTree = Any

# With two, one simulates while the policy thinks about the other. That pays where one
# cannot keep the cores busy; on few of them, twice the calls cost more than they save.
SIMULATORS = 2 if cores() >= 4 else 1
_SEEDS_APART = 1_000_003  # of the environments of two agents


def compile_host_programs(
    plan: Plan, make: MakeHost, environment: HostEnvironment, agent: Agent
) -> Programs:
    """Compile the programs of a run; its seeds are trained in turns, a chunk each.

    Args:
        plan: of the run.
        make: `make(num_envs, seed)` → a `HostEnvironment`.
        environment: one of them, for its spaces.
        agent: policy and critic.
    """
    compiled = _compile(plan.config, environment, agent)
    sizes = divide(plan.config.num_envs, SIMULATORS)
    simulators: list[list[HostEnvironment]] = []
    beside = ThreadPoolExecutor(1)

    def close_simulators() -> None:
        while simulators:
            for each in simulators.pop():
                each.close()

    def start(seed: int) -> np.ndarray:
        """Make the simulators of one agent; the i-th environment has `seed + i`."""
        simulators.append([])
        for size in sizes:
            simulators[-1].append(make(size, seed))
            check_host_environment(simulators[-1][-1], size)
            seed += size
        return np.concatenate([each.reset() for each in simulators[-1]])

    def init(seeds: np.ndarray) -> Groups:
        close_simulators()
        return tuple(
            compiled.begin(np.uint32(seed), start(seed * _SEEDS_APART))
            for seed in seeds.tolist()
        )

    def scatter(
        seeds: np.ndarray, tree: TrainState, saved: list[bytes] | None = None
    ) -> Groups:
        close_simulators()
        states = []
        for k, seed in enumerate(seeds.tolist()):
            state = jax.tree.map(lambda leaf, k=k: jnp.asarray(leaf[k]), tree)
            observation = start(later_seed(seed, int(state.iteration)))
            if saved is None:
                state = state.replace(
                    observation=jnp.asarray(observation),
                    episode_return=jnp.zeros_like(state.episode_return),
                    episode_length=jnp.zeros_like(state.episode_length),
                )
            states.append(state)
        if saved is not None:
            load_states(simulators, saved)
        return tuple(states)

    def chunk(states: Groups, iterations: np.int32) -> tuple[Groups, np.ndarray]:
        log = np.zeros((plan.chunk, plan.seeds, len(Metrics._fields)), np.float32)
        after = []
        for k, (state, environments) in enumerate(zip(states, simulators)):
            trained, log[: int(iterations), k] = train_on_host(
                state,
                environments,
                compiled,
                beside,
                iterations=int(iterations),
                config=plan.config,
            )
            after.append(trained)
        return tuple(after), log

    def evaluate(seeds: np.ndarray, states: Groups) -> Evaluation:
        results = []
        for seed, state in zip(seeds.tolist(), states):
            for greedy in (True, False):
                environment = make(plan.evaluation_episodes, evaluation_seed(seed))
                with contextlib.closing(environment):
                    result = evaluate_on_host(
                        stream(seed, 1),
                        [environment],
                        compiled.act,
                        state.policy_params,
                        state.normalizer,
                        greedy=greedy,
                    )
                results.append(result)
        shape = (len(seeds), 2, plan.evaluation_episodes)
        return Evaluation(*(np.stack(part).reshape(shape) for part in zip(*results)))

    def gather(states: Groups) -> TrainState:
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)

    def close() -> None:
        beside.shutdown()
        close_simulators()

    template = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((plan.seeds, *leaf.shape), leaf.dtype),
        compiled.state,
    )
    return Programs(
        init, chunk, evaluate, gather, scatter, template,
        lambda: save_states(simulators), close,
    )  # fmt: skip


def divide(num_envs: int, simulators: int) -> list[int]:
    """Return how many environments each simulator has.

    Example:
        >>> divide(7, 2)
        [3, 4]
    """
    bounds = np.linspace(0, num_envs, simulators + 1).astype(int)
    return [size for size in np.diff(bounds).tolist() if size]


def _compile(config: Config, environment: HostEnvironment, agent: Agent) -> Compiled:
    act = make_actor(agent)

    def begin(seed: jax.Array, observation: jax.Array) -> TrainState:
        _, *keys = jax.random.split(stream(seed, 0), 4)  # as `init` does
        space = environment.observation_space
        return first_state(keys, (), observation, space, agent, config)

    vine = None
    if config.sampling == "vine":
        vine = make_vine_actor(act, agent, environment.action_space, config)

    def first_half(
        state: TrainState, rollout: Rollout, *found: HostVine
    ) -> tuple[TrainState, Lesson, Improved]:
        if not found:
            return improve(state, rollout, agent, config)
        batch = VineBatch(
            **found[0]._asdict(),
            weight=jnp.ones(found[0].action_value.shape[:2]),
            lesson=estimate_advantages(state, rollout, agent, config),
            every_action=tries_every_action(environment.action_space, config),
        )
        state, *rest = improve(state, batch, agent, config)
        return absorb_statistics(state, rollout, config), *rest

    def second_half(
        state: TrainState, lesson: Lesson, improved: Improved, rollout: Rollout
    ) -> tuple[PyTree, PyTree, jax.Array]:
        fitted = fit(state, lesson, agent, config)
        _, info = finish(state, improved, fitted)
        metrics = jnp.stack(summarize(rollout, info))
        return fitted.params, fitted.optimizer_state, metrics

    one = observation_shapes(environment)
    observation = jax.ShapeDtypeStruct((config.num_envs, *one.shape), one.dtype)
    seed = jax.ShapeDtypeStruct((), jnp.uint32)
    state = jax.eval_shape(begin, seed, observation)
    rollout = jax.eval_shape(lambda s: empty_rollout(s, act, config.num_steps), state)
    found = [] if vine is None else [empty_vine(state, vine, config)]
    halves = jax.eval_shape(first_half, state, rollout, *found)
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(compile_for, ONCE, begin, seed, observation),
            pool.submit(compile_for, FOR_LONG, first_half, state, rollout, *found),
            pool.submit(compile_for, FOR_LONG, second_half, *halves, rollout),
        ]
    begin, *halves = (job.result() for job in jobs)
    require_memory(halves)
    first_half, second_half = halves
    first = begin(np.uint32(0), np.zeros(observation.shape, observation.dtype))
    # `jit` compiles what it meets first.
    for size in set(divide(config.num_envs, SIMULATORS)):
        acting = first.replace(observation=np.zeros((size, *one.shape), one.dtype))
        jax.block_until_ready(act_once(acting, act))
    return Compiled(begin, act, first_half, second_half, vine, state)

"""The three programs of a run, compiled before the clock of training starts."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trpo_jax.environments.base import Environment
from trpo_jax.evaluation import Evaluation, evaluate
from trpo_jax.metrics import Metrics
from trpo_jax.networks import Agent
from trpo_jax.plan import Plan
from trpo_jax.state import TrainState
from trpo_jax.trpo import init, train_step

PyTree = Any

# On CPU most of the wait is for the compiler. At level 1 it takes two thirds of the
# time that its default level takes, and what it makes runs no slower; what runs once,
# or only for a moment, can do with less still. Measured by `benchmarks.timing`.
_FOR_LONG = {"xla_backend_optimization_level": 1}
_FOR_A_MOMENT = _FOR_LONG | {"xla_cpu_use_fusion_emitters": False}
_FOR_ONCE = _FOR_A_MOMENT | {"xla_backend_optimization_level": 0}


class Programs(NamedTuple):
    """Compiled functions; every array in them leads with the seed.

    Attributes:
        init: keys `[K]` → states.
        chunk: states and a number of iterations, at most `plan.chunk`, → states and a
            log `[plan.chunk, K, M]` of the `Metrics`, of which that many rows are set.
            The states put in are used up.
        evaluate: keys `[K]`, policy parameters and normalisers → an `Evaluation` of
            arrays `[K, 2, E]`, greedy first and then sampled.
    """

    init: Callable[[jax.Array], TrainState]
    chunk: Callable[[TrainState, jax.Array], tuple[TrainState, jax.Array]]
    evaluate: Callable[[jax.Array, PyTree, PyTree], Evaluation]


def compile_programs(plan: Plan, environment: Environment, agent: Agent) -> Programs:
    """Compile the programs of a run, two at a time."""
    config = plan.config

    def over_seeds(function: Callable[..., Any]) -> Callable[..., Any]:
        if plan.seeds > 1:
            return jax.vmap(function)

        def alone(*args: Any) -> Any:  # a batch axis of one would only slow it down
            one = function(*jax.tree.map(lambda x: x[0], args))
            return jax.tree.map(lambda x: x[None], one)

        return alone

    @over_seeds
    def begin(key: jax.Array) -> TrainState:
        return init(key, environment, agent, config)

    @over_seeds
    def step(state: TrainState) -> tuple[TrainState, Metrics]:
        return train_step(state, environment, agent, config)

    def chunk(
        states: TrainState, iterations: jax.Array
    ) -> tuple[TrainState, jax.Array]:
        def iterate(i: jax.Array, carry: tuple) -> tuple:
            states, log = carry
            states, metrics = step(states)
            return states, log.at[i].set(jnp.stack(metrics, axis=-1))

        log = jnp.zeros((plan.chunk, plan.seeds, len(Metrics._fields)))
        return jax.lax.fori_loop(0, iterations, iterate, (states, log))

    @over_seeds
    def judge(key: jax.Array, policy_params: PyTree, normalizer: PyTree) -> Evaluation:
        def play(greedy: jax.Array) -> Evaluation:
            return evaluate(
                key,
                environment,
                agent,
                policy_params,
                normalizer,
                episodes=plan.evaluation_episodes,
                greedy=greedy,
            )

        return jax.vmap(play)(jnp.array([True, False]))

    keys = jax.eval_shape(jax.vmap(jax.random.key), jnp.zeros(plan.seeds, jnp.uint32))
    states = jax.eval_shape(begin, keys)
    judged = (keys, states.policy_params, states.normalizer)
    with ThreadPoolExecutor(2) as pool:
        jobs = (
            pool.submit(_compile, jax.jit(begin), (keys,), _FOR_ONCE),
            pool.submit(
                _compile,
                jax.jit(chunk, donate_argnums=0),
                (states, jnp.int32(0)),
                _FOR_LONG,
            ),
            pool.submit(_compile, jax.jit(judge), judged, _FOR_A_MOMENT),
        )
    return Programs(*(job.result() for job in jobs))


def _compile(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    lowered = function.lower(*args)
    if jax.default_backend() == "cpu":
        try:
            return lowered.compile(compiler_options=options)
        except jax.errors.JaxRuntimeError:
            pass  # another version of the compiler may not know an option
    return lowered.compile()

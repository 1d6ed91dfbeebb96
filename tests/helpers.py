"""What several test files need: comparing pytrees, small agents, a clear world."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from trpo_jax.agent.distributions import Categorical, DiagonalGaussian
from trpo_jax.agent.networks import Agent, Network
from trpo_jax.algorithm import policy_update
from trpo_jax.algorithm.batch import Batch
from trpo_jax.algorithm.stepping import step_and_reset
from trpo_jax.environments.base import Step
from trpo_jax.environments.spaces import Box, Discrete
from trpo_jax.solver.line_search import LineSearchInfo
from trpo_jax.solver.trust_region import TrustRegionInfo, trust_region_step


def raw(leaf):
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)


def assert_identical(actual, expected):
    """Same structure, shapes, types and bits: NaN equals NaN, −0 differs from 0."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for left, right in zip(jax.tree.leaves(actual), jax.tree.leaves(expected)):
        one, two = raw(left), raw(right)
        assert one.shape == two.shape
        assert one.dtype == two.dtype
        assert one.tobytes() == two.tobytes()


def assert_close(actual, expected, rtol=1e-5, atol=1e-6):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for left, right in zip(jax.tree.leaves(actual), jax.tree.leaves(expected)):
        np.testing.assert_allclose(raw(left), raw(right), rtol=rtol, atol=atol)


def differ(left, right):
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right))
    return any(raw(a).tobytes() != raw(b).tobytes() for a, b in pairs)


def is_finite(tree):
    numbers = (raw(leaf) for leaf in jax.tree.leaves(tree))
    return all(np.isfinite(leaf).all() for leaf in numbers)


def linear_critic():
    """A bring-your-own critic: an ordinary function on an ordinary dictionary."""

    def init(key, observation):
        del key
        return {"slope": jnp.zeros(observation.shape), "offset": jnp.zeros(())}

    def apply(params, observation):
        return observation @ params["slope"] + params["offset"]

    return Network(init, apply)


def linear_policy(head):
    """A bring-your-own policy: `head` makes a distribution of a linear map."""

    def init(key, observation):
        return jax.random.normal(key, (*observation.shape, 2))

    def apply(params, observation):
        return head(observation @ params)

    return Network(init, apply)


def linear_agent(head):
    return Agent(policy=linear_policy(head), critic=linear_critic())


def softmax_agent():
    return linear_agent(Categorical)


def gaussian_agent():
    return linear_agent(lambda mean: DiagonalGaussian(mean, jnp.zeros_like(mean)))


class ClockState(NamedTuple):
    name: jax.Array
    time: jax.Array


@dataclasses.dataclass(frozen=True)
class Clock:
    """Episodes of three steps, recognisable by a name drawn at the reset.

    Observation: (name, time), name uniform in [−1, 1]. Reward: name + time. An episode
    with a positive name is terminated, another one truncated.
    """

    name: str = "clock"
    max_episode_steps: int = 3
    observation_space = Box.uniform((2,))
    action_space = Discrete(2)

    def reset(self, key):
        state = ClockState(jax.random.uniform(key, (), minval=-1), jnp.float32(0))
        return state, jnp.stack(state)

    def step(self, key, env_state, action):
        del key, action
        after = env_state._replace(time=env_state.time + 1)
        over = after.time >= 3
        return Step(
            env_state=after,
            observation=jnp.stack(after),
            reward=env_state.name + env_state.time,
            terminated=over & (env_state.name > 0),
            truncated=over & (env_state.name <= 0),
        )


class Problem(NamedTuple):
    """What `update_policy` hands to `trust_region_step`, on parameters as they are."""

    surrogate: Callable
    divergence: Callable
    product: Callable


def problem_of(monkeypatch, agent, params, rows, config):
    """Catch the surrogate and the divergence that the policy's step is made of."""
    caught = []
    _, unflatten = ravel_pytree(params)

    def flat(tree):
        return ravel_pytree(tree)[0]

    def catch(surrogate, divergence, product, params, **options):
        problem = Problem(
            surrogate=lambda p: surrogate(flat(p)),
            divergence=lambda p: divergence(flat(p)),
            product=lambda v: unflatten(product(flat(v))),
        )
        caught.append(problem)
        nothing = LineSearchInfo(*[None] * 6)
        return params, TrustRegionInfo(None, None, None, nothing)

    with monkeypatch.context() as patch:
        patch.setattr(policy_update, "trust_region_step", catch)
        policy_update.update_policy(jax.random.key(0), params, rows, agent, config)
    return caught[0]


def improve_policy(key, apply, params, rows, config):
    """`update_policy` for a policy that is just a function."""
    agent = Agent(policy=Network(None, apply), critic=None)
    return policy_update.update_policy(key, params, rows, agent, config)


def step_by(config, surrogate, divergence, product, params, **options):
    """`trust_region_step` with the values of a `Config`."""
    return trust_region_step(
        surrogate,
        divergence,
        product,
        params,
        max_divergence=config.max_kl,
        step_rule=config.step_rule,
        step_size=config.step_size,
        **config.solver_options,
        **options,
    )


def random_rows(agent, params, seed=0, rows=16, weight=None):
    """A batch of random observations, actions of the policy and random advantages."""
    rng = np.random.default_rng(seed)
    observation = jnp.asarray(rng.normal(size=(rows, 3)))
    observation, advantage = jax.tree.map(
        lambda x: jnp.asarray(x, params.dtype), (observation, rng.normal(size=rows))
    )
    return Batch(
        observation=observation,
        action=agent.policy.apply(params, observation).sample(jax.random.key(seed)),
        advantage=advantage,
        value_target=advantage,
        weight=jnp.ones_like(advantage) if weight is None else weight,
    )


def play_twice(environment, raw, actions, keys):
    """Play an episode a key: through an adapter, and by hand on what it wraps.

    Returns the first observation and the steps of the former; of the latter the first
    observation, and observations, rewards and ends.
    """

    @jax.vmap
    def play(key):
        def by_adapter(env_state, action):
            step = environment.step(key, env_state, action)
            return step.env_state, step._replace(env_state=())

        def by_hand(state, action):
            after = raw.step(state, action)
            after = jax.tree.map(
                lambda new, old: jnp.asarray(new, old.dtype), after, state
            )
            return after, (after.obs, after.reward, after.done)

        env_state, observation = environment.reset(key)
        _, steps = jax.lax.scan(by_adapter, env_state, actions)
        state = raw.reset(key)
        _, expected = jax.lax.scan(by_hand, state, actions)
        return (observation, steps), (state.obs, expected)

    return jax.tree.map(np.asarray, jax.jit(play)(keys))


def assert_nothing_is_weakly_typed(environment):
    """What depends on weak types is compiled twice."""
    key = jax.random.key(0)
    env_state, observation = jax.eval_shape(environment.reset, key)
    action = jnp.zeros(environment.action_space.shape)
    step = jax.eval_shape(environment.step, key, env_state, action)
    leaves = jax.tree.leaves((env_state, observation, step))
    assert not any(leaf.weak_type for leaf in leaves)


def matrix_of(product, params):
    """The dense matrix of a product, one column for each basis vector."""
    flat, unflatten = ravel_pytree(params)
    column = jax.jit(lambda v: ravel_pytree(product(unflatten(v)))[0])
    return np.asarray(jax.vmap(column)(jnp.eye(flat.size)))


def linear_data(rows=64):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 3)).astype(np.float32)
    slope, offset = np.array([1.0, -2.0, 0.5], np.float32), np.float32(3)
    return x, x @ slope + offset, {"offset": offset, "slope": slope}


class Relaxed:
    """An environment that is reset and stepped under JAX's usual promotion rules."""

    def __init__(self, environment):
        self._environment = environment

    def __getattr__(self, name):
        attribute = getattr(self._environment, name)
        if name not in ("reset", "step"):
            return attribute

        def run(*args):
            usual = jax.numpy_dtype_promotion("standard")
            with usual, jax.numpy_rank_promotion("allow"):
                return attribute(*args)

        return run


def play(environment, actions):
    """Take actions from a reset, without `jit`: a state that is written into shows."""
    key = jax.random.key(0)
    env_state, observation = environment.reset(key)
    steps = []
    for action in actions:
        steps.append(environment.step(key, env_state, jnp.array(action)))
        env_state = steps[-1].env_state
    return observation, steps


def assert_a_step_leaves_its_state(environment):
    """A step does not write into the state that it starts from."""
    key, action = jax.random.key(0), jnp.zeros(environment.action_space.shape)
    env_state, _ = environment.reset(key)
    before = jax.tree.map(lambda leaf: leaf, env_state)
    one, other = (environment.step(key, env_state, action) for _ in range(2))
    assert_identical(env_state, before)
    assert_identical(one, other)


def step_one(environment, *arguments):
    """`step_and_reset` in a batch of one environment."""
    batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], arguments)
    return jax.tree.map(lambda leaf: leaf[0], step_and_reset(environment, *batch))


def assert_resets_only_at_the_end(environment):
    """Three steps make an episode; observations are (its name, the time)."""
    action = jnp.zeros(environment.action_space.shape)
    env_state, observation = environment.reset(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1))
    for time in (1, 2, 3):
        env_state, to_act_on, step = step_one(environment, *keys, env_state, action)
        name = float(jax.tree.leaves(observation)[0].ravel()[0])
        assert ravel_pytree(step.observation)[0].tolist() == [name, time]
        if time < 3:
            assert_identical(to_act_on, step.observation)
    assert_identical((env_state, to_act_on), environment.reset(keys[1]))
    assert abs(float(ravel_pytree(to_act_on)[0][0]) - name) > 1e-3

import math
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_identical, linear_agent

from trpo_jax.agent.agent_check import check_agent
from trpo_jax.agent.distributions import Categorical, DiagonalGaussian
from trpo_jax.agent.initializers import orthogonal
from trpo_jax.agent.mlp import MLP
from trpo_jax.agent.networks import Network
from trpo_jax.agent.standard_agents import default_agent
from trpo_jax.config.network import Activation
from trpo_jax.environments import make_environment
from trpo_jax.environments.spaces import Box, Discrete
from trpo_jax.solver.fisher import fisher_vector_product

LINE = Box.uniform((3,))
BATCH = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)


def made(network, observation=BATCH[0], seed=0):
    params = network.init(jax.random.key(seed), observation)
    return params, network.apply


def kernels(params):
    return [leaf for leaf in jax.tree.leaves(params) if leaf.ndim == 2]


def test_policy_and_critic_share_nothing():
    agent = default_agent(
        LINE, Discrete(2), hidden_sizes=(8,), critic_hidden_sizes=(4, 4)
    )
    policy, _ = made(agent.policy)
    critic, _ = made(agent.critic)
    assert [kernel.shape for kernel in kernels(policy)] == [(3, 8), (8, 2)]
    assert [kernel.shape for kernel in kernels(critic)] == [(3, 4), (4, 4), (4, 1)]
    assert agent.policy.init is not agent.critic.init


def test_critic_has_the_widths_of_the_policy_unless_told_otherwise():
    critic, _ = made(default_agent(LINE, Discrete(2), hidden_sizes=(7,)).critic)
    assert [kernel.shape for kernel in kernels(critic)] == [(3, 7), (7, 1)]


@pytest.mark.parametrize("sizes", [(16, 16), (3, 40)])
def test_hidden_layers_start_orthogonal_with_gain_root_two(sizes):
    params, _ = made(default_agent(LINE, Discrete(2), hidden_sizes=sizes).policy)
    for kernel in kernels(params)[:-1]:
        small = kernel if kernel.shape[0] <= kernel.shape[1] else kernel.T
        np.testing.assert_allclose(small @ small.T, 2 * np.eye(len(small)), atol=1e-5)


@pytest.mark.parametrize("shape", [(5, 5), (100, 7), (7, 100), (3, 3, 4, 8)])
def test_kernels_start_orthogonal_whatever_their_shape(shape):
    keys = jax.random.split(jax.random.key(0), 50)
    for kernel in jax.vmap(lambda key: orthogonal(3.0)(key, shape))(keys):
        matrix = np.asarray(kernel, np.float64).reshape(-1, shape[-1])
        np.testing.assert_allclose(
            np.linalg.svd(matrix, compute_uv=False), 3, rtol=1e-5
        )


def test_orthogonal_kernels_prefer_no_direction():
    # Of a random rotation in n dimensions E[x] = 0, E[x²] = 1/n, E[x⁴] = 3/(n(n+2)).
    keys = jax.random.split(jax.random.key(1), 4000)
    x = np.asarray(jax.vmap(lambda key: orthogonal(1.0)(key, (4, 4)))(keys))
    for power, expected in ((1, 0.0), (2, 1 / 4), (4, 3 / 24)):
        np.testing.assert_allclose((x**power).mean(axis=0), expected, atol=0.03)


def test_initialisation_contains_no_matrix_decomposition():
    # Batches of them, as vmap over seeds makes, wait for each other on two cores.
    def decomposes(init):
        keys = jax.random.split(jax.random.key(0), 3)
        return "qr[" in str(jax.make_jaxpr(jax.vmap(init))(keys))

    agent = default_agent(LINE, Discrete(2))
    assert decomposes(lambda key: jax.nn.initializers.orthogonal()(key, (4, 4)))
    assert not decomposes(lambda key: agent.policy.init(key, BATCH[0]))
    assert not decomposes(lambda key: agent.critic.init(key, BATCH[0]))


def test_biases_start_at_zero():
    params, _ = made(default_agent(LINE, Discrete(2), hidden_sizes=(8,)).critic)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(params) if leaf.ndim == 1)


def test_last_layers_start_with_their_gain():
    # An orthogonal kernel of gain g and n columns has squared norm n g².
    agent = default_agent(LINE, Discrete(4), hidden_sizes=(16,))
    for network, columns, gain in ((agent.policy, 4, 0.01), (agent.critic, 1, 1.0)):
        last = kernels(made(network)[0])[-1]
        np.testing.assert_allclose(jnp.sum(last**2), columns * gain**2, rtol=1e-5)


def test_first_categorical_policy_is_almost_uniform():
    params, apply = made(default_agent(LINE, Discrete(4)).policy)
    policy = apply(params, 3 * BATCH)
    np.testing.assert_allclose(policy.entropy(), math.log(4), atol=1e-3)


def test_first_gaussian_policy_is_almost_centred():
    params, apply = made(default_agent(LINE, LINE, log_std_init=-0.5).policy)
    policy = apply(params, 3 * BATCH)
    np.testing.assert_allclose(policy.mean, np.zeros((5, 3)), atol=0.1)
    assert (policy.log_std == -0.5).all()


def test_state_dependent_deviation_depends_on_the_state():
    agent = default_agent(LINE, Box.uniform((2,)), state_dependent_std=True)
    params, apply = made(agent.policy)
    policy = apply(params, BATCH)
    assert policy.mean.shape == policy.log_std.shape == (5, 2)
    np.testing.assert_allclose(policy.log_std, np.zeros((5, 2)), atol=0.1)
    assert len(np.unique(np.asarray(policy.log_std)[:, 0])) == 5


def test_shared_deviation_does_not_depend_on_the_state():
    params, apply = made(default_agent(LINE, Box.uniform((2,))).policy)
    policy = apply(params, BATCH)
    assert policy.mean.shape == policy.log_std.shape == (5, 2)
    assert (policy.log_std == policy.log_std[:1]).all()


def test_no_hidden_layer_is_a_linear_policy():
    params, apply = made(default_agent(LINE, Discrete(2), hidden_sizes=()).policy)
    (kernel,) = kernels(params)
    assert_close(apply(params, BATCH).logits, BATCH @ kernel)


def test_discrete_observations_become_one_hot():
    agent = default_agent(Discrete(3), Discrete(2), hidden_sizes=())
    params, apply = made(agent.policy, jnp.int32(0))
    (kernel,) = kernels(params)
    assert kernel.shape == (3, 2)
    assert_close(apply(params, jnp.array([[2, 0]])).logits, kernel[jnp.array([[2, 0]])])


@pytest.mark.parametrize("leading", [(), (4,), (4, 2)])
@pytest.mark.parametrize("shape", [(), (3,), (2, 2, 3)])
def test_boxes_of_any_shape_are_flattened(shape, leading):
    agent = default_agent(Box.uniform(shape), Discrete(2), hidden_sizes=(4,))
    x = jnp.ones((*leading, *shape))
    for network in agent[:2]:
        params, apply = made(network, jnp.ones(shape))
        assert kernels(params)[0].shape == (math.prod(shape), 4)
        result = apply(params, x)
        result = result.logits[..., 0] if network is agent.policy else result
        assert result.shape == leading


def test_integer_and_boolean_boxes_are_read_as_numbers():
    agent = default_agent(Box.uniform((2, 2), 0, 1), Discrete(2), hidden_sizes=(4,))
    x = jnp.array([[[True, False], [False, True]]])
    params, apply = made(agent.critic, x[0])
    as_float = apply(params, x.astype(jnp.float32))
    assert_identical(apply(params, x), as_float)
    assert_identical(apply(params, x.astype(jnp.uint8)), as_float)


def test_rows_do_not_see_each_other():
    agent = default_agent(LINE, Discrete(2), hidden_sizes=(8,))
    for network in agent[:2]:
        params, apply = made(network)
        together = apply(params, BATCH)
        one_by_one = jax.vmap(lambda row, p=params, f=apply: f(p, row))(BATCH)
        assert_close(together, one_by_one)


@pytest.mark.parametrize("activation", get_args(Activation))
def test_every_activation_is_used(activation):
    def ones(module):
        params = module.init(jax.random.key(0), jnp.ones(1))
        return module.apply(jax.tree.map(jnp.ones_like, params), -jnp.ones((1, 1)))

    # Kernels and biases of one: f(−1 + 1) + 1 = f(0) + 1 = 1 for all of them, and at
    # −3 the activation itself shows.
    module = MLP((1,), 1, activation, 1.0)
    assert float(ones(module)[0, 0]) == 1
    params = jax.tree.map(jnp.ones_like, module.init(jax.random.key(0), jnp.ones(1)))
    by_hand = {
        "tanh": math.tanh(-2),
        "relu": 0.0,
        "elu": math.exp(-2) - 1,
        "silu": -2 / (1 + math.exp(2)),
        # The usual tanh approximation of GELU.
        "gelu": -1 * (1 + math.tanh(math.sqrt(2 / math.pi) * (-2 - 0.044715 * 8))),
    }[activation]
    np.testing.assert_allclose(
        module.apply(params, jnp.array([[-3.0]]))[0, 0], by_hand + 1, rtol=1e-4
    )


def test_initial_parameters_follow_the_key():
    agent = default_agent(LINE, Discrete(2), hidden_sizes=(4,))
    one, again, other = (made(agent.policy, seed=seed)[0] for seed in (0, 0, 1))
    assert_identical(one, again)
    assert (kernels(one)[0] != kernels(other)[0]).any()


@pytest.mark.parametrize(
    ("head", "action_shape"),
    [
        (Categorical, ()),
        (lambda mean: DiagonalGaussian(mean, jnp.zeros_like(mean)), (2,)),
    ],
    ids=["categorical", "gaussian"],
)
def test_a_plain_pair_of_functions_is_a_network(head, action_shape):
    agent = linear_agent(head)
    params, apply = made(agent.policy)
    policy = apply(params, BATCH)
    assert policy.sample(jax.random.key(0)).shape == (5, *action_shape)
    product = fisher_vector_product(lambda p: apply(p, BATCH), params)
    assert product(params).shape == params.shape
    params, apply = made(agent.critic)
    assert apply(params, BATCH).shape == (5,)


def test_an_unknown_activation_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"activation must be one of tanh, .*'swish'"):
        default_agent(LINE, Discrete(2), activation="swish")


@pytest.mark.parametrize("role", ["observation", "action"])
def test_a_space_of_another_kind_is_refused(role):
    spaces = {"observation_space": LINE, "action_space": LINE}
    spaces[f"{role}_space"] = {"a": LINE}
    with pytest.raises(ValueError, match=f"{role} space must be a Box, Discrete, "):
        default_agent(**spaces)


def with_policy(head, agent):
    return agent._replace(
        policy=Network(lambda key, x: (), lambda params, x: head(x[..., 0]))
    )


CARTPOLE = make_environment("CartPole-v1")
FITTING = default_agent(CARTPOLE.observation_space, CARTPOLE.action_space)
PENDULUM = make_environment("Pendulum-v1")
SWINGING = default_agent(PENDULUM.observation_space, PENDULUM.action_space)


def test_an_agent_that_fits_passes_the_check():
    check_agent(FITTING, CARTPOLE)
    check_agent(SWINGING, PENDULUM)


@pytest.mark.parametrize(
    ("agent", "environment", "message"),
    [
        ("mlp", CARTPOLE, "agent must be a trpo_jax.Agent; got 'mlp'"),
        (
            with_policy(lambda x: Categorical(jnp.zeros((*x.shape, 3))), FITTING),
            CARTPOLE,
            "among 2 actions; it has 3 logits",
        ),
        (
            with_policy(lambda x: jnp.zeros((*x.shape, 2)), FITTING),
            CARTPOLE,
            "must return a distribution with sample, .* without sample",
        ),
        (
            with_policy(
                lambda x: DiagonalGaussian(jnp.zeros((*x.shape, 2)), jnp.zeros(2)),
                SWINGING,
            ),
            PENDULUM,
            "broadcast the smaller ones",
        ),
        (
            with_policy(
                lambda x: DiagonalGaussian(*jnp.zeros((2, *x.shape, 4))), SWINGING
            ),
            PENDULUM,
            "actions must have 1 numbers.* shape",
        ),
        (
            FITTING._replace(
                critic=Network(lambda key, x: (), lambda p, x: x[..., :1])
            ),
            CARTPOLE,
            r"one value for each row.*got \(1009, 1\)",
        ),
    ],
)
def test_an_agent_that_does_not_fit_is_refused(agent, environment, message):
    with pytest.raises(ValueError, match=message):
        check_agent(agent, environment)


def test_without_orthogonal_kernels_their_variance_is_one_over_fan_in():
    space = Box.uniform((50,))
    agent = default_agent(space, Box.uniform((40,)), orthogonal_init=False)
    params = agent.policy.init(jax.random.key(0), jnp.zeros(50))
    kernels = [x for x in jax.tree.leaves(params) if x.ndim == 2]
    assert sorted(kernel.shape for kernel in kernels) == [(50, 64), (64, 40), (64, 64)]
    for kernel in kernels:
        assert float(kernel.std()) == pytest.approx(len(kernel) ** -0.5, rel=0.1)

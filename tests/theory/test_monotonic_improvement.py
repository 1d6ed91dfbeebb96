"""The exact theory, against plain numpy, scipy's optimiser, and its own theorems."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special
from helpers import improve_policy
from hypothesis import given
from hypothesis import strategies as st

from trpo_jax import theory
from trpo_jax.agent.distributions import Categorical
from trpo_jax.algorithm.batch import Batch
from trpo_jax.config import Config


def draw(seed, states=5, actions=3, discount=0.9, policies=1):
    mdp_key, *keys = jax.random.split(jax.random.key(seed), 1 + policies)
    mdp = theory.random_mdp(mdp_key, states, actions, discount)
    drawn = [
        jax.random.dirichlet(key, jnp.ones(actions, mdp.reward.dtype), (states,))
        for key in keys
    ]
    return mdp, *drawn


def series(mdp, policy, terms=400):
    """Return η, V and ρ from their definitions as sums over time, in numpy."""
    policy, start, reward = map(np.asarray, (policy, mdp.initial, mdp.reward))
    P = np.einsum("sa,sat->st", policy, np.asarray(mdp.transition))
    rewards = np.sum(policy * reward, axis=1)
    here, rho, value = start, np.zeros(len(P)), np.zeros(len(P))
    for t in range(terms):
        rho += mdp.discount**t * here
        value += mdp.discount**t * rewards
        here, rewards = here @ P, P @ rewards
    return start @ value, value, rho


def test_values_and_visitation_are_the_sums_of_their_definitions(x64):
    mdp, policy = draw(0)
    expected_return, value, rho = series(mdp, policy)
    np.testing.assert_allclose(theory.state_value(mdp, policy), value, rtol=1e-12)
    np.testing.assert_allclose(theory.visitation(mdp, policy), rho, rtol=1e-12)
    np.testing.assert_allclose(
        theory.expected_return(mdp, policy), expected_return, rtol=1e-12
    )


def test_action_value_is_one_step_and_then_the_policy(x64):
    mdp, policy = draw(1)
    _, value, _ = series(mdp, policy)
    q = theory.action_value(mdp, policy)
    for s in range(5):
        for a in range(3):
            after = sum(mdp.transition[s, a, t] * value[t] for t in range(5))
            np.testing.assert_allclose(
                q[s, a], mdp.reward[s, a] + 0.9 * after, rtol=1e-10
            )
    mean = jnp.sum(policy * theory.advantage(mdp, policy), axis=1)
    np.testing.assert_allclose(mean, 0, atol=1e-12)


def test_a_process_worked_by_hand():
    """One state that pays 1 for action 0 and 0 for action 1, γ = ½: η = 2 p."""
    mdp = theory.MDP(
        jnp.ones((1, 2, 1)), jnp.array([[1.0, 0.0]]), jnp.ones(1), jnp.float32(0.5)
    )
    policy, new = jnp.array([[0.5, 0.5]]), jnp.array([[0.75, 0.25]])
    assert float(theory.expected_return(mdp, policy)) == 1
    assert theory.visitation(mdp, policy).tolist() == [2]
    assert theory.advantage(mdp, policy).tolist() == [[0.5, -0.5]]
    assert float(theory.local_return(mdp, policy, new)) == 1.5  # = η: one state
    assert float(theory.penalty_coefficient(mdp, policy)) == 4  # 4 · ½ · ½ / ¼
    # A = ±½: mixing with "always 0" gains α, costs 2 · ½ · ½ / ¼ α² = 2 α²: α = ¼.
    mixed, info = theory.conservative_policy_iteration(mdp, policy)
    np.testing.assert_allclose(mixed, [[0.625, 0.375]], rtol=1e-6)
    np.testing.assert_allclose(info.guaranteed_gain, 1 / 8, rtol=1e-6)


@given(
    seed=st.integers(0, 2**31 - 1),
    discount=st.floats(0, 0.99),
    share=st.floats(0, 1),
)
def test_no_lower_bound_exceeds_the_return(seed, discount, share):
    with jax.enable_x64(True):
        mdp, policy, other = draw(seed, discount=discount, policies=2)
        new = (1 - share) * policy + share * other
        achieved = theory.expected_return(mdp, new)
        slack = 1e-9 * (1 + abs(float(achieved)))
        by_kl = theory.lower_bound(mdp, policy, new)
        by_variation = theory.total_variation_bound(mdp, policy, new)
        by_mixture = theory.mixture_bound(mdp, policy, other, share)
        assert by_kl <= by_variation + slack <= achieved + 2 * slack
        assert by_mixture <= achieved + slack


@given(seed=st.integers(0, 2**31 - 1), sharpness=st.floats(0.01, 10))
def test_squared_total_variation_is_at_most_kl(seed, sharpness):
    with jax.enable_x64(True):
        p, q = jax.random.dirichlet(
            jax.random.key(seed), jnp.full(4, sharpness), (2, 50)
        )
        assert jnp.all(theory.total_variation(p, q) ** 2 <= theory.kl(p, q) + 1e-12)


def test_the_bounds_are_tight_where_the_policies_agree(x64):
    mdp, policy = draw(2)
    for bound in (
        theory.lower_bound,
        theory.total_variation_bound,
    ):
        np.testing.assert_allclose(
            bound(mdp, policy, policy),
            theory.expected_return(mdp, policy),
            rtol=1e-12,
        )


@given(seed=st.integers(0, 2**31 - 1))
def test_local_return_has_the_gradient_of_the_return(seed):
    with jax.enable_x64(True):
        mdp, policy = draw(seed)
        logits = jnp.log(policy)
        true = jax.grad(lambda x: theory.expected_return(mdp, jax.nn.softmax(x)))
        local = jax.grad(lambda x: theory.local_return(mdp, policy, jax.nn.softmax(x)))
        np.testing.assert_allclose(true(logits), local(logits), atol=1e-11)


def local_problem(mdp, policy):
    """Return ρ, A, C, and the gain and KLs of logits, by definition and in numpy."""
    policy = np.asarray(policy)
    _, value, rho = series(mdp, policy)
    q = np.asarray(mdp.reward) + mdp.discount * np.asarray(mdp.transition) @ value
    A = q - value[:, None]
    C = 4 * np.abs(A).max() * mdp.discount / (1 - mdp.discount) ** 2

    def gain(logits):
        new = scipy.special.softmax(logits.reshape(policy.shape), axis=1)
        return np.sum(rho[:, None] * new * A)

    def kl(logits):
        new = scipy.special.softmax(logits.reshape(policy.shape), axis=1)
        return np.sum(policy * np.log(policy / new), axis=1)

    return rho, C, gain, kl


@pytest.mark.parametrize("seed", range(3))
def test_algorithm_1_is_optimal(seed, x64):
    """Scipy maximises gain − C d subject to KL ≤ d in every state."""
    mdp, policy = draw(seed, states=3, discount=0.5)
    _, C, gain, kl = local_problem(mdp, policy)
    found = scipy.optimize.minimize(
        lambda x: C * x[-1] - gain(x[:-1]),
        np.append(np.log(policy).ravel(), 1e-3),
        method="SLSQP",
        constraints={"type": "ineq", "fun": lambda x: x[-1] - kl(x[:-1])},
        options={"maxiter": 500, "ftol": 1e-14},
    )
    _, info = theory.algorithm_1(mdp, policy)
    reached = gain(found.x[:-1]) - C * kl(found.x[:-1]).max()
    assert info.guaranteed_gain >= reached - 1e-10  # nothing that scipy finds is better
    np.testing.assert_allclose(info.guaranteed_gain, reached, rtol=1e-3)


@pytest.mark.parametrize("constraint", ["mean", "max"])
@pytest.mark.parametrize("seed", range(2))
def test_trust_region_is_optimal(seed, constraint, x64):
    mdp, policy = draw(seed, states=3)
    delta = 0.05

    rho, _, gain, kl = local_problem(mdp, policy)

    def room(x):
        return delta - (kl(x) if constraint == "max" else rho @ kl(x) / rho.sum())

    found = scipy.optimize.minimize(
        lambda x: -gain(x),
        np.log(policy).ravel(),
        method="SLSQP",
        constraints={"type": "ineq", "fun": room},
        options={"maxiter": 500, "ftol": 1e-14},
    )
    _, info = theory.trust_region(mdp, policy, delta, kl_constraint=constraint)
    used = info.max_kl if constraint == "max" else info.mean_kl
    np.testing.assert_allclose(used, delta, rtol=1e-9)
    assert info.local_gain >= -found.fun - 1e-8
    np.testing.assert_allclose(info.local_gain, -found.fun, rtol=1e-3)


def test_trust_region_refuses_another_constraint():
    mdp, policy = draw(0)
    with pytest.raises(ValueError, match="'mean' or 'max'; got 'reverse'"):
        theory.trust_region(mdp, policy, 0.1, kl_constraint="reverse")


@pytest.mark.parametrize(
    "step",
    [
        theory.algorithm_1,
        theory.conservative_policy_iteration,
    ],
)
def test_the_return_never_decreases(step, x64):
    """Over 400 processes × 20 iterations; the promise is kept as well."""

    def one(key, discount):
        mdp_key, policy_key = jax.random.split(key)
        mdp = theory.random_mdp(mdp_key, 6, 4, discount)
        first = jax.random.dirichlet(policy_key, jnp.ones(4), (6,))

        def iterate(policy, _):
            new, info = step(mdp, policy)
            gain = theory.expected_return(mdp, new)
            gain -= theory.expected_return(mdp, policy)
            return new, (gain, info.guaranteed_gain, jnp.sum(new, axis=1))

        return jax.lax.scan(iterate, first, length=20)[1]

    keys = jax.random.split(jax.random.key(0), 400)
    discount = jnp.repeat(jnp.array([0.0, 0.5, 0.9, 0.99]), 100)
    gain, guaranteed, mass = jax.jit(jax.vmap(one))(keys, discount)
    assert gain.min() >= -1e-10
    assert guaranteed.min() >= -1e-10
    assert jnp.all(gain >= guaranteed - 1e-10)
    assert jnp.all(gain[:, 0] > 0)
    np.testing.assert_allclose(mass, 1, rtol=1e-12)


def test_a_policy_that_nothing_improves_stays(x64):
    """All advantages are 0: Algorithm 1 has nothing to tilt towards."""
    mdp, policy = draw(3)
    flat = mdp.replace(reward=jnp.ones_like(mdp.reward))
    for step in (
        theory.algorithm_1,
        theory.conservative_policy_iteration,
        functools.partial(theory.trust_region, max_kl=0.1),
    ):
        new, info = step(flat, policy)
        assert jnp.all(jnp.isfinite(new))
        np.testing.assert_allclose(info.local_gain, 0, atol=1e-12)
        np.testing.assert_allclose(
            theory.expected_return(flat, new),
            theory.expected_return(flat, policy),
            rtol=1e-12,
        )


def test_steps_of_the_penalty_are_tiny_beside_those_of_a_trust_region(x64):
    """§4: with the C of the theory the steps would be very small."""
    mdp, policy = draw(4, discount=0.99)
    _, by_penalty = theory.algorithm_1(mdp, policy)
    _, by_region = theory.trust_region(mdp, policy, 0.01)
    assert by_penalty.max_kl < 1e-4
    assert by_region.local_gain > 10 * by_penalty.local_gain


def test_the_sampled_step_approaches_the_exact_natural_step(x64):
    """Âs of one step and an exact critic, actions and states sampled: the error of
    the step falls as the square root of the batch grows."""
    mdp, policy = draw(5, states=4, discount=0.8)
    logits, shape = jnp.log(policy), policy.shape
    delta, damping = 1e-4, 0.1
    weight = theory.visitation(mdp, policy)
    weight = weight / weight.sum()

    gradient = jax.grad(lambda x: theory.expected_return(mdp, jax.nn.softmax(x)))
    g = np.asarray(gradient(logits)).ravel() * (1 - mdp.discount)
    fisher = np.zeros((g.size, g.size))  # of a table: a block for each state
    for s in range(len(policy)):
        rows = slice(s * shape[1], (s + 1) * shape[1])
        p = np.asarray(policy[s])
        fisher[rows, rows] = weight[s] * (np.diag(p) - np.outer(p, p))
    x = np.linalg.solve(fisher + damping * np.eye(g.size), g)
    scale = np.sqrt(2 * delta / (x @ (fisher + damping * np.eye(g.size)) @ x))
    exact = scale * x.reshape(shape)

    config = Config(
        max_kl=delta, cg_damping=damping, cg_iterations=30, cg_tolerance=0.0
    )

    @jax.jit
    def step(batch):
        return improve_policy(
            jax.random.key(0), lambda x, s: Categorical(x[s]), logits, batch, config
        )

    def error(rows, seed):
        key = jax.random.fold_in(jax.random.key(rows), seed)
        state_key, action_key, next_key = jax.random.split(key, 3)
        s = jax.random.categorical(state_key, jnp.log(weight), shape=(rows,))
        a = jax.random.categorical(action_key, logits[s])
        after = jax.random.categorical(next_key, jnp.log(mdp.transition[s, a]))
        value = theory.state_value(mdp, policy)
        sampled = mdp.reward[s, a] + mdp.discount * value[after] - value[s]
        batch = Batch(s, a, sampled, sampled, jnp.ones(rows))
        new, info = step(batch)
        assert bool(info.search.accepted)
        return np.linalg.norm(new - logits - exact) / np.linalg.norm(exact)

    few, many = (
        np.mean([error(rows, seed) for seed in range(4)]) for rows in (1_000, 1_000_000)
    )
    assert few / many > 15  # √1000 = 32, were it not for what is not linear
    assert many < 0.03


def test_small_steps_are_measured_in_single_precision_too():
    """Those of Algorithm 1: the KL is far below the rounding of its terms."""
    mdp, policy = draw(4, discount=0.99)
    new, info = theory.algorithm_1(mdp, policy)
    with jax.enable_x64(True):
        double = jax.tree.map(
            lambda x: jnp.asarray(np.asarray(x), jnp.float64), (mdp, policy)
        )
        moved = jnp.asarray(np.asarray(new), jnp.float64)
        exact = float(jnp.max(theory.kl(double[1], moved)))
        gain = float(theory.local_gain(*double, moved))
    assert info.max_kl < 1e-5
    np.testing.assert_allclose(float(info.max_kl), exact, rtol=0.02)
    np.testing.assert_allclose(float(info.local_gain), gain, rtol=0.02)

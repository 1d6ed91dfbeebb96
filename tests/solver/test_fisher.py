"""The oracle is the definition, F = E_s E_a[∇log π ∇log πᵀ], as a dense matrix."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from helpers import assert_close, matrix_of
from jax.flatten_util import ravel_pytree

from trpo_jax.agent.discrete_distributions import Bernoulli
from trpo_jax.agent.distributions import Categorical, DiagonalGaussian
from trpo_jax.agent.multivariate_gaussian import MultivariateGaussian
from trpo_jax.agent.product import Product
from trpo_jax.algorithm.subsampling import subsample_rows
from trpo_jax.solver.fisher import fisher_quadratic_form, fisher_vector_product

N = 6
OBSERVATION = np.random.default_rng(0).normal(size=(N, 3))


def hidden(params, x):
    return jnp.tanh(x @ params["kernel"] + params["bias"][None])


def random_params(rng):
    def draw(*shape):
        return jnp.asarray(0.5 * rng.normal(size=shape))

    return {
        "kernel": draw(3, 4),
        "bias": draw(4),
        "head": (draw(4, 2), draw(4, 2)),
        "log_std": draw(2),
    }


def categorical(params, x):
    return Categorical(hidden(params, x) @ params["head"][0])


def gaussian(params, x):
    mean = hidden(params, x) @ params["head"][0]
    return DiagonalGaussian(mean, jnp.broadcast_to(params["log_std"], mean.shape))


def gaussian_with_dependent_std(params, x):
    h = hidden(params, x)
    return DiagonalGaussian(h @ params["head"][0], h @ params["head"][1])


def linear_softmax(matrix, x):
    return Categorical(x @ matrix)


def make(policy, seed=1):
    rng = np.random.default_rng(seed)
    params = random_params(rng)
    if policy is linear_softmax:
        params = jnp.asarray(rng.normal(size=(3, 4)))
    return lambda params: policy(params, jnp.asarray(OBSERVATION)), params


def actions_with_probabilities(distribution):
    """Everything that can be drawn: K × ([N, ...] actions, [N] probabilities)."""
    if isinstance(distribution, Categorical):
        p = scipy.special.softmax(np.asarray(distribution.logits), axis=-1)
        return [(np.full(N, a), p[:, a]) for a in range(p.shape[-1])]
    # The score is quadratic in the noise and its outer product quartic: five
    # Gauss-Hermite nodes a dimension integrate that exactly.
    nodes, mass = np.polynomial.hermite_e.hermegauss(5)
    mass = mass / mass.sum()
    mean, std = np.asarray(distribution.mean), np.exp(distribution.log_std)
    return [
        (mean + std * np.array([nodes[i], nodes[j]]), np.full(N, mass[i] * mass[j]))
        for i in range(5)
        for j in range(5)
    ]


def dense_fisher(apply, params, weight=None):
    flat, unflatten = ravel_pytree(params)
    weight = np.ones(N) if weight is None else weight
    scores = jax.jit(
        jax.jacrev(lambda flat, action: apply(unflatten(flat)).log_prob(action))
    )
    fisher = np.zeros((flat.size, flat.size))
    for action, probability in actions_with_probabilities(apply(params)):
        score = np.asarray(scores(flat, action))  # [N, P]
        share = probability * weight / weight.sum()
        fisher += np.einsum("n,np,nq->pq", share, score, score)
    return fisher


POLICIES = [categorical, gaussian, gaussian_with_dependent_std, linear_softmax]
each_policy = pytest.mark.parametrize("policy", POLICIES, ids=lambda f: f.__name__)


@each_policy
def test_products_with_basis_vectors_are_the_dense_matrix(policy, x64):
    apply, params = make(policy)
    matrix = matrix_of(fisher_vector_product(apply, params), params)
    np.testing.assert_allclose(matrix, dense_fisher(apply, params), atol=1e-10)


@each_policy
def test_is_symmetric_and_positive_semi_definite(policy, x64):
    apply, params = make(policy)
    matrix = matrix_of(fisher_vector_product(apply, params), params)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    assert np.linalg.eigvalsh(matrix).min() > -1e-12


@each_policy
def test_is_the_hessian_of_the_mean_kl(policy, x64):
    apply, params = make(policy)
    old = apply(params)
    flat, unflatten = ravel_pytree(params)
    hessian = jax.jit(
        jax.hessian(lambda flat: jnp.mean(old.kl(apply(unflatten(flat)))))
    )(flat)
    matrix = matrix_of(fisher_vector_product(apply, params), params)
    np.testing.assert_allclose(matrix, hessian, atol=1e-10)


@each_policy
def test_weights_weigh_the_rows(policy, x64):
    apply, params = make(policy)
    weight = np.array([1.0, 2.0, 0.0, 0.5, 3.0, 0.0])
    product = fisher_vector_product(apply, params, weight=jnp.asarray(weight))
    np.testing.assert_allclose(
        matrix_of(product, params), dense_fisher(apply, params, weight), atol=1e-10
    )


def test_rows_of_weight_zero_might_as_well_be_absent(x64):
    _, params = make(categorical)
    x = jnp.asarray(OBSERVATION)
    garbage = x.at[4:].set(1e6)
    weight = jnp.array([1.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    masked = fisher_vector_product(
        lambda p: categorical(p, garbage), params, weight=weight
    )
    absent = fisher_vector_product(lambda p: categorical(p, x[:4]), params)
    np.testing.assert_allclose(
        matrix_of(masked, params), matrix_of(absent, params), atol=1e-12
    )


def product_of_parts(params, x):
    parts = {"arm": gaussian(params, x), "leg": categorical(params, x)}
    return Product({**parts, "lamps": Bernoulli(hidden(params, x))})


def multivariate_gaussian(params, x):
    h = hidden(params, x)
    factor = jnp.stack([h @ params["head"][1], h[:, :2]], axis=-2)
    return MultivariateGaussian(h @ params["head"][0], factor)


@pytest.mark.parametrize("policy", [product_of_parts, multivariate_gaussian])
def test_several_and_correlated_actions_give_the_dense_jacobians_and_metric(
    policy, x64
):
    """F = Σᵢ wᵢ Jᵢᵀ Mᵢ Jᵢ with Mᵢ the Hessian of KL(pᵢ ‖ ·) at pᵢ."""
    apply, params = make(policy)
    flat, unflatten = ravel_pytree(params)
    weight = np.array([1.0, 2.0, 0.0, 0.5, 3.0, 1.0])

    @jax.jit
    @jax.vmap
    def row(i):
        def numbers(flat):
            return ravel_pytree(jax.tree.map(lambda x: x[i], apply(unflatten(flat))))

        of_row, distribution = numbers(flat)
        metric = jax.hessian(lambda x: distribution(of_row).kl(distribution(x)))
        return jax.jacrev(lambda flat: numbers(flat)[0])(flat), metric(of_row)

    jacobian, metric = (np.asarray(x) for x in row(jnp.arange(N)))
    share = weight / weight.sum()
    expected = np.einsum("n,nap,nab,nbq->pq", share, jacobian, metric, jacobian)
    product = fisher_vector_product(apply, params, weight=jnp.asarray(weight))
    np.testing.assert_allclose(matrix_of(product, params), expected, atol=1e-10)


def test_damping_adds_to_the_diagonal(x64):
    apply, params = make(gaussian)
    plain = matrix_of(fisher_vector_product(apply, params), params)
    damped = matrix_of(fisher_vector_product(apply, params, damping=0.3), params)
    np.testing.assert_allclose(damped - plain, 0.3 * np.eye(len(plain)), atol=1e-12)


def test_bernoulli_by_hand():
    # One row, logits (θ, 0), θ = 0: p = ½ and F = p (1 − p) = ¼.
    product = fisher_vector_product(
        lambda theta: Categorical(jnp.stack([theta, jnp.zeros(())])[None]),
        jnp.float32(0),
    )
    assert float(product(jnp.float32(1))) == 0.25


def test_result_is_like_the_parameters():
    apply, params = make(gaussian)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    product = fisher_vector_product(apply, params, damping=0.1)
    assert jax.eval_shape(product, params) == jax.eval_shape(lambda p: p, params)


def test_works_under_vmap_over_parameters_and_damping(x64):
    apply, one = make(categorical, seed=1)
    _, two = make(categorical, seed=2)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), one, two)
    damping = jnp.array([0.0, 0.5])

    def diagonal_sum(params, damping):
        product = fisher_vector_product(apply, params, damping=damping)
        return product(jax.tree.map(jnp.ones_like, params))

    batched = jax.jit(jax.vmap(diagonal_sum))(stacked, damping)
    for i, params in enumerate((one, two)):
        assert_close(
            jax.tree.map(lambda leaf, i=i: leaf[i], batched),
            diagonal_sum(params, damping[i]),
            atol=1e-12,
        )


@jax.jit
def curvature_along(params, vector, scale):
    product = fisher_vector_product(
        lambda p: Categorical(scale * categorical(p, OBSERVATION_32).logits), params
    )
    return sum(
        jnp.vdot(v, f)
        for v, f in zip(jax.tree.leaves(vector), jax.tree.leaves(product(vector)))
    )


OBSERVATION_32 = jnp.asarray(OBSERVATION, jnp.float32)


@hypothesis.given(
    seed=st.integers(0, 2**16), scale=st.sampled_from([0.0, 1e-3, 1.0, 1e3, 1e6])
)
def test_curvature_is_never_negative_in_float32(seed, scale):
    _, params = make(categorical, seed)
    _, vector = make(categorical, seed + 1)
    params, vector = jax.tree.map(lambda x: x.astype(jnp.float32), (params, vector))
    curvature = float(curvature_along(params, vector, jnp.float32(scale)))
    assert curvature >= 0 or abs(curvature) < 1e-6 * max(scale, 1) ** 2


def test_subsampled_product_is_right_on_average(x64):
    apply, params = make(linear_softmax)
    x = jnp.asarray(OBSERVATION)
    v = jnp.ones_like(params)

    def sampled(key):
        rows = subsample_rows(key, x, 0.5)
        return fisher_vector_product(lambda p: linear_softmax(p, rows), params)(v)

    keys = jax.random.split(jax.random.key(0), 4000)
    mean = jnp.mean(jax.jit(jax.vmap(sampled))(keys), axis=0)
    assert_close(mean, fisher_vector_product(apply, params)(v), rtol=0.1, atol=5e-3)


def test_what_does_not_fit_is_refused():
    def apply(x):
        return DiagonalGaussian(x * jnp.ones((4, 2)), jnp.zeros((4, 2)))

    theta = jnp.float32(1.0)
    with pytest.raises(ValueError, match=r"weight must have shape \(4,\); got \(1,\)"):
        fisher_vector_product(apply, theta, weight=jnp.ones(1))
    with pytest.raises(ValueError, match="damping must be a finite number >= 0"):
        fisher_vector_product(apply, theta, damping=-1.0)

    def narrow(x):  # log_std has no rows
        return DiagonalGaussian(x * jnp.ones((2, 2)), jnp.zeros(()))

    with pytest.raises(ValueError, match="broadcast the smaller ones"):
        fisher_quadratic_form(narrow, theta, theta)


def test_without_any_weight_only_the_damping_is_left():
    product = fisher_vector_product(
        lambda x: DiagonalGaussian(x * jnp.ones((4, 1)), jnp.zeros((4, 1))),
        jnp.float32(1.0),
        damping=0.5,
        weight=jnp.zeros(4),
    )
    assert float(product(jnp.float32(2.0))) == 1.0

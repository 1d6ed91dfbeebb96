"""What a joint step of policy and value needs beyond the step of the policy."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from trpo_jax.agent.acting import heads_of_rows
from trpo_jax.agent.networks import Agent
from trpo_jax.algorithm.batch import Batch
from trpo_jax.algorithm.bounded_turn import bounded_turn
from trpo_jax.algorithm.critic import CriticInfo, minibatches
from trpo_jax.algorithm.joint_batch import VALUE, JointBatch
from trpo_jax.algorithm.masking import RowStatistics, explained_variance
from trpo_jax.algorithm.sequences import take_rows, whole_rows
from trpo_jax.config import Config
from trpo_jax.solver.conjugate_gradient import cg_solve
from trpo_jax.solver.flat import all_finite
from trpo_jax.solver.precision import as_floats

PyTree = Any

_PREVIEW = 4  # conjugate gradient iterations that tell how long a step would be


def limit_critic_share(
    belief: Callable[[PyTree], Any],
    params: PyTree,
    batch: JointBatch,
    product: Callable[[PyTree], PyTree],
    config: Config,
) -> JointBatch:
    """Return the batch with the share by which the gain of the other parts counts.

    The direction of a joint step is x = x_π + c x_V, the natural gradients of the
    policy's surrogate and of everything else. With c = 1 the value takes all of δ when
    the policy has little to gain. Here c is such that, in the quadratic model and as
    far as x_π and x_V are orthogonal in F, a step of length √(2δ) moves the value by
    b x_V, b = min(1, √(2κδ / x_VᵀF x_V)), κ `critic_share`: not beyond the optimum of
    its own quadratic model, and not beyond κ of the ball. It is never above 1. A few
    iterations of conjugate gradients suffice to tell the lengths of x_π and x_V.
    """
    if config.critic_share == 1:
        return batch
    old = belief(params)
    surrogate = batch.policy_batch.surrogate(
        old.policy, standardize=config.standardize_advantage
    )
    gradients = (
        jax.grad(lambda params: surrogate(belief(params).policy))(params),
        jax.grad(lambda params: batch.fit(old, belief(params)))(params),
    )

    def length(gradient: PyTree) -> jax.Array:  # xᵀF x
        iterations = min(_PREVIEW, config.cg_iterations)
        _, info = cg_solve(
            product, gradient, iterations=iterations, tolerance=config.cg_tolerance
        )
        return info.curvature

    both = jax.tree.map(lambda *x: jnp.stack(x), *gradients)
    of_policy, of_others = jax.vmap(length)(both)
    ball = 2 * jnp.asarray(config.max_kl, of_policy.dtype)
    kept = config.critic_share * ball
    taken = jnp.minimum(of_others, kept)  # b² x_VᵀF x_V
    b = jnp.sqrt(jnp.where(of_others > kept, kept / of_others, 1))
    share = jnp.minimum(1, b * jnp.sqrt(of_policy / (ball - taken)))
    return batch.replace(share=jnp.where(of_policy > 0, share, 1))


def take_extra_epochs(
    key: jax.Array,
    params: PyTree,
    acting_params: PyTree,
    joint: JointBatch,
    belief: Callable[[PyTree, PyTree], Any],
    agent: Agent,
    config: Config,
) -> PyTree:
    """Fit the value for `critic_extra_epochs` more, as a `bounded_turn`.

    The loss of a minibatch is −log-likelihood of the parts other than the policy, each
    divided by that of the value, + KL(π_θ ‖ π) / w, where θ are the parameters before
    the turn. The optimiser is the agent's critic optimiser, whose state starts anew.
    Batch and belief are those of `join` at the parameters that acted.
    """
    if not config.critic_extra_epochs:
        return params
    batch, joint = joint.policy_batch, joint.replace(share=None)
    old = belief(params, joint.observation)
    size = config.minibatch_of(batch.weight.size)
    *_, weight, size = whole_rows(batch, size)
    number = len(weight)
    starts, path = minibatches(
        jax.random.fold_in(key, 1), number, size, config.critic_extra_epochs
    )

    def loss(params: PyTree, step: jax.Array) -> jax.Array:
        index = (starts[step] + path) % number
        part, before = take_rows(index, (joint, old))
        now = belief(params, part.observation)
        kl = RowStatistics(part.weight).mean(before.policy.kl(now.policy))
        return (kl - part.fit(before, now)) / now.weight[VALUE][0]

    return bounded_turn(
        loss,
        params,
        acting_params,
        batch,
        agent,
        config,
        optimizer=optax.chain(
            agent.critic_optimizer, optax.scale(-config.critic_learning_rate)
        ),
        steps=len(starts),
    )[0]


def describe_fit(state: Any, batch: Batch, agent: Agent) -> CriticInfo:
    """Return what the joint step did to the value, after it was taken.

    The loss is the mean squared error of the state's parameters over the batch.
    """
    value = heads_of_rows(agent, state.policy_params, batch.observation).value
    after, target, weight = as_floats(value, batch.value_target, batch.weight)
    loss = RowStatistics(weight).mean((after - target) ** 2)
    before = after if batch.value is None else batch.value
    return CriticInfo(
        loss=loss,
        explained_variance=explained_variance(before, target, weight),
        accepted=all_finite(loss),
    )

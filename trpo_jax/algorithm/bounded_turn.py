"""Learning anything else with the policy's parameters, and keeping its trust region."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from trpo_jax.agent.acting import policy_of_rows
from trpo_jax.agent.networks import Agent
from trpo_jax.algorithm.batch import Batch
from trpo_jax.algorithm.masking import RowStatistics
from trpo_jax.algorithm.vine_batch import VineBatch
from trpo_jax.config import Config
from trpo_jax.config.algorithm import KL_CONSTRAINTS
from trpo_jax.solver.flat import ravel_if_small
from trpo_jax.solver.line_search import LineSearchInfo, line_search
from trpo_jax.validation import COUNT_OR_ZERO, NON_NEGATIVE, check

PyTree = Any


def bounded_turn(
    loss: Callable[[PyTree, jax.Array], jax.Array],
    params: PyTree,
    acting_params: PyTree,
    batch: Batch | VineBatch,
    agent: Agent,
    config: Config,
    *,
    optimizer: optax.GradientTransformation,
    steps: int = 1,
    kl_weight: float | jax.Array = 0.0,
) -> tuple[PyTree, LineSearchInfo]:
    """Descend any loss of the policy's parameters, then go back into the trust region.

    The optimiser takes its steps on loss + β KL(π_θ ‖ π) from θ to θ'. The KL from θ,
    unlike one from π_acting, does not undo the step of the policy. Of the points
    θ + αʲ (θ' − θ), the first is taken that is finite and where

    KL(π_acting ‖ π) ≤ δ  and  L(π) ≥ L(π_acting) + ½ max(0, L(π_θ) − L(π_acting)),

    both over the batch: δ is `max_kl`, L the batch's surrogate, and π_acting the policy
    that collected it. `update_policy` and any number of turns together stay within δ,
    and a turn gives up half of what was gained at most. If no point qualifies, the
    parameters come back bit for bit. So no loss, whatever it is, can destroy the
    policy; nothing protects a value that has the same parameters, and whether the loss
    fell is not asked.

    Args:
        loss: parameters and the number of the step (int32 scalar, from which a
            minibatch may follow) → scalar.
        params: θ, such as after `update_policy`.
        acting_params: those of the policy that acted, which the batch is of.
        batch: flattened, `[N, ...]`, with normalised observations.
        agent: its policy is held within the trust region.
        config: hyper-parameters of this iteration.
        optimizer: any optax optimiser; its state starts anew in each turn.
        steps: static, ≥ 0, the number of steps.
        kl_weight: β ≥ 0 per nat, keeps the way back short; 0 leaves this KL out.

    Returns:
        The new parameters, and the `LineSearchInfo` of the way back, whose improvement
        is that of the surrogate, and whose divergence is the KL in nats.

    Raises:
        ValueError: when a number is out of its range.

    Example:
        Teach the network whatever `my_loss` is, after the step of the policy::

            new, info = update_from_batch(state, batch, agent, config)
            rows = batch.flatten().normalize(state.normalizer)
            params, turn = bounded_turn(
                lambda params, step: my_loss(params, rows.observation),
                new.policy_params, state.policy_params, rows, agent, config,
                optimizer=optax.adam(1e-3), steps=10)
            new = new.replace(policy_params=params)
    """
    check("steps", steps, COUNT_OR_ZERO)
    check("kl_weight", kl_weight, NON_NEGATIVE)
    flat, unflatten = ravel_if_small(params)

    def policy(params: PyTree) -> Any:
        return policy_of_rows(agent, params, batch.observation)

    old, start = policy(acting_params), policy(params)
    states = RowStatistics(batch.weight)
    objective = batch.surrogate(old, standardize=config.standardize_advantage)
    least = jnp.maximum(objective(old), (objective(old) + objective(start)) / 2)

    def surrogate(flat: PyTree) -> jax.Array:
        return objective(policy(unflatten(flat)))

    def distance(flat: PyTree) -> jax.Array:  # beyond any δ where L is too small
        rows = old.kl(policy(unflatten(flat)))
        kl = KL_CONSTRAINTS[config.kl_constraint](rows, states)
        return jnp.where(surrogate(flat) >= least, kl, jnp.finfo(kl.dtype).max)

    def penalized(flat: PyTree, step: jax.Array) -> jax.Array:
        value = loss(unflatten(flat), step)
        if isinstance(kl_weight, int | float) and kl_weight == 0:
            return value
        kl = states.mean(start.kl(policy(unflatten(flat))))
        return value + jnp.asarray(kl_weight, value.dtype) * kl.astype(value.dtype)

    def descend(carry: Any, step: jax.Array) -> tuple[Any, None]:
        flat, state = carry
        updates, state = optimizer.update(jax.grad(penalized)(flat, step), state, flat)
        return (optax.apply_updates(flat, updates), state), None

    carry = flat, optimizer.init(flat)
    (end, _), _ = jax.lax.scan(descend, carry, jnp.arange(steps))
    flat, info = line_search(
        surrogate,
        distance,
        flat,
        jax.tree.map(lambda new, old: new - old, end, flat),
        max_divergence=config.max_kl,
        backtrack_coefficient=config.backtrack_coefficient,
        max_backtracks=config.max_backtracks,
        require_improvement=False,
    )
    return unflatten(flat), info

"""Backtracking along a step until the objective rises within a divergence bound."""

import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trpo_jax.solver.flat import all_finite
from trpo_jax.validation import COUNT_OR_ZERO, OPEN_UNIT, check

PyTree = Any


class LineSearchOutcome(enum.IntEnum):
    """Why a candidate of the line search was accepted or rejected."""

    NOT_TRIED = 0
    ACCEPTED = 1
    NO_IMPROVEMENT = 2
    CONSTRAINT_VIOLATED = 3
    NON_FINITE = 4


class LineSearchInfo(NamedTuple):
    """What happened in a line search.

    Attributes:
        accepted: bool scalar, whether a step was taken.
        backtracks: int32 scalar, the number of candidates rejected before the last one.
        step_fraction: scalar, the fraction αʲ of the full step taken; 0 when none was.
        improvement: scalar, the objective gained by the step taken; 0 when none was.
        divergence: scalar, the divergence of the step taken; 0 when none was.
        outcome: `[max_backtracks + 1]` int32, a `LineSearchOutcome` for each candidate.
    """

    accepted: jax.Array
    backtracks: jax.Array
    step_fraction: jax.Array
    improvement: jax.Array
    divergence: jax.Array
    outcome: jax.Array


def line_search(
    objective: Callable[[PyTree], jax.Array],
    divergence: Callable[[PyTree], jax.Array],
    params: PyTree,
    step: PyTree,
    *,
    max_divergence: float | jax.Array,
    backtrack_coefficient: float | jax.Array = 0.8,
    max_backtracks: int = 10,
    require_improvement: bool = True,
) -> tuple[PyTree, LineSearchInfo]:
    """Take the first of θ + αʲ s, j = 0, 1, …, that improves and stays close.

    A candidate is accepted when objective(θ + αʲ s) > objective(θ), strictly, and
    divergence(θ + αʲ s) ≤ max_divergence, both finite (Schulman et al. 2015, app. C).
    Unlike most public implementations it tests both conditions on every candidate, and
    when none passes, the parameters come back bit for bit.

    With `max_divergence=jnp.inf`, `max_backtracks=0` and `require_improvement=False` it
    takes the full step if it is finite and changes the parameters. It cannot be
    differentiated in reverse.

    Args:
        objective: the function to maximise, parameters → scalar.
        divergence: the distance from `params`, parameters → scalar ≥ 0.
        params: θ, any pytree of floating-point arrays.
        step: s, the full step, like `params`.
        max_divergence: the radius of the trust region, in units of `divergence`.
        backtrack_coefficient: α in (0, 1).
        max_backtracks: static, the number of shorter steps tried after the full one.
        require_improvement: static; when False, the objective need not rise.

    Returns:
        The new parameters, and a `LineSearchInfo`.

    Raises:
        ValueError: when α or the number of backtracks is out of range.

    Example:
        >>> theta, info = line_search(
        ...     lambda x: -((x - 1.0) ** 2), jnp.abs,
        ...     jnp.float32(0.0), jnp.float32(4.0),
        ...     max_divergence=1.5, backtrack_coefficient=0.5)
        >>> float(theta), int(info.backtracks)
        (1.0, 2)
    """
    check("max_backtracks", max_backtracks, COUNT_OR_ZERO)
    check("backtrack_coefficient", backtrack_coefficient, OPEN_UNIT)
    params, step = jax.tree.map(jnp.asarray, (params, step))
    before = objective(params)

    def unfinished(carry: Any) -> jax.Array:
        j, _, _, info = carry
        return (j <= max_backtracks) & ~info.accepted

    def attempt(carry: Any) -> Any:
        j, scale, _, info = carry
        candidate = jax.tree.map(
            lambda p, s: p + scale.astype(p.dtype) * s, params, step
        )
        # If rounding leaves θ unchanged, the improvement is zero.
        moved = _differs(candidate, params)
        improvement = jnp.where(moved, objective(candidate) - before, 0)
        distance = divergence(candidate)
        outcome = _outcome(
            all_finite((improvement, distance, candidate)),
            distance <= jnp.asarray(max_divergence, distance.dtype),
            improvement > 0 if require_improvement else moved,
        )
        info = LineSearchInfo(
            accepted=outcome == LineSearchOutcome.ACCEPTED,
            backtracks=j,
            step_fraction=scale,
            improvement=improvement,
            divergence=distance,
            outcome=info.outcome.at[j].set(outcome),
        )
        shorter = scale * jnp.asarray(backtrack_coefficient, scale.dtype)
        return j + 1, shorter, candidate, info

    zero = jnp.zeros_like(before)
    nowhere = jnp.zeros((), jax.eval_shape(divergence, params).dtype)
    untried = jnp.full(max_backtracks + 1, LineSearchOutcome.NOT_TRIED, jnp.int32)
    start = LineSearchInfo(jnp.bool_(False), jnp.int32(0), zero, zero, nowhere, untried)
    *_, candidate, info = jax.lax.while_loop(
        unfinished, attempt, (jnp.int32(0), jnp.ones_like(before), params, start)
    )

    def if_accepted(new: PyTree, old: PyTree) -> PyTree:
        return jax.tree.map(lambda n, o: jnp.where(info.accepted, n, o), new, old)

    return if_accepted(candidate, params), info._replace(
        step_fraction=if_accepted(info.step_fraction, zero),
        improvement=if_accepted(info.improvement, zero),
        divergence=if_accepted(info.divergence, nowhere),
    )


def _differs(left: PyTree, right: PyTree) -> jax.Array:
    """Return whether any number differs between two pytrees, as a bool scalar."""
    different = jax.tree.map(lambda a, b: jnp.any(a != b), left, right)
    return jnp.any(jnp.stack(jax.tree.leaves(different)))


def _outcome(finite: jax.Array, close: jax.Array, improved: jax.Array) -> jax.Array:
    failures = {
        LineSearchOutcome.NON_FINITE: ~finite,
        LineSearchOutcome.CONSTRAINT_VIOLATED: ~close,
        LineSearchOutcome.NO_IMPROVEMENT: ~improved,
    }
    outcome = jnp.select([*failures.values()], [*failures], LineSearchOutcome.ACCEPTED)
    return outcome.astype(jnp.int32)

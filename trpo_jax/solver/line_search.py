"""Backtracking along a step until the objective rises within a divergence bound."""

import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trpo_jax.solver.flat import all_finite
from trpo_jax.validation import COUNT_OR_ZERO, OPEN_UNIT, check

PyTree = Any


class Verdict(enum.IntEnum):
    """Why a try of the line search ended as it did."""

    UNTRIED = 0
    ACCEPTED = 1
    NO_IMPROVEMENT = 2
    TOO_FAR = 3
    NON_FINITE = 4


class LineSearchInfo(NamedTuple):
    """What happened in a search.

    Attributes:
        accepted: bool scalar.
        backtracks: int32 scalar, tries rejected before the one accepted.
        step_size: scalar, the factor αʲ of the step taken; 0 when none was.
        improvement: scalar, objective gained by the step taken; 0 when none was.
        divergence: scalar, divergence of the step taken; 0 when none was.
        verdict: `[max_steps + 1]` int32, a `Verdict` a try.
    """

    accepted: jax.Array
    backtracks: jax.Array
    step_size: jax.Array
    improvement: jax.Array
    divergence: jax.Array
    verdict: jax.Array


def line_search(
    objective: Callable[[PyTree], jax.Array],
    divergence: Callable[[PyTree], jax.Array],
    params: PyTree,
    step: PyTree,
    *,
    max_divergence: float | jax.Array,
    shrink: float | jax.Array = 0.8,
    max_steps: int = 10,
) -> tuple[PyTree, LineSearchInfo]:
    """Take the first of θ + αʲ s, j = 0 … max_steps, that improves and stays close.

    A try is accepted when objective(θ + αʲ s) > objective(θ), strictly, and
    divergence(θ + αʲ s) ≤ max_divergence, both finite (Schulman et al. 2015, app. C).
    Unlike most public implementations both conditions are tested at every try, and when
    none passes the parameters come back bit for bit.

    Args:
        objective: to be maximised, parameters → scalar.
        divergence: distance from `params`, parameters → scalar.
        params: θ, any pytree.
        step: s, the full step, like `params`.
        max_divergence: the radius of the trust region.
        shrink: α in (0, 1).
        max_steps: static, the number of backtracks allowed after the full step.

    Returns:
        The parameters taken, and a `LineSearchInfo`.

    Example:
        >>> theta, info = line_search(
        ...     lambda x: -((x - 1.0) ** 2), jnp.abs,
        ...     jnp.float32(0.0), jnp.float32(4.0),
        ...     max_divergence=1.5, shrink=0.5)
        >>> float(theta), int(info.backtracks)
        (1.0, 2)
    """
    check("max_steps", max_steps, COUNT_OR_ZERO)
    check("shrink", shrink, OPEN_UNIT)
    before = objective(params)

    def unfinished(carry: tuple) -> jax.Array:
        j, _, _, info = carry
        return (j <= max_steps) & ~info.accepted

    def attempt(carry: tuple) -> tuple:
        j, scale, _, info = carry
        candidate = jax.tree.map(
            lambda p, s: p + scale.astype(p.dtype) * s, params, step
        )
        # Rounding must not pass for a gain: a step of nothing improves nothing.
        moved = jnp.any(
            jnp.stack(
                [
                    jnp.any(new != old)
                    for new, old in zip(
                        jax.tree.leaves(candidate), jax.tree.leaves(params)
                    )
                ]
            )
        )
        improvement = jnp.where(moved, objective(candidate) - before, 0)
        distance = divergence(candidate)
        verdict = jnp.select(
            [
                ~(jnp.isfinite(improvement) & jnp.isfinite(distance)),
                distance > jnp.asarray(max_divergence, distance.dtype),
                improvement <= 0,
            ],
            [Verdict.NON_FINITE, Verdict.TOO_FAR, Verdict.NO_IMPROVEMENT],
            Verdict.ACCEPTED,
        ).astype(jnp.int32)
        info = LineSearchInfo(
            accepted=verdict == Verdict.ACCEPTED,
            backtracks=j,
            step_size=scale,
            improvement=improvement,
            divergence=distance,
            verdict=info.verdict.at[j].set(verdict),
        )
        return j + 1, scale * jnp.asarray(shrink, scale.dtype), candidate, info

    nothing = jnp.zeros_like(before)
    start = LineSearchInfo(
        accepted=jnp.bool_(False),
        backtracks=jnp.int32(0),
        step_size=nothing,
        improvement=nothing,
        divergence=jax.eval_shape(divergence, params),
        verdict=jnp.full(max_steps + 1, Verdict.UNTRIED, jnp.int32),
    )
    start = start._replace(divergence=jnp.zeros((), start.divergence.dtype))
    _, _, candidate, info = jax.lax.while_loop(
        unfinished, attempt, (jnp.int32(0), jnp.ones_like(before), params, start)
    )
    taken = info.accepted
    return (
        jax.tree.map(lambda new, old: jnp.where(taken, new, old), candidate, params),
        info._replace(
            step_size=jnp.where(taken, info.step_size, 0),
            improvement=jnp.where(taken, info.improvement, 0),
            divergence=jnp.where(taken, info.divergence, 0),
        ),
    )


def full_step(
    objective: Callable[[PyTree], jax.Array],
    divergence: Callable[[PyTree], jax.Array],
    params: PyTree,
    step: PyTree,
) -> tuple[PyTree, LineSearchInfo]:
    """Take θ + s without a search, unless it is not finite or does not move.

    Args: as of `line_search`.

    Returns:
        As of `line_search`, for one try.
    """
    candidate = jax.tree.map(jnp.add, params, step)
    pairs = zip(jax.tree.leaves(candidate), jax.tree.leaves(params))
    moved = jnp.any(jnp.stack([jnp.any(new != old) for new, old in pairs]))
    improvement = objective(candidate) - objective(params)
    distance = divergence(candidate)
    finite = jnp.isfinite(improvement) & jnp.isfinite(distance)
    finite = finite & all_finite(candidate)
    taken = finite & moved
    verdict = jnp.select(
        [taken, ~finite], [Verdict.ACCEPTED, Verdict.NON_FINITE], Verdict.NO_IMPROVEMENT
    )
    return (
        jax.tree.map(lambda new, old: jnp.where(taken, new, old), candidate, params),
        LineSearchInfo(
            accepted=taken,
            backtracks=jnp.int32(0),
            step_size=taken.astype(improvement.dtype),
            improvement=jnp.where(taken, improvement, 0),
            divergence=jnp.where(taken, distance, 0),
            verdict=verdict.astype(jnp.int32)[None],
        ),
    )

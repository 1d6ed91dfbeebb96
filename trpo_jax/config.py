"""Hyper-parameters: numbers that may be swept by `vmap`, and structure that may not.

Nothing here imports JAX, so that help is printed and bad input refused at once.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal

from trpo_jax.validation import (
    COUNT,
    COUNT_OR_ZERO,
    FLAG,
    FRACTION,
    LOG_STD,
    NON_NEGATIVE,
    OPEN_UNIT,
    POSITIVE,
    SIZES,
    UNIT,
    Rule,
    check,
    one_of,
    optional,
)

Activation = Literal["tanh", "relu", "elu", "silu", "gelu"]
ACTIVATION = one_of(Activation)
Sampling = Literal["single_path", "vine"]
Method = Literal["trpo", "natural_gradient", "policy_gradient"]
Divergence = Literal["mean_kl", "max_kl"]
Fisher = Literal["analytic", "empirical"]
Proposal = Literal["policy", "uniform"]
CriticMethod = Literal["adam", "trust_region"]


def _number(default: float, rule: Rule) -> Any:
    return dataclasses.field(default=default, metadata={"rule": rule, "leaf": True})


def _structure(default: Any, rule: Rule | None = None) -> Any:
    return dataclasses.field(default=default, metadata={"rule": rule, "leaf": False})


class _Checked:
    """Checks every field against its rule when an instance is made."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.metadata["rule"] is not None:
                check(field.name, getattr(self, field.name), field.metadata["rule"])


@dataclasses.dataclass(frozen=True)
class Config(_Checked):
    """Hyper-parameters of the algorithm.

    Numbers are pytree leaves: `jax.vmap` over them is a sweep. Structure is static:
    another value is another program.
    """

    num_envs: int = _structure(16, COUNT)
    """B, environments stepped in parallel."""
    num_steps: int = _structure(128, COUNT)
    """T, steps of each environment in an iteration; a batch is B x T transitions."""
    sampling: Sampling = _structure("single_path", one_of(Sampling))
    """Follow trajectories (§5.1), or branch from states along them (§5.2)."""
    vine_states: int = _structure(8, COUNT)
    """M, states that are picked from the trajectory of each environment, an iteration;
    the rollout set has M x B."""
    vine_actions: int = _structure(4, COUNT)
    """K, actions tried in each of them; where there are no more than that, each action
    once."""
    vine_steps: int = _structure(16, COUNT)
    """Steps of each branch, the first with the action tried, the others by the
    policy."""
    vine_bootstrap: bool = _structure(True, FLAG)
    """Value the state a branch was left in by the critic; otherwise as nothing, as in
    the paper."""
    vine_proposal: Proposal = _structure("policy", one_of(Proposal))
    """Where the actions tried come from: the policy, or all alike (discrete only)."""
    common_random_numbers: bool = _structure(True, FLAG)
    """Let the branches of one state share their random numbers (§5.2). Simulators on
    the host return with theirs, so there False is for the policy's alone."""
    action_repeat: int = _structure(1, COUNT)
    """Simulator steps each action is held; all of them count as environment steps.
    `train` sees to it; with the functions, give them an environment that does."""
    stagger_starts: bool = _structure(False, FLAG)
    """Cut off what environment i plays at (i + 1) / B of the time limit, once, so that
    long episodes do not run in step and batches hold all parts of them."""
    training_time_limit: int = _structure(0, COUNT_OR_ZERO)
    """Steps after which an episode is cut off while training, so that more of a batch
    are the starts of episodes; a time limit like any other (Pardo et al. 2018). 0
    leaves the environment's own, and evaluation plays whole episodes anyway."""
    discount: float = _number(0.99, UNIT)
    """γ in [0, 1]."""
    gae_lambda: float = _number(0.95, UNIT)
    """λ in [0, 1] of generalised advantage estimation."""
    method: Method = _structure("trpo", one_of(Method))
    """Natural-gradient step with a line search (trpo), without one (natural_gradient),
    or a step along the plain gradient, without one (policy_gradient)."""
    step_size: float = _number(0.0, NON_NEGATIVE)
    """Of the two methods without a line search, as a multiple of F⁻¹g or of g; 0 means
    as far as δ reaches in the quadratic model of the KL, damping included."""
    divergence: Divergence = _structure("mean_kl", one_of(Divergence))
    """What δ bounds: KL(π_old ‖ π) averaged over the states of the batch (§4, eq. 12)
    or its maximum over them (eq. 11)."""
    max_kl: float = _number(0.01, POSITIVE)
    """δ > 0, radius of the trust region in nats."""
    max_kl_final: float = _number(1.0, POSITIVE)
    """δ at the end, as a multiple of `max_kl`, reached in a straight line, as the step
    size is in PPO (Engstrom et al. 2020, §3, item 4)."""
    cg_iterations: int = _structure(10, COUNT)
    """Largest number of conjugate gradient iterations."""
    cg_damping: float = _number(0.1, NON_NEGATIVE)
    """Added to the diagonal of the Fisher matrix."""
    cg_tolerance: float = _number(1e-5, NON_NEGATIVE)
    """Conjugate gradient stops at this residual, relative to the gradient."""
    fisher: Fisher = _structure("analytic", one_of(Fisher))
    """Fisher matrix from the distributions themselves, or from the scores of the
    actions that were tried (empirical; appendix C compares them)."""
    fisher_fraction: float | None = _structure(None, optional(FRACTION))
    """Fraction of the rows in the Fisher products, in (0, 1]; the paper uses 0.1. None
    takes 8192 rows, or a tenth where that is more, or all where there are fewer."""
    backtrack_coefficient: float = _number(0.8, OPEN_UNIT)
    """α in (0, 1), by which the line search shrinks a step that was refused."""
    max_backtracks: int = _structure(10, COUNT_OR_ZERO)
    """Shrunk steps tried after the full one."""
    standardize_advantage: bool = _structure(True, FLAG)
    """Give the advantages of a batch mean 0 and standard deviation 1."""
    critic_method: CriticMethod = _structure("adam", one_of(CriticMethod))
    """Fit the critic in minibatches (adam), or by a few Gauss-Newton steps on all rows,
    each in a trust region of its own (Schulman et al. 2016, §5), with the policy's
    values for solver, rows in the products and line search."""
    critic_max_kl: float = _number(0.1, POSITIVE)
    """ε > 0, radius of the critic's trust region in nats; without one of no effect."""
    critic_steps: int = _structure(4, COUNT)
    """Steps of the critic in trust regions; without those of no effect."""
    critic_learning_rate: float = _number(1e-3, POSITIVE)
    """Adam step size of the critic."""
    critic_learning_rate_final: float = _number(1.0, POSITIVE)
    """The critic's step size at the end, as a multiple of the first; in a straight line
    (Engstrom et al. 2020, §3, item 4)."""
    critic_epochs: int = _structure(10, COUNT_OR_ZERO)
    """Passes of Adam over the batch when the critic is fitted."""
    critic_minibatch_size: int | None = _structure(None, optional(COUNT))
    """Transitions in a minibatch of Adam. None takes 256, or a 64th of all where that
    is more: small steps one after the other are what an accelerator waits for."""
    schedule_iterations: int = _structure(0, COUNT_OR_ZERO)
    """Iterations after which the two `_final` values are reached; 0 leaves everything
    constant. `train` fills in the length of the run when one of them is not 1."""
    bootstrap_truncated: bool = _structure(True, FLAG)
    """Value the state at which a time limit cut an episode off (Pardo et al. 2018);
    without it a time limit counts as an end."""
    normalize_observation: bool = _structure(True, FLAG)
    """Normalise observations by their running mean and standard deviation, within 10
    (Engstrom et al. 2020, §3, items 5 and 6)."""
    scale_reward: bool = _structure(True, FLAG)
    """Divide rewards by the running standard deviation of the discounted return
    (Engstrom et al. 2020, §3, item 2)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size >= 2**31:
            raise ValueError(
                "num_envs x num_steps must be < 2**31; got "
                f"{self.num_envs} x {self.num_steps}"
            )
        if (self.fisher_fraction or 1) * self.batch_size < 0.5:
            raise ValueError(
                "fisher_fraction must leave one of num_envs x num_steps = "
                f"{self.batch_size} rows; got {self.fisher_fraction}"
            )
        if self.sampling == "vine" and self.vine_states > self.num_steps:
            raise ValueError(
                "vine_states must be <= num_steps; got "
                f"{self.vine_states} with num_steps {self.num_steps}"
            )
        if self.sampling == "vine" and self.training_time_limit:
            raise ValueError(
                "training_time_limit must be 0 where a vine branches; got "
                f"{self.training_time_limit}"
            )
        if self.sampling == "vine" and self.vine_actions < 2:
            raise ValueError(
                "vine_actions must be >= 2, to have something to compare; got "
                f"{self.vine_actions}"
            )
        if self.branch_steps >= 2**31:
            raise ValueError(
                "num_envs x vine_states x vine_actions x vine_steps must be < 2**31; "
                f"got {self.num_envs} x {self.vine_states} x {self.vine_actions} x "
                f"{self.vine_steps}"
            )

    @property
    def batch_size(self) -> int:
        """Transitions of the trajectories followed in an iteration."""
        return self.num_envs * self.num_steps

    def fraction_in_products(self, rows: int) -> float:
        """Return the fraction of so many rows that goes into the Fisher products.

        Example:
            >>> [Config().fraction_in_products(n) for n in (2048, 16_384, 1_000_000)]
            [1.0, 0.5, 0.1]
        """
        if self.fisher_fraction is not None:
            return self.fisher_fraction
        return min(1.0, max(0.1, 8192 / rows))

    def minibatch_of(self, rows: int) -> int:
        """Return how many of so many rows the critic learns from at once.

        Example:
            >>> [Config().minibatch_of(n) for n in (2048, 65_536)]
            [256, 1024]
        """
        if self.critic_minibatch_size is not None:
            return self.critic_minibatch_size
        return max(256, rows // 64)

    @property
    def branch_steps(self) -> int:
        """Steps of all branches in an iteration, at most; 0 on a single path."""
        if self.sampling == "single_path":
            return 0
        branches = self.num_envs * self.vine_states * self.vine_actions
        return branches * self.vine_steps

    @property
    def steps_per_iteration(self) -> int:
        """Steps of the simulator in an iteration, at most, branches included."""
        return (self.batch_size + self.branch_steps) * self.action_repeat


@dataclasses.dataclass(frozen=True)
class NetworkConfig(_Checked):
    """Shape of the standard agent, see `mlp_agent`."""

    hidden_sizes: tuple[int, ...] = _structure((64, 64), SIZES)
    """Widths of the policy's hidden layers; none gives a linear policy."""
    critic_hidden_sizes: tuple[int, ...] | None = _structure(None)
    """Widths of the critic's hidden layers; those of the policy when None."""
    activation: Activation = _structure("tanh", ACTIVATION)
    """Activation of both networks."""
    log_std_init: float = _structure(0.0, LOG_STD)
    """Log standard deviation to start with; an action of ±1 is at the bound."""
    orthogonal_init: bool = _structure(True, FLAG)
    """Orthogonal kernels, a policy head of gain 0.01 (Engstrom et al. 2020, §3, item 3;
    Andrychowicz et al. 2021, §3.2); otherwise Gaussian ones of variance 1/fan-in."""
    state_dependent_std: bool = _structure(False, FLAG)
    """Let the policy network give the log standard deviation for each observation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.critic_hidden_sizes is not None:
            check("critic_hidden_sizes", self.critic_hidden_sizes, SIZES)


def split_hyper_parameters(
    values: dict[str, Any], also: Iterable[str] = ()
) -> tuple[dict, dict]:
    """Sort flat names into those of `Config` and those of `NetworkConfig`.

    Args:
        values: by name.
        also: names that would have been right, too.

    Raises:
        ValueError: for a name that neither has, with the nearest that one has.
    """
    import difflib

    groups = [
        {field.name for field in dataclasses.fields(kind)}
        for kind in (Config, NetworkConfig)
    ]
    known = groups[0] | groups[1]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(
                name.replace("-", "_"), known.union(also), 1, 0.0
            )
            raise ValueError(f"unknown hyper-parameter {name!r}; nearest: {near[0]!r}")
    algorithm, network = (
        {name: value for name, value in values.items() if name in group}
        for group in groups
    )
    return algorithm, network

"""The hyper-parameters of the algorithm."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, TypedDict

from trpo_jax.config.fields import Checked, number, register_pytree, structure
from trpo_jax.config.groups import Group
from trpo_jax.config.sizes import check_sizes
from trpo_jax.validation import (
    COUNT,
    COUNT_OR_ZERO,
    FLAG,
    FRACTION,
    NON_NEGATIVE,
    OPEN_UNIT,
    POSITIVE,
    STEP_RULE,
    UNIT,
    StepRule,
    one_of,
    optional,
)

Sampling = Literal["single_path", "vine"]
KLConstraint = Literal["mean", "max"]
KL_CONSTRAINTS: dict[KLConstraint, Callable[[Any, Any], Any]] = {
    "mean": lambda kl, states: states.mean(kl),
    "max": lambda kl, states: states.max(kl),
}
"""What `max_kl` bounds, given the KL of each state and the `RowStatistics` over the
states. It is 0 where every KL is 0, and scales with them: c(a·kl) = a·c(kl)."""

Fisher = Literal["analytic", "empirical"]
Proposal = Literal["policy", "uniform"]
CriticMethod = Literal["adam", "gauss_newton", "joint"]

_VINE = ("sampling", ("vine",))
_ADAM = ("critic_method", ("adam",))
_ANY_ADAM = ("critic_method", ("adam", "joint"))
_GAUSS_NEWTON = ("critic_method", ("gauss_newton",))
_JOINT = ("critic_method", ("joint",))
_REGION = ("critic_method", ("gauss_newton", "joint"))
_NO_SEARCH = ("step_rule", ("natural_gradient", "policy_gradient"))


@dataclasses.dataclass(frozen=True)
class Config(Checked):
    """Hyper-parameters of the algorithm.

    Numbers are pytree leaves: `jax.vmap` over them is a sweep. Other values are static:
    changing one compiles another program. A value that the chosen mode does not use is
    refused.
    """

    num_envs: int = structure(16, COUNT, group=Group.DATA)
    """B, the number of environments stepped in parallel."""
    num_steps: int = structure(128, COUNT)
    """T, the steps of each environment in an iteration; a batch has B x T
    transitions."""
    discount: float = number(0.99, UNIT)
    """γ in [0, 1], the discount factor of future rewards."""
    gae_lambda: float = number(0.95, UNIT)
    """λ in [0, 1] of generalised advantage estimation."""
    sampling: Sampling = structure("single_path", one_of(Sampling))
    """How data are collected: along single trajectories (§5.1), or by branching from
    states along them (§5.2)."""
    action_repeat: int = structure(1, COUNT, group=Group.EPISODES)
    """Simulator steps for which each action is held; all of them count as environment
    steps. With the functions instead of `train`, wrap the environment yourself."""
    stagger_starts: bool = structure(False, FLAG)
    """Truncate the first episode of environment i at (i + 1)/B of the time limit, so
    that episodes do not end in lockstep and batches contain every part of them."""
    training_time_limit: int = structure(0, COUNT_OR_ZERO)
    """Truncate training episodes after this many steps, so that a batch contains more
    episode starts; the final state is bootstrapped as at any time limit (Pardo et al.
    2018). 0 keeps the environment's own limit. Evaluation plays whole episodes."""
    bootstrap_truncated: bool = structure(True, FLAG)
    """Bootstrap from the state at which a time limit truncated the episode (Pardo et
    al. 2018); otherwise a time limit counts as termination."""
    max_kl: float = number(0.01, POSITIVE, group=Group.TRUST_REGION)
    """δ > 0, the radius of the trust region in nats."""
    kl_constraint: KLConstraint = structure("mean", one_of(KLConstraint))
    """What max_kl bounds: the mean of KL(π_old ‖ π) over the states of the batch (§4,
    eq. 12), or its maximum over them (eq. 11)."""
    step_rule: StepRule = structure("trust_region", STEP_RULE)
    """How the policy steps: along the natural gradient with a line search
    (trust_region), along it without one (natural_gradient), or along the plain gradient
    without one (policy_gradient)."""
    step_size: float = number(0.0, NON_NEGATIVE, used_by=_NO_SEARCH)
    """Fixed step size for natural_gradient (θ + β F⁻¹g) and policy_gradient (θ + β g).
    With 0 the step is scaled so that the quadratic KL model equals max_kl."""
    cg_iterations: int = structure(10, COUNT, group=Group.SOLVER)
    """The largest number of conjugate gradient iterations."""
    cg_damping: float = number(0.1, NON_NEGATIVE)
    """Added to the diagonal of the Fisher matrix."""
    cg_tolerance: float = number(1e-5, NON_NEGATIVE)
    """Conjugate gradients stop at this residual, relative to the gradient."""
    fisher: Fisher = structure("analytic", one_of(Fisher))
    """The Fisher matrix of the distributions (analytic), or of the scores of the
    sampled actions (empirical); the paper compares them (§6)."""
    fisher_fraction: float | None = structure(None, optional(FRACTION))
    """Fraction of the rows in the Fisher products, in (0, 1]; the paper uses 0.1. With
    None: 8192 rows or a tenth, whichever is more, or all rows if there are fewer."""
    backtrack_coefficient: float = number(0.8, OPEN_UNIT)
    """α in (0, 1): the line search multiplies a rejected step by it."""
    max_backtracks: int = structure(10, COUNT_OR_ZERO)
    """The number of shorter steps tried after the full one."""
    standardize_advantage: bool = structure(True, FLAG, group=Group.SCALE)
    """Give the advantages of a batch mean 0 and standard deviation 1."""
    normalize_observation: bool = structure(True, FLAG)
    """Normalise observations by their running mean and standard deviation, clipped at
    10 (Engstrom et al. 2020, §3, items 5 and 6)."""
    scale_reward: bool = structure(True, FLAG)
    """Divide rewards by the running standard deviation of the discounted return
    (Engstrom et al. 2020, §3, item 2)."""
    critic_method: CriticMethod = structure(
        "adam", one_of(CriticMethod), group=Group.CRITIC
    )
    """How the critic is fitted: in minibatches (adam), by a few Gauss-Newton steps on
    all rows, each in a trust region of its own, with the solver values of the policy
    (Schulman et al. 2016, §5), or, if it shares its network with the policy, by the
    step of the policy itself (joint), docs/shared_networks.md."""
    critic_learning_rate: float = number(1e-3, POSITIVE, used_by=_ANY_ADAM)
    """Adam step size of the critic."""
    critic_epochs: int = structure(10, COUNT_OR_ZERO, used_by=_ADAM)
    """Passes of Adam over the batch in every iteration."""
    critic_minibatch_size: int | None = structure(
        None, optional(COUNT), used_by=_ANY_ADAM
    )
    """Transitions in a minibatch of Adam. With None: 256 or a 64th of the batch,
    whichever is more, since an accelerator waits for many small steps in a row."""
    critic_max_kl: float | None = number(None, optional(POSITIVE), used_by=_REGION)
    """ε > 0, the radius of the critic's trust region in nats: that of each Gauss-Newton
    step, or, in a joint step, how far the value may move if the policy does not. With
    None: 0.1, or 0.5 in a joint step."""
    critic_share: float = structure(0.5, FRACTION, used_by=_JOINT)
    """Fraction of max_kl, in (0, 1], that the value may take of a joint step; the
    policy gets what is left. With 1 nothing is kept for the policy."""
    critic_extra_epochs: int = structure(0, COUNT_OR_ZERO, used_by=_JOINT)
    """Passes of Adam over the batch after the joint step, for the value; a line search
    then goes back until the policy is within max_kl of the one that acted."""
    critic_steps: int = structure(4, COUNT, used_by=_GAUSS_NEWTON)
    """Gauss-Newton steps of the critic in every iteration."""
    final_max_kl: float | None = number(
        None, optional(POSITIVE), end_of="max_kl", group=Group.SCHEDULE
    )
    """δ at the end of the schedule, reached in a straight line (Engstrom et al. 2020,
    §3, item 4); None keeps it constant."""
    final_critic_learning_rate: float | None = number(
        None, optional(POSITIVE), used_by=_ANY_ADAM, end_of="critic_learning_rate"
    )
    """The critic's step size at the end of the schedule, reached in a straight line
    (Engstrom et al. 2020, §3, item 4); None keeps it constant."""
    schedule_iterations: int | None = structure(None, optional(COUNT))
    """Iterations after which final_max_kl and final_critic_learning_rate are reached.
    With None, `train` fills in the length of the run."""
    vine_states: int = structure(8, COUNT, used_by=_VINE, group=Group.VINE)
    """M, the states picked from the trajectory of each environment in an iteration; the
    rollout set has M x B."""
    vine_actions: int = structure(4, COUNT, used_by=_VINE)
    """K, the actions tried in each state; every action once if there are at most K."""
    vine_steps: int = structure(16, COUNT, used_by=_VINE)
    """The length of a branch; its first step takes the action tried, the others follow
    the policy."""
    vine_bootstrap: bool = structure(True, FLAG, used_by=_VINE)
    """Add the critic's value of the state in which a branch stops; the paper adds
    nothing."""
    vine_proposal: Proposal = structure("policy", one_of(Proposal), used_by=_VINE)
    """Where the actions to try come from: the policy, or a uniform distribution
    (discrete actions only)."""
    vine_common_random_numbers: bool = structure(True, FLAG, used_by=_VINE)
    """Let the branches of a state share their random numbers (§5.2). In Gymnasium the
    simulators always do; there this concerns the policy alone."""

    def __post_init__(self) -> None:
        register_pytree(type(self))
        super().__post_init__()
        check_sizes(self)

    @property
    def batch_size(self) -> int:
        """The transitions of the trajectories followed in an iteration."""
        return self.num_envs * self.num_steps

    def fraction_in_products(self, rows: int) -> float:
        """Return the fraction of this many rows that enters the Fisher products.

        >>> [Config().fraction_in_products(n) for n in (2048, 16_384, 1_000_000)]
        [1.0, 0.5, 0.1]
        """
        if self.fisher_fraction is not None:
            return self.fisher_fraction
        return min(1.0, max(0.1, 8192 / rows))

    def minibatch_of(self, rows: int) -> int:
        """Return the size of the critic's minibatches out of this many rows.

        >>> [Config().minibatch_of(n) for n in (2048, 65_536)]
        [256, 1024]
        """
        if self.critic_minibatch_size is not None:
            return self.critic_minibatch_size
        return max(256, rows // 64)

    @property
    def critic_radius(self) -> float:
        """The radius ε of the critic's trust region in nats.

        >>> Config(critic_method="gauss_newton").critic_radius
        0.1
        """
        if self.critic_max_kl is not None:
            return self.critic_max_kl
        return 0.5 if self.critic_method == "joint" else 0.1

    @property
    def rollout_options(self) -> dict[str, Any]:
        """The values that `collect` takes, for compiled and host runs alike."""
        options = {
            name: getattr(self, name) for name in ("num_steps", "stagger_starts")
        }
        return options | {"time_limit": self.training_time_limit}

    @property
    def solver_options(self) -> dict[str, Any]:
        """The values that `trust_region_step` takes, for policy and critic alike."""
        names = "cg_iterations cg_tolerance backtrack_coefficient max_backtracks"
        return {name: getattr(self, name) for name in names.split()}

    @property
    def branch_steps(self) -> int:
        """The steps of all branches in an iteration, at most; 0 on a single path."""
        if self.sampling == "single_path":
            return 0
        branches = self.num_envs * self.vine_states * self.vine_actions
        return branches * self.vine_steps

    @property
    def steps_per_iteration(self) -> int:
        """The simulator steps of an iteration, at most, branches included."""
        return (self.batch_size + self.branch_steps) * self.action_repeat


class AlgorithmOptions(TypedDict, total=False):
    """The fields of `Config` as keyword arguments, for type checkers."""

    num_envs: int
    num_steps: int
    discount: float
    gae_lambda: float
    sampling: Sampling
    action_repeat: int
    stagger_starts: bool
    training_time_limit: int
    bootstrap_truncated: bool
    max_kl: float
    kl_constraint: KLConstraint
    step_rule: StepRule
    step_size: float
    cg_iterations: int
    cg_damping: float
    cg_tolerance: float
    fisher: Fisher
    fisher_fraction: float | None
    backtrack_coefficient: float
    max_backtracks: int
    standardize_advantage: bool
    normalize_observation: bool
    scale_reward: bool
    critic_method: CriticMethod
    critic_learning_rate: float
    critic_epochs: int
    critic_minibatch_size: int | None
    critic_max_kl: float | None
    critic_share: float
    critic_extra_epochs: int
    critic_steps: int
    final_max_kl: float | None
    final_critic_learning_rate: float | None
    schedule_iterations: int | None
    vine_states: int
    vine_actions: int
    vine_steps: int
    vine_bootstrap: bool
    vine_proposal: Proposal
    vine_common_random_numbers: bool

"""Trust region policy optimisation as pure functions on a pytree (arXiv 1502.05477).

Everything public can be imported from here. Each name is imported on first use, so that
`import trpo_jax` and `trpo-jax --help` cost nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

# fmt: off
if TYPE_CHECKING:  # for type checkers and editors; a test holds it equal to the table
    from trpo_jax.agent.acting import act
    from trpo_jax.agent.agent_check import check_agent
    from trpo_jax.agent.beta_distribution import Beta
    from trpo_jax.agent.discrete_distributions import (
        Bernoulli,
        MultiCategorical,
        mask_logits,
    )
    from trpo_jax.agent.distributions import Categorical, DiagonalGaussian
    from trpo_jax.agent.memory import Memory, recur
    from trpo_jax.agent.multivariate_gaussian import MultivariateGaussian
    from trpo_jax.agent.networks import Agent, Heads, Network, shared_agent
    from trpo_jax.agent.normalization import normalize_observation, scale_reward
    from trpo_jax.agent.product import Product
    from trpo_jax.agent.squashed_gaussian import SquashedGaussian
    from trpo_jax.agent.standard_agents import default_agent
    from trpo_jax.algorithm.advantages import advantages, standardize
    from trpo_jax.algorithm.batch import Batch
    from trpo_jax.algorithm.bounded_turn import bounded_turn
    from trpo_jax.algorithm.critic import fit_critic
    from trpo_jax.algorithm.critic_gauss_newton import fit_critic_gauss_newton
    from trpo_jax.algorithm.estimation import estimate_advantages
    from trpo_jax.algorithm.evaluation import Evaluation, evaluate
    from trpo_jax.algorithm.initialization import init
    from trpo_jax.algorithm.masking import explained_variance
    from trpo_jax.algorithm.metrics import Metrics, UpdateInfo
    from trpo_jax.algorithm.off_policy import (
        concatenate_batches,
        estimate_off_policy_advantages,
        shrink_max_kl,
        v_trace,
    )
    from trpo_jax.algorithm.policy_update import PolicyInfo, update_policy
    from trpo_jax.algorithm.rollout import Rollout, collect
    from trpo_jax.algorithm.state import TrainState
    from trpo_jax.algorithm.trpo import (
        train_step,
        update,
        update_critic,
        update_from_batch,
        update_statistics,
    )
    from trpo_jax.algorithm.vine import collect_vine
    from trpo_jax.algorithm.vine_batch import VineBatch
    from trpo_jax.config import Config, NetworkConfig, RunConfig
    from trpo_jax.environments import (
        list_environments,
        make_environment,
        make_host_environment,
    )
    from trpo_jax.environments.base import Environment, Step, check_environment
    from trpo_jax.environments.host import HostEnvironment
    from trpo_jax.environments.spaces import (
        Box,
        Dict,
        Discrete,
        MultiBinary,
        MultiDiscrete,
        Tuple,
    )
    from trpo_jax.rendering.record import record
    from trpo_jax.rendering.video import write_video
    from trpo_jax.runs.api import resume, train
    from trpo_jax.runs.evaluate import evaluate_policy
    from trpo_jax.runs.execute import TrainResult
    from trpo_jax.runs.logging import Sink
    from trpo_jax.runs.plan import Plan
    from trpo_jax.runs.plotting import bootstrap_interval, interquartile_mean, plot_runs
    from trpo_jax.runs.policy_file import load_policy, save_policy
    from trpo_jax.runs.presets import preset_of
    from trpo_jax.runs.saved_policy import SavedPolicy
    from trpo_jax.runs.self_check import self_check
    from trpo_jax.solver.conjugate_gradient import CGInfo, cg_solve
    from trpo_jax.solver.fisher import (
        empirical_fisher_vector_product,
        fisher_quadratic_form,
        fisher_vector_product,
    )
    from trpo_jax.solver.line_search import (
        LineSearchInfo,
        LineSearchOutcome,
        line_search,
    )
    from trpo_jax.solver.trust_region import Status, TrustRegionInfo, trust_region_step
    from trpo_jax.storage.checkpoint import CheckpointError

__all__ = [
    "Agent", "Batch", "Bernoulli", "Beta", "Box", "CGInfo", "Categorical",
    "CheckpointError", "Config", "DiagonalGaussian", "Dict", "Discrete",
    "Environment", "Evaluation", "Heads", "HostEnvironment", "LineSearchInfo",
    "LineSearchOutcome", "Memory", "Metrics", "MultiBinary", "MultiCategorical",
    "MultiDiscrete", "MultivariateGaussian", "Network", "NetworkConfig", "Plan",
    "PolicyInfo", "Product", "Rollout", "RunConfig", "SavedPolicy", "Sink",
    "SquashedGaussian", "Status", "Step", "TrainResult", "TrainState",
    "TrustRegionInfo", "Tuple", "UpdateInfo", "VineBatch", "act", "advantages",
    "bootstrap_interval", "bounded_turn", "cg_solve", "check_agent",
    "check_environment", "collect", "collect_vine", "concatenate_batches",
    "default_agent", "empirical_fisher_vector_product", "estimate_advantages",
    "estimate_off_policy_advantages", "evaluate", "evaluate_policy",
    "explained_variance", "fisher_quadratic_form", "fisher_vector_product",
    "fit_critic", "fit_critic_gauss_newton", "init", "interquartile_mean",
    "line_search", "list_environments", "load_policy", "make_environment",
    "make_host_environment", "mask_logits", "normalize_observation", "plot_runs",
    "preset_of", "record", "recur", "resume", "save_policy", "scale_reward",
    "self_check", "shared_agent", "shrink_max_kl", "standardize", "train",
    "train_step", "trust_region_step", "update", "update_critic",
    "update_from_batch", "update_policy", "update_statistics", "v_trace",
    "write_video",
]
# fmt: on

_NAMES = {  # by the module that defines them
    "agent.acting": "act",
    "agent.agent_check": "check_agent",
    "agent.beta_distribution": "Beta",
    "agent.discrete_distributions": "Bernoulli MultiCategorical mask_logits",
    "agent.distributions": "Categorical DiagonalGaussian",
    "agent.memory": "Memory recur",
    "agent.multivariate_gaussian": "MultivariateGaussian",
    "agent.networks": "Agent Heads Network shared_agent",
    "agent.normalization": "normalize_observation scale_reward",
    "agent.product": "Product",
    "agent.squashed_gaussian": "SquashedGaussian",
    "agent.standard_agents": "default_agent",
    "algorithm.advantages": "advantages standardize",
    "algorithm.batch": "Batch",
    "algorithm.bounded_turn": "bounded_turn",
    "algorithm.critic": "fit_critic",
    "algorithm.critic_gauss_newton": "fit_critic_gauss_newton",
    "algorithm.estimation": "estimate_advantages",
    "algorithm.evaluation": "Evaluation evaluate",
    "algorithm.initialization": "init",
    "algorithm.masking": "explained_variance",
    "algorithm.metrics": "Metrics UpdateInfo",
    "algorithm.off_policy": (
        "concatenate_batches estimate_off_policy_advantages shrink_max_kl v_trace"
    ),
    "algorithm.policy_update": "PolicyInfo update_policy",
    "algorithm.rollout": "Rollout collect",
    "algorithm.state": "TrainState",
    "algorithm.trpo": (
        "train_step update update_critic update_from_batch update_statistics"
    ),
    "algorithm.vine": "collect_vine",
    "algorithm.vine_batch": "VineBatch",
    "config": "Config NetworkConfig RunConfig",
    "environments": "list_environments make_environment make_host_environment",
    "environments.base": "Environment Step check_environment",
    "environments.host": "HostEnvironment",
    "environments.spaces": "Box Dict Discrete MultiBinary MultiDiscrete Tuple",
    "rendering.record": "record",
    "rendering.video": "write_video",
    "runs.api": "resume train",
    "runs.evaluate": "evaluate_policy",
    "runs.execute": "TrainResult",
    "runs.logging": "Sink",
    "runs.plan": "Plan",
    "runs.plotting": "bootstrap_interval interquartile_mean plot_runs",
    "runs.policy_file": "load_policy save_policy",
    "runs.presets": "preset_of",
    "runs.saved_policy": "SavedPolicy",
    "runs.self_check": "self_check",
    "solver.conjugate_gradient": "CGInfo cg_solve",
    "solver.fisher": (
        "empirical_fisher_vector_product fisher_quadratic_form fisher_vector_product"
    ),
    "solver.line_search": "LineSearchInfo LineSearchOutcome line_search",
    "solver.trust_region": "Status TrustRegionInfo trust_region_step",
    "storage.checkpoint": "CheckpointError",
}
_MODULE_OF = {name: mod for mod, names in _NAMES.items() for name in names.split()}


if not TYPE_CHECKING:  # a checker would believe that every name exists

    def __getattr__(name: str) -> Any:
        if name not in _MODULE_OF:
            raise AttributeError(f"module 'trpo_jax' has no attribute {name!r}")
        module = importlib.import_module(f"trpo_jax.{_MODULE_OF[name]}")
        globals()[name] = value = getattr(module, name)
        return value


def __dir__() -> list[str]:
    return sorted({"__version__", *__all__})

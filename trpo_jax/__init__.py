"""Trust region policy optimisation as pure functions on a pytree (arXiv 1502.05477).

Everything public can be imported from here; what is heavy is imported on first use, so
that `import trpo_jax` and `trpo-jax --help` cost nothing.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Agent": "agent.networks",
    "Batch": "algorithm.batch",
    "Box": "environments.spaces",
    "CGInfo": "solver.conjugate_gradient",
    "CheckpointError": "storage.checkpoint",
    "Categorical": "agent.distributions",
    "Config": "algorithm.trpo",
    "DiagonalGaussian": "agent.distributions",
    "Discrete": "environments.spaces",
    "Environment": "environments.base",
    "Evaluation": "algorithm.evaluation",
    "LineSearchInfo": "solver.line_search",
    "Metrics": "algorithm.metrics",
    "Network": "agent.networks",
    "NetworkConfig": "config",
    "Rollout": "algorithm.rollout",
    "SavedPolicy": "runs.policy_file",
    "Scores": "agent.distributions",
    "Status": "algorithm.policy_update",
    "Step": "environments.base",
    "TrainState": "algorithm.state",
    "UpdateInfo": "algorithm.metrics",
    "Verdict": "solver.line_search",
    "VineBatch": "algorithm.batch",
    "absorb_statistics": "algorithm.update",
    "advantages": "algorithm.advantages",
    "cg_solve": "solver.conjugate_gradient",
    "check_agent": "agent.networks",
    "check_environment": "environments.base",
    "collect": "algorithm.rollout",
    "collect_vine": "algorithm.vine",
    "combine": "algorithm.off_policy",
    "estimate_advantages": "algorithm.update",
    "estimate_off_policy_advantages": "algorithm.off_policy",
    "evaluate": "algorithm.evaluation",
    "explained_variance": "algorithm.critic",
    "fisher_vector_product": "solver.fisher",
    "fit_critic": "algorithm.critic",
    "improve_critic": "algorithm.critic_gauss_newton",
    "init": "algorithm.trpo",
    "init_critic_optimizer": "algorithm.critic",
    "line_search": "solver.line_search",
    "load_policy": "runs.policy_file",
    "make_environment": "environments",
    "mlp_agent": "agent.networks",
    "normalize_observation": "agent.normalization",
    "resume": "runs.api",
    "rewards_to_go": "algorithm.advantages",
    "row_curvature": "solver.fisher",
    "scale_reward": "agent.normalization",
    "self_check": "runs.self_check",
    "shrink_max_kl": "algorithm.off_policy",
    "standardize": "algorithm.advantages",
    "train": "runs.api",
    "train_step": "algorithm.trpo",
    "trust_region_step": "algorithm.policy_update",
    "update": "algorithm.update",
    "v_trace": "algorithm.off_policy",
}

__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'trpo_jax' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"trpo_jax.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({"__version__", *_HOME})

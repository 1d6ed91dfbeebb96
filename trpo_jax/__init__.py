"""Trust region policy optimisation as pure functions on a pytree (arXiv 1502.05477).

Everything public can be imported from here; what is heavy is imported on first use, so
that `import trpo_jax` and `trpo-jax --help` cost nothing.
"""

import importlib
import sys
import types
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Agent": "networks",
    "Batch": "batch",
    "Box": "environments.spaces",
    "CGInfo": "conjugate_gradient",
    "CheckpointError": "checkpoint",
    "Categorical": "distributions",
    "Config": "trpo",
    "DiagonalGaussian": "distributions",
    "Discrete": "environments.spaces",
    "Environment": "environments.base",
    "Evaluation": "evaluation",
    "LineSearchInfo": "line_search",
    "Metrics": "metrics",
    "Network": "networks",
    "NetworkConfig": "config",
    "Rollout": "rollout",
    "SavedPolicy": "policy_file",
    "Scores": "distributions",
    "Status": "trust_region",
    "Step": "environments.base",
    "TrainState": "state",
    "UpdateInfo": "metrics",
    "Verdict": "line_search",
    "VineBatch": "batch",
    "absorb_statistics": "update",
    "advantages": "advantages",
    "cg_solve": "conjugate_gradient",
    "check_agent": "networks",
    "check_environment": "environments.base",
    "collect": "rollout",
    "collect_vine": "vine",
    "combine": "off_policy",
    "estimate_advantages": "update",
    "estimate_off_policy_advantages": "off_policy",
    "evaluate": "evaluation",
    "explained_variance": "critic",
    "fisher_vector_product": "fisher",
    "fit_critic": "critic",
    "improve_critic": "critic_trust_region",
    "init": "trpo",
    "init_critic_optimizer": "critic",
    "line_search": "line_search",
    "load_policy": "policy_file",
    "make_environment": "environments",
    "mlp_agent": "networks",
    "normalize_observation": "normalization",
    "resume": "training",
    "rewards_to_go": "advantages",
    "row_curvature": "fisher",
    "scale_reward": "normalization",
    "self_check": "doctor",
    "shrink_max_kl": "off_policy",
    "standardize": "advantages",
    "train": "training",
    "train_step": "trpo",
    "trust_region_step": "trust_region",
    "update": "update",
    "v_trace": "off_policy",
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


class _Package(types.ModuleType):
    """Where a function has the name of its file, the name means the function."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, types.ModuleType) and name in _HOME:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

"""Values of the algorithm that are fine alone and wrong together."""

from typing import Any


def check_sizes(config: Any) -> None:
    """Raise a ValueError for the first sizes of a `Config` that do not fit together."""
    if config.batch_size >= 2**31:
        raise ValueError(
            "num_envs x num_steps must be < 2**31; got "
            f"{config.num_envs} x {config.num_steps}"
        )
    if (config.fisher_fraction or 1) * config.batch_size < 0.5:
        raise ValueError(
            "fisher_fraction must leave at least one of num_envs x num_steps = "
            f"{config.batch_size} rows; got {config.fisher_fraction}"
        )
    finals = config.final_max_kl, config.final_critic_learning_rate
    scheduled = any(value is not None for value in finals)
    if config.schedule_iterations is not None and not scheduled:
        raise ValueError(
            "schedule_iterations is used with final_max_kl or "
            f"final_critic_learning_rate only; got {config.schedule_iterations}"
        )
    if config.sampling != "vine":
        return
    if config.critic_method == "joint":
        raise ValueError(
            "sampling must be single_path with critic_method joint, since a vine's "
            "critic learns from other states than its policy; got vine"
        )
    if config.vine_states > config.num_steps:
        raise ValueError(
            "vine_states must be <= num_steps; got "
            f"{config.vine_states} with num_steps {config.num_steps}"
        )
    if config.training_time_limit:
        raise ValueError(
            "training_time_limit must be 0 with sampling vine; got "
            f"{config.training_time_limit}"
        )
    if config.vine_actions < 2:
        raise ValueError(
            "vine_actions must be >= 2, so that there is something to compare; got "
            f"{config.vine_actions}"
        )
    if config.branch_steps >= 2**31:
        raise ValueError(
            "num_envs x vine_states x vine_actions x vine_steps must be < 2**31; "
            f"got {config.num_envs} x {config.vine_states} x {config.vine_actions} x "
            f"{config.vine_steps}"
        )

"""Names that other libraries, and version 0.1, give the options, for error messages.

`SB3` is Stable-Baselines3 with sb3-contrib and rl-zoo3; `baselines` is OpenAI's.
"""

from collections.abc import Callable, Collection

from trpo_jax.validation import nearest

RENAMED = {  # of 0.1
    "method": "step_rule, trust_region (was trpo), natural_gradient or policy_gradient",
    "divergence": "kl_constraint, mean (was mean_kl) or max (was max_kl)",
    "max_kl_final": "final_max_kl, in nats: multiply the old value by max_kl",
    "critic_learning_rate_final": (
        "final_critic_learning_rate: multiply the old value by critic_learning_rate"
    ),
    "common_random_numbers": "vine_common_random_numbers",
}

SYNONYMS = {  # of an option or, separated by spaces, of one in each command
    # the run
    "total_timesteps": "total_steps",  # SB3, CleanRL, rejax, baselines
    "num_timesteps": "total_steps",  # brax, baselines
    "n_timesteps": "total_steps",  # SB3
    "max_timesteps": "total_steps",  # baselines
    **dict.fromkeys(["epochs", "max_iters"], "total_steps"),  # Spinning Up, baselines
    **dict.fromkeys(["epoch", "max_epochs"], "total_steps"),  # Tianshou
    "num_iterations": "total_steps",  # CleanRL
    "steps": "total_steps",
    "n_seeds": "seeds",
    "num_seeds": "seeds",  # rejax
    "random_seed": "seed",
    "tensorboard_log": "output_dir",  # SB3
    "log_dir": "output_dir",  # SB3
    "checkpoint_dir": "output_dir",
    "track": "output_dir",  # CleanRL
    "wandb_project_name": "output_dir",  # CleanRL, SB3
    "log_path": "output_dir",  # baselines
    "logdir": "output_dir",  # Tianshou
    "log_folder": "output_dir",  # SB3
    "verbose": "quiet",  # SB3
    "output": "output_dir",
    "out": "output output_dir",
    "env": "environment",  # SB3, Spinning Up, RLlib, baselines
    "env_id": "environment",  # CleanRL
    "task": "environment",  # Tianshou
    "n_eval_episodes": "evaluation_episodes episodes",  # SB3
    "eval_episodes": "evaluation_episodes episodes",  # SB3, CleanRL
    "num_eval_envs": "evaluation_episodes episodes",  # brax
    "n_episode": "episodes evaluation_episodes",  # Tianshou
    "save_freq": "checkpoint_every",  # SB3, Spinning Up
    "checkpoint_freq": "checkpoint_every",  # RLlib
    "save_interval": "checkpoint_every",  # baselines
    # the trust region and how the step is computed
    "target_kl": "max_kl",  # SB3, CleanRL
    "delta": "max_kl",  # Spinning Up
    "kl_target": "max_kl",  # RLlib
    "algo": "step_rule",  # Spinning Up
    "actor_step_size": "step_size",  # Tianshou
    "cg_max_steps": "cg_iterations",  # SB3
    "cg_iters": "cg_iterations",  # Spinning Up, baselines
    "damping": "cg_damping",
    "damping_coeff": "cg_damping",  # Spinning Up
    "backtrack_coeff": "backtrack_coefficient",  # Spinning Up, Tianshou
    "line_search_shrinking_factor": "backtrack_coefficient",  # SB3
    "backtrack_iters": "max_backtracks",  # Spinning Up
    "line_search_max_iter": "max_backtracks",  # SB3
    "sub_sampling_factor": "fisher_fraction",  # SB3
    # the data of an iteration
    "n_envs": "num_envs",  # SB3
    "num_env": "num_envs",  # baselines
    "num_env_runners": "num_envs",  # RLlib
    "num_workers": "num_envs",  # RLlib
    "num_train_envs": "num_envs",  # Tianshou
    "training_num": "num_envs",  # Tianshou
    "n_steps": "num_steps",  # SB3
    "nsteps": "num_steps",  # baselines
    "horizon": "num_steps",
    "unroll_length": "num_steps",  # brax
    "rollout_fragment_length": "num_steps",  # RLlib
    "steps_per_epoch": "num_steps",  # Spinning Up
    "step_per_collect": "num_steps",  # Tianshou
    "timesteps_per_batch": "num_steps",  # baselines
    "train_batch_size": "num_steps",  # RLlib
    "gamma": "discount",  # all but brax
    "discounting": "discount",  # brax
    "discount_factor": "discount",  # Tianshou
    "lam": "gae_lambda",  # Spinning Up, baselines
    "lambda": "gae_lambda",  # RLlib
    "lambda_": "gae_lambda",  # RLlib
    "frame_skip": "action_repeat",
    "max_ep_len": "training_time_limit",  # Spinning Up
    "episode_length": "training_time_limit",  # brax
    "max_episode_steps": "training_time_limit",  # Gymnasium
    # the critic
    "lr": "critic_learning_rate",  # Tianshou, RLlib
    "learning_rate": "critic_learning_rate",  # SB3, CleanRL, rejax, brax
    "vf_lr": "critic_learning_rate",  # Spinning Up
    "vf_stepsize": "critic_learning_rate",  # baselines
    "anneal_lr": "final_critic_learning_rate",  # CleanRL
    "lr_decay": "final_critic_learning_rate",  # Tianshou
    "lr_schedule": "final_critic_learning_rate",  # RLlib
    "n_critic_updates": "critic_epochs",  # SB3
    "n_epochs": "critic_epochs",  # SB3
    "num_epochs": "critic_epochs",  # rejax, RLlib
    "update_epochs": "critic_epochs",  # CleanRL
    "num_sgd_iter": "critic_epochs",  # RLlib
    "num_updates_per_batch": "critic_epochs",  # brax
    "optim_critic_iters": "critic_epochs",  # Tianshou
    "train_v_iters": "critic_epochs",  # Spinning Up
    "vf_iters": "critic_epochs",  # baselines
    "batch_size": "critic_minibatch_size",  # SB3
    "minibatch_size": "critic_minibatch_size",  # CleanRL, RLlib
    "sgd_minibatch_size": "critic_minibatch_size",  # RLlib
    "num_minibatches": "critic_minibatch_size",  # CleanRL, rejax, brax
    # what is brought to a standard scale
    "norm_adv": "standardize_advantage",  # CleanRL
    "normalize_advantage": "standardize_advantage",  # SB3
    "advantage_normalization": "standardize_advantage",  # Tianshou
    "norm_obs": "normalize_observation",  # SB3
    "normalize_observations": "normalize_observation",  # rejax, brax
    "norm_reward": "scale_reward",  # SB3
    "normalize_rewards": "scale_reward",  # rejax
    "return_scaling": "scale_reward",  # Tianshou
    "reward_normalization": "scale_reward",  # Tianshou
    "reward_scaling": "scale_reward",  # brax
    # the networks
    "net_arch": "hidden_sizes",  # SB3
    "fcnet_hiddens": "hidden_sizes",  # RLlib
    "hidden_layer_sizes": "hidden_sizes",  # rejax
    "policy_hidden_layer_sizes": "hidden_sizes",  # brax
    "num_hidden": "hidden_sizes",  # baselines
    "value_hidden_layer_sizes": "critic_hidden_sizes",  # brax
    "activation_fn": "activation",  # SB3
    "fcnet_activation": "activation",  # RLlib
    "ortho_init": "orthogonal_init",  # SB3
    # other commands
    "video_length": "max_steps",  # SB3
    "stochastic": "sampled",  # SB3
}

_ALONE = "the policy has no learning rate, since max_kl bounds its step"
_BATCH = "a batch has num_envs x num_steps transitions"
_FILES = "the metrics are written as metrics.csv and metrics.jsonl"
_LENGTH = "the length of a run is counted in environment steps of each seed"

NOTES = {  # on synonyms that do not mean quite the same
    **dict.fromkeys(["lr", "learning_rate"], _ALONE),
    **dict.fromkeys(["batch_size", "train_batch_size", "steps_per_epoch"], _BATCH),
    **dict.fromkeys(["timesteps_per_batch", "step_per_collect"], _BATCH),
    **dict.fromkeys(["tensorboard_log", "track", "wandb_project_name"], _FILES),
    **dict.fromkeys(["epochs", "epoch", "max_epochs", "max_iters"], _LENGTH),
    "num_iterations": _LENGTH,
    "num_minibatches": "the size of a minibatch is given, not their number",
    "sub_sampling_factor": "the share of the rows is given, 0.1 for a factor of 10",
}

_FIRST = "the first argument of train is the environment, without a name"
_NO_CLIPPING = "TRPO clips no ratio and no gradient, since max_kl bounds the step"
_NO_BONUS = "TRPO has no entropy bonus"
_NO_WEIGHT = "policy and critic are fitted one after the other, without a common loss"
_NO_PENALTY = "the KL is bounded by max_kl, not weighed"
_DEVICE = "JAX chooses the device, and JAX_PLATFORMS=cpu makes it the CPU"
_ONCE = "the agents are evaluated once, after training"
_PROGRESS = "train(progress=False) and trpo-jax train --quiet show no progress"
_POLICY = "the policy follows from the options of NetworkConfig, or agent=... brings it"

NOT_HERE = {  # names without a counterpart, and what there is instead
    **dict.fromkeys(["environment", "env", "env_id", "task"], _FIRST),
    **dict.fromkeys(["clip_range", "clip_range_vf", "clip_ratio"], _NO_CLIPPING),
    **dict.fromkeys(["clip_coef", "clip_eps", "clip_param"], _NO_CLIPPING),
    **dict.fromkeys(["clip_vloss", "clipping_epsilon"], _NO_CLIPPING),
    **dict.fromkeys(["max_grad_norm", "grad_clip", "vf_clip_param"], _NO_CLIPPING),
    **dict.fromkeys(["ent_coef", "entropy_coeff"], _NO_BONUS),
    **dict.fromkeys(["entcoeff", "entropy_cost"], _NO_BONUS),
    **dict.fromkeys(["vf_coef", "vf_loss_coeff"], _NO_WEIGHT),
    **dict.fromkeys(["kl_coeff", "use_kl_loss"], _NO_PENALTY),
    **dict.fromkeys(["device", "cuda", "num_gpus"], _DEVICE),
    **dict.fromkeys(["num_evals", "eval_freq"], _ONCE),
    **dict.fromkeys(["verbose", "progress_bar"], _PROGRESS),
    **dict.fromkeys(["policy", "policy_kwargs", "ac_kwargs"], _POLICY),
}


def unknown_option(
    name: str,
    known: Collection[str],
    explained_by: str,
    flag_of: Callable[[str], str] | None = None,
) -> str:
    """Return the message for a name that is not one of the known options.

    It has the option that another library calls so, or else the one whose name was
    misspelt. If there is neither, it says what explains the options. On the command
    line, names are written as `flag_of` returns them.

    >>> unknown_option("gamma", ["discount", "max_kl"], "help(Config)")
    "unknown option 'gamma'; nearest: 'discount'"
    >>> unknown_option("ent_coef", ["discount", "max_kl"], "help(Config)")
    "unknown option 'ent_coef': TRPO has no entropy bonus; see help(Config)"
    """
    shown = flag_of or repr
    written = f"--{name}" if flag_of else repr(name)
    plain = name.lower().replace("-", "_")
    positive = plain.removeprefix("no_")
    if positive in RENAMED:
        new, comma, rest = RENAMED[positive].partition(",")
        new = flag_of(new) if flag_of else new
        return f"{written} is now {new}{comma}{rest}"
    candidates = SYNONYMS.get(positive, "").split()
    near = next((other for other in candidates if other in known), None)
    if near is None and positive not in NOT_HERE:
        near = nearest(name, known)
    reason = (NOTES if near else NOT_HERE).get(positive)
    return (
        f"unknown option {written}{f': {reason}' if reason else ''}; "
        f"{f'nearest: {shown(near)}' if near else f'see {explained_by}'}"
    )

import dataclasses
import inspect
import pickle
import re

import pytest

import trpo_jax
from trpo_jax.cli.arguments import arguments_of
from trpo_jax.cli.options import COMMANDS
from trpo_jax.config import Config, NetworkConfig, RunConfig
from trpo_jax.config.options import split_options
from trpo_jax.config.synonyms import (
    NOT_HERE,
    NOTES,
    RENAMED,
    SYNONYMS,
    unknown_option,
)

OPTIONS = {
    field.name
    for kind in (RunConfig, Config, NetworkConfig)
    for field in dataclasses.fields(kind)
}
ARGUMENTS = {a.name for kind in COMMANDS.values() for a in arguments_of(kind)}

# The arguments of the signatures, as far as they are not called so here.
SIGNATURES = {
    "sb3_contrib.TRPO": {
        "learning_rate": "critic_learning_rate",
        "n_steps": "num_steps",
        "batch_size": "critic_minibatch_size",
        "gamma": "discount",
        "cg_max_steps": "cg_iterations",
        "line_search_shrinking_factor": "backtrack_coefficient",
        "line_search_max_iter": "max_backtracks",
        "n_critic_updates": "critic_epochs",
        "normalize_advantage": "standardize_advantage",
        "target_kl": "max_kl",
        "sub_sampling_factor": "fisher_fraction",
        "tensorboard_log": "output_dir",
        "n_envs": "num_envs",
        "total_timesteps": "total_steps",
        "net_arch": "hidden_sizes",
        "activation_fn": "activation",
        "ortho_init": "orthogonal_init",
        **dict.fromkeys(["policy", "env", "use_sde", "sde_sample_freq"]),
        **dict.fromkeys(["policy_kwargs", "verbose", "device", "ent_coef", "vf_coef"]),
        **dict.fromkeys(["max_grad_norm", "clip_range", "progress_bar", "callback"]),
    },
    "spinup.trpo": {
        "steps_per_epoch": "num_steps",
        "epochs": "total_steps",
        "gamma": "discount",
        "delta": "max_kl",
        "vf_lr": "critic_learning_rate",
        "train_v_iters": "critic_epochs",
        "damping_coeff": "cg_damping",
        "cg_iters": "cg_iterations",
        "backtrack_iters": "max_backtracks",
        "backtrack_coeff": "backtrack_coefficient",
        "lam": "gae_lambda",
        "max_ep_len": "training_time_limit",
        "save_freq": "checkpoint_every",
        "algo": "step_rule",
        **dict.fromkeys(["env_fn", "actor_critic", "ac_kwargs", "logger_kwargs"]),
    },
    "baselines.trpo_mpi": {
        "timesteps_per_batch": "num_steps",
        "cg_iters": "cg_iterations",
        "lam": "gae_lambda",
        "vf_stepsize": "critic_learning_rate",
        "vf_iters": "critic_epochs",
        "max_timesteps": "total_steps",
        "num_timesteps": "total_steps",
        "num_env": "num_envs",
        **dict.fromkeys(["policy_func", "entcoeff", "callback"]),
    },
    "tianshou": {
        "lr": "critic_learning_rate",
        "discount_factor": "discount",
        "optim_critic_iters": "critic_epochs",
        "backtrack_coeff": "backtrack_coefficient",
        "advantage_normalization": "standardize_advantage",
        "return_scaling": "scale_reward",
        "num_train_envs": "num_envs",
        "logdir": "output_dir",
        **dict.fromkeys(["task", "buffer_size", "bound_action_method", "render"]),
    },
    "cleanrl": {
        "total_timesteps": "total_steps",
        "learning_rate": "critic_learning_rate",
        "gamma": "discount",
        "update_epochs": "critic_epochs",
        "norm_adv": "standardize_advantage",
        "minibatch_size": "critic_minibatch_size",
        "num_minibatches": "critic_minibatch_size",
        "anneal_lr": "final_critic_learning_rate",
        **dict.fromkeys(["env_id", "clip_coef", "clip_vloss", "ent_coef", "vf_coef"]),
        **dict.fromkeys(["torch_deterministic", "cuda", "capture_video"]),
    },
    "rejax": {
        "num_epochs": "critic_epochs",
        "normalize_observations": "normalize_observation",
        "normalize_rewards": "scale_reward",
        "hidden_layer_sizes": "hidden_sizes",
        **dict.fromkeys(["clip_eps", "ent_coef", "vf_coef", "max_grad_norm"]),
    },
    "brax": {
        "num_timesteps": "total_steps",
        "episode_length": "training_time_limit",
        "discounting": "discount",
        "unroll_length": "num_steps",
        "num_updates_per_batch": "critic_epochs",
        "reward_scaling": "scale_reward",
        "policy_hidden_layer_sizes": "hidden_sizes",
        "value_hidden_layer_sizes": "critic_hidden_sizes",
        "num_eval_envs": "evaluation_episodes",
        **dict.fromkeys(["entropy_cost", "network_factory", "num_evals"]),
    },
    "rllib": {
        "lambda_": "gae_lambda",
        "kl_target": "max_kl",
        "rollout_fragment_length": "num_steps",
        "train_batch_size": "num_steps",
        "num_env_runners": "num_envs",
        "fcnet_hiddens": "hidden_sizes",
        "lr_schedule": "final_critic_learning_rate",
        **dict.fromkeys(["kl_coeff", "vf_loss_coeff", "entropy_coeff", "clip_param"]),
        **dict.fromkeys(["vf_clip_param", "grad_clip", "use_critic", "framework"]),
    },
}


def nearest_of(message):
    return message.partition("nearest: ")[2].strip("'") or None


@pytest.mark.parametrize("library", SIGNATURES)
def test_a_name_of_another_library_leads_to_its_option_or_to_none(library):
    said = {}
    for name in SIGNATURES[library]:
        with pytest.raises(ValueError, match=f"unknown option '{name}'") as error:
            split_options({name: 1})
        said[name] = nearest_of(str(error.value))
    assert said == SIGNATURES[library]


def test_what_is_near_nothing_leads_to_the_help():
    for name in ("zzz", "callback", "x", "", "-", "tau", "temperature"):
        message = unknown_option(name, OPTIONS, "help(Config)")
        assert message == f"unknown option {name!r}; see help(Config)"


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_a_misspelt_option_leads_to_it(name):
    middle = len(name) // 2
    for wrong in (name + "x", name[:middle] + name[middle + 1 :], name.upper()):
        if len(name) > 4 and wrong not in {*OPTIONS, *SYNONYMS}:
            assert nearest_of(unknown_option(wrong, OPTIONS, "")) == name


def test_the_table_names_options_that_exist_and_are_not_called_so():
    for name, options in SYNONYMS.items():
        assert set(options.split()) <= ARGUMENTS, name
        assert name not in OPTIONS
    assert not NOT_HERE.keys() & OPTIONS
    assert NOTES.keys() <= SYNONYMS.keys()
    assert len(SYNONYMS) >= 40


def test_every_message_is_one_sentence_that_names_options_that_exist():
    words = {**NOTES, **NOT_HERE}
    for name, text in words.items():
        assert re.fullmatch(r"[^:;\n]+[^.;:\n]", text), name  # one clause
        for option in re.findall(r"\b[a-z]+_[a-z_]+\b", text):
            assert option in OPTIONS


@pytest.mark.parametrize("kind", [Config, NetworkConfig, RunConfig])
def test_a_dataclass_of_options_says_the_same(kind):
    own = {field.name for field in dataclasses.fields(kind)}
    for name in ("gamma", "net_arch", "total_timesteps", "clip_range", "zzz"):
        with pytest.raises(ValueError, match=f"unknown option '{name}'") as error:
            kind(**{name: 1})
        expected = SYNONYMS.get(name)
        assert nearest_of(str(error.value)) == expected
        assert expected or f"see help({kind.__name__})" in str(error.value)
    for name in OPTIONS - own:
        with pytest.raises(ValueError, match=f"^'{name}' is an option of ") as error:
            kind(**{name: 1})
        owner = str(error.value).rpartition(" ")[2]
        assert name in vars(trpo_jax.config)[owner].__dataclass_fields__


@pytest.mark.parametrize("name", RENAMED)
def test_an_old_name_is_refused_with_the_new_one_by_the_class_itself(name):
    with pytest.raises(ValueError, match=f"'{name}' is now {RENAMED[name][:12]}"):
        Config(**{name: 1})


def test_the_classes_keep_their_signature_and_can_be_copied():
    names = [field.name for field in dataclasses.fields(Config)]
    assert list(inspect.signature(Config).parameters) == names
    config = Config(8, max_kl=0.5)
    assert config.num_envs == 8
    assert pickle.loads(pickle.dumps(config)) == config
    assert dataclasses.replace(config, max_kl=0.25).max_kl == 0.25
    with pytest.raises(TypeError, match="positional"):
        Config(*range(100))


def test_train_says_it_before_anything_is_imported_or_written(tmp_path):
    with pytest.raises(ValueError, match=r"nearest: 'discount'$"):
        trpo_jax.train("CartPole-v1", gamma=0.9, output_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()

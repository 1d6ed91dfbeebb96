import contextlib
import csv
import dataclasses
import io
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from helpers import assert_identical
from scipy.stats import trim_mean

import trpo_jax
from trpo_jax.cli import commands, main
from trpo_jax.config import Config, NetworkConfig, RunConfig
from trpo_jax.config.fields import replace_options
from trpo_jax.environments import lookup
from trpo_jax.runs import output_paths, plan, results, self_check
from trpo_jax.runs.presets import PRESETS, preset_of

HEAVY = ("jax", "flax", "optax", "gymnax", "matplotlib", "safetensors")


def flag_of(field):
    return "--" + field.name.replace("_", "-")


RUN_FLAGS = ("--config-file", *map(flag_of, dataclasses.fields(RunConfig)))

HYPER_PARAMETERS = [
    field for kind in (Config, NetworkConfig) for field in dataclasses.fields(kind)
]
OTHER_FLAGS = (
    *("--episodes", "--sampled", "--output", "--agent", "--max-steps"),
    *("--quiet", "--simulator", "--environment"),
)
FLAGS = {
    "--help",
    *OTHER_FLAGS,
    *RUN_FLAGS,
    *map(flag_of, HYPER_PARAMETERS),
    *(flag_of(f).replace("--", "--no-", 1) for f in HYPER_PARAMETERS),
}

# Arguments after `train CartPole-v1`, and what the one line has to contain.
BAD_VALUES = [
    *[
        (["--max-kl", value], ["--max-kl must be a finite number > 0", value])
        for value in ("0", "-1", "nan", "inf")
    ],
    (["--max-kl", "small"], ["--max-kl", "must be", "'small'"]),
    (["--max-kl"], ["--max-kl"]),
    *[
        ([flag, value], [f"{flag} must be a number in [0, 1]", value])
        for flag in ("--discount", "--gae-lambda")
        for value in ("-0.1", "1.5", "nan")
    ],
    *[
        ([flag, value], [f"{flag} must be an integer >= 1", value])
        for flag in ("--num-envs", "--num-steps", "--cg-iterations", "--seeds")
        for value in ("0", "-4")
    ],
    (["--num-envs", "2.5"], ["--num-envs", "must be an integer", "2.5"]),
    (["--evaluation-episodes", "0"], ["--evaluation-episodes must be", ">= 1", "0"]),
    (["--seed", "-1"], ["--seed must be an integer >= 0", "-1"]),
    (["--seed", "99999999999"], ["--seed must be", "< 2**31", "99999999999"]),
    (["--seed", "2147483647", "--seeds", "2"], ["seed + seeds", "2147483647 + 2"]),
    (["--max-kl", "1e300"], ["--max-kl must be", "float32", "1e+300"]),
    (["--total-steps", "9" * 21], ["--total-steps must be", "< 2**53", "9" * 21]),
    (["--total-steps", "9" * 15], ["total-steps", "iterations", "9" * 15]),
    (["--critic-epochs", "9" * 21], ["--critic-epochs must be", "< 2**31", "9" * 21]),
    (
        ["--num-envs", "1000000000", "--total-steps", "9" * 15],
        ["num_envs x num_steps must be < 2**31", "1000000000 x"],
    ),
    (["--output-dir", ""], ["--output-dir must be the name of a directory", "''"]),
    (["--fisher-fraction", "0"], ["--fisher-fraction must be", "(0, 1]", "0"]),
    (
        ["--fisher-fraction", "1e-9"],
        ["--fisher-fraction must leave", "1e-09"],
    ),
    (["--fisher-fraction", "1.5"], ["--fisher-fraction must be", "(0, 1]", "1.5"]),
    *[
        ([flag, value], [f"{flag} must be a number in (0, 1)", value])
        for flag in ("--backtrack-coefficient",)
        for value in ("0", "1")
    ],
    (["--critic-learning-rate", "0"], ["--critic-learning-rate must be", "> 0"]),
    *[
        ([flag, value], [f"{flag} must be a sequence of integers >= 1", value])
        for flag in ("--hidden-sizes", "--critic-hidden-sizes")
        for value in ("0", "-3")
    ],
    (["--hidden-sizes", "wide"], ["--hidden-sizes", "must be", "'wide'"]),
    (["--activation", "tahn"], ["--activation", "tanh", "'tahn'"]),
    (["--checkpoint-every", "-1"], ["--checkpoint-every must be", ">= 0", "-1"]),
    (["--keep", "0"], ["--keep must be an integer >= 1", "0"]),
    (["--keep", "few"], ["--keep must be an integer", "'few'"]),
    (
        ["--on-checkpoint-error", "panic"],
        ["--on-checkpoint-error must be one of continue, stop", "'panic'"],
    ),
    (["--simulator-timeout", "-1"], ["--simulator-timeout must be", ">= 0", "-1"]),
    (["--simulator-timeout", "5"], ["--simulator-timeout must be 0", "5"]),
    *[
        (["--config-file", name], [name, *needles])
        for name, needles in (
            ("nowhere.toml", ["No such file"]),
            ("files", [".toml or .json"]),
            ("files/values.yaml", [".toml or .json"]),
            ("files/broken.toml", ["cannot be read as options"]),
            ("files/broken.json", ["cannot be read as options"]),
            ("files/binary.toml", ["cannot be read as options"]),
            ("files/list.json", ["no names with values"]),
            ("files/deep.json", ["cannot be read as options"]),
            ("files/twice.toml", ["max_kl is there twice"]),
            ("files/twice.json", ["holds a name twice"]),
            ("files/large.json", ["larger than"]),
        )
    ],
    (["--config-file", "files/unknown.toml"], ["'max_kll'", "nearest: 'max_kl'"]),
    (["--config-file", "files/run.toml"], ["'total-step'", "nearest: 'total_steps'"]),
    (["--config-file", "files/table.toml"], ["no table nets", "run, config, network"]),
    (
        ["--config-file", "files/range.toml"],
        ["files/range.toml, for gymnax:CartPole-v1: max_kl must be", "> 0", "-1"],
    ),
    (
        ["--config-file", "files/steps.toml"],
        ["total_steps must be an integer", "1.5"],
    ),
    *[
        (["--config-file", f"files/{name}.toml"], ["gymnax:CartPole-v1", *needles])
        for name, needles in (
            ("other", ["names another environment, Acrobot-v1"]),
            ("misspelt", ["unknown environment 'Acrobt-v1'; nearest: 'Acrobot-v1'"]),
            ("inside", ["'environment'", "the first argument of train"]),
        )
    ],
    (["--config-file", "files/type.json"], ["seeds must be an integer", "'two'"]),
    (["--config-file", "files/path.json"], ["output_dir must be the name", "3"]),
    (["--total-steps", "100"], ["--total-steps must be", "= 1024", "100"]),
    *[
        (["--total-steps", value], ["--total-steps must be an integer", repr(value)])
        for value in ("1.5e0", "1e-1", "1e", "0x10", "1e999999999", "inf", "nan", "")
    ],
    (["--max-kll", "0.1"], ["--max-kll", "nearest: --max-kl"]),
    (["--method", "trpo"], ["--method is now --step-rule, trust_region"]),
    (["--max-kl-final", "0.1"], ["is now --final-max-kl, in nats"]),
    (["--no-common-random-numbers"], ["is now --vine-common-random-numbers"]),
    (["--step-rule", "trpo"], ["--step-rule must be one of trust_region", "'trpo'"]),
    (
        ["--critic-method", "gauss_newton", "--critic-epochs", "3"],
        ["--critic-epochs is used with critic_method adam only; got 3"],
    ),
    (["--scale-reward=1"], ["--scale-reward takes no value", "'1'"]),
    (["--max_kl", "0"], ["--max_kl", "nearest: --max-kl"]),
    (["--gamma", "0.9"], ["--gamma", "nearest: --discount"]),
    (["--lr", "0.1"], ["--lr", "no learning rate", "nearest: --critic-learning-rate"]),
    (["--total-timesteps", "9"], ["--total-timesteps; nearest: --total-steps"]),
    (["--tensorboard-log", "x"], ["metrics.csv", "nearest: --output-dir"]),
    (["--no-normalize-advantage"], ["nearest: --standardize-advantage"]),
    (["--clip-range", "0.2"], ["TRPO clips", "see trpo-jax train --help"]),
    (["--ent-coef", "0"], ["no entropy bonus; see trpo-jax train --help"]),
    (["--device", "cpu"], ["JAX_PLATFORMS=cpu", "see trpo-jax train --help"]),
    (["--verbose", "1"], ["nearest: --quiet"]),
    (["--zzz", "1"], ["unknown option --zzz; see trpo-jax train --help"]),
    (["--episodes", "3"], ["trpo-jax evaluate has it, trpo-jax train does not"]),
    (["--no-scale-rewrd"], ["--no-scale-rewrd", "nearest: --no-scale-reward"]),
    (["--output-dir", "busy"], ["--output-dir", "new or empty", "'busy'"]),
    (["--output-dir", "busy/file"], ["--output-dir", "directory", "'busy/file'"]),
    (
        ["--output-dir", "busy/file/sub"],
        ["--output-dir must be writable", "'busy/file/sub'"],
    ),
]
BAD_LINES = [
    *[(["train", "CartPole-v1", *rest], needles) for rest, needles in BAD_VALUES],
    (["train"], ["environment is missing: trpo-jax train CartPole-v1"]),
    (
        ["train", "--config-file", "files/other.toml"],
        ["missing: trpo-jax train Acrobot-v1 --config-file files/other.toml"],
    ),
    (["train", "cartpol"], ["'cartpol'", "nearest: 'CartPole-v1'"]),
    (["train", "zzz"], ["unknown environment 'zzz'; list them with: trpo-jax envs"]),
    (["train", "probe:zzz"], ["'probe:zzz'; list them with: trpo-jax envs 'probe:*'"]),
    (["train", "gym:CartPole-v1"], ["'gym'", "nearest: 'gymnasium'", "known: gymnax"]),
    (["train", "mojo:CartPole-v1"], ["'mojo'", "; known: gymnax"]),
    (["eval", "busy"], ["'eval'", "nearest: 'evaluate'"]),
    (["zzz"], ["unknown command 'zzz'; commands: train, resume"]),
    (["presets", "cartpol"], ["'cartpol'", "nearest: 'CartPole-v1'"]),
    (["envs", "--simulator", "unity"], ["--simulator must be one of gymnax", "unity"]),
    (["evaluate", "busy", "--env", "x"], ["--env", "nearest: --environment"]),
    (["watch", "busy", "--output", "busy/file.gif"], ["new file", "'busy/file.gif'"]),
    (["plot", "busy", "--output", "busy/file.png"], ["new file", "'busy/file.png'"]),
    (["train", "CartPole-v2"], ["'CartPole-v2'", "nearest: 'CartPole-v1'"]),
    (["train", "cartpole"], ["'cartpole'", "nearest: 'CartPole-v1'"]),
    (["train", "probe:actoin"], ["'probe:actoin'", "nearest: 'probe:action'"]),
    (["CartPole-v1"], ["'CartPole-v1'", "try: trpo-jax train CartPole-v1"]),
    (["train", "brx:ant"], ["'brx'", "'brx:ant'", "gymnax, envpool"]),
    (["train", "MNISTBandit-bsuite"], ["MNISTBandit-bsuite", "SimpleBandit-bsuite"]),
    (["train", "CartPole-v1", "Acrobot-v1"], ["Acrobot-v1"]),
    (["trian", "CartPole-v1"], ["trian", "train"]),
    (["presents"], ["presents", "presets"]),
    (["doctor", "--verbose"], ["--verbose"]),
    (["evaluate"], ["run is missing", "trpo-jax evaluate runs/"]),
    (["evaluate", "nowhere"], ["nowhere"]),
    (["evaluate", "busy"], ["policy.safetensors"]),
    (["evaluate", "busy", "--episodes", "0"], ["--episodes must be", ">= 1", "0"]),
    (["evaluate", "busy", "--episods", "9"], ["--episods", "nearest: --episodes"]),
    (["watch", "busy", "--agent", "-1"], ["--agent must be", ">= 0", "-1"]),
    (["watch", "busy", "--output", "agent.jpg"], [".gif", ".mp4", "agent.jpg"]),
    (["watch", "busy", "--output", "no/agent.gif"], ["a directory that exists", "no/"]),
    (["plot", "busy", "--output", "runs.jpg"], [".png", "runs.jpg"]),
    (["plot", "busy", "--output", "no/runs.png"], ["a directory that exists", "no/"]),
    (["resume"], ["run is missing", "trpo-jax resume runs/"]),
    (["resume", "nowhere"], ["nowhere does not hold a run"]),
    (["resume", "busy"], ["busy does not hold a run"]),
    (["resume", "busy", "--total-steps", "0"], ["--total-steps must be", ">= 1", "0"]),
    (["resume", "busy", "--total-steps", "1.5"], ["--total-steps must be", "'1.5'"]),
    (["resume", "busy", "--seeds", "2"], ["--seeds", "trpo-jax train has it"]),
    (["plot"], ["run is missing"]),
    (["plot", "busy"], ["busy does not hold a run"]),
    (["envs", "no such thing"], ["'no such thing'"]),
    (["--max-kl", "0.1"], ["--max-kl"]),
]
HELP_LINES = [["--help"], ["train", "--help"], ["train", "CartPole-v1", "--help"]]


def title(case):
    return " ".join(case[0])


pytestmark = pytest.mark.usefixtures("quick_compilation")


FILES = {
    "values.yaml": b"max_kl: 1",
    "broken.toml": b"max_kl = ",
    "broken.json": b'{"max_kl": ',
    "binary.toml": b"\xff\xfe\x00",
    "list.json": b"[1, 2]",
    "deep.json": b"[" * 100_000,
    "twice.toml": b"max_kl = 1\n[config]\nmax_kl = 2",
    "twice.json": b'{"max_kl": 1, "max_kl": 2}',
    "large.json": b" " * 2**21,
    "unknown.toml": b"max_kll = 1",
    "run.toml": b"total-step = 1",
    "table.toml": b"[nets]\nhidden_sizes = [8]",
    "range.toml": b"[config]\nmax_kl = -1",
    "type.json": b'{"seeds": "two"}',
    "path.json": b'{"output_dir": 3}',
    "steps.toml": b"total_steps = 1.5",
    "other.toml": b'environment = "Acrobot-v1"',
    "misspelt.toml": b'environment = "Acrobt-v1"',
    "inside.toml": b'[run]\nenvironment = "Acrobot-v1"',
}


def occupied(directory):
    (directory / "busy").mkdir()
    for name in ("file", "file.gif", "file.png"):
        (directory / "busy" / name).write_text("mine")
    (directory / "files").mkdir()
    for name, content in FILES.items():
        (directory / "files" / name).write_bytes(content)
    return directory


def listing(directory):
    return sorted(str(path) for path in pathlib.Path(directory).rglob("*"))


def is_one_helpful_line(stderr, argv, needles):
    assert stderr.startswith("trpo-jax: ")
    assert stderr.endswith("\n")
    assert stderr.count("\n") == 1
    assert "Traceback" not in stderr
    assert "__" not in stderr  # names inside the parser mean nothing to a reader
    for needle in needles:
        assert needle in stderr
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", stderr))
    assert named <= FLAGS | {word.split("=")[0] for word in argv}


@pytest.mark.parametrize("case", BAD_LINES, ids=title)
def test_a_bad_command_line_gets_one_line_with_the_rule_and_the_value(
    case, tmp_path, monkeypatch, capsys
):
    argv, needles = case
    monkeypatch.chdir(occupied(tmp_path))
    before = listing(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main.main(argv)
    output = capsys.readouterr()
    assert stop.value.code == 2
    assert output.out == ""
    assert listing(tmp_path) == before
    is_one_helpful_line(output.err, argv, needles)


@pytest.mark.parametrize(
    "case",
    [
        case
        for case in BAD_LINES
        if title(case)
        in {
            "train CartPole-v2",
            "train CartPole-v1 --max-kl nan",
            "train CartPole-v1 --output-dir busy/file/sub",
            "trian CartPole-v1",
        }
    ],
    ids=title,
)
def test_a_bad_command_line_is_refused_by_the_program_itself(case, tmp_path):
    argv, needles = case
    before = listing(occupied(tmp_path))
    run = subprocess.run(
        [sys.executable, "-m", "trpo_jax", *argv],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert run.stdout == ""
    assert listing(tmp_path) == before
    is_one_helpful_line(run.stderr, argv, needles)


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """What each command line imports, asked in an interpreter that is fresh."""
    code = """
import contextlib, io, json, sys
lines, heavy = json.loads(sys.argv[1])
answer = []
for argv in lines:
    with contextlib.redirect_stdout(io.StringIO()):
        with contextlib.redirect_stderr(io.StringIO()):
            try:
                from trpo_jax.cli import commands, main
                main.main(argv)
            except SystemExit:
                pass
    answer.append([name for name in heavy if name in sys.modules])
    for name in list(sys.modules):  # the next line is not to blame
        if name.split(".")[0] in heavy:
            del sys.modules[name]
print(json.dumps(answer))
"""
    # What does import something heavy cannot be unloaded cleanly, so it comes last.
    lines = [*HELP_LINES, *(argv for argv, _ in BAD_LINES)]
    lines.sort(key=lambda argv: "MNISTBandit-bsuite" in argv)
    run = subprocess.run(
        [sys.executable, "-c", code, json.dumps([lines, HEAVY])],
        cwd=occupied(tmp_path_factory.mktemp("imported")),
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(map(" ".join, lines), json.loads(run.stdout)))


@pytest.mark.parametrize(
    "line", [" ".join(argv) for argv in [*HELP_LINES, *(a for a, _ in BAD_LINES)]]
)
def test_help_and_refusals_import_nothing_heavy(line, imported):
    assert imported[line] == []


def help_text(argv, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as stop:
        main.main(argv)
    output = capsys.readouterr()
    assert stop.value.code == 0
    assert output.err == ""
    return output.out


def test_a_file_of_options_is_over_the_preset_and_under_what_is_given(tmp_path):
    path = tmp_path / "values.toml"
    path.write_text(
        "seeds = 2\nmax_kl = 0.5\ncg_damping = 0.3\n[network]\nhidden_sizes = [8, 8]\n"
    )
    line = ["train", "Acrobot-v1", "--config-file", str(path), "--max-kl", "0.2"]
    command, preset = main._parse(line), preset_of("gymnax:Acrobot-v1")
    run = command.run
    assert (run.seeds, run.total_steps) == (2, preset.total_steps)
    assert command.config == dataclasses.replace(
        preset.config, max_kl=0.2, cg_damping=0.3
    )
    assert command.network == dataclasses.replace(preset.network, hidden_sizes=(8, 8))


@pytest.mark.parametrize("critic_method", ["adam", "gauss_newton"])
def test_a_run_can_be_repeated_from_its_own_description(critic_method, tmp_path):
    values = {"seeds": 3, "max_kl": 0.5, "hidden_sizes": (8,), "total_steps": 99_999}
    values["critic_method"] = critic_method
    before = plan.make_plan("Acrobot-v1", **values)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(before.as_json() | {"versions": {"jax": "0.1"}}))
    line = ["train", "Acrobot-v1", "--config-file", str(path)]
    assert main._plan(main._parse(line)) == before


def test_a_mode_that_is_given_replaces_what_the_preset_had_for_another():
    line = ["train", "Acrobot-v1", "--critic-method", "gauss_newton"]
    config = preset_of("gymnax:Acrobot-v1").config
    assert config.critic_epochs != Config().critic_epochs
    expected = replace_options(config, critic_method="gauss_newton")
    assert main._parse(line).config == expected


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"], ["help"]], ids=str)
def test_help_names_the_subcommands(argv, capsys, monkeypatch):
    text = help_text(argv, capsys, monkeypatch)
    assert all(name in text for name in ("train", "presets", "doctor"))


def test_help_may_come_first(capsys, monkeypatch):
    text = help_text(["help", "resume"], capsys, monkeypatch)
    assert text == help_text(["resume", "--help"], capsys, monkeypatch)


def shown_defaults(text):
    """The default in the entry of each flag."""
    entry = r"^  {}[ ,][^\n]*\n(?:      [^\n]*\n)*?      [^\n]*\(default: (.*?)\)$"
    return {
        flag: re.search(entry.format(flag), text, re.MULTILINE).group(1)
        for flag in map(flag_of, HYPER_PARAMETERS)
    }


def printed(value):
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def test_help_names_every_flag_with_the_default_of_the_library(capsys, monkeypatch):
    text = help_text(["train", "--help"], capsys, monkeypatch)
    assert all(flag in text for flag in RUN_FLAGS)
    assert shown_defaults(text) == {
        flag_of(field): printed(field.default) for field in HYPER_PARAMETERS
    }


@pytest.mark.parametrize("name", ["CartPole-v1", "gymnax:CartPole-v1"])
def test_help_beside_an_environment_shows_its_preset(name, capsys, monkeypatch):
    preset = PRESETS["CartPole-v1"]
    values = dataclasses.asdict(preset.config) | dataclasses.asdict(preset.network)
    assert values != dataclasses.asdict(Config()) | dataclasses.asdict(NetworkConfig())
    text = help_text(["train", name, "--help"], capsys, monkeypatch)
    assert shown_defaults(text) == {
        flag_of(field): printed(values[field.name]) for field in HYPER_PARAMETERS
    }
    assert f"(default: {preset.total_steps})" in text


def test_presets_are_listed_with_steps_and_source(capsys):
    main.main(["presets"])
    output = capsys.readouterr()
    assert output.err == ""
    for name, preset in PRESETS.items():
        assert name in output.out
        assert f"{preset.total_steps:,}" in output.out
        assert set(preset.source.split()) <= set(output.out.split())


@pytest.mark.parametrize("argv", [["presets"], ["train", "--help"]], ids=" ".join)
def test_a_reader_that_stops_reading_gets_no_message(argv):
    process = subprocess.Popen(
        [sys.executable, "-m", "trpo_jax", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    message = process.stderr.read()
    process.stderr.close()
    assert process.wait() != 2  # it was not bad input
    assert message == ""


# A shell in the background lets its children ignore interrupts.
HEARING_INTERRUPTS = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('trpo_jax', run_name='__main__', alter_sys=True)"
)


def started(argv, directory, **options):
    return subprocess.Popen(
        [sys.executable, "-c", HEARING_INTERRUPTS, *argv],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


SMALL = ["train", "probe:action", "--total-steps", "4096"]


def test_a_reader_of_the_progress_may_stop_and_the_run_goes_on(tmp_path):
    process = started([*SMALL, "--output-dir", "run"], tmp_path)
    assert process.stdout.readline() == "probe:action\n"
    assert "steps 2,048" in process.stdout.readline()
    process.stdout.close()
    with process.stderr as stderr:
        assert stderr.read() == ""
    assert process.wait(120) in (0, 141)
    assert (tmp_path / "run" / "evaluation.json").exists()


def test_an_output_without_greek_letters_does_not_end_a_run(tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    process = started(SMALL, tmp_path, env=environment)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert "KL / ?" in stdout


def test_an_interrupt_keeps_the_policy_and_says_so(tmp_path):
    line = ["train", "probe:action", "--total-steps", "500000000"]
    process = started([*line, "--output-dir", "run"], tmp_path)
    assert process.stdout.readline() == "probe:action\n"
    assert "steps" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    steps = re.search(r"stopped after ([\d,]+) steps; resume with", stderr)[1]
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(rows[-1])["environment_steps"] == int(steps.replace(",", ""))
    policy = trpo_jax.load_policy(tmp_path / "run")
    assert policy.act(np.zeros(policy.observation_space.shape)) in (0, 1)


def test_an_interrupt_while_compiling_leaves_nothing(tmp_path):
    process = started(SMALL, tmp_path, bufsize=1)
    while not list(tmp_path.glob("runs/*")):  # claimed just before
        time.sleep(0.05)
    while process.poll() is None:  # a library may swallow one while it is imported
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert stderr.splitlines()[-1] == "trpo-jax: interrupted"
    assert listing(tmp_path) == []


def test_two_runs_that_start_together_have_a_directory_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with contextlib.ExitStack() as stack:
        claims = [
            output_paths.claim_directory("envpool:My/Task-v1", 0) for _ in range(3)
        ]
        claimed = [stack.enter_context(claim) for claim in claims]
        assert len(set(claimed)) == 3
        assert all(path.is_dir() for path in claimed)
        assert all(path.name.startswith("My-Task-v1-seed0-") for path in claimed)
        (claimed[1] / "policy").touch()
    assert listing("runs") == [str(claimed[1]), str(claimed[1] / "policy")]


def test_memory_that_is_not_there_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main.main([*SMALL, "--evaluation-episodes", "2000000000"])
    assert stop.value.code == 2
    (message,) = capsys.readouterr().err.splitlines()
    assert "GiB of memory" in message
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("argv", [["--version"], ["train", "--version"]], ids=str)
def test_version(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        main.main(argv)
    assert stop.value.code in (0, None)
    assert capsys.readouterr().out == f"trpo-jax {trpo_jax.__version__}\n"


def test_doctor_exits_0_when_the_compiler_is_right(capsys):
    with pytest.raises(SystemExit) as stop:
        main.main(["doctor"])
    output = capsys.readouterr()
    assert stop.value.code == 0
    assert output.err == ""
    assert jax.__version__ in output.out
    assert trpo_jax.__version__ in output.out
    assert output.out.count("(right)") == len(self_check.self_check())
    assert "WRONG" not in output.out


@pytest.fixture
def broken_compiler(monkeypatch):
    checks = [
        self_check.Check("a sum", 3.0, 3.0),
        self_check.Check("a product", 5.0, 6.0),
    ]
    monkeypatch.setattr(self_check, "self_check", lambda: checks)


@pytest.mark.usefixtures("broken_compiler")
def test_doctor_exits_1_when_the_compiler_is_wrong(capsys):
    with pytest.raises(SystemExit) as stop:
        main.main(["doctor"])
    assert stop.value.code == 1
    assert "a product: 5.0 (WRONG, expected 6.0)" in capsys.readouterr().out


@pytest.mark.usefixtures("broken_compiler")
def test_training_exits_1_with_one_line_when_the_compiler_is_wrong(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main.main(["train", "CartPole-v1"])
    output = capsys.readouterr()
    assert stop.value.code == 1
    assert output.out == ""
    assert listing(tmp_path) == []
    is_one_helpful_line(output.err, [], ["a product", "5.0", "6.0", jax.__version__])


# 51 iterations of 2 x 8 steps, reported two by two: the last report is of one alone.
TOTAL_STEPS, BATCH, ITERATIONS, SEEDS = 819, 16, 51, (7, 8)
RUN_LINE = (
    f"train CartPole-v1 --total-steps {TOTAL_STEPS} --seeds 2 --seed 7 --num-envs 2 "
    "--num-steps 8 --hidden-sizes --evaluation-episodes 3 --output-dir results/run"
)


class FinishedRun:
    def __init__(self, directory, output):
        self.directory = directory
        self.output = output

    def json(self, name):
        return strict_json((self.directory / name).read_text())

    @property
    def rows(self):
        lines = (self.directory / "metrics.jsonl").read_text().splitlines()
        return [strict_json(line) for line in lines]


def strict_json(text):
    def refuse(constant):
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("cli")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        stdout, stderr = patched_streams(patch)
        main.main(RUN_LINE.split())
    return FinishedRun(
        directory / "results" / "run", (stdout.getvalue(), stderr.getvalue())
    )


def patched_streams(patch):
    streams = io.StringIO(), io.StringIO()
    patch.setattr(sys, "stdout", streams[0])
    patch.setattr(sys, "stderr", streams[1])
    return streams


def test_a_run_leaves_exactly_its_six_files_and_checkpoints(run):
    assert sorted(path.name for path in run.directory.iterdir()) == [
        "checkpoints",
        "config.json",
        "evaluation.json",
        "learning_curve.png",
        "metrics.csv",
        "metrics.jsonl",
        "policy.safetensors",
    ]
    assert listing(run.directory.parent.parent) == sorted(
        [str(run.directory.parent), str(run.directory), *listing(run.directory)]
    )


def test_a_run_tells_its_scores_and_where_the_results_are(run):
    stdout, stderr = run.output
    assert stderr == ""
    *_, greedy, sampled, _, where, following = stdout.splitlines()
    for how, line in (("greedy", greedy), ("sampled", sampled)):
        low, high = sorted(run.json("evaluation.json")[how]["mean_per_seed"])
        score = run.json("evaluation.json")[how]["iqm"]
        of = f"({how}, 3 episodes × 2 seeds, IQM)"
        assert line.startswith(f"return {score:.1f} {of}, the seeds ")
        assert {f"{low:.1f}", f"{high:.1f}"} <= set(line.split())
        assert "%" not in line  # two seeds are too few for an interval
    assert where == "results in results/run/"
    for command in ("watch", "evaluate", "resume"):
        assert f"trpo-jax {command} results/run" in following


def test_the_evaluation_has_its_schema(run):
    evaluation = run.json("evaluation.json")
    assert set(evaluation) == {
        "environment",
        "total_steps",
        "episodes",
        "greedy",
        "sampled",
        "unfinished_episodes",
        "seconds",
        "versions",
        "device",
    }
    assert evaluation["environment"] == "gymnax:CartPole-v1"
    assert evaluation["total_steps"] == ITERATIONS * BATCH
    assert evaluation["episodes"] == 3
    assert evaluation["unfinished_episodes"] == 0
    assert set(evaluation["seconds"]) == {"start", "compile", "train", "evaluate"}
    assert evaluation["versions"] == self_check.describe()
    assert evaluation["device"] == jax.devices()[0].device_kind
    for how in ("greedy", "sampled"):
        scores = evaluation[how]
        assert set(scores) == {"mean_per_seed", "iqm", "ci95"}
        means = scores["mean_per_seed"]
        assert len(means) == len(SEEDS)
        assert all(1 <= mean <= 500 for mean in means)
        assert np.isclose(scores["iqm"], trim_mean(means, 0.25))
        low, high = scores["ci95"]
        assert min(means) <= low <= scores["iqm"] <= high <= max(means)


def test_there_is_one_row_an_iteration_and_seed_within_the_steps_asked_for(run):
    for seed in SEEDS:
        own = [row for row in run.rows if row["seed"] == seed]
        assert [row["iteration"] for row in own] == list(range(1, ITERATIONS + 1))
        steps = [row["environment_steps"] for row in own]
        assert steps == [BATCH * i for i in range(1, ITERATIONS + 1)]
        assert TOTAL_STEPS - BATCH < steps[-1] <= TOTAL_STEPS
    assert len(run.rows) == ITERATIONS * len(SEEDS)


def test_every_number_of_the_metrics_is_possible(run):
    for row in run.rows:
        assert set(row) == {
            "seed",
            "iteration",
            "environment_steps",
            *trpo_jax.Metrics._fields,
        } - {"joint_kl"}
        ended = row["episodes"] > 0
        assert (row["episode_return"] is not None) == ended
        assert not ended or row["episode_return"] == row["episode_length"] >= 1
        assert 0 <= row["kl"] <= 0.01
        assert row["status"] in list(trpo_jax.Status)
        assert (row["step_fraction"] > 0) == (row["status"] == trpo_jax.Status.ACCEPTED)
        assert 0 <= row["entropy"] <= np.log(2) + 1e-6
        assert row["explained_variance"] is None or row["explained_variance"] <= 1
    # CartPole cannot be lost in 8 steps by every policy: some rows have no episode.
    assert any(row["episodes"] == 0 for row in run.rows)


def test_csv_and_json_lines_agree_row_by_row(run):
    with (run.directory / "metrics.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    converted = [
        {name: None if text == "" else json.loads(text) for name, text in row.items()}
        for row in table
    ]
    assert converted == run.rows


def test_the_configuration_is_that_of_the_command_line_over_the_preset(run):
    content = run.json("config.json")
    expected = dataclasses.asdict(PRESETS["CartPole-v1"].config)
    assert content["config"] == expected | {"num_envs": 2, "num_steps": 8}
    assert content["network"]["hidden_sizes"] == []
    assert content["run"]["total_steps"] == TOTAL_STEPS
    assert (content["run"]["seeds"], content["run"]["seed"]) == (2, 7)


def test_the_configuration_repeats_the_run_byte_for_byte(run, tmp_path):
    content = run.json("config.json")
    trpo_jax.train(
        content["environment"],
        output_dir=tmp_path,
        progress=False,
        **content["run"],
        **content["config"],
        **content["network"],
    )
    for name in ("metrics.jsonl", "metrics.csv", "learning_curve.png"):
        assert (tmp_path / name).read_bytes() == (run.directory / name).read_bytes()
    repeated, first = map(trpo_jax.load_policy, (tmp_path, run.directory))
    assert_identical(repeated.policy_params, first.policy_params)
    assert_identical(repeated.normalizer, first.normalizer)
    repeated = strict_json((tmp_path / "evaluation.json").read_text())
    for how in ("greedy", "sampled"):
        assert repeated[how] == run.json("evaluation.json")[how]


def test_the_policy_file_holds_every_seed(run):
    saved = trpo_jax.load_policy(run.directory)
    assert saved.description.name == "gymnax:CartPole-v1"
    scores = run.json("evaluation.json")["greedy"]["mean_per_seed"]
    assert saved.greedy_return == tuple(scores)
    for leaf in jax.tree.leaves((saved.policy_params, saved.normalizer)):
        assert len(leaf) == len(SEEDS)


def test_a_directory_with_results_is_not_written_again(run, monkeypatch, capsys):
    monkeypatch.chdir(run.directory.parent.parent)

    def contents():
        paths = run.directory.rglob("*")
        return {path: path.read_bytes() for path in paths if path.is_file()}

    before = contents()
    with pytest.raises(SystemExit) as stop:
        main.main(RUN_LINE.split())
    assert stop.value.code == 2
    is_one_helpful_line(capsys.readouterr().err, [], ["already in use", "results/run"])
    assert contents() == before


@pytest.fixture
def said(capsys):
    def run_line(*argv):
        main.main(list(argv))
        return capsys.readouterr().out

    return run_line


def test_a_run_can_be_evaluated_again(run, said):
    output = said("evaluate", str(run.directory), "--episodes", "7").splitlines()
    seeds = len(run.json("evaluation.json")["greedy"]["mean_per_seed"])
    assert output[0] == "gymnax:CartPole-v1"
    assert "greedy" in output[1]
    assert "7 episodes" in output[1]
    agents = [line for line in output if line.strip().startswith("agent ")]
    assert len(agents) == (seeds if seeds > 1 else 0)
    assert (
        said("evaluate", str(run.directory), "--episodes", "7").splitlines() == output
    )
    sampled = said("evaluate", str(run.directory), "--episodes", "7", "--sampled")
    assert "sampled" in sampled


def test_a_file_that_holds_no_policy_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(occupied(tmp_path))
    with pytest.raises(SystemExit) as stop:
        main.main(["evaluate", "busy/file"])
    assert stop.value.code == 2
    assert "busy/file does not hold a policy" in capsys.readouterr().err


def test_runs_are_compared_in_one_figure(run, said, tmp_path):
    picture = tmp_path / "both.png"
    said("plot", str(run.directory), str(run.directory), "--output", str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")


def copied(run, directory):
    shutil.copytree(run.directory, directory, ignore=shutil.ignore_patterns("check*"))
    return set(directory.iterdir())


def test_a_picture_goes_into_the_run_and_never_over_another(run, said, tmp_path):
    before = copied(run, tmp_path / "run")
    for name in ("runs.png", "runs-2.png", "runs-3.png"):
        path = tmp_path / "run" / name
        path_before = path.exists()
        output = said("plot", str(tmp_path / "run"))
        assert output == f"wrote {path}: the learning curves of 1 run\n"
        assert not path_before
        assert path.read_bytes().startswith(b"\x89PNG")
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        *(p.name for p in before), "runs.png", "runs-2.png", "runs-3.png"
    }  # fmt: skip


def test_a_video_goes_into_the_run_and_never_over_another(run, said, tmp_path):
    copied(run, tmp_path / "run")
    for target, name in (
        ("run", "agent.gif"),
        ("run/policy.safetensors", "agent-2.gif"),
    ):
        path = tmp_path / "run" / name
        output = said("watch", str(tmp_path / target), "--max-steps", "3")
        assert output.startswith(f"wrote {path}: gymnax:CartPole-v1, return ")
        assert path.read_bytes().startswith(b"GIF8")


def test_a_run_that_cannot_be_written_to_needs_another_output(
    run, monkeypatch, tmp_path, capsys
):
    copied(run, tmp_path / "run")
    access = os.access
    read_only = str(tmp_path / "run")
    monkeypatch.setattr(
        os, "access", lambda path, mode: str(path) != read_only and access(path, mode)
    )
    for command in ("watch", "plot"):
        with pytest.raises(SystemExit) as stop:
            main.main([command, read_only])
        assert stop.value.code == 2
        needles = ["can be written to", read_only, "name another one"]
        is_one_helpful_line(capsys.readouterr().err, [], needles)


def test_environments_are_listed_and_counted(capsys):
    main.main(["envs", "gymnax:*"])
    output = capsys.readouterr()
    names = output.out.split()
    assert "gymnax:CartPole-v1" in names
    assert all(name.startswith("gymnax:") for name in names)
    assert output.err == f"{len(names)} environments of gymnax\n"
    main.main(["envs", "--simulator", "gymnax"])
    assert capsys.readouterr().out.split() == names
    main.main(["envs", "cartpole-v1"])
    output = capsys.readouterr()
    count = len(output.out.split())
    assert output.err.startswith(f"{count} environments: 1 of gymnax, ")
    main.main(["envs", "cartpole", "--simulator", "gymnax"])
    assert capsys.readouterr() == ("gymnax:CartPole-v1\n", "1 environment of gymnax\n")


def test_a_simulator_that_is_not_installed_is_said_to_be(monkeypatch, capsys):
    installed = lookup._installed
    monkeypatch.setattr(lookup, "_installed", lambda x: x != "brax" and installed(x))
    with pytest.raises(SystemExit) as stop:
        main.main(["envs", "--simulator", "brax"])
    assert stop.value.code == 2
    needles = ["'brax:*' needs brax", "pip install 'trpo-jax[brax]'"]
    is_one_helpful_line(capsys.readouterr().err, [], needles)


@pytest.mark.parametrize("name", ["Acrobot-v1", "gymnax:Acrobot-v1"])
def test_one_preset_is_shown_with_its_source_and_what_it_changes(name, said):
    preset = PRESETS["Acrobot-v1"]
    head, source, *lines = said("presets", name).splitlines()
    assert head.endswith("Acrobot-v1: 100,000 steps")
    assert source == f"source: {preset.source}"
    plain = dataclasses.asdict(Config()) | dataclasses.asdict(NetworkConfig())
    own = dataclasses.asdict(preset.config) | dataclasses.asdict(preset.network)
    assert lines == [
        f"  {k} {own[k]} (default: {plain[k]})" for k in own if own[k] != plain[k]
    ]


def test_an_environment_without_a_preset_is_said_to_have_none(said):
    output = said("presets", "probe:action").splitlines()
    assert output[0] == "probe:action: 1,000,000 steps"
    assert output[-1] == "there is no preset for this environment"


def test_a_quiet_run_prints_its_results_alone(tmp_path, monkeypatch, said):
    monkeypatch.chdir(tmp_path)
    line = ["--quiet", "--total-steps", "4096", "--evaluation-episodes", "1"]
    output = said("train", "probe:action", *line, "--output-dir", "a run")
    score, *_, where, following = output.splitlines()
    assert score == "return 1.0 (greedy, 1 episode)"
    assert where == "results in a run/"
    names = ("watch", "evaluate", "resume")
    watch, evaluate, resume = (f"trpo-jax {name} 'a run'" for name in names)
    assert following == f"next: {watch}, {evaluate}, or {resume} --total-steps 8192"
    again = said("resume", "a run", "--total-steps", "8e3", "--quiet")
    assert again.startswith("return 1.0 (greedy, 1 episode)\n")
    assert len(again.splitlines()) == len(output.splitlines())


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ([3.0], "return 3.0 (greedy, 9 episodes)"),
        (
            [3.0, 4.5],
            "return 3.8 (greedy, 9 episodes × 2 seeds, IQM), the seeds 3.0 and 4.5",
        ),
        (
            [500.0] * 4,
            "return 500.0 (greedy, 9 episodes × 4 seeds, IQM), "
            "95 % interval 500.0 to 500.0",
        ),
        ([3.0, np.nan], "return not finite (greedy, 9 episodes × 2 seeds, IQM)"),
    ],
    ids=str,
)  # fmt: skip
def test_a_result_says_how_it_came_about(means, expected, capsys):
    scores = results.summarize_returns(np.array(means)[:, None])
    commands._print_scores("greedy", scores, 9)
    assert capsys.readouterr().out == f"{expected}\n"

"""What a user types: single values, relative paths, misspelt keys and choices, runs that are resumed."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf

from srlab.app.application import register
from srlab.app.checks import check_complete
from srlab.app.keys import misspelt
from srlab.app.launch import for_hydra
from srlab.app.list_values import single_values_as_lists
from srlab.app.presets import configuration_folder
from srlab.app.saved_config import PATH_KEYS, differing_keys, finish, load_config, save_config
from srlab.checkpoints.loading import find_file
from srlab.data import datasets
from training_runs import ROOT


@pytest.fixture(scope="module", autouse=True)
def _registered():
    register()


def composed(*words, root="train"):
    with initialize_config_dir(config_dir=str(configuration_folder()), version_base="1.3"):
        return compose(root, overrides=list(words))


def several(target: str, **arguments):
    return OmegaConf.create({"node": {"_target_": target, **arguments}})


def test_every_list_of_the_presets_may_be_one_value():
    """Oracle: the presets themselves, which say what is a list."""
    for path in sorted(configuration_folder().glob("*/*.yaml")):
        for node in _targets(OmegaConf.load(path)):
            lists = [key for key in node if isinstance(_plain(node, key), Sequence) and key != "defaults"]
            lists = [key for key in lists if not isinstance(_plain(node, key), str)]
            # one value of a list of lists would be a list itself
            lists = [key for key in lists if not any(isinstance(each, ListConfig) for each in node[key])]
            for key in lists:
                values = list(node[key])
                cfg = several(node._target_, **{str(key): values[0] if values else "first"})
                if key == "betas":  # a pair
                    with pytest.raises(ValueError, match=r"node.betas has 2 values, got \["):
                        single_values_as_lists(cfg)
                    continue
                single_values_as_lists(cfg)
                assert cfg.node[key] == (values[:1] or ["first"]), (path, key)


@pytest.mark.parametrize(
    ("target", "argument", "typed", "told"),
    [
        (
            "srlab.tasks.optimization.multistep",
            "milestones",
            "soon",
            r"node.milestones is a list of int, got \['soon'\]",
        ),
        ("srlab.data.datasets.benchmark", "sets", [1], r"node.sets is a list of str, got \[1\]"),
        ("torch.optim.Adam", "betas", [0.5], r"node.betas has 2 values, got \[0.5\]"),
    ],
)
def test_lists_of_something_else_are_refused(target, argument, typed, told):
    with pytest.raises(ValueError, match=told):
        single_values_as_lists(several(target, **{argument: typed}))


def test_values_that_are_no_lists_stay():
    cfg = several("srlab.models.esc.esc.ESC", num_heads=4, backend="auto")
    single_values_as_lists(cfg)
    assert dict(cfg.node) == {"_target_": "srlab.models.esc.esc.ESC", "num_heads": 4, "backend": "auto"}


def test_one_validation_number_is_told_what_is_meant():
    cfg = several("srlab.data.datasets.div2k", validation_range=801)
    single_values_as_lists(cfg)
    with pytest.raises(ValueError, match=r"must be \[first, last\] within 801..900, got \[801\]"):
        datasets._checked_range(cfg.node.validation_range)


def test_paths_are_those_of_the_folder_where_the_run_began(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "w").touch()
    monkeypatch.delenv("SRLAB_CACHE", raising=False)
    monkeypatch.chdir(tmp_path / "there")
    words = ["data=folder", "data.root=[a,'~/b']", "paths.data=d", "paths.name=n", "initial_weights=w"]
    cfg = composed(*words)
    cfg.paths.run = cfg.paths.new_run = "run"
    save_config(cfg, tmp_path)
    monkeypatch.chdir(tmp_path)
    saved = load_config(tmp_path)
    here = f"{tmp_path}/there"
    assert list(saved.data.root) == [f"{here}/a", "~/b"]
    assert (saved.data.cache, saved.initial_weights) == (f"{here}/d/.srlab", f"{here}/w")
    assert saved.paths.run == f"{here}/run"
    monkeypatch.chdir(tmp_path / "there")
    assert differing_keys(cfg, saved) == []  # resume=auto, typed once more


def test_every_path_of_the_data_is_a_path_of_the_run():
    for path in sorted(configuration_folder().glob("data/*.yaml")):
        function = get_object(OmegaConf.load(path)._target_)
        for name in function.__annotations__:
            assert ("root" in name or name == "cache") == (f"data.{name}" in PATH_KEYS) or name == "loading"


def test_placeholders_and_interpolations_of_paths_stay():
    cfg = OmegaConf.create(
        {"paths": {"data": "/d"}, "data": {"root": "${paths.data}", "validation_root": None}}
    )
    finish(cfg)
    assert OmegaConf.to_container(cfg) == {
        "paths": {"data": "/d"},
        "data": {"root": "${paths.data}", "validation_root": None},
    }


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["data.root=x", "seed=1"], ["data.root=x", "seed=1"]),
        (["resume=auto", "seed=1"], ["resume=auto", "seed=1"]),
        (
            ["resume=R", "data.root=x", "+a.b=1", "~callbacks.ema", "hydra.verbose=true"],
            ["resume=R", "hydra.verbose=true"],
        ),
        (["--config-name", "train", "rerun=R", "seed=1"], ["--config-name", "train", "rerun=R"]),
        (["-m", "rerun=R", "seed=1,2"], ["-m", "rerun=R", "seed=1,2"]),
    ],
)
def test_hydra_composes_without_the_changes_of_another_run(words, kept):
    assert for_hydra(words) == kept


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trainer.devicess=2"], "there is no key trainer.devicess; the nearest are trainer.devices"),
        (["max_steps=2"], "there is no key max_steps; the nearest are trainer.max_steps"),
        (["optimiser.lr=1"], "there is no key optimiser.lr; the nearest are optimizer.lr"),
        (["trainer.devicess=1,2"], "there is no key trainer.devicess; the nearest are trainer.devices"),
        (
            ["trainer.profiler=simple"],
            "there is no key trainer.profiler; an option that is not set yet is added with +trainer.p",
        ),
        (["data.sets=Set5"], "there is no key data.sets; an option that is not set yet is added with +data"),
        (["trainer.lr=1"], "there is no key trainer.lr; the nearest are optimizer.lr"),
        (["data=folder", "data.rot=x"], "there is no key data.rot; the nearest are data.root"),
    ],
)
def test_what_is_misspelt_is_answered_with_what_is_near(words, told):
    (fault,) = misspelt(words, "train")
    assert fault.startswith(told)


def test_what_is_right_is_not_blamed():
    assert misspelt(["seed=1", "data=folder", "data.root=x", "+trainer.profiler=simple"], "train") == []


@pytest.mark.parametrize(
    ("program", "words", "told"),
    [
        ("train.py", ["trainer.devicess=2"], "error: there is no key trainer.devicess; the nearest are"),
        ("evaluate.py", ["modl=bicubic"], "error: there is no key modl; the nearest are model"),
        (
            "train.py",
            ["model=elan_lihgt"],
            "error: there is no model=elan_lihgt; the nearest are elan_li",
        ),
        pytest.param(
            "evaluate.py",
            ["model=bicubic", "protocol=[ycbcr]"],
            "error: there is no protocol=ycbcr; there are basicsr, elan,",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "evaluate.py",
            ["checkpoint=nowhere.pt", "metrics=[psnr,vmaf]"],  # before any file is opened
            "there is no metric 'vmaf'; choose from",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "train.py", ["data=folder"], "data=folder needs data.root=VALUE\n", marks=pytest.mark.slow
        ),
        pytest.param(
            "evaluate.py",
            ["--config-dir", "conf", "model=bicubic", "data=incomplete"],
            'must set these; a file in conf/data gets those of every data set by "defaults: [loading@_',
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "train.py",
            ["shift_schedule=custom"],
            "shift_schedule=custom needs shift_schedule.pattern=VALUE\n",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "train.py",
            ["-m", "trainer.devicess=1,2"],
            "error: there is no key trainer.devicess; the nearest are",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "train.py",
            ["hydra.run.dir=file/run"],
            "error: [Errno 20] Not a directory: ",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_programs_say_it_and_nothing_else(program, words, told, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "conf/data").mkdir(parents=True)
    (tmp_path / "conf/data/incomplete.yaml").write_text("_target_: srlab.data.datasets.images\nroot: a\n")
    ended = subprocess.run(
        [sys.executable, str(ROOT / program), *words], cwd=tmp_path, capture_output=True, text=True,
        timeout=120, env={**os.environ, "HYDRA_FULL_ERROR": "0"},
    )  # fmt: skip
    assert ended.returncode == 2, ended.stderr
    said = ended.stderr + ended.stdout  # where the program had started already, its log is there
    assert told in said
    assert "Traceback" not in said
    assert "To append to your config" not in said
    assert "provider=" not in said


def _targets(node):
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield node
        for key in node:
            yield from _targets(_plain(node, key))


def _plain(node, key):
    skipped = OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key)
    return None if skipped else node[key]


@pytest.mark.parametrize("data", [path.stem for path in sorted((ROOT / "conf/data").glob("*.yaml"))])
def test_what_data_leaves_open_is_asked_for(data):
    """Oracle: the marks ``???`` in the file."""
    cfg = composed(f"data={data}")
    asked = re.findall(r"^(\w+): \?\?\?", (ROOT / f"conf/data/{data}.yaml").read_text(), re.MULTILINE)
    if not asked:
        check_complete(cfg, {"data": data})
        return
    needs = " ".join(f"data.{key}=VALUE" for key in sorted(asked))
    with pytest.raises(ValueError, match=rf"^data={data} needs {needs}$"):
        check_complete(cfg, {"data": data})


def test_a_name_that_is_no_file_is_answered_with_the_names_that_there_are():
    with pytest.raises(
        FileNotFoundError, match=r"no checkpoint at elan_tiny_x9; weights .*elan_tiny_x2, .*`srlab d"
    ):
        find_file("elan_tiny_x9")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at elan_tiny_x9\.pt$"):
        find_file("elan_tiny_x9.pt")


def test_names_of_trained_networks_stay_names(tmp_path):
    cfg = composed("model=elan_tiny", "paths.name=n", "initial_weights=elan_tiny_x2")
    cfg.paths.run = cfg.paths.new_run = "run"
    save_config(cfg, tmp_path)
    saved = load_config(tmp_path)
    assert saved.initial_weights == "elan_tiny_x2"
    assert find_file(saved.initial_weights).name == "elan_tiny_x2.safetensors"

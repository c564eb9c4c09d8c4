import json

import yaml

import srlab
from srlab.checkpoints import LoadedCheckpoint
from srlab.extensions.hub.card import Facts, model_card, recorded_facts
from srlab.models.registry import model_of

CONFIG = {
    "data": {"_target_": "srlab.data.datasets.div2k"},
    "loss": {"_target_": "srlab.losses.l1.L1Loss255"},
    "optimizer": {"_target_": "torch.optim.Adam"},
    "seed": 3,
}


def checkpoint_of_a_run(folder):
    network = srlab.create_model("elan_demo", scale=2)
    scores = {
        "set_name": "Set5",
        "protocol": "basicsr",
        "images": 5,
        "scores": {"psnr": 32.1234, "ssim": 0.9},
    }
    (folder / "summary.json").write_text(json.dumps({"scores": [scores]}))
    return LoadedCheckpoint(network, {"model": model_of(network), "config": CONFIG, "step": 1000})


def test_the_card_of_a_run_has_its_scores_recipe_and_training_data(tmp_path):
    checkpoint = checkpoint_of_a_run(tmp_path)
    facts = recorded_facts(tmp_path, checkpoint)
    card = model_card(checkpoint.network, repository="me/elan", licence="mit", facts=facts)
    assert "| Set5 | basicsr | psnr | 32.1234 |" in card
    for line in (
        "training data: DIV2K",
        "loss: L1Loss255",
        "optimizer: Adam",
        "optimizer steps: 1000",
        "seed: 3",
    ):
        assert f"- {line}\n" in card
    assert yaml.safe_load(card.split("---\n")[1])["metrics"] == ["psnr", "ssim"]


def test_what_is_not_recorded_is_said_and_not_guessed(tmp_path):
    network = srlab.create_model("elan_demo", scale=2)
    facts = recorded_facts(None, LoadedCheckpoint(network, {"model": model_of(network)}))
    assert facts == Facts()
    card = model_card(network, repository="me/elan", licence="mit", facts=facts)
    assert "training data: not recorded" in card
    assert "Scores were not recorded" in card
    assert "metrics" not in yaml.safe_load(card.split("---\n")[1])


def test_costs_are_those_of_the_table_of_networks():
    network = srlab.create_model("elan_demo", scale=4)
    card = model_card(network, repository="me/elan", licence="mit", facts=Facts())
    assert "69,192 parameters" in card  # README.md: 69 K, 6.61 G
    assert "6.61 G" in card

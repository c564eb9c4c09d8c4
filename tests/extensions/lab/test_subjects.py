import pytest

import srlab
from srlab.extensions.lab.subjects import plan_subjects


@pytest.fixture(scope="module")
def networks():
    return {name: srlab.create_model(name, scale=2) for name in ("elan_demo", "hit_sir", "bicubic")}


def labels(plan):
    return [subject.label for subject in plan.subjects]


def test_subjects_are_the_cross_product_and_networks_without_choice_give_one(networks):
    found = labels(plan_subjects(networks, ["reference", "auto"], {"dtype": ["float32", "bfloat16"]}))
    assert len(found) == len(set(found)) == 2 * 2 + 2 * 2 + 2
    assert found[:2] == ["elan_demo/reference/float32/eager", "elan_demo/reference/bfloat16/eager"]
    assert found[-1] == "bicubic/bfloat16/eager"


def test_what_a_network_lacks_is_skipped_once_with_the_reason(networks):
    plan = plan_subjects(networks, ["linear", "sdpa"], {"subnormals": ["flushed", "kept"]})
    assert labels(plan)[::2] == [
        "elan_demo/sdpa/float32/eager", "hit_sir/linear/float32/eager", "bicubic/float32/eager",
    ]  # fmt: skip
    assert [(each.subject, each.reason) for each in plan.skipped] == [
        ("elan_demo/linear", "ELAN has no such back end"),
        ("hit_sir/sdpa", "HiTSR has no such back end"),
    ]


def test_rebuilt_masks_need_an_eager_network_with_attention(networks):
    dials = {"compile": ["eager", "default"], "mask": ["cached", "rebuilt"]}
    plan = plan_subjects(networks, ["auto"], dials)
    rebuilt = [subject.label for subject in plan.subjects if subject.mask == "rebuilt"]
    assert rebuilt == ["elan_demo/auto/float32/eager/rebuilt", "hit_sir/auto/float32/eager/rebuilt"]
    assert "Bicubic has no masks" in {each.reason for each in plan.skipped}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (None, "elan_demo/reference/float32/eager"),
        ("hit_sir/auto/float32/eager", "hit_sir/auto/float32/eager"),
        ("hit_sir/auto", "hit_sir/auto/float32/eager"),
        ("bicubic", "bicubic/float32/eager"),
    ],
)
def test_a_baseline_is_named_in_full_or_by_what_tells_it_apart(networks, wanted, found):
    assert plan_subjects(networks, ["reference", "auto"], {}, baseline=wanted).baseline == found


@pytest.mark.parametrize(
    ("backends", "baseline", "message"),
    [
        (["foo"], None, r"no chosen network has back end foo: elan_demo has .*auto; hit_sir has"),
        (["auto"], "esc", r"--baseline esc is none of the subjects: elan_demo/auto"),
        (["auto"], "float32", r"--baseline float32 means 3 of the subjects"),
    ],
)
def test_what_does_not_exist_is_refused(networks, backends, baseline, message):
    with pytest.raises(ValueError, match=message):
        plan_subjects(networks, backends, {}, baseline=baseline)


def test_without_attention_a_back_end_is_refused(networks):
    with pytest.raises(ValueError, match=r"bicubic have no attention, omit --backend"):
        plan_subjects({"bicubic": networks["bicubic"]}, ["sdpa"], {})

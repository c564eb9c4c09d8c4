import pytest

import srlab
from srlab.extensions.lab.subjects import Choices, plan_subjects


@pytest.fixture(scope="module")
def networks():
    return {name: srlab.create_model(name, scale=2) for name in ("elan_demo", "hit_sir", "bicubic")}


def labels(networks, baseline=None, **choices):
    return [
        subject.label for subject in plan_subjects(networks, Choices(**choices), baseline=baseline).subjects
    ]


def test_subjects_are_the_cross_product_and_networks_without_choice_give_one(networks):
    found = labels(networks, backends=("reference", "auto"), dtypes=("float32", "bfloat16"))
    assert len(found) == len(set(found)) == 2 * 2 + 2 * 2 + 2
    assert found[:2] == ["elan_demo/reference/float32/eager", "elan_demo/reference/bfloat16/eager"]
    assert found[-1] == "bicubic/bfloat16/eager"


def test_what_a_network_lacks_is_skipped_with_the_reason(networks):
    plan = plan_subjects(networks, Choices(backends=("linear", "sdpa")))
    assert [subject.label for subject in plan.subjects] == [
        "elan_demo/sdpa/float32/eager", "hit_sir/linear/float32/eager", "bicubic/float32/eager",
    ]  # fmt: skip
    assert [(each.subject, each.reason) for each in plan.skipped] == [
        ("elan_demo/linear", "ELAN has no such back end"),
        ("hit_sir/sdpa", "HiTSR has no such back end"),
    ]


def test_rebuilt_masks_are_a_matter_of_eager_networks_with_attention(networks):
    plan = plan_subjects(networks, Choices(compiles=("eager", "default"), masks=("cached", "rebuilt")))
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
    assert plan_subjects(networks, Choices(backends=("reference", "auto")), baseline=wanted).baseline == found


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"backends": ("foo",)}, r"no chosen network has back end foo: elan_demo has .*auto; hit_sir has"),
        ({"dtypes": ("float31",)}, "unknown dtype float31; choose from float32, bfloat16"),
        ({"dtypes": ()}, "dtype= needs at least one value"),
        ({"dtypes": ("float32", "float32")}, "dtype=float32, float32 names one value twice"),
        ({"compiles": ("fast",)}, "unknown compile fast; choose from eager, default, reduce-overhead"),
        ({"compiles": ("graph",)}, "compile=graph captures CUDA graphs, which device=cpu has none of"),
        ({"masks": ("kept",)}, "unknown mask kept; choose from cached, rebuilt"),
        ({"step": "test"}, "unknown step test; choose from inference, training"),
        ({"checkpointing": (True,)}, "checkpointing=true belongs to step=training"),
        ({"checkpointing": (3,)}, "unknown checkpointing 3; choose from false, true"),
        ({"step": "training", "masks": ("rebuilt",)}, "leave compile=graph and mask=rebuilt out"),
        ({"step": "training", "dtypes": ("float64",)}, "not float64"),
    ],
)  # fmt: skip
def test_what_cannot_be_chosen_is_named(networks, choices, message):
    with pytest.raises(ValueError, match=message):
        plan_subjects(networks, Choices(**choices))


def test_a_baseline_that_is_none_or_several_is_refused(networks):
    with pytest.raises(ValueError, match=r"baseline=esc is none of the subjects: elan_demo/auto"):
        labels(networks, baseline="esc")
    with pytest.raises(ValueError, match=r"baseline=float32 means 3 of the subjects"):
        labels(networks, baseline="float32")


def test_without_attention_a_back_end_is_refused(networks):
    with pytest.raises(ValueError, match=r"bicubic have no attention, leave backend= out"):
        plan_subjects({"bicubic": networks["bicubic"]}, Choices(backends=("sdpa",)))

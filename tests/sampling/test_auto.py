import pytest

from softmine.domain import Box
from softmine.sampling import create


def test_what_suits_a_signal_comes_before_what_suits_its_domain_and_after_what_is_given():
    box = Box((64, 64))
    assert create("auto", box, 512, seed=0).uniform_share == 0.1
    assert create("auto", box, 512, seed=0, suited={"uniform_share": 0.4}).uniform_share == 0.4
    assert (
        create("auto:uniform_share=0.2", box, 512, seed=0, suited={"uniform_share": 0.4}).uniform_share == 0.2
    )
    views = Box((3, 64, 64), discrete=(0,))
    assert create("auto", views, 512, seed=0).uniform_share == 0.3
    assert create("auto", views, 512, seed=0, suited={"uniform_share": 0.4}).uniform_share == 0.4


@pytest.mark.parametrize("spec", ["uniform", "quota-map", "langevin"])
def test_what_suits_a_signal_is_told_to_auto_alone(spec):
    sampler = create(spec, Box((64, 64)), 512, seed=0, suited={"uniform_share": 0.4})
    assert getattr(sampler, "uniform_share", None) != 0.4

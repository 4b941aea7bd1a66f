"""Samplers by name, with options, batch size and budget in the same word."""

import numpy as np
import pytest
import torch

import softmine
from softmine import Box, FieldProbe, Image, Langevin, SoftmineError
from softmine.registry import AUTO, SAMPLERS, Spec, create, default_batch_size, with_shorter
from softmine.sampling import Batch, ErrorMap, PublishedLangevin, QuotaMap, Sampler

from helpers import unchecked_types

BOX = Box((16, 16))
PROBE = FieldProbe(torch.nn.Linear(2, 1), Image(np.eye(16, dtype=np.float32)))


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_every_sampler_keeps_the_contract(name):
    sampler = create(name, BOX, 32, seed=0, edges=lambda: torch.ones(4, 4))
    assert isinstance(sampler, Sampler)
    assert isinstance(sampler, torch.nn.Module)
    batch = sampler.draw(PROBE)
    assert isinstance(batch, Batch)
    assert batch.coords.shape == (32, 2)
    error = (batch.coords - 0.3).square().sum(-1)
    weights = sampler.weigh(batch, error.detach())
    assert weights.shape == (32,)
    assert not weights.requires_grad
    if batch.coords.requires_grad:
        (weights * error).mean().backward()
    sampler.update(batch, error.detach())
    sampler.check()
    assert BOX.contains(sampler.draw(PROBE).coords).all()


def test_options_follow_the_name():
    for name, kind in (("langevin", Langevin), ("langevin-published-code", PublishedLangevin)):
        sampler = create(f"{name}:alpha=0.8,warmup=10,noise=1", BOX, 32)
        assert type(sampler) is kind
        assert sampler.target_alpha == 0.8
        assert sampler.warmup == 10
        assert sampler.noise == 1.0
        assert isinstance(sampler.noise, float)


def test_an_edge_prior_is_made_from_the_signal():
    edges = torch.zeros(4, 4)
    edges[1, 2] = 1
    sampler = create("langevin:prior=edges", BOX, 32, edges=lambda: edges)
    assert sampler.prior.density(torch.tensor([[0.3, 0.6]])) > 15
    with pytest.raises(SoftmineError, match="no edges"):
        create("langevin:prior=edges", BOX, 32)


def test_functions_that_make_a_sampler_take_options_too():
    sampler = create("instant-ngp-error-map:cells=9", BOX, 32)
    assert isinstance(sampler, ErrorMap)
    assert int(sampler.interval) == 128
    assert create("instant-ngp-error-map:interval=5", BOX, 32).interval == 5
    sampler = create("error-map:interval=128,alpha=1,cells=9,start=2", BOX, 32)
    assert isinstance(sampler, ErrorMap)
    assert int(sampler.interval) == 128
    assert sampler.target_alpha == 1.0
    assert sampler.error.tolist() == [2.0] * 9
    with pytest.raises(SoftmineError, match="no option 'drift'"):
        create("torch-ngp-error-map:drift=1", BOX, 32)
    with pytest.raises(SoftmineError, match="no option 'drift'"):
        create("error-map:drift=1", BOX, 32)


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_every_name_can_be_checked_without_a_signal(name):
    Spec.parse(name).check()


def test_a_sampler_of_edges_needs_them():
    with pytest.raises(SoftmineError, match="edges needs the edges of the signal, but there are none"):
        create("edges", BOX, 32)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("langevn", "unknown sampler 'langevn': did you mean langevin"),
        ("xyz", "unknown sampler 'xyz': choose one of auto, uniform, shuffled, langevin"),
        ("langevin:alpa=1", "no option 'alpa': did you mean alpha"),
        ("langevin:alpha", "write options as langevin:option=value"),
        ("langevin:alpha=soft", "alpha needs a float, not 'soft'"),
        ("langevin:warmup=1.5", "warmup needs a int"),
        ("langevin:prior=lines", "the prior is 'uniform' or 'edges'"),
        ("uniform:seed=3", "no option 'seed'"),
        ("langevin:preset=published-code", "no option 'preset'"),
        (
            "error-map:drawing=sorted",
            "unknown drawing 'sorted': choose one of independent, stratified, error-diffusion",
        ),
        ("uniform@8@9", "no option|unknown sampler 'uniform@8'"),
    ],
)
def test_mistakes_are_named(spec, message):
    with pytest.raises(SoftmineError, match=message):
        create(spec, BOX, 32)


def test_auto_has_other_defaults_on_views_of_a_scene():
    views = Box((100, 200, 200), discrete=(0,))
    chosen = create("auto:power=2.0", views, 256, seed=0)
    assert chosen.map.shape == (100, 25, 25)
    assert (chosen.power, chosen.uniform_share) == (2.0, 0.3)
    assert create("auto", Box((20, 100, 200)), 256, seed=0).power == 2.0
    assert create("auto", Box((20, 100, 200)), 256, seed=0).uniform_share == 0.1


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((100_000,), 4096),
        ((512, 768), 12288),
        ((600, 610), 11264),
        ((400, 400), 4096),
        ((256, 256), 4096),
        ((512, 512), 8192),
        ((128, 128), 1024),
        ((4000, 4000), 32768),
        ((256, 256, 256), 8192),
        ((16, 16), 1024),
    ],
)
def test_auto_has_a_batch_size_for_the_signal(shape, size):
    assert default_batch_size("auto", Box(shape)) == size
    assert default_batch_size("auto:power=1.0", Box(shape)) == size
    assert default_batch_size("uniform", Box(shape)) == 2048
    assert create("auto", Box(shape), seed=0).batch_size == size


def test_defaults_of_a_signal_come_before_the_domains_and_after_those_given():
    box, defaults = Box((64, 64)), {"uniform_share": 0.4}
    assert create("auto", box, 512, seed=0).uniform_share == 0.1
    assert create("auto", box, 512, seed=0, defaults=defaults).uniform_share == 0.4
    assert create("auto:uniform_share=0.2", box, 512, seed=0, defaults=defaults).uniform_share == 0.2
    views = Box((3, 64, 64), discrete=(0,))
    assert create("auto", views, 512, seed=0).uniform_share == 0.3
    assert create("auto", views, 512, seed=0, defaults=defaults).uniform_share == 0.4


@pytest.mark.parametrize("spec", ["uniform", "quota-map", "langevin"])
def test_defaults_of_a_signal_are_for_auto_alone(spec):
    sampler = create(spec, Box((64, 64)), 512, seed=0, defaults={"uniform_share": 0.4})
    assert getattr(sampler, "uniform_share", None) != 0.4


def test_auto_takes_options_of_its_own():
    image = Image(np.zeros((64, 48, 3), np.float32))
    assert softmine.auto(image).memory.outliers is not None
    plain = softmine.auto(image, robust=False, power=1.0)
    assert plain.memory.outliers is None
    assert plain.power == 1.0
    with pytest.raises(SoftmineError, match="has no option 'robst': did you mean robust"):
        softmine.auto(image, robst=False)


def test_auto_takes_all_from_a_signal():
    image = Image(np.random.default_rng(0).random((64, 48, 3)).astype(np.float32))
    sampler = softmine.auto(image, seed=3)
    assert isinstance(sampler, QuotaMap)
    assert sampler.batch_size == default_batch_size(AUTO, image.domain) == 1024
    assert sampler.diffusion.snapped
    known = create(AUTO, image.domain, seed=3, edges=image.edges, defaults={"snapped": True})
    assert torch.equal(sampler.draw().coords, known.draw().coords)
    flat = create(AUTO, image.domain, seed=3, defaults={"snapped": True})
    assert not torch.equal(sampler.error, flat.error), "its edges are used"
    other = softmine.auto(image, batch_size=77, snap=False, seed=3)
    assert other.batch_size == 77
    assert not other.diffusion.snapped


def test_auto_takes_a_signal_that_knows_its_domain_alone():
    class Wave(torch.nn.Module):
        domain = BOX

    sampler = softmine.auto(Wave(), seed=0)
    assert sampler.batch_size == 1024
    assert sampler.domain is BOX

    class Told(Wave):
        auto_options = {"uniform_share": 0.7, "snapped": False}  # noqa: RUF012

    sampler = softmine.auto(Told(), seed=0)
    assert sampler.uniform_share == 0.7
    assert not sampler.diffusion.snapped


def test_auto_needs_a_domain():
    message = r"auto\(\) needs a signal with a domain, but a Linear has none: .*QuotaMap"
    with unchecked_types(), pytest.raises(SoftmineError, match=message):
        softmine.auto(torch.nn.Linear(2, 1))


def test_a_domain_that_is_no_box_is_named():
    signal = torch.nn.Linear(2, 1)
    signal.domain = (4, 4)
    with unchecked_types():
        with pytest.raises(SoftmineError, match=r"the domain is a tuple"):
            softmine.auto(signal)
        for name in (AUTO, "uniform", "edges"):
            with pytest.raises(SoftmineError, match=r"the domain is a tuple"):
                create(name, (4, 4))


@pytest.mark.parametrize(
    ("spec", "defaults", "message"),
    [
        (None, {}, "the sampler is a NoneType"),
        (5, {}, "the sampler is a int"),
        (Spec("nope"), {}, "unknown sampler 'nope'"),
        (Spec("langevin", {"alhpa": 1.0}), {}, "no option 'alhpa': did you mean alpha"),
        (AUTO, {"pwoer": 1.0}, "no option 'pwoer': did you mean power"),
        ("auto:power=1,power=2", {}, "power is given twice"),
        ("langevin:reinit-share=0.1,reinit_share=0.2", {}, "is given twice|no option"),
    ],
)
def test_what_describes_no_sampler_is_named(spec, defaults, message):
    with unchecked_types(), pytest.raises(SoftmineError, match=message):
        create(spec, Box((8, 8)), defaults=defaults)


def test_edges_that_are_no_tensor_are_named():
    with unchecked_types(), pytest.raises(SoftmineError, match="the edges of the signal are a list"):
        create("edges", Box((2, 2)), 4, edges=lambda: [[1.0, 2.0], [3.0, 4.0]])


def test_a_word_is_read_into_its_parts():
    spec = Spec.parse("langevin:prior=edges,alpha=0.8,warmup=10@512/2.5")
    assert (spec.name, spec.batch_size, spec.shorter) == ("langevin", 512, 2.5)
    assert spec.options == {"prior": "edges", "alpha": 0.8, "warmup": 10}
    assert spec.sampler == "langevin:prior=edges,alpha=0.8,warmup=10"
    spec = Spec.parse("quota-map:period=None,uniform-share=1")
    assert spec.options == {"period": None, "uniform_share": 1.0}
    assert (spec.batch_size, spec.shorter, spec.sampler) == (
        None,
        1.0,
        "quota-map:period=None,uniform-share=1",
    )


def test_a_spec_is_created_at_its_batch_size_unless_another_is_given():
    assert create("uniform@96", BOX).batch_size == 96
    assert create("uniform@96", BOX, 32).batch_size == 32
    assert create(Spec.parse("uniform@96/2"), BOX).batch_size == 96
    assert create("uniform", BOX).batch_size == 2048


@pytest.mark.parametrize("word", ["auto/2.5", "auto@512/100", "langevin:prior=edges,alpha=0.8/1.01"])
def test_what_is_split_is_put_together_again(word):
    spec = Spec.parse(word)
    assert spec.shorter > 1
    before, slash, _ = word.rpartition("/")
    assert word.startswith(spec.sampler)
    assert slash
    assert with_shorter(before, spec.shorter) == word


@pytest.mark.parametrize("word", ["auto", "langevin:alpha=0.8@512"])
def test_without_a_slash_the_budget_is_whole(word):
    assert Spec.parse(word).shorter == 1.0
    assert with_shorter(word, 1.0) == word


@pytest.mark.parametrize(
    "number",
    [
        "",
        "1",
        "1.0",
        "0.5",
        "0",
        "-2",
        "100.5",
        "1e3",
        "2e0",
        "nan",
        "inf",
        "x",
        " 2",
        "2.",
        "\u0662",
        "2@64",
        "1" * 400,
    ],
)
def test_what_is_no_number_above_one_is_named(number):
    with pytest.raises(SoftmineError, match="how many times shorter its budget is, a number above 1"):
        Spec.parse(f"auto/{number}")


def test_infinity_is_a_number_too():
    assert Spec.parse("langevin:weight_max=inf").options == {"weight_max": float("inf")}


@pytest.mark.parametrize("word", ["auto@" + "9" * 5000, "langevin:alpha=" + "-" * 5000, "auto@" + "9" * 13])
def test_absurdly_long_numbers_are_refused_too(word):
    with pytest.raises(SoftmineError, match=r"a batch size follows the @|alpha needs a float"):
        Spec.parse(word)


@pytest.mark.parametrize("number", ["", "-4", "0", "x", "2.5", " 64", "1e3", "\u0662"])
def test_what_is_no_batch_size_is_named(number):
    with pytest.raises(
        SoftmineError, match=r"a batch size follows the @, a whole number|batch_size is 0: give"
    ):
        Spec.parse(f"uniform@{number}")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("unifrom@64", "unknown sampler 'unifrom': did you mean uniform"),
        ("@64", "unknown sampler ''"),
        ("unifrom/2", "unknown sampler 'unifrom'"),
        ("auto@64/2/3", "a batch size follows the @"),
        ("", "unknown sampler ''"),
    ],
)
def test_words_without_a_sampler_are_named(word, message):
    with pytest.raises(SoftmineError, match=message):
        Spec.parse(word)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("langevin:alpha=-1", "alpha is -1.0"),
        ("quota-map:period=0", "period is 0"),
        ("edges:drawing=none", "unknown drawing 'none'"),
        ("int:ratio=square", "ratio 'square' is unknown"),
    ],
)
def test_a_spec_can_be_checked_without_a_signal(word, message):
    with pytest.raises(SoftmineError, match=message):
        Spec.parse(word).check()


@pytest.mark.parametrize("word", ["auto@32", "uniform/4", "langevin:alpha=0.5@64/2"])
def test_a_single_run_takes_no_batch_size_or_budget_from_its_word(word):
    with pytest.raises(SoftmineError, match="@ and / give the samplers of a comparison"):
        Spec.of_run(word)
    assert Spec.of_run("langevin:alpha=0.5").options == {"alpha": 0.5}

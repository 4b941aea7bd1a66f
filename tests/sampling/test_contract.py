"""The contract that every sampler keeps: draw, weigh(batch, error), update(batch, error).

Statistical tests fix their seeds; each parameter's chance of a false alarm is ``FALSE_ALARM``.
"""

import copy
import io
import multiprocessing
import pickle

import numpy as np
import pytest
import torch
from scipy import stats

from softmine import Box, FieldProbe, Langevin, PublishedLangevin, QuotaMap, Shuffled, SoftmineError, Uniform
from softmine.baselines import Multinomial, Resampling
from softmine.registry import SAMPLERS, create
from softmine.sampling import DRAWINGS
from softmine.sampling.langevin.sampler import MAX_IN_FLIGHT

from helpers import FALSE_ALARM, chi_square_p, histogram, next_batches, unchecked_types

SHAPE = (12, 18)
MASK = torch.rand(SHAPE, generator=torch.Generator().manual_seed(4)) < 0.6
EDGES = torch.rand(6, 9, generator=torch.Generator().manual_seed(5)) ** 2 + 0.05
VARIANTS = [
    "uniform:stratified=True",
    *(f"edges:drawing={drawing}" for drawing in DRAWINGS[1:]),
    *(f"multinomial:drawing={drawing},interval=4" for drawing in DRAWINGS[1:]),
    *(f"error-map:drawing={drawing}" for drawing in DRAWINGS[1:]),
    "quota-map:cells=50",
    "quota-map:period=1",
    "quota-map:period=3",
    "quota-map:period=2,cells=50",
]
SPECS = [*SAMPLERS, *VARIANTS]
CHAINS = ("langevin", "langevin-published-code")
RANKED = ("int", "evos", "nint")
MASKED = pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
EVERY = pytest.mark.parametrize("spec", SPECS)


class Waves(torch.nn.Module):
    """A signal with one channel."""

    name, channels, fingerprint = "waves", 1, "waves"

    def __init__(self, box):
        super().__init__()
        self.domain = box

    def forward(self, coords):
        return (5 * coords).sin().mean(-1, keepdim=True)


class Loop:
    """A user's loop of one sampler, with a field that does not learn, so that errors depend on coordinates alone."""

    def __init__(self, spec, masked=False, seed=0, batch_size=16):
        self.box = Box(SHAPE, MASK if masked else None)
        self.sampler = create(spec, self.box, batch_size, seed=seed, edges=lambda: EDGES)
        field = torch.nn.Linear(2, 1)
        with torch.no_grad():
            field.weight.copy_(torch.tensor([[1.5, -0.7]]))
            field.bias.fill_(0.1)
        self.field, self.signal = field, Waves(self.box)
        self.probe = FieldProbe(field, self.signal)

    def draw(self):
        return self.sampler.draw(self.probe if self.sampler.needs_probe else None)

    def residual(self, batch):
        return (self.field(batch.coords) - self.signal(batch.coords)).squeeze(-1)

    def error(self, batch):
        return self.residual(batch).detach().abs()

    def weigh(self, batch):
        return self.sampler.weigh(batch, self.error(batch))

    def backward(self, batch, scale=1.0):
        (self.weigh(batch) * self.residual(batch).square()).mean().mul(scale).backward()

    def update(self, batch):
        """After a backward of its own."""
        if batch.coords.requires_grad and batch.coords.grad is None:
            self.backward(batch)
        self.sampler.update(batch, self.error(batch))

    def train(self, steps):
        for _ in range(steps):
            self.update(self.draw())
        return self


def snapshot(sampler):
    return {name: value.clone() for name, value in sampler.state_dict().items()}


def assert_same_state(sampler, state, but=()):
    now = sampler.state_dict()
    assert now.keys() == state.keys()
    for name, value in now.items():
        if name not in but:
            assert value.dtype == state[name].dtype, name
            assert torch.equal(value, state[name]), name


def assert_same_batch(one, other):
    assert type(one) is type(other)
    assert torch.equal(one.coords, other.coords)
    assert torch.equal(one.step, other.step)
    assert (one.density is None) == (other.density is None)
    assert one.density is None or torch.equal(one.density, other.density)


def assert_same_future(loop, other, batches=4):
    """Draws, weights and updates of two loops are the same, bit for bit."""
    for _ in range(batches):
        ours, theirs = loop.draw(), other.draw()
        assert_same_batch(ours, theirs)
        assert torch.equal(loop.weigh(ours), other.weigh(theirs))
        loop.update(ours)
        other.update(theirs)
    assert_same_state(other.sampler, loop.sampler.state_dict())


# Draws


@MASKED
@EVERY
def test_every_draw_gives_new_samples(spec, masked):
    loop = Loop(spec, masked)
    for _ in range(2):
        batches = [loop.draw() for _ in range(3)]
        cells = [loop.box.cell(batch.coords).tolist() for batch in batches]
        for first, second in ((0, 1), (0, 2), (1, 2)):
            assert not torch.equal(batches[first].coords, batches[second].coords)
            # Of cells by rank and of a shuffled set none comes again so soon. (With a mask some are drawn freely.)
            if spec == "int" or (spec == "shuffled" and not masked):
                assert not set(cells[first]) & set(cells[second])
        assert all(loop.box.contains(batch.coords.detach()).all() for batch in batches)
        # What a later draw does leaves an earlier batch alone.
        kept = [batch.coords.detach().clone() for batch in batches]
        loop.train(2)
        assert all(torch.equal(batch.coords, before) for batch, before in zip(batches, kept, strict=True))


@pytest.mark.parametrize("spec", ["evos", "nint"])
def test_ranked_samplers_repeat_no_batch_however_many_are_drawn(spec):
    loop = Loop(spec)
    drawn = {tuple(sorted(loop.box.cell(loop.draw().coords).tolist())) for _ in range(90)}
    assert len(drawn) == 90


def test_ranked_batches_in_flight_go_down_the_ranking():
    loop = Loop("int", batch_size=30)
    error = loop.probe(loop.box.centers(torch.arange(loop.box.cells)))
    drawn = torch.cat([loop.box.cell(loop.draw().coords) for _ in range(4)])
    assert drawn.tolist() == error.topk(120).indices.tolist()


@pytest.mark.parametrize(("spec", "parents"), [("evos", 8), ("nint", 5)])
def test_batches_in_flight_share_parents_and_nothing_else(spec, parents):
    loop = Loop(spec)
    one, other = (loop.box.cell(loop.draw().coords).tolist() for _ in range(2))
    assert one[:parents] == other[:parents]
    assert not set(one[parents:]) & set(other[parents:])


# Accumulation


KNOWN = [
    "uniform",
    "uniform:stratified=True",
    "shuffled",
    *(f"edges:drawing={drawing},alpha=1,warmup=0" for drawing in DRAWINGS),
    *(f"multinomial:drawing={drawing},alpha=1,warmup=0,interval=4" for drawing in DRAWINGS),
    *(f"error-map:drawing={drawing},alpha=1,warmup=0,cells=50" for drawing in DRAWINGS),
    "quota-map:alpha=1,warmup=0,cells=50",
    "quota-map:alpha=1,warmup=0,period=3",
    # What stands alone has less weight: on purpose, not in expectation.
    "auto:alpha=1,warmup=0,robust=False",
    "resampling:alpha=1,warmup=0",
    # Its weights are u/q at the start of a run only.
    "expansive-supervision:steps=1000000000",
]
ACCUMULATED = 4


def gradient(loop, batches):
    """The gradient of the weighted loss over some batches, as accumulation gives it: one number for each parameter."""
    loop.field.zero_grad()
    for batch in batches:
        loop.backward(batch, 1 / len(batches))
    return torch.cat([parameter.grad.flatten() for parameter in loop.field.parameters()])


def exact_gradient(box, fine=8):
    """That of the uniform loss over the valid cells."""
    loop, grid = Loop("uniform"), Box([fine * size for size in SHAPE])
    coords = grid.centers(torch.arange(grid.cells))
    coords = coords[box.contains(coords)]
    loss = (loop.field(coords) - loop.signal(coords)).square().mean()
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(loop.field.parameters()))])


def gradients_of(spec, masked, count, seeds=30):
    """Of independent runs, each of 64 samples in ``count`` batches that were all drawn before any update: (seeds, 3)."""
    found = []
    for seed in range(seeds):
        loop = Loop(spec, masked, seed, batch_size=64 // count)
        # A map has learned something; error diffusion only draws the first density without any bias.
        if "error-diffusion" not in spec and not spec.startswith(("auto", "quota-map")):
            loop.train(2)
        found.append(gradient(loop, [loop.draw() for _ in range(count)]))
    return torch.stack(found).double().numpy()


@MASKED
@pytest.mark.parametrize("spec", KNOWN)
def test_accumulated_batches_move_the_field_as_one_large_one_does(spec, masked):
    """Student's t-tests of three parameters: of either against the exact gradient, and of one against the other."""
    with unchecked_types():
        accumulated, large = (gradients_of(spec, masked, count) for count in (ACCUMULATED, 1))
    exact = exact_gradient(Box(SHAPE, MASK if masked else None)).numpy()
    for test in (
        stats.ttest_1samp(accumulated, exact),
        stats.ttest_1samp(large, exact),
        stats.ttest_ind(accumulated, large, equal_var=False),
    ):
        assert test.pvalue.min() > FALSE_ALARM / 9
    assert stats.ttest_1samp(accumulated, 1.3 * exact).pvalue.min() < FALSE_ALARM, "the test can fail"


@pytest.mark.parametrize(("kind", "masked"), [(Uniform, False), (Uniform, True), (Shuffled, False)])
def test_accumulated_batches_are_the_large_one_where_chance_is_in_order(kind, masked):
    box = Box(SHAPE, MASK if masked else None)
    small, large = kind(box, 16, seed=3), kind(box, 64, seed=3)
    parts = torch.cat([small.draw().coords for _ in range(ACCUMULATED)])
    assert torch.equal(parts, large.draw().coords)


def test_accumulated_chains_in_equilibrium_cover_the_importance_as_one_does():
    """Chi-square of the samples of four chains, and of one of four times the size, against Q."""
    box = Box((24,))

    def importance(coords):
        # Two bumps far from the border, beyond which samples are drawn anew uniformly.
        native = box.to_native(coords)
        return sum((-0.5 * ((native[:, 0] - center) / 2.5) ** 2).exp() for center in (7.5, 16.5))

    middles = (torch.arange(24 * 40) + 0.5).unsqueeze(-1) / (24 * 40)
    expected = importance(middles).view(24, 40).sum(1)
    for count, size in ((ACCUMULATED, 400), (1, 1600)):
        sampler = Langevin(
            box,
            size,
            drift=0.18,
            noise=0.6,
            uniform_share=0.0,
            reinit_share=0.0,
            importance_floor=0.0,
            seed=1,
        )
        for _ in range(500):
            errors = {batch: importance(batch.coords) for batch in [sampler.draw() for _ in range(count)]}
            for batch, error in errors.items():
                loss = (sampler.weigh(batch, error.detach()) * error.square()).mean() / count
                loss.backward()
            for batch, error in errors.items():
                sampler.update(batch, error.detach(), loss_scale=1 / count)
        assert len(sampler.particles) == count
        counts = histogram(sampler.particles.view(-1, 1), 24)
        assert chi_square_p(counts, expected) > FALSE_ALARM, count
        assert chi_square_p(counts, np.ones(24)) < 1e-20, "the test can fail"


@pytest.mark.parametrize("kind", [Langevin, PublishedLangevin])
def test_a_chain_moves_the_same_whatever_share_its_loss_has(kind):
    """Divided by K for accumulation, or summed over the samples."""
    after = []
    for scale in (1.0, 0.25, 16.0):
        loop = Loop("langevin")
        loop.sampler = kind(loop.box, 16, seed=2)
        batch = loop.draw()
        loop.backward(batch, scale)
        loop.sampler.update(batch, loop.error(batch), loss_scale=scale)
        after.append(loop.sampler.particles.clone())
    torch.testing.assert_close(after[1], after[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(after[2], after[0], rtol=1e-4, atol=1e-5)


# Updates in any order, late, or never


MAPS = ("auto", "error-map", "quota-map", "torch-ngp-error-map", "instant-ngp-error-map")


@MASKED
@EVERY
def test_updates_in_any_order_teach_the_same(spec, masked):
    loops = []
    for order in ((0, 1, 2, 3), (2, 0, 3, 1)):
        loop = Loop(spec, masked)
        if spec in CHAINS:
            # Noise is in the order of the updates, so that here there is none, and small steps.
            loop.sampler.drift, loop.sampler.noise = 1e-3 * loop.sampler.drift, 0.0
            loop.sampler.uniform_share = loop.sampler.reinit_share = 0.0
            loop.sampler._lay_out()
        loop.train(2)
        batches = [loop.draw() for _ in range(4)]
        for place in order:
            loop.update(batches[place])
        loops.append(loop)
    one, other = (loop.sampler for loop in loops)
    name = spec.partition(":")[0]
    if spec in CHAINS:
        same = (one.particles == other.particles).all(-1)
        # The released code draws the very lowest anew, and those that rounding took to where nothing is.
        assert same.float().mean() >= (1.0 if spec == "langevin" else 0.8)
        assert_same_state(other, one.state_dict(), ("particles", "slope", "weighted"))
        return
    if name == "resampling":
        # The last updated is the one that the next candidates are moved from, whichever it is.
        assert torch.equal(other.survivors, batches[1].coords)
        assert_same_state(other, one.state_dict(), ("survivors", "density", "mean", "mean_before"))
        return
    if name not in MAPS:
        assert_same_state(other, one.state_dict())
        return
    assert torch.equal(one.random.counter, other.random.counter)
    # Of samples of different batches in one cell the last count most: their errors differ as those in the cell do.
    torch.testing.assert_close(one.error, other.error, rtol=0.35, atol=0.05)


@pytest.mark.parametrize(
    "name", ["error-map:cells=50", "error-map:cells=50,decay=0.5", "quota-map:cells=50,period=3"]
)
@pytest.mark.parametrize("late", [1, 3, 5])
def test_where_errors_are_alike_in_a_cell_any_order_is_exact(name, late):
    """Also where some of the batches were drawn in an earlier period."""
    errors = []
    for turned in (False, True):
        loop = Loop(name)
        loop.train(4)
        grid = loop.sampler.density.grid if name.startswith("error-map") else loop.sampler.map
        table = 1 + torch.arange(grid.cells).remainder(7) / 7
        batches = [loop.draw() for _ in range(late)]
        for batch in batches[::-1] if turned else batches:
            loop.sampler.update(batch, table[grid.cell(batch.coords)])
        loop.sampler.draw()
        errors.append(loop.sampler.error.clone())
    torch.testing.assert_close(errors[0], errors[1], rtol=1e-4, atol=1e-5)


@MASKED
@EVERY
def test_a_batch_that_is_never_updated_changes_nothing(spec, masked):
    loop, twin = Loop(spec, masked), Loop(spec, masked)
    for each in (loop, twin):
        each.train(3)
        forgotten = each.draw()
        if each is loop:
            # Whatever the user does with it, short of the update.
            for _ in range(2):
                each.weigh(forgotten)
            if forgotten.coords.requires_grad:
                each.backward(forgotten)
            forgotten.coords.detach().zero_()
        each.train(2)
    assert_same_future(loop, twin, 6)


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec not in CHAINS])
def test_updates_may_be_forgotten_for_good(spec):
    loop = Loop(spec)
    for _ in range(150):
        batch = loop.draw()
        assert loop.box.contains(batch.coords).all()
        assert loop.weigh(batch).isfinite().all()
    loop.train(3)
    assert loop.sampler.updates == 3


@MASKED
@pytest.mark.parametrize("spec", ["quota-map:period=2", "quota-map:period=2,cells=50", "quota-map:period=1"])
def test_an_update_after_the_next_period_began_still_teaches(spec, masked):
    loop = Loop(spec, masked)
    loop.train(9)
    late = loop.draw()
    for _ in range(5):
        loop.draw()
    before = loop.sampler.error.clone()
    cells = loop.sampler.cells.find(late.coords)[0].unique()
    loop.sampler.update(late, torch.full((16,), 50.0))
    assert (loop.sampler.error[cells] > before[cells] + 1).all()
    untouched = torch.ones(len(before), dtype=torch.bool).index_fill(0, cells, False)
    assert torch.equal(loop.sampler.error[untouched], before[untouched])
    # Nor does it stand for a batch of the period that is drawn now.
    assert (loop.sampler.seen < 0).all()


# Weights


@MASKED
@EVERY
def test_weights_change_nothing_and_stay_what_they_are(spec, masked):
    loop = Loop(spec, masked).train(3)
    batch = loop.draw()
    state = snapshot(loop.sampler)
    error = loop.error(batch)
    given = error.clone()
    weights = loop.sampler.weigh(batch, error)
    assert weights.shape == (16,)
    assert weights.dtype == torch.float32
    assert not weights.requires_grad
    assert weights.isfinite().all()
    assert torch.equal(loop.sampler.weigh(batch, error), weights)
    assert_same_state(loop.sampler, state)
    assert torch.equal(error, given)
    # They are the caller's own.
    kept = weights.clone()
    weights.zero_()
    assert torch.equal(loop.sampler.weigh(batch, error), kept)
    # Later, when the sampler has drawn and learned more, they are still those of the draw.
    loop.train(5)
    assert torch.equal(loop.sampler.weigh(batch, error), kept)
    loop.update(batch)
    assert torch.equal(loop.sampler.weigh(batch, error), kept)


# Copies, states and moves


def in_flight(spec, masked=False):
    """A loop with three batches in flight, of which one has a backward behind it, and two that were updated."""
    loop = Loop(spec, masked)
    loop.train(4)
    batches = [loop.draw() for _ in range(5)]
    loop.update(batches[1])
    loop.update(batches[3])
    return loop, [batches[0], batches[2], batches[4]]


def finish(loop, batches):
    """Weights of the batches in flight, which are then updated, newest first."""
    weights = [loop.weigh(batch) for batch in batches]
    for batch in batches[::-1]:
        loop.update(batch)
    return weights


def with_sampler(loop, sampler):
    other = copy.copy(loop)
    other.sampler = sampler
    return other


def pickled(value):
    return pickle.loads(pickle.dumps(value))


def saved(value):
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@MASKED
@pytest.mark.parametrize("again", [copy.deepcopy, pickled, saved])
@EVERY
def test_copies_go_on_with_batches_in_flight_bit_by_bit(spec, again, masked):
    loop, batches = in_flight(spec, masked)
    sampler, copies = again((loop.sampler, batches))
    assert type(sampler) is type(loop.sampler)
    other = with_sampler(loop, sampler)
    for batch, twin in zip(batches, copies, strict=True):
        assert_same_batch(batch, twin)
        assert batch.coords.requires_grad == twin.coords.requires_grad
    for ours, theirs in zip(finish(loop, batches), finish(other, copies), strict=True):
        assert torch.equal(ours, theirs)
    assert_same_future(loop, other)


@MASKED
@EVERY
def test_a_state_resumes_with_batches_in_flight_bit_by_bit(spec, masked):
    loop, batches = in_flight(spec, masked)
    file = io.BytesIO()
    torch.save(loop.sampler.state_dict(), file)
    file.seek(0)
    other = Loop(spec, masked, seed=9).train(1)
    # Tensors alone: a checkpoint of a sampler holds no code.
    other.sampler.load_state_dict(torch.load(file, weights_only=True))
    copies = copy.deepcopy(batches)
    for ours, theirs in zip(finish(loop, batches), finish(other, copies), strict=True):
        assert torch.equal(ours, theirs)
    assert_same_future(loop, other)


def test_samplers_can_be_sent_to_a_process_that_is_started_anew():
    loops = {spec: Loop(spec).train(2) for spec in SPECS if not create_probe_needed(spec)}
    # Tensors that are sent share their memory, so that the process would draw from ours.
    sent = {spec: copy.deepcopy(loop.sampler) for spec, loop in loops.items()}
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    worker = context.Process(target=next_batches, args=(sent, 3, theirs))
    worker.start()
    assert ours.poll(120), "the process does not answer"
    found = ours.recv()
    worker.join()
    assert worker.exitcode == 0
    for spec, loop in loops.items():
        expected = [loop.draw().coords.detach() for _ in range(3)]
        assert np.array_equal(torch.stack(expected).numpy(), found[spec]), spec


def create_probe_needed(spec):
    return Loop(spec).sampler.needs_probe


@pytest.mark.parametrize("cast", [torch.nn.Module.half, torch.nn.Module.double, torch.nn.Module.bfloat16])
@EVERY
def test_only_the_device_may_change(spec, cast):
    loop, other = Loop(spec).train(3), Loop(spec).train(3)
    state = snapshot(loop.sampler)
    assert cast(other.sampler) is other.sampler
    assert_same_state(other.sampler, state)
    holder = torch.nn.ModuleDict({"sampler": other.sampler})
    cast(holder)
    assert_same_state(other.sampler, state)
    assert_same_future(loop, other)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
@EVERY
def test_errors_may_have_any_precision(spec, kind):
    loop = Loop(spec)
    for _ in range(3):
        batch = loop.draw()
        assert batch.coords.dtype == torch.float32
        error = loop.residual(batch).abs().to(kind)
        if batch.coords.requires_grad:
            loop.backward(batch)
        # Its gradient is nobody's.
        weights = loop.sampler.weigh(batch, error)
        assert weights.dtype == torch.float32
        assert not weights.requires_grad
        loop.sampler.update(batch, error, loss=error.square())
    assert all(not value.requires_grad for value in loop.sampler.state_dict().values())
    assert loop.sampler.updates == 3


@EVERY
def test_what_does_not_fit_the_batch_is_named_and_changes_nothing(spec):
    loop = Loop(spec).train(1)
    batch = loop.draw()
    state = snapshot(loop.sampler)
    for shape in ((16, 1), (15,), (17,), (), (1, 16)):
        for verb in (loop.sampler.weigh, loop.sampler.update):
            with (
                unchecked_types(),
                pytest.raises(SoftmineError, match="one error for each of the 16 samples"),
            ):
                verb(batch, torch.ones(shape))
    with unchecked_types(), pytest.raises(SoftmineError, match="one loss for each of the 16 samples"):
        loop.sampler.update(batch, torch.ones(16), loss=torch.ones(16, 1))
    for verb in (loop.sampler.weigh, loop.sampler.update):
        with pytest.raises(
            SoftmineError, match=r"the error is on meta, but the batch on cpu: .*\.to\('meta'\)"
        ):
            verb(batch, torch.ones(16, device="meta"))
        with unchecked_types(), pytest.raises(SoftmineError, match="the first argument is a Tensor"):
            verb(batch.coords, torch.ones(16))
    assert_same_state(loop.sampler, state)
    loop.update(batch)


@EVERY
def test_a_batch_of_another_sampler_is_named_or_harmless(spec):
    loop, stranger = Loop(spec).train(2), Loop("uniform")
    batch = stranger.draw()
    error = torch.rand(16, generator=torch.Generator().manual_seed(0)) + 0.1
    state = snapshot(loop.sampler)
    if loop.sampler.__class__.__name__ in ("Langevin", "PublishedLangevin", "Resampling"):
        with pytest.raises(SoftmineError, match="another sampler"):
            loop.sampler.update(batch, error)
        assert_same_state(loop.sampler, state)
    else:
        loop.sampler.update(batch, error)
    assert loop.sampler.weigh(batch, error).isfinite().all()
    loop.train(3)
    assert all(
        value.isfinite().all() for value in loop.sampler.state_dict().values() if value.is_floating_point()
    )


# Chains


def test_more_than_64_batches_without_any_update_are_named():
    loop = Loop("langevin")
    batches = [loop.draw() for _ in range(MAX_IN_FLIGHT)]
    state = snapshot(loop.sampler)
    with pytest.raises(
        SoftmineError, match=r"64 batches were drawn and none of them updated: call sampler\.update"
    ):
        loop.draw()
    assert_same_state(loop.sampler, state)
    for batch in batches:
        loop.update(batch)
    assert len(loop.draw()) == 16


@pytest.mark.parametrize("spec", CHAINS)
def test_forgotten_batches_give_their_chains_back(spec):
    loop = Loop(spec)
    for _ in range(2 * MAX_IN_FLIGHT):
        loop.draw()
        loop.update(loop.draw())
    assert len(loop.sampler.particles) == MAX_IN_FLIGHT
    assert loop.sampler.updates == 2 * MAX_IN_FLIGHT


@pytest.mark.parametrize("spec", CHAINS)
def test_one_forgotten_batch_costs_one_chain(spec):
    loop = Loop(spec)
    loop.draw()
    loop.train(3 * MAX_IN_FLIGHT)
    assert len(loop.sampler.particles) == 2


@pytest.mark.parametrize("spec", CHAINS)
def test_chains_grow_with_the_batches_in_flight_and_are_used_again(spec):
    loop, seen = Loop(spec), []
    for count in (1, 3, 2, 3, 1):
        batches = [loop.draw() for _ in range(count)]
        assert [batch.chain for batch in batches] == list(range(count))
        for batch in batches:
            loop.update(batch)
        seen.append(len(loop.sampler.particles))
    assert seen == [1, 3, 3, 3, 3]


@pytest.mark.parametrize("spec", CHAINS)
def test_a_chain_moves_once_for_a_batch(spec):
    loop = Loop(spec)
    batch = loop.draw()
    loop.update(batch)
    state = snapshot(loop.sampler)
    with pytest.raises(SoftmineError, match="was updated before"):
        loop.update(batch)
    assert_same_state(loop.sampler, state)


def test_a_batch_of_another_chain_sampler_with_more_chains_is_named():
    loop, other = Loop("langevin"), Loop("langevin", seed=1)
    batch = [other.draw() for _ in range(3)][-1]
    other.backward(batch)
    with pytest.raises(SoftmineError, match="another sampler's"):
        loop.sampler.update(batch, other.error(batch))


# Passes and periods


def halves(sampler, upper):
    """A pass that finds all of the error in the upper or lower half of a line."""
    sampler.refresh(lambda coords: ((coords[:, 0] >= 0.5) == upper).float())


def test_a_second_pass_replaces_what_was_drawn_ahead():
    sampler = Multinomial(Box((8,)), 16, interval=4, drawing="error-diffusion", uniform_share=0.0, seed=0)
    assert sampler.period > 1
    halves(sampler, upper=False)
    halves(sampler, upper=True)
    drawn = torch.cat([sampler.draw().coords for _ in range(sampler.period)])
    # What cells had accumulated before they still have.
    assert (drawn >= 0.5).float().mean() > 0.9


def test_cells_that_are_due_when_their_density_is_gone_have_finite_weights():
    sampler = Multinomial(
        Box((8,)),
        16,
        interval=4,
        drawing="error-diffusion",
        uniform_share=0.0,
        importance_floor=0.0,
        alpha=1.0,
        warmup=0,
        seed=0,
    )
    late = 0
    for turn in range(20):
        halves(sampler, upper=bool(turn % 2))
        for _ in range(sampler.period):
            batch = sampler.draw()
            late += int(((batch.coords[:, 0] >= 0.5) != bool(turn % 2)).sum())
            assert sampler.weigh(batch, torch.ones(16)).isfinite().all()
    assert late > 0, "the test can fail"


@pytest.mark.parametrize("spec", ["shuffled", "quota-map:period=4", "edges:drawing=error-diffusion"])
def test_a_refresh_before_anything_was_taken_changes_nothing(spec):
    loop, other = Loop(spec), Loop(spec)
    loop.sampler.refresh()
    for _ in range(3):
        other.sampler.refresh()
    assert_same_future(loop, other)


def test_the_default_and_what_it_is_made_of_are_one():
    assert SAMPLERS["auto"] is SAMPLERS["quota-map"] is QuotaMap
    assert SAMPLERS["resampling"] is Resampling

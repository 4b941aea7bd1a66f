import torch

from softmine import Box
from softmine.baselines import full_pass
from softmine.baselines.full_pass import PassTimes, errors, over_cells


def test_a_pass_visits_the_center_of_every_cell_in_order(monkeypatch):
    monkeypatch.setattr(full_pass, "CHUNK", 7)
    box = Box((4, 5))
    visited = []

    def look(coords):
        visited.append(len(coords))
        return coords * torch.tensor([4.0, 5.0])

    native = over_cells(box, look, torch.device("cpu"))
    assert visited == [7, 7, 6]
    rows, columns = torch.meshgrid(torch.arange(4) + 0.5, torch.arange(5) + 0.5, indexing="ij")
    torch.testing.assert_close(native, torch.stack((rows.flatten(), columns.flatten()), -1))
    assert over_cells(box, lambda coords: coords[:, 0] > 0.5, torch.device("cpu")).sum() == 10


def test_a_pass_records_no_gradient():
    scale = torch.ones((), requires_grad=True)
    assert not over_cells(Box((3,)), lambda coords: coords[:, 0] * scale, torch.device("cpu")).requires_grad


def test_passes_are_due_at_first_and_then_by_their_interval():
    times, step = PassTimes(), torch.zeros((), dtype=torch.int64)
    due = []
    assert times.next == 0
    for updates in range(9):
        if updates >= times.next:
            due.append(updates)
            times.made(step, updates, 1 if updates < 2 else 3)
        step += 1
    assert due == [0, 1, 2, 5, 8]
    resumed = PassTimes()
    resumed.load_state_dict(times.state_dict())
    assert resumed.next == times.next == 11
    # What the host knows without asking a device.
    assert resumed._host_next == times._host_next == 11


def test_what_comes_after_a_graph_counts_from_the_devices_step():
    times = PassTimes()
    times.made(torch.tensor(40), 7, 3)
    assert int(times.next_pass) == 43


def test_what_is_not_finite_tells_nothing():
    seen = torch.tensor([1.0, torch.nan, torch.inf, -torch.inf, 2.0])
    assert errors(Box((5,)), lambda coords: seen, torch.device("cpu")).tolist() == [1, 0, 0, 0, 2]

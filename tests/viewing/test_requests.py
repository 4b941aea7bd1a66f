"""Newest wins, coarse before fine, and no flicker while training goes on."""

import itertools

import pytest

from softmine.viewing.browser_camera import BrowserCamera
from softmine.viewing.requests import COARSEST, FINER, Requests


def look(x=0.0):
    return BrowserCamera((x, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), fov=1.0, aspect=2.0)


def serve(requests, seconds=0.1):
    job = requests.next()
    requests.done(job, seconds)
    return job


def sides(requests, seconds=0.1):
    jobs = []
    while requests.next() is not None:
        jobs.append(serve(requests, seconds))
    return [job.side for job in jobs], jobs


def test_nobody_wants_anything():
    assert Requests().next() is None


def test_pictures_grow_to_the_full_resolution_and_then_stop():
    requests = Requests(resolution=1000)
    requests.look(0, look())
    found, jobs = sides(requests)
    assert found[0] < 400
    assert found[-1] == 1000
    assert all(after == min(1000, FINER * before) for before, after in itertools.pairwise(found))
    assert [job.final for job in jobs] == [False] * (len(jobs) - 1) + [True]


def test_a_slow_machine_begins_coarser():
    fast, slow = Requests(resolution=2000), Requests(resolution=2000)
    for requests, seconds in ((fast, 0.001), (slow, 10.0)):
        requests.look(0, look())
        serve(requests, seconds)
        requests.look(0, look(1.0))
    assert fast.next().side > slow.next().side >= COARSEST


def test_the_newest_camera_wins_and_the_job_of_an_older_one_is_given_up():
    requests = Requests()
    requests.look(0, look(1.0))
    old = requests.next()
    assert not requests.stale(old)
    requests.look(0, look(2.0))
    requests.look(0, look(3.0))
    assert requests.stale(old)
    requests.done(old, 0.1)
    assert requests.next().look == look(3.0)
    assert requests.next().side < requests.resolution


def test_a_changed_field_is_shown_in_the_size_there_is_and_gives_no_job_up():
    requests = Requests(resolution=512)
    requests.look(0, look())
    sides(requests)
    requests.renew()
    job = requests.next()
    assert job.side == 512
    requests.renew()
    assert not requests.stale(job)
    requests.done(job, 0.1)
    # It shows the field before the second change.
    assert serve(requests).version > job.version
    assert requests.next() is None


def test_a_changed_style_begins_coarse_again():
    requests = Requests(resolution=512)
    requests.look(0, look())
    sides(requests)
    requests.resolution = 700
    requests.restyle()
    found, _ = sides(requests)
    assert found[0] < 512
    assert found[-1] == 700


def test_while_training_waits_pictures_are_no_finer_than_patience_allows():
    requests = Requests(resolution=4000, patience=1.0)
    requests.look(0, look())
    found = []
    # A machine of 50,000 rays a second.
    while (job := requests.next()) is not None:
        width, height = job.look.size(job.side)
        found.append(width * height / 50_000)
        requests.done(job, found[-1])
    assert 0.3 < found[-1] < 1.2
    assert len(found) < 8
    requests.patience = float("inf")
    assert requests.next().side == FINER * 200


@pytest.mark.parametrize("speed", [2e4, 5e4, 1e5, 3e5, 1e6])
def test_the_last_picture_is_the_final_one_however_fine_patience_lets_it_be(speed):
    requests = Requests(resolution=1000, patience=1.0)
    for x in range(3):  # the first time, nobody knows how fast the machine is
        requests.look(0, look(float(x)))
        finals = []
        while (job := requests.next()) is not None:
            finals.append(job.final)
            width, height = job.look.size(job.side)
            requests.done(job, width * height / speed)
        assert finals[:-1] == [False] * (len(finals) - 1)
        assert finals[-1] or x == 0
    # Nor does it lose its quality when only the field changes.
    requests.renew()
    assert serve(requests).final


def test_browsers_take_turns():
    requests = Requests(resolution=900)
    for client in range(3):
        requests.look(client, look())
    assert [serve(requests).client for _ in range(6)] == [0, 1, 2, 0, 1, 2]


def test_who_has_left_gets_nothing():
    requests = Requests()
    requests.look(7, look())
    job = requests.next()
    assert requests.watched
    requests.leave(7)
    assert requests.stale(job)
    requests.done(job, 0.1)
    assert requests.next() is None
    assert not requests.watched


def test_closing_gives_everything_up():
    requests = Requests()
    requests.look(0, look())
    job = requests.next()
    requests.close()
    requests.look(1, look())
    assert requests.stale(job)
    assert requests.next() is None

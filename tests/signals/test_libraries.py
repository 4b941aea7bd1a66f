"""What is changed of the whole process while libraries read, and put back after them."""

import contextlib
import os
import sys

import pytest

from softmine.signals import libraries


def state():
    return sys.stdout, os.fstat(2).st_ino


@pytest.mark.parametrize("first", [0, 1])
def test_whoever_leaves_last_puts_things_back(first):
    # Threads leave in any order.
    before = state()
    inside = [contextlib.ExitStack(), contextlib.ExitStack()]
    for each in inside:
        each.enter_context(libraries.silenced())
    silent = state()
    assert silent != before
    inside[first].close()
    assert state() == silent
    inside[1 - first].close()
    assert state() == before


def test_what_libraries_print_is_not_shown(capfd):
    for _ in range(2):
        with libraries.silenced():
            print("one")
            os.write(2, b"two")
    assert capfd.readouterr() == ("", "")
    print("three")
    os.write(2, b"four")
    assert capfd.readouterr() == ("three\n", "four")


def test_what_is_raised_goes_through_and_things_are_put_back():
    before = state()
    with pytest.raises(ValueError, match="damaged"), libraries.silenced():
        raise ValueError("damaged")
    assert state() == before

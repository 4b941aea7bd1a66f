"""What the loop needs to know of a kind of signal."""

import pytest

from softmine.runs.task import Task, batch_size_for
from softmine.tasks import KINDS, module


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_of_signal_is_a_task_with_a_batch_size(kind):
    task = module(kind).read(None, module(kind).Options())
    assert isinstance(task, Task)
    size = task.batch_size
    if size is None:
        assert batch_size_for(task, "uniform") == 2048
        assert batch_size_for(task, "auto") != 2048
    else:
        assert batch_size_for(task, "uniform") == batch_size_for(task, "auto") == size

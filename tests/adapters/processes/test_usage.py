from __future__ import annotations

import os
import subprocess

import pytest

from modelyard.adapters.isolation import usage


def test_the_same_processes_are_found_where_the_kernel_lists_no_children(
    monkeypatch: pytest.MonkeyPatch,
):
    command = ["sh", "-c", "sleep 30 & sleep 30 & echo; wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as shell:
        assert shell.stdout is not None
        shell.stdout.readline()
        listed = usage.read_usage(os.getpid())
        monkeypatch.setattr(usage, "_LISTS_CHILDREN", False)
        among_all = usage.read_usage(os.getpid())
        os.killpg(shell.pid, 9)
    assert shell.pid in listed.pids
    assert sorted(listed.pids) == sorted(among_all.pids)
    assert listed.tasks == among_all.tasks >= 3

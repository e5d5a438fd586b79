from __future__ import annotations

import os
from pathlib import Path

from built_once import AT_START
from modelyard.adapters.processes.fork_client import Order, ask_for_fork
from modelyard.adapters.processes.preloaded import READ_ONCE
from serving.running import preloaded_socket


def test_commands_are_forked_from_what_it_preloads_and_not_declined(tmp_path: Path):
    """One that is declined starts as a plain process, with nothing preloaded: ten times slower."""
    log = tmp_path / "log"
    # As the demo starts it: what libraries set when they are imported is not asked for.
    plain = {name: value for name, value in os.environ.items() if not name.startswith(READ_ONCE)}
    asked = {name: value for name, value in os.environ.items() if name in AT_START}
    order = Order(
        command=["modelyard", "--version"],
        cwd=str(tmp_path),
        environment=plain | asked,
        followed=True,
    )
    with log.open("wb") as file:
        forked = ask_for_fork(str(preloaded_socket()), order, [file.fileno(), file.fileno()])
        assert forked is not None
        with forked.held:
            assert forked.exit_code() == 0
    assert log.read_text().startswith("modelyard")

from __future__ import annotations

import signal
import subprocess
from typing import Any

import pytest

from modelyard.adapters.isolation import removal
from modelyard.adapters.isolation.removal import scratch_folder


@pytest.mark.parametrize("times", [1, 3])
def test_a_second_ctrl_c_leaves_no_scratch_folder_behind(monkeypatch, tmp_path, times):
    run = subprocess.run

    def run_while_somebody_presses_ctrl_c(*words: Any, **named: Any) -> Any:
        assert named["start_new_session"]  # else the terminal stops it too
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        return run(*words, **named)

    monkeypatch.setattr(removal.subprocess, "run", run_while_somebody_presses_ctrl_c)
    monkeypatch.setattr(removal.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(KeyboardInterrupt), scratch_folder("modelyard-test-") as folder:
        (folder / "rows.csv").write_text("a\n")

    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

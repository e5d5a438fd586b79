"""Plays the whole path of a version on real data; exits with 0 only if every scene succeeds."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from demo import scenes
from demo.stage import REPOSITORY, Scene, SceneFailedError, Stage

SCENES: tuple[tuple[str, Callable[[Stage, Scene], None]], ...] = (
    ("v1 is proposed, trained and recorded", scenes.first_version),
    ("v1 moves dev -> staging -> canary -> production", scenes.to_production),
    ("v2 is better, and goes through the canary", scenes.better_version),
    ("v3 is worse by more than the margin, and is refused", scenes.refused_version),
    ("v4 is a silent regression that the canary finds", scenes.silent_regression),
    ("Summer comes: drift, retraining, v5", scenes.summer),
    ("An input column changes its unit or its name", scenes.broken_column),
    ("status and history show what happened", scenes.whole_story),
)


def main() -> int:
    """Play every scene; a failed scene ends the demo, because later ones depend on it."""
    # As Ctrl-C: whatever ends the demo, it ends its watcher and its servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # Wider tables are hard to read; a log file has no width of its own.
    console = Console(width=min(Console().width, 140) if sys.stdout.isatty() else 120)
    folder = REPOSITORY / "demo"
    before = time.monotonic()
    with Stage(folder, console) as stage:
        console.print(f"Setting up a yard, its forge and its servers in [bold]{folder}[/].")
        scenes.prepare(stage)
        stage.note(f"libraries preloaded after {stage.wait_for_preloaded():.1f} s more")
        stage.start_watcher()
        for number, (title, play) in enumerate(SCENES, start=1):
            scene = stage.title(number, title)
            began = time.monotonic()
            try:
                play(stage, scene)
            # What a wrong output raises. Anything else is a defect of the demo, and crashes.
            except (SceneFailedError, KeyError, StopIteration, ValueError) as error:
                scene.failed = f"{type(error).__name__}: {error}"
                console.print(scene.failed, style="bold red", markup=False)
            scene.seconds = time.monotonic() - began
            if scene.failed:
                break
    return _close(console, folder, stage.scenes, time.monotonic() - before)


def _close(console: Console, folder: Path, played: list[Scene], seconds: float) -> int:
    table = Table(title="Scenes", title_justify="left")
    for heading in ("", "scene", "seconds", "outcome", "result"):
        table.add_column(heading, overflow="fold")
    for number, (title, _) in enumerate(SCENES, start=1):
        scene = next((each for each in played if each.number == number), None)
        outcome = "not played" if scene is None else "FAILED" if scene.failed else "ok"
        result = "" if scene is None else scene.failed or scene.result
        took = "" if scene is None else f"{scene.seconds:.0f}"
        table.add_row(str(number), title, took, outcome, result)
    console.print()
    console.print(table)
    good = len(played) == len(SCENES) and not any(scene.failed for scene in played)
    ended = "in total" if good else "until a scene FAILED; the watcher's log is watch.log"
    console.print(f"{seconds:.0f} s {ended}. To explore what the demo left in {folder}:")
    for what, command in _next_commands(folder):
        console.print(f"  {what:<22} {command}", markup=False, soft_wrap=True)
    return 0 if good else 1


def _next_commands(folder: Path) -> tuple[tuple[str, str], ...]:
    yard, tool = folder / "yard", Path(sys.executable).parent
    database = yard / ".modelyard" / "mlflow.db"
    return (
        ("the Git log", f"git -C {yard} log --first-parent --stat origin/main"),
        ("the pull requests", f"{tool / 'modelyard'} --root {yard} pr list --all"),
        ("one pull request", f"{tool / 'modelyard'} --root {yard} pr show 4"),
        ("the history", f"{tool / 'modelyard'} --root {yard} history {scenes.MODEL}"),
        ("MLflow's pages", f"{tool / 'mlflow'} ui --backend-store-uri sqlite:///{database}"),
        ("the drift page", f"open {yard / 'drift.html'} in a browser"),
    )


if __name__ == "__main__":
    sys.exit(main())

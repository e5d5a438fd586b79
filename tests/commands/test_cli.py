from __future__ import annotations

import errno
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from modelyard import cli as frame
from modelyard.adapters.clock import SystemClock
from modelyard.commands import options
from modelyard.commands.output import terminal
from modelyard.domain.specs.repository import Repository
from modelyard.errors import CannotAnswer, Conflict, Refused, YardError
from modelyard.operations import services as services_module
from modelyard.ports import Services

HEAVY = (
    "mlflow evidently kserve hera pandas numpy scipy sklearn pyarrow jsonschema yaml cattrs rich"
)
SETTINGS = "apiVersion: modelyard/v1\nkind: Repository\n"
BINARY = Path(sys.executable).parent / "modelyard"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "modelyard.yaml").write_text(SETTINGS, encoding="utf-8")
    return tmp_path


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Make `modelyard validate` do something else."""

    def install(function: Callable[[], object]) -> None:
        replacement = click.command("validate")(function)
        monkeypatch.setattr(frame, "load_command", lambda name: replacement)

    return install


def test_help_names_every_visible_command_with_its_line():
    done = CliRunner().invoke(frame.cli, ["--help"])
    assert done.exit_code == 0
    longest = max(len(name) for name, entry in frame.COMMANDS.items() if not entry.hidden)
    for name, entry in frame.COMMANDS.items():
        assert (f"  {name:<{longest}}  {entry.help}" in done.output) == (not entry.hidden)


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom modelyard.cli import main\n"
        f"assert main(['--help']) == 0\n"
        f"print(sorted(set({HEAVY.split()!r}) & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stderr == "[]\n"


def test_every_command_of_the_table_exists_under_its_name():
    found = {name: frame.load_command(name) for name in frame.COMMANDS}
    assert {name: command.name for name, command in found.items()} == {n: n for n in found}
    assert all(isinstance(command, click.Command) for command in found.values())


def test_suggests_a_command_for_a_mistyped_one(capsys: pytest.CaptureFixture[str]):
    assert frame.main(["valdate"]) == 2
    assert "No such command 'valdate'. Did you mean 'validate'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [(CannotAnswer, 1), (Conflict, 1), (Refused, 3), (YardError, 1)],
)
def test_a_known_error_is_a_sentence_a_hint_and_its_exit_code(
    error: type[YardError],
    code: int,
    command: Callable[[Callable[[], object]], None],
    capsys: pytest.CaptureFixture[str],
):
    def fail() -> None:
        raise error("x is 3; at most 2", hint="run y")

    command(fail)
    assert frame.main(["validate"]) == code
    assert capsys.readouterr() == ("", "error: x is 3; at most 2\nhint: run y\n")


def test_a_crash_is_one_line_and_never_looks_like_a_no(
    command: Callable[[Callable[[], object]], None], capsys: pytest.CaptureFixture[str]
):
    def crash() -> None:
        raise KeyError("lost\nsecond line")

    command(crash)
    assert frame.main(["validate"]) == 1
    assert capsys.readouterr().err == (
        "error: unexpected KeyError: 'lost\\nsecond line'\n"
        "hint: run it again with --debug to see where\n"
    )


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "make room and run it again"),
        (errno.EROFS, "let this user write there"),
        (errno.EACCES, "let this user read and write there"),
    ],
)
def test_a_disk_that_cannot_be_written_is_no_crash(
    command: Callable[[Callable[[], object]], None],
    capsys: pytest.CaptureFixture[str],
    number: int,
    hint: str,
):
    def fill() -> None:
        raise OSError(number, os.strerror(number), "state/x.json")

    command(fill)
    assert frame.main(["validate"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: state/x.json: {os.strerror(number)}\nhint: {hint}")


def test_a_disk_that_is_full_where_no_file_is_named_is_told_too(
    command: Callable[[Callable[[], object]], None], capsys: pytest.CaptureFixture[str]
):
    def flush() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    command(flush)
    assert frame.main(["validate"]) == 1
    assert capsys.readouterr().err.startswith("error: No space left on device\nhint: make room")


def test_debug_shows_the_traceback_of_a_crash(
    command: Callable[[Callable[[], object]], None], capsys: pytest.CaptureFixture[str]
):
    def crash() -> None:
        raise ValueError("lost")

    command(crash)
    assert frame.main(["--debug", "validate"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("Traceback (most recent call last):\n")
    assert 'raise ValueError("lost")' in said
    assert "error: unexpected ValueError: lost\n" in said


def test_wrong_usage_is_2(capsys: pytest.CaptureFixture[str]):
    assert frame.main(["validate", "--output", "xml"]) == 2
    assert "'xml' is not one of 'text', 'json', 'github'" in capsys.readouterr().err


def test_an_interrupted_command_is_130(
    command: Callable[[Callable[[], object]], None], capsys: pytest.CaptureFixture[str]
):
    def interrupt() -> None:
        raise KeyboardInterrupt

    command(interrupt)
    assert frame.main(["validate"]) == 130
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "stopped: modelyard validate. It only reads, so nothing changed. "
        "To go on: modelyard validate\n"
    )


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        (["try", "wine", "--param", "a=b c"], "Its trainer is stopped too, and nothing was kept."),
        (["-v", "watch"], "modelyard servers stop stops the servers."),
        (["reconcile", "wine"], "and workflows go on."),
        (["init", "https://ann:s3cret@h/n"], "What it had finished is kept."),
    ],
)
def test_ctrl_c_says_what_is_kept_and_the_command_that_goes_on(
    arguments: list[str],
    kept: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    class Interrupted(click.Command):
        def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
            raise KeyboardInterrupt

    monkeypatch.setattr(frame, "load_command", Interrupted)

    assert frame.main(arguments) == 130

    said = capsys.readouterr().err
    assert f"{kept} To go on: modelyard " in said
    assert said.count("\n") == 1
    assert "s3cret" not in said
    if "init" not in arguments:
        assert said.strip().endswith(f"To go on: {shlex.join(['modelyard', *arguments])}")


@pytest.mark.parametrize("returned", [None, 0, 5, "text", True])
def test_a_command_that_ends_is_0_whatever_it_returns(
    returned: object, command: Callable[[Callable[[], object]], None]
):
    command(lambda: returned)
    assert frame.main(["validate"]) == 0


@pytest.mark.long
def test_a_closed_pipe_is_quiet(checkout: Path):
    (checkout / "models/m/versions").mkdir(parents=True)
    for number in range(3000):
        (checkout / f"models/m/versions/v{number}.yml").touch()
    with subprocess.Popen(
        [BINARY, "validate"], cwd=checkout, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_ctrl_c_in_a_real_process_is_130_without_a_traceback(tmp_path: Path):
    code = (
        "import signal, sys, time, click\nfrom modelyard import cli\n"
        # What a shell starts in the background ignores Ctrl-C, and so does what that starts.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "wait = click.command('validate')(lambda: (print('up', flush=True), time.sleep(20)))\n"
        "cli.load_command = lambda name: wait\n"
        "sys.exit(cli.main(['validate']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "up\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.stderr.read().startswith("stopped: modelyard validate. It only reads")
    assert process.returncode == 130


def test_verbose_tells_on_stderr_what_the_toolkit_logs(
    command: Callable[[Callable[[], object]], None], capsys: pytest.CaptureFixture[str]
):
    import logging

    def talk() -> None:
        logging.getLogger("modelyard.adapters.x").info("fetched")
        logging.getLogger("somebody.else").info("noise")

    logger = logging.getLogger("modelyard")
    before = (logger.level, list(logger.handlers))
    command(talk)
    try:
        assert frame.main(["-v", "validate"]) == 0
    finally:
        logger.level, logger.handlers = before[0], before[1]
    assert capsys.readouterr() == ("", "INFO modelyard.adapters.x: fetched\n")


# Options.


@click.command()
@options.pass_root
@click.option("--loud", is_flag=True)
def where(root: Path, *, loud: bool) -> None:
    click.echo(f"{root}{'!' if loud else ''}")


def test_root_is_the_nearest_folder_upwards_with_settings(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
):
    deep = checkout / "a/b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert CliRunner().invoke(where, ["--loud"]).output == f"{checkout}!\n"


def test_no_settings_anywhere_is_no_answer_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    assert frame.main(["validate"]) == 1
    assert capsys.readouterr().err == (
        f"error: no modelyard.yaml in {tmp_path} or any folder above it\n"
        "hint: change to a checkout, or use --root DIR\n"
    )


def test_root_can_be_said_by_option_and_by_environment(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(frame, "load_command", lambda name: where)
    monkeypatch.chdir("/")
    assert frame.main(["--root", str(checkout), "validate"]) == 0
    monkeypatch.setenv("MODELYARD_ROOT", str(checkout))
    assert frame.main(["validate"]) == 0
    assert capsys.readouterr().out == f"{checkout}\n{checkout}\n"


def test_a_root_without_settings_is_no_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert frame.main(["--root", str(tmp_path), "validate"]) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path} has no modelyard.yaml\n")


def test_a_test_can_hand_its_own_world_to_a_command(checkout: Path):
    @click.command()
    @options.pass_services
    @options.dry_run_option
    def look(services: Services, *, dry_run: bool) -> None:
        click.echo(f"{services is world} {dry_run}")

    world = Services(
        root=checkout,
        repository=Repository(),
        pulls=object(),
        desk=object(),
        orchestrator=object(),
        cluster=object(),
        metrics=object(),
        clock=SystemClock(),
    )
    done = CliRunner().invoke(look, ["--dry-run"], obj=world, catch_exceptions=False)
    assert done.output == "True True\n"
    assert CliRunner().invoke(where, obj=world).output == f"{checkout}\n"


def test_builds_the_local_world_from_the_settings(checkout: Path):
    services = services_module.services_for(checkout)
    assert services.root == checkout
    assert services.repository == Repository()
    assert {
        role: type(getattr(services, role)).__name__
        for role in ("pulls", "desk", "orchestrator", "cluster", "metrics", "clock")
    } == {
        "pulls": "LocalPulls",
        "desk": "LocalForge",
        "orchestrator": "LocalWorkflows",
        "cluster": "LocalCluster",
        "metrics": "ScrapeMetrics",
        "clock": "SystemClock",
    }


def test_names_the_setting_that_a_hosted_forge_lacks(checkout: Path):
    (checkout / "modelyard.yaml").write_text(f"{SETTINGS}forge: github\n", encoding="utf-8")
    with pytest.raises(CannotAnswer) as caught:
        services_module.services_for(checkout)
    assert caught.value.message == (
        "modelyard.yaml: forge: github needs the repository's owner and name"
    )
    assert caught.value.hint == "set forge_repository: acme/yard"


def test_with_argo_releases_run_in_a_cluster_and_workflows_too(checkout: Path):
    (checkout / "modelyard.yaml").write_text(f"{SETTINGS}orchestrator: argo\n", encoding="utf-8")

    services = services_module.services_for(checkout)

    assert type(services.cluster).__name__ == "KubernetesCluster"
    assert type(services.orchestrator).__name__ == "ArgoWorkflows"


@pytest.mark.parametrize(
    ("orchestrator", "workflows", "runs_releases", "runs_workflows"),
    [
        ("local", "airflow", "LocalCluster", "AirflowWorkflows"),
        ("argo", "airflow", "KubernetesCluster", "AirflowWorkflows"),
        ("argo", "local", "KubernetesCluster", "LocalWorkflows"),
        ("local", "argo", "LocalCluster", "ArgoWorkflows"),
    ],
)
def test_workflows_may_run_elsewhere_than_releases(
    checkout: Path, orchestrator: str, workflows: str, runs_releases: str, runs_workflows: str
):
    settings = f"orchestrator: {orchestrator}\nworkflows: {workflows}\n"
    address = "workflows_uri: http://127.0.0.1:8080\n"
    (checkout / "modelyard.yaml").write_text(f"{SETTINGS}{settings}{address}", encoding="utf-8")

    services = services_module.services_for(checkout)

    assert type(services.cluster).__name__ == runs_releases
    assert type(services.orchestrator).__name__ == runs_workflows


def test_names_the_address_that_airflow_lacks(checkout: Path):
    (checkout / "modelyard.yaml").write_text(f"{SETTINGS}workflows: airflow\n", encoding="utf-8")
    with pytest.raises(CannotAnswer) as caught:
        services_module.services_for(checkout)
    assert caught.value.message == "modelyard.yaml: workflows: airflow needs the address of Airflow"
    assert caught.value.hint == "set workflows_uri: http://airflow.example.org:8080"


def test_counts_come_from_prometheus_where_its_address_is_known(checkout: Path):
    settings = checkout / "modelyard.yaml"
    settings.write_text(f"{SETTINGS}metrics: prometheus\n", encoding="utf-8")
    with pytest.raises(CannotAnswer, match="metrics: prometheus needs the address of Prometheus"):
        services_module.services_for(checkout)
    address = "metrics_uri: http://127.0.0.1:9090\n"
    settings.write_text(f"{SETTINGS}metrics: prometheus\n{address}", encoding="utf-8")
    assert type(services_module.services_for(checkout).metrics).__name__ == "PrometheusMetrics"


def test_settings_that_cannot_be_read_are_no_answer(checkout: Path):
    (checkout / "modelyard.yaml").write_text("a: 1\nforge: ]", encoding="utf-8")
    with pytest.raises(CannotAnswer, match=r"modelyard\.yaml:2: is not YAML"):
        services_module.repository_of(checkout)


def test_json_is_readable_and_cannot_drive_the_terminal():
    @click.command()
    def show() -> None:
        terminal.print_json({"b": "Zoë", "a": ["\x1b[2J", "\x9b2J", "\u202e", "\udcff"]})

    output = CliRunner().invoke(show).output
    assert '"Zoë"' in output
    assert output.isascii() is False
    assert not set(output) & {"\x1b", "\x9b", "\u202e", "\udcff"}
    assert list(json.loads(output).items()) == [
        ("b", "Zoë"),
        ("a", ["\x1b[2J", "\x9b2J", "\u202e", "\udcff"]),
    ]


def test_json_refuses_numbers_that_json_does_not_have():
    @click.command()
    def show() -> None:
        terminal.print_json({"a": float("nan")})

    assert isinstance(CliRunner().invoke(show).exception, ValueError)


@pytest.mark.parametrize(
    ("args", "environment", "colour"),
    [
        ([], {}, False),
        (["--color"], {}, True),
        (["--color"], {"NO_COLOR": "1"}, True),
        (["--no-color"], {}, False),
        ([], {"NO_COLOR": "1"}, False),
    ],
)
def test_colour_is_as_option_environment_and_terminal_say(
    args: list[str],
    environment: dict[str, str],
    colour: bool,  # noqa: FBT001 - a parameter of the test
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    def paint() -> None:
        terminal.make_console().print("x", style="red")

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    command = click.command("validate")(paint)
    monkeypatch.setattr(frame, "load_command", lambda name: command)
    assert frame.main([*args, "validate"]) == 0
    assert ("\x1b[31m" in capsys.readouterr().out) == colour


def test_the_clock_is_the_computers_or_the_one_that_was_set(monkeypatch: pytest.MonkeyPatch):
    before = datetime.now(UTC)
    assert before <= SystemClock().now() <= datetime.now(UTC)
    monkeypatch.setenv("MODELYARD_NOW", "2026-01-31T13:00:00+01:00")
    assert SystemClock().now() == datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize("text", ["yesterday", "2026-01-31T12:00:00", ""])
def test_refuses_a_set_clock_without_a_zone(text: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MODELYARD_NOW", text)
    with pytest.raises(CannotAnswer, match="is not a time with a time zone"):
        SystemClock().now()


def test_python_dash_m_is_the_same_program():
    done = subprocess.run(
        [sys.executable, "-m", "modelyard", "--version"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    assert done.stdout.startswith("modelyard ")


def test_a_thread_of_a_library_that_still_reads_does_not_abort_the_end():
    # What Arrow reads in advance, it reads in a thread of its own.
    code = (
        "import io, time, pyarrow, pyarrow.csv\n"
        "from modelyard import cli\n"
        "class Slow(io.BytesIO):\n"
        "    def read(self, size=-1, /):\n"
        "        piece = super().read(size)\n"
        "        time.sleep(0.2)\n"
        "        return piece\n"
        "file = pyarrow.PythonFile(Slow(b'a\\n' + b'1\\n' * 2_000_000), mode='r')\n"
        "options = pyarrow.csv.ReadOptions(block_size=2**14, use_threads=False)\n"
        "kept = pyarrow.csv.open_csv(file, options)\n"
        "cli.main = lambda: print('refused') or 3\n"
        "cli.run()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (3, "refused\n", "")


@pytest.mark.parametrize(("word", "code"), [("--version", 0), ("nosuch", 2)])
def test_a_command_whose_stderr_is_closed_has_its_own_exit_code(word, code):
    line = f"exec {shlex.quote(sys.executable)} -m modelyard {word} 2>&-"
    done = subprocess.run(["sh", "-c", line], stdout=subprocess.PIPE, check=False)
    assert done.returncode == code

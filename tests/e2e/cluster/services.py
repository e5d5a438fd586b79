"""What a cluster's users bring along: a forge, S3, PostgreSQL, Prometheus, Redis for Argo CD."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import yaml

from e2e.cluster.forge import forge_addresses, start_forge
from e2e.cluster.layout import (
    BUCKET,
    DATABASE,
    HERE,
    PODS,
    POSTGRES_PORT,
    PROMETHEUS_PORT,
    REDIS_PORT,
    REPOSITORY,
    S3_PORT,
    TARGETS_PORT,
    Layout,
)
from e2e.cluster.processes import Program, start
from e2e.cluster.progress import wait_until

S3_ACCESS_KEY = "modelyard-e2e"
S3_SECRET_KEY = "modelyard-e2e-secret"
DATABASE_PASSWORD = "modelyard-e2e"
ALERTS = "environments/platform/manifests/alerts.yaml"


def start_services(layout: Layout) -> None:
    """Start all of them and wait until each accepts connections."""
    _make_database(layout)
    (layout.state / "s3" / BUCKET).mkdir(parents=True, exist_ok=True)
    for make in (s3, postgres, redis):
        start(layout, make(layout))
    start_forge(layout)
    ports = {"versitygw": S3_PORT, "postgresql": POSTGRES_PORT}
    for name, port in ports.items():
        wait_until(f"{name} that listens", 30, lambda port=port: _listens(layout.address, port))
    wait_until("redis that listens", 30, lambda: _listens("127.0.0.1", REDIS_PORT))
    _fill_database(layout)


def start_prometheus(layout: Layout) -> None:
    """Prometheus, once there is an API server to ask for pods."""
    rules = yaml.safe_load((REPOSITORY / ALERTS).read_text())["spec"]
    (layout.state / "alerts.yml").write_text(yaml.safe_dump(rules))
    path = layout.state / "prometheus.yml"
    path.write_text(yaml.safe_dump(_prometheus_config()))
    start(layout, targets(layout))
    start(layout, prometheus(layout))


def s3(layout: Layout) -> Program:
    """S3 over a folder."""
    return Program(
        name="versitygw",
        argv=[
            f"{layout.bin}/versitygw",
            f"--port={layout.address}:{S3_PORT}",
            f"--access={S3_ACCESS_KEY}",
            f"--secret={S3_SECRET_KEY}",
            "posix",
            f"{layout.state}/s3",
        ],
    )


def postgres(layout: Layout) -> Program:
    """A database server of our own, as the user its package made; SIGINT ends its clients too."""
    data = layout.state / "postgresql"
    return Program(
        name="postgresql",
        argv=[f"{_postgres_bin()}/postgres", "-D", f"{data}", "-k", f"{_socket(layout)}"],
        user="postgres",
        stop_signal=signal.SIGINT,
    )


def redis(layout: Layout) -> Program:
    """Argo CD's cache."""
    options = f"--bind 127.0.0.1 --port {REDIS_PORT} --save  --appendonly no --dir {layout.run}"
    return Program(name="redis", argv=["redis-server", *options.split(" ")])


def targets(layout: Layout) -> Program:
    """Tells Prometheus which pods there are."""
    argv = [sys.executable, str(HERE / "targets.py"), str(TARGETS_PORT), str(layout.kubeconfig)]
    return Program(name="targets", argv=argv)


def prometheus(layout: Layout) -> Program:
    """Scrapes model servers, watcher and judge at their pods, and evaluates the alerts."""
    return Program(
        name="prometheus",
        argv=[
            "prometheus",
            f"--config.file={layout.state}/prometheus.yml",
            f"--storage.tsdb.path={layout.state}/prometheus",
            f"--web.listen-address={layout.address}:{PROMETHEUS_PORT}",
            "--web.enable-lifecycle",
        ],
        resolves=True,
    )


def addresses(layout: Layout) -> dict[str, str]:
    """Where these are, with their credentials."""
    host = layout.address
    login = f"{DATABASE}:{DATABASE_PASSWORD}"
    return {
        **forge_addresses(layout),
        "s3_endpoint": f"http://{host}:{S3_PORT}",
        "s3_bucket": BUCKET,
        "s3_access_key": S3_ACCESS_KEY,
        "s3_secret_key": S3_SECRET_KEY,
        "s3_region": "us-east-1",
        "postgres_uri": f"postgresql://{login}@{host}:{POSTGRES_PORT}/{DATABASE}",
        "prometheus_url": f"http://{host}:{PROMETHEUS_PORT}",
    }


def _make_database(layout: Layout) -> None:
    data = layout.state / "postgresql"
    if (data / "PG_VERSION").exists():
        return
    for folder in (data, _socket(layout)):
        folder.mkdir(mode=0o700, parents=True)
        shutil.chown(folder, "postgres", "postgres")
    layout.run.chmod(0o755)
    seen = subprocess.run(["test", "-w", data], user="postgres", check=False)
    if seen.returncode != 0:
        hint = "set MODELYARD_E2E_STATE to a folder everybody may enter"
        raise SystemExit(f"the user postgres cannot enter {data}: {hint}")
    init = [f"{_postgres_bin()}/initdb", "-D", data, "--no-sync", "--auth=trust", "-E", "UTF8"]
    subprocess.run(init, user="postgres", check=True, stdout=subprocess.DEVNULL, cwd="/")
    networks = (PODS, f"{layout.address}/24")
    rules = "".join(f"host all all {network} scram-sha-256\n" for network in networks)
    (data / "pg_hba.conf").write_text(f"local all postgres peer map=root\n{rules}")
    (data / "pg_ident.conf").write_text("root root postgres\nroot postgres postgres\n")
    settings = f"listen_addresses = '{layout.address}'\nport = {POSTGRES_PORT}\nfsync = off\n"
    with (data / "postgresql.conf").open("a") as config:
        config.write(f"{settings}shared_buffers = 64MB\nmax_connections = 60\n")


def _fill_database(layout: Layout) -> None:
    if DATABASE not in _psql(layout, "select rolname from pg_roles").split():
        _psql(layout, f"create role {DATABASE} login password '{DATABASE_PASSWORD}'")
        _psql(layout, f"create database {DATABASE} owner {DATABASE}")


def _psql(layout: Layout, statement: str) -> str:
    where = ["-h", _socket(layout), "-p", str(POSTGRES_PORT), "-U", "postgres"]
    command = [f"{_postgres_bin()}/psql", *where, "-q", "-t", "-A", "-c", statement]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def _socket(layout: Layout) -> Path:
    """Its folder; a socket's path must be short."""
    return layout.run / "postgresql"


def _postgres_bin() -> Path:
    return sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]


def _listens(host: str, port: int) -> bool:
    with socket.socket() as connection:
        connection.settimeout(1)
        return connection.connect_ex((host, port)) == os.EX_OK


def _prometheus_config() -> dict:
    discovery = {"url": f"http://127.0.0.1:{TARGETS_PORT}", "refresh_interval": "2s"}
    return {
        "global": {"scrape_interval": "5s", "scrape_timeout": "4s", "evaluation_interval": "5s"},
        "rule_files": ["alerts.yml"],
        "scrape_configs": [{"job_name": "modelyard", "http_sd_configs": [discovery]}],
    }

"""`modelyard serve`: serve one trained model by the Open Inference Protocol, without a checkout."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import click

from modelyard.commands.output.logs import log_with_dates
from modelyard.domain.specs.model import DEFAULT_QUEUE, STUCK_SECONDS


def _copy_addresses(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    """The addresses, if all are some: a copy that goes nowhere is seen by nobody."""
    if values:
        from modelyard.serving.shadow.addresses import address_problem

        for problem in filter(None, map(address_problem, values)):
            raise click.BadParameter(problem, context, parameter)
    return values


@click.command()
@click.option("--model", required=True, help="The model's name, a part of the address.")
@click.option("--version", required=True, help="The version's name, for metrics and answers.")
@click.option("--release", required=True, help="Identity of the release, for metrics.")
@click.option("--artifact", required=True, help="The pin: sha256:<64 hex digits>.")
@click.option(
    "--folder",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The artifact's folder.",
)
@click.option("--port", required=True, type=click.IntRange(1, 65535), help="The HTTP port.")
@click.option(
    "--grpc-port",
    type=click.IntRange(1, 65535),
    help="The port of the same protocol over gRPC; without it there is HTTP alone.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--payload-log",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to log every row to, in Parquet files.",
)
@click.option(
    "--payload-log-megabytes",
    type=click.IntRange(1),
    default=1024,
    show_default=True,
    help="Size of that folder beyond which the oldest files are deleted.",
)
@click.option(
    "--trusted-type",
    "trusted_types",
    multiple=True,
    help="A type that the model file may name besides the library's own; repeatable.",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    default=("skops",),
    show_default=True,
    help="An accepted model format; repeatable.",
)
@click.option(
    "--closing-file",
    "closing",
    type=click.Path(path_type=Path, dir_okay=False),
    help="While this file exists, every answer ends its connection.",
)
@click.option("--lock", help="The pinned runtime: SHA-256 of its lock.")
@click.option(
    "--lock-file",
    type=click.Path(path_type=Path, dir_okay=False),
    hidden=True,
    help="The lock that this interpreter was built from, if it is not in its folder.",
)
@click.option(
    "--queue",
    type=click.IntRange(1),
    default=DEFAULT_QUEUE,
    show_default=True,
    help="Requests that may wait while the model is busy; further ones are answered 503.",
)
@click.option(
    "--stuck-after",
    type=click.FloatRange(1),
    default=STUCK_SECONDS,
    show_default=True,
    help="Seconds after which a call of the model is taken for one that never returns: the server"
    " is not alive then, and a worker is replaced.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes that serve the model on the port, each with its own queue.",
)
@click.option(
    "--shadow-share",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="The share of answered requests that is copied to a canary, unseen by its caller.",
)
@click.option(
    "--shadow-to",
    multiple=True,
    metavar="ADDRESS",
    callback=_copy_addresses,
    help="Where a canary answers, such as http://HOST:PORT, or a local file of endpoints;"
    " repeatable.",
)
@click.option(
    "--listening",
    type=click.IntRange(3),
    envvar="MODELYARD_LISTENING",
    hidden=True,
    help="The descriptor of a socket of that port, for a server that may make none.",
)
@click.option(
    "--claim",
    type=click.Path(path_type=Path, dir_okay=False),
    hidden=True,
    help="A file to lock; a second process with the same file ends at once.",
)
def serve(
    *,
    claim: Path | None,
    port: int,
    grpc_port: int | None,
    formats: tuple[str, ...],
    lock: str | None,
    lock_file: Path | None,
    workers: int,
    **options: object,
) -> None:
    """Serve a trained model over HTTP, and with --grpc-port over gRPC, too.

    An artifact whose files do not have the pinned digest is refused (exit 3) before it is opened,
    and every artifact where another runtime than the pinned one runs. A model whose golden rows
    differ is never ready. Exit 4 says that the model itself fails, on the pinned bytes. SIGTERM
    lets open requests finish first.
    """
    log_with_dates()
    if lock is not None:
        _enter_image_runtime(lock)
    grpc_port = _grpc_port(grpc_port, str(options["model"]))
    with _hold(claim, port, grpc_port):
        if lock is not None:
            from modelyard.runtime_measure import measure_runtime

            measure_runtime(lock, lock_file)
        if "skops" in formats:
            from modelyard.serving.formats.skops_file import import_skops_early

            import_skops_early()
        from modelyard.adapters.processes.bounded_log import bound_own_output
        from modelyard.serving.server import Settings, serve_model, serve_workers

        # Not before: a server without threads imports skops in half the time.
        bound_own_output()
        settings = Settings(port=port, grpc_port=grpc_port, formats=formats, **options)  # type: ignore[arg-type]  # the options are its fields
        if workers == 1:
            serve_model(settings)
        else:
            serve_workers(settings, workers)


def _enter_image_runtime(lock: str) -> None:
    """In an image, become the same command in the runtime that the image has for its model."""
    from modelyard.adapters.runtimes.find import IN_IMAGE, runtime_of_image

    if folder := os.environ.get(IN_IMAGE):
        runtime = runtime_of_image(Path(folder), lock)
        if not runtime.is_own:
            from modelyard.adapters.processes.start import IN_RUNTIME

            os.execv(runtime.python, [str(runtime.python), "-P", str(IN_RUNTIME), *sys.argv[1:]])  # noqa: S606 - no shell is wanted


def _grpc_port(port: int | None, model: str) -> int | None:
    """The port, or None where only a variable asks for gRPC, and this runtime cannot have it.

    A release that was made before its model asked for gRPC goes on answering HTTP.

    Raises:
        CannotAnswer: The option asks for it.
    """
    from modelyard.serving.grpc.available import missing_grpc

    if port is None or (missing := missing_grpc(model)) is None:
        return port
    source = click.get_current_context().get_parameter_source("grpc_port")
    if source is not click.core.ParameterSource.ENVIRONMENT:
        raise missing
    logging.getLogger(__name__).error("HTTP alone: %s; hint: %s", missing.message, missing.hint)
    return None


def _hold(claim: Path | None, port: int, grpc_port: int | None) -> AbstractContextManager[None]:
    if claim is None:
        return nullcontext()
    from modelyard.adapters.cluster.claim import hold_claim

    return hold_claim(claim, port=port, grpc_port=grpc_port)

"""`modelyard gate`: ask the gate again from the kept evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modelyard.commands.options import output_option, pass_services
from modelyard.commands.output.tables import print_verdict
from modelyard.domain.specs.paths import record_file
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.workspace import workspace_of
from modelyard.ports import Services

if TYPE_CHECKING:
    from modelyard.domain.specs.catalog import Catalog
    from modelyard.domain.specs.record import Record
    from modelyard.domain.verdict import Verdict
    from modelyard.operations.workspace import Workspace


@click.command()
@click.argument("model", required=False)
@click.argument("version", required=False)
@click.option("--against", metavar="VERSION", help="Another champion than the record's.")
@click.option("--check", is_flag=True, help="Compare with the record; exit 3 where they differ.")
@click.option(
    "--changed-since",
    metavar="REF",
    help="With --check: every record the checkout's HEAD added since REF, instead of one.",
)
@output_option
@pass_services
def gate(
    services: Services,
    /,
    *,
    model: str | None,
    version: str | None,
    against: str | None,
    check: bool,
    changed_since: str | None,
    output: str,
) -> None:
    """Compute the verdict on VERSION of MODEL again, from the per-row scores that were kept.

    Exit 0 for a pass, 3 for anything else, 1 when evidence is out of reach. With --check the
    question is whether the record says what its evidence says.
    """
    workspace = workspace_of(services)
    if changed_since is not None:
        if model or version or not check:
            raise click.UsageError("--changed-since goes with --check, and without MODEL VERSION")
        _check_changed(workspace, changed_since)
        return
    if model is None or version is None:
        raise click.UsageError("name MODEL and VERSION, or --check --changed-since REF")
    verdict = _asked(workspace, model, version, against=against, check=check)
    print_verdict(verdict, output)
    if not verdict.passed and not check:
        raise click.exceptions.Exit(Refused.exit_code)


def _asked(
    workspace: Workspace, model: str, version: str, *, against: str | None, check: bool
) -> Verdict:
    from modelyard.operations.gate import compare

    catalog = workspace.catalog(workspace.main())
    record = catalog.records.get((model, version))
    if record is None:
        raise CannotAnswer(
            f"there is no record {record_file(model, version)} on the main branch",
            hint=f"modelyard record {model} {version}",
        )
    if against is None:
        return _recomputed(workspace, catalog, record, check=check)
    verdict = compare(workspace.store, catalog, model, version, against)
    if verdict is None:
        raise CannotAnswer(f"{version} and {against} were never scored on the same rows")
    return verdict


def _recomputed(workspace: Workspace, catalog: Catalog, record: Record, *, check: bool) -> Verdict:
    from modelyard.operations.gate import differences, recompute

    if record.artifact is None:  # training itself was refused: there is nothing to compute from
        return record.verdict
    verdict, each = recompute(workspace.store, catalog, record)
    if check and (found := differences(record, verdict, each)):
        raise Refused(f"{record.model} {record.version}: {'; '.join(found)}")
    return verdict


def _check_changed(workspace: Workspace, ref: str) -> None:
    head = workspace.git.rev_parse("HEAD")
    changed = set(workspace.git.diff_names(workspace.git.merge_base(ref, head), head))
    catalog = workspace.catalog(head)
    for (model, version), record in sorted(catalog.records.items()):
        if record_file(model, version) in changed:
            verdict = _recomputed(workspace, catalog, record, check=True)
            click.echo(f"{model} {version}: {verdict.outcome}, as its evidence says")

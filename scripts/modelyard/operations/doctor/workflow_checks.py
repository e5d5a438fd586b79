"""The checks of `modelyard doctor` about workflows and what runs them; see `checks.py`."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.operations.doctor.runner import Checkout, Finding


def the_workflows_are_rendered(checkout: Checkout) -> Iterator[Finding]:
    """Nothing is trained without its WorkflowTemplate."""
    from modelyard.domain.specs.paths import WORKFLOW_TEMPLATES
    from modelyard.operations.reconcile.apply import TEMPLATE

    file = f"{WORKFLOW_TEMPLATES}{TEMPLATE}.yaml"
    if not (checkout.root / file).is_file():
        yield Finding(what=f"{file} is missing", fix="modelyard render --platform")


def airflow_runs_the_workflows(checkout: Checkout) -> Iterator[Finding]:
    """It answers, is new enough and at work, and has each DAG; only where it is configured."""
    from modelyard.domain.specs.paths import WORKFLOW_TEMPLATES
    from modelyard.domain.specs.repository import WorkflowsKind

    repository = checkout.workspace.services.repository
    if repository.runs_workflows is not WorkflowsKind.AIRFLOW:
        return
    from modelyard.adapters.workflows.airflow_api import AirflowApi
    from modelyard.adapters.workflows.airflow_faults import list_faults

    api = AirflowApi.from_environment(repository.workflows_uri or "")
    rendered = sorted(file.stem for file in (checkout.root / WORKFLOW_TEMPLATES).glob("*.yaml"))
    for what, fix in list_faults(api, rendered):
        yield Finding(what=what, fix=fix)


def workflows_belong_to_versions(checkout: Checkout) -> Iterator[Finding]:
    """No workflow runs after its attempt is over."""
    from modelyard.domain.promotion.facts import TrainingFacts
    from modelyard.domain.specs.names import workflow_name

    catalog = checkout.specs.catalog
    facts = checkout.workspace.facts.read_snapshot()
    for (model, version), digest in sorted(catalog.digests.items()):
        known = facts.model_facts(model).training.get(version, TrainingFacts())
        is_over = (model, version) in catalog.records or known.failed is not None
        # The attempt that counts now may still run.
        for attempt in range(1, known.attempt + (1 if is_over else 0)):
            name = workflow_name(model, version, spec=digest, attempt=attempt)
            status = checkout.workspace.services.orchestrator.status(name)
            if status is not None and not status.phase.is_over:
                what = f"workflow {name} still runs, but attempt {attempt} of {version} is over"
                yield Finding(what=what, fix=f"stop {name}, or let it end: its outcome is not used")

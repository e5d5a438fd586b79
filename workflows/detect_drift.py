"""Compares a model's new data with its training data, and proposes a version if it drifted."""

from __future__ import annotations

from _checkout import WORK
from _step import step, workflow
from hera.workflows import DAG, CronWorkflow, Parameter, Task, WorkflowTemplate
from hera.workflows.models import ValueFrom, WorkflowTemplateRef

NAME = "detect-drift"
DECISION = "decision"

# After the nightly feeds. All models run at the same minute, so that their days are comparable.
SCHEDULE = "17 3 * * *"


def template(*, image: str, models: tuple[str, ...]) -> list[WorkflowTemplate | CronWorkflow]:
    """The workflow, and a daily schedule of it for each model.

    Args:
        image: The image of its steps.
        models: The repository's models.
    """
    return [_workflow(image), *(_daily(model) for model in models)]


def _workflow(image: str) -> WorkflowTemplate:
    # Without a decision `modelyard drift` could not answer, and then `retrain` does not run.
    decision = Parameter(
        name=DECISION, value_from=ValueFrom(path=f"{WORK}/{DECISION}", default="unknown")
    )
    with workflow(NAME, parameters=("model",), deadline_seconds=10_800) as rendered:
        model = "{{workflow.parameters.model}}"
        compare = step(
            "compare",
            ["drift", model, "--output=json", f"--decision={DECISION}"],
            image=image,
            deadline_seconds=1800,
            memory="2Gi",
            outputs=(decision,),
        )
        retrain = step("retrain", ["retrain", model], image=image, deadline_seconds=900)
        with DAG(name=NAME):
            compared = Task(name="compare", template=compare)
            decided = compared.get_parameter(DECISION).value
            # Confirmed drift is exit code 3, so the step fails; `retrain` must run all the same.
            Task(
                name="retrain",
                template=retrain,
                depends="compare.Succeeded || compare.Failed",
                # Also after "none", which closes a pull request for drift that is gone.
                when=f"{decided} == confirmed || {decided} == none",
            )
    return rendered


def _daily(model: str) -> CronWorkflow:
    return CronWorkflow(
        name=f"{NAME}-{model}",
        schedules=[SCHEDULE],
        timezone="Etc/UTC",
        concurrency_policy="Forbid",
        starting_deadline_seconds=3600,
        successful_jobs_history_limit=3,
        failed_jobs_history_limit=3,
        workflow_template_ref=WorkflowTemplateRef(name=NAME),
        arguments=[Parameter(name="model", value=model)],
    )

"""Everything that runs one release, by file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.release import Release
from modelyard.render.analysis import analysis_template
from modelyard.render.identity import Document, Identity
from modelyard.render.network import budget, monitor, policy, services
from modelyard.render.rollout import rollout
from modelyard.render.router import route


def manifests(
    release: Release, *, model: Model, environment: Environment
) -> Mapping[str, Sequence[Document]]:
    """The Kubernetes documents of a release, by file name.

    Args:
        release: The pin.
        model: Its model.
        environment: Where it runs.
    """
    identity = Identity(model=release.model, environment=environment)
    files: dict[str, Sequence[Document]] = {
        "availability.yaml": [budget(identity), policy(identity)],
        "monitor.yaml": [monitor(identity)],
        "rollout.yaml": [rollout(release, model=model, identity=identity)],
        "services.yaml": services(identity),
    }
    if environment.rollout.router is not None:
        files["route.yaml"] = [route(identity, environment.rollout.router)]
    if environment.rollout.judged:
        files["analysis.yaml"] = [analysis_template(identity)]
    return dict(sorted(files.items()))

"""The servers and the registry of a fleet at rest: they run what Git pins, and answer at once."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from modelyard.adapters.cluster.local_site import found_site
from modelyard.domain.canary.traffic import RolloutState
from modelyard.domain.sites import Site
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.release import Release
from modelyard.operations.open_workspace import workspace_of
from modelyard.operations.services import services_for
from modelyard.operations.watch.at_rest import RestingModels
from modelyard.operations.watch.pass_once import run_pass


@dataclass
class ServersAtRest:
    """`ports.Cluster`, in memory."""

    place: Site
    states: dict[tuple[str, str], RolloutState] = field(default_factory=dict)

    def site(self, *, create: bool = False) -> Site:
        """One place."""
        del create
        return self.place

    def sync(
        self, release: Release, *, model: Model, environment: Environment, origin: object = None
    ) -> None:
        """The release is ready at once."""
        del model, origin
        self.states[environment.name, release.model] = RolloutState(
            release=release.identity, ready=True, share=1.0
        )

    def observe(self, *, model: str, environment: Environment) -> RolloutState | None:
        """What was synced."""
        return self.states.get((environment.name, model))

    def tells_changes(self) -> bool:
        """There are none that it does not tell."""
        return True

    def changed(self, environments: Iterable[Environment], *, seconds: float) -> frozenset[str]:
        """Nothing."""
        del environments, seconds
        return frozenset()

    def remove(self, *, model: str, environment: Environment) -> None:
        """Stop it."""
        self.states.pop((environment.name, model), None)


class RegistryAtRest:
    """The registry, whose aliases are as they should be."""

    def read_aliases(self, model: str) -> Mapping[str, str]:
        """Every environment has v2."""
        del model
        return dict.fromkeys(("dev", "staging", "canary", "production"), "v2")


def watched(root: Path) -> Callable[[frozenset[str] | None], None]:
    """One pass of a watcher over these models, or the fleet, to be called again and again."""
    services = services_for(root)
    place = found_site(root.absolute() / services.repository.state)
    services = replace(services, cluster=ServersAtRest(place))  # type: ignore[arg-type]
    workspace = workspace_of(services)
    workspace.__dict__["registry"] = RegistryAtRest()
    said, resting = list[str](), RestingModels()

    def run(models: frozenset[str] | None) -> None:
        result = run_pass(
            workspace, report=said.append, with_checks=True, models=models, resting=resting
        )
        if result.failures or result.changed:
            raise SystemExit(f"the fleet is not at rest: {said[:5]} {result.failures[:3]}")
        gc.collect()

    return run

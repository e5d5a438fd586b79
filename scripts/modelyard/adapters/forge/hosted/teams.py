"""Who of a pull request's approvers is in the teams that may approve."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from modelyard.adapters.forge.hosted.dialect import Dialect
from modelyard.adapters.git.repository import Git
from modelyard.adapters.git.trees import GitTree
from modelyard.adapters.specs.reader import read_specs
from modelyard.domain.people import Person, is_team
from modelyard.errors import CannotAnswer

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Teams:
    """The teams that the environments of the main branch name.

    Args:
        git: The checkout.
        dialect: The forge's own words.
    """

    git: Git
    dialect: Dialect
    _named: tuple[str, frozenset[str]] = ("", frozenset())
    _asked: dict[tuple[str, Person], bool | None] = field(default_factory=dict)

    def forget(self) -> None:
        """Ask again who is in a team: people join and leave."""
        self._asked.clear()

    def members(
        self, main: str, people: Iterable[Person]
    ) -> Mapping[str, frozenset[Person] | None]:
        """Return who of these people is in each team; None for a team that cannot be asked for."""
        found: dict[str, frozenset[Person] | None] = {}
        among = frozenset(people)
        for team in sorted(self._teams(main)):
            answers = {person: self._is_in(team, person) for person in among}
            is_known = None not in answers.values()
            found[team] = frozenset(who for who in among if answers[who]) if is_known else None
        return found

    def _teams(self, main: str) -> frozenset[str]:
        if self._named[0] != main:
            environments = read_specs(GitTree(self.git, main), models=()).catalog.environments
            names = (name for each in environments.values() for name in each.approvals.approvers)
            self._named = (main, frozenset(name for name in names if is_team(name)))
        return self._named[1]

    def _is_in(self, team: str, person: Person) -> bool | None:
        key = (team, person)
        if key not in self._asked:
            try:
                self._asked[key] = self.dialect.is_in_team(team, person)
            except CannotAnswer as error:
                logger.warning("%s: %s", team, error.message)
                self._asked[key] = None
        return self._asked[key]

"""Finds out which releases of the main branch have a merged pull request behind them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from modelyard.adapters.git.comparison import read_objects
from modelyard.adapters.git.first_parents import read_main_history, read_order
from modelyard.adapters.git.names import safe_line
from modelyard.adapters.git.objects import LogEntry
from modelyard.adapters.specs.documents import read_spec
from modelyard.domain.people import is_same_person
from modelyard.domain.promotion.approvals import missing_approvals
from modelyard.domain.promotion.change import Purpose, parse_branch
from modelyard.domain.promotion.pulls import (
    CHECKS,
    PROMOTE,
    PullRequest,
    Pulls,
    PullState,
    PullSummary,
    StatusState,
)
from modelyard.domain.promotion.world import PastRelease, World
from modelyard.domain.review.placements import Placement, Unreviewed, is_reviewed
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.paths import SETTINGS, manifests_folder, model_file, release_file
from modelyard.domain.specs.release import Release
from modelyard.domain.specs.repository import OnUnreviewed, Repository
from modelyard.errors import YardError
from modelyard.operations.reconcile.rule_reviews import find_pushed_rules
from modelyard.operations.workspace import Workspace

_RELEASING = frozenset({Purpose.PROMOTE, Purpose.ROLLBACK})


@dataclass(frozen=True, kw_only=True)
class _Review:
    """What a pull request left in an environment.

    Args:
        pull: The pull request; an open one if a push brought its changes to the main branch.
        names: The Git names of its pin and of its folder of manifests.
    """

    pull: PullSummary
    names: tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class _Place:
    """One model's place in one environment, with what pull requests left there, newest last."""

    world: World
    environment: Environment
    reviews: tuple[_Review, ...]


def _first_model(workspace: Workspace, main: str) -> str:
    """The model that tells people of rules: the first that there is, as others only fail."""
    found = (name for name in workspace.models() if workspace.git.ls_tree(main, model_file(name)))
    return next(found, "")


def goes_back(workspace: Workspace, commit: str) -> bool:
    """Whether a release without a review is rolled back, by the settings of the main branch."""

    def ask() -> tuple[OnUnreviewed]:
        name = f"{commit}:{SETTINGS}"
        content = workspace.git.read_many([name])[name]
        try:
            settings = read_spec(Repository, content or b"", name=SETTINGS)
        except YardError:  # `modelyard validate` reports it
            settings = Repository()
        return (settings.unreviewed,)

    return workspace.once("unreviewed", commit, ask) == (OnUnreviewed.ROLLBACK,)


def with_reviews(workspace: Workspace, worlds: Sequence[World], pulls: Pulls) -> tuple[World, ...]:
    """The worlds with what came to their environments without a merged pull request.

    Args:
        workspace: What to read with.
        worlds: Worlds of one commit of the main branch.
        pulls: All pull requests, people's included.
    """
    main = workspace.main()
    rules = find_pushed_rules(workspace, pulls)
    # A push that changes this setting must not decide about another push.
    back = goes_back(workspace, main) or any(rule.file == SETTINGS for rule in rules)
    first = _first_model(workspace, main) if rules else ""
    places = _read_places(workspace, worlds)
    newest = [place.reviews[-1] for place in places if place.reviews]
    workspace.ensure(review.pull.head for review in newest)
    # One process for all of them. Almost always the newest pull request left what is there.
    named = {id(place): _names(main, place.environment, place.world.model) for place in places}
    asked = [*named.values(), *(review.names for review in newest)]
    objects = read_objects(workspace.git, (name for pair in asked for name in pair))
    found: dict[str, dict[str, Unreviewed]] = {}
    inquired: set[str] = set()
    for place in places:
        now = _placement(objects, named[id(place)])
        last = _placement(objects, place.reviews[-1].names) if place.reviews else Placement()
        if now == last or _is_reviewed(workspace, place, now):
            continue
        inquired.add(place.world.model)
        if why := _inquire(workspace, place, now, pulls.closed, back=back):
            found.setdefault(place.world.model, {})[place.environment.name] = why
    return tuple(
        replace(
            world,
            unreviewed=found.get(world.model, {}),
            unreviewed_goes_back=back,
            pushed_rules=tuple(rule for rule in rules if rule.concerns(world.model)),
            is_first_model=world.model == first,
            is_inquired=world.model in inquired,
        )
        for world in worlds
    )


def with_reviewed_past(workspace: Workspace, world: World) -> World:
    """The world with its past releases marked that no merged pull request brought."""
    if not world.past:
        return world
    past = dict(world.past)
    for place in _read_places(workspace, [world]):
        if releases := world.past.get(place.environment.name):
            past[place.environment.name] = _marked(workspace, place, releases)
    return replace(world, past=past)


def _marked(
    workspace: Workspace, place: _Place, past: Sequence[PastRelease]
) -> tuple[PastRelease, ...]:
    merges = {review.pull.merged_as for review in place.reviews if not review.pull.by_hand}
    numbers = {review.pull.merged_as: review.pull.number for review in place.reviews}
    # Not by their trailers: whoever pushes a commit types what they like.
    past = [replace(each, pull=numbers.get(each.commit)) for each in past]
    if all(each.commit in merges for each in past):
        return tuple(past)
    reviewed = set(_placements(workspace, place.reviews))
    names = {
        each.commit: _names(each.commit, place.environment, place.world.model) for each in past
    }
    objects = read_objects(workspace.git, (name for pair in names.values() for name in pair))
    return tuple(
        replace(each, reviewed=_placement(objects, names[each.commit]) in reviewed) for each in past
    )


def _read_places(workspace: Workspace, worlds: Iterable[World]) -> list[_Place]:
    """Every environment of every model, with the pull requests that left something there."""
    every = [
        (
            world,
            environment,
            [each for each in world.pulls if _is_vouched_for(workspace, world, environment, each)],
        )
        for world in worlds
        for environment in world.catalog.environments.values()
    ]
    # A record's pull request need not bring a release: then its head has what main had.
    records = {
        name
        for world, environment, pulls in every
        for pull in pulls
        if _purpose(pull) is Purpose.RECORD
        for commit in (pull.head, pull.base)
        for name in _names(commit, environment, world.model)
    }
    objects = read_objects(workspace.git, records) if records else {}
    order = read_order(workspace.git, workspace.main())

    def brings(world: World, environment: Environment, pull: PullSummary) -> bool:
        if _purpose(pull) is not Purpose.RECORD:
            return True
        after, before = (
            _placement(objects, _names(commit, environment, world.model))
            for commit in (pull.head, pull.base)
        )
        return after != before

    return [
        _Place(
            world=world,
            environment=environment,
            reviews=tuple(
                _Review(pull=pull, names=_names(pull.head, environment, world.model))
                for pull in sorted(pulls, key=lambda pull: _merged_at(order, pull))
                if brings(world, environment, pull)
            ),
        )
        for world, environment, pulls in every
    ]


def _merged_at(order: Mapping[str, int], pull: PullSummary) -> int:
    """When the pull request came to the main branch, as its place in that history.

    Its time would not do: two may be merged in one second, or by machines whose clocks differ.
    """
    if pull.merged_as is None:  # a push has just brought it
        return len(order)
    return order.get(pull.merged_as, -1)


def _is_vouched_for(
    workspace: Workspace, world: World, environment: Environment, pull: PullSummary
) -> bool:
    """Whether the pull request is about this environment, and was complete when it was merged."""
    branch = parse_branch(pull.branch)
    if branch is None:
        return False
    if branch.purpose is Purpose.RECORD:
        is_about = environment.promotes_from is None
    else:
        is_about = branch.subject == environment.name and branch.purpose in _RELEASING
    # A rollback opened in a person's name is one of version 0.1, or removes a first release.
    is_ours = is_same_person(pull.author, world.bot) or branch.purpose is Purpose.ROLLBACK
    if not is_about or not is_ours:
        return False
    if pull.state is PullState.MERGED and not pull.by_hand:
        return True  # the forge checked its required statuses then and there
    is_on_main = pull.by_hand or pull.number in world.landed
    return is_on_main and _is_complete(environment, _in_full(workspace, world, pull))


def _in_full(workspace: Workspace, world: World, pull: PullSummary) -> PullRequest:
    still_open = (each for each in world.open_pulls if each.number == pull.number)
    return next(still_open, None) or workspace.services.pulls.get(pull.number)


def _is_complete(environment: Environment, pull: PullRequest) -> bool:
    """Whether it only lacked its merge when a person pushed its changes."""
    checks, promote = pull.statuses.get(CHECKS), pull.statuses.get(PROMOTE)
    if checks is None or checks.state is not StatusState.SUCCESS:
        return False
    if promote is not None and promote.state in {StatusState.FAILURE, StatusState.ERROR}:
        return False
    return missing_approvals(environment, pull) is None


def _is_reviewed(workspace: Workspace, place: _Place, now: Placement) -> bool:
    """Whether pull requests and facts alone show that what is there now is reviewed."""
    name = place.environment.name
    release, facts = place.world.release(name), place.world.facts_of(name)
    is_verified = release is not None and release.identity in facts.verified
    return is_reviewed(now, _placements(workspace, place.reviews), is_verified=is_verified)


def _inquire(
    workspace: Workspace,
    place: _Place,
    now: Placement,
    closed: Collection[PullSummary],
    *,
    back: bool,
) -> Unreviewed | None:
    """What is not reviewed where no pull request shows that what is there now is."""
    reviewed = _placements(workspace, place.reviews)
    newest = _newest_change(workspace, place)
    if newest is None:
        # Nothing is there and nothing ever was: the forge may know of a merge before the checkout.
        return None if now == Placement() else _of_an_unknown_commit(workspace, back=back)
    if _is_rendered_again(workspace, place, newest, closed, reviewed):
        return None
    # Of a pull request that cannot be read nobody knows what it brought.
    unread = next(iter(workspace.services.pulls.unreadable()), None)
    what = f"commit {newest.sha[:10]} by {safe_line(newest.author)} "
    what += "deleted it" if now.pin is None and reviewed else "changed it"
    what += " without a merged pull request"
    if unread is not None:
        what += ", or with one that cannot be read (modelyard doctor)"
    return Unreviewed(what=what, commit=newest.sha, goes_back=back and unread is None)


def _of_an_unknown_commit(workspace: Workspace, *, back: bool) -> Unreviewed:
    """What is there although no commit of the main branch is known to have brought it."""
    oldest = next(iter(read_order(workspace.git, workspace.main())))
    what = "no merged pull request left it, and no commit is known to have changed it"
    return Unreviewed(what=what, commit=oldest, goes_back=back)


def _newest_change(workspace: Workspace, place: _Place) -> LogEntry | None:
    """The main branch's newest commit that changed what is there."""
    manifests = manifests_folder(place.environment.name, place.world.model)
    changed = read_main_history(workspace.git, workspace.main()).changes.get(manifests)
    return workspace.git.log(changed[-1], limit=1)[0] if changed else None


def _is_rendered_again(
    workspace: Workspace,
    place: _Place,
    newest: LogEntry,
    closed: Collection[PullSummary],
    reviewed: Collection[Placement],
) -> bool:
    """Whether a person's merged pull request rendered a reviewed release again.

    Only the digest of the manifests may differ in its pin.
    """
    by_person = (each for each in closed if each.merged_as == newest.sha and not each.by_hand)
    if next(by_person, None) is None:
        return False
    model, environment = place.world.model, place.environment
    before = _names(f"{newest.sha}^1", environment, model)
    if _placement(read_objects(workspace.git, before), before) not in reviewed:
        return False
    pins = (before[0], _names(newest.sha, environment, model)[0])
    contents = workspace.git.read_many(pins)
    try:
        one, other = (read_spec(Release, contents[name] or b"", name=name) for name in pins)
    except YardError:
        return False
    return replace(one, manifests="") == replace(other, manifests="")


def _placements(workspace: Workspace, reviews: Iterable[_Review]) -> tuple[Placement, ...]:
    found = tuple(reviews)
    workspace.ensure(review.pull.head for review in found)
    objects = read_objects(workspace.git, (name for each in found for name in each.names))
    return tuple(_placement(objects, review.names) for review in found)


def _placement(objects: Mapping[str, str | None], names: tuple[str, str]) -> Placement:
    pin, manifests = names
    return Placement(pin=objects[pin], manifests=objects[manifests])


def _names(commit: str, environment: Environment, model: str) -> tuple[str, str]:
    """The Git names of the pin and the folder of manifests at a commit."""
    pin, manifests = placed_paths(environment.name, model)
    return f"{commit}:{pin}", f"{commit}:{manifests}"


def placed_paths(environment: str, model: str) -> tuple[str, str]:
    """The pin and the folder of manifests of a model in an environment."""
    return release_file(environment, model), manifests_folder(environment, model).rstrip("/")


def _purpose(pull: PullSummary) -> Purpose | None:
    branch = parse_branch(pull.branch)
    return branch.purpose if branch else None

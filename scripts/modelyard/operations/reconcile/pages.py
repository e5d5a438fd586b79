"""The pages of the tool's pull requests: Markdown for the people who approve them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from modelyard.domain.harmless_text import escape_markdown, markdown_code
from modelyard.domain.isolation import Isolation
from modelyard.domain.people import Person
from modelyard.domain.promotion.facts import GateOverride
from modelyard.domain.promotion.world import PastRelease
from modelyard.domain.review.rule_changes import RuleChange
from modelyard.domain.signatures import describe_signer
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.record import HeldOutResult, Record, describe_not_watched
from modelyard.domain.specs.release import Release
from modelyard.domain.verdict import BASELINE, Outcome, Verdict

BASELINE_NAME = "the baseline"

NOT_CLOSED_IN = (
    "**Warning: its trainer was not closed in** (`isolation: none`). It could read and change what "
    "the user of modelyard can on the machine that trained it. `modelyard doctor` says why."
)

CLOSED_IN_BY_A_POD = (
    "**Warning: nothing but a container of its own closed its trainer in** (`isolation: pod`). It "
    "could change what the later containers of its pod ran with their credentials. "
    "`unisolated_trainers` in modelyard.yaml accepts that."
)
_WARNINGS = {Isolation.NONE: NOT_CLOSED_IN, Isolation.POD: CLOSED_IN_BY_A_POD}


def record_page(
    record: Record, environment: str | None, override: GateOverride | None = None
) -> str:
    """The page of a record's pull request.

    Args:
        record: The record.
        environment: Where its merge releases the version; None where it does not.
        override: The override of its gate that counts now.
    """
    into = (
        f"Merging this releases {record.model} {record.version} to **{environment}**."
        if environment
        else _why_not(record)
    )
    overridden = f"\n\n{_overridden(override)}" if override else ""
    return f"{into}{overridden}\n\n{evidence_page(record)}"


def evidence_page(record: Record) -> str:
    """The evidence of a record."""
    name, workflow = f"{record.model} {record.version}", markdown_code(record.workflow)
    by = f"{workflow} (attempt {record.attempt})"
    lines = [
        f"{name} was trained by {by}."
        if record.artifact is not None
        else f"{by} ended without a trained model of {name}.",
        "",
        *verdict_lines(record),
    ]
    lines += _isolation_lines(record)
    if record.artifact is not None:
        lines += ["", *_artifact_lines(record), *_not_watched_lines(record)]
    return "\n".join(lines) + "\n"


def promotion_page(
    record: Record,
    environment: Environment,
    *,
    before: Release | None,
    release: Release,
    makers: Mapping[Person, str],
    override: GateOverride | None = None,
) -> str:
    """The page of a promotion's pull request.

    Args:
        record: The record of the version.
        environment: Where it would go.
        before: What runs there.
        release: What would run there.
        makers: What people did for the version, who may not approve it.
        override: The override of its gate that counts now.
    """
    now = _pinned(before) if before else "nothing"
    lines = [
        f"**{environment.name}** runs {now} and would run {_pinned(release)}.",
        "",
        *([_overridden(override), ""] if override else []),
        *verdict_lines(record),
        *_isolation_lines(record),
        *_signer_lines(record),
        *_not_watched_lines(record),
        "",
        "### What changes in the cluster",
        "",
        *(f"- {line}" for line in _rollout_lines(environment, before)),
        "",
        "### Approvals",
        "",
        *(f"- {line}" for line in _approval_lines(environment, makers)),
    ]
    return "\n".join(lines) + "\n"


def rollback_page(release: Release | None, target: PastRelease, reason: str) -> str:
    """The page of a rollback's pull request, which is merged at once.

    Args:
        release: What is there now; None if it was deleted.
        target: What is restored.
        reason: Why.
    """
    had = _pinned(release) if release else "no release"
    page = (
        f"**{target.release.environment}** had {had}: {escape_markdown(reason)}.\n\n"
        f"This restores {_pinned(target.release)} and its manifests byte for byte as of "
        f"{target.commit[:10]}."
    )
    if release is None or release.version == target.release.version:
        return f"{page}\n"
    unhold = f"`modelyard unhold {release.model} {release.version}` allows the version again."
    return f"{page} {unhold}\n"


def trusted_note(model: Model) -> str:
    """What every page of a model says of code in its artifacts; empty if none may run."""
    trusted = model.artifact.trusted
    if trusted is None or not model.artifact.code_formats:
        return ""
    formats = ", ".join(model.artifact.code_formats)
    return (
        f"\n### Trusted code\n\nOpening an artifact of {model.name} may run any code in it"
        f" ({formats}). It is trusted because: {escape_markdown(trusted.reason)}\n"
    )


def rules_page(changes: Iterable[RuleChange]) -> str:
    """The comment on a pull request that changes rules: each change, and whom it affects."""
    rows = [
        f"- {escape_markdown(str(change))}: needs the approvals of "
        f"{', '.join(sorted(change.environments)) or 'nobody'}"
        for change in changes
    ]
    if not rows:
        return "This pull request changes no rule any more.\n"
    intro = (
        "This pull request changes rules. It is merged under the rules that are in force now, with "
        "the approvals of every environment that it can affect."
    )
    return "\n".join([intro, "", *rows]) + "\n"


def verdict_lines(record: Record) -> list[str]:
    """The gate's verdict, and a table of its held-out sets."""
    lines = [
        f"### Gate: {record.verdict.outcome}",
        "",
        escape_markdown(record.verdict.reason) + ".",
    ]
    if record.held_out:
        lines += [
            "",
            f"| held-out set | rows | clusters | compared with | its value | {record.version} "
            "| difference | two-sided 95 % interval | margin | versions judged on it | verdict |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
            *(row for result in record.held_out for row in _rows(record, result)),
            "",
            "A positive difference is better. The verdict uses the one-sided bound of the "
            "difference at the gate's alpha.",
        ]
    if record.contract is not None:
        lines += ["", f"### Requests of its callers: {record.contract.outcome}", ""]
        lines.append(escape_markdown(record.contract.reason) + ".")
    return lines


def numbers_of(verdict: Verdict, *names: str) -> list[str]:
    """The named numbers of a verdict with four decimals, or `-`."""
    return [f"{verdict.numbers[n]:.4f}" if n in verdict.numbers else "-" for n in names]


def short_digest(digest: str) -> str:
    """The first twelve characters of a digest."""
    return digest.removeprefix("sha256:")[:12]


def _overridden(override: GateOverride) -> str:
    """The sentence that stands above everything else: a person, not the gate, lets it pass."""
    end = override.until.isoformat(timespec="minutes")
    return (
        f"**The gate is overridden** by {escape_markdown(override.by)} until {end}: "
        f"{escape_markdown(override.reason)}."
    )


def _pinned(release: Release) -> str:
    return f"{release.version} (`{short_digest(release.artifact)}`)"


def _rows(record: Record, result: HeldOutResult) -> Iterator[str]:
    """One row for each comparison, each figure under its own name."""
    champion = record.champion.version if record.champion else None
    if result.against_baseline is None:  # version 0.1 kept the comparison that decided
        yield _row(result, _rival_of_first_rules(result.verdict, champion), result.verdict)
        return
    if result.against_champion is not None:
        yield _row(result, champion or "-", result.against_champion)
    for guard in result.guards:
        yield _row(result, f"{champion or '-'} ({guard.metric})", guard.verdict)
    for each in result.slices:
        yield _row(
            result, f"{champion or '-'} ({each.name})", each.verdict, harm_only=each.harm_only
        )
    yield _row(result, BASELINE_NAME, result.against_baseline)


def _rival_of_first_rules(verdict: Verdict, champion: str | None) -> str:
    # Version 0.1 called the baseline's value the champion's; only its sentence told which it was.
    against_baseline = f", {BASELINE_NAME} " in verdict.reason
    return BASELINE_NAME if champion is None or against_baseline else champion


def _row(result: HeldOutResult, rival: str, verdict: Verdict, *, harm_only: bool = False) -> str:
    value, challenger, difference = numbers_of(
        verdict,
        BASELINE if BASELINE in verdict.numbers else "champion",
        "challenger",
        "difference",
    )
    low, high, margin = numbers_of(verdict, "interval_low", "interval_high", "margin")
    cells: Iterable[object] = (
        result.name,
        int(verdict.numbers.get("rows", result.rows)),
        int(verdict.numbers.get("clusters", result.clusters)),
        rival,
        value,
        challenger,
        difference,
        f"[{low}, {high}]",
        margin,
        result.look,
        f"{verdict.outcome} (only a fail counts)" if harm_only else verdict.outcome,
    )
    # A dash alone is a figure that there is not; in a cell it begins no list.
    shown = ("-" if cell == "-" else escape_markdown(str(cell)) for cell in cells)
    return f"| {' | '.join(shown)} |"


def _why_not(record: Record) -> str:
    name = f"{record.model} {record.version}"
    if record.verdict.passed:
        return f"{name} passed, but a newer version is released instead."
    kept = f"{name} is not released; its record is kept."
    if record.verdict.outcome is not Outcome.INCONCLUSIVE:
        return kept
    return (
        f"{kept} A new version that is judged on more held-out rows may pass "
        f"(`modelyard version held-out`). A person may let this one pass for a time: "
        f"`modelyard override {name} --until TIME --reason WHY`, or on a hosted forge the comment "
        f"`/override until TIME WHY`."
    )


def _isolation_lines(record: Record) -> list[str]:
    warning = record.isolation and _WARNINGS.get(record.isolation)
    return ["", warning] if warning else []


def _signer_lines(record: Record) -> list[str]:
    hint = record.artifact.signed_by if record.artifact else None
    return ["", f"Its artifact was {describe_signer(hint)}."] if hint else []


def _not_watched_lines(record: Record) -> list[str]:
    said = [escape_markdown(each) for each in describe_not_watched(record.not_watched)]
    return ["", "`drift` does not watch:", "", *(f"- {each}" for each in said)] if said else []


def _artifact_lines(record: Record) -> list[str]:
    artifact = record.artifact
    if artifact is None:
        return []
    lines = [
        f"- artifact `{artifact.digest}`, {artifact.size / 1000:.0f} kB, {artifact.format}",
        f"- inputs {', '.join(map(escape_markdown, artifact.inputs))}",
        f"- MLflow run {markdown_code(str(record.run_id))}, registered version {record.registered}",
        f"- {record.training_rows} training rows, seed {record.seed}, threads {record.threads}",
    ]
    if artifact.signed_by is not None:
        lines.append(f"- {describe_signer(artifact.signed_by)}")
    if record.isolation is not None:
        lines.append(f"- isolation of the trainer: {record.isolation}")
    if record.server is not None:
        lines.append(
            f"- a server answered {record.server.golden} golden rows as in training; "
            f"a request of 20 rows took {record.server.p95_ms} ms at the 95th percentile"
        )
    return lines


def _rollout_lines(environment: Environment, before: Release | None) -> list[str]:
    rollout = environment.rollout
    if environment.joins is not None and rollout.steps:
        share = rollout.steps[0].share
        return [
            f"it joins {environment.joins} and answers {share:.0%} of its requests",
            "the judge compares it with the stable release, and takes it out if it is worse"
            if before
            else "the judge applies absolute limits if there is no stable release to compare with",
        ]
    if not rollout.steps or before is None:
        return ["the new server takes over once it is ready; the old one answers until then"]
    shares = " -> ".join(f"{step.share:.0%}" for step in rollout.steps)
    return [
        f"it answers {shares} -> 100% of requests; each step is judged against the stable release"
    ]


def _approval_lines(environment: Environment, makers: Mapping[Person, str]) -> list[str]:
    needed = environment.approvals.needed
    if not needed:
        return ["none needed: it is merged once its checks pass"]
    approvers = ", ".join(map(escape_markdown, environment.approvals.approvers))
    people = approvers or "anyone but the person who asked for it"
    lines = [f"{needed} approval(s) of the head commit, from {people}"]
    if makers:
        barred = ", ".join(f"{escape_markdown(str(who))} {did}" for who, did in makers.items())
        lines.append(f"not from who made the version: {barred}")
    return lines

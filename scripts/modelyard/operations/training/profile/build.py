"""The drift profile of a training: built by the step that trains, or in shards side by side."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any

from modelyard.adapters.isolation.removal import scratch_folder
from modelyard.adapters.tables.stored_rows import StoredRows
from modelyard.domain.drift.profile import Profile
from modelyard.domain.drift.profiling.parts import ReadParts
from modelyard.domain.drift.profiling.shards import (
    join_profiles,
    read_shard_name,
    shard_names,
    split_profile,
)
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.record import describe_not_watched
from modelyard.errors import Refused
from modelyard.operations.training.job import Job

logger = logging.getLogger(__name__)

SHARDS = "profile_shards"
"""The key of artifact.json with the number of shards, where `train` built no profile."""


def put_profile(job: Job, rows: StoredRows, inputs: Iterable[str]) -> dict[str, Any]:
    """Store the drift profile; returns its digest, and what drift will not see by it."""
    from modelyard.domain.drift.profiling.build import build_profile_of_parts

    columns = _columns(job, inputs)
    profile = build_profile_of_parts(_read(job, rows), columns, has_times=_has_times(job))
    return _put_whole(job, profile, columns)


def split_of(job: Job, inputs: Iterable[str]) -> tuple[str, ...]:
    """The names of the shards that model.yaml asks for; none for a profile in one piece."""
    asked = job.model.drift.profile_shards
    shards = split_profile(_columns(job, inputs), asked, has_times=_has_times(job))
    return shard_names(len(shards)) if len(shards) > 1 else ()


def put_shard(job: Job, name: str) -> None:
    """Build one shard of the profile, and store what it made for `merge_profile`.

    A second try makes the same bytes, so it changes nothing.

    Raises:
        Refused: `train` left no such shard, or the rows are others than `fetch` left.
    """
    from modelyard.domain.drift.profiling.build import build_shard

    artifact = job.read_document("artifact.json")
    count, columns = artifact.get(SHARDS, 0), _columns(job, artifact["inputs"])
    place = read_shard_name(name, count=count)
    shard = split_profile(columns, count, has_times=_has_times(job))[place]
    with scratch_folder("modelyard-profile-") as folder:
        read = job.fetch_file("train.parquet", folder / "rows.parquet")
        rows = StoredRows(folder / "rows.parquet", name="train.parquet")
        made = build_shard(_read(job, rows), columns, shard)
    part = {**_origin(job, name), "rows": read, "profile": made.to_document()}
    digest = job.store.put_evidence(json.dumps(part, sort_keys=True).encode())
    job.put_document(_left_by(name), {"part": digest})
    logger.info("shard %s of the profile: %d columns, %s", name, len(shard.columns), digest)


def merge_profile(job: Job, artifact: Mapping[str, Any]) -> dict[str, Any]:
    """Store the profile of its shards; returns what `put_profile` returns for the same rows.

    Raises:
        CannotAnswer: What a shard made is missing, or is no part of this profile.
        Refused: It has not the digest that the shard left, or is of another shard, commit or rows.
    """
    columns = _columns(job, artifact["inputs"])
    parts, rows = [], ""
    for name in shard_names(artifact[SHARDS]):
        part = json.loads(job.store.read_evidence(job.read_document(_left_by(name))["part"]))
        rows = rows or str(part.get("rows"))
        _refuse_other_part(job, name, part, {**_origin(job, name), "rows": rows})
        parts.append(Profile.from_document(part["profile"]))
    return _put_whole(job, join_profiles(columns, parts), columns)


def _origin(job: Job, name: str) -> dict[str, str]:
    """What a part says of where it comes from, with the SHA-256 of the rows that it read.

    Habits and what is there twice have no column by which one could tell them from another's, and
    other rows may be as many. The commit has the columns and the length of a window.
    """
    return {"shard": name, "commit": job.commit}


def _refuse_other_part(
    job: Job, name: str, part: Mapping[str, Any], wanted: Mapping[str, str]
) -> None:
    for key, value in wanted.items():
        if part.get(key) != value:
            raise Refused(
                f"{job.store.uri_of('runs', job.workflow, _left_by(name))}: expected a part of the "
                f"profile with {key} {value}, found {part.get(key)}",
                hint=job.changed_hint,
            )


def _put_whole(job: Job, profile: Profile, columns: tuple[Column, ...]) -> dict[str, Any]:
    from modelyard.domain.drift.watched.not_watched import find_not_watched

    # A feed has rows that no label comes for too; training left them out.
    seen = 1 + job.read_document("data.json")["unlabelled"] / profile.rows
    policy = job.model.drift
    profile = replace(
        profile,
        block_rows=tuple(round(n * seen) for n in profile.block_rows),
        block_days=policy.window_days if _has_times(job) else None,
    )
    hidden = find_not_watched(profile, columns, policy, has_days=_has_times(job))
    for warning in describe_not_watched(hidden):
        logger.warning("%s: drift will not watch: %s", job.version, warning)
    content = json.dumps(profile.to_document(), sort_keys=True).encode()
    return {
        "profile": job.store.put_evidence(content),
        "not_watched": [asdict(each) for each in hidden],
    }


def _read(job: Job, rows: StoredRows) -> ReadParts:
    from modelyard.adapters.tables.training_parts import parts_of_rows

    return parts_of_rows(rows, job.model.data.timestamp, job.model.drift.window_days)


def _columns(job: Job, inputs: Iterable[str]) -> tuple[Column, ...]:
    names = set(inputs)
    return tuple(column for column in job.model.inputs if column.name in names)


def _has_times(job: Job) -> bool:
    return job.model.data.timestamp is not None


def _left_by(name: str) -> str:
    return f"profile-{name}.json"

"""Windows of another length than the blocks by which a profile knows the calendar."""

from __future__ import annotations

from dataclasses import replace

from modelyard.domain.drift.profile import Profile


def find_window_days(profile: Profile, asked: int) -> int:
    """The days of a window: those that model.yaml asks for, and never fewer than a block has.

    Longer windows move less with the calendar than blocks do, so the floors of blocks still hold.
    Shorter ones move more, and each would look like drift.
    """
    return max(asked, profile.block_days or 0)


def fit_to_windows(profile: Profile, days: int) -> Profile:
    """The profile with as many rows in a block as windows of so many days have."""
    if profile.block_days is None or profile.block_days == days:
        return profile
    more = days / profile.block_days
    return replace(profile, block_rows=tuple(round(rows * more) for rows in profile.block_rows))


def describe_other_length(profile: Profile, asked: int, *, version: str) -> str | None:
    """That model.yaml asks for windows of another length than blocks; None if it does not."""
    blocks = profile.block_days
    if blocks is None or blocks == asked:
        return None
    known = f"{version} was trained with drift.window_days {blocks}, and model.yaml says {asked}"
    if asked < blocks:
        return f"{known}: windows have {blocks} days until a version is trained with {asked}"
    return (
        f"{known}: {asked} days are compared by what {blocks} days of the training data differ, "
        "and so less is seen until a version is trained anew"
    )

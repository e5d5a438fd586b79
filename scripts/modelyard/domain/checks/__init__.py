"""The rules between specs: a flat list of small checks. Each reports every problem it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from modelyard.domain.checks import (
    canary,
    champion,
    environments,
    metrics,
    models,
    names,
    pins,
    records,
    resources,
    slices,
    training,
)
from modelyard.domain.problem import Problem
from modelyard.domain.specs.catalog import Catalog

Check = Callable[[Catalog], Iterable[Problem]]
"""A check reads the whole catalog, in time that grows no faster than the catalog."""

CHECKS: tuple[Check, ...] = (
    names.names_match_paths,
    names.models_exist,
    names.names_do_not_collide,
    names.versions_of_records_exist,
    names.environments_of_releases_exist,
    names.parents_exist,
    names.parents_come_first,
    models.one_output_is_primary,
    models.output_names_are_unique,
    models.primary_output_fits_the_task,
    metrics.gate_metric_fits_the_task,
    metrics.margins_can_be_missed,
    slices.slices_can_be_told,
    models.target_is_a_column,
    models.label_is_defined,
    models.timestamp_is_a_column,
    models.time_zones_exist,
    models.columns_are_unique,
    models.column_limits_make_sense,
    models.column_defaults_fit,
    models.trusted_types_are_dotted_names,
    models.code_is_trusted_with_a_reason,
    models.drift_windows_suffice,
    models.canaries_can_pass_in_time,
    canary.a_canary_can_pass,
    models.segments_are_levels_of_a_request,
    resources.quantities_can_be_read,
    resources.replicas_are_of_environments,
    resources.placements_are_listed,
    resources.placements_of_trainers_are_listed,
    pins.uris_are_allowed,
    pins.a_file_has_one_content,
    training.held_out_sets_exist,
    training.better_on_is_held_out,
    training.held_out_sets_have_looks_left,
    training.clusters_are_columns,
    training.windows_are_in_order,
    training.windows_go_with_timestamps,
    training.some_days_are_left_to_train,
    training.held_out_days_do_not_train,
    training.held_out_files_do_not_train,
    champion.held_out_rows_are_new_to_the_champion,
    training.held_out_days_follow_training,
    training.features_are_columns,
    training.features_are_known_at_request,
    records.recorded_versions_never_change,
    records.recorded_runtimes_are_the_pinned,
    records.recorded_held_out_sets_exist,
    records.releases_run_recorded_artifacts,
    environments.environments_form_one_path,
    environments.joined_environments_exist,
    environments.joining_environments_share_the_place,
    environments.namespaces_are_not_shared,
    environments.joining_rollouts_leave_traffic_to_stable,
    environments.routers_lead_to_one_environment,
    environments.rollout_shares_grow,
    environments.freeze_windows_are_in_order,
    environments.approvals_can_be_given,
)
"""All checks, in the order of the files that they read."""


def find_problems(catalog: Catalog) -> Iterator[Problem]:
    """The problems that all checks find, each with the name of its check."""
    for check in CHECKS:
        name = check.__name__.replace("_", "-")
        for found in check(catalog):
            yield replace(found, check=name)

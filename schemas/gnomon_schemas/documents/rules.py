"""The rules of the task domain: what each says, where it is kept, and which test is named after it."""

from __future__ import annotations

from typing import Final, NamedTuple

from gnomon_schemas.documents.pages import table

__all__ = ["GROUPS", "RULES", "Rule", "rules_page"]

GROUPS: Final = {
    "TSK": "Making a task",
    "UPD": "Changing a task",
    "EXE": "Executions",
    "SCH": "Schedules",
    "STS": "Changes of status",
    "TPL": "Templates",
    "ANA": "Analytics",
}


class Rule(NamedTuple):
    """One rule. Places are `path:name`, from the root of the project."""

    number: str
    """As `TSK-001`."""
    words: str
    code: tuple[str, ...]
    tests: tuple[str, ...]


_RULES = "core/gnomon_core/rules"
_DECISIONS = "services/scheduler/gnomon_scheduler/decisions"
_API = "services/api/gnomon_api"
_TESTS = "tests/rules/test_br"
_TRANSITIONS = f"{_RULES}/transitions.py"
_LIFECYCLE = "schemas/gnomon_schemas/lifecycle.py:TRANSITIONS"

RULES: Final = (
    Rule(
        "TSK-001",
        "Ids are unique: a caller's own, which makes creation idempotent, or a UUIDv7.",
        (f"{_DECISIONS}/creating.py:create", f"{_API}/idempotency.py:new_id"),
        (f"{_TESTS}_tsk.py:test_br_tsk_001_ids_are_unique",),
    ),
    Rule(
        "TSK-002",
        "A user without an account is on the free tier, or refused where `GNOMON_REQUIRE_ACCOUNTS` is set.",
        (f"{_DECISIONS}/user_limits.py:check_account", f"{_DECISIONS}/user_limits.py:tier_of"),
        (f"{_TESTS}_tsk.py:test_br_tsk_002_a_user_has_an_account_where_everybody_needs_one",),
    ),
    Rule(
        "TSK-003",
        "A name has 1 to 255 characters.",
        (f"{_RULES}/task_limits.py:CHECKS",),
        (f"{_TESTS}_tsk.py:test_br_tsk_003_a_name_has_1_to_255_characters",),
    ),
    Rule(
        "TSK-004",
        "A type is one that an executor has announced, or one of those without work.",
        (f"{_RULES}/task_type.py:check_type", f"{_RULES}/workless.py:WORKLESS_TYPES"),
        (f"{_TESTS}_tsk.py:test_br_tsk_004_a_type_is_one_that_is_known",),
    ),
    Rule(
        "TSK-005",
        "A task without a schedule is `pending`; one with a schedule is `scheduled` at once.",
        (f"{_RULES}/status.py:status_of",),
        (f"{_TESTS}_tsk.py:test_br_tsk_005_a_task_without_a_schedule_is_pending",),
    ),
    Rule(
        "TSK-006",
        "The default priority is `medium`.",
        ("schemas/gnomon_schemas/tasks.py:TaskSpec",),
        (f"{_TESTS}_tsk.py:test_br_tsk_006_the_default_priority_is_medium",),
    ),
    Rule(
        "TSK-007",
        "`credits_per_run` is not negative.",
        (f"{_RULES}/task_limits.py:CHECKS",),
        (f"{_TESTS}_tsk.py:test_br_tsk_007_credits_per_run_are_not_negative",),
    ),
    Rule(
        "TSK-008",
        "A schedule is valid where there is one.",
        (f"{_RULES}/schedule_input.py:read_input", f"{_RULES}/schedule_input.py:stored_form"),
        (f"{_TESTS}_tsk.py:test_br_tsk_008_a_schedule_is_valid_where_there_is_one",),
    ),
    Rule(
        "TSK-009",
        "Tags are texts that are not empty.",
        (f"{_RULES}/task_limits.py:CHECKS",),
        (f"{_TESTS}_tsk.py:test_br_tsk_009_tags_are_texts_that_are_not_empty",),
    ),
    Rule(
        "UPD-001",
        "Only the owner changes a task, or an admin, or a service; for others it is not there.",
        (f"{_DECISIONS}/verbs.py:decide",),
        (f"{_TESTS}_upd.py:test_br_upd_001_only_the_owner_changes_a_task",),
    ),
    Rule(
        "UPD-002",
        "The id stays; it is ignored on input.",
        ("schemas/gnomon_schemas/tasks.py:SYSTEM_FIELDS",),
        (f"{_TESTS}_upd.py:test_br_upd_002_the_id_stays",),
    ),
    Rule(
        "UPD-003",
        "The type stays; another one is refused.",
        (f"{_RULES}/task_input.py:parse_update",),
        (f"{_TESTS}_upd.py:test_br_upd_003_the_type_stays",),
    ),
    Rule(
        "UPD-004",
        "A `status` in an update follows the transitions.",
        (f"{_TRANSITIONS}:asked", _LIFECYCLE),
        (f"{_TESTS}_upd.py:test_br_upd_004_a_status_follows_the_transitions",),
    ),
    Rule(
        "UPD-005",
        "Every change sets `updated_at`.",
        (f"{_DECISIONS}/changing.py:update",),
        (f"{_TESTS}_upd.py:test_br_upd_005_every_change_sets_updated_at",),
    ),
    Rule(
        "UPD-006",
        "A deleted task is not changed: it is not found.",
        (f"{_DECISIONS}/verbs.py:decide",),
        (f"{_TESTS}_upd.py:test_br_upd_006_a_deleted_task_is_not_changed",),
    ),
    Rule(
        "EXE-001",
        "What is neither cancelled nor deleted runs on demand, also while it is paused.",
        (f"{_DECISIONS}/running.py:run_now",),
        (f"{_TESTS}_exe.py:test_br_exe_001_what_is_neither_cancelled_nor_deleted_runs_on_demand",),
    ),
    Rule(
        "EXE-002",
        "A cancelled or deleted task does not run.",
        (f"{_DECISIONS}/running.py:run_now", f"{_DECISIONS}/closing.py:close"),
        (f"{_TESTS}_exe.py:test_br_exe_002_a_cancelled_or_deleted_task_does_not_run",),
    ),
    Rule(
        "EXE-003",
        "An execution is recorded before its handler is called.",
        ("services/executor/gnomon_executor/claims.py:Claims", f"{_DECISIONS}/folding.py:fold"),
        (
            "tests/integration/executor/test_handlers.py:test_br_exe_003_a_start_is_recorded_before_the_handler_is_called",
            f"{_TESTS}_exe.py:test_br_exe_003_a_run_on_demand_is_recorded_before_it_is_handed_out",
        ),
    ),
    Rule(
        "EXE-004",
        "Credits are consumed on success; on failure only what the handler reported as used.",
        ("services/executor/gnomon_executor/chain_writer.py:ChainWriter", f"{_DECISIONS}/usage.py:use"),
        (
            "tests/integration/executor/test_handlers.py:test_br_exe_004_credits_are_charged_for_success_and_what_a_handler_reported",
            f"{_TESTS}_exe.py:test_br_exe_004_what_was_consumed_is_counted_once",
            "tests/integration/policies/test_accounts.py:test_br_exe_004_credits_are_consumed_once_and_the_books_agree",
        ),
    ),
    Rule(
        "EXE-005",
        "Failures are counted, time-outs with them; a cancelled run counts as neither.",
        (f"{_DECISIONS}/folding.py:fold",),
        (f"{_TESTS}_exe.py:test_br_exe_005_failures_are_counted",),
    ),
    Rule(
        "EXE-006",
        "Successes are counted.",
        (f"{_DECISIONS}/folding.py:fold",),
        (f"{_TESTS}_exe.py:test_br_exe_006_successes_are_counted",),
    ),
    Rule(
        "EXE-007",
        "The duration is told in milliseconds.",
        ("services/executor/gnomon_executor/chain_writer.py:ChainWriter",),
        (f"{_TESTS}_exe.py:test_br_exe_007_and_008_the_duration_is_told_and_a_timeout_kept",),
    ),
    Rule(
        "EXE-008",
        "What takes longer than its timeout is ended.",
        ("services/executor/gnomon_executor/execution.py:Executions",),
        (f"{_TESTS}_exe.py:test_br_exe_007_and_008_the_duration_is_told_and_a_timeout_kept",),
    ),
    Rule(
        "SCH-001",
        "What is scheduled has a valid schedule.",
        (f"{_TRANSITIONS}:verb_asked", f"{_RULES}/schedule_input.py:stored_form"),
        (f"{_TESTS}_sch.py:test_br_sch_001_what_is_scheduled_has_a_valid_schedule",),
    ),
    Rule(
        "SCH-002",
        "The next run is reckoned from the schedule.",
        (f"{_DECISIONS}/views.py:next_run_ms",),
        (f"{_TESTS}_sch.py:test_br_sch_002_the_next_run_is_reckoned_from_the_schedule",),
    ),
    Rule(
        "SCH-003",
        "Missed runs go by the catch-up policy.",
        (f"{_DECISIONS}/catching_up.py:catch_up",),
        (f"{_TESTS}_sch.py:test_br_sch_003_missed_runs_go_by_the_catch_up_policy",),
    ),
    Rule(
        "SCH-004",
        "A paused task skips its slots; they are recorded when the pause ends.",
        (f"{_DECISIONS}/closing.py:slots_of_pause",),
        (f"{_TESTS}_sch.py:test_br_sch_004_a_paused_task_skips_its_slots",),
    ),
    Rule(
        "SCH-005",
        "A cancelled task has no slots any more.",
        (f"{_DECISIONS}/closing.py:close",),
        (f"{_TESTS}_sch.py:test_br_sch_005_a_cancelled_task_has_no_slots_any_more",),
    ),
    Rule(
        "STS-001",
        "`pending` becomes `scheduled` by a schedule.",
        (_LIFECYCLE, f"{_DECISIONS}/changing.py:update"),
        (f"{_TESTS}_sts.py:test_br_sts_001_pending_becomes_scheduled_by_a_schedule",),
    ),
    Rule(
        "STS-002",
        "`scheduled` becomes `running` when an execution starts; told by the run's own event.",
        (_LIFECYCLE, f"{_RULES}/status.py:status_of"),
        (f"{_TESTS}_sts.py:test_br_sts_002_scheduled_becomes_running_by_a_start",),
    ),
    Rule(
        "STS-003",
        "`running` becomes `completed` on success where nothing is left; a recurring task is `scheduled` again.",
        (_LIFECYCLE, f"{_DECISIONS}/folding.py:finish"),
        (f"{_TESTS}_sts.py:test_br_sts_003_running_becomes_completed_on_success",),
    ),
    Rule(
        "STS-004",
        "`running` becomes `failed` where its only run failed; a recurring task is `scheduled` again.",
        (_LIFECYCLE, f"{_DECISIONS}/folding.py:finish"),
        (f"{_TESTS}_sts.py:test_br_sts_004_running_becomes_failed_on_failure",),
    ),
    Rule(
        "STS-005",
        "`scheduled` becomes `paused` by a pause.",
        (_LIFECYCLE, f"{_DECISIONS}/changing.py:pause"),
        (f"{_TESTS}_sts.py:test_br_sts_005_scheduled_becomes_paused_by_a_pause",),
    ),
    Rule(
        "STS-006",
        "`paused` becomes `scheduled` by a resume.",
        (_LIFECYCLE, f"{_DECISIONS}/changing.py:resume"),
        (f"{_TESTS}_sts.py:test_br_sts_006_paused_becomes_scheduled_by_a_resume",),
    ),
    Rule(
        "STS-007",
        "Anything becomes `cancelled` by a cancel.",
        (_LIFECYCLE, f"{_DECISIONS}/changing.py:cancel"),
        (f"{_TESTS}_sts.py:test_br_sts_007_anything_becomes_cancelled",),
    ),
    Rule(
        "STS-008",
        "`cancelled` is final.",
        (_LIFECYCLE, f"{_TRANSITIONS}:check_not_final"),
        (f"{_TESTS}_sts.py:test_br_sts_008_cancelled_is_final",),
    ),
    Rule(
        "TPL-001",
        "Ids of templates are unique.",
        (f"{_DECISIONS}/objects.py:check_free",),
        ("tests/integration/policies/test_templates.py:test_br_tpl_001_an_id_is_one_template_s",),
    ),
    Rule(
        "TPL-002",
        "The required subscription level is enforced.",
        (f"{_RULES}/templating.py:completed_body",),
        ("tests/unit/rules/test_templating.py:test_br_tpl_002_the_required_subscription_level_is_enforced",),
    ),
    Rule(
        "TPL-003",
        "Lists show active templates; an inactive one makes no task.",
        (f"{_RULES}/templating.py:completed_body", f"{_API}/template_views.py:TemplateViews"),
        (
            "tests/integration/policies/test_templates.py:test_br_tpl_003_lists_show_active_templates_of_the_tier_and_filter_them",
            "tests/unit/rules/test_templating.py:test_br_tpl_003_an_inactive_template_makes_nothing",
        ),
    ),
    Rule(
        "TPL-004",
        "The default config is merged with the caller's.",
        (f"{_RULES}/templating.py:merged_body",),
        (
            "tests/integration/scheduler/test_from_template.py:test_br_tpl_004_the_default_config_is_merged_with_the_callers",
        ),
    ),
    Rule(
        "TPL-005",
        "Required fields are the caller's to give.",
        (f"{_RULES}/templating.py:completed_body",),
        (
            "tests/unit/rules/test_templating.py:test_br_tpl_005_a_required_field_is_the_callers_to_give_also_where_there_is_a_default",
        ),
    ),
    Rule(
        "ANA-001",
        "A report is of one user.",
        (f"{_API}/analytics_queries.py:Analytics", f"{_API}/readmodels/rollups.py:Rollups"),
        (
            "tests/integration/api/test_analytics.py:test_br_ana_001_to_004_a_report_is_of_one_user_and_of_30_days",
            f"{_TESTS}_ana.py:test_br_ana_001_analytics_are_aggregated_per_user",
        ),
    ),
    Rule(
        "ANA-002",
        "The period is 30 days where nothing else is asked.",
        (f"{_API}/routes/analytics.py:DAYS_DEFAULT",),
        (
            "tests/integration/api/test_analytics.py:test_br_ana_001_to_004_a_report_is_of_one_user_and_of_30_days",
        ),
    ),
    Rule(
        "ANA-003",
        "The success rate is successes by successes and failures; cancelled runs count as neither.",
        (f"{_API}/analytics.py:task_analytics",),
        (
            "tests/integration/api/test_analytics.py:test_br_ana_001_to_004_a_report_is_of_one_user_and_of_30_days",
            f"{_TESTS}_ana.py:test_br_ana_003_the_success_rate_is_successes_by_all_that_succeeded_or_failed",
        ),
    ),
    Rule(
        "ANA-004",
        "Deleted tasks are not counted as active.",
        (f"{_API}/analytics.py:task_analytics",),
        (
            "tests/integration/api/test_analytics.py:test_br_ana_001_to_004_a_report_is_of_one_user_and_of_30_days",
            f"{_TESTS}_ana.py:test_br_ana_004_deleted_tasks_are_not_among_the_active_ones",
        ),
    ),
    Rule(
        "ANA-005",
        "A report is kept for five minutes at the most, and tells its age.",
        (f"{_API}/analytics_queries.py:KeptReports",),
        (
            "tests/integration/api/test_analytics.py:test_br_ana_005_a_report_is_kept_and_says_how_old_it_is",
            f"{_TESTS}_ana.py:test_br_ana_005_a_report_is_made_once_in_five_minutes",
        ),
    ),
)
"""All of them, by number."""


def rules_page() -> str:
    """Number, words, code and test of each."""
    parts = [
        """# Rules

The rules of the task domain by their numbers, with the place in the code that keeps each and the test that is named
after it. Where Gnomon's names differ from the domain's, these are Gnomon's.

Written by `python -m gnomon_schemas.generate` from `gnomon_schemas.documents.rules`; a test looks every place up.
"""
    ]
    for group, title in GROUPS.items():
        rows = ([f"BR-{one.number}", one.words, _places(one.code), _places(one.tests)] for one in _of(group))
        parts.append(f"## {title}\n\n{table(('rule', 'what it says', 'code', 'test'), rows)}")
    return "\n".join(parts)


def _of(group: str) -> list[Rule]:
    return [one for one in RULES if one.number.startswith(group)]


def _places(places: tuple[str, ...]) -> str:
    links = []
    for place in places:
        path, _, name = place.partition(":")
        links.append(f"[`{name}`](../../{path})")
    return ", ".join(links)

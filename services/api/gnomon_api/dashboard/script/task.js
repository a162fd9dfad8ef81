// One task, one run: what it is, why it did what it did, and what can be done about it.
const GOING = ["queued", "running", "retrying"];

function progressOf(run) {
  if (!run.progress) return null;
  const done = run.progress.fraction;
  return [h("progress", { max: 1, value: done, "aria-label": "Progress" }), ` ${Math.round(done * 100)} % ${run.progress.message || ""}`];
}

function taskActions(task) {
  const path = "/tasks/" + part(task.task_id), over = ended(task), tells = WORKLESS.includes(task.task_type);
  const ran = run => [tells ? "It is told: " : "Runs now: ", runLink(run.execution_id)];
  const until = h("input", { type: "datetime-local", "aria-label": "Pause until (optional)", title: "Pause until (optional)", "data-key": "until" });
  const note = h("input", { "aria-label": "Why it is paused (optional)", placeholder: "why (optional)", "data-key": "note" });
  return h("div", { class: "row" },
    task.status === "cancelled" ? null : act(tells ? "Remind now" : "Run now", () => ask(path + "/execute", "POST", {}), { main: !over && !tells, done: ran }),
    task.paused || task.status === "paused" ? act("Resume", () => ask(path + "/resume", "POST", {}))
      : over ? null : h("span", { class: "row" }, act("Pause", () => ask(path + "/pause", "POST", pauseOf(until, note))), until, note),
    task.status === "completed" || task.status === "failed" ? act("Open again", () => ask(path, "PATCH", { status: task.schedule ? "scheduled" : "pending" })) : null,
    task.status === "completed" || task.status === "cancelled" ? null : act("Complete", () => ask(path + "/complete", "POST", {}), { main: tells && !over, sure: task.schedule ? `Call “${task.name}” done? No slot of it fires any more.` : "" }),
    task.status === "cancelled" ? null : act("Cancel", () => ask(path + "/cancel", "POST", {}), { risky: true, sure: `End “${task.name}” for good, and cancel what runs of it?` }),
    act("Delete", async () => { await ask(path, "DELETE"); location.hash = "#/tasks"; }, { risky: true, sure: `Delete “${task.name}”? Its history stays in the log.`, done: `“${task.name}” is deleted.` }));
}
const pauseOf = (until, note) => ({ ...(until.value ? { until: new Date(until.value).toISOString() } : {}), ...(note.value ? { note: note.value } : {}) });

function taskFacts(task) {
  const resolved = task.resolved || {}, tells = WORKLESS.includes(task.task_type);
  return h("dl", {},
    fact("Id", h("code", {}, task.task_id)),
    task.description ? fact("Description", task.description) : null,
    fact("Status", badge(task.status), task.paused_until ? [" until ", when(task.paused_until)] : null, task.pause_note ? ` (${task.pause_note})` : null),
    fact("Type", task.task_type), tells && !task.schedule ? null : fact("Schedule", scheduleWords(task.schedule)),
    task.due_date ? fact("Due", when(task.due_date), overdue(task) ? [" ", badge("held", "overdue")] : null) : null,
    task.reminder_time ? fact("Reminder", when(task.reminder_time)) : null,
    task.next_run_time ? fact("Next run", when(task.next_run_time)) : null,
    typeof task.runs_left === "number" ? fact("Runs left", task.runs_left.toLocaleString()) : null,
    tells && !task.run_count ? null : fact(tells ? "Told" : "Runs", `${many(task.run_count, "run")}, ${task.failure_count.toLocaleString()} failed`,
      typeof task.success_rate === "number" ? `, ${share(task.success_rate)} good` : null, typeof task.average_duration_ms === "number" ? `, ${ms(task.average_duration_ms)} on average` : null),
    task.lateness_slo_broken_since ? fact("Too late", "its lateness objective is broken since ", when(task.lateness_slo_broken_since)) : null,
    fact("Owner", task.user_id ? h("a", { href: "#/account/" + part(task.user_id) }, task.user_id) : "the system"),
    task.credits_per_run ? fact("Credits a run", number(task.credits_per_run)) : null,
    task.template_id ? fact("Template", h("a", { href: "#/template/" + part(task.template_id) }, task.template_id)) : null,
    tells ? null : fact("Pool", `${resolved.pool || task.pool}, priority ${task.priority}`),
    resolved.retry && !tells ? fact("Attempts", `at most ${resolved.retry.max_attempts}`) : null,
    task.tags.length ? fact("Tags", task.tags.join(", ")) : null,
    (task.backfills || []).map(one => fact("Backfill", `${(one.total - one.left - one.in_flight).toLocaleString()} of ${one.total.toLocaleString()} done `,
      act("Cancel the backfill", () => ask(`/tasks/${part(task.task_id)}/backfills/${part(one.backfill_id)}`, "DELETE"), { risky: true }))));
}

function steps(told) {
  return [h("p", {}, badge(told.verdict), " ", told.slot ? ["slot ", when(told.slot)] : null), h("p", {}, told.reason),
    table("Steps", ["When", "What", "", "Event"], told.steps.map(step => [when(step.at, false), spaced(step.what), step.detail || "", step.seq === null ? "–" : String(step.seq)]), "Nothing more is known of it.")];
}

function whyForm(task) {
  const at = h("input", { type: "datetime-local", step: 1, required: true }), answer = h("div", { "aria-live": "polite" });
  return [h("form", { class: "row", onsubmit: async event => {
    event.preventDefault();
    held = true;
    try { answer.replaceChildren(...steps(await ask(`/tasks/${part(task.task_id)}/explain` + query({ at: new Date(at.value).toISOString() }))).flat()); }
    catch (error) { answer.replaceChildren(troubleOf(error)); }
  } }, field(`Why did it run, or not, at (${ZONE})`, at), h("button", { type: "submit" }, "Explain")), answer];
}

const blackoutWords = fire => !fire.blackout ? "" : fire.blackout.action === "skip" ? "skipped by calendar " + fire.blackout.calendar_id
  : fire.blackout.action === "defer" ? ["put off by calendar ", fire.blackout.calendar_id, " to ", when(fire.blackout.until, false)]
  : ["one run for all by calendar ", fire.blackout.calendar_id, " at ", when(fire.blackout.until, false)];
const CLOCK = { dst_gap: "the clock is put forward", dst_overlap: "the clock is put back" };
const brief = value => value === null || value === undefined ? "–" : typeof value === "string" ? value : JSON.stringify(value);

/** What is under way: what runs, each; of what waits only how much, since it may be a hundred. */
function underWay(runs) {
  const begun = runs.filter(run => run.status !== "queued"), waiting = runs.length - begun.length;
  return [begun.map(run => h("p", {}, badge(run.status), " ", runLink(run.execution_id), " ", progressOf(run))),
    waiting ? h("p", {}, badge("queued"), ` ${many(waiting, "run")} ${waiting === 1 ? "waits" : "wait"}; each says below, under its status, for what.`) : null];
}

async function taskView([id]) {
  const path = "/tasks/" + part(id);
  const [task, runs, changes, coming] = await Promise.all([ask(path), ask(path + "/executions?limit=10"), ask(path + "/history?limit=10"), ask(path + "/next?count=5")]);
  const asked = Object.keys(task.config || {}).length;
  return [
    title(task.name), taskActions(task), taskFacts(task),
    underWay(task.running),
    asked ? [h("h3", {}, "Config"), json(task.config)] : null,
    task.last_execution && task.last_execution.result !== null ? [h("h3", {}, "Last result"), json(task.last_execution.result)] : null,
    task.schedule ? [h("h3", {}, "Coming"), h("p", {}, coming.description),
      table("Coming runs", ["When", "On the schedule's clock", "Note"], coming.fires.map(fire => [when(fire.at), fire.local, [CLOCK[fire.note] || "", " ", blackoutWords(fire)]]), "No run is left.")] : null,
    h("h3", {}, "Runs"), table("Runs", RUN_COLUMNS, runs.items.map(runRow(false)), WORKLESS.includes(task.task_type) ? "It has reminded nobody yet." : "It has not run yet."),
    runs.next_cursor ? h("p", { class: "more" }, h("a", { href: "#/runs" + query({ task_id: id }) }, "All its runs")) : null,
    task.schedule ? [h("h3", {}, "Explain a slot"), whyForm(task)] : null,
    h("h3", {}, "Changes"), table("Changes", ["When", "Who", "What", "Old", "New"], changes.items.flatMap(one => one.changes.length
      ? one.changes.map(each => [when(one.at, false), one.user_id || "–", each.field, brief(each.old), brief(each.new)])
      : [[when(one.at, false), one.user_id || "–", spaced(one.what), "", ""]]), "No changes."),
  ];
}

const LEVELS = { warning: "warning", error: "error" };
async function logsOf(path) {
  const line = one => [when(one.at, false), String(one.attempt), LEVELS[one.level] ? badge(one.level) : one.level, [one.message, one.details ? h("small", {}, " " + brief(one.details)) : ""]];
  return pages("Log", ["When", "Attempt", "Level", "Message"], line, cursor => ask(path + "/logs" + query({ cursor, limit: "200" })), "Its handler logged nothing.");
}

async function runView([id]) {
  const path = "/executions/" + part(id), run = await ask(path);
  const [told, log, task] = await Promise.all([
    ask(`/tasks/${part(run.task_id)}/explain` + query({ run: run.run })), logsOf(path),
    ask("/tasks/" + part(run.task_id)).catch(error => { if (error.status === 404) return null; throw error; })]);
  const going = GOING.includes(run.status);
  return [
    title("Run of " + (task ? task.name : run.task_id)),
    h("div", { class: "row" },
      !going && task ? act("Run it again", () => ask(path + "/retry", "POST", {}), { main: ["failed", "timed_out", "missed"].includes(run.status), done: again => ["It runs again as ", runLink(again.execution_id)] }) : null,
      going ? act("Cancel this run", () => ask(path + "/cancel", "POST", {}), { risky: true, sure: "Cancel this run?" }) : null),
    h("dl", {},
      fact("Task", task ? taskLink(run.task_id) : run.task_id + " (deleted)"), fact("Run", h("code", {}, run.execution_id)),
      fact("Status", badge(run.status), " ", spaced(run.reason || ""), run.dead_letter ? ` dead letter: ${spaced(run.dead_letter)}, not tried again by itself` : null),
      going && run.progress ? fact("Progress", progressOf(run)) : null,
      run.scheduled_for ? fact("Slot", when(run.scheduled_for)) : null, fact("Asked for by", spaced(run.trigger), run.retry_of ? [" of ", runLink(run.retry_of)] : null),
      run.started_at ? fact("Started", when(run.started_at), run.lateness_ms === null ? null : `, ${ms(run.lateness_ms)} late`, run.lateness && run.lateness.scheduler_ms !== null ? ` (scheduler ${ms(run.lateness.scheduler_ms)}, queue ${ms(run.lateness.queue_ms)})` : null) : null,
      run.completed_at ? fact("Ended", when(run.completed_at), run.duration_ms === null ? null : `, took ${ms(run.duration_ms)}`) : null,
      run.executor ? fact("Executor", run.executor) : null,
      run.credits_consumed ? fact("Credits", number(run.credits_consumed)) : null,
      run.tokens_used || run.api_calls_made ? fact("Used", `${many(run.tokens_used, "token")}, ${many(run.api_calls_made, "API call")}`) : null,
      run.trace_id ? fact("Trace", h("code", {}, run.trace_id)) : null),
    run.error ? [h("h3", {}, "Error"), h("pre", { tabindex: 0 }, `${run.error.type || "error"}: ${run.error.message || ""}${run.error.traceback ? "\n\n" + run.error.traceback : ""}`)] : null,
    run.result !== null ? [h("h3", {}, run.result_truncated ? "Result (cut)" : "Result"), json(run.result)] : null,
    run.trigger_data !== null && run.trigger_data !== undefined ? [h("h3", {}, "Given to it"), json(run.trigger_data)] : null,
    run.attempts.length > 1 ? [h("h3", {}, "Attempts"), table("Attempts", ["Attempt", "Started", "Status", "Took", "Executor", "Error"],
      run.attempts.map(one => [String(one.attempt), when(one.started_at, false), badge(one.status), ms(one.duration_ms), one.executor || "–", one.error && one.error.message || ""]), "")] : null,
    run.started_at ? [h("h3", {}, "Log"), log] : null, h("h3", {}, "Why"), steps(told),
  ];
}

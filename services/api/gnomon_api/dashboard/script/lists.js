// Lists of tasks and of runs, with filters and pages.
const STATUSES = ["", "pending", "scheduled", "running", "paused", "completed", "failed", "cancelled"];
const RUN_STATUSES = [["", "any"], ["failed,timed_out,missed", "gone wrong: failed, timed out, missed"], ["queued,running,retrying", "under way: queued, running, retrying"],
  "completed", "failed", "timed_out", "cancelled", "skipped", "missed", "coalesced", "queued", "running", "retrying"];
const taskLink = (id, words) => h("a", { href: "#/task/" + part(id) }, words || id);
const runLink = (id, words) => h("a", { href: "#/run/" + part(id) }, words || id);

/** A form whose fields become the address, so that a list can be linked and gone back to. */
function filters(path, ...fields) {
  const form = h("form", { class: "row", role: "search", onsubmit: event => {
    event.preventDefault();
    const there = path + query(Object.fromEntries(new FormData(form)));
    if (location.hash === there) show(true); else location.hash = there;
  } }, fields, h("button", { type: "submit" }, "Show"));
  form.addEventListener("change", event => { if (event.target.matches("select, [type=checkbox]")) form.requestSubmit(); });
  return form;
}

/** A table of a list's pages: `fetchPage(cursor)`, and a row for each item. */
async function pages(label, columns, row, fetchPage, empty) {
  const first = await fetchPage("");
  const holder = h("div", {}, table(label, columns, first.items.map(row), empty));
  const more = next => {
    if (!next) return;
    const button = h("button", { type: "button", onclick: async () => {
      button.disabled = true;
      try {
        const page = await fetchPage(next);
        const body = table(label, columns, page.items.map(row), empty);
        if (page.items.length) holder.querySelector("tbody").append(...body.querySelectorAll("tbody tr"));
        button.parentElement.remove();
        more(page.next_cursor);
        held = true;
      } catch (error) { complain(error); button.disabled = false; }
    } }, "More");
    holder.append(h("p", { class: "more" }, button));
  };
  more(first.next_cursor);
  return holder;
}

const WORKLESS = ["todo", "reminder", "calendar_event"];
const ended = task => ["completed", "cancelled", "failed"].includes(task.status);
const overdue = task => Boolean(task.due_date) && !["completed", "cancelled"].includes(task.status) && new Date(task.due_date) < Date.now();
const nextOf = task => task.next_run_time ? when(task.next_run_time) : ended(task) ? "–"
  : task.due_date ? ["due ", when(task.due_date), overdue(task) ? [" ", badge("held", "overdue")] : null]
  : task.reminder_time ? ["reminder ", when(task.reminder_time)] : "–";
const taskRow = task => [
  taskLink(task.task_id, task.name), task.task_type, WORKLESS.includes(task.task_type) && !task.schedule ? "–" : scheduleWords(task.schedule), badge(task.status),
  nextOf(task), when(task.last_run_time), String(task.success_count), String(task.failure_count),
];
const TASK_COLUMNS = ["Name", "Type", "Schedule", "Status", "Next", "Last run", "Good", "Bad"];

async function tasksView(_, given) {
  const asked = { q: given.get("q"), status: given.get("status"), task_type: given.get("task_type"), template_id: given.get("template_id"), overdue: given.get("overdue"), sort: given.get("sort") };
  return [
    title("Tasks"),
    filters("#/tasks",
      field("Words in name, description or tags", h("input", { type: "search", name: "q", value: asked.q })),
      field("Status", choice("status", STATUSES.map(one => one || ["", "any"]), asked.status)),
      field("Type", h("input", { name: "task_type", value: asked.task_type, size: 14 })),
      field("Order", choice("sort", [["", "newest first"], ["next_run_time", "next to run first"], ["name", "by name"], ["-last_run_time", "last run first"]], asked.sort)),
      h("label", {}, h("input", { type: "checkbox", name: "overdue", value: "true", checked: asked.overdue === "true" }), " overdue only")),
    await pages("Tasks", TASK_COLUMNS, taskRow, cursor => ask("/tasks" + query({ ...asked, cursor, limit: "50" })),
      Object.values(asked).some(Boolean) ? "No task is like that." : ["No tasks yet. ", h("a", { href: "#/templates" }, "Make one from a template"), ", or by ", h("code", {}, "gnomon task create"), "."]),
  ];
}

const runRow = named => run => [
  ...(named ? [taskLink(run.task_id)] : []), runLink(run.execution_id, run.scheduled_for ? when(run.scheduled_for) : run.run), spaced(run.trigger),
  [badge(run.status), " ", run.dead_letter ? "dead letter: " + spaced(run.dead_letter) : spaced(run.reason || "")],
  ms(run.lateness_ms), ms(run.duration_ms), String(run.attempt || "–"), run.error && run.error.message || "",
];
const RUN_COLUMNS = ["When", "Trigger", "Status", "Late", "Took", "Attempt", "Error"];

async function runsView(_, given) {
  const asked = { status: given.get("status"), task_id: given.get("task_id"), trigger: given.get("trigger") };
  return [
    title("Runs"),
    filters("#/runs",
      field("Status", choice("status", RUN_STATUSES, asked.status)),
      field("Trigger", choice("trigger", [["", "any"], "schedule", "manual", "retry", "backfill", "event"], asked.trigger)),
      field("Task id", h("input", { name: "task_id", value: asked.task_id }))),
    await pages("Runs", ["Task", ...RUN_COLUMNS], runRow(true), cursor => ask("/executions" + query({ ...asked, cursor, limit: "50" })),
      asked.status || asked.task_id || asked.trigger ? "No run is like that." : "Nothing has run yet."),
  ];
}

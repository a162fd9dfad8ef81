// Accounts with limits and credits, and what tasks did.
const LIMITS = { max_tasks: "Tasks", runs_per_day: "Runs a day", min_interval_seconds: "Least seconds between two slots", max_concurrent: "Runs at a time" };

function creditForm(account, path) {
  const form = h("form", { class: "row", onsubmit: async event => {
    event.preventDefault();
    hush();
    const data = new FormData(form), button = form.querySelector("button");
    button.disabled = true;
    try {
      await ask(path + "/credits", "POST", { amount: Number(data.get("amount")), kind: data.get("kind"), ...(data.get("note") ? { note: data.get("note") } : {}) });
      say(`${number(Number(data.get("amount")))} credits are booked for ${account.user_id}. What was skipped for want of credits runs again from its next slot on.`);
      await show();
    } catch (error) { complain(error); } finally { button.disabled = false; }
  } }, field("Credits", h("input", { name: "amount", type: "number", step: "any", required: true, "data-key": "amount" })), field("As", choice("kind", ["topup", "grant", "adjustment"], "topup")),
    field("Note", h("input", { name: "note" })), h("button", { type: "submit" }, "Give"));
  return form;
}

function tierForm(account, path) {
  const form = h("form", { class: "row", onsubmit: async event => {
    event.preventDefault();
    hush();
    try { await ask(path, "PATCH", { tier: new FormData(form).get("tier") }); say("The tier is set."); await show(); } catch (error) { complain(error); }
  } }, field("Tier", choice("tier", TIERS, account.tier)), h("button", { type: "submit" }, "Set"));
  return form;
}

async function accountView([user]) {
  const own = user === undefined, path = own ? "/account" : "/accounts/" + part(user);
  const account = await ask(path), admin = "/accounts/" + part(account.user_id);
  const entries = await pages("Credits given and consumed", ["When", "Credits", "Kind", "For"],
    one => [when(one.at), (one.amount > 0 ? "+" : "") + number(one.amount), one.kind, one.execution_id ? runLink(one.execution_id) : [one.reference, one.note].filter(Boolean).join(" ") || "–"],
    cursor => ask(path + "/entries" + query({ cursor, limit: "25" })), "No credits were given or consumed yet.");
  const others = own ? await ask("/accounts?limit=50").catch(error => { if (error.status === 403) return null; throw error; }) : null;
  const out = account.balance !== null && account.balance <= 0;
  return [
    title(own ? "Your account" : "Account of " + account.user_id),
    account.closed ? h("p", { class: "note" }, badge("error", "closed"), " ", account.closed_note || "It can make and run nothing.") : null,
    out ? h("p", { class: "note" }, badge("held", "out of credits"), " Runs that cost credits are skipped with the reason “credits”, until there are more.") : null,
    h("dl", {}, fact("User", account.user_id, account.version ? null : " (no account yet: the first credits make one)"), fact("Tier", account.tier),
      fact("Credits", `${number(account.balance)} left of ${number(account.credited)} given, ${number(account.consumed)} consumed`),
      Object.entries(LIMITS).map(([name, words]) => fact(words, account.effective_limits[name] === null ? "no limit" : account.effective_limits[name].toLocaleString()))),
    h("h3", {}, "Give credits"), creditForm(account, admin), h("h3", {}, "Tier"), tierForm(account, admin),
    h("h3", {}, "Credits given and consumed"), entries,
    others && others.items.length ? [h("h3", {}, "All accounts"), table("Accounts", ["User", "Tier", "Credits left", "Consumed", ""],
      others.items.map(one => [h("a", { href: "#/account/" + part(one.user_id) }, one.user_id), one.tier, number(one.balance), number(one.consumed), one.closed ? badge("error", "closed") : ""]), ""),
      others.next_cursor ? h("p", { class: "more" }, "These are the first 50: ", h("code", {}, "gnomon account list"), " has all.") : null] : null,
  ];
}

const bars = (label, items, words) => {
  const most = Math.max(1, ...items.map(one => one.executions));
  return table(label, ["", "Runs", ""], items.map(one => [words(one), one.executions.toLocaleString(), h("meter", { min: 0, max: most, value: one.executions, "aria-label": `${one.executions} of ${most}` })]), "Nothing has run in this time.");
};

async function analyticsView(_, given) {
  const days = given.get("days") || "30", whole = given.get("of") === "platform";
  const told = await ask((whole ? "/analytics/platform" : "/tasks/analytics") + query({ days, timezone: ZONE }));
  const period = told.time_period, count = value => value.toLocaleString();
  return [
    title("Analytics"),
    filters("#/analytics", field("Of", choice("of", [["", "your tasks"], ["platform", "the whole platform"]], whole ? "platform" : "")), field("Days", choice("days", ["1", "7", "30", "90"], days))),
    h("p", { class: "quiet" }, many(period.days, "day"), " from ", when(period.from, false), " to ", when(period.to, false), `; hours and days as in ${period.timezone}`),
    h("dl", {},
      whole ? [fact("Tasks", `${count(told.total_tasks)}, ${count(told.active_tasks)} of them active`), fact("Users", `${count(told.users)}, with ${number(told.tasks_per_user)} tasks on average`),
        fact("Still there after 30 days", share(told.retention_30_days)), fact("Creates accepted", share(told.creation_success_rate)), fact("Made from a template", share(told.template_usage)),
        fact("Started on time", share(told.on_time_share)),
        fact("Start latency", Object.entries(told.start_latency).map(([name, value]) => `${name.replace(/_ms$/, "")} ${ms(value === null ? null : Math.round(value))}`).join(", ")), fact("Storage", `${(told.storage_bytes / 1e6).toFixed(1)} MB`)]
        : [fact("Tasks", `${count(told.total_tasks)}: ${count(told.active_tasks)} active, ${count(told.paused_tasks)} paused, ${count(told.completed_tasks)} completed, ${count(told.failed_tasks)} failed`)],
      fact("Runs", count(told.total_executions)), fact("Succeeded", share(whole ? told.execution_success_rate : told.success_rate)),
      told.average_execution_seconds === undefined ? null : fact("On average", told.average_execution_seconds === null ? "–" : ms(Math.round(told.average_execution_seconds * 1000))),
      fact("Credits consumed", number(told.total_credits_consumed)), fact("Tokens", count(told.total_tokens_used)), fact("API calls", count(told.total_api_calls)),
      fact("Tasks by type", Object.entries(told.task_types_distribution).map(([name, tasks]) => `${count(tasks)} ${name}`).join(", ") || "–")),
    h("h3", {}, "Busiest hours"), bars("Busiest hours", told.busiest_hours, one => two(one.hour) + ":00"),
    h("h3", {}, "Busiest days"), bars("Busiest days", told.busiest_days, one => one.day),
    told.types ? [h("h3", {}, "By task type"), table("By task type", ["Type", "Runs", "Succeeded", "On average", "Credits"],
      told.types.map(one => [one.task_type, count(one.executions), share(one.success_rate), one.average_execution_seconds === null ? "–" : ms(Math.round(one.average_execution_seconds * 1000)), number(one.credits_consumed)]), "Nothing has run in this time.")] : null,
  ];
}

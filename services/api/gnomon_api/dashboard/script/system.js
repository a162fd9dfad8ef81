// What an operator looks at: shards, executors, pools, what is late, set aside or held back.
async function systemView() {
  const [scheduler, executors, pools, calendars, poison, dead] = await Promise.all([
    ask("/scheduler"), ask("/executors"), ask("/pools"), ask("/calendars?limit=50"),
    ask("/ecosystem/poison").catch(error => { if (error.status === 403) return { items: [] }; throw error; }), ask("/executions?status=failed,timed_out,missed&limit=10")]);
  const shards = scheduler.shards, leaderless = shards.filter(one => !one.leader).length;
  const behind = Math.max(0, ...shards.map(one => one.lag_seconds || 0));
  const sum = pick => shards.reduce((total, one) => total + (pick(one) || 0), 0);
  const late = sum(one => one.catch_up && one.catch_up.waiting), held = sum(one => one.catch_up && one.catch_up.held);
  const aside = shards.flatMap(one => one.set_aside ? one.set_aside.ids : []);
  return [
    title("System"),
    leaderless ? h("p", { class: "trouble" }, `${leaderless} of ${many(shards.length, "shard")} ${leaderless === 1 ? "has" : "have"} no leader: nothing of theirs fires. Is a scheduler running?`) : null,
    executors.items.length ? null : h("p", { class: "trouble" }, "No executor is there: what is due waits, and nothing runs."),
    aside.length ? h("p", { class: "trouble" }, many(aside.length, "task"), " set aside, since deciding about them fails: ", aside.slice(0, 10).map((id, at) => [at ? ", " : "", taskLink(id)])) : null,
    h("dl", {}, fact("Shards", `${shards.length - leaderless} of ${shards.length} led by ${many(scheduler.schedulers.length, "scheduler")}`), fact("Behind", behind < 1 ? "less than a second" : span(behind)),
      fact("Tasks", sum(one => one.tasks).toLocaleString()), fact("In flight", sum(one => one.in_flight).toLocaleString()),
      fact("Late runs", late ? `${late.toLocaleString()}, ${held.toLocaleString()} of them held until somebody decides` : "none")),
    held ? h("div", { class: "row" }, act("Let the held runs run", () => ask("/scheduler/catch-up", "POST", { action: "approve" }), { main: true }),
      act("Record them as missed", () => ask("/scheduler/catch-up", "POST", { action: "discard" }), { risky: true, sure: `Record ${many(held, "late run")} as missed?` })) : null,
    h("h3", {}, "Gone wrong lately"), table("Gone wrong lately", ["Task", ...RUN_COLUMNS], dead.items.map(runRow(true)), "No run has failed, timed out or been missed."),
    dead.next_cursor ? h("p", { class: "more" }, h("a", { href: "#/runs?status=" + part("failed,timed_out,missed") }, "All of them")) : null,
    h("h3", {}, "Executors"), table("Executors", ["Id", "Host", "Pools", "Runs", "Since", "Task types"], executors.items.map(one => [
      [one.id, one.draining ? [" ", badge("held", "ending")] : null], `${one.host}, process ${one.pid}`, one.pools.join(", "), `${one.running} of ${one.capacity}`, when(one.started_at), one.task_types.join(", ")]), "None."),
    h("h3", {}, "Pools"), table("Pools", ["Pool", "State", "In flight", "Waiting", "At most", "Executors", ""], pools.items.map(one => [
      one.pool, one.paused ? badge("paused") : badge("on", "open"), one.in_flight.toLocaleString(), (one.waiting + one.pending).toLocaleString(), one.max_in_flight === null ? "no bound" : one.max_in_flight.toLocaleString(),
      one.executors ? `${one.executors} with room for ${one.capacity}` : badge("held", "none"),
      act((one.paused ? "Resume " : "Pause ") + one.pool, () => ask("/pools/" + part(one.pool), "PATCH", { paused: !one.paused }), { sure: one.paused ? "" : `Hand out nothing of the pool “${one.pool}”? What runs goes on.` })]), "No pools yet."),
    h("h3", {}, "Calendars of blackouts"), table("Calendars", ["Name", "Now", "Does", "Until", "Next"], calendars.items.map(one => [
      one.name, !one.enabled ? "off" : one.in_force ? badge("held", "in force") : "not in force", spaced(one.action), when(one.until), when(one.next_start)]), ["None: no task is held back. ", h("code", {}, "gnomon calendar create"), " makes one."]),
    h("h3", {}, "Set aside from other services"), table("Set aside", ["When", "Message", "Why", ""], poison.items.map(one => [when(one.set_aside_at), [h("code", {}, one.subject), " ", h("small", {}, one.payload.slice(0, 120))], one.reason,
      h("span", { class: "row" }, act("Tell it again", () => ask(`/ecosystem/poison/${part(one.poison_id)}/retry`, "POST"), {}),
        act("Forget it", () => ask("/ecosystem/poison/" + part(one.poison_id), "DELETE"), { risky: true, sure: "Forget this message?" }))]), "Nothing."),
    h("h3", {}, "Ledger"), auditButton(),
  ];
}

function auditButton() {
  const answer = h("div", { "aria-live": "polite" });
  return [h("p", {}, "Were all slots of the last day executed, skipped or missed, and each once?"), h("button", { type: "button", onclick: async event => {
    const button = event.currentTarget;
    button.disabled = true;
    held = true;
    try {
      const told = await ask("/ledger/audit"), wrong = told.missing_count + told.duplicate_count + told.misplaced_count + told.miscounted.length;
      answer.replaceChildren(h("p", {}, told.sound ? badge("on", "sound") : badge("error", "unsound"), ` ${many(told.expected, "slot")} of ${many(told.tasks, "task")}: `,
        told.sound ? "each has one outcome." : `${many(wrong, "fault")}: ${told.missing_count} missing, ${told.duplicate_count} double, ${told.misplaced_count} where no slot was.`),
        table("Outcomes", ["Outcome", "Slots"], Object.entries(told.outcomes).map(([name, count]) => [spaced(name), count.toLocaleString()]), "There was no slot."));
    } catch (error) { answer.replaceChildren(troubleOf(error)); } finally { button.disabled = false; }
  } }, "Audit the last day"), answer];
}

// Which view is shown, and what happens meanwhile.
const VIEWS = { tasks: tasksView, task: taskView, runs: runsView, run: runView, templates: templatesView, template: templateView, account: accountView, analytics: analyticsView, system: systemView };
const ABOVE = { task: "tasks", run: "runs", template: "templates" };
const STILL = ["templates", "template", "analytics"];

/** Whether the reader has something open that a new rendering would take away. */
let held = false;
let shown = 0;
/** A part of the address as it was meant; as it stands where somebody typed a % that begins nothing. */
const meant = text => { try { return decodeURIComponent(text); } catch { return text; } };
const parted = () => {
  const [path, words] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/");
  return { name, rest: rest.map(meant), given: new URLSearchParams(words || "") };
};

/** Show the view of the address again; `moved` when the reader went there, so that focus goes along. */
async function show(moved) {
  const { name, rest, given } = parted(), turn = ++shown, view = Object.hasOwn(VIEWS, name) ? VIEWS[name] : null;
  byId("now").hidden = Boolean(view);
  byId("view").hidden = !view;
  for (const link of byId("views").children) {
    if (link.hash === "#/" + (view ? ABOVE[name] || name : "")) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  // What was said a moment ago may be what led here.
  if (moved) { held = false; byId("refused")?.remove(); if (Date.now() - saidAt > 2000) byId("said").hidden = true; }
  if (!view) {
    document.title = "Gnomon";
    if (moved) { scrollTo(0, 0); byId("now").querySelector("h2").focus({ preventScroll: true }); }
    return refreshNow();
  }
  if (moved) byId("view").replaceChildren(h("p", { class: "none", role: "status" }, "Loading …"));
  let parts;
  try { parts = await view(rest, given); } catch (error) {
    if (!moved && !(error instanceof Refusal)) { outOfReach(); return; }
    parts = [title(error.status === 404 ? "Not there" : "This cannot be shown"), troubleOf(error), error.status === 404 ? null : h("p", {}, h("button", { type: "button", onclick: () => show(true) }, "Try again"))];
  }
  if (turn !== shown) return;
  const key = document.activeElement && document.activeElement.dataset.key;
  byId("view").replaceChildren(...[parts].flat(Infinity).filter(Boolean));
  if (moved) { scrollTo(0, 0); byId("view").querySelector("h2")?.focus({ preventScroll: true }); } else if (key) byId("view").querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}

function outOfReach() {
  byId("away").hidden = false;
  byId("away").textContent = "The api does not answer. What is shown was so when it last did; it is asked again by itself.";
}

// The first view is the page itself: ask for it again, and take over its tables.
async function refreshNow() {
  try {
    const response = await fetch("/?bare=true");
    if (!response.ok) throw new Error("answered " + response.status);
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    const on = document.activeElement && document.activeElement.getAttribute("href");
    for (const id of ["counts", "tasks", "executions"]) byId(id).replaceWith(fresh.getElementById(id));
    // An alert that is put in again would be read out again.
    const trouble = fresh.getElementById("trouble");
    if (trouble.textContent !== byId("trouble").textContent) byId("trouble").replaceWith(trouble);
    byId("away").hidden = true;
    if (on && document.activeElement === document.body) byId("now").querySelector(`a[href="${CSS.escape(on)}"]`)?.focus({ preventScroll: true });
    showTimes();
  } catch { outOfReach(); }
}

/** Whether the reader is typing, choosing or reading something that was asked for. */
function busy() {
  const on = document.activeElement;
  return held || document.hidden || !getSelection().isCollapsed || Boolean(on && on.matches("#view input, #view select, #view textarea")) || document.querySelector("#view details[open]") !== null;
}
let waiting = false;
async function refresh() {
  const { name } = parted();
  if (waiting || STILL.includes(name)) return;
  waiting = true;
  await new Promise(done => setTimeout(done, 1000));
  waiting = false;
  if (parted().name === name && !busy()) await show(false);
}

function tell(name, data, id) {
  const what = data.status || data.reason || data.new_status || data.message || "", key = data.execution_id || data.task_id || "";
  const line = h("p", { title: id ? "sequence " + id : null }, `${local(data.occurred_at || data.at || new Date().toISOString())}  ${spaced(name.replace("task.", ""))}  `,
    data.execution_id ? runLink(data.execution_id) : data.task_id ? taskLink(data.task_id) : key, what ? `  ${spaced(what)}` : "");
  const live = byId("live");
  live.prepend(line);
  while (live.childElementCount > 200) live.lastElementChild.remove();
  const { name: view, rest } = parted();
  // A page about one task has nothing to learn from what others do.
  if (!["task", "run"].includes(view) || (key && (rest[0] || "").split(".")[0] === key.split(".")[0])) refresh();
}

function listen() {
  const source = new EventSource(API + "/events");
  source.onopen = () => { byId("state").textContent = "connected"; refresh(); };
  source.onerror = () => { byId("state").textContent = "connection lost, trying again"; refresh(); };
  for (const name of JSON.parse(byId("live").dataset.events)) source.addEventListener("task." + name, event => tell(event.type, JSON.parse(event.data), event.lastEventId));
  source.addEventListener("gap", () => tell("gap", { reason: "some events are gone" }));
}

byId("views").hidden = false;
byId("zone").textContent = ZONE;
addEventListener("hashchange", () => show(true));
document.querySelector(".skip").addEventListener("click", event => { event.preventDefault(); byId("main").focus(); });
addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
// The read models may be behind what was just heard, and how far off a time is changes by itself.
setInterval(refresh, 10000);
showTimes();
if (parted().name) show(true); else show(false);
listen();

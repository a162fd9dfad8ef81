"use strict";
// What all views stand on: elements, requests, times, and what is told of an action. Text always goes in as text.
const API = "/api/v1";
const byId = id => document.getElementById(id);

/** An element: properties, of which `on…` are listeners, then children; null and "" are left out. */
function h(tag, props, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined && child !== ""));
  return made;
}

/** What the api refused or could not answer: `message`, and `errors` with the fields. */
class Refusal extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || "the api answered " + status);
    this.status = status;
    this.title = problem.title || "Refused";
    this.errors = problem.errors || [];
    this.trace = problem.trace_id;
  }
}

/** Ask the api; the body of its answer. Throws a Refusal, or a TypeError when it cannot be reached. */
async function ask(path, method, body) {
  const options = { method: method || "GET", headers: {} };
  if (body !== undefined) { options.body = JSON.stringify(body); options.headers["Content-Type"] = "application/json"; }
  const response = await fetch(API + path, options);
  byId("away").hidden = true;
  const text = await response.text();
  let told = null;
  try { told = text ? JSON.parse(text) : null; } catch { told = { detail: text.slice(0, 200) }; }
  if (!response.ok) throw new Refusal(response.status, told || {});
  return response.status === 202 && told && told.command_id && told.status === "pending" ? { later: true, ...told } : told;
}

const part = encodeURIComponent;
const query = given => {
  const pairs = Object.entries(given).filter(([, value]) => value);
  return pairs.length ? "?" + new URLSearchParams(pairs) : "";
};

// Times: as this browser's clock has them, with the whole of it and UTC as the title.
const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
const two = number => String(number).padStart(2, "0");
function local(text) {
  const time = new Date(text), now = new Date();
  const clock = [time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(":");
  if (time.toDateString() === now.toDateString()) return clock;
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} ${clock}`;
}
function span(seconds) {
  const whole = Math.round(seconds);
  for (const [big, small, each, rest] of [["d", "h", 86400, 3600], ["h", "min", 3600, 60], ["min", "s", 60, 1]])
    if (whole >= each) { const more = Math.floor(whole % each / rest); return `${Math.floor(whole / each)}\u00a0${big}` + (more ? `\u00a0${more}\u00a0${small}` : ""); }
  return `${whole}\u00a0s`;
}
function away(text) {
  const seconds = (new Date(text) - Date.now()) / 1000;
  if (Math.abs(seconds) < 1) return "now";
  return seconds > 0 ? "in " + span(seconds) : span(-seconds) + " ago";
}
function fillTime(time, text, far) {
  time.dateTime = text;
  time.title = `${new Date(text).toString()} = ${text}`;
  time.replaceChildren(local(text));
  if (far) time.append(" ", h("small", {}, away(text)));
  return time;
}
const when = (text, far = true) => text ? fillTime(h("time"), text, far) : "–";
const showTimes = () => document.querySelectorAll("#now time").forEach(time => {
  if (!time.dateTime && time.textContent) fillTime(time, time.textContent, time.dataset.far !== undefined);
});

// Words.
const many = (count, one, more) => `${count.toLocaleString()} ${count === 1 ? one : more || one + "s"}`;
const ms = value => value === null || value === undefined ? "–" : value < 1000 ? `${value}\u00a0ms` : value < 60000 ? `${(value / 1000).toPrecision(3)}\u00a0s` : span(value / 1000);
const number = value => value === null || value === undefined ? "unknown" : value.toLocaleString(undefined, { maximumFractionDigits: 6 });
const share = value => value === null || value === undefined ? "–" : (value * 100).toFixed(1) + " %";
const spaced = text => String(text).replaceAll("_", " ");
const badge = (status, words) => h("i", { class: status }, words || spaced(status));
const json = value => h("pre", { tabindex: 0 }, JSON.stringify(value, null, 2));
const zoned = schedule => schedule.timezone ? " " + schedule.timezone : "";
function scheduleWords(schedule) {
  if (!schedule) return "on demand";
  const on = schedule.kind === "weekly" ? " " + (schedule.days || []).join(", ") : schedule.kind === "monthly" ? " " + schedule.day : "";
  switch (schedule.kind) {
    case "interval": return "every " + span(schedule.every_seconds || ((schedule.days || 0) * 86400 + (schedule.hours || 0) * 3600 + (schedule.minutes || 0) * 60 + (schedule.seconds || 0)));
    case "cron": return "cron " + (schedule.expression || JSON.stringify(schedule)) + zoned(schedule);
    case "once": return "once " + schedule.at;
    case "any_of": return schedule.schedules.map(scheduleWords).join(" or ");
    default: return schedule.kind + on + " " + (schedule.time || "") + zoned(schedule);
  }
}

// Parts of views.
const fact = (label, ...value) => [h("dt", {}, label), h("dd", {}, ...value)];
function table(label, columns, rows, empty) {
  if (!rows.length) return h("p", { class: "none" }, empty);
  const body = rows.map(cells => h("tr", {}, cells.map((cell, at) => h("td", { "data-label": columns[at] || null }, h("span", {}, cell)))));
  return h("div", { class: "wrap", role: "region", "aria-label": label, tabindex: 0 },
    h("table", {}, h("thead", {}, h("tr", {}, columns.map(column => h("th", { scope: "col" }, column)))), h("tbody", {}, body)));
}
const title = words => { document.title = words + " · Gnomon"; return h("h2", { tabindex: -1 }, words); };
const field = (label, input, hint) => h("label", {}, h("span", {}, label), input, hint ? h("small", {}, hint) : null);
const choice = (name, options, chosen) => h("select", { name }, options.map(option => {
  const [value, words] = Array.isArray(option) ? option : [option, spaced(option)];
  return h("option", { value, selected: value === (chosen || "") }, words);
}));

/** What became of an action, told where it is seen and heard. */
let saidAt = 0;
function say(...words) { saidAt = Date.now(); byId("said").hidden = false; byId("said").replaceChildren(...words); }
function troubleOf(error) {
  if (!(error instanceof Refusal)) return h("div", { class: "trouble", role: "alert" }, "The api does not answer: ", error.message);
  const fields = error.errors.map(one => h("li", {}, one.pointer ? h("code", {}, one.pointer.replace("#/", "").replaceAll("/", ".")) : "", ": ", one.message));
  return h("div", { class: "trouble", role: "alert" }, h("b", {}, error.title), error.errors.length ? h("ul", {}, fields) : ": " + error.message,
    error.status >= 500 && error.trace ? h("small", {}, " trace " + error.trace) : null);
}
function complain(error) { byId("said").hidden = true; byId("refused")?.remove(); const told = troubleOf(error); told.id = "refused"; byId("main").before(told); told.scrollIntoView({ block: "nearest" }); }
function hush() { byId("said").hidden = true; byId("refused")?.remove(); }

/** A button that does something once at a time, tells what came of it, and shows the view again. */
function act(words, what, { sure, risky, main, done } = {}) {
  return h("button", { type: "button", class: risky ? "risky" : main ? "main" : null, "data-key": words, onclick: async event => {
    const button = event.currentTarget;
    if (sure && !confirm(sure)) return;
    button.disabled = true;
    hush();
    try {
      const told = await what();
      if (told && told.later) say("It is accepted, and will be done as soon as the scheduler answers.");
      else say(...[typeof done === "function" ? done(told) : done || words + ": done."].flat());
      await show();
    } catch (error) { complain(error); } finally { button.disabled = false; }
  } }, words);
}

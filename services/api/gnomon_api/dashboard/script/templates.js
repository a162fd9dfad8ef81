// Templates, and a form that makes a task of one.
const TIERS = ["free", "basic", "pro", "enterprise"];
const INSTANTS = ["due_date", "reminder_time"];
const OF_TASK = ["name", "description", "schedule", "priority", "pool", "tags", "metadata", "timeout_seconds", "expires_seconds", ...INSTANTS];

async function templatesView(_, given) {
  const asked = { category: given.get("category"), q: given.get("q"), subscription_level: given.get("subscription_level") };
  const row = one => [h("a", { href: "#/template/" + part(one.template_id) }, one.name), one.description || "", one.category, one.required_subscription_level, number(one.credits_per_run)];
  return [
    title("Templates"), h("p", {}, "A template is a task that is set up but for a few fields."),
    filters("#/templates",
      field("Words", h("input", { type: "search", name: "q", value: asked.q })),
      field("Category", h("input", { name: "category", value: asked.category, size: 12 })),
      field("Open to", choice("subscription_level", [["", "your own level"], ...TIERS], asked.subscription_level))),
    await pages("Templates", ["Name", "What it does", "Category", "Level", "Credits a run"], row, cursor => ask("/templates" + query({ ...asked, cursor, limit: "50" })),
      "No template is like that."),
  ];
}

/** The schema of a field of the config, by its path; {} where nothing is said of it. */
function schemaAt(schema, path) {
  let found = schema;
  for (const name of path) found = found && found.properties && found.properties[name];
  return found || {};
}
function inputOf(name, schema, required) {
  const same = { name, required, "aria-required": required ? "true" : null };
  if (INSTANTS.includes(name)) return h("input", { ...same, type: "datetime-local" });
  if (schema.enum) return choice(name, [...(required ? [] : [["", "as it is"]]), ...schema.enum.map(String)], "");
  if (schema.type === "integer" || schema.type === "number") return h("input", { ...same, type: "number", step: schema.type === "integer" ? 1 : "any", min: schema.minimum, max: schema.maximum });
  if (schema.type === "boolean") return choice(name, [["", "as it is"], ["true", "yes"], ["false", "no"]], "");
  if (schema.type === "object" || (schema.type === "array" && (schema.items || {}).type !== "string")) return h("textarea", { ...same, rows: 3 });
  return h("input", { ...same, maxlength: schema.maxLength });
}
function valueOf(name, text, schema) {
  if (INSTANTS.includes(name)) return new Date(text).toISOString();
  if (schema.type === "integer" || schema.type === "number") return Number(text);
  if (schema.type === "boolean") return text === "true";
  if (schema.type === "array" && (schema.items || {}).type === "string") return text.split(",").map(one => one.trim()).filter(Boolean);
  if (schema.type === "object" || schema.type === "array") {
    try { return JSON.parse(text); } catch (error) { throw new Refusal(422, { title: "A field is not JSON", errors: [{ pointer: "#/" + name, message: error.message }] }); }
  }
  return text;
}
const hintOf = (name, schema) => INSTANTS.includes(name) ? "in " + ZONE : schema.type === "array" && (schema.items || {}).type === "string" ? "several with commas"
  : schema.type === "object" || schema.type === "array" ? "as JSON" : schema.description;

/** Fields that say when it runs; `ownWords` what it is when nothing is chosen. */
function scheduleFields(ownWords, required) {
  const kind = choice("schedule.kind", [...(required ? [] : [["", ownWords]]), ["daily", "every day at a time"], ["interval", "again and again"], ["cron", "by a cron expression"], ["once", "once"]], "");
  const parts = {
    daily: [field("Time", h("input", { type: "time", name: "schedule.time", value: "09:00" }))],
    interval: [field("Every", h("input", { type: "number", name: "schedule.minutes", min: 1, value: 30 }), "minutes")],
    cron: [field("Cron expression", h("input", { name: "schedule.expression", placeholder: "0 9 * * mon-fri" }), "minute, hour, day, month, day of the week")],
    once: [field("At", h("input", { type: "datetime-local", name: "schedule.at" }), "in " + ZONE)],
  };
  const zone = field("Whose clock", h("input", { name: "schedule.timezone", value: ZONE }), "a zone such as Europe/Berlin");
  const shown = h("div", {}), choose = () => shown.replaceChildren(...(parts[kind.value] || []), ...(["daily", "cron"].includes(kind.value) ? [zone] : []));
  kind.addEventListener("change", choose);
  choose();
  return h("fieldset", {}, h("legend", {}, "When it runs"), field("Schedule", kind), shown);
}
function scheduleOf(data) {
  const kind = data.get("schedule.kind");
  switch (kind) {
    case "daily": return { kind, time: data.get("schedule.time"), timezone: data.get("schedule.timezone") };
    case "interval": return { kind, every_seconds: Number(data.get("schedule.minutes")) * 60 };
    case "cron": return { kind, expression: data.get("schedule.expression"), timezone: data.get("schedule.timezone") };
    case "once": return { kind, at: data.get("schedule.at") ? new Date(data.get("schedule.at")).toISOString() : "" };
    default: return null;
  }
}

async function templateView([id]) {
  const template = await ask("/templates/" + part(id));
  const schema = template.config_schema || {}, without = ["name", "schedule"];
  // A path is of the config, unless a field of the task is called like its first part.
  const pathOf = name => OF_TASK.includes(name.split(".")[0]) ? null : (name.startsWith("config.") ? name.slice(7) : name).split(".");
  const needed = template.required_fields.filter(name => !without.includes(name));
  const free = template.optional_fields === null ? Object.keys(schema.properties || {}) : template.optional_fields;
  const possible = free.filter(name => !needed.includes(name) && !without.includes(name) && pathOf(name) && !(template.optional_fields === null && needed.some(one => one.startsWith(name + "."))));
  if (!needed.includes("reminder_time") && ["todo", "reminder"].includes(template.task_type) && !template.required_fields.includes("schedule")) possible.push("reminder_time");
  const schemas = Object.fromEntries([...needed, ...possible].map(name => [name, pathOf(name) ? schemaAt(schema, pathOf(name)) : {}]));
  const one = (name, required) => field(spaced(name).replaceAll(".", " → ") + (required ? " (needed)" : ""), inputOf(name, schemas[name], required), hintOf(name, schemas[name]));
  const preset = template.defaults.schedule;
  const form = h("form", { class: "tall", onsubmit: async event => {
    event.preventDefault();
    hush();
    form.querySelectorAll("[aria-invalid]").forEach(input => input.removeAttribute("aria-invalid"));
    const button = form.querySelector("[type=submit]");
    button.disabled = true;
    try {
      // Without a prototype: a path of a template may begin with any word.
      const data = new FormData(form), body = {}, config = Object.create(null);
      if (data.get("name")) body.name = data.get("name");
      const schedule = scheduleOf(data);
      if (schedule) body.schedule = schedule;
      for (const name of Object.keys(schemas)) {
        const text = data.get(name), path = pathOf(name);
        if (text === null || text === "") continue;
        const value = valueOf(name, text, schemas[name]);
        if (!path) { body[name] = value; continue; }
        let into = config;
        for (const step of path.slice(0, -1)) into = into[step] ??= Object.create(null);
        into[path.at(-1)] = value;
      }
      if (Object.keys(config).length) body.config = config;
      const task = await ask(`/templates/${part(id)}/instantiate`, "POST", body);
      say("Made: ", task.task_id ? taskLink(task.task_id, task.name || task.task_id) : "it is accepted, and will be there as soon as the scheduler answers");
      if (task.task_id && !task.later) location.hash = "#/task/" + part(task.task_id);
    } catch (error) {
      complain(error);
      for (const told of error.errors || []) {
        const name = (told.pointer || "").replace("#/", "").replaceAll("/", ".");
        const input = form.elements[name] || form.elements[name.replace("config.", "")];
        if (input && input.setAttribute) { input.setAttribute("aria-invalid", "true"); input.focus(); }
      }
    } finally { button.disabled = false; }
  } },
    field("Name" + (template.required_fields.includes("name") ? " (needed)" : ""), h("input", { name: "name", placeholder: template.name, maxlength: 255, required: template.required_fields.includes("name") })),
    needed.map(name => one(name, true)),
    template.task_type === "todo" && !preset && !template.required_fields.includes("schedule") ? null
      : template.required_fields.includes("reminder_time") ? null
      : scheduleFields(preset ? `as the template has it: ${scheduleWords(preset)}${preset.timezone || !["daily", "weekly", "monthly", "cron"].includes(preset.kind) ? "" : " UTC"}` : "on demand only", template.required_fields.includes("schedule")),
    possible.length ? h("details", {}, h("summary", {}, "More that can be set"), possible.map(name => one(name, false))) : null,
    h("p", {}, h("button", { type: "submit", class: "main" }, "Make the task")));
  return [
    title(template.name), h("p", {}, template.description || ""),
    h("dl", {}, fact("Category", template.category), fact("Makes", "a task of type " + template.task_type), fact("Open to", template.required_subscription_level + (template.required_subscription_level === "enterprise" ? "" : " and above")),
      fact("Credits a run", number(template.credits_per_run)), template.is_active ? null : fact("State", badge("held", "inactive"))),
    template.available === false && !template.is_active ? h("p", { class: "note" }, "It is out of use, and makes no task.")
      : [template.available === false ? h("p", { class: "note" }, `Your subscription level does not allow it: it asks for ${template.required_subscription_level}.`) : null, h("h3", {}, "Make a task of it"), form],
    h("p", { class: "more" }, h("a", { href: "#/tasks" + query({ template_id: id }) }, "Tasks made from it")),
  ];
}

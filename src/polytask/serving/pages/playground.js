"use strict";

const page = document.documentElement;
const texts = {
  en: { busy: "predicting …", copied: "copied", failed: "The server does not answer.", none: "Enter something to predict." },
  zh: { busy: "正在预测…", copied: "已复制", failed: "服务器没有响应。", none: "请输入要预测的内容。" },
};
const say = (key) => { byId("status").textContent = key ? texts[page.lang][key] : ""; };
const byId = (id) => document.getElementById(id);
const make = (name, content = "", kind = "") => {
  const made = document.createElement(name);
  made.textContent = content; // never HTML: labels and texts come from outside
  if (kind) made.className = kind;
  return made;
};
let runs = [];
let current = null;

function setTheme(theme) { page.dataset.theme = theme; }
function setLanguage(language) {
  page.lang = language;
  for (const button of document.querySelectorAll("[data-language]"))
    button.setAttribute("aria-pressed", String(button.dataset.language === language));
}

function columns() {
  const found = new Map();
  for (const task of Object.values(current.tasks))
    for (const [name, type] of Object.entries(task.inputs)) found.set(name, type);
  return found;
}

function showRun(run) {
  current = run;
  byId("run").textContent = run.name;
  byId("answers").replaceChildren();
  const fields = [];
  for (const [name, type] of columns()) {
    const label = make("label", name);
    const isFile = type === "image" || type === "audio";
    const field = document.createElement(isFile || type === "number" ? "input" : "textarea");
    if (isFile) { field.type = "file"; field.accept = `${type}/*`; }
    field.name = name;
    field.dataset.type = type;
    label.append(field);
    fields.push(label);
  }
  byId("inputs").replaceChildren(...fields);
}

function asBase64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.split(",")[1] || "");
    reader.onerror = reject;
    reader.readAsDataURL(file);
  });
}

async function row() {
  const values = {};
  for (const field of document.querySelectorAll("#inputs [name]")) {
    if (field.type === "file") {
      if (field.files[0]) values[field.name] = await asBase64(field.files[0]);
    } else if (field.value.trim()) {
      const value = field.value;
      if (field.dataset.type === "number") values[field.name] = Number(value);
      else if (field.dataset.type === "words") values[field.name] = value.trim().split(/\s+/);
      else values[field.name] = value;
    }
  }
  return values;
}

function showChances(chances) {
  return Object.entries(chances).sort((a, b) => b[1] - a[1]).slice(0, 10).map(([label, chance]) => {
    const line = make("div", "", "chance");
    const bar = document.createElement("progress");
    bar.max = 1;
    bar.value = chance;
    bar.setAttribute("aria-label", label);
    line.append(make("span", label), make("span", `${(100 * chance).toFixed(1)} %`), bar);
    return line;
  });
}

function showWords(words, tags) {
  const line = make("p", "", "words");
  words.forEach((word, at) => {
    const tag = tags[at];
    const named = tag !== null && tag !== undefined && tag !== "O";
    const shown = make(named ? "mark" : "span", word);
    if (named) shown.append(make("small", String(tag)));
    line.append(shown, " ");
  });
  return line;
}

function showTask(name, answer, values) {
  const box = make("section", "", "answer");
  box.append(make("h2", name));
  if (answer.error) {
    box.append(make("p", answer.error, "error"));
    return box;
  }
  const words = Object.values(values).find(Array.isArray);
  if (Array.isArray(answer.label) && words && answer.label.length === words.length) {
    box.append(showWords(words, answer.label));
  } else if (answer.label !== null && typeof answer.label === "object") {
    box.append(make("pre", JSON.stringify(answer.label, null, 1)));
  } else {
    const label = typeof answer.label === "number" ? Number(answer.label.toPrecision(4)) : answer.label;
    box.append(make("p", String(label), "label"));
  }
  box.append(...showChances(answer.probabilities || {}));
  return box;
}

async function predict(event) {
  event.preventDefault();
  const values = await row();
  if (!Object.keys(values).length) { say("none"); return; }
  say("busy");
  try {
    const answer = await fetch("v1/predict", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ run: current.name, rows: [values] }),
    });
    const found = await answer.json();
    if (!answer.ok) {
      const box = make("section", "", "answer");
      box.append(make("p", found.error.message, "error"));
      byId("answers").replaceChildren(box);
    } else {
      const shown = Object.entries(found.records[0]).map(([name, one]) => showTask(name, one, values));
      byId("answers").replaceChildren(...shown);
    }
    say("");
  } catch {
    say("failed");
  }
}

function quoted(text) { return `'${text.replaceAll("'", "'\\''")}'`; }

async function copy(event) {
  const body = { run: current.name, rows: [await row()] };
  const address = new URL("v1/predict", location.href).href;
  const text = event.currentTarget.dataset.copy === "curl"
    ? `curl ${quoted(address)} -H 'Content-Type: application/json' -d ${quoted(JSON.stringify(body))}`
    : `import json, urllib.request\n\nbody = json.loads(${JSON.stringify(JSON.stringify(body))})\n`
      + `request = urllib.request.Request(${JSON.stringify(address)}, json.dumps(body).encode(), {"Content-Type": "application/json"})\n`
      + "print(json.load(urllib.request.urlopen(request)))\n";
  await navigator.clipboard.writeText(text);
  say("copied");
}

async function start() {
  setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  setLanguage(new URLSearchParams(location.search).get("language") || (navigator.language.startsWith("zh") ? "zh" : "en"));
  byId("theme").addEventListener("click", () => setTheme(page.dataset.theme === "dark" ? "light" : "dark"));
  for (const button of document.querySelectorAll("[data-language]"))
    button.addEventListener("click", () => setLanguage(button.dataset.language));
  for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", copy);
  byId("form").addEventListener("submit", predict);
  try {
    runs = (await (await fetch("v1/tasks")).json()).runs;
  } catch {
    say("failed");
    return;
  }
  const choice = document.querySelector("#runs select");
  choice.append(...runs.map((run) => make("option", run.name)));
  byId("runs").hidden = runs.length < 2;
  choice.addEventListener("change", () => showRun(runs[choice.selectedIndex]));
  showRun(runs[0]);
}

start();

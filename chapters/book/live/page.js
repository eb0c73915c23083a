// An explorer on a page of the reading edition: controls, board, words, and an address that says what is shown.

const REST = 300; // ms without a change before the address is written anew: browsers allow few writes a second

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key in made && typeof value !== "string") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// ---- controls: each is an element and `refresh`, which shows what the control stands at

const CONTROLS = {
  Button(control, act) {
    const root = element("button", { type: "button" }, control.label);
    root.addEventListener("click", () => act(null));
    return { root, refresh() {} };
  },

  Motion(control, act) {
    const { label, value, speeds, speed } = control;
    const model = new course.Model({ label, value, seen: value, speeds, speed, playing: false });
    const root = element("div");
    course.renderMotion({ model, el: root });
    model.saved = (name) => {
      if (name === "playing") control.playing = model.get(name);
      if (name === "value") act(model.get(name));
    };
    return { root, refresh: () => model.update({ seen: model.get("value"), playing: control.playing }) };
  },

  Checkbox(control, act) {
    const box = element("input", { type: "checkbox" });
    box.addEventListener("change", () => act(box.checked));
    return { root: element("label", {}, box, ` ${control.label}`), refresh: () => (box.checked = control.value) };
  },

  Dropdown(control, act) {
    const select = element("select");
    let filled = "";
    select.addEventListener("change", () => act(control.options[select.selectedIndex][1]));
    return {
      root: element("label", {}, `${control.label} `, select),
      refresh() {
        const options = JSON.stringify(control.options);
        if (options !== filled) select.replaceChildren(...control.options.map(([label]) => element("option", {}, label)));
        filled = options;
        select.selectedIndex = control.options.findIndex(([, value]) => value === control.value);
      },
    };
  },

  ToggleButtons(control, act, name) {
    const radios = control.options.map(([, value]) => {
      const radio = element("input", { type: "radio", name: `course-${name}` });
      radio.addEventListener("change", () => act(value));
      return radio;
    });
    const labels = radios.map((radio, i) => element("label", {}, radio, ` ${control.options[i][0]}`));
    return {
      root: element("fieldset", {}, element("legend", {}, control.label || name), ...labels),
      refresh: () => radios.forEach((radio, i) => (radio.checked = control.options[i][1] === control.value)),
    };
  },

  SelectionSlider(control, act) {
    const values = () => control.options.map(([, value]) => value);
    return slider(control.label, (at) => act(values()[at]), () => ({
      min: 0,
      max: control.options.length - 1,
      step: 1,
      value: values().indexOf(control.value),
      text: control.options[values().indexOf(control.value)]?.[0] ?? "",
    }));
  },

  Slider(control, act) {
    const digits = Number.isInteger(control.step) ? 0 : 2;
    return slider(control.label, (value) => act(rounded(value, 6)), () => ({ ...control, text: fixed(control.value, digits) }));
  },

  RangeSlider(control, act) {
    const ends = control.label.split(", ").map((label, end) =>
      slider(label, (value) => {
        const next = control.value.slice();
        next[end] = end ? Math.max(value, next[0]) : Math.min(value, next[1]);
        act(next);
      }, () => ({ ...control, value: control.value[end], text: `${control.value[end]}` })),
    );
    return {
      root: element("div", { class: "course-range" }, ...ends.map((end) => end.root)),
      refresh: () => ends.forEach((end) => end.refresh()),
    };
  },
};

function slider(label, act, now) {
  const range = element("input", { type: "range" });
  const text = element("output");
  range.addEventListener("input", () => act(Number(range.value)));
  return {
    root: element("label", { class: "course-slider" }, element("span", {}, label), range, text),
    refresh() {
      const { min, max, step, value, text: said } = now();
      Object.assign(range, { min, max, step });
      range.value = value;
      range.setAttribute("aria-valuetext", said);
      text.textContent = said;
    },
  };
}

// ---- links

const LIMIT = 1e4; // px; nothing an explorer shows lies further away

// A value as it stands in an address, and back. `undefined` for what can't be.
const written = (value) => (Array.isArray(value) ? value.flat().join(",") : String(value));

function readControl(control, text) {
  const chosen = control.options?.find(([, value]) => String(value) === text);
  if (control.options) return chosen?.[1];
  if (control.kind === "Checkbox") return { true: true, false: false }[text];
  const numbers = text.split(",").map(Number);
  const fits = numbers.every((v) => v >= control.min && v <= control.max); // false for NaN
  if (!fits) return undefined;
  if (control.kind === "Slider") return numbers.length === 1 ? numbers[0] : undefined;
  return numbers.length === 2 && numbers[0] <= numbers[1] ? numbers : undefined;
}

function readTrait(board, name, text) {
  const numbers = text.split(",").map(Number);
  if (!numbers.every((v) => Math.abs(v) <= LIMIT)) return undefined;
  if (name === "active") return board.boxes[numbers[0]] || board.handles[numbers[0]] ? numbers[0] : undefined;
  if (name === "handles") return numbers.length === 4 ? [numbers.slice(0, 2), numbers.slice(2)] : undefined;
  if (name === "pointer") return numbers.length === 2 ? numbers : undefined;
  if (numbers.length !== 4 * board.boxes.length) return undefined;
  const boxes = board.boxes.map((_, i) => numbers.slice(4 * i, 4 * i + 4));
  return boxes.every(([a, b, c, d]) => c > a && d > b) ? boxes : undefined;
}

// ---- one explorer

course.mount = (host) => {
  const start = JSON.parse(host.querySelector("script").textContent);
  const explorer = course.begin(start);
  const { board, others, controls, texts } = explorer.shown;
  course.shown.push(explorer.shown);
  const model = new course.Model({ ...board });
  const models = Object.fromEntries(Object.entries(others).map(([name, traits]) => [name, new course.Model({ ...traits })]));
  const refreshers = [];
  const note = element("p", { class: "course-note", role: "status" });
  let waiting = 0;

  function sync() {
    model.update(board);
    for (const name of Object.keys(others)) models[name].update(others[name]);
    for (const refresh of refreshers) refresh();
    if (board.sheet) layOut(board.sheet);
  }

  async function layOut(sheet) {
    const picture = await course.compose(sheet, start.facts.sheets);
    if (sheet === board.sheet) model.update({ picture: (board.picture = picture) }); // else the next one is on its way
  }

  function act(name, value) {
    explorer.change(name, value);
    sync();
    note.textContent = "";
    clearTimeout(waiting);
    waiting = setTimeout(() => history.replaceState(null, "", link()), REST);
  }

  function build(part) {
    if (typeof part !== "string") {
      const children = part.children.map(build);
      return element("div", { class: part.kind === "HBox" ? "course-row" : "course-column" }, ...children);
    }
    if (part === "board" || part in others) {
      const place = element("div", { class: "course-place" });
      course.render({ model: models[part] ?? model, el: place });
      return place;
    }
    if (part in texts) {
      const text = element("div", { class: "course-words" });
      refreshers.push(() => {
        text.innerHTML = texts[part];
        // what is too wide scrolls, also for those who have keys only
        if (text.scrollWidth > text.clientWidth) text.tabIndex = 0;
        else text.removeAttribute("tabindex");
      });
      return text;
    }
    const { root, refresh } = CONTROLS[controls[part].kind](controls[part], (value) => act(part, value), part);
    refreshers.push(refresh);
    return root;
  }

  // What differs from the beginning, so that a link stays short.
  function link() {
    const found = new URLSearchParams({ explorer: start.name });
    for (const [name, { kind, value }] of Object.entries(controls))
      if (kind !== "Motion" && written(value) !== written(start.controls[name].value)) found.set(name, written(value));
    for (const name of start.linked)
      if (written(board[name]) !== written(start.board[name])) found.set(name, written(board[name]));
    return `#${found.toString().replaceAll("%2C", ",")}`;
  }

  // What the address asks for, if it asks this explorer. What can't be shown is left out and named.
  function follow() {
    const asked = new URLSearchParams(location.hash.slice(1));
    if (asked.get("explorer") !== start.name || location.hash === link()) return;
    explorer.reset();
    const left = new Set([...asked.keys()].filter((name) => name !== "explorer"));
    for (const name of [...Object.keys(controls), ...start.linked]) {
      if (!asked.has(name) || controls[name]?.kind === "Motion") continue;
      const text = asked.get(name);
      const value = name in controls ? readControl(controls[name], text) : readTrait(board, name, text);
      if (value === undefined) continue;
      left.delete(name);
      explorer.change(name, value);
    }
    sync();
    note.textContent = left.size ? `The link asks for what isn't here: ${[...left].join(", ")}. All else is shown.` : "";
    host.scrollIntoView();
  }

  const copy = element("button", { type: "button" }, "copy a link to this");
  copy.addEventListener("click", async () => {
    history.replaceState(null, "", link());
    try {
      await navigator.clipboard.writeText(location.href);
      note.textContent = "Copied. Whoever opens the link sees what you see.";
    } catch {
      note.textContent = "The address of this page is the link; copy it from there.";
    }
  });

  model.saved = (name) => act(name, model.get(name));
  host.append(build(start.layout), element("div", { class: "course-row" }, copy, note));
  sync();
  follow();
  window.addEventListener("hashchange", follow);
};

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll(".course-explorer").forEach(course.mount);
  document.querySelectorAll(".course-self-test").forEach(course.askQuestions);
});

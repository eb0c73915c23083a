// The reading edition's explorers: board.js draws as in JupyterLab; what Python computes there is computed here.
//
// An engine mirrors one Python explorer. It gets what that explorer shows at first (`start`, written by live.py), changes
// it, and returns a handler for each control and each trait of the board that a reader can change.

const course = { engines: {}, shown: [] }; // `shown`: what the explorers of the page show now

// What a board talks to: the part of an anywidget's model that board.js uses.
course.Model = class {
  constructor(traits) {
    this.traits = traits;
    this.heard = []; // [event, callback]
    this.unsaved = new Set();
    this.saved = () => {}; // gets each trait that the board has changed
  }

  get(name) {
    return this.traits[name];
  }

  set(name, value) {
    if (JSON.stringify(this.traits[name]) === JSON.stringify(value)) return;
    this.unsaved.add(name);
    this.update({ [name]: value });
  }

  save_changes() {
    const changed = [...this.unsaved];
    this.unsaved.clear();
    changed.forEach((name) => this.saved(name));
  }

  // Several traits at once, as one message from Python: whoever listens to two of them is called once.
  update(traits) {
    const events = new Set();
    for (const [name, value] of Object.entries(traits)) {
      if (JSON.stringify(this.traits[name]) === JSON.stringify(value)) continue;
      this.traits[name] = value;
      events.add(`change:${name}`);
    }
    new Set(this.heard.filter(([event]) => events.has(event)).map(([, callback]) => callback)).forEach((call) => call());
  }

  on(events, callback) {
    for (const event of events.split(" ")) this.heard.push([event, callback]);
  }

  off(events, callback) {
    const gone = events.split(" ");
    this.heard = this.heard.filter(([event, other]) => other !== callback || !gone.includes(event));
  }
};

// The handler of a `Motion`: so many steps more, until there is none left; as Motion in Python.
course.playing = (control, forward) => (now, before) => {
  for (let i = before; i < now; i++) {
    if (forward()) continue;
    control.playing = false;
    break;
  }
};

// An explorer without a page: what it shows, and `change`, by which a reader changes it.
course.begin = (start) => {
  const shown = structuredClone(start);
  const handlers = course.engines[start.kind](shown);
  return {
    shown,
    change(name, value) {
      const control = shown.controls[name];
      const old = control ? control.value : shown.board[name];
      if (control && control.kind !== "Button") control.value = value;
      if (!control) shown.board[name] = value;
      // as in Python, setting what is already there tells nobody; a button is pressed, not set
      if (control?.kind === "Button" || JSON.stringify(old) !== JSON.stringify(value)) handlers[name]?.(value, old);
    },
    // Back to the beginning, in the same objects.
    reset() {
      const { board, others, controls, texts } = structuredClone(start);
      Object.assign(shown.board, board);
      for (const name of Object.keys(others)) Object.assign(shown.others[name], others[name]);
      Object.assign(shown.texts, texts);
      for (const name of Object.keys(controls)) Object.assign(shown.controls[name], controls[name]);
      handlers.reset?.();
    },
  };
};

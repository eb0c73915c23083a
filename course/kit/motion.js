// Play, step and speed: raises the counter `value` by one, again and again while it plays. What a step is, Python knows.

const SLOW = 1; // steps a second for whoever asked for less motion

function render({ model, el }) {
  const root = document.createElement("div");
  const play = document.createElement("button");
  const step = document.createElement("button");
  const label = document.createElement("label");
  const speed = document.createElement("select");
  const note = document.createElement("span");
  const less = window.matchMedia("(prefers-reduced-motion: reduce)");
  let timer = 0;
  let asked = 0; // when the last step was asked for

  root.className = "course-motion";
  root.setAttribute("role", "group");
  play.type = step.type = "button";
  step.textContent = "step";
  for (const name of Object.keys(model.get("speeds"))) speed.append(new Option(name, name));
  label.append("speed ", speed);
  root.append(play, step, label, note);
  el.append(root);

  function tick() {
    // the picture of the last step first; a kernel that is busy isn't flooded
    if (model.get("seen") < model.get("value") && Date.now() - asked < 3000) return;
    asked = Date.now();
    model.set("value", model.get("value") + 1);
    model.save_changes();
  }

  function show() {
    const playing = model.get("playing");
    const wanted = model.get("speeds")[model.get("speed")];
    clearInterval(timer);
    if (playing) timer = setInterval(tick, 1000 / (less.matches ? Math.min(SLOW, wanted) : wanted));
    root.setAttribute("aria-label", model.get("label"));
    play.textContent = playing ? "⏸ pause" : "▶ play";
    speed.value = model.get("speed");
    note.textContent = less.matches ? "one step a second, as your system asks for less motion" : "";
  }

  function setPlaying(playing) {
    model.set("playing", playing);
    model.save_changes();
    show();
  }

  play.addEventListener("click", () => setPlaying(!model.get("playing")));
  step.addEventListener("click", () => {
    if (model.get("playing")) setPlaying(false);
    tick();
  });
  speed.addEventListener("change", () => {
    model.set("speed", speed.value);
    model.save_changes();
    show();
  });
  less.addEventListener("change", show);
  model.on("change:playing change:speed", show);
  show();
  return () => {
    clearInterval(timer);
    less.removeEventListener("change", show);
    model.off("change:playing change:speed", show);
  };
}

export default { render };

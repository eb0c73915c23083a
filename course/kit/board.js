// An image with boxes on it. Python sends what to draw; the pointer and the keys send back where things are.
// Everything is in the pixels of the picture; `view` says which part of its plane is visible.

const HANDLE = 7; // half the side of a corner handle, screen px
const GRAB = 12; // how far from a corner one may press and still hold it, screen px
const FINGER = 22; // and how far with a finger, which hides what it presses
const CORNERS = [[0, 1], [2, 1], [2, 3], [0, 3]]; // which numbers of a box are x and y of its four corners

// ipywidgets writes a slider's name beside it, where a screen reader doesn't look for it.
function nameSliders() {
  for (const handle of document.querySelectorAll(".widget-slider .noUi-handle:not([aria-label])")) {
    const name = handle.closest(".widget-slider").querySelector(".widget-label")?.innerText;
    if (name) handle.setAttribute("aria-label", name);
  }
}

function render({ model, el }) {
  const root = document.createElement("div");
  const canvas = document.createElement("canvas");
  const status = document.createElement("div");
  const keys = document.createElement("div");
  root.className = "course-board";
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.dataset.lmSuppressShortcuts = "true"; // JupyterLab leaves keys alone inside
  status.className = "course-board-status";
  status.setAttribute("role", "status");
  status.setAttribute("aria-live", "polite");
  status.id = `course-board-status-${Math.random().toString(36).slice(2)}`;
  keys.className = "course-board-keys";
  keys.id = `${status.id}-keys`;
  canvas.setAttribute("aria-describedby", `${keys.id} ${status.id}`); // read when the board gets the focus
  root.append(canvas, status, keys);
  el.append(root);
  for (const ms of [200, 1000, 4000]) setTimeout(nameSliders, ms); // they may come after the board

  let boxes = copy(model.get("boxes"));
  let handles = copy(model.get("handles"));
  let pointer = model.get("pointer").slice();
  let held = null; // {finger, box, corner: -1 for the whole box, dx, dy}
  let picture = null;
  let written = []; // left, top, width, height of the words drawn so far, screen px

  // ---- screen <-> picture

  const view = () => model.get("view");
  const scale = () => canvas.getBoundingClientRect().width / (view()[2] - view()[0]);

  function fromEvent(event) {
    const frame = canvas.getBoundingClientRect();
    return [(event.clientX - frame.left) / scale() + view()[0], (event.clientY - frame.top) / scale() + view()[1]];
  }

  // ---- drawing

  function draw() {
    const [x0, y0, x1, y1] = view();
    const ratio = (x1 - x0) / (y1 - y0);
    // as wide as it may be, but narrower where the page is, or so low that controls and words go beside it
    el.style.maxWidth = `min(100%, ${model.get("width")}px, max(260px, 100vh - var(--course-room, 264px)) * ${ratio})`;
    canvas.style.aspectRatio = `${ratio}`;
    written = [];
    const width = canvas.clientWidth || model.get("width");
    const height = (width * (y1 - y0)) / (x1 - x0);
    const dense = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * dense) || canvas.height !== Math.round(height * dense)) {
      canvas.width = Math.round(width * dense);
      canvas.height = Math.round(height * dense);
    }
    const pen = canvas.getContext("2d");
    const k = width / (x1 - x0);
    pen.setTransform(dense, 0, 0, dense, 0, 0);
    pen.fillStyle = "#e8e8e8";
    pen.fillRect(0, 0, width, height);
    const [fx0, fy0, fx1, fy1] = model.get("frame");
    pen.fillStyle = "#ffffff";
    pen.fillRect((fx0 - x0) * k, (fy0 - y0) * k, (fx1 - fx0) * k, (fy1 - fy0) * k);
    if (picture) {
      pen.globalAlpha = model.get("picture_alpha");
      pen.drawImage(picture, (fx0 - x0) * k, (fy0 - y0) * k, (fx1 - fx0) * k, (fy1 - fy0) * k);
      pen.globalAlpha = 1;
    }
    pen.strokeStyle = "#707070";
    pen.lineWidth = 1;
    pen.setLineDash([]);
    pen.strokeRect((fx0 - x0) * k, (fy0 - y0) * k, (fx1 - fx0) * k, (fy1 - fy0) * k);
    for (const layer of model.get("scene").layers || []) drawLayer(pen, layer, x0, y0, k);
    boxes.forEach((box, i) => drawBox(pen, box, i, x0, y0, k));
    if (["move", "click"].includes(model.get("pointer_mode"))) drawPointer(pen, x0, y0, k);
    canvas.courseWords = written;
  }

  function drawLayer(pen, layer, x0, y0, k) {
    const flat = layer.boxes || [];
    pen.globalAlpha = layer.alpha ?? 1;
    pen.strokeStyle = pen.fillStyle = layer.color || "#000000";
    pen.lineWidth = layer.line ?? 1;
    pen.setLineDash(layer.dash || []);
    pen.beginPath();
    for (let i = 0; i < flat.length; i += 4) {
      pen.rect((flat[i] - x0) * k, (flat[i + 1] - y0) * k, (flat[i + 2] - flat[i]) * k, (flat[i + 3] - flat[i + 1]) * k);
    }
    if (layer.fill) {
      pen.save();
      pen.globalAlpha = (layer.alpha ?? 1) * layer.fill;
      pen.fill();
      pen.restore();
    }
    if (layer.line !== 0) pen.stroke();
    for (const curve of layer.curves || []) {
      pen.beginPath();
      for (let i = 0; i < curve.length; i += 2) pen.lineTo((curve[i] - x0) * k, (curve[i + 1] - y0) * k);
      pen.stroke();
    }
    const points = layer.points || [];
    for (let i = 0; i < points.length; i += 2) {
      pen.beginPath();
      pen.arc((points[i] - x0) * k, (points[i + 1] - y0) * k, layer.radius ?? 2, 0, 2 * Math.PI);
      pen.fill();
    }
    pen.globalAlpha = 1;
    pen.setLineDash([]);
    for (const [x, y, text] of layer.texts || []) write(pen, text, (x - x0) * k, (y - y0) * k, layer.color);
  }

  function write(pen, text, x, y, color) {
    // smaller where the page is narrow, so that words don't cover what they name
    const size = Math.max(9, Math.min(12, (12 * canvas.clientWidth) / model.get("width")));
    pen.font = `${size}px sans-serif`;
    const wide = pen.measureText(text).width + 6;
    const left = Math.max(0, Math.min(x, canvas.clientWidth - wide));
    const top = freeTop(left, Math.max(0, y - size - 4), wide, size + 4);
    written.push([left, top, wide, size + 4]);
    pen.fillStyle = color || "#000000";
    pen.fillRect(left, top, wide, size + 4);
    pen.fillStyle = ink(color || "#000000");
    pen.fillText(text, left + 3, top + size);
  }

  // Where words would cover others they move down, else up, by up to three lines.
  function freeTop(left, top, wide, high) {
    const covers = (at) => written.some(([x, y, w, h]) =>
      Math.min(left + wide, x + w) - Math.max(left, x) > 3 && Math.min(at + high, y + h) - Math.max(at, y) > 3);
    const tries = [0, 1, 2, 3, -1, -2, -3].map((lines) => top + lines * (high + 1));
    const free = tries.find((at) => at >= 0 && at + high <= canvas.clientHeight && !covers(at));
    return free ?? top;
  }

  function drawBox(pen, [a, b, c, d], i, x0, y0, k) {
    const color = model.get("box_colors")[i % model.get("box_colors").length] || "#E69F00";
    const active = i === model.get("active");
    pen.strokeStyle = color;
    pen.lineWidth = active ? 3.5 : 2.5;
    pen.strokeRect((a - x0) * k, (b - y0) * k, (c - a) * k, (d - b) * k);
    const name = model.get("box_names")[i];
    if (name) write(pen, name, (a - x0) * k, (b - y0) * k, color);
    for (const [x, y] of [[a, b], [c, b], [c, d], [a, d]]) {
      pen.fillStyle = active ? "#ffffff" : color;
      const h = active ? HANDLE : HANDLE - 3;
      pen.fillRect((x - x0) * k - h / 2, (y - y0) * k - h / 2, h, h);
      pen.lineWidth = 1.5;
      pen.strokeRect((x - x0) * k - h / 2, (y - y0) * k - h / 2, h, h);
    }
  }

  function drawPointer(pen, x0, y0, k) {
    const [px, py] = point();
    const x = (px - x0) * k;
    const y = (py - y0) * k;
    for (const [color, width] of [["#ffffff", 4], ["#000000", 1.5]]) {
      pen.strokeStyle = color;
      pen.lineWidth = width;
      pen.beginPath();
      pen.moveTo(x - 9, y);
      pen.lineTo(x + 9, y);
      pen.moveTo(x, y - 9);
      pen.lineTo(x, y + 9);
      pen.stroke();
    }
  }

  // ---- sending

  function sendBoxes() {
    model.set("boxes", copy(boxes));
    model.save_changes();
    draw();
  }

  // Where the point is that the reader moves: of several handles the one in the hand
  const point = () => handles[model.get("active")] || pointer;

  function within(x, y) {
    const [x0, y0, x1, y1] = model.get("pointer_limits").length ? model.get("pointer_limits") : view();
    return [Math.min(x1, Math.max(x0, x)), Math.min(y1, Math.max(y0, y))];
  }

  function sendPointer(x, y) {
    if (handles.length) {
      handles[model.get("active")] = within(x, y);
      model.set("handles", copy(handles));
    } else {
      pointer = within(x, y);
      model.set("pointer", pointer.slice());
    }
    model.save_changes();
    draw();
  }

  function sendPress(x, y) {
    model.set("pressed", [x, y, model.get("pressed")[2] + 1]);
    model.save_changes();
  }

  // A press takes the nearest handle; of those in one place the last if it goes right, else the first.
  function takeHandle(x, y) {
    const [px, py] = within(x, y);
    const away = handles.map(([hx, hy]) => Math.hypot(px - hx, py - hy));
    const near = [...handles.keys()].filter((i) => away[i] - Math.min(...away) < 1e-6);
    if (near.length) model.set("active", px >= handles[near[0]][0] ? near.at(-1) : near[0]);
  }

  function choose(i) {
    model.set("active", i);
    model.save_changes();
    draw();
  }

  function takeStep(next) {
    model.set("steps", model.get("steps") + next);
    model.save_changes();
  }

  function moved(box, dx, dy) {
    return [box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy].map(round);
  }

  // ---- pointer

  function cornerAt(x, y, grab = GRAB) {
    const reach = grab / scale();
    const order = [model.get("active"), ...boxes.keys()];
    for (const i of order) {
      const box = boxes[i];
      if (!box) continue;
      // inside a small box the corners leave a middle to hold it by
      const within = x > box[0] && x < box[2] && y > box[1] && y < box[3];
      const [wide, high] = [box[2] - box[0], box[3] - box[1]].map((side) => (within ? Math.min(reach, side / 3) : reach));
      const away = CORNERS.map(([h, v]) => {
        const [dx, dy] = [Math.abs(box[h] - x), Math.abs(box[v] - y)];
        return dx < wide && dy < high ? Math.hypot(dx, dy) : Infinity;
      });
      const nearest = Math.min(...away);
      if (nearest < Infinity) return [i, away.indexOf(nearest)];
    }
    return null;
  }

  function boxAt(x, y) {
    const hit = ([a, b, c, d]) => x >= a && x <= c && y >= b && y <= d;
    if (boxes[model.get("active")] && hit(boxes[model.get("active")])) return model.get("active");
    return boxes.findIndex(hit);
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !event.isPrimary) return; // the right button, a second finger
    canvas.focus({ preventScroll: true });
    const [x, y] = fromEvent(event);
    if (model.get("pointer_mode") === "click") {
      takeHandle(x, y);
      sendPointer(x, y);
    }
    if (model.get("pointer_mode") === "press") sendPress(x, y);
    const corner = cornerAt(x, y, event.pointerType === "touch" ? FINGER : GRAB);
    const i = corner ? corner[0] : boxAt(x, y);
    if (i < 0) return;
    const [h, v] = CORNERS[corner ? corner[1] : 0]; // held where it was pressed, so that it doesn't jump
    held = { finger: event.pointerId, box: i, corner: corner ? corner[1] : -1, dx: x - boxes[i][h], dy: y - boxes[i][v] };
    canvas.setPointerCapture(event.pointerId);
    event.preventDefault();
    choose(i);
  });

  // A finger beside all boxes scrolls the page; one that holds something, or moves a point, doesn't.
  const touched = (event) => {
    const [x, y] = fromEvent(event.changedTouches[0]);
    const moves = model.get("pointer_mode") === "move" || handles.length;
    if (moves || cornerAt(x, y, FINGER) || boxAt(x, y) >= 0) event.preventDefault();
  };
  canvas.addEventListener("touchstart", touched, { passive: false });

  canvas.addEventListener("pointermove", (event) => {
    let [x, y] = fromEvent(event);
    if (!held) {
      canvas.style.cursor = cornerAt(x, y) ? "crosshair" : boxAt(x, y) >= 0 ? "move" : "default";
      const mode = model.get("pointer_mode");
      if (mode === "move" || (mode === "click" && event.buttons)) sendPointer(x, y);
      if (mode === "press" && event.buttons) sendPress(x, y);
      return;
    }
    const box = boxes[held.box];
    if (!box || event.pointerId !== held.finger) return; // Python may have taken it away
    [x, y] = [x - held.dx, y - held.dy];
    if (held.corner < 0) {
      boxes[held.box] = moved(box, x - box[0], y - box[1]);
    } else {
      const [h, v] = CORNERS[held.corner];
      const next = box.slice();
      next[h] = round(h === 0 ? Math.min(x, box[2] - 2) : Math.max(x, box[0] + 2));
      next[v] = round(v === 1 ? Math.min(y, box[3] - 2) : Math.max(y, box[1] + 2));
      boxes[held.box] = next;
    }
    sendBoxes();
  });

  const release = (event) => {
    if (!held || event.pointerId !== held.finger) return;
    held = null;
    onBoxes(); // Python may have put it somewhere else meanwhile
  };
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) canvas.addEventListener(end, release);

  // ---- keys

  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey) return; // the browser's and JupyterLab's
    const step = event.altKey ? 1 : model.get("key_step");
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const many = boxes.length || handles.length;
    if (way && boxes.length) {
      const i = Math.min(model.get("active"), boxes.length - 1);
      const [dx, dy] = [way[0] * step, way[1] * step];
      const [a, b, c, d] = boxes[i];
      boxes[i] = event.shiftKey
        ? [a, b, Math.max(a + 2, c + dx), Math.max(b + 2, d + dy)].map(round)
        : moved(boxes[i], dx, dy);
      sendBoxes();
    } else if (way && model.get("pointer_mode") === "press") {
      model.set("arrows", model.get("arrows").map((taken, i) => taken + way[i]));
      model.save_changes();
    } else if (way && model.get("pointer_mode") !== "none") {
      sendPointer(point()[0] + way[0] * step, point()[1] + way[1] * step);
    } else if (event.key.toLowerCase() === "n" && !event.altKey) {
      const next = event.shiftKey ? -1 : 1;
      if (many > 1) choose((model.get("active") + next + many) % many);
      else takeStep(next);
    } else {
      return; // Tab and the rest go their usual way
    }
    event.preventDefault();
    event.stopPropagation();
  });

  // ---- what Python changes

  function load() {
    const source = model.get("picture");
    if (!source) {
      picture = null;
      draw();
      return;
    }
    const image = new Image();
    image.onload = () => {
      picture = image;
      draw();
    };
    image.src = source;
  }

  function say() {
    status.textContent = model.get("status");
  }

  function name() {
    canvas.setAttribute("aria-label", model.get("label"));
    keys.textContent = model.get("hint");
  }

  const redraw = ["scene", "view", "frame", "width", "box_colors", "box_names", "active", "picture_alpha", "pointer_mode"];
  const resized = new ResizeObserver(draw); // another width of the page; `resize` tells of another zoom, too
  const onBoxes = () => {
    if (!held) boxes = copy(model.get("boxes")); // a box in the hand is where the hand is
    draw();
  };
  const onPointer = () => {
    handles = copy(model.get("handles"));
    pointer = model.get("pointer").slice();
    draw();
  };
  redraw.forEach((name) => model.on(`change:${name}`, draw));
  model.on("change:boxes", onBoxes);
  model.on("change:pointer change:handles", onPointer);
  model.on("change:picture", load);
  model.on("change:status", say);
  model.on("change:label change:hint", name);
  window.addEventListener("resize", draw);
  resized.observe(canvas);
  name();
  say();
  load();
  draw();
  if (model.get("heard") >= 0) {
    model.set("heard", model.get("heard") + 1);
    model.save_changes();
  }
  return () => {
    redraw.forEach((name) => model.off(`change:${name}`, draw));
    model.off("change:boxes", onBoxes);
    model.off("change:pointer change:handles", onPointer);
    model.off("change:picture", load);
    model.off("change:status", say);
    model.off("change:label change:hint", name);
    window.removeEventListener("resize", draw);
    resized.disconnect();
  };
}

const copy = (boxes) => boxes.map((box) => box.slice());
const round = (value) => Math.round(value * 10) / 10;

// Black or white, whichever is easier to read on this "#rrggbb" (as `ink_on` in board.py).
function ink(color) {
  const part = (at) => {
    const value = parseInt(color.slice(at, at + 2), 16) / 255;
    return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  };
  return 0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5) > 0.179 ? "#000000" : "#ffffff";
}

export default { render };

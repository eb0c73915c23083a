// Chapter 03, matching: both steps as in ssdlib, and what `Matcher` computes.

// Who answers for whom: `table` [object][anchor] IoU, `own` the anchor of each object from step one (-1: none),
// `matched` the object of each anchor (-1: background).
function matchWith(boxes, anchors, threshold, touches, greedy) {
  const table = boxes.map((box) => anchors.map((anchor) => {
    const share = iou(box, anchor);
    return share > f32(touches) ? share : 0;
  }));
  const matched = anchors.map((_, k) => {
    let best = -1;
    for (let i = 0; i < boxes.length; i++) if (best < 0 || table[i][k] > table[best][k]) best = i; // the first of equals
    return best >= 0 && table[best][k] >= f32(threshold) ? best : -1;
  });
  const own = greedy ? bipartite(table) : table.map((row) => row.reduce((best, v, k) => (v > row[best] ? k : best), 0));
  own.forEach((anchor, i) => {
    if (anchor >= 0) matched[anchor] = i; // by argmax the later object overwrites
  });
  return { table, own: own.map((anchor, i) => (anchor >= 0 && matched[anchor] === i ? anchor : -1)), matched };
}

// Step one in its order, [object, anchor] pairs: the best pair that is left, again and again, of equals the lowest anchor;
// or the objects as they come.
function roundsOf({ table, own }, greedy) {
  if (!greedy) return table.map((row, i) => [i, row.reduce((best, v, k) => (v > row[best] ? k : best), 0)]);
  const pairs = own.flatMap((anchor, i) => (anchor >= 0 ? [[i, anchor]] : []));
  return pairs.sort(([i, k], [j, l]) => table[j][l] - table[i][k] || k - l || i - j);
}

// Step one: of all free pairs the best, again and again; of equals the lowest anchor, then the lowest object.
function bipartite(table) {
  const own = table.map(() => -1);
  for (;;) {
    let [most, object, anchor] = [0, -1, -1];
    table.forEach((row, i) => {
      if (own[i] >= 0) return;
      row.forEach((v, k) => {
        if (v > most || (v === most && v > 0 && k < anchor)) if (!own.includes(k)) [most, object, anchor] = [v, i, k];
      });
    });
    if (object < 0) return own;
    own[object] = anchor;
  }
}

course.engines.Matcher = ({ facts, board, controls, texts }) => {
  const { cases, names, presets, rules, colors, touches } = facts;
  const { preset, threshold, rule } = controls;
  const spec = specified(facts.spec);
  const anchors = defaultBoxes(spec);

  function load() {
    board.boxes = cases[preset.value].map((box) => box.slice());
    const own = presets.includes(preset.value) ? [] : names;
    board.box_names = own.length ? own.slice() : board.boxes.map((_, i) => `object ${i}`);
    board.active = 0;
    update();
  }

  const greedy = () => rule.value === rules.greedy;
  let [found, rounds, round] = [null, [], null]; // `round`: how many rounds of step one are shown; null: both steps

  // Another case or rule, or a box was moved: both steps, done.
  function update() {
    found = matchWith(board.boxes.map(f32s), anchors, threshold.value, touches, greedy());
    rounds = roundsOf(found, greedy());
    round = null;
    show();
  }

  // From both steps done back to the beginning, then round by round, then step two.
  function forward() {
    const done = round === null ? 0 : round + 1;
    round = done <= rounds.length ? done : null;
    show();
    return round !== null;
  }

  function show() {
    if (round !== null) {
      const last = round ? rounds[round - 1][1] : -1;
      const taken = [...new Set(rounds.slice(0, round).map(([, anchor]) => anchor))];
      const drawn = taken.map((k) => layer({ boxes: [anchors[k]], color: colors.blue, line: 3.5, alpha: k === last ? 1 : 0.3 }));
      return tell(drawn, soFar(), -1);
    }
    const layers = board.boxes.flatMap((_, i) => {
      const alpha = i === board.active ? 1 : 0.3;
      const second = layer({ boxes: byThreshold(found, i).map((k) => anchors[k]), color: colors.green, line: 1.3, alpha, dash: [5, 3] });
      const own = found.own[i] >= 0 ? [layer({ boxes: [anchors[found.own[i]]], color: colors.blue, line: 3.5, alpha })] : [];
      return [second, ...own];
    });
    const count = board.boxes.length;
    tell(layers, summary(found), count ? 1 + Math.min(board.active, count - 1) * 3 : 0);
  }

  function tell(layers, lines, at) {
    board.scene = { layers };
    board.status = lines.at(at).trim();
    texts.table = lines.map((line) => line.replaceAll("   ", "&emsp;")).join("<br>");
  }

  const nameOf = (i) => board.box_names[i] ?? `object ${i}`;

  // What step one has done up to this round, a line each.
  function soFar() {
    const way = greedy() ? "the best pair that is left" : "each object in turn, its best anchor";
    const before = new Map();
    const lines = rounds.slice(0, round).map(([i, anchor], at) => {
      const said = `round ${at + 1}: ${nameOf(i)}, IoU ${fixed(found.table[i][anchor], 2)}, ${describe(anchor)}`;
      const from = before.has(anchor) ? `; taken from ${nameOf(before.get(anchor))}` : "";
      before.set(anchor, i);
      return said + from;
    });
    return [`step one, ${way}: ${round} of ${rounds.length} rounds`, ...(lines.length ? lines : ["no anchor is assigned yet"])];
  }

  function byThreshold(found, i) {
    return anchors.flatMap((_, k) => (found.matched[k] === i && k !== found.own[i] ? [k] : []));
  }

  function summary(found) {
    const lines = [`${found.matched.filter((i) => i >= 0).length} of ${commas(anchors.length)} anchors are positive`];
    found.own.forEach((own, i) => {
      const best = found.table[i].reduce(highest, 0);
      const said = best > 0 && best < 0.005 ? "below 0.01" : fixed(best, 2);
      let at = 0;
      const counts = spec.perMap.map((many) => found.matched.slice(at, (at += many)).filter((j) => j === i).length);
      lines.push(
        `${nameOf(i)}: best IoU ${said}, ${byThreshold(found, i).length} more from step two`,
        `   step one: ${own >= 0 ? describe(own) : "none"}`,
        `   by map ${spec.maps.map((cells) => `${cells}²`).join(" ")}: ${counts.join(" ")}`,
      );
    });
    return lines;
  }

  function describe(anchor) {
    let level = 0;
    while (anchor >= spec.perMap[level]) anchor -= spec.perMap[level++];
    const cell = Math.floor(anchor / spec.perCell[level]);
    const [width, height] = spec.shapes[level][anchor % spec.perCell[level]];
    const cells = spec.maps[level];
    return `${cells}² map, row ${Math.floor(cell / cells)}, column ${cell % cells}, ${fixed(width, 0)}x${fixed(height, 0)} px`;
  }

  update();
  const handlers = { preset: load, threshold: update, rule: update, boxes: update, active: update, reset: update };
  return { ...handlers, play: course.playing(controls.play, forward) };
};

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
  const { cases, rules, colors, touches } = facts;
  const { preset, threshold, rule } = controls;
  const spec = specified(facts.spec);
  const anchors = defaultBoxes(spec);

  function load() {
    board.boxes = cases[preset.value].map((box) => box.slice());
    board.box_names = board.boxes.map((_, i) => `object ${i}`);
    board.active = 0;
    update();
  }

  function update() {
    const boxes = board.boxes.map(f32s);
    const found = matchWith(boxes, anchors, threshold.value, touches, rule.value === rules.greedy);
    const layers = boxes.flatMap((_, i) => {
      const alpha = i === board.active ? 1 : 0.3;
      const second = layer({ boxes: byThreshold(found, i).map((k) => anchors[k]), color: colors.green, line: 1.3, alpha, dash: [5, 3] });
      const own = found.own[i] >= 0 ? [layer({ boxes: [anchors[found.own[i]]], color: colors.blue, line: 3.5, alpha })] : [];
      return [second, ...own];
    });
    const lines = summary(found);
    board.scene = { layers };
    board.status = lines[boxes.length ? 1 + Math.min(board.active, boxes.length - 1) * 3 : 0].trim();
    texts.table = lines.map((line) => line.replaceAll("   ", "&emsp;")).join("<br>");
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
        `object ${i}: best IoU ${said}, ${byThreshold(found, i).length} more from step two`,
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

  return { preset: load, threshold: update, rule: update, boxes: update, active: update };
};

// Chapter 11, the curve: verdicts by seven rules as in judging.py, and what `CurveExplorer` computes.

const [TRUE, FALSE, TWICE, IGNORED] = ["true", "false", "false (again)", "ignored"];

// Intersection over union of boxes of pixel numbers, in float64
function overlapOf(a, b, extent) {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]) + extent;
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]) + extent;
  if (width <= 0 || height <= 0) return 0;
  const both = width * height;
  const [one, other] = [a, b].map((box) => (box[2] - box[0] + extent) * (box[3] - box[1] + extent));
  return both / (one + other - both);
}

// Verdicts on all detections of one class, best first. Detections and objects: {images, boxes, ...} of one class.
function judge(detections, objects, rule) {
  const enough = (share) => (rule.strict ? share > rule.hit : share >= rule.hit);
  const rows = objects.images.map((_, row) => row).filter((row) => rule.difficult !== "unknown" || !objects.difficult[row]);
  const ignored = new Set(rule.difficult === "ignored" ? rows.filter((row) => objects.difficult[row]) : []);
  const order = detections.scores.map((_, i) => i).sort((i, j) => detections.scores[j] - detections.scores[i]);
  const taken = new Set();
  const judged = { order, scores: order.map((i) => detections.scores[i]), said: [], near: [], overlap: [], total: rows.length - ignored.size };
  for (const i of order) {
    const mine = rows.filter((row) => objects.images[row] === detections.images[i]);
    let pairs = mine.map((row) => [overlapOf(detections.boxes[i], objects.boxes[row], rule.extent), row]);
    if (rule.again === "next") {
      const free = pairs.filter(([share, row]) => !taken.has(row) && enough(share));
      const counting = free.filter(([, row]) => !ignored.has(row));
      pairs = counting.length ? counting : free.length ? free : pairs;
    }
    const [share, row] = pairs.reduce((best, pair) => (best[1] < 0 || pair[0] > best[0] ? pair : best), [0, -1]);
    let verdict = TRUE;
    if (!enough(share)) verdict = FALSE;
    else if (ignored.has(row)) verdict = IGNORED;
    else if (taken.has(row)) verdict = rule.again === "ignored" ? IGNORED : TWICE;
    else taken.add(row);
    judged.said.push(verdict);
    judged.near.push(share > 0);
    judged.overlap.push(share);
  }
  let [found, wrong] = [0, 0];
  judged.recall = [];
  judged.precision = []; // NaN before anything counts
  for (const said of judged.said) {
    found += said === TRUE;
    wrong += said === FALSE || said === TWICE;
    judged.recall.push(found / judged.total);
    judged.precision.push(found / (found + wrong));
  }
  return judged;
}

const orZero = (v) => (Number.isNaN(v) ? 0 : v);

// The best precision at a recall of 0, 0.1, ... 1 or more
function elevenPoints({ recall, precision }) {
  return range(11).map((i) => precision.reduce((best, p, j) => (recall[j] >= i * 0.1 ? Math.max(best, orZero(p)) : best), 0));
}

// The area under the curve once it is made to fall
function areaUnder({ recall, precision }) {
  const [r, p] = [[0, ...recall.map(orZero), 1], [0, ...precision.map(orZero), 0]];
  for (let i = p.length - 2; i >= 0; i--) p[i] = Math.max(p[i], p[i + 1]);
  return sum(r.slice(1).map((v, i) => (v - r[i]) * p[i + 1]));
}

course.engines.CurveExplorer = ({ facts, board, controls, texts }) => {
  const { detections, objects, sizes, rules, colors, styles, plot } = facts;
  const { name, rule, place } = controls;
  const { left, right, top, bottom, side, thumb, thumbs, gap, most, grey } = plot;
  const ready = {}; // class -> its detections and objects as judge wants them
  let judged;

  const x = (recall) => left + (right - left) * recall;
  const y = (precision) => bottom - (bottom - top) * precision;
  const fourth = (flat) => range(flat.length / 4).map((i) => f32s(flat.slice(4 * i, 4 * i + 4)));
  const oneBased = ([a, b, c, d]) => [a + 1, b + 1, c, d];

  function of(cls) {
    if (!ready[cls]) {
      const [found, there] = [detections[cls], objects[cls]].map((flat) => ({ ...flat, plain: fourth(flat.boxes) }));
      for (const some of [found, there]) some.boxes = some.plain.map(oneBased);
      ready[cls] = { found: { ...found, scores: found.scores.map(f32) }, there };
    }
    return ready[cls];
  }

  function load() {
    const { found, there } = of(name.value);
    judged = judge(found, there, rules[rule.value]);
    place.max = judged.scores.length;
    place.value = Math.min(place.value, place.max);
    show();
  }

  function show() {
    const { layers, sheet } = picture();
    board.scene = { layers: [...curve(), ...layers] };
    board.sheet = sheet;
    const lines = summary();
    board.status = lines[0];
    texts.text = lines.slice(1).join("<br>");
  }

  function standing(n) {
    const said = judged.said.slice(0, n);
    const [yes, ignored, again] = [TRUE, IGNORED, TWICE].map((verdict) => said.filter((s) => s === verdict).length);
    const no = n - yes - ignored;
    return { yes, no, again, ignored, recall: judged.total ? yes / judged.total : NaN, precision: yes + no ? yes / (yes + no) : NaN };
  }

  // A curve with at most 2 * most points: all of its first ones, then every so many, and the last
  function thinned(until) {
    const few = Math.min(most, until);
    const last = Math.max(until - 1, 0);
    const step = (last - few) / (most - 1);
    const later = range(most).map((i) => rounded(i === most - 1 ? last : few + i * step));
    const keep = [...new Set([...range(few), ...later])].filter((i) => i < until).sort((a, b) => a - b);
    return keep.flatMap((i) => [x(judged.recall[i]), y(orZero(judged.precision[i]))]);
  }

  function curve() {
    const n = place.value;
    const panel = [[left, top, right, bottom]];
    const marks = [0.5, 1].map((v) => [left - 26, y(v) + 8, general(v)]);
    marks.push(...[0, 0.5, 1].map((v) => [x(v) - 3 - 3 * general(v).length, bottom + 17, general(v)]));
    const titles = [[left, top - 6, "precision"], [right - 44, bottom + 34, "recall"]];
    const heights = elevenPoints(judged);
    const at = standing(n);
    const layers = [
      layer({ boxes: panel, color: "#ffffff", line: 0, fill: 1 }),
      layer({ boxes: panel, color: grey, line: 1 }),
      layer({ color: "#e8e8e8", texts: [...marks, ...titles] }),
      layer({
        ...{ color: colors.sky, line: 3, alpha: 0.7, radius: 5 },
        curves: heights.map((h, i) => [x(i * 0.1), y(0), x(i * 0.1), y(h)]),
        points: heights.flatMap((h, i) => [x(i * 0.1), y(h)]),
      }),
      layer({ color: grey, line: 1.2, curves: [thinned(judged.scores.length)] }),
      layer({ color: colors.blue, line: 2.8, curves: [thinned(n)] }),
    ];
    if (Number.isNaN(at.recall) || Number.isNaN(at.precision)) return layers;
    const [px, py] = [x(at.recall), y(at.precision)];
    layers.push(layer({ color: colors.black, line: 1, dash: [3, 3], curves: [[left, py, px, py], [px, bottom, px, py]] }));
    layers.push(layer({ color: colors.black, points: [px, py], radius: 6 }));
    return layers;
  }

  // The n-th detection in its picture and those before it below: the boxes, and which pictures lie where.
  function picture() {
    const n = place.value;
    const [layers, sheet] = [[], { whole: null, cuts: [] }];
    for (let back = 1; back <= thumbs; back++) {
      if (n - back <= 0) continue;
      const { image, box } = detection(n - back);
      const [at, below] = [gap + (back - 1) * (thumb + gap), side + gap];
      sheet.cuts.push({ image, part: cut(box), at: [at, below, thumb] });
      const verdict = judged.said[n - back - 1];
      const frame = [[at, below, at + thumb, below + thumb]];
      layers.push(layer({ boxes: frame, ...styles[verdict], line: 2.5, texts: [[at, below + 16, `${n - back} ${verdict}`]] }));
    }
    if (n > 0) {
      const { image, box } = detection(n);
      sheet.whole = image;
      for (const hard of [false, true]) {
        const { there } = of(name.value);
        const mine = there.images.flatMap((where, row) => (where === image && Boolean(there.difficult[row]) === hard ? [row] : []));
        const boxes = mine.map((row) => onCanvas(there.plain[row], image));
        const words = hard ? boxes.map((b) => [b[0], b[1], "difficult"]) : [];
        layers.push(layer({ boxes, color: colors.orange, line: 4, dash: hard ? [2, 3] : [], texts: words }));
      }
      const verdict = judged.said[n - 1];
      const said = [[box[0], Math.min(box[3] + 17, side), `${n} ${verdict}`]];
      layers.push(layer({ boxes: [box], ...styles[verdict], line: 3, texts: said }));
    }
    return { layers, sheet };
  }

  const onCanvas = (box, image) => scaleBox(box, side / sizes[image][0], side / sizes[image][1]);

  function detection(n) {
    const { found } = of(name.value);
    const i = judged.order[n - 1];
    return { image: found.images[i], box: onCanvas(found.plain[i], found.images[i]) };
  }

  // The square around a box that its cut-out shows
  function cut([x1, y1, x2, y2]) {
    const half = Math.max(x2 - x1, y2 - y1, 30) * 0.65;
    const [cx, cy] = [(x1 + x2) / 2, (y1 + y2) / 2];
    return [cx - half, cy - half, cx + half, cy + half].map((v) => rounded(v));
  }

  function summary() {
    const n = place.value;
    const at = standing(n);
    const second = at.again ? `, ${at.again} of them second hits` : "";
    const [points, under] = [sum(elevenPoints(judged)) / 11, areaUnder(judged)];
    const lines = [
      `${at.yes} true, ${at.no} false${second}, ${at.ignored} ignored; ${judged.total} objects count`,
      `recall ${at.yes} / ${judged.total} = ${fixed(at.recall, 2)}, precision ${at.yes} / ${at.yes + at.no} = ${fixed(at.precision, 2)}`,
      `AP of the whole curve: 11 points ${fixed(100 * points, 1)}, area ${fixed(100 * under, 1)}`,
    ];
    if (!n) return ["no detection: the threshold is above every score", ...lines];
    const near = judged.near[n - 1] ? `overlap ${fixed(judged.overlap[n - 1], 2)}` : "overlaps no object of its class";
    const score = fixed(judged.scores[n - 1], 2);
    return [`threshold ${score}: detection ${n} of ${judged.scores.length} comes in, ${near}: ${judged.said[n - 1]}`, ...lines];
  }

  // ---- what the reader does

  function go(to) {
    const next = Math.min(Math.max(to, 0), place.max);
    if (next === place.value) return;
    place.value = next;
    show();
  }

  function nearest(recall, precision) {
    const far = judged.recall.map((r, i) => (r - recall) ** 2 + (orZero(judged.precision[i]) - precision) ** 2);
    const known = far.map((v) => (Number.isNaN(v) ? 9 : v));
    return known.length ? known.indexOf(known.reduce(lowest)) + 1 : 0;
  }

  function pressed([px, py]) {
    if (px >= left - 5) go(nearest((px - left) / (right - left), (bottom - py) / (bottom - top)));
  }

  const arrows = ([right_, down], [oldRight, oldDown]) => go(place.value + right_ - oldRight + 10 * (down - oldDown));

  // The n key: to the next detection that isn't true; keys pressed quickly may come as one change.
  function next(now, before) {
    const steps = now - before;
    const others = judged.said.flatMap((said, i) => (said !== TRUE ? [i + 1] : []));
    const beyond = steps > 0 ? others.filter((i) => i > place.value) : others.filter((i) => i < place.value).reverse();
    if (beyond.length) go(beyond[Math.min(Math.abs(steps), beyond.length) - 1]);
  }

  load();
  return { name: load, rule: load, place: show, pressed, arrows, steps: next, reset: load };
};

// Chapter 10, suppression: every stage of detection on recorded predictions, and what `NmsBench` computes.

const STAYS = -1;

// Scores {labels, anchors, scores, boxes} through every stage, as `rank` in detecting.py; class by class, anchors
// ascending. The candidates come out best first.
function rank({ labels, anchors, scores, boxes }, { score, topK, nmsIou, keep, across }) {
  const above = scores.flatMap((s, i) => (s > f32(score) ? [i] : []));
  const better = (i, j) => scores[j] - scores[i]; // sorting keeps the order of equals
  const classes = [...new Set(above.map((i) => labels[i]))].sort((a, b) => a - b);
  const few = classes.flatMap((label) => above.filter((i) => labels[i] === label).sort(better).slice(0, topK));
  const order = few.sort(better);
  const found = { boxes: [], scores: [], labels: [], anchors: [], suppressor: [], kept: [], above: above.length };
  const left = [];
  order.forEach((i, place) => {
    const meets = (j) => (across || found.labels[j] === labels[i]) && iou(boxes[i], found.boxes[j]) > f32(nmsIou);
    found.suppressor.push(left.find(meets) ?? STAYS);
    if (found.suppressor[place] === STAYS) left.push(place);
    found.boxes.push(boxes[i]);
    found.scores.push(scores[i]);
    found.labels.push(labels[i]);
    found.anchors.push(anchors[i]);
  });
  found.kept = left.slice(0, keep);
  return found;
}

course.rank = rank; // for its test

course.engines.NmsBench = ({ facts, board, controls, texts }) => {
  const { classes, scenes, hands, colors, scopes, all, legend, hints } = facts;
  const { case: chosenCase, shown, scope, place } = controls;
  const letters = "ABCDE";
  let ranking, visible, kept;

  const hand = () => hands[chosenCase.value];
  const recorded = () => {
    const { labels, scores, boxes } = scenes[chosenCase.value];
    return { labels, anchors: labels.map((_, i) => i), scores: scores.map(f32), boxes: labels.map((_, i) => f32s(boxes.slice(4 * i, 4 * i + 4))) };
  };
  const byHand = () => {
    const order = hand().map((_, i) => i).sort((i, j) => classes.indexOf(hand()[i][0]) - classes.indexOf(hand()[j][0]) || i - j);
    return {
      labels: order.map((i) => classes.indexOf(hand()[i][0])),
      anchors: order,
      scores: order.map((i) => f32(hand()[i][1])),
      boxes: order.map((i) => f32s(board.boxes[i])),
    };
  };
  const caption = (i) => `${classes[ranking.labels[i]]} ${fixed(ranking.scores[i], 2)}`;
  const chosen = () => visible[Math.min(place.value, visible.length - 1)];
  const placeOf = (i) => ranking.anchors.indexOf(i);

  function limit(most) {
    place.max = most;
    place.value = Math.min(place.value, most);
  }

  function load() {
    board.pointer_mode = hand() ? "none" : "click";
    board.hint = hand() ? hints.hand : hints.scene;
    board.active = 0;
    board.boxes = hand() ? hand().map(([, , corners]) => corners.slice()) : [];
    if (!hand()) board.box_names = [];
    board.picture = hand() ? "" : scenes[chosenCase.value].picture;
    const present = new Set(hand() ? hand().map(([name]) => classes.indexOf(name)) : scenes[chosenCase.value].labels);
    const names = [all, ...[...present].sort((a, b) => a - b).map((label) => classes[label])];
    shown.options = names.map((name) => [name, name]);
    shown.value = all;
    place.max = 1;
    place.value = hand() ? 0 : 1;
    update();
  }

  function update() {
    const limits = { score: controls.score.value, topK: controls.top_k.value, nmsIou: controls.nms_iou.value, keep: controls.keep.value };
    ranking = rank(hand() ? byHand() : recorded(), { ...limits, across: scope.value === scopes.across });
    kept = new Set(ranking.kept);
    visible = range(ranking.scores.length).filter((i) => shown.value === all || classes[ranking.labels[i]] === shown.value);
    limit(Math.max(visible.length - 1, 0));
    if (hand()) nameBoxes();
    board.scene = { layers: layers() };
    board.status = sentence();
    texts.table = summary().join("<br>");
  }

  function layers() {
    const boxes = (places) => places.map((i) => ranking.boxes[i]);
    const seen = hand() ? visible : decided();
    const left = seen.filter((i) => kept.has(i));
    if (hand()) return [layer({ boxes: boxes(left), color: colors.blue, line: 0, fill: 0.15 })];
    const gone = seen.filter((i) => ranking.suppressor[i] !== STAYS);
    const late = seen.filter((i) => ranking.suppressor[i] === STAYS && !kept.has(i));
    const six = left.slice(0, 6).reverse(); // the best one is drawn last, on top
    const named = six.map((i) => [ranking.boxes[i][0], ranking.boxes[i][1], caption(i)]);
    const found = [
      layer({ boxes: boxes(gone), color: colors.red, line: 0.8, alpha: 0.45, dash: [4, 3] }),
      layer({ boxes: boxes(late), color: colors.purple, line: 1.2, alpha: 0.8, dash: [1, 3] }),
      layer({ boxes: boxes(left), color: colors.blue, line: 1.5, alpha: 0.6 }),
      layer({ boxes: boxes(six), color: colors.blue, line: 3, texts: named }),
    ];
    if (!visible.length) return found;
    const by = ranking.suppressor[chosen()];
    if (by !== STAYS) {
      const [x1, , , y2] = ranking.boxes[by];
      found.push(layer({ boxes: boxes([by]), color: colors.green, line: 4.5, texts: [[x1, y2 + 12, "suppressor"]] }));
    }
    found.push(layer({ boxes: boxes([chosen()]), color: colors.black, line: 2.5, dash: by === STAYS ? [] : [7, 4] }));
    return found;
  }

  // Drawn are all, or those up to the candidate: what comes later decides nothing about them.
  function decided() {
    return controls.upto.value ? visible.slice(0, place.value + 1) : visible;
  }

  // By hand every box says what becomes of it.
  function nameBoxes() {
    const fates = hand().map((_, i) => {
      const at = placeOf(i);
      if (at < 0) return "no candidate";
      const by = ranking.suppressor[at];
      if (by !== STAYS) return `out, by ${letters[ranking.anchors[by]]}`;
      return kept.has(at) ? "stays" : "beyond keep";
    });
    board.box_colors = fates.map((fate) => (fate === "stays" ? colors.blue : colors.red));
    board.box_names = fates.map((fate, i) => `${letters[i]} ${hand()[i][0]} ${general(hand()[i][1])}: ${fate}`);
  }

  function sentence() {
    if (!visible.length) return "no candidate: no score is above the threshold";
    if (hand() && placeOf(board.active) < 0) {
      const [name, score] = hand()[board.active];
      const low = `its score isn't above ${general(controls.score.value)}`;
      const why = score <= controls.score.value ? low : "it isn't among the top-k of its class";
      return `${name} ${fixed(score, 2)}: no candidate, ${why}`;
    }
    const at = chosen();
    const by = ranking.suppressor[at];
    const text = `candidate ${at}, ${caption(at)}`;
    if (by === STAYS) return `${text}: ${kept.has(at) ? "stays" : "survives NMS, but isn't among the best of the image"}`;
    const share = fixed(iou(ranking.boxes[at], ranking.boxes[by]), 2);
    return `${text}: suppressed by ${by}, ${caption(by)}, IoU ${share}`;
  }

  function summary() {
    const left = ranking.suppressor.filter((by) => by === STAYS).length;
    const sure = ranking.kept.filter((i) => ranking.scores[i] >= 0.5).length;
    const lines = [
      `${commas(ranking.above)} scores above ${general(controls.score.value)}`,
      `${commas(ranking.scores.length)} after top-k ${controls.top_k.value} of each class`,
      `${commas(left)} left by NMS ${fixed(controls.nms_iou.value, 2)} ${scope.value}`,
      `${commas(ranking.kept.length)} after keep ${controls.keep.value}`,
      `${sure} of them with a score of 0.5 or more`,
      "",
      ...sentence().split(": "),
    ];
    const later = visible.length - decided().length;
    const words = later ? `${commas(later)} candidates still to come` : "no candidate left to come";
    return hand() ? lines : [...lines, words, "", ...legend];
  }

  // The slider: by hand, the box goes with it.
  function take() {
    if (hand() && visible.length) board.active = ranking.anchors[chosen()];
    update();
  }

  // The n key in a scene: down the ranking, and from its end to its beginning.
  function next(now, before) {
    if (hand() || !visible.length) return;
    go((((place.value + now - before) % visible.length) + visible.length) % visible.length);
  }

  function go(to) {
    if (to === place.value) return;
    place.value = to;
    take();
  }

  // One step of playing, and from the end to the beginning.
  function forward() {
    const last = visible.length - 1;
    if (last < 1) return false;
    go(place.value < last ? place.value + 1 : 0);
    return place.value < last;
  }

  // By hand: the n key, or a box taken in hand.
  function hold() {
    if (!hand()) return;
    shown.value = all;
    update();
    const at = placeOf(board.active);
    if (at >= 0) go(at);
  }

  // Take the candidate whose edge is nearest to where one clicked.
  function click() {
    if (hand() || !visible.length) return;
    const [x, y] = f32s(board.pointer);
    const away = visible.map((i) => {
      const [x1, y1, x2, y2] = ranking.boxes[i];
      const outside = [f32(x1 - x), f32(x - x2), f32(y1 - y), f32(y - y2)]; // all negative inside
      const beyond = [highest(0, highest(outside[0], outside[1])), highest(0, highest(outside[2], outside[3]))];
      return f32(Math.hypot(...beyond)) || -outside.reduce(highest);
    });
    go(away.indexOf(away.reduce(lowest)));
  }

  update();
  return {
    ...Object.fromEntries(["shown", "scope", "score", "top_k", "nms_iou", "keep", "upto", "boxes"].map((name) => [name, update])),
    ...{ case: load, place: take, play: course.playing(controls.play, forward), steps: next, active: hold, pointer: click, reset: update },
  };
};

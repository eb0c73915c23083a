// Chapter 01, two boxes: what `Overlaps` computes.

course.engines.Overlaps = ({ facts, board, controls, texts }) => {
  const { presets, size, canvas, margin, zoomed, names, notations, colors } = facts;
  const { preset, squeeze, notation } = controls;
  const frame = () => (squeeze.value ? canvas : size);
  const px2 = (size) => `${commas(general(rounded(size, 1)))} px²`;

  function measure([one, other]) {
    const low = [0, 1].map((i) => highest(one[i], other[i]));
    const high = [2, 3].map((i) => lowest(one[i], other[i]));
    const shared = [...low, ...high.map((v, i) => highest(low[i], v))];
    const both = area(shared);
    return {
      shared,
      intersection: both,
      union: f32(area(one) + area(other)) - both,
      iou: iou(one, other),
      plusOne: iou(one, other, 1),
    };
  }

  function written(box) {
    const [width, height] = frame();
    const [first, top, last, bottom] = box.map((v) => rounded(v));
    const centre = [0, 1].map((i) => f32(f32(box[i] + box[i + 2]) / 2));
    const extent = [0, 1].map((i) => f32(box[i + 2] - box[i]));
    const numbers = [box, [...centre, ...extent], scaleBox(box, 1 / width, 1 / height), [first + 1, top + 1, last, bottom]];
    const at = Object.keys(notations).indexOf(notation.value);
    return numbers[at].map((v) => general(rounded(v, 4))).join(", ");
  }

  function place(boxes, from) {
    const [width, height] = frame();
    const whole = [-margin, -margin, size[0] + margin, size[1] + margin];
    board.frame = [0, 0, width, height];
    board.view = scaleBox(zoomed[preset.value] ?? whole, width / size[0], height / size[1]);
    board.width = squeeze.value ? 400 : 500;
    board.key_step = preset.value in zoomed ? 1 : 5;
    board.active = 0;
    board.boxes = boxes.map((box) => scaleBox(f32s(box), width / from[0], height / from[1]).map((v) => rounded(v, 1)));
    update();
  }

  function update() {
    const pair = board.boxes.map(f32s);
    const found = measure(pair);
    const below = found.shared[3] + (18 * (board.view[2] - board.view[0])) / board.width;
    const shared = `intersection ${px2(found.intersection)}`;
    const layers = [layer({ boxes: pair, color: colors.sky, line: 0, fill: 0.45 })];
    if (found.intersection > 0) {
      const caption = [[found.shared[0], below, shared]];
      layers.push(layer({ boxes: [found.shared], color: colors.green, line: 1.5, fill: 0.75, dash: [5, 3], texts: caption }));
    }
    const [width, height] = frame();
    const share = fixed(found.iou, 3);
    board.scene = { layers };
    board.status = `IoU ${share}; ${shared}, union ${px2(found.union)}`;
    texts.table = [
      `area of A ${px2(area(pair[0]))}, of B ${px2(area(pair[1]))}`,
      `intersection ${px2(found.intersection)}  (green, dashed)`,
      `union ${px2(found.union)}  (all that is shaded)`,
      `<b>IoU = ${px2(found.intersection)} / ${px2(found.union)} = ${share}</b>`,
      `with a +1, which is wrong here: ${fixed(found.plusOne, 3)}`,
      "",
      `${notation.value}, image ${width} x ${height}:`,
      `   (${notations[notation.value].join(", ")})`,
      ...pair.map((box, i) => `   ${names[i]}: ${written(box)}`),
    ].join("<br>");
  }

  const load = () => place(presets[preset.value], size);
  const turn = () => place(board.boxes, squeeze.value ? size : canvas);
  return { preset: load, again: load, squeeze: turn, notation: update, boxes: update, active: update };
};

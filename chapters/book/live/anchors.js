// Chapter 02, the default boxes: AnchorSpec and default_boxes as in ssdlib, and what `AnchorBrowser` computes.

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
const range = (count) => [...Array(count).keys()];

// What follows from the numbers of a spec {canvas, maps, strides, ratios, first, low, high}
function specified(spec) {
  const step = Math.floor((spec.high - spec.low) / (spec.maps.length - 2));
  const percents = [spec.first, ...spec.maps.map((_, i) => spec.low + step * i)];
  const sizes = percents.map((p) => (spec.canvas * p) / 100);
  const perCell = spec.ratios.map((ratios) => 2 + 2 * ratios.length);
  const perMap = spec.maps.map((cells, i) => perCell[i] * cells * cells);
  const shapes = spec.maps.map((_, i) => {
    const small = sizes[i];
    const large = Math.sqrt(small * sizes[i + 1]);
    const both = spec.ratios[i].map(Math.sqrt).flatMap((root) => [[small * root, small / root], [small / root, small * root]]);
    return [[small, small], [large, large], ...both];
  });
  return { ...spec, minSizes: sizes.slice(0, -1), lastSize: sizes.at(-1), perCell, perMap, shapes };
}

// Corners of one map's anchors, in float64 until the end; `clip` as in Python: "none", "center", "size".
function mapBoxes(spec, level, clip = "none") {
  const cells = spec.maps[level];
  const inside = (v) => Math.min(Math.max(v, 0), spec.canvas);
  const found = [];
  for (let row = 0; row < cells; row++) {
    for (let column = 0; column < cells; column++) {
      for (const shape of spec.shapes[level]) {
        const centre = [column, row].map((at) => (at + 0.5) * spec.strides[level]);
        const [x, y] = clip === "center" ? centre.map(inside) : centre;
        const [width, height] = clip === "none" ? shape : shape.map(inside);
        found.push(f32s([x - width / 2, y - height / 2, x + width / 2, y + height / 2]));
      }
    }
  }
  return found;
}

const defaultBoxes = (spec) => spec.maps.flatMap((_, level) => mapBoxes(spec, level));

// Share of VOC's objects that some anchor covers, of all and by size; see coverage.py, whose every step is here.
function coverage(spec, { table, bins, bin, places, bands, threshold }) {
  const spread = (step) => range(places).map((k) => f32(f32(step(k) + 0.5) / places));
  const [part, along] = [spread((k) => k), spread((k) => (3 * k + 1) % places)];
  const objects = new Float32Array(bins * places);
  const centres = new Float32Array(bins * places);
  for (let i = 0; i < objects.length; i++) {
    const k = i % places;
    objects[i] = f32(f32(Math.floor(i / places) + part[k]) * bin);
    centres[i] = f32(f32(objects[i] / 2) + f32(along[k] * f32(spec.canvas - objects[i])));
  }
  const n = objects.length;
  const best = new Float32Array(n * n).fill(-Infinity);
  const overlap = (length, away) => {
    const side = f32(length);
    return objects.map((size, i) => highest(0, lowest(f32(f32(f32(size + side) / 2) - away[i]), lowest(size, side))));
  };
  spec.maps.forEach((cells, level) => {
    const stride = spec.strides[level];
    const away = centres.map((at) => {
      const cell = Math.min(Math.max(Math.floor(f32(at / stride)), 0), cells - 1);
      return Math.abs(f32(at - f32(f32(cell + 0.5) * stride)));
    });
    for (const [width, height] of spec.shapes[level]) {
      const [high, wide] = [overlap(height, away).map((v) => v * f32((1 + threshold) / threshold)), overlap(width, away)];
      const mine = f32(width * height);
      for (let i = 0, at = 0; i < n; i++) {
        for (let j = 0; j < n; j++, at++) {
          const gain = f32(f32(high[i] * wide[j]) - mine);
          if (gain > best[at]) best[at] = gain;
        }
      }
    }
  });
  const hits = new Float64Array(bins * bins);
  for (let i = 0, at = 0; i < n; i++)
    for (let j = 0; j < n; j++, at++)
      if (best[at] >= f32(objects[i] * objects[j])) hits[Math.floor(i / places) * bins + Math.floor(j / places)] += 1;
  const share = (inside) => {
    let [all, covered] = [0, 0];
    table.forEach((count, i) => {
      const size = Math.sqrt((Math.floor(i / bins) + 0.5) * bin * ((i % bins) + 0.5) * bin);
      if (!inside(size)) return;
      all += count;
      covered += (count * hits[i]) / places ** 2;
    });
    return covered / Math.max(all, 1);
  };
  return { all: share(() => true), bands: bands.slice(0, -1).map((low, i) => share((size) => size >= low && size < bands[i + 1])) };
}

course.engines.AnchorBrowser = ({ facts, board, others, controls, texts }) => {
  const { spec: numbers, also, ratios, styles, colors, voc, chart } = facts;
  const { level, show, first, range: ends } = controls;
  const released = specified(numbers);
  const known = new Map(); // what a spec covers, by its numbers

  const chosen = () => specified({ ...numbers, first: first.value, low: ends.value[0], high: ends.value[1], ratios: ratios[controls.ratios.value] });
  const measures = (spec) => {
    const key = JSON.stringify([spec.first, spec.low, spec.high, spec.ratios]);
    if (!known.has(key)) known.set(key, coverage(spec, voc));
    return known.get(key);
  };

  function limits() {
    const [stride, cells] = [numbers.strides[level.value], numbers.maps[level.value]];
    const [low, high] = [stride / 2, (cells - 0.5) * stride];
    board.key_step = stride;
    board.pointer_limits = [low, low, high, high];
    update();
  }

  function update() {
    const [spec, map] = [chosen(), level.value];
    const [stride, cells] = [spec.strides[map], spec.maps[map]];
    const [column, row] = board.pointer.map((at) => Math.min(cells - 1, Math.max(0, Math.floor(at / stride))));
    board.pointer = [(column + 0.5) * stride, (row + 0.5) * stride]; // the cross stands where the anchors are centred
    const boxes = mapBoxes(spec, map);
    const before = (row * cells + column) * spec.perCell[map];
    const mine = boxes.slice(before, before + spec.perCell[map]);
    const crosses = (box) => box.some((v) => v < 0 || v > spec.canvas);
    const crossing = boxes.filter(crosses);
    const dots = range(cells).map((i) => (i + 0.5) * stride);
    const edge = [column, row, column + 1, row + 1].map((v) => v * stride);
    const layers = [
      layer({ boxes: [edge], color: colors.orange, line: 1, fill: 0.3 }),
      layer({ points: dots.flatMap((y) => dots.flatMap((x) => [x, y])), radius: cells > 20 ? 1 : 2, alpha: 0.6 }),
    ];
    if (show.value !== also.nothing) {
      const clip = { [also.centres]: "center", [also.sizes]: "size" }[show.value];
      const other = clip && mapBoxes(spec, map, clip);
      const shown = clip ? other.filter((box, i) => box.some((v, j) => Math.abs(f32(v - boxes[i][j])) > f32(1e-3))) : crossing;
      layers.push(layer({ boxes: shown, color: colors.purple, dash: [4, 2], line: 0.7, alpha: 0.45 }));
    }
    layers.push(...mine.map((box, i) => anchorLayer(i, box)));
    const every = boxes.flat();
    const [low, high] = [every.reduce(lowest), every.reduce(highest)];
    board.view = [...Array(2).fill(Math.min(-20, low - 12)), ...Array(2).fill(Math.max(320, high + 12))];
    board.scene = { layers };
    const lines = summary(spec, map, row, column, crossing.length);
    board.status = `${lines[0]}; ${lines[1]}`;
    others.chart.scene = { layers: diagrams(spec) };
    others.chart.status = `covered: ${fixed(100 * measures(spec).all, 1)} %, released ${fixed(100 * measures(released).all, 1)} %`;
    texts.table = `<pre style='line-height:1.35'>${lines.join("\n")}</pre>`;
  }

  // Shapes on the heat map and bars of coverage below it: the reader's in blue, the released in orange.
  function diagrams(spec) {
    const { heat, bars, line, pale } = chart;
    const across = ([left, , right], x) => left + (right - left) * x;
    const places = (one) => one.shapes.flat().map(([w, h]) => [across(heat, w / 300), heat[3] - (heat[3] - heat[1]) * (h / 300)]);
    const [now, was] = [measures(spec), measures(released)];
    const names = [...now.bands.map((_, i) => `${voc.bands[i]}-${voc.bands[i + 1]}`), "all"];
    const rows = names.map((name, i) => [name, [...now.bands, now.all][i], [...was.bands, was.all][i], bars[1] + line * i]);
    const words = rows.flatMap(([name, mine, , top]) => [[2, top + 20, name], [bars[2] + 4, top + 20, fixed(100 * mine, 1)]]);
    const heads = [[heat[0], heat[1] - 1, "height"], [heat[2] - 34, heat[3] + 17, "width"], [2, bars[1], "covered, % (px)"]];
    return [
      layer({ boxes: places(released).map(([x, y]) => [x - 3, y - 3, x + 3, y + 3]), color: colors.orange, line: 1.5 }),
      layer({ color: colors.blue, points: places(spec).flat(), radius: 2.5 }),
      layer({ boxes: rows.map(([, mine, , top]) => [bars[0], top + 3, across(bars, mine), top + 11]), color: colors.blue, line: 0.5, fill: 0.8 }),
      layer({ boxes: rows.map(([, , theirs, top]) => [bars[0], top + 13, across(bars, theirs), top + 21]), color: colors.orange, line: 1.5, dash: [3, 2], fill: 0.3 }),
      layer({ color: pale, texts: [...words, ...heads] }),
      layer({ color: colors.blue, texts: [[114, bars[1], "yours"]] }),
      layer({ color: colors.orange, texts: [[158, bars[1], "released"]] }),
    ];
  }

  // A cell's i-th anchor, its number at a side where no other's is.
  function anchorLayer(i, box) {
    const [color, line, dash] = styles[i];
    const [x1, y1, x2, y2] = box;
    const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
    const spot = [[x2, y2], [x1, y1], [x1, y], [x, y1], [x2, y], [x, y2]][i];
    return layer({ boxes: [box], color, line, dash, texts: [[...spot, `${i}`]] });
  }

  function summary(spec, map, row, column, crossing) {
    const stride = spec.strides[map];
    const place = sum(spec.perMap.slice(0, map)) + (row * spec.maps[map] + column) * spec.perCell[map];
    const names = ["1", "1'", ...spec.ratios[map].flatMap((ratio) => [`${ratio}`, `1/${ratio}`])];
    const right = (text, width) => String(text).padStart(width);
    const line = (name, mine, theirs, say) => name.padEnd(12) + right(say(mine), 9) + right(say(theirs), 10);
    const whole = (v) => fixed(v, 0);
    const percent = (v) => fixed(100 * v, 1);
    const [now, was] = [measures(spec), measures(released)];
    const shapes = spec.shapes[map].map(
      ([width, height], i) => `  ${i}: ratio ${names[i].padEnd(4)} ${right(fixed(width, 1), 5)} x ${right(fixed(height, 1), 5)}   anchor ${commas(place + i)}`,
    );
    return [
      `map ${spec.maps[map]}², row ${row}, column ${column}`,
      `centre (${general((column + 0.5) * stride)}, ${general((row + 0.5) * stride)}), ${stride} px apart`,
      ...shapes,
      `${crossing} of the map's ${commas(spec.perMap[map])} cross the border`,
      "",
      `${"".padEnd(12)}${right("yours", 9)}${right("released", 10)}`,
      ...spec.minSizes.map((size, i) => line(`size ${i + 1}`, size, released.minSizes[i], whole)),
      line("one more", spec.lastSize, released.lastSize, whole),
      line("anchors", sum(spec.perMap), sum(released.perMap), commas),
      line("covered, %", now.all, was.all, percent),
      ...now.bands.map((part, i) => line(`  ${voc.bands[i]}-${voc.bands[i + 1]} px`, part, was.bands[i], percent)),
    ];
  }

  function release() {
    [first.value, ends.value, controls.ratios.value] = [released.first, [released.low, released.high], Object.keys(ratios)[0]];
    update();
  }

  return { level: limits, reset: release, pointer: update, show: update, first: update, range: update, ratios: update };
};

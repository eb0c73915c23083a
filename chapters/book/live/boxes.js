// Boxes as four float32 numbers, xyxy in px: the operations of ssdlib's box module in the same order, so that they
// give the same bits.

const f32s = (box) => box.map(f32);
const lowest = (a, b) => (a < b ? a : b);
const highest = (a, b) => (a > b ? a : b);

function area(box, extent = 0) {
  return f32(f32(f32(box[2] - box[0]) + extent) * f32(f32(box[3] - box[1]) + extent));
}

function iou(one, other, extent = 0) {
  const width = highest(0, f32(f32(lowest(one[2], other[2]) - highest(one[0], other[0])) + extent));
  const height = highest(0, f32(f32(lowest(one[3], other[3]) - highest(one[1], other[1])) + extent));
  const both = f32(width * height);
  if (!(both > 0)) return 0;
  return f32(both / f32(f32(area(one, extent) + area(other, extent)) - both));
}

// Multiply x and y; the factors are float32, too.
function scaleBox(box, x, y) {
  const [fx, fy] = [f32(x), f32(y)];
  return [f32(box[0] * fx), f32(box[1] * fy), f32(box[2] * fx), f32(box[3] * fy)];
}

// One colour's worth of drawing, as `layer` in board.py: boxes in px, everything rounded to two digits.
function layer({ boxes = [], color = "#000000", line = 1, alpha = 1, fill = 0, dash = [], points = [], radius = 2, texts = [], curves = [] }) {
  const short = (value) => rounded(value, 2);
  return {
    boxes: boxes.flat().map(short),
    color,
    line,
    alpha,
    fill,
    dash,
    points: points.map(short),
    radius,
    texts,
    curves: curves.map((curve) => curve.map(short)),
  };
}

// Numbers as Python computes and writes them: float32 as in torch, ties to even.

const f32 = Math.fround;

// f"{x:.{digits}f}". Python rounds a tie to even, toFixed away from zero.
function fixed(x, digits) {
  if (Number.isNaN(x)) return "nan";
  if (!Number.isFinite(x)) return x < 0 ? "-inf" : "inf";
  const size = Math.abs(x);
  const scaled = size * 10 ** digits;
  const whole = Math.floor(scaled);
  const tie = scaled - whole === 0.5 && Number.isInteger(size * 2 ** (digits + 1));
  const text = tie ? ((whole + (whole % 2)) / 10 ** digits).toFixed(digits) : size.toFixed(digits);
  return (x < 0 || Object.is(x, -0) ? "-" : "") + text;
}

// round(x, digits)
const rounded = (x, digits = 0) => Number(fixed(x, digits));

// f"{x:g}": six digits, no zeros at the end
function general(x) {
  if (x === 0 || !Number.isFinite(x)) return fixed(x, 0);
  const [digits, exponent] = x.toExponential(5).split("e");
  const bare = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
  const power = Number(exponent);
  if (power >= -4 && power < 6) return bare(fixed(x, 5 - power));
  return `${bare(digits)}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
}

// f"{x:,}" of what is already written
const commas = (text) => String(text).replace(/^(-?)(\d+)/, (_, sign, whole) => sign + whole.replace(/\B(?=(\d{3})+$)/g, ","));

Object.assign(course, { fixed, general, commas }); // for their test

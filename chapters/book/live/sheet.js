// A picture made of others: one at the top, cut-outs of some below. Python lays out the same sheet with Pillow.

course.compose = async ({ whole, cuts }, { pictures, side, height }) => {
  const sheet = document.createElement("canvas");
  [sheet.width, sheet.height] = [side, height];
  const pen = sheet.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.fillStyle = "#ffffff";
  pen.fillRect(0, 0, side, height);
  if (whole !== null) pen.drawImage(await opened(pictures[whole]), 0, 0, side, side);
  for (const { image, part: [x0, y0, x1, y1], at: [x, y, size] } of cuts) {
    const picture = await opened(pictures[image]);
    pen.fillStyle = "#000000"; // beyond the border
    pen.fillRect(x, y, size, size);
    pen.drawImage(picture, x0, y0, x1 - x0, y1 - y0, x, y, size, size);
  }
  return sheet.toDataURL("image/jpeg", 0.88);
};

const pictureOf = new Map(); // by its URL, opened once

function opened(url) {
  if (!pictureOf.has(url)) {
    const picture = new Image();
    picture.src = url;
    pictureOf.set(url, picture.decode().then(() => picture));
  }
  return pictureOf.get(url);
}

// Resizing and cropping with the pixels that netzoo computes in Python, not those of the browser,
// whose methods differ from one to the next. An image is {width, height, data}, and data holds
// red, green and blue as Uint8Array [height * width * 3].

// Round to the nearest integer, halves to the even one, as Python and OpenCV do.
function roundEven(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

function newImage(width, height) {
  return { width, height, data: new Uint8ClampedArray(width * height * 3) };
}

function crop(image, left, top, width, height) {
  const out = newImage(width, height);
  for (let y = 0; y < height; y++) {
    const start = ((top + y) * image.width + left) * 3;
    out.data.set(image.data.subarray(start, start + width * 3), y * width * 3);
  }
  return out;
}

// Resize the shorter side, and crop the central square: `resize_and_center_crop` of netzoo.
function resizeAndCrop(image, preprocessing) {
  const { resize_size: shorter, crop_size: size, interpolation, crop_mode } = preprocessing;
  if (crop_mode === "squash") {
    const start = roundEven((shorter - size) / 2);
    return crop(resize(image, shorter, shorter, interpolation), start, start, size, size);
  }
  const longest = 8 * Math.min(image.width, image.height); // the rest never reaches the crop
  const [left, top] = [image.width, image.height].map((n) => Math.max(0, n - longest) >> 1);
  if (left || top) {
    image = crop(image, left, top, image.width - 2 * left, image.height - 2 * top);
  }
  const shortest = Math.min(image.width, image.height);
  const isArea = interpolation === "area"; // the other methods round as torchvision does
  const side = (n) =>
    isArea ? Math.max(shorter, roundEven(n * (shorter / shortest))) : Math.trunc((shorter * n) / shortest);
  const start = (n) => (isArea ? (n - size) >> 1 : roundEven((n - size) / 2));
  const resized = resize(image, side(image.width), side(image.height), interpolation);
  return crop(resized, start(resized.width), start(resized.height), size, size);
}

function resize(image, width, height, interpolation) {
  if (interpolation !== "area") return resizeLikePillow(image, width, height, interpolation);
  const shrunk = [Math.min(width, image.width), Math.min(height, image.height)];
  if (shrunk[0] !== image.width || shrunk[1] !== image.height) image = shrink(image, ...shrunk);
  return width !== image.width || height !== image.height ? enlarge(image, width, height) : image;
}

// OpenCV's INTER_AREA: the mean over the area of each new pixel, in float32 as OpenCV computes it.
function shrink(image, width, height) {
  const [across, down] = [areaWeights(image.width, width), areaWeights(image.height, height)];
  if (across.whole && down.whole) return shrinkWhole(image, across.whole, down.whole);
  const out = newImage(width, height);
  const [row, sum] = [new Float32Array(width * 3), new Float32Array(width * 3)];
  for (let y = 0; y < height; y++) {
    sum.fill(0);
    for (let j = down.first[y]; j < down.first[y + 1]; j++) {
      row.fill(0);
      addAreas(image, down.from[j], across, width, row);
      const weight = down.weight[j];
      for (let k = 0; k < sum.length; k++) sum[k] += Math.fround(row[k] * weight);
    }
    for (let k = 0; k < sum.length; k++) out.data[y * width * 3 + k] = roundEven(sum[k]);
  }
  return out;
}

function addAreas(image, line, across, width, row) {
  const start = line * image.width * 3;
  for (let x = 0; x < width; x++) {
    let [red, green, blue] = [0, 0, 0];
    for (let i = across.first[x]; i < across.first[x + 1]; i++) {
      const at = start + across.from[i] * 3;
      const weight = across.weight[i];
      red = Math.fround(red + Math.fround(image.data[at] * weight));
      green = Math.fround(green + Math.fround(image.data[at + 1] * weight));
      blue = Math.fround(blue + Math.fround(image.data[at + 2] * weight));
    }
    row[x * 3] = red;
    row[x * 3 + 1] = green;
    row[x * 3 + 2] = blue;
  }
}

// The old pixels below each new one and their shares: those of new pixel x are entries first[x] to
// first[x + 1] of `from` and `weight`. `whole` is their number if it is a whole one.
function areaWeights(before, after) {
  const scale = 1 / (after / before);
  const near = roundEven(scale);
  const [first, from, weight] = [[0], [], []];
  for (let x = 0; x < after; x++) {
    const [start, end] = [x * scale, x * scale + scale];
    const cell = Math.min(scale, before - start);
    const last = Math.min(Math.floor(end), before - 1);
    const next = Math.min(Math.ceil(start), last);
    const add = (index, share) => (from.push(index), weight.push(Math.fround(share)));
    if (next - start > 1e-3) add(next - 1, (next - start) / cell);
    for (let index = next; index < last; index++) add(index, 1 / cell);
    if (end - last > 1e-3) add(last, Math.min(end - last, 1, cell) / cell);
    first.push(from.length);
  }
  return { first, from, weight, whole: Math.abs(scale - near) < 2 ** -52 ? near : 0 };
}

function shrinkWhole(image, across, down) {
  const out = newImage(image.width / across, image.height / down);
  const share = Math.fround(1 / (across * down));
  const square = across === 2 && down === 2; // OpenCV rounds halves up here, and only here
  for (let y = 0, at = 0; y < out.height; y++) {
    for (let x = 0; x < out.width; x++) {
      for (let channel = 0; channel < 3; channel++, at++) {
        let sum = 0;
        for (let j = 0; j < down; j++) {
          const start = ((y * down + j) * image.width + x * across) * 3 + channel;
          for (let i = 0; i < across; i++) sum += image.data[start + i * 3];
        }
        out.data[at] = square ? (sum + 2) >> 2 : roundEven(Math.fround(sum * share));
      }
    }
  }
  return out;
}

// OpenCV's INTER_CUBIC, in float32; pixels beyond the edge repeat it.
function enlarge(image, width, height) {
  const [across, down] = [cubicWeights(image.width, width), cubicWeights(image.height, height)];
  const rows = new Float32Array(image.height * width * 3);
  for (let y = 0, at = 0; y < image.height; y++) {
    for (let x = 0; x < width; x++) {
      for (let channel = 0; channel < 3; channel++, at++) {
        for (let i = 4 * x; i < 4 * x + 4; i++) {
          const pixel = image.data[(y * image.width + across.from[i]) * 3 + channel];
          rows[at] += Math.fround(pixel * across.weight[i]);
        }
      }
    }
  }
  const out = newImage(width, height);
  for (let y = 0, at = 0; y < height; y++) {
    for (let k = 0; k < width * 3; k++, at++) {
      let sum = 0;
      for (let i = 4 * y; i < 4 * y + 4; i++) {
        sum = Math.fround(sum + Math.fround(rows[down.from[i] * width * 3 + k] * down.weight[i]));
      }
      out.data[at] = roundEven(sum);
    }
  }
  return out;
}

function cubicWeights(before, after) {
  const [scale, a] = [1 / (after / before), -0.75];
  const [from, weight] = [[], []];
  for (let x = 0; x < after; x++) {
    const place = Math.fround((x + 0.5) * scale - 0.5);
    const [floor, t] = [Math.floor(place), Math.fround(place - Math.floor(place))];
    const near = (s) => ((a + 2) * s - (a + 3)) * s * s + 1;
    const first = ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a;
    const shares = [first, near(t), near(1 - t)];
    shares.push(1 - shares[0] - shares[1] - shares[2]);
    shares.forEach((share, i) => {
      from.push(Math.min(Math.max(floor - 1 + i, 0), before - 1));
      weight.push(Math.fround(share));
    });
  }
  return { from, weight };
}

// Pillow's constants are float32.
const hamming = (cosine) => Math.fround(0.54) + Math.fround(0.46) * cosine;
const FILTERS = {
  bilinear: [1, (x) => (x < 1 ? 1 - x : 0)],
  hamming: [
    1,
    (x) => (x ? (Math.sin(Math.PI * x) / (Math.PI * x)) * hamming(Math.cos(Math.PI * x)) : 1),
  ],
  bicubic: [
    2,
    (x) => (x < 1 ? (1.5 * x - 2.5) * x * x + 1 : ((-0.5 * x + 2.5) * x - 4) * x + 2),
  ],
};

// Pillow's resize: a filter that widens with the factor, in units of 2^-22, along rows and then
// along columns, with whole pixels in between.
function resizeLikePillow(image, width, height, interpolation) {
  for (const [side, along] of [[width, "x"], [height, "y"]]) {
    const before = along === "x" ? image.width : image.height;
    if (side === before) continue;
    const weights = pillowWeights(before, side, ...FILTERS[interpolation]);
    const out = along === "x" ? newImage(side, image.height) : newImage(image.width, side);
    for (let y = 0, at = 0; y < out.height; y++) {
      for (let x = 0; x < out.width; x++) {
        const { first, shares } = weights[along === "x" ? x : y];
        const start = along === "x" ? y * image.width + first : first * image.width + x;
        const step = along === "x" ? 3 : 3 * image.width;
        for (let channel = 0; channel < 3; channel++, at++) {
          let sum = 2 ** 21;
          for (let i = 0; i < shares.length; i++) {
            sum += image.data[start * 3 + channel + i * step] * shares[i];
          }
          out.data[at] = Math.floor(sum / 2 ** 22);
        }
      }
    }
    image = out;
  }
  return image;
}

function pillowWeights(before, after, reach, filter) {
  const scale = before / after;
  const stretch = Math.max(scale, 1);
  return Array.from({ length: after }, (_, x) => {
    const centre = (x + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach * stretch + 0.5));
    const last = Math.min(before, Math.trunc(centre + reach * stretch + 0.5));
    const shares = Array.from({ length: last - first }, (_, i) => {
      const distance = Math.abs((first + i - centre + 0.5) / stretch);
      return distance < reach ? filter(distance) : 0;
    });
    const total = shares.reduce((sum, share) => sum + share, 0);
    const whole = (share) => Math.trunc((share / total) * 2 ** 22 + (share < 0 ? -0.5 : 0.5));
    return { first, shares: shares.map(whole) };
  });
}

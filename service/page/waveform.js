// A song as a picture, made in the browser: its waveform above its log-mel spectrogram.
import { html, useEffect, useRef } from "./html.js";
import { calm } from "./parts.js";
import { playFrom, player, position, isCurrent } from "./player.js";

const RATE = 16_000;
const FRAME = 1024;
const BANDS = 96;
const FLOOR_DB = -70;
const MAX_DECODED_BYTES = 80 * 2 ** 20;
const WAVE_SHARE = 0.34;
// From silence through cool to warm.
const COLOURS = [[0, [16, 16, 24]], [0.35, [22, 62, 122]], [0.6, [78, 110, 200]], [0.78, [214, 100, 92]], [0.9, [250, 152, 70]], [1, [255, 232, 190]]];

/** Mono samples at 16 kHz; null for what this browser cannot decode, or is too long to be drawn. */
export async function decode(file) {
  if (file.size > MAX_DECODED_BYTES) return null;
  try {
    const context = new OfflineAudioContext(1, 1, RATE);
    const buffer = await context.decodeAudioData(await file.arrayBuffer());
    const mono = buffer.getChannelData(0).slice();
    for (let channel = 1; channel < buffer.numberOfChannels; channel++) {
      buffer.getChannelData(channel).forEach((value, place) => { mono[place] += value; });
    }
    return buffer.numberOfChannels > 1 ? mono.map(value => value / buffer.numberOfChannels) : mono;
  } catch {
    return null;
  }
}

/** In-place complex FFT of a power of two. */
function fft(real, imaginary) {
  const size = real.length;
  for (let i = 1, j = 0; i < size; i++) {
    let bit = size >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) [real[i], real[j]] = [real[j], real[i]];
  }
  for (let length = 2; length <= size; length <<= 1) {
    const half = length >> 1, angle = (-2 * Math.PI) / length;
    for (let k = 0; k < half; k++) {
      const cos = Math.cos(angle * k), sin = Math.sin(angle * k);
      for (let start = k; start < size; start += length) {
        const other = start + half;
        const re = real[other] * cos - imaginary[other] * sin, im = real[other] * sin + imaginary[other] * cos;
        real[other] = real[start] - re; imaginary[other] = imaginary[start] - im;
        real[start] += re; imaginary[start] += im;
      }
    }
  }
}

/** Edges of the bands, in bins of the FFT: equal steps in mel = 2595 log10(1 + f / 700), from 0 to 8 kHz. */
function bandEdges() {
  const top = 2595 * Math.log10(1 + RATE / 2 / 700);
  return Array.from({ length: BANDS + 2 }, (_, band) => ((700 * (10 ** ((band * top) / (BANDS + 1) / 2595) - 1)) / RATE) * FRAME);
}

const EDGES = bandEdges();
const WINDOW = Float32Array.from({ length: FRAME }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / FRAME));

/** Decibels [BANDS] of the frame that begins at a sample. */
function melDecibels(samples, start) {
  const real = new Float32Array(FRAME), imaginary = new Float32Array(FRAME);
  for (let n = 0; n < FRAME && start + n < samples.length; n++) real[n] = samples[start + n] * WINDOW[n];
  fft(real, imaginary);
  return Float32Array.from({ length: BANDS }, (_, band) => {
    const [low, middle, high] = EDGES.slice(band, band + 3);
    let power = 0;
    for (let bin = Math.floor(low); bin <= Math.ceil(high); bin++) {
      const weight = bin < middle ? (bin - low) / (middle - low) : (high - bin) / (high - middle);
      if (weight > 0) power += weight * (real[bin] ** 2 + imaginary[bin] ** 2);
    }
    return 10 * Math.log10(power + 1e-9);
  });
}

const PALETTE = Array.from({ length: 256 }, (_, level) => {
  const at = level / 255, next = COLOURS.findIndex(([place]) => place >= at), [high, to] = COLOURS[next], [low, from] = COLOURS[Math.max(0, next - 1)];
  const mix = high === low ? 1 : (at - low) / (high - low);
  return to.map((value, channel) => from[channel] + mix * (value - from[channel]));
});

/** The song as art: its spectrogram alone, small. */
export async function art(samples) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = BANDS;
  await draw(canvas, samples, () => false, 0);
  return canvas.toDataURL();
}

/** Draws it column by column, a frame's worth at a time, until `stopped()`. */
async function draw(canvas, samples, stopped, waveShare = WAVE_SHARE) {
  const { width, height } = canvas;
  const wave = Math.round(height * waveShare), tall = height - wave;
  const context = canvas.getContext("2d");
  const step = samples.length / width;
  let loudest = 1e-3, top = -Infinity;
  for (const value of samples) if (Math.abs(value) > loudest) loudest = Math.abs(value);
  // The loudest of some frames is what the colours are relative to.
  for (let probe = 0; probe < 40; probe++) top = Math.max(top, ...melDecibels(samples, Math.floor((samples.length * probe) / 40)));
  context.fillStyle = "rgb(16 16 24)";
  context.fillRect(0, 0, width, height);
  const column = context.createImageData(1, tall);
  for (let x = 0; x < width && !stopped(); x++) {
    const start = Math.floor(x * step), end = Math.max(start + 1, Math.floor((x + 1) * step));
    let low = 0, high = 0;
    for (let place = start; place < end; place++) {
      if (samples[place] < low) low = samples[place];
      if (samples[place] > high) high = samples[place];
    }
    const decibels = melDecibels(samples, Math.max(0, Math.floor((start + end - FRAME) / 2)));
    const energy = Math.min(1, (high - low) / 2 / loudest);
    context.fillStyle = `rgb(${PALETTE[Math.round(255 * (0.55 + 0.4 * energy))].join(" ")})`;
    const middle = wave / 2, reach = (wave / 2 - 2) / loudest;
    if (wave) context.fillRect(x, middle - high * reach, 1, Math.max(1, (high - low) * reach));
    for (let y = 0; y < tall; y++) {
      const band = Math.min(BANDS - 1, Math.floor(((tall - 1 - y) / tall) * BANDS));
      const level = Math.max(0, Math.min(255, Math.round(255 * (1 - (top - decibels[band]) / -FLOOR_DB))));
      [column.data[4 * y], column.data[4 * y + 1], column.data[4 * y + 2]] = PALETTE[level];
      column.data[4 * y + 3] = 255;
    }
    context.putImageData(column, x, wave);
    if (x % 24 === 23 && !calm()) await new Promise(requestAnimationFrame);
  }
}

/** The picture of a file, with the place that is played; a click plays from there. */
export function Spectrum({ samples, track }) {
  const canvas = useRef(), needle = useRef();
  const state = player.use(), { seconds, of } = position.use();
  useEffect(() => {
    let stopped = false;
    const scale = Math.min(2, devicePixelRatio || 1);
    canvas.current.width = Math.round(canvas.current.clientWidth * scale);
    canvas.current.height = Math.round(canvas.current.clientHeight * scale);
    if (samples) draw(canvas.current, samples, () => stopped);
    return () => { stopped = true; };
  }, [samples]);
  const here = isCurrent(state, track.track_id) && of > 0;
  useEffect(() => { needle.current.style.left = `${here ? (100 * seconds) / of : 0}%`; }, [here, seconds, of]);
  return html`
    <div class="spectrum" onClick=${event => {
      const box = event.currentTarget.getBoundingClientRect();
      playFrom(track, (event.clientX - box.left) / box.width);
    }}>
      <canvas ref=${canvas} role="img" aria-label="Waveform, and below it the log-mel spectrogram"></canvas>
      <i ref=${needle} class="needle" hidden=${!here}></i>
    </div>`;
}

// The player: one audio element at the bottom, with a queue that is the list a track was chosen from.
import { html, useEffect, useRef, useState } from "./html.js";
import { mediaUrl, pathOf, request } from "./api.js";
import { store } from "./store.js";
import { Art, Icon, minutes, nameOf } from "./parts.js";

/** What is played: `{queue, place, playing, error}`; a track of the queue has a `url` where it is no track of the library. */
export const player = store({ queue: [], place: 0, playing: false, error: "" });
/** Seconds played and in all of the current track. */
export const position = store({ seconds: 0, of: 0 });

const audio = new Audio();
const PREVIEW_FROM = 1 / 3;
const LONG_SECONDS = 60;
let turn = 0;

export const current = () => player.get().queue[player.get().place];
export const isCurrent = (state, trackId) => state.queue[state.place]?.track_id === trackId;

/** Plays a track of a list, or stops and goes on where it is the one that plays. `preview`: a long one from its strongest excerpt. */
export function toggle(track, queue = [track], { preview = false } = {}) {
  if (isCurrent(player.get(), track.track_id)) return audio.paused ? audio.play() : audio.pause();
  const playable = queue.filter(one => one.has_audio || one.url);
  return start(playable, playable.findIndex(one => one.track_id === track.track_id), preview);
}

/** Plays from a point of a file that was dropped. */
export async function playFrom(track, share) {
  if (!isCurrent(player.get(), track.track_id)) await start([track], 0, false);
  if (audio.duration) audio.currentTime = share * audio.duration;
}

async function start(queue, place, preview = false) {
  const mine = ++turn;
  const track = queue[place];
  if (audio.src.startsWith("blob:") && audio.dataset.own) URL.revokeObjectURL(audio.src);
  player.set({ queue, place, playing: false, error: "" });
  position.set({ seconds: 0, of: 0 });
  try {
    const url = track.url || (await mediaUrl(pathOf("audio", track.track_id)));
    if (mine !== turn) return;
    audio.dataset.own = track.url ? "" : "yes";
    audio.src = url;
    if (preview) {
      audio.addEventListener("loadedmetadata", () => {
        if (audio.duration > LONG_SECONDS && mine === turn) audio.currentTime = track.strongest_seconds ?? PREVIEW_FROM * audio.duration;
      }, { once: true });
    }
    describe(track);
    await audio.play();
  } catch (error) {
    if (mine === turn && error.name !== "AbortError") await explain(track, error);
  }
}

/** The element says nothing about why it cannot play: the service does. */
async function explain(track, error) {
  let text = error.message;
  if (!track.url && error.name === "NotSupportedError") {
    text = "this browser cannot play its format";
    try { await request(pathOf("audio", track.track_id), { headers: { Range: "bytes=0-0" } }); } catch (problem) { text = problem.message; }
  } else if (error.name === "NotAllowedError") text = "press play: the browser waits for that";
  player.update({ playing: false, error: text });
}

function step(by) {
  const { queue, place } = player.get();
  if (queue[place + by]) start(queue, place + by);
}

function describe(track) {
  if (!("mediaSession" in navigator)) return;
  const artwork = track.url ? [] : [{ src: new URL(pathOf("covers", track.track_id), location.href).href }];
  navigator.mediaSession.metadata = new MediaMetadata({ title: nameOf(track), artist: (track.artists || []).join(", "), artwork });
}

audio.onplay = audio.onpause = () => player.update({ playing: !audio.paused });
audio.onended = () => step(1);
audio.ontimeupdate = audio.ondurationchange = () => position.set({ seconds: audio.currentTime, of: audio.duration || 0 });
if ("mediaSession" in navigator) {
  const handlers = {
    play: () => audio.play(), pause: () => audio.pause(), nexttrack: () => step(1), previoustrack: () => step(-1),
    seekto: event => { audio.currentTime = event.seekTime; },
  };
  for (const [name, handler] of Object.entries(handlers)) navigator.mediaSession.setActionHandler(name, handler);
}
addEventListener("keydown", event => {
  const busy = event.target.closest?.("button, input, a, textarea, select, summary");
  if (event.key === " " && !busy && current()) {
    event.preventDefault();
    audio.paused ? audio.play() : audio.pause();
  }
});

export function Player() {
  const { queue, place, playing, error } = player.use();
  const track = queue[place];
  if (!track) return null;
  return html`
    <section class="player" aria-label="Player">
      <${Art} track=${track} />
      <div class="player-text">
        ${track.url
          ? html`<a class="title" href="#/song" dir="auto">${nameOf(track)}</a>`
          : html`<a class="title" href=${`#/track/${encodeURIComponent(track.track_id)}`} dir="auto">${nameOf(track)}</a>`}
        <span class=${error ? "sub wrong" : "sub"} dir="auto" role="status">${error || (track.artists || []).join(", ")}</span>
      </div>
      <div class="player-buttons">
        <button class="icon-button" aria-label="Previous" disabled=${!queue[place - 1]} onClick=${() => step(-1)}><${Icon} name="previous" /></button>
        <button class="icon-button big" aria-label=${playing ? "Pause" : "Play"} onClick=${() => (audio.paused ? audio.play().catch(problem => explain(track, problem)) : audio.pause())}>
          <${Icon} name=${playing ? "pause" : "play"} />
        </button>
        <button class="icon-button" aria-label="Next" disabled=${!queue[place + 1]} onClick=${() => step(1)}><${Icon} name="next" /></button>
      </div>
      <${Seek} />
    </section>`;
}

function Seek() {
  const { seconds, of } = position.use();
  const [held, hold] = useState(null);
  const bar = useRef();
  const shown = held ?? seconds;
  useEffect(() => bar.current?.style.setProperty("--done", `${of ? (100 * shown) / of : 0}%`), [shown, of]);
  return html`
    <div class="seek">
      <span class="time">${minutes(shown)}</span>
      <input ref=${bar} type="range" min="0" max=${Math.max(of, 0.01)} step="0.1" value=${shown} aria-label="Position"
        aria-valuetext=${`${minutes(shown)} of ${minutes(of)}`}
        onInput=${event => hold(Number(event.target.value))}
        onChange=${event => { audio.currentTime = Number(event.target.value); hold(null); }} />
      <span class="time">${minutes(of)}</span>
    </div>`;
}

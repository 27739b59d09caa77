// What several screens are made of: art, a track's row, bars of probabilities, and what a blend is.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./html.js";
import { mediaUrl, pathOf, post } from "./api.js";
import { addToPlaylist, apiKey, fetchAnew, liked, listener, moreOf, say } from "./store.js";
import { isCurrent, player, playQueue, toggle } from "./player.js";

const SHAPES = {
  play: "M7 4.5v15l12-7.5z",
  pause: "M7 5h3.6v14H7zM13.4 5H17v14h-3.6z",
  next: "M6 5.5v13l9-6.5zM16 5.5h2.4v13H16z",
  previous: "M18 5.5v13l-9-6.5zM5.6 5.5H8v13H5.6z",
  heart: "M12 20.3 4.6 13a4.9 4.9 0 0 1 7-7l.4.4.4-.4a4.9 4.9 0 0 1 7 7z",
  search: "M10.5 4a6.5 6.5 0 1 0 4 11.6l4.7 4.7 1.4-1.4-4.7-4.7A6.5 6.5 0 0 0 10.5 4zm0 2a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9z",
  record: "M12 3a3 3 0 0 0-3 3v6a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3zM6 11.5a6 6 0 0 0 5 5.9V21h2v-3.6a6 6 0 0 0 5-5.9h-2a4 4 0 0 1-8 0z",
  file: "M5 4h5l2 2.5h7V19H5z",
  sun: "M12 7.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zM11 2h2v3h-2zm0 17h2v3h-2zM2 11h3v2H2zm17 0h3v2h-3zM4.2 5.6l1.4-1.4 2.1 2.1-1.4 1.4zm12.1 12.1 1.4-1.4 2.1 2.1-1.4 1.4zM4.2 18.4l2.1-2.1 1.4 1.4-2.1 2.1zM16.3 6.3l2.1-2.1 1.4 1.4-2.1 2.1z",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5z",
  target: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zm0 2a6 6 0 1 1 0 12 6 6 0 0 1 0-12zm0 3.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5z",
  whole: "M4 4h6v2H6v4H4zM14 4h6v6h-2V6h-4zM4 14h2v4h4v2H4zM18 14h2v6h-6v-2h4z",
  lasso: "M12 4c-5 0-9 2.6-9 6 0 2.3 1.9 4.3 4.7 5.3-.1.3-.2.6-.2 1 0 1.5 1.2 2.7 2.7 2.7.5 0 1 1 .4 2l1.7 1c1.2-1.9.6-3.9-.6-4.4.3-.4.4-.8.4-1.3 0-.2 0-.3-.1-.5 5 0 9-2.6 9-5.8 0-3.4-4-6-9-6zm0 2c3.9 0 7 1.9 7 4s-3.1 4-7 4c-.3 0-.7 0-1 0a2.7 2.7 0 0 0-2-.3C6.6 12.9 5 11.6 5 10c0-2.1 3.1-4 7-4z",
  path: "M5.5 16a3 3 0 1 0 2.8 4H14a4 4 0 0 0 0-8h-4a2 2 0 0 1 0-4h5.7a3 3 0 1 0 0-2H10a4 4 0 0 0 0 8h4a2 2 0 0 1 0 4H8.3a3 3 0 0 0-2.8-2z",
  list: "M4 5h12v2H4zM4 10h12v2H4zM4 15h8v2H4zM15 14l6 3.5-6 3.5z",
  drop: "M11 3h2v9.2l3.3-3.3 1.4 1.4L12 16l-5.7-5.7 1.4-1.4 3.3 3.3zM4 15h2v4h12v-4h2v6H4z",
  plus: "M11 5h2v6h6v2h-6v6h-2v-6H5v-2h6z",
};

export const Icon = ({ name }) => html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path d=${SHAPES[name]} /></svg>`;
/** A file's name as somebody would say it. */
export const spoken = name => name.replace(/\.[^.]+$/, "").replace(/_+/g, " ").trim() || name;
export const nameOf = track => track.title || spoken(track.track_id.split("/").pop());
export const addressOf = track => `#/track/${encodeURIComponent(track.track_id)}`;
export const mapAddress = trackId => `#/map${trackId ? `/${encodeURIComponent(trackId)}` : ""}`;
export const minutes = seconds => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
export const percent = share => `${Math.round(share * 100)} %`;
export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Names the screen in the browser's tab and history. */
export const useTitle = text => useEffect(() => { document.title = text ? `${text} · Crossfade` : "Crossfade"; }, [text]);

/** The cover of a track; `track.art` where it is no track of the library. */
export function Art({ track }) {
  const path = track.art || (track.url ? "" : pathOf("covers", track.track_id));
  const direct = track.art || !apiKey.get();
  const [fetched, setFetched] = useState("");
  useEffect(() => {
    let url = "", gone = false;
    if (!direct && path) mediaUrl(path).then(made => { url = made; gone ? URL.revokeObjectURL(made) : setFetched(made); }, () => {});
    return () => { gone = true; if (url) URL.revokeObjectURL(url); };
  }, [path, direct]);
  const source = direct ? path : fetched;
  return html`<span class="art">${source && html`<img src=${source} alt="" loading="lazy" decoding="async" width="48" height="48" />`}</span>`;
}

export function PlayButton({ track, queue, preview, onPlay }) {
  const state = player.use();
  const playing = isCurrent(state, track.track_id) && state.playing;
  return html`
    <button class=${`art-button${playing ? " playing" : ""}`} aria-label=${`${playing ? "Pause" : "Play"} ${nameOf(track)}`}
      onClick=${() => (onPlay && !playing ? onPlay() : toggle(track, queue, { preview }))}><${Art} track=${track} /><${Icon} name=${playing ? "pause" : "play"} /></button>`;
}

/** Opens what else can be done with a track. */
export const More = ({ track }) => html`<button class="icon-button" aria-label=${`More for ${nameOf(track)}`} onClick=${() => moreOf.set(track)}>⋯</button>`;

/** One track of a list; `note` is what is said below its title, `children` what stands beside it. */
export function TrackRow({ track, queue, note, preview, children }) {
  const artists = (track.artists || []).join(", ");
  return html`
    <li class="track" data-id=${track.track_id}>
      ${track.has_audio ? html`<${PlayButton} track=${track} queue=${queue} preview=${preview} />` : html`<${Art} track=${track} />`}
      <div class="track-text">
        <a class="title" href=${addressOf(track)} dir="auto">${nameOf(track)}</a>
        ${artists && html`<span class="sub" dir="auto">${artists}</span>`}
        ${note && html`<span class="sub note">${note}</span>`}
      </div>
      ${children}
      <${Like} track=${track} />
      <${More} track=${track} />
    </li>`;
}

/** Tells the service what the listener thinks of a track: 1 liked, -1 disliked, 0 took it back. */
export async function opine(track, opinion) {
  try {
    await post("v1/events", { events: [{ user_id: listener.get(), track_id: track.track_id, liked: opinion }] });
    const now = new Set(liked.get());
    opinion > 0 ? now.add(track.track_id) : now.delete(track.track_id);
    liked.set(now);
    fetchAnew();
  } catch (error) { say(error.message, true); }
}

function Like({ track }) {
  const who = listener.use();
  const isLiked = liked.use().has(track.track_id);
  if (!who) return null;
  return html`
    <button class=${`icon-button like${isLiked ? " on" : ""}`} aria-pressed=${isLiked} aria-label=${`${who} likes ${nameOf(track)}`}
      onClick=${() => opine(track, isLiked ? 0 : 1)}><${Icon} name="heart" /></button>`;
}

/** Plays tracks, or makes a playlist of them, which is called `name` unless another is given. */
export function Take({ tracks, name }) {
  const playable = tracks.filter(track => track.has_audio), box = useRef();
  const save = event => {
    event.preventDefault();
    addToPlaylist(tracks.map(track => track.track_id), box.current.value.trim() || name);
  };
  return html`
    <form class="row take" onSubmit=${save}>
      <button type="button" class="primary" disabled=${!playable.length} onClick=${() => playQueue(playable)}><${Icon} name="play" />Play them</button>
      <button disabled=${!tracks.length}><${Icon} name="plus" />Save as a playlist</button>
      <input key=${name} ref=${box} type="text" aria-label="Name of the playlist" defaultValue=${name} maxlength="200" autocomplete="off" dir="auto" />
    </form>`;
}

/** A list of tracks whose rows glide to their new places. */
export function TrackList({ tracks, label, children }) {
  const list = useRef();
  const places = useRef(new Map());
  useLayoutEffect(() => {
    const before = places.current, now = new Map();
    for (const row of list.current.children) {
      const top = row.offsetTop, was = before.get(row.dataset.id);
      now.set(row.dataset.id, top);
      if (was !== undefined && was !== top && !calm()) {
        row.animate([{ transform: `translateY(${was - top}px)` }, { transform: "none" }], { duration: 220, easing: "ease-out" });
      }
    }
    places.current = now;
  }, [tracks]);
  return html`<ol class="tracks" ref=${list} aria-label=${label}>${children}</ol>`;
}

export function GenreBars({ genres, confident = true, label = "Genres, the likeliest first" }) {
  return html`
    <ol class=${confident ? "bars" : "bars doubtful"} aria-label=${label}>
      ${genres.map(({ genre, probability }) => html`
        <li key=${genre}>
          <span class="bar-name">${genre}</span>
          <span class="bar" aria-hidden="true"><i style=${{ width: `${Math.max(1, probability * 100)}%` }}></i></span>
          <span class="bar-value">${percent(probability)}</span>
        </li>`)}
    </ol>`;
}

/** How much sound and taste make a track alike at this blend: two colours, as long as the score. */
export function WhyBar({ track, blend }) {
  const { taste, sound } = track;
  const share = taste === null ? 0 : sound === null ? 1 : blend;
  const parts = [["cool", "sound", (1 - share) * (sound ?? 0)], ["warm", "taste", share * (taste ?? 0)]];
  const told = parts.filter(part => part[2] > 0.005).map(([, name, value]) => `${name} ${percent(value)}`).join(", ");
  return html`
    <span class="why" role="img" aria-label=${`Alike by ${told || "nothing"}`} title=${told}>
      ${parts.map(([colour, , value]) => html`<i class=${colour} style=${{ width: `${Math.max(0, value) * 100}%` }}></i>`)}
    </span>`;
}

/** The first k of compared tracks at a blend, as the service orders them. */
export function ordered(tracks, blend, k) {
  const known = half => tracks.some(track => track[half] !== null);
  const only = blend === 0 && known("sound") ? "sound" : blend === 1 && known("taste") ? "taste" : "";
  const score = ({ taste, sound }) => (taste === null ? sound : sound === null ? taste : blend * taste + (1 - blend) * sound);
  return tracks
    .filter(track => !only || track[only] !== null)
    .sort((one, other) => score(other) - score(one))
    .slice(0, k);
}

/** An error in words, and a way on where there is one. */
export function Problem({ error, children }) {
  if (error.status === 401) return null;
  return html`<div class="problem" role="alert"><p>${error.message}</p>${children}</div>`;
}

export const Loading = ({ rows = 6 }) => html`
  <ol class="tracks loading" aria-hidden="true">${Array.from({ length: rows }, () => html`<li class="track"><span class="art"></span><div class="track-text"><i></i><i></i></div></li>`)}</ol>`;

// The listening room: what plays, what comes next, how it passes from one to the next, and radio from any seed.
import { html, useRef, useState } from "./html.js";
import { json, post, useAnswer } from "./api.js";
import { addToPlaylist, fading, say } from "./store.js";
import { addressOf, Art, nameOf, Problem, useTitle } from "./parts.js";
import { arrange, Buttons, jump, player, radio, Seek, startRadio, stopRadio } from "./player.js";
import { SortableTracks } from "./sortable.js";

const SUGGESTED = 6;

export function RoomScreen() {
  const { queue, place, error } = player.use(), track = queue[place];
  useTitle(track ? nameOf(track) : "Listening room");
  return html`
    <h1 class="small" tabindex="-1">Listening room</h1>
    <div class="room">
      <section class="card now" aria-label="Player">
        ${track ? html`
          <div class="cover"><${Art} key=${track.track_id} track=${track} /></div>
          <a class="title" href=${track.url ? "#/song" : addressOf(track)} dir="auto">${nameOf(track)}</a>
          <p class=${error ? "sub wrong" : "sub"} dir="auto" role="status">${error || (track.artists || []).join(", ")}</p>
          <${Seek} /><${Buttons} />` : html`<p>Nothing plays. Begin a radio, or press play anywhere.</p>`}
        <${Fading} />
      </section>
      <div class="room-side">
        <${RadioCard} track=${track} />
        <${Queue} queue=${queue} place=${place} />
      </div>
    </div>`;
}

function Fading() {
  fading.use();
  const seconds = fading.seconds();
  return html`
    <div class="blend fading">
      <label for="fading">Crossfade</label>
      <input id="fading" type="range" min="0" max="12" step="1" value=${seconds} aria-valuetext=${seconds ? `${seconds} seconds` : "none, without a gap"} onInput=${event => fading.set(event.target.value)} />
      <span class="time">${seconds ? `${seconds} s` : "no gap"}</span>
    </div>`;
}

function RadioCard({ track }) {
  const on = radio.use(), box = useRef(), [found, setFound] = useState(null);
  const library = useAnswer(signal => json("v1/library", null, { signal }), []);
  const describes = Boolean(library.data?.finds_text);
  const look = async event => {
    event.preventDefault();
    const query = box.current.value.trim();
    if (!query) return;
    try {
      const { tracks } = await json("v1/tracks", { query, k: 50 });
      const words = query.toLowerCase();
      const artists = [...new Set(tracks.flatMap(one => one.artists))].filter(name => name.toLowerCase().includes(words)).slice(0, 3);
      setFound({ query, artists, tracks: tracks.slice(0, SUGGESTED) });
    } catch (error) { setFound({ query, error, artists: [], tracks: [] }); }
  };
  const begin = (name, seed) => {
    setFound(null);
    box.current.value = "";
    return startRadio(name, seed);
  };
  const nothing = found && !found.error && !found.tracks.length && !describes;
  return html`
    <section class="card">
      <h2>Radio</h2>
      ${on ? html`
        <p role="status">Goes on from <bdi><b>${on.name}</b></bdi>${on.note && html`, <bdi>${on.note}</bdi>`}. Skip what you don't want more of: it moves away from that.</p>
        <div class="row actions"><button onClick=${stopRadio}>Stop the radio</button></div>`
        : track && !track.url ? html`<div class="row actions"><button class="primary" onClick=${() => begin(nameOf(track), { track_ids: [track.track_id], first: track })}>From <bdi>${nameOf(track)}</bdi></button></div>` : null}
      <form class="row" role="search" aria-label="Radio's seed" onSubmit=${look}>
        <input ref=${box} type="search" aria-label="A track, an artist${describes ? " or a description" : ""}" placeholder=${describes ? "A track, an artist, or what it should sound like" : "A track or an artist"} maxlength="200" autocomplete="off" spellcheck=${false} />
        <button>Find</button>
      </form>
      ${found?.error && html`<${Problem} error=${found.error} />`}
      ${nothing && html`<p class="sub" role="status">Nothing has all of these words.</p>`}
      ${found && html`
        <ul class="plain seeds" aria-label="Seeds">
          ${found.artists.map(name => html`<li key=${name}><button onClick=${() => begin(name, { artist: name })}>All by <bdi>${name}</bdi></button></li>`)}
          ${found.tracks.map(one => html`<li key=${one.track_id}><button onClick=${() => begin(nameOf(one), { track_ids: [one.track_id], first: one })}><bdi>${nameOf(one)}</bdi> <span class="sub" dir="auto">${one.artists.join(", ")}</span></button></li>`)}
          ${describes && html`<li><button onClick=${() => begin(found.query, { text: found.query })}>What sounds like “<bdi>${found.query}</bdi>”</button></li>`}
        </ul>`}
      <p class="sub">A point of the <a href="#/map">map</a> is a seed, too: click it, then Radio in the player.</p>
    </section>`;
}

function Queue({ queue, place }) {
  const box = useRef(), [busy, setBusy] = useState(false);
  const kept = queue.filter(track => !track.url);
  const order = async () => {
    setBusy(true);
    try {
      const rest = queue.slice(place), ids = rest.filter(track => !track.url).map(track => track.track_id);
      const { track_ids } = await post("v1/playback_order", { track_ids: ids }), left = [...rest];
      const ordered = track_ids.map(trackId => left.splice(left.findIndex(track => track.track_id === trackId), 1)[0]);
      arrange([...queue.slice(0, place), ...ordered, ...left]);
    } catch (error) { say(error.message, true); }
    setBusy(false);
  };
  const keep = event => {
    event.preventDefault();
    addToPlaylist([...new Set(kept.map(track => track.track_id))], box.current.value.trim());
  };
  return html`
    <section class="card">
      <h2>Queue ${queue.length > 0 && html`<span class="sub">${place + 1} of ${queue.length}</span>`}</h2>
      ${queue.length ? html`
        <${SortableTracks} items=${queue} label="Queue" current=${place} onOrder=${arrange} onRemove=${at => arrange(queue.filter((_, one) => one !== at))} onPlay=${jump} />
        <div class="row actions">
          <button disabled=${busy || queue.length - place < 3} title="What is still to come passes well from one to the next, by sound, tempo and key" onClick=${order}>Crossfaded order</button>
          <button onClick=${() => arrange(queue.slice(place, place + 1))} disabled=${queue.length < 2}>Only this one</button>
        </div>
        ${kept.length > 0 && html`
          <form class="row" onSubmit=${keep}>
            <input ref=${box} type="text" aria-label="Name of the playlist" placeholder="Name of a playlist" required maxlength="200" autocomplete="off" dir="auto" />
            <button>Save as playlist</button>
          </form>`}` : html`<p class="sub">Empty.</p>`}
    </section>`;
}

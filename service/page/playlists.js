// Playlists: all of them, and one with its order, its name, its files for other players.
import { html, useEffect, useRef, useState } from "./html.js";
import { json, post, put, remove, save, useAnswer } from "./api.js";
import { addToPlaylist, playlistsChanged, say } from "./store.js";
import { Icon, Loading, minutes, Problem, useTitle } from "./parts.js";
import { enqueue, playQueue } from "./player.js";
import { SortableTracks } from "./sortable.js";
import { Sure } from "./sure.js";

const playlistAddress = id => `#/playlists/${id}`;
const counted = count => (count === 1 ? "1 track" : `${count.toLocaleString()} tracks`);

export function PlaylistsScreen({ id }) {
  return id ? html`<${OnePlaylist} key=${id} id=${id} />` : html`<${AllPlaylists} />`;
}

function AllPlaylists() {
  const turn = playlistsChanged.use(), box = useRef();
  const { data, error } = useAnswer(signal => json("v1/playlists", null, { signal }), [turn]);
  useTitle("Playlists");
  const make = async event => {
    event.preventDefault();
    const made = await addToPlaylist([], box.current.value.trim());
    if (made) location.hash = playlistAddress(made.playlist_id);
  };
  return html`
    <section class="card narrow">
      <h1 tabindex="-1">Playlists</h1>
      ${error ? html`<${Problem} error=${error} />` : !data ? html`<${Loading} />` : data.playlists.length ? html`
        <ul class="plain lists">${data.playlists.map(one => html`
          <li key=${one.playlist_id}><a href=${playlistAddress(one.playlist_id)}><bdi class="title">${one.name}</bdi><span class="sub">${counted(one.tracks)}</span></a></li>`)}</ul>`
        : html`<p class="sub">None yet. Draw around some points of the <a href="#/map">map</a>, save the <a href="#/room">queue</a>, or begin with an empty one:</p>`}
      <form class="row" onSubmit=${make}>
        <input ref=${box} type="text" aria-label="Name of a new playlist" placeholder="Rainy days" required maxlength="200" autocomplete="off" dir="auto" />
        <button>New playlist</button>
      </form>
    </section>`;
}

function OnePlaylist({ id }) {
  const turn = playlistsChanged.use();
  const { data, error } = useAnswer(signal => json(`v1/playlists/${encodeURIComponent(id)}`, null, { signal }), [id, turn]);
  const [list, setList] = useState(null), [busy, setBusy] = useState(false);
  const stored = useRef(null), storing = useRef(Promise.resolve()), waiting = useRef(0);
  useEffect(() => { if (data) setList(stored.current = data); }, [data]);
  useTitle(list ? list.name : "Playlist");
  /** Shows a change at once, and takes it back where it could not be stored. They are stored one after the other: each is a change of what the one before left. */
  const change = part => {
    if (part.tracks) setList({ ...list, tracks: part.tracks });
    setBusy(true);
    waiting.current++;
    return (storing.current = storing.current.then(async () => {
      try {
        const body = { revision: stored.current.revision, ...(part.name && { name: part.name }), ...(part.tracks && { track_ids: part.tracks.map(track => track.track_id) }) };
        stored.current = await put(`v1/playlists/${list.playlist_id}`, body);
      } catch (problem) {
        say(problem.message, true);
        // Somebody else changed it: theirs is shown.
        if (problem.status === 409) playlistsChanged.set(playlistsChanged.get() + 1);
      }
      if (--waiting.current) return;
      setList(stored.current);
      setBusy(false);
    }));
  };
  const arrange = async () => {
    setBusy(true);
    try {
      const known = list.tracks.filter(track => track.in_library), { track_ids } = await post("v1/playback_order", { track_ids: known.map(track => track.track_id) });
      const left = [...known], ordered = track_ids.map(trackId => left.splice(left.findIndex(track => track.track_id === trackId), 1)[0]);
      await change({ tracks: [...ordered, ...list.tracks.filter(track => !track.in_library)] });
    } catch (problem) { say(problem.message, true); }
    setBusy(false);
  };
  const drop = async () => {
    try {
      await remove(`v1/playlists/${list.playlist_id}`);
      playlistsChanged.set(playlistsChanged.get() + 1);
      location.hash = "#/playlists";
    } catch (problem) { say(problem.message, true); }
  };
  const send = async () => {
    try {
      const sent = await post(`v1/playlists/${list.playlist_id}/send`, {});
      const without = why => (sent.left_out ? `, without ${counted(sent.left_out)} ${why}` : "");
      say(sent.file ? `${sent.file} is among the music now${without("whose file is gone")}: the player finds it at its next scan.` : `${list.name} is in the player now${without("that it does not have")}.`);
    } catch (problem) { say(problem.message, true); }
  };
  const file = format => save(`v1/playlists/${list.playlist_id}/file?format=${format}`, `${list.name.replace(/[/\\:*?"<>|]/g, "_")}.${format}`).catch(problem => say(problem.message, true));
  // The heading stays the same one while the rest comes, and keeps the focus.
  return html`
    <section class="card narrow">
      <${Name} name=${list ? list.name : "Playlist"} onName=${list && (name => change({ name }))} />
      ${list ? html`<${Content} list=${list} busy=${busy} change=${change} arrange=${arrange} file=${file} send=${send} drop=${drop} />`
        : error ? html`<${Problem} error=${error}><a class="button" href="#/playlists">All playlists</a><//>` : html`<${Loading} />`}
    </section>`;
}

function Content({ list, busy, change, arrange, file, send, drop }) {
  const { name, tracks } = list, playable = tracks.some(track => track.has_audio);
  const seconds = tracks.reduce((sum, track) => sum + (track.duration_seconds || 0), 0);
  return html`
    <p class="sub">${counted(tracks.length)}${seconds ? `, ${minutes(seconds)}` : ""}</p>
    <div class="row actions">
      <button class="primary" disabled=${!playable} onClick=${() => playQueue(tracks)}><${Icon} name="play" />Play</button>
      <button disabled=${!playable} onClick=${() => { enqueue(tracks); say(`${name} is in the queue.`); }}>Queue it</button>
      <button disabled=${busy || tracks.length < 3} title="Each passes well into the next, by sound, tempo and key; the first stays first" onClick=${arrange}>Crossfaded order</button>
    </div>
    ${tracks.length ? html`
      <${SortableTracks} items=${tracks} label=${`Tracks of ${name}`} onOrder=${ordered => change({ tracks: ordered })} onRemove=${place => change({ tracks: tracks.filter((_, at) => at !== place) })} />`
      : html`<p class="sub">Empty. On the <a href="#/map">map</a>, draw around some points and give them this playlist's name.</p>`}
    <div class="row actions">
      <button disabled=${!tracks.length} onClick=${() => file("m3u8")}>Save as M3U8</button>
      <button disabled=${!tracks.length} onClick=${() => file("jspf")}>Save as JSPF</button>
      <button disabled=${busy || !playable} title="Into the connected player, else among the music, where Navidrome, Jellyfin and other players find it" onClick=${send}>Send to the player</button>
      <${Sure} ask="Delete" of=${name} then=${drop} />
    </div>
    <p class="sub">Sent, it is in the connected player, else among the music, where Navidrome, Jellyfin and other players find it by themselves. A saved file belongs there, too: its paths begin at the folder of music.</p>`;
}

/** A heading that can be written anew. */
function Name({ name, onName }) {
  const [writing, write] = useState(false), box = useRef();
  useEffect(() => { if (writing) box.current.select(); }, [writing]);
  const keep = event => {
    event.preventDefault();
    const text = box.current.value.trim();
    write(false);
    if (text && text !== name) onName(text);
  };
  if (!writing) return html`<div class="row named"><h1 class="grow" tabindex="-1" dir="auto">${name}</h1>${onName && html`<button onClick=${() => write(true)}>Rename</button>`}</div>`;
  return html`
    <form class="row named" onSubmit=${keep}>
      <input ref=${box} type="text" aria-label="Name of the playlist" defaultValue=${name} required maxlength="200" autocomplete="off" dir="auto"
        onKeyDown=${event => { if (event.key === "Escape") write(false); }} />
      <button class="primary">Keep</button>
    </form>`;
}

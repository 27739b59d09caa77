// What can be done with one track: play it next, queue it, radio from it, put it on a playlist.
import { html, useEffect, useRef } from "./html.js";
import { json, useAnswer } from "./api.js";
import { addToPlaylist, moreOf, say } from "./store.js";
import { nameOf } from "./parts.js";
import { enqueue, startRadio } from "./player.js";

const PLAYLISTS = 8;

export function TrackSheet() {
  const track = moreOf.use();
  return track && html`<${Sheet} key=${track.track_id} track=${track} />`;
}

function Sheet({ track }) {
  const dialog = useRef(), box = useRef(), name = nameOf(track);
  const { data } = useAnswer(signal => json("v1/playlists", null, { signal }), []);
  useEffect(() => {
    const from = document.activeElement;
    dialog.current.showModal();
    return () => from?.focus?.();
  }, []);
  const close = () => moreOf.set(null);
  const then = act => () => { close(); act(); };
  const add = list => then(() => addToPlaylist([track.track_id], list));
  return html`
    <dialog class="sheet card" ref=${dialog} aria-labelledby="sheet" onClose=${close} onClick=${event => { if (event.target === dialog.current) close(); }}>
      <div class="row named"><h2 id="sheet" class="grow" dir="auto">${name}</h2><button class="icon-button" aria-label="Close" onClick=${close}>×</button></div>
      ${track.has_audio && html`
        <div class="row actions">
          <button onClick=${then(() => { enqueue([track], { next: true }); say(`${name} plays next.`); })}>Play next</button>
          <button onClick=${then(() => { enqueue([track]); say(`${name} is in the queue.`); })}>Queue it</button>
          <button onClick=${then(() => startRadio(name, { track_ids: [track.track_id], first: track }))}>Radio from it</button>
        </div>`}
      <h3>Put it on a playlist</h3>
      <ul class="plain seeds">${(data?.playlists || []).slice(0, PLAYLISTS).map(list => html`
        <li key=${list.playlist_id}><button onClick=${add(list.name)}><bdi>${list.name}</bdi> <span class="sub">${list.tracks.toLocaleString()}</span></button></li>`)}</ul>
      <form class="row" onSubmit=${event => { event.preventDefault(); add(box.current.value.trim())(); }}>
        <input ref=${box} type="text" aria-label="Name of a playlist" placeholder="A new one" required maxlength="200" autocomplete="off" dir="auto" />
        <button>Put it there</button>
      </form>
    </dialog>`;
}

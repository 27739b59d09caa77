// Values that several parts of the page show, and a hook for each; what is kept beyond a reload lies in the browser.
import { useEffect, useState } from "./html.js";

/** A value whose changes are told to whoever uses it. */
export function store(value) {
  const listeners = new Set();
  return {
    get: () => value,
    set(next) {
      value = next;
      for (const listener of listeners) listener(next);
    },
    update(part) { this.set({ ...value, ...part }); },
    /** The value, inside a component that is drawn again when it changes. */
    use() {
      const [shown, show] = useState(value);
      useEffect(() => {
        listeners.add(show);
        show(value);
        return () => listeners.delete(show);
      }, []);
      return shown;
    },
  };
}

/** One that outlives a reload. A browser that keeps nothing for this page is no reason to fail. */
function kept(name, storage) {
  const read = () => { try { return storage().getItem(name) || ""; } catch { return ""; } };
  const made = store(read());
  const set = made.set;
  made.set = value => {
    try { value ? storage().setItem(name, value) : storage().removeItem(name); } catch { /* only for this visit, then */ }
    set(value);
  };
  return made;
}

/** The API key, until the tab is closed. */
export const apiKey = kept("crossfade-key", () => sessionStorage);
/** "light", "dark", or "" for what the system says. */
export const theme = kept("crossfade-theme", () => localStorage);
/** How many seconds one track fades into the next, as text; "" for the usual. */
export const fading = kept("crossfade-fading", () => localStorage);
fading.seconds = () => (fading.get() === "" ? 4 : Number(fading.get()));
/** The id of the listener who sits here; "" for nobody. */
export const listener = kept("crossfade-listener", () => localStorage);
/** Track ids that this listener liked here. */
export const liked = store(new Set());
/** Why a key is asked for; "" where it is not. */
export const keyAsked = store("");
/** Counts what the player told the service of this listener: each time, what is recommended may have changed. */
export const listensSent = store(0);
/** How much taste (1) counts against sound (0) where tracks are compared. */
export const blending = store(0.5);
/** Whether the service answers. */
export const connected = store(true);
/** Counts the times that everything has to be fetched anew: another key, a service that came back, a track more. */
export const epoch = store(0);
/** What /health/ready said last; null before. */
export const ready = store(null);
/** The newest short message, `{text, wrong}`. */
export const message = store(null);

/** The track that something is to be done with; null for none. */
export const moreOf = store(null);
/** Files of a listening history that were dropped or chosen, until they are imported. */
export const givenHistory = store([]);
/** Counts the changes of playlists. */
export const playlistsChanged = store(0);

export const say = (text, wrong = false) => message.set({ text, wrong });
export const fetchAnew = () => epoch.set(epoch.get() + 1);

listener.set = (set => value => { liked.set(new Set()); set(value); })(listener.set);

/** Puts tracks behind those of the playlist of this name, which is made where there is none; says what became of it.
 *  Resolves to the playlist, `{playlist_id, name, tracks}`, or to null where it failed. */
export async function addToPlaylist(trackIds, name) {
  // Not at the top: the API's module needs this one.
  const { post } = await import("./api.js");
  try {
    const playlist = await post("v1/playlists", { name, track_ids: trackIds });
    playlistsChanged.set(playlistsChanged.get() + 1);
    say(`“${playlist.name}” has ${playlist.tracks === 1 ? "1 track" : `${playlist.tracks.toLocaleString()} tracks`} now.`);
    return playlist;
  } catch (error) {
    say(error.message, true);
    return null;
  }
}

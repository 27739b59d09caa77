// The library: what is in it, what failed and why, how much of it is listened to, and the jobs that keep it up to date.
import { html, useEffect, useRef, useState } from "./html.js";
import { json, post, put, remove, request, save, send, useAnswer } from "./api.js";
import { apiKey, fetchAnew, givenHistory, ready, say } from "./store.js";
import { Loading, nameOf, percent, Problem, useTitle } from "./parts.js";
import { Sure } from "./sure.js";

const WATCH_MS = 1000;
const NAMES = { embed: "Hear the folders", listens: "Import a history", duplicates: "Find duplicates", missing: "Find missing files", forget: "Forget missing files", train: "Train", report: "Write the report" };
const STATES = { running: "running", done: "done", failed: "failed", cancelled: "cancelled", lost: "broken off: it was killed, or the machine stopped" };
const few = new Intl.NumberFormat();
const one = (count, name) => `${few.format(count)} ${name}${count === 1 ? "" : "s"}`;
const when = seconds => new Date(seconds * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

export function LibraryScreen() {
  const { data, error } = useAnswer(signal => json("v1/library", null, { signal }), []);
  useTitle("Library");
  return html`
    <h1 tabindex="-1">Library</h1>
    ${error ? html`<${Problem} error=${error} />` : data ? html`<${Everything} library=${data} />` : html`<section class="card"><${Loading} /></section>`}`;
}

function Everything({ library }) {
  const manages = library.may_manage;
  const analyzed = library.analyzed === library.tracks ? "all of them heard" : `${few.format(library.analyzed)} of them heard`;
  return html`
    <p class="sub lead">${library.tracks ? `${one(library.tracks, "track")}, ${analyzed}, ${few.format(library.with_file)} with a file here.` : "It is empty: name a folder of music below, and its songs are heard one by one."}</p>
    <div class="dashboard">
      ${manages ? html`<${JobsCard} library=${library} />` : html`<section class="card"><h2>Jobs</h2><p class="sub">Who came with this key may listen, not manage. On the service's machine, <code>crossfade keys --new NAME --manage</code> makes a key that may.</p></section>`}
      ${library.analyzed > 0 && html`<${Genres} genres=${library.genres} tracks=${library.analyzed} />`}
      ${library.tempos.length > 0 && html`<${Tempos} tempos=${library.tempos} />`}
      <${ListensCard} tracks=${library.tracks} />
      <${VersionsCard} manages=${manages} />
      ${library.failures > 0 && html`<${Failures} library=${library} />`}
      ${manages && html`<${KeysCard} /><${ListenersCard} />`}
    </div>`;
}

// Jobs

function JobsCard({ library }) {
  const [turn, again] = useState(0);
  const { data, error } = useAnswer(signal => json("v1/jobs", null, { signal }), [turn]);
  const [newest, ...earlier] = data?.jobs || [];
  const running = newest?.state === "running" ? newest : null;
  const refresh = () => again(number => number + 1);
  const start = async wanted => {
    try {
      await wanted();
      refresh();
      return true;
    } catch (problem) {
      say(problem.message, true);
      return false;
    }
  };
  const simply = kind => () => start(() => post("v1/jobs", { kind }));
  if (error) return html`<section class="card wide"><h2>Jobs</h2><${Problem} error=${error} /></section>`;
  const busy = !data || Boolean(running);
  return html`
    <section class="card wide">
      <h2>Jobs</h2>
      ${library.missing_folders.length > 0 && html`<p class="sub">Not there now: ${library.missing_folders.join(", ")}. Rescanning leaves ${library.missing_folders.length === 1 ? "it" : "them"} as known before.</p>`}
      <div class="row actions">
        ${library.folders.length > library.missing_folders.length && html`<button disabled=${busy} onClick=${simply("embed")}>Rescan ${library.folders.length === 1 ? library.folders[0] : "all folders"}</button>`}
        ${library.analyzed > 0 && html`<button disabled=${busy} onClick=${simply("duplicates")}>Find duplicates</button>`}
        ${library.with_file > 0 && html`<button disabled=${busy} onClick=${simply("missing")}>Find missing files</button>`}
        <button disabled=${busy || !library.exists} onClick=${simply("train")}>Train</button>
        <button disabled=${busy || !library.exists} onClick=${simply("report")}>Write the report</button>
        ${library.report_at && html`<${ReportLink} writtenAt=${library.report_at} />`}
      </div>
      <${AddFolder} busy=${busy} start=${start} />
      <${ImportHistory} busy=${busy} start=${start} formats=${data?.log_formats || ["csv"]} />
      ${running && html`<${Running} key=${running.job_id} job=${running} onEnd=${() => { refresh(); fetchAnew(); }} />`}
      ${newest && !running && html`<${PastJob} key=${newest.job_id} job=${newest} open=${newest.state !== "done" || ["duplicates", "missing"].includes(newest.kind)} onForget=${simply("forget")} />`}
      ${earlier.length > 0 && html`<details class="earlier"><summary>Earlier jobs</summary>${earlier.map(job => html`<${PastJob} key=${job.job_id} job=${job} />`)}</details>`}
    </section>`;
}

function ReportLink({ writtenAt }) {
  const path = "v1/library/report", name = `Report of ${when(writtenAt)}`;
  // A link sends no key.
  if (!apiKey.get()) return html`<a class="button" href=${path} target="_blank" rel="noreferrer">${name}</a>`;
  return html`<button onClick=${() => save(path, "report.html").catch(problem => say(problem.message, true))}>${name}</button>`;
}

function AddFolder({ busy, start }) {
  const box = useRef();
  const add = async event => {
    event.preventDefault();
    if (await start(() => post("v1/jobs", { kind: "embed", folder: box.current.value.trim() }))) box.current.value = "";
  };
  return html`
    <form class="row" onSubmit=${add}>
      <label for="folder">Folder of music</label>
      <input ref=${box} id="folder" type="text" placeholder="/home/me/Music, on the service's machine" required maxlength="512" autocomplete="off" spellcheck=${false} />
      <button disabled=${busy}>Hear it</button>
    </form>`;
}

/** The format that a log's files look like. */
function formatOf(files, formats) {
  const names = files.map(file => file.name.toLowerCase()).join(" ");
  const signs = [["yambda", /yambda/], ["movielens", /(ratings|movies|u)\.(csv|dat|data)/], ["lastfm", /user_artists\.dat/], ["mpd", /mpd\.slice/], ["music4all-onion", /userid_trackid/], ["yandex", /catalog_names|interactions\.parquet/]];
  return signs.find(([format, sign]) => formats.includes(format) && sign.test(names))?.[0] || "csv";
}

function ImportHistory({ busy, start, formats }) {
  const files = givenHistory.use(), chooser = useRef();
  const [format, setFormat] = useState("csv"), [match, setMatch] = useState(false), [sent, setSent] = useState(null);
  useEffect(() => { if (files.length) setFormat(formatOf(files, formats)); }, [files, formats]);
  const give = async () => {
    const size = files.reduce((sum, file) => sum + file.size, 0), limit = ready.get()?.upload_bytes;
    if (limit && size > limit) {
      const [megabytes, most] = [size, limit].map(bytes => Math.round(bytes / 2 ** 20));
      return say(`This history has ${megabytes} MB, and the service takes ${most} MB at most. On its machine, crossfade listens FILE --format ${format} reads it.`, true);
    }
    setSent(0);
    const ok = await start(() => send("v1/listens", files, { format, match }, { onProgress: setSent }));
    setSent(null);
    if (ok) givenHistory.set([]);
  };
  return html`
    <div class="row">
      <span class="label" id="history">Listening history</span>
      <button aria-describedby="history" onClick=${() => chooser.current.click()}>${files.length ? "Choose another" : "Choose its export"}</button>
      ${!files.length && html`<span class="sub">or drop it anywhere on this screen: CSV, TSV, Parquet, JSON …</span>`}
      <input ref=${chooser} type="file" multiple hidden aria-label="Listening history" onChange=${event => { givenHistory.set([...event.target.files]); event.target.value = ""; }} />
    </div>
    ${files.length > 0 && html`
      <div class="row given">
        <bdi class="grow">${files.length === 1 ? files[0].name : `${files.length} files, ${files[0].name} …`}</bdi>
        <label for="format">is</label>
        <select id="format" value=${format} onChange=${event => setFormat(event.target.value)}>${formats.map(name => html`<option key=${name} value=${name}>${name}</option>`)}</select>
        <label><input type="checkbox" checked=${match} onChange=${event => setMatch(event.target.checked)} /> find tracks by artist and title</label>
        <button class="primary" disabled=${busy || sent !== null} onClick=${give}>${sent === null ? "Import" : sent < 1 ? `sending ${percent(sent)}` : "sent …"}</button>
        <button disabled=${sent !== null} onClick=${() => givenHistory.set([])}>Leave it</button>
      </div>`}`;
}

/** A job that is watched until it ends. */
function Running({ job, onEnd }) {
  const [shown, show] = useState({ ...job, log: [], answers: [] });
  const [asked, ask] = useState(false);
  useEffect(() => {
    let gone = false, clock;
    const look = async () => {
      try {
        const now = await json(`v1/jobs/${job.job_id}`);
        if (gone) return;
        show(now);
        if (now.state !== "running") return onEnd();
      } catch { /* the page says that the service is away; it is looked at again */ }
      if (!gone) clock = setTimeout(look, WATCH_MS);
    };
    look();
    return () => { gone = true; clearTimeout(clock); };
  }, []);
  const cancel = async () => {
    try {
      await request(`v1/jobs/${job.job_id}/cancel`, { method: "POST" });
      ask(true);
    } catch (problem) { say(problem.message, true); }
  };
  const { progress } = shown;
  return html`
    <section class="job" aria-label="Running job">
      <div class="row">
        <strong class="grow">${NAMES[job.kind] || job.kind}</strong>
        <button onClick=${cancel}>${asked ? "Stop it at once" : "Cancel"}</button>
      </div>
      ${progress
        ? html`<progress max=${progress.total} value=${progress.done} aria-label=${progress.what}></progress>
          <p class="sub">${progress.what}: ${few.format(progress.done)} of ${few.format(progress.total)}${progress.rest && `, ${progress.rest}`}</p>`
        : html`<progress aria-label="running"></progress>`}
      <${Log} job=${shown} />
    </section>`;
}

/** One that ended; what it said is fetched when it is opened. */
function PastJob({ job, open = false, onForget }) {
  const [opened, setOpened] = useState(open);
  return html`
    <details class=${`job ${job.state}`} open=${open} onToggle=${event => setOpened(event.target.open)}>
      <summary><strong>${NAMES[job.kind] || job.kind}</strong> <span class="sub">${when(job.started_at)}: ${STATES[job.state]}</span></summary>
      ${opened && html`<${Told} job=${job} onForget=${onForget} />`}
    </details>`;
}

function Told({ job, onForget }) {
  const { data, error } = useAnswer(signal => json(`v1/jobs/${job.job_id}`, null, { signal }), [job.job_id]);
  if (error) return html`<${Problem} error=${error} />`;
  if (!data) return html`<p class="sub">…</p>`;
  return html`
    ${job.state === "done" && job.kind === "duplicates" ? html`<${Duplicates} found=${data.answers} />`
      : job.state === "done" && job.kind === "missing" ? html`<${Missing} found=${data.answers} onForget=${onForget} />`
      : html`<${Answers} records=${data.answers} />`}
    <${Log} job=${data} />`;
}

function Log({ job }) {
  return html`
    <p class="sub"><code>${job.command}</code></p>
    ${job.log.length > 0 && html`<pre class="log" tabindex="0" aria-label="Log">${job.log.join("\n")}</pre>`}`;
}

/** The plain figures of what a command printed. */
function Answers({ records }) {
  const figures = records.flatMap(record => Object.entries(record)).filter(([, value]) => ["number", "string"].includes(typeof value)).slice(0, 12);
  if (!figures.length) return null;
  return html`<dl class="facts figures">${figures.map(([name, value]) => html`<div><dt>${name.replaceAll("_", " ")}</dt><dd>${typeof value === "number" ? few.format(value) : value}</dd></div>`)}</dl>`;
}

function Duplicates({ found }) {
  const groups = found.filter(record => record.versions);
  if (!groups.length) return html`<p>No recording is there twice.</p>`;
  const told = version => [version.format || "file gone", version.bitrate_kbps && `${version.bitrate_kbps} kbit/s`, version.sample_rate && `${version.sample_rate / 1000} kHz`].filter(Boolean).join(", ");
  return html`
    <p>${one(groups.length, "recording")} ${groups.length === 1 ? "is" : "are"} there more than once; the best is first.</p>
    <ol class="groups" tabindex="0" aria-label="Duplicates">
      ${groups.map(group => html`
        <li key=${group.keep}>${group.versions.map((version, place) => html`
          <div class=${place ? "" : "best"}><a class="title" href=${`#/track/${encodeURIComponent(version.track_id)}`} dir="auto">${nameOf(version)}</a> <span class="sub">${told(version)}</span></div>`)}</li>`)}
    </ol>`;
}

function Missing({ found, onForget }) {
  if (!found.length) return html`<p>No file is missing.</p>`;
  return html`
    <p>${one(found.length, "track")} whose file is gone. Forgotten, a track leaves the library; of one that was listened to, the listens stay.</p>
    <ul class="plain failures" tabindex="0" aria-label="Missing files">${found.map(track => html`<li key=${track.track_id}><bdi class="title">${track.track_id}</bdi>${track.listened && html` <span class="sub">was listened to</span>`}</li>`)}</ul>
    ${onForget && html`<div class="row actions"><${Sure} ask="Forget" of=${one(found.length, "track")} then=${onForget} /></div>`}`;
}

// Distributions

function Genres({ genres, tracks }) {
  const [all, showAll] = useState(false);
  const shown = all ? genres : genres.slice(0, 10), most = genres[0]?.tracks || 1;
  return html`
    <section class="card">
      <h2>Genres</h2>
      <ol class="bars" aria-label="Tracks by their likeliest genre">
        ${shown.map(({ name, tracks: count }) => html`
          <li key=${name}><span class="bar-name">${name}</span><span class="bar" aria-hidden="true"><i style=${{ width: `${(100 * count) / most}%` }}></i></span>
            <span class="bar-value" title=${percent(count / tracks)}>${few.format(count)}</span></li>`)}
      </ol>
      ${genres.length > 10 && html`<button class="more" onClick=${() => showAll(!all)}>${all ? "The first ten" : `All ${genres.length}`}</button>`}
    </section>`;
}

function Tempos({ tempos }) {
  const width = 10, first = tempos[0].from_bpm, last = tempos[tempos.length - 1].from_bpm;
  const counts = new Map(tempos.map(bin => [bin.from_bpm, bin.tracks]));
  const bins = Array.from({ length: (last - first) / width + 1 }, (_, place) => first + place * width);
  const most = Math.max(...counts.values());
  return html`
    <section class="card">
      <h2>Tempo <span class="sub">beats per minute</span></h2>
      <ol class="histogram" aria-label="Tracks by tempo">
        ${bins.map(bpm => {
          const count = counts.get(bpm) || 0;
          return html`<li key=${bpm} title=${`${bpm} to ${bpm + width - 1}: ${one(count, "track")}`}>
            <span class="unseen">${`${bpm} to ${bpm + width - 1} beats per minute: ${one(count, "track")}`}</span>
            <i style=${{ height: `${(100 * count) / most}%` }} aria-hidden="true"></i><b aria-hidden="true">${bpm % 40 ? "" : bpm}</b></li>`;
        })}
      </ol>
    </section>`;
}

function ListensCard({ tracks }) {
  const { data, error } = useAnswer(signal => json("v1/library/listens", null, { signal }), []);
  const share = data && tracks ? data.tracks_in_library / tracks : 0;
  return html`
    <section class="card">
      <h2>Listens</h2>
      ${error ? html`<${Problem} error=${error} />` : !data ? html`<p class="sub">being counted …</p>` : !data.listens ? html`<p class="sub">None yet. Import a listening history, and the library learns taste.</p>` : html`
        <p>${one(data.listens, "listen")} of ${one(data.users, "listener")}${data.first_day ? `, ${data.first_day} to ${data.last_day}` : ""}.</p>
        <div class="coverage"><span class="bar" aria-hidden="true"><i style=${{ width: `${100 * share}%` }}></i></span>
          <p class="sub">${percent(share)} of the library was listened to${data.tracks > data.tracks_in_library ? `; ${one(data.tracks - data.tracks_in_library, "track")} of the log are not in it` : ""}.</p></div>
        <ul class="plain">${data.sources.map(source => html`<li key=${source.name}><bdi>${source.name}</bdi> <span class="sub">${few.format(source.listens)}</span></li>`)}</ul>`}
    </section>`;
}

function Failures({ library }) {
  return html`
    <section class="card wide">
      <h2>Could not be heard <span class="badge">${few.format(library.failures)}</span></h2>
      <ul class="plain failures" tabindex="0" aria-label="Files that could not be heard">${library.failed.map(({ file, reason }) => html`<li key=${file}><bdi class="title">${file}</bdi> <span class="sub">${reason}</span></li>`)}</ul>
      ${library.failures > library.failed.length && html`<p class="sub">and ${few.format(library.failures - library.failed.length)} more: <code>crossfade failures</code> lists them all.</p>`}
    </section>`;
}

// Versions, keys and listeners

function VersionsCard({ manages }) {
  const { data, error } = useAnswer(signal => json("v1/versions", null, { signal }), []);
  const [busy, setBusy] = useState(false);
  const use = async name => {
    setBusy(true);
    try {
      await put("v1/versions/current", { name });
      say("This version answers now.");
      fetchAnew();
    } catch (problem) { say(problem.message, true); }
    setBusy(false);
  };
  const names = [...new Set((data?.versions || []).flatMap(version => Object.keys(version.figures)))].slice(0, 4);
  return html`
    <section class="card wide">
      <h2>Trained versions</h2>
      ${error ? html`<${Problem} error=${error} />` : !data ? html`<p class="sub">…</p>` : !data.versions.length ? html`<p class="sub">None yet: songs are compared by their sound alone. With listens, <b>Train</b> learns taste.</p>` : html`
        <div class="table" tabindex="0" role="region" aria-label="Trained versions"><table>
          <thead><tr><th scope="col">Trained</th><th scope="col">Listens</th><th scope="col">Listeners</th>${names.map(name => html`<th scope="col" key=${name}>${name.replaceAll("_", " ").replace(/^ndcg/, "NDCG")}</th>`)}<th scope="col"><span class="unseen">Use</span></th></tr></thead>
          <tbody>${data.versions.map(version => html`
            <tr key=${version.name} class=${version.current ? "current" : ""}>
              <th scope="row" title=${version.name}>${version.trained_at ? when(version.trained_at) : version.name}</th>
              <td>${version.listens === null ? "" : few.format(version.listens)}</td><td>${version.users === null ? "" : few.format(version.users)}</td>
              ${names.map(name => html`<td key=${name}>${version.figures[name] === undefined ? "" : version.figures[name].toFixed(3)}</td>`)}
              <td>${version.current ? html`<span class="badge cool">answers now</span>` : manages && html`<button disabled=${busy} onClick=${() => use(version.name)}>Use this</button>`}</td>
            </tr>`)}</tbody>
        </table></div>
        <p class="sub">Figures were measured on the last part of the log, which the version had not seen.</p>`}
    </section>`;
}

function KeysCard() {
  const [turn, again] = useState(0), [made, setMade] = useState(null);
  const { data, error } = useAnswer(signal => json("v1/keys", null, { signal }), [turn]);
  const name = useRef(), manages = useRef();
  const make = async event => {
    event.preventDefault();
    try {
      setMade(await post("v1/keys", { name: name.current.value.trim(), manages: manages.current.checked }));
      name.current.value = "";
      again(number => number + 1);
    } catch (problem) { say(problem.message, true); }
  };
  const revoke = async key => {
    try {
      await remove(`v1/keys/${encodeURIComponent(key)}`);
      again(number => number + 1);
    } catch (problem) { say(problem.message, true); }
  };
  return html`
    <section class="card">
      <h2>Keys</h2>
      <p class="sub">Other machines need one: in the header <code>X-API-Key</code>, or typed into this page.</p>
      ${error && html`<${Problem} error=${error} />`}
      <ul class="plain">${(data?.keys || []).map(key => html`
        <li key=${key.name} class="row"><bdi class="grow">${key.name}</bdi>${key.manages && html`<span class="badge">manages</span>`}<${Sure} ask="Revoke" of=${key.name} then=${() => revoke(key.name)} /></li>`)}</ul>
      <form class="row" onSubmit=${make}>
        <input ref=${name} type="text" aria-label="Name of a new key" placeholder="phone" required maxlength="100" autocomplete="off" />
        <label><input ref=${manages} type="checkbox" /> may manage</label>
        <button>Make a key</button>
      </form>
      ${made && html`<p role="status">The key of <bdi>${made.name}</bdi>, shown this once: <code>${made.key}</code></p>`}
    </section>`;
}

function ListenersCard() {
  const box = useRef(), [who, setWho] = useState("");
  const path = () => `v1/listeners/${who.split("/").map(encodeURIComponent).join("/")}`;
  const forget = async () => {
    try {
      const gone = await remove(path());
      say(gone.listens === null ? `${who} is being deleted from the log.` : `${who} is deleted: ${one(gone.events + gone.listens, "listen")}.`);
      setWho(box.current.value = "");
      fetchAnew();
    } catch (problem) { say(problem.message, true); }
  };
  return html`
    <section class="card">
      <h2>Listeners</h2>
      <p class="sub">All that is kept of one, to take away or to have deleted.</p>
      <div class="row">
        <label for="person">Listener</label>
        <input ref=${box} id="person" type="text" placeholder="an id of the listening log" maxlength="512" autocomplete="off" spellcheck=${false} onInput=${event => setWho(event.target.value.trim())} />
      </div>
      <div class="row">
        <button disabled=${!who} onClick=${() => save(path(), "listener.json").catch(problem => say(problem.message, true))}>Save their data</button>
        <${Sure} ask="Delete" of=${who} disabled=${!who} then=${forget} />
      </div>
    </section>`;
}

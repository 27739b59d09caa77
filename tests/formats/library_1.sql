-- A library of format 1 (Crossfade 0.1) with a genre model: one vocabulary for all of `heard`.
-- `by_model` was embedded, `uploaded` has the vector of the 16 built-in genres, `unnamed` was zeroed by a new model.
PRAGMA journal_mode = WAL;
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE heard (
    content_hash TEXT PRIMARY KEY,
    duration_seconds REAL NOT NULL,
    embedding BLOB NOT NULL,          -- [D] float32
    genres BLOB NOT NULL,             -- [G] float32 probabilities, columns named by about.genres
    description TEXT NOT NULL         -- JSON: confident, moods, tempo_bpm, key, loudness_lufs
) WITHOUT ROWID;
CREATE TABLE tracks (
    track_row INTEGER PRIMARY KEY,
    track_id TEXT NOT NULL UNIQUE,
    path BLOB UNIQUE,
    size INTEGER,
    mtime_ns INTEGER,
    content_hash TEXT REFERENCES heard,
    title TEXT,
    artists TEXT NOT NULL DEFAULT '[]',
    album TEXT,
    genres TEXT NOT NULL DEFAULT '[]',
    released_at INTEGER
);
CREATE INDEX tracks_by_content ON tracks (content_hash);
CREATE TABLE failures (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, reason TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE vectors (
    name TEXT NOT NULL, track_row INTEGER NOT NULL REFERENCES tracks ON DELETE CASCADE, vector BLOB NOT NULL,
    PRIMARY KEY (name, track_row)
) WITHOUT ROWID;
INSERT INTO about VALUES
    ('format', '1'),
    ('encoder', 'musicnn-msd'),
    ('genre_model', '{"path": "/models/own", "hash": "5f2c"}'),
    ('genres', '["loud", "quiet"]');
INSERT INTO heard VALUES
    ('h1', 4.0, x'0000803F00000040', x'0000403F0000803E', '{"confident": true, "moods": []}'),
    ('h2', 5.0, x'0000004000000040', x'0000803D0000803D0000803D0000803D0000803D0000803D0000803D0000803D0000803D0000803D0000803D0000803D0000803D0000803D0000803D0000803D', '{"confident": false, "moods": []}'),
    ('h3', 6.0, x'0000404000000040', x'0000000000000000', '{"confident": true, "moods": []}');
INSERT INTO tracks (track_id, path, size, mtime_ns, content_hash, title) VALUES
    ('by_model', x'2F6D2F612E776176', 10, 20, 'h1', 'One'),
    ('uploaded', x'2F6D2F622E776176', 11, 21, 'h2', 'Two'),
    ('unnamed', x'2F6D2F632E776176', 12, 22, 'h3', NULL),
    ('silent', NULL, NULL, NULL, NULL, 'Never heard');
INSERT INTO failures VALUES (x'2F6D2F782E6D7033', 1, 2, 'not audio');

-- The first schema, for tests of the way from it.
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- Each bus's place in its stream, and whether it has caught up once; for a directory the device
-- (st_dev) that it lies on.
CREATE TABLE positions (
    source    TEXT PRIMARY KEY,
    position  TEXT,
    caught_up INTEGER NOT NULL DEFAULT 0,
    device    TEXT
) WITHOUT ROWID;

-- The log. Times are milliseconds since 1970. A row without a verdict is not final yet.
CREATE TABLE journal (
    seq        INTEGER PRIMARY KEY,
    source     TEXT NOT NULL,
    at         INTEGER NOT NULL,
    kind       TEXT,             -- of the object
    key        TEXT,             -- of the object
    change     TEXT NOT NULL,    -- 'add' or 'remove'
    origin     ANY,              -- the file, the message's id, or the operator: 'uid 1000'
    position   TEXT,
    admission  TEXT NOT NULL,    -- 'order', 'conclusion', 'held', 'refused'; of a bus that catches up:
                                 -- 'history', 'first_look'; by an operator: 'released', 'discarded',
                                 -- 'removed'
    hold       TEXT,
    request    BLOB NOT NULL,    -- Sōzu's protobuf Request, without a private key that a file has
    original   BLOB,             -- a bus's own bytes, of what is not let in
    verdict    TEXT,
    reason     TEXT,
    verdict_at INTEGER
);
CREATE INDEX journal_tail ON journal (seq) WHERE verdict IS NULL;
CREATE INDEX journal_refused ON journal (seq) WHERE verdict = 'refused';
CREATE INDEX journal_source ON journal (source, at);

-- The accepted declared sets: what each source says of each key.
CREATE TABLE objects (
    kind      TEXT NOT NULL,
    key       TEXT NOT NULL,
    source    TEXT NOT NULL,
    stance    TEXT NOT NULL,     -- 'present', 'absent', 'kept'
    why       TEXT,              -- of 'kept': 'hold', 'take_over', 'still_used', 'orphaned'
    hold      TEXT,
    origin    ANY,
    request   BLOB NOT NULL,     -- the request that adds the object, or that removed it
    original  BLOB,              -- the source's own bytes, where they say more than the request
    message   TEXT,              -- the message's id
    since     INTEGER NOT NULL,  -- the log entry with which the source began to want it
    at        INTEGER NOT NULL,
    unseen_in TEXT,              -- of 'absent': the life of Sōzu that was read without it
    PRIMARY KEY (kind, key, source)
) WITHOUT ROWID;

CREATE VIEW dead_letters AS
    SELECT seq, source, at, kind, key, origin, position, reason, request, original FROM journal
    WHERE verdict = 'refused';
CREATE VIEW holds AS
    SELECT hold AS id, source, count(*) AS objects, min(at) AS at FROM objects
    WHERE stance = 'kept' AND hold IS NOT NULL GROUP BY hold, source;

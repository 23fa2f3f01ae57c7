-- +goose Up
CREATE TABLE area (
  code   TEXT PRIMARY KEY,
  level  TEXT NOT NULL,
  name   TEXT NOT NULL,
  parent TEXT NOT NULL,
  doc    TEXT NOT NULL
);
-- What a list shows of an elder is apart from the file: a search reads many.
CREATE TABLE elder (
  id         TEXT   PRIMARY KEY,
  status     TEXT   NOT NULL,
  area_code  TEXT   NOT NULL,
  updated_us BIGINT NOT NULL,
  version    BIGINT NOT NULL,
  digest     TEXT   NOT NULL,
  brief      TEXT   NOT NULL
) WITHOUT ROWID;
-- With a rowid: in a tree of keys a row of more than 1,002 bytes takes pages of its own.
CREATE TABLE elder_file (
  elder_id TEXT PRIMARY KEY,
  sealed   TEXT NOT NULL,
  doc      TEXT NOT NULL
);
-- The keys of elders stand in narrow tables of their own, ordered by the key, so
-- that a bulk load can write them sorted and touch few pages.
CREATE TABLE elder_ident (
  ident    TEXT NOT NULL,
  elder_id TEXT NOT NULL,
  PRIMARY KEY (ident)
) WITHOUT ROWID;
CREATE TABLE elder_person (
  name       TEXT NOT NULL,
  birth_date TEXT NOT NULL,
  area_code  TEXT NOT NULL,
  elder_id   TEXT NOT NULL,
  PRIMARY KEY (name, birth_date, area_code, elder_id)
) WITHOUT ROWID;
CREATE TABLE elder_phone (
  reversed TEXT   NOT NULL,
  elder_id TEXT   NOT NULL,
  contact  BIGINT NOT NULL,
  PRIMARY KEY (reversed, elder_id, contact)
) WITHOUT ROWID;
CREATE TABLE name_token (
  token TEXT NOT NULL,
  name  TEXT NOT NULL,
  PRIMARY KEY (token, name)
) WITHOUT ROWID;
CREATE TABLE device (
  id          TEXT   PRIMARY KEY,
  protocol    TEXT   NOT NULL,
  external_id TEXT   NOT NULL,
  reversed    TEXT   NOT NULL,
  sim_number  TEXT   NOT NULL,
  elder_id    TEXT   NOT NULL,
  kind        TEXT   NOT NULL,
  state       TEXT   NOT NULL,
  class       TEXT   NOT NULL,
  version     BIGINT NOT NULL,
  doc         TEXT   NOT NULL,
  UNIQUE (protocol, external_id)
);
CREATE INDEX device_external ON device (external_id);
CREATE INDEX device_reversed ON device (reversed);
CREATE INDEX device_sim ON device (sim_number) WHERE sim_number <> '';
CREATE INDEX device_elder ON device (elder_id) WHERE elder_id <> '';
-- Signs of life change often and belong to nobody's edit.
CREATE TABLE device_sign (
  device_id  TEXT   PRIMARY KEY,
  seen_us    BIGINT NOT NULL,
  battery    BIGINT,
  fix        TEXT   NOT NULL,
  levels     TEXT   NOT NULL,
  offline_us BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX sign_offline ON device_sign (offline_us) WHERE offline_us <> 0;
CREATE TABLE provider (
  id           TEXT   PRIMARY KEY,
  external_key TEXT   NOT NULL,
  name         TEXT   NOT NULL,
  state        TEXT   NOT NULL,
  version      BIGINT NOT NULL,
  doc          TEXT   NOT NULL
);
CREATE UNIQUE INDEX provider_key ON provider (external_key) WHERE external_key <> '';
CREATE TABLE responder (
  id           TEXT   PRIMARY KEY,
  external_key TEXT   NOT NULL,
  provider_id  TEXT   NOT NULL,
  user_id      TEXT   NOT NULL,
  name         TEXT   NOT NULL,
  duty         TEXT   NOT NULL,
  version      BIGINT NOT NULL,
  doc          TEXT   NOT NULL
);
CREATE UNIQUE INDEX responder_key ON responder (external_key) WHERE external_key <> '';
CREATE UNIQUE INDEX responder_user ON responder (user_id) WHERE user_id <> '';
CREATE TABLE responder_phone (
  phone        TEXT NOT NULL,
  responder_id TEXT NOT NULL,
  PRIMARY KEY (phone, responder_id)
) WITHOUT ROWID;
-- +goose Down
DROP TABLE responder_phone; DROP TABLE responder; DROP TABLE provider; DROP TABLE device_sign; DROP TABLE device;
DROP TABLE name_token; DROP TABLE elder_phone; DROP TABLE elder_person; DROP TABLE elder_ident; DROP TABLE elder_file; DROP TABLE elder; DROP TABLE area;

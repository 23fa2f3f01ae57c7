-- +goose Up
CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
);
CREATE TABLE event (
  agg_id      TEXT   NOT NULL,
  seq         BIGINT NOT NULL,
  id          TEXT   NOT NULL,
  type        TEXT   NOT NULL,
  v           BIGINT NOT NULL,
  agg         TEXT   NOT NULL,
  incident_id TEXT   NOT NULL,
  provider_id TEXT   NOT NULL,
  at_us       BIGINT NOT NULL,
  actor       TEXT   NOT NULL,
  body        TEXT   NOT NULL,
  PRIMARY KEY (agg_id, seq)
);
CREATE INDEX event_incident ON event (incident_id, at_us) WHERE incident_id <> '';
-- Facts that are not in the stream yet. A row goes when it is.
CREATE TABLE outbox (
  pos        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  agg_id     TEXT   NOT NULL,
  seq        BIGINT NOT NULL,
  created_us BIGINT NOT NULL
);
CREATE TABLE idem (
  scope    TEXT   NOT NULL,
  ikey     TEXT   NOT NULL,
  ref_id   TEXT   NOT NULL,
  digest   TEXT   NOT NULL,
  reply    TEXT   NOT NULL,
  first_us BIGINT NOT NULL,
  last_us  BIGINT NOT NULL,
  hits     BIGINT NOT NULL,
  PRIMARY KEY (scope, ikey)
);
CREATE INDEX idem_last ON idem (last_us);
CREATE TABLE lease (
  name       TEXT   PRIMARY KEY,
  holder     TEXT   NOT NULL,
  epoch      BIGINT NOT NULL,
  expires_us BIGINT NOT NULL
);
CREATE TABLE timer (
  agg_id  TEXT   NOT NULL,
  kind    TEXT   NOT NULL,
  due_us  BIGINT NOT NULL,
  state   TEXT   NOT NULL,
  version BIGINT NOT NULL,
  body    TEXT   NOT NULL,
  PRIMARY KEY (agg_id, kind)
);
CREATE INDEX timer_due ON timer (due_us) WHERE state = 'armed';
-- +goose Down
DROP TABLE timer; DROP TABLE lease; DROP TABLE idem; DROP TABLE outbox; DROP TABLE event; DROP TABLE meta;

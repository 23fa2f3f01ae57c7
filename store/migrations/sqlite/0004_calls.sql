-- +goose Up
CREATE TABLE phone_call (
  id          TEXT   PRIMARY KEY,
  live        BIGINT NOT NULL,
  number      TEXT   NOT NULL,
  elder_id    TEXT   NOT NULL,
  incident_id TEXT   NOT NULL,
  epoch       BIGINT NOT NULL,
  arrived_us  BIGINT NOT NULL,
  version     BIGINT NOT NULL,
  doc         TEXT   NOT NULL
);
CREATE INDEX phone_call_live ON phone_call (epoch) WHERE live = 1;
CREATE INDEX phone_call_arrived ON phone_call (arrived_us);
CREATE INDEX phone_call_incident ON phone_call (incident_id, arrived_us) WHERE incident_id <> '';
CREATE INDEX phone_call_elder ON phone_call (elder_id, arrived_us) WHERE elder_id <> '';
CREATE TABLE call_back (
  id        TEXT   PRIMARY KEY,
  open      BIGINT NOT NULL,
  class     BIGINT NOT NULL,
  number    TEXT   NOT NULL,
  opened_us BIGINT NOT NULL,
  version   BIGINT NOT NULL,
  doc       TEXT   NOT NULL
);
CREATE INDEX call_back_open ON call_back (class, opened_us) WHERE open = 1;
CREATE INDEX call_back_number ON call_back (number, opened_us) WHERE open = 1;
CREATE TABLE call_operator (
  user_id TEXT   PRIMARY KEY,
  epoch   BIGINT NOT NULL,
  version BIGINT NOT NULL,
  doc     TEXT   NOT NULL
);
-- +goose Down
DROP TABLE call_operator; DROP TABLE call_back; DROP TABLE phone_call;

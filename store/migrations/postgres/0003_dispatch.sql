-- +goose Up
CREATE TABLE incident (
  id        TEXT   PRIMARY KEY,
  no        TEXT   NOT NULL UNIQUE,
  status    TEXT   NOT NULL,
  open      BIGINT NOT NULL,
  elder_id  TEXT   NOT NULL,
  device_id TEXT   NOT NULL,
  priority  BIGINT NOT NULL,
  opened_us BIGINT NOT NULL,
  version   BIGINT NOT NULL,
  doc       TEXT   NOT NULL
);
CREATE INDEX incident_open ON incident (priority, opened_us) WHERE open = 1;
CREATE INDEX incident_elder ON incident (elder_id, opened_us) WHERE elder_id <> '';
CREATE INDEX incident_opened ON incident (opened_us);
CREATE TABLE incident_subject (
  subject     TEXT PRIMARY KEY,
  incident_id TEXT NOT NULL
);
CREATE INDEX incident_subject_incident ON incident_subject (incident_id);
CREATE TABLE task (
  id          TEXT   PRIMARY KEY,
  kind        TEXT   NOT NULL,
  incident_id TEXT   NOT NULL,
  open        BIGINT NOT NULL,
  created_us  BIGINT NOT NULL,
  version     BIGINT NOT NULL,
  doc         TEXT   NOT NULL
);
CREATE INDEX task_open ON task (created_us) WHERE open = 1;
CREATE INDEX task_incident ON task (incident_id) WHERE open = 1;
CREATE TABLE assignment (
  id          TEXT   PRIMARY KEY,
  for_kind    TEXT   NOT NULL,
  for_id      TEXT   NOT NULL,
  status      TEXT   NOT NULL,
  open        BIGINT NOT NULL,
  created_us  BIGINT NOT NULL,
  version     BIGINT NOT NULL,
  doc         TEXT   NOT NULL
);
CREATE INDEX assignment_for ON assignment (for_kind, for_id, created_us);
CREATE INDEX assignment_open ON assignment (created_us) WHERE open = 1;
CREATE TABLE offer (
  id            TEXT   PRIMARY KEY,
  assignment_id TEXT   NOT NULL,
  responder_id  TEXT   NOT NULL,
  status        TEXT   NOT NULL,
  open          BIGINT NOT NULL,
  sent_us       BIGINT NOT NULL,
  version       BIGINT NOT NULL,
  doc           TEXT   NOT NULL
);
CREATE INDEX offer_assignment ON offer (assignment_id, sent_us);
CREATE INDEX offer_responder ON offer (responder_id, sent_us);
CREATE TABLE responder_claim (
  responder_id  TEXT PRIMARY KEY,
  assignment_id TEXT NOT NULL
);
CREATE TABLE counter (
  name  TEXT   PRIMARY KEY,
  value BIGINT NOT NULL
);
CREATE TABLE alarm (
  pos             BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id              TEXT   NOT NULL UNIQUE,
  device_id       TEXT   NOT NULL,
  incident_id     TEXT   NOT NULL,
  source_event_id TEXT   NOT NULL UNIQUE,
  received_us     BIGINT NOT NULL,
  doc             TEXT   NOT NULL
);
CREATE INDEX alarm_incident ON alarm (incident_id);
-- +goose Down
DROP TABLE alarm; DROP TABLE counter; DROP TABLE responder_claim; DROP TABLE offer; DROP TABLE assignment; DROP TABLE task; DROP TABLE incident_subject; DROP TABLE incident;

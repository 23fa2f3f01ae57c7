-- +goose Up
CREATE TABLE account (
  id       TEXT   PRIMARY KEY,
  name     TEXT   NOT NULL UNIQUE,
  role     TEXT   NOT NULL,
  disabled BIGINT NOT NULL,
  password TEXT   NOT NULL,
  version  BIGINT NOT NULL,
  doc      TEXT   NOT NULL
);
CREATE TABLE session (
  hash       TEXT   PRIMARY KEY,
  account_id TEXT   NOT NULL,
  created_us BIGINT NOT NULL,
  seen_us    BIGINT NOT NULL,
  expires_us BIGINT NOT NULL
);
CREATE INDEX session_account ON session (account_id);
CREATE INDEX session_expires ON session (expires_us);
CREATE TABLE sip_account (
  account    TEXT PRIMARY KEY,
  account_id TEXT NOT NULL
);
CREATE TABLE sip_ha1 (
  account   TEXT NOT NULL,
  realm     TEXT NOT NULL,
  algorithm TEXT NOT NULL,
  ha1       TEXT NOT NULL,
  PRIMARY KEY (account, realm, algorithm)
);
CREATE TABLE sip_binding (
  account    TEXT   NOT NULL,
  contact    TEXT   NOT NULL,
  expires_us BIGINT NOT NULL,
  doc        TEXT   NOT NULL,
  PRIMARY KEY (account, contact)
);
CREATE TABLE audit (
  pos    BIGINT PRIMARY KEY,
  at_us  BIGINT NOT NULL,
  actor  TEXT   NOT NULL,
  action TEXT   NOT NULL,
  object TEXT   NOT NULL,
  detail TEXT   NOT NULL,
  hash   TEXT   NOT NULL
);
CREATE INDEX audit_object ON audit (object, pos);
CREATE TABLE audit_head (
  id   BIGINT PRIMARY KEY,
  pos  BIGINT NOT NULL,
  hash TEXT   NOT NULL
);
INSERT INTO audit_head (id, pos, hash) VALUES (1, 0, '');
-- +goose StatementBegin
CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$;
-- +goose StatementEnd
CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_append_only();
-- +goose Down
DROP TABLE audit_head; DROP TABLE audit; DROP FUNCTION audit_append_only; DROP TABLE sip_binding; DROP TABLE sip_ha1; DROP TABLE sip_account; DROP TABLE session; DROP TABLE account;

-- +goose Up
CREATE INDEX device_sign_offline ON device_sign (offline_us) WHERE offline_us <> 0;
-- Frames nobody could read, the newest ones: raw is hexadecimal.
CREATE TABLE sos_frame (
  pos        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  protocol   TEXT   NOT NULL,
  claimed_id TEXT   NOT NULL,
  at_us      BIGINT NOT NULL,
  reason     TEXT   NOT NULL,
  raw        TEXT   NOT NULL
);
-- +goose Down
DROP TABLE sos_frame; DROP INDEX device_sign_offline;

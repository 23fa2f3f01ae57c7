-- name: InsertFrame :one
INSERT INTO sos_frame (protocol, claimed_id, at_us, reason, raw) VALUES ($1, $2, $3, $4, $5) RETURNING pos;

-- name: DropFrames :exec
DELETE FROM sos_frame WHERE pos <= $1;

-- name: Frames :many
SELECT * FROM sos_frame ORDER BY pos DESC LIMIT $1;

-- name: MarkOffline :execrows
UPDATE device_sign SET offline_us = $2 WHERE device_id = $1 AND offline_us = 0 AND seen_us <= $3;

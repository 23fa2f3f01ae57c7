-- name: GetMeta :one
SELECT value FROM meta WHERE name = $1;

-- name: SetMeta :exec
INSERT INTO meta (name, value) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: InsertEvent :exec
INSERT INTO event (agg_id, seq, id, type, v, agg, incident_id, provider_id, at_us, actor, body)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: IncidentEvents :many
SELECT * FROM event WHERE incident_id = $1 AND incident_id <> '' ORDER BY at_us, id LIMIT $2;

-- name: AggregateEvents :many
SELECT * FROM event WHERE agg_id = $1 AND seq > $2 ORDER BY seq LIMIT $3;

-- name: InsertOutbox :exec
INSERT INTO outbox (agg_id, seq, created_us) VALUES ($1, $2, $3);

-- name: OutboxWaiting :many
SELECT o.pos, sqlc.embed(e) FROM outbox o JOIN event e ON e.agg_id = o.agg_id AND e.seq = o.seq ORDER BY o.pos LIMIT $1;

-- name: DeleteOutbox :exec
DELETE FROM outbox WHERE pos = $1;

-- name: DeleteOutboxRange :exec
DELETE FROM outbox WHERE pos >= $1 AND pos <= $2;

-- name: OutboxStats :one
SELECT count(*) AS pending, CAST(coalesce(min(created_us), 0) AS BIGINT) AS oldest_us FROM outbox;

-- name: TakeKey :one
INSERT INTO idem (scope, ikey, ref_id, digest, reply, first_us, last_us, hits)
VALUES ($1, $2, $3, $4, '', $5, $5, 1)
ON CONFLICT (scope, ikey) DO UPDATE SET hits = idem.hits + 1, last_us = excluded.last_us
RETURNING ref_id, digest, reply, first_us, hits;

-- name: SetReply :exec
UPDATE idem SET reply = $3 WHERE scope = $1 AND ikey = $2;

-- name: DeleteOldKeys :execrows
DELETE FROM idem WHERE last_us < $1;

-- name: ArmTimer :one
INSERT INTO timer (agg_id, kind, due_us, state, version, body) VALUES ($1, $2, $3, 'armed', 1, $4)
ON CONFLICT (agg_id, kind) DO UPDATE SET due_us = excluded.due_us, state = 'armed', version = timer.version + 1, body = excluded.body
RETURNING version;

-- name: DisarmTimer :exec
UPDATE timer SET state = 'off', version = version + 1 WHERE agg_id = $1 AND kind = $2 AND state = 'armed';

-- name: FireTimer :execrows
UPDATE timer SET state = 'fired', version = version + 1 WHERE agg_id = $1 AND kind = $2 AND version = $3 AND state = 'armed';

-- name: ArmedTimers :many
SELECT agg_id, kind, due_us, version, body FROM timer WHERE state = 'armed' AND due_us <= $1 ORDER BY due_us LIMIT $2;

-- name: DeleteDoneTimers :execrows
DELETE FROM timer WHERE state <> 'armed' AND due_us < $1;

-- name: GetLease :one
SELECT holder, epoch, expires_us FROM lease WHERE name = $1;

-- name: InsertLease :execrows
INSERT INTO lease (name, holder, epoch, expires_us) VALUES ($1, '', 0, 0) ON CONFLICT (name) DO NOTHING;

-- name: TakeLease :execrows
UPDATE lease SET holder = $2, epoch = epoch + 1, expires_us = $3 WHERE name = $1 AND epoch = $4 AND expires_us < $5;

-- name: RenewLease :execrows
UPDATE lease SET expires_us = $3 WHERE name = $1 AND holder = $2 AND epoch = $4;

-- name: ReleaseLease :execrows
UPDATE lease SET expires_us = 0 WHERE name = $1 AND holder = $2 AND epoch = $3;

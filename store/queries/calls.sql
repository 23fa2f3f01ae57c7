-- name: InsertCall :execrows
INSERT INTO phone_call (id, live, number, elder_id, incident_id, epoch, arrived_us, version, doc) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: UpdateCall :execrows
UPDATE phone_call SET live = $2, number = $3, elder_id = $4, incident_id = $5, version = $6, doc = $7 WHERE id = $1 AND version = $8;

-- name: GetCall :one
SELECT doc FROM phone_call WHERE id = $1;

-- name: LockCall :one
UPDATE phone_call SET live = live WHERE id = $1 RETURNING doc;

-- name: LiveCalls :many
SELECT doc FROM phone_call WHERE live = 1 AND epoch < $1 ORDER BY arrived_us LIMIT $2;

-- name: RecentCalls :many
SELECT doc FROM phone_call ORDER BY arrived_us DESC LIMIT $1;

-- name: CallsOfIncident :many
SELECT doc FROM phone_call WHERE incident_id = $1 AND incident_id <> '' ORDER BY arrived_us LIMIT $2;

-- name: CallsOfElder :many
SELECT doc FROM phone_call WHERE elder_id = $1 AND elder_id <> '' ORDER BY arrived_us DESC LIMIT $2;

-- name: InsertCallBack :execrows
INSERT INTO call_back (id, open, class, number, opened_us, version, doc) VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: UpdateCallBack :execrows
UPDATE call_back SET open = $2, class = $3, version = $4, doc = $5 WHERE id = $1 AND version = $6;

-- name: GetCallBack :one
SELECT doc FROM call_back WHERE id = $1;

-- name: LockCallBack :one
UPDATE call_back SET open = open WHERE id = $1 RETURNING doc;

-- name: OpenCallBackOf :one
UPDATE call_back SET open = open WHERE id = (SELECT c.id FROM call_back c WHERE c.number = $1 AND c.open = 1 ORDER BY c.opened_us DESC LIMIT 1) RETURNING doc;

-- name: OpenCallBacks :many
SELECT doc FROM call_back WHERE open = 1 ORDER BY class, opened_us LIMIT $1;

-- name: InsertOperator :execrows
INSERT INTO call_operator (user_id, epoch, version, doc) VALUES ($1, $2, $3, $4);

-- name: UpdateOperator :execrows
UPDATE call_operator SET epoch = $2, version = $3, doc = $4 WHERE user_id = $1 AND version = $5;

-- name: Operators :many
SELECT doc FROM call_operator ORDER BY user_id LIMIT $1;
